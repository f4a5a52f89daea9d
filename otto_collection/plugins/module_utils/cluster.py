# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of otto.yaml -> Cluster, all that is wrong told at once; and the file's JSON Schema.

Each part of the file is a table of rows (key, parser, schema, doc): what is read, what an editor
is told and what a person reads come from the same row. Services' keys are those of `options.py`.

Services are a list of mappings with `name` (as in the seed) or a mapping name -> keys (as in
compose). Where a service runs is said by one key, `node`:

    node: rpi-01               one node
    node: [rpi-01, rpi-02]     these nodes
    node: all                  every node
    node: {zone: attic}        every node that has all of these labels

and may be left out where the cluster has only one node.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils import options
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    Path,
    Problem,
    Problems,
    nearest,
)
from ansible_collections.otto.cluster.plugins.module_utils.model import Spec
from ansible_collections.otto.cluster.plugins.module_utils.option_text import (
    At,
    Parser,
    boolean,
    integer,
    matching,
    pairs,
    plain,
    text,
)
from ansible_collections.otto.cluster.plugins.module_utils.source import (
    Source,
    Vault,
    load,
    read_env_file,
)

LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "::1"))
DOCKER_URL = "unix:///var/run/docker.sock"
INVENTORY_KEYS = ("plugin", "strict", "compose", "groups", "keyed_groups")
"""Keys of Ansible's constructed inventories: theirs, so `$` means nothing in them."""
PLUGIN_NAMES = ("otto.cluster.otto", "otto")
DEFAULT_NETWORK = "default"


@dataclass(frozen=True)
class Mqtt:
    """The broker, as the nodes reach it. keepalive in seconds."""

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    keepalive: int = 30


@dataclass(frozen=True)
class Node:
    """A Docker host. Paths are absolute; python and state_dir are None where the file says none."""

    id: str
    host: str
    user: str | None = None
    port: int = 22
    identity_file: str | None = None
    jump: str | None = None
    python: str | None = None
    become: bool = False
    docker_url: str = DOCKER_URL
    labels: Mapping[str, str] = field(default_factory=dict)
    state_dir: str | None = None

    @property
    def is_local(self) -> bool:
        return self.host.lower() in LOCAL_HOSTS or self.user is None


@dataclass(frozen=True)
class Service:
    """What runs, and where. sensitive: names of environment variables that are never shown."""

    name: str
    spec: Spec
    nodes: tuple[str, ...]
    sensitive: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Cluster:
    """All of otto.yaml, checked.

    networks, volumes: key -> what the file says of it (see NETWORK and VOLUME for the keys).
    known_hosts: an absolute path, None for Otto's own. inventory: INVENTORY_KEYS as they stand.
    """

    name: str
    nodes: tuple[Node, ...]
    services: tuple[Service, ...] = ()
    mqtt: Mqtt | None = None
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    volumes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    known_hosts: str | None = None
    file: str = "otto.yaml"
    inventory: Mapping[str, Any] = field(default_factory=dict)


# --- the tables -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One key of one part of the file."""

    key: str
    parse: Parser
    schema: Mapping[str, Any]
    doc: str
    required: bool = False


_NAME = "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}"
_SERVICE_NAME = "[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}"
_NAME_HELP = "letters, digits, _ . -, at most 63, the first a letter or digit"
_HOST = r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]*"
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*\$?"
_JUMP = r"[A-Za-z0-9_:\[][A-Za-z0-9_.:@,%\[\]-]*"
_DOCKER_URL = r"unix:///[^\s]+|tcp://[^\s/:]+:[0-9]{1,5}|tcp://\[[0-9A-Fa-f:]+\]:[0-9]{1,5}"

_TEXT = {"type": "string", "minLength": 1}
_BOOLEAN = {"type": ["boolean", "string"]}
_MAPPING = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_SCALAR = {"type": ["string", "number", "boolean", "null"]}
_LABELS = {
    "anyOf": [
        {"type": "object", "additionalProperties": _SCALAR},
        {"type": "array", "items": {"type": "string"}},
    ]
}


def _pattern(pattern: str) -> dict[str, Any]:
    # A value may still hold a variable when an editor sees it.
    return {"type": "string", "pattern": rf"^(?:{pattern})$|\$"}


def _integer(low: int, high: int) -> dict[str, Any]:
    return {
        "anyOf": [
            {"type": "integer", "minimum": low, "maximum": high},
            {"type": "string", "pattern": r"^[0-9]+$|\$"},
        ]
    }


def _labels(raw: Any, at: At) -> dict[str, str]:
    result: dict[str, str] = {}
    for key, (value, where) in pairs(raw, at, "label").items():
        content = "" if value is None else plain(value)
        if content is None or not key.strip():
            where.problem("is no label", found=value, expected="label: text")
        else:
            result[key] = content
    return result


def _texts(raw: Any, at: At) -> dict[str, str]:
    """A mapping of text to text: driver_opts."""
    if not isinstance(raw, Mapping):
        at.problem("is not valid", found=raw, expected="a mapping")
        return {}
    return _labels(raw, at)


def _secret_text(raw: Any, at: At) -> str | None:
    """Text that may hold anything, and is never shown."""
    value = plain(raw)
    if value is None:
        at.problem("is no text", found=raw, expected="text")
    return value


def _node_id(raw: Any, at: At) -> str | None:
    value: str | None = matching(_NAME, _NAME_HELP)(raw, at)
    if value in ("all", "ungrouped"):
        at.problem("means every node already", found=value, expected="another id")
        return None
    return value


def _absolute(raw: Any, at: At) -> str | None:
    value = text(raw, at)
    if value is not None and not value.startswith("/"):
        at.problem("is a relative path", found=raw, expected="an absolute path on the node")
        return None
    return value


def _mapping(raw: Any, at: At) -> Mapping[str, Any] | None:
    if not isinstance(raw, Mapping):
        at.problem("is not valid", found=raw, expected="a mapping")
        return None
    return raw


def _list(raw: Any, at: At) -> list[Any] | None:
    if not isinstance(raw, list):
        at.problem("is not valid", found=raw, expected="a list")
        return None
    return raw


def _plugin(raw: Any, at: At) -> str | None:
    if raw not in PLUGIN_NAMES:
        at.problem("is another plugin's", found=raw, expected=PLUGIN_NAMES[0])
        return None
    return str(raw)


_port = integer(1, 65535)

CLUSTER = (
    Row(
        "name",
        matching(_NAME, _NAME_HELP),
        _pattern(_NAME),
        "Name of the cluster: in MQTT topics, labels and the names of networks and volumes.",
        required=True,
    ),
    Row(
        "known_hosts",
        text,
        _TEXT,
        "File with the nodes' host keys, relative to otto.yaml. Left out, Otto keeps its own.",
    ),
)

MQTT = (
    Row("host", matching(_HOST, "a host name or address"), _pattern(_HOST),
        "Address of the broker as the nodes reach it.", required=True),
    Row("port", _port, _integer(1, 65535), "Port of the broker; 1883 if left out."),
    Row("username", _secret_text, _TEXT, "Name to log in with."),
    Row("password", _secret_text, {"type": "string"}, "Password to log in with; use !vault."),
    Row("keepalive", integer(5, 3600), _integer(5, 3600),
        "Seconds between signs of life; 30 if left out."),
)  # fmt: skip

NODE = (
    Row("id", _node_id, _pattern(_NAME), "Name of the node: host name in Ansible, in MQTT topics.",
        required=True),
    Row("host", matching(_HOST, "a host name or address"), _pattern(_HOST),
        "Address of the node. localhost is this machine: no SSH.", required=True),
    Row("user", matching(_USER, "a user name"), _pattern(_USER),
        "SSH user. Without one the node is this machine, or an engine that docker_url reaches."),
    Row("port", _port, _integer(1, 65535), "SSH port; 22 if left out."),
    Row("identity_file", text, _TEXT, "Private key for SSH, relative to otto.yaml."),
    Row("jump", matching(_JUMP, "a node's id, or user@host:port"), _pattern(_JUMP),
        "SSH goes through this host: the id of a node, or user@host:port."),
    Row("python", text, _TEXT, "Python on the node; /usr/bin/python3 if left out."),
    Row("become", boolean, _BOOLEAN, "Use sudo; true if left out, unless user is root."),
    Row("docker_url", matching(_DOCKER_URL, "unix:///path or tcp://host:port"),
        _pattern(_DOCKER_URL), f"Where the node finds its engine; {DOCKER_URL} if left out."),
    Row("labels", _labels, _LABELS, "Labels, for services to be placed by and for groups."),
    Row("state_dir", _absolute, _pattern("/.+"), "Where Otto keeps the node's target."),
)  # fmt: skip


def _ipam(raw: Any, at: At) -> list[dict[str, str]] | None:
    """[{"subnet", "gateway"?, "ip_range"?}], of compose's ipam: {config: [...]}."""
    found = _table(_IPAM, raw, at)
    config: list[dict[str, str]] | None = found.get("config") if found else None
    return config


def _ipam_config(raw: Any, at: At) -> list[dict[str, str]]:
    entries = _list(raw, at) or []
    return [_table(_SUBNET, entry, at.sub(i)) or {} for i, entry in enumerate(entries)]


_CIDR = r"[0-9A-Fa-f:.]+/[0-9]{1,3}"
_SUBNET = (
    Row("subnet", matching(_CIDR, "a subnet such as 172.28.0.0/16"), _pattern(_CIDR),
        "Subnet of the network.", required=True),
    Row("gateway", matching("[0-9A-Fa-f:.]+", "an IP address"), _TEXT, "Address of the gateway."),
    Row("ip_range", matching(_CIDR, "a subnet"), _pattern(_CIDR), "Where addresses come from."),
)  # fmt: skip
_IPAM = (
    Row("driver", matching("default", "default"), _TEXT, "Only the engine's own: default."),
    Row("config", _ipam_config, {"type": "array", "items": {"type": "object"}}, "Subnets."),
)

_OBJECT = (
    Row("name", matching(_SERVICE_NAME, _NAME_HELP), _pattern(_SERVICE_NAME),
        "Name in the engine; <cluster>_<key> if left out."),
    Row("external", boolean, _BOOLEAN, "It exists already: Otto neither makes nor removes it."),
    Row("driver", text, _TEXT, "Driver; the engine's own if left out."),
    Row("driver_opts", _texts, _MAPPING, "Options of the driver."),
    Row("labels", _labels, _LABELS, "Labels of the engine object."),
)  # fmt: skip
VOLUME = _OBJECT
NETWORK = (
    *_OBJECT,
    Row("internal", boolean, _BOOLEAN, "No way out of the network."),
    Row("attachable", boolean, _BOOLEAN, "Containers that are not services may join."),
    Row("enable_ipv6", boolean, _BOOLEAN, "IPv6 as well."),
    Row("ipam", _ipam, {"type": "object"}, "Subnets, as in compose: {config: [{subnet: ...}]}."),
)


def _objects(rows: Sequence[Row]) -> Parser:
    def parse(raw: Any, at: At) -> dict[str, dict[str, Any]]:
        result: dict[str, dict[str, Any]] = {}
        for key, value in (_mapping(raw, at) or {}).items():
            where = at.sub(key)
            if not re.fullmatch(_NAME, key):
                where.problem("is no name", found=key, expected=_NAME_HELP)
            found = {} if value is None else _table(rows, value, where)
            if found is None:
                found = {}
            if found.get("external"):
                for other in found.keys() - {"name", "external"}:
                    where.sub(other).problem(
                        "does not go with external: Otto does not make it",
                        hint=f"remove {other}, or external",
                    )
            result[key] = found
        return result

    return parse


def _cluster(raw: Any, at: At) -> dict[str, Any] | None:
    return _table(CLUSTER, raw, at)


def _mqtt(raw: Any, at: At) -> dict[str, Any] | None:
    found = _table(MQTT, raw, at)
    if found and "password" in found and "username" not in found:
        at.sub("password").problem("needs a username", expected="a key username beside it")
    return found


def _as_it_stands(raw: Any, at: At) -> Any:  # noqa: ARG001
    return raw


TOP = (
    Row("cluster", _cluster, {}, "The cluster itself.", required=True),
    Row("mqtt", _mqtt, {}, "The broker that agents report to. Without it they heal in silence."),
    Row("nodes", _list, {}, "The Docker hosts.", required=True),
    Row("services", _as_it_stands, {}, "What runs, and where."),
    Row("networks", _objects(NETWORK), {}, "Networks, as in compose."),
    Row("volumes", _objects(VOLUME), {}, "Named volumes, as in compose."),
    Row("plugin", _plugin, {"enum": list(PLUGIN_NAMES)}, "The inventory plugin, for Ansible."),
    Row("strict", boolean, _BOOLEAN, "Ansible: a wrong expression in compose or groups is fatal."),
    Row("compose", _mapping, {"type": "object"}, "Ansible: host variables from expressions."),
    Row("groups", _mapping, {"type": "object"}, "Ansible: groups from conditions."),
    Row("keyed_groups", _list, {"type": "array"}, "Ansible: groups from values."),
)

_ELSEWHERE = {
    "name": "the name of the cluster is cluster.name",
    "version": "leave it out: Otto's file has no version",
    "secrets": "Otto has no top-level secrets yet: use !vault under environment",
    "configs": "Otto has no top-level configs yet: use a bind mount",
    "include": "Otto reads one file; YAML anchors save repetition within it",
}
"""Keys of compose's top level that are not Otto's."""


def _table(
    rows: Sequence[Row], raw: Any, at: At, elsewhere: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """Values by key of a mapping; only what is written and valid. None if it is no mapping."""
    known = {row.key: row for row in rows}
    if not isinstance(raw, Mapping):
        needed = ", ".join(row.key for row in rows if row.required) or ", ".join(known)
        at.problem("is not valid", found=raw, expected=f"a mapping with {needed}")
        return None
    result: dict[str, Any] = {}
    for key, value in raw.items():
        if key.startswith("x-"):
            continue
        if key not in known:
            hint = (elsewhere or {}).get(key, "")
            at.sub(key).problem(
                "is no key that is known here",
                nearest="" if hint else nearest(key, known),
                hint=hint,
                expected="" if hint or nearest(key, known) else "one of " + ", ".join(known),
            )
            continue
        # `services:` with all of it commented out is no wish to remove everything.
        if value is None and key == "services":
            at.sub(key).problem(
                "is empty", expected="services", hint="write services: [] to run none at all"
            )
        if value is None and not known[key].required:
            continue
        parsed = known[key].parse(value, at.sub(key))
        if parsed is not None:
            result[key] = parsed
    for row in rows:
        if row.required and row.key not in raw:
            at.problem(f"has no {row.key}", expected=f"a key {row.key}", hint=row.doc)
    return result


# --- parsing --------------------------------------------------------------------------------


def load_file(
    path: str, *, environ: Mapping[str, str] | None = None, vault: Vault | None = None
) -> Cluster:
    """Read and check a cluster file and the `.env` beside it; the environment wins over `.env`.

    environ: None for this process's. Raises ClusterFileError with everything that is wrong.
    """
    outer = dict(os.environ if environ is None else environ)
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            raw = file.read()
    except OSError as error:
        raise ClusterFileError(
            [
                Problem(
                    (),
                    f"cannot read the file: {error.strerror}",
                    hint="otto-run init writes one to start from",
                    file=str(path),
                )
            ]
        ) from error
    return load_text(raw, str(path), environ=outer, vault=vault)


def load_text(
    raw: str | bytes, path: str, *, environ: Mapping[str, str], vault: Vault | None = None
) -> Cluster:
    """Like load_file, for a text that was read already from `path`."""
    beside = os.path.join(os.path.dirname(path), ".env")  # noqa: PTH118, PTH120
    merged = {**read_env_file(beside, environ), **environ}
    return parse(load(raw, path, environ=merged, vault=vault, literal=INVENTORY_KEYS))


def parse(source: Source) -> Cluster:
    """The cluster that a file describes. Raises ClusterFileError with everything that is wrong."""
    return _Reader(source).cluster()


_Placement = tuple[str, ...]
_MISSING = re.compile("has no ([a-z_]+)")


class _Reader:
    """One pass over one file. What cannot be read is left out, and told."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._problems = Problems()
        self._names: dict[tuple[str, int], str] = {}
        self._nodes_known = True
        self._services_known = True

    def cluster(self) -> Cluster:
        source = self._source
        at = At((), self._problems, source.environ)
        top = _table(TOP, source.tree, at, _ELSEWHERE) or {}
        nodes = self._nodes(top.get("nodes", []))
        if top.get("nodes") == []:
            at.sub("nodes").problem("is empty", expected="at least one node with id and host")
        networks = top.get("networks", {})
        volumes = top.get("volumes", {})
        services = self._services(top.get("services", []), nodes)
        self._same_engine(nodes)
        self._jumps(nodes)
        self._broker(top.get("mqtt"), nodes)
        self._references(services, networks, volumes)
        self._clashes(services)
        self._stop_if_wrong()
        known_hosts = top["cluster"].get("known_hosts")
        return Cluster(
            name=top["cluster"]["name"],
            nodes=tuple(nodes),
            services=tuple(services),
            mqtt=Mqtt(**top["mqtt"]) if "mqtt" in top else None,
            networks=networks,
            volumes=volumes,
            known_hosts=self._beside(known_hosts) if known_hosts else None,
            file=source.file,
            inventory={key: source.tree[key] for key in INVENTORY_KEYS if key in source.tree},
        )

    def _beside(self, path: str) -> str:
        """A path of this machine, as seen from the file's directory."""
        directory = os.path.dirname(os.path.abspath(self._source.file))  # noqa: PTH100, PTH120
        return os.path.normpath(os.path.join(directory, os.path.expanduser(path)))  # noqa: PTH111, PTH118

    # --- errors

    def _named(self, path: Path) -> Path:
        """Paths go by name: ("services", 0, ...) is ("services", "web", ...)."""
        if len(path) > 1 and isinstance(path[1], int):
            name = self._names.get((str(path[0]), path[1]))
            if name is not None:
                return (path[0], name, *path[2:])
        return path

    def _stop_if_wrong(self) -> None:
        source = self._source
        lines = {**source.lines, **{self._named(path): n for path, n in source.lines.items()}}
        broken = {self._named(path) for path in source.broken}
        page = Problems()
        for problem in source.problems:
            page.extend([_with(problem, path=self._named(problem.path))])
        secret = self._secrets()
        meant = {(*p.path[:-1], p.nearest) for p in self._problems if p.nearest}
        for problem in self._problems:
            missing = _MISSING.fullmatch(problem.message)
            if missing and (*problem.path, missing.group(1)) in meant:
                continue  # `imagee: nginx` is one mistake, not two
            above = [problem.path[:n] for n in range(len(problem.path) + 1)]
            if any(path in broken for path in above):
                continue
            if problem.found and (source.encrypted or any(path in secret for path in above)):
                problem = _with(problem, found="(hidden)", nearest="")
            page.extend([problem])
        if page:
            raise ClusterFileError(page.located(source.file, lines))

    def _secrets(self) -> frozenset[Path]:
        return frozenset(self._named(path) for path in self._source.secrets)

    def _is_broken(self, *path: str | int) -> bool:
        return any(path[:n] in self._source.broken for n in range(len(path) + 1))

    # --- nodes

    def _nodes(self, raw: list[Any]) -> list[Node]:
        found: list[Node] = []
        ids: dict[str, int] = {}
        for index, entry in enumerate(raw):
            name = plain(entry.get("id")) if isinstance(entry, Mapping) else None
            good = name is not None and re.fullmatch(_NAME, name) is not None
            if not good or self._is_broken("nodes", index, "id"):
                self._nodes_known = False
            if good and name is not None and name in ids:
                first = self._source.lines.get(("nodes", ids[name]), 0)
                self._at("nodes", index, "id").problem(
                    "is taken", found=name, expected=f"another id: line {first} has it"
                )
                _table(NODE, entry, self._at("nodes", index))
                continue
            if good and name is not None:
                ids[name] = index
                self._names["nodes", index] = name
            at = self._at("nodes", name if good and name is not None else index)
            values = _table(NODE, entry, at)
            if values is not None:
                node = self._node(values, _valued(entry), at)
                if node is not None:
                    found.append(node)
                    continue
            self._nodes_known = False
        return found

    def _node(self, values: dict[str, Any], written: Mapping[str, Any], at: At) -> Node | None:
        if "id" not in values or "host" not in values:
            return None
        if "identity_file" in values:
            values["identity_file"] = self._beside(values["identity_file"])
        values.setdefault("become", values.get("user") not in (None, "root"))
        node = Node(**values)
        # A wrong user or docker_url is told already.
        if _looks_remote(node) and not {"user", "docker_url"} & (written.keys() - values.keys()):
            at.problem(
                "has no user, so it would be this machine, but its host is another one",
                found=f"host: {node.host}, docker_url: {node.docker_url}",
                expected="user: NAME for SSH, or host: localhost",
                hint="docker_url: tcp://host:port reaches an engine without SSH",
            )
        return node

    def _at(self, *path: str | int) -> At:
        return At(path, self._problems, self._source.environ)

    def _same_engine(self, nodes: Sequence[Node]) -> None:
        seen: dict[tuple[str, ...], str] = {}
        for node in nodes:
            if _looks_remote(node):
                continue  # told already
            if not node.is_local:
                key: tuple[str, ...] = (node.host.lower(), str(node.port), node.docker_url)
            elif node.docker_url.startswith("unix:"):
                key = ("localhost", node.docker_url)
            else:
                key = (node.docker_url,)
            if key in seen:
                self._at("nodes", node.id).problem(
                    f"is the same engine as node {seen[key]}: they would remove each "
                    "other's containers",
                    found=f"{node.host}, {node.docker_url}",
                    expected="one node for each engine",
                )
            seen.setdefault(key, node.id)

    def _broker(self, mqtt: Mapping[str, Any] | None, nodes: Sequence[Node]) -> None:
        """To an agent on another host, localhost is that host."""
        far = [node.id for node in nodes if not (node.is_local or _looks_remote(node))]
        if mqtt and far and mqtt.get("host", "").lower() in LOCAL_HOSTS:
            self._at("mqtt", "host").problem(
                f"is {far[0]} itself, seen from there",
                found=mqtt["host"],
                expected="the address by which the nodes reach the broker",
            )

    def _jumps(self, nodes: Sequence[Node]) -> None:
        """A jump through oneself, or in a circle, never arrives."""
        through = {node.id: node.jump for node in nodes}
        told: set[str] = set()
        for start in through:
            way: list[str] = []
            at: str | None = start
            while at in through and at not in way and at not in told:
                way.append(at)
                at = through[at]
            if at in way:
                circle = way[way.index(at) :]
                self._at("nodes", circle[0], "jump").problem(
                    "goes in a circle",
                    found=" -> ".join([*circle, circle[0]]),
                    expected="a way that ends",
                )
            told.update(way)

    # --- services

    def _services(self, raw: Any, nodes: Sequence[Node]) -> list[Service]:
        found: list[Service] = []
        for name, entry, at in self._service_entries(raw):
            service = self._service(name, entry, at, nodes)
            if service is None:
                self._services_known = False
            else:
                found.append(service)
        return found

    def _service_entries(self, raw: Any) -> Iterator[tuple[str, Mapping[str, Any], At]]:
        """name, keys, and where, of a list or a mapping of services."""
        if isinstance(raw, Mapping):
            for name, entry in raw.items():
                if name.startswith("x-"):
                    continue
                at = self._at("services", name)
                if not isinstance(entry, Mapping):
                    at.problem("is not valid", found=entry, expected="a mapping with image")
                elif self._is_name(name, at):
                    if "name" in entry and entry["name"] != name:
                        at.sub("name").problem("is not its key", found=entry["name"], expected=name)
                    yield name, entry, at
                    continue
                self._services_known = False
            return
        if not isinstance(raw, list):
            self._at("services").problem(
                "is not valid",
                found=raw,
                expected="a list of services with name, or a mapping name -> keys",
            )
            self._services_known = False
            return
        first: dict[str, int] = {}
        for index, entry in enumerate(raw):
            at = self._at("services", index)
            if not isinstance(entry, Mapping):
                at.problem("is not valid", found=entry, expected="a mapping with name and image")
            elif entry.get("name") is None:
                at.problem("has no name", expected="a key name")
            else:
                name = plain(entry["name"])
                if name in first:
                    line = self._source.lines.get(("services", first[name]), 0)
                    at.sub("name").problem(
                        "is taken", found=name, expected=f"another name: line {line} has it"
                    )
                    continue
                elif self._is_name(entry["name"], at.sub("name")) and name is not None:
                    first[name] = index
                    self._names["services", index] = name
                    yield name, entry, self._at("services", name)
                    continue
            self._services_known = False

    def _is_name(self, name: Any, at: At) -> bool:
        help_text = _NAME_HELP.replace("at most 63", "2 to 63")
        if matching(_SERVICE_NAME, help_text)(name, at) is None:
            return False
        if name.endswith((".otto-new", ".otto-old")):
            at.problem("is a name that Otto uses while it replaces a container", found=name)
            return False
        return True

    def _service(
        self, name: str, entry: Mapping[str, Any], at: At, nodes: Sequence[Node]
    ) -> Service | None:
        secrets = {path for path in self._secrets() if path[:2] == at.path}
        placement = self._placement(entry, at, nodes)
        keys = {key: value for key, value in entry.items() if key not in ("name", "node")}
        for path in sorted(secrets, key=str):
            if len(path) < 4 or path[2] != "environment":
                At(path, self._problems).problem(
                    "cannot be kept secret: the engine shows it to whoever asks",
                    expected="!vault only under environment",
                )
        spec = options.parse_service(
            keys,
            at.path,
            self._problems,
            environ=self._source.environ,
            also=("name", "node"),
        )
        # Where variables stand as a list, a secret one is known by its place in it.
        sensitive = set(spec.get("environment", {})) if self._source.encrypted else set()
        listed = entry.get("environment")
        for path in secrets:
            if len(path) > 3 and path[2] == "environment":
                variable = path[3]
                if isinstance(variable, int) and isinstance(listed, list):
                    variable = str(listed[variable]).partition("=")[0]
                sensitive.add(str(variable))
        return Service(name, spec, placement, frozenset(sensitive))

    def _placement(self, entry: Mapping[str, Any], at: At, nodes: Sequence[Node]) -> _Placement:
        """Ids of the nodes that a service runs on, in the order of the file."""
        raw = entry.get("node")
        where = at.sub("node")
        ids = [node.id for node in nodes]
        if raw is None:
            if len(ids) != 1 and self._nodes_known and ids:
                at.problem(
                    "has no node",
                    expected=f"node: {ids[0]}, a list of ids, labels, or all",
                )
            return tuple(ids)
        if raw == "all":
            return tuple(ids)
        if isinstance(raw, Mapping):
            wanted = _labels(raw, where)
            chosen = [n.id for n in nodes if wanted.items() <= n.labels.items()]
            if not wanted:
                where.problem("names no label", found=raw, expected="label: value, or all")
            elif not chosen and self._nodes_known:
                shown = ", ".join(f"{key}: {value}" for key, value in wanted.items())
                labels = {f"{k}: {v}" for n in nodes for k, v in n.labels.items()}
                where.problem(
                    "fits no node",
                    found=shown,
                    expected="labels of a node",
                    nearest=nearest(shown, sorted(labels)),
                )
            return tuple(chosen)
        if isinstance(raw, list) and not raw:
            where.problem("names no node", found=raw, expected="an id, or remove the service")
        named: list[str] = []
        for index, item in enumerate(raw if isinstance(raw, list) else [raw]):
            one = where.sub(index) if isinstance(raw, list) else where
            value = plain(item)
            if value is None:
                one.problem("is no node", found=item, expected="the id of a node")
            elif value in named:
                one.problem("is named twice", found=value)
            elif value in ids:
                named.append(value)
            elif self._nodes_known:
                hint = "node: all stands alone" if value == "all" else ""
                one.problem(
                    "is no node of this file",
                    found=value,
                    expected="one of " + ", ".join(ids[:12]) + (", ..." if len(ids) > 12 else ""),
                    nearest=nearest(value, ids),
                    hint=hint,
                )
        return tuple(node for node in ids if node in named)

    # --- across services

    def _references(
        self, services: Sequence[Service], networks: Collection[str], volumes: Collection[str]
    ) -> None:
        names = {service.name for service in services}
        for service in services:
            at = self._at("services", service.name)
            for key in service.spec.get("networks", {}):
                if key not in networks and key != DEFAULT_NETWORK:
                    self._undefined(at.sub("networks"), "network", key, networks)
            for mount in service.spec.get("volumes", ()):
                key = mount["source"]
                if mount["type"] == "volume" and key is not None and key not in volumes:
                    self._undefined(at.sub("volumes"), "volume", key, volumes)
            for other in service.spec.get("depends_on", ()):
                where = at.sub("depends_on")
                if other == service.name:
                    where.problem("is the service itself", found=other)
                elif other not in names and self._services_known:
                    where.problem(
                        "is no service of this file", found=other, nearest=nearest(other, names)
                    )
        self._circles({s.name: list(s.spec.get("depends_on", ())) for s in services})

    def _undefined(self, at: At, kind: str, key: str, known: Collection[str]) -> None:
        at.problem(
            f"names a {kind} that the file does not define",
            found=key,
            nearest=nearest(key, known),
            hint=f"at the end of the file: {kind}s: {{{key}: {{}}}}",
        )

    def _circles(self, after: dict[str, list[str]]) -> None:
        """Services that wait for each other; each circle is told once, at its first service."""
        left = dict(after)
        while True:
            free = [name for name, others in left.items() if not any(o in left for o in others)]
            if not free:
                break
            for name in free:
                del left[name]
        # What is left is in a circle, or waits for one: go on until a name comes again.
        while left:
            name = next(iter(left))
            way = [name]
            while True:
                following = [o for o in after[way[-1]] if o in left]
                if not following:
                    break
                if following[0] in way:
                    circle = way[way.index(following[0]) :]
                    if len(circle) > 1:
                        self._at("services", circle[0], "depends_on").problem(
                            "goes in a circle", found=" -> ".join([*circle, circle[0]])
                        )
                    break
                way.append(following[0])
            for done in way:
                del left[done]

    def _clashes(self, services: Sequence[Service]) -> None:
        """Ports and names that two services of one node want; each pair is told once."""
        told: set[tuple[str, str, Any]] = set()
        ports: dict[tuple[str, str, int], list[tuple[str, str]]] = {}
        names: dict[tuple[str, str], str] = {}
        for service in services:
            at = self._at("services", service.name)
            container = service.spec.get("container_name", service.name)
            for node in service.nodes:
                other = names.setdefault((node, container), service.name)
                if other != service.name and (service.name, other, None) not in told:
                    told.add((service.name, other, None))
                    where = at.sub("container_name") if container != service.name else at
                    where.problem(
                        f"has the container name of service {other} on node {node}",
                        found=container,
                        expected="another name",
                    )
                for port in service.spec.get("ports", ()):
                    if port["published"] is None:
                        continue
                    taken = ports.setdefault((node, port["protocol"], port["published"]), [])
                    for other, address in taken:
                        key = (service.name, other, (port["protocol"], port["published"]))
                        if (
                            other != service.name
                            and key not in told
                            and _overlap(address, port["host_ip"])
                        ):
                            told.add(key)
                            line = self._line("services", other, "ports")
                            at.sub("ports").problem(
                                f"publishes a port of node {node} that service {other} "
                                f"publishes too{f' (line {line})' if line else ''}",
                                found=f"{port['published']}/{port['protocol']}",
                                expected="a port that is free on the node",
                            )
                    taken.append((service.name, port["host_ip"]))

    def _line(self, *path: str | int) -> int:
        for known, line in self._source.lines.items():
            if len(known) == len(path) and self._named(known) == path:
                return line
        return 0


def _overlap(first: str, second: str) -> bool:
    return first == second or any(one in ("", "0.0.0.0", "::") for one in (first, second))


def _looks_remote(node: Node) -> bool:
    """Another host, but neither SSH nor an engine on TCP to reach it by."""
    return (
        node.host.lower() not in LOCAL_HOSTS
        and node.user is None
        and node.docker_url.startswith("unix:")
    )


def _valued(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None}


def _with(problem: Problem, **changes: Any) -> Problem:
    return Problem(**{**vars(problem), **changes})


# --- JSON Schema ----------------------------------------------------------------------------


def _schema(rows: Sequence[Row], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {row.key: _described(row, more.get(row.key)) for row in rows},
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
        "required": [row.key for row in rows if row.required],
    }


def _described(row: Row, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    body = dict(schema or row.schema)
    if row.required:
        return {"description": row.doc, **body}
    return {"description": row.doc, "anyOf": [body, {"type": "null"}]}


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of otto.yaml for editors; lenient, as values may hold `${VAR}`."""
    own = options.service_schema()
    node = {
        "description": "Where it runs: a node's id, a list of ids, labels, or all.",
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            _MAPPING,
        ],
    }
    service = {
        **own,
        "properties": {"node": node, **own["properties"]},
        "additionalProperties": False,
    }
    name = {"description": "Name of the service and of its container.", **_pattern(_SERVICE_NAME)}
    listed = {
        **service,
        "properties": {"name": name, **service["properties"]},
        "required": ["name", "image"],
    }
    sections = {
        "cluster": _schema(CLUSTER),
        "mqtt": _schema(MQTT),
        "nodes": {"type": "array", "minItems": 1, "items": _schema(NODE)},
        "services": {
            "anyOf": [
                {"type": "array", "items": {"$ref": "#/$defs/listed_service"}},
                {
                    "type": "object",
                    "patternProperties": {"^x-": {}},
                    "additionalProperties": {"$ref": "#/$defs/service"},
                },
            ]
        },
        "networks": _schema_of_objects(NETWORK),
        "volumes": _schema_of_objects(VOLUME),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "otto.yaml",
        "description": "A cluster of Docker hosts and what runs on them.",
        **_schema(TOP, **sections),
        "$defs": {"service": service, "listed_service": listed},
    }


def _schema_of_objects(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": {"anyOf": [_schema(rows), {"type": "null"}]},
    }
