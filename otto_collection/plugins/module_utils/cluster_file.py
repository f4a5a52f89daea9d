# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""otto.yaml -> Cluster, all that is wrong told at once.

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
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster import (
    Cluster,
    Mqtt,
    Node,
    Service,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_checks import (
    check_nodes,
    check_services,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import (
    ELSEWHERE,
    INVENTORY_KEYS,
    NAME,
    NODE,
    TOP,
    is_service_name,
    read_labels,
    read_table,
)
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    Path,
    Problem,
    Problems,
    nearest,
)
from ansible_collections.otto.cluster.plugins.module_utils.option_text import At, plain
from ansible_collections.otto.cluster.plugins.module_utils.options import parse_service
from ansible_collections.otto.cluster.plugins.module_utils.source import (
    Source,
    load,
    read_env_file,
)
from ansible_collections.otto.cluster.plugins.module_utils.yaml_tree import Vault


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
        top = read_table(TOP, source.tree, at, ELSEWHERE) or {}
        nodes = self._nodes(top.get("nodes", []))
        if top.get("nodes") == []:
            at.sub("nodes").problem("is empty", expected="at least one node with id and host")
        networks = top.get("networks", {})
        volumes = top.get("volumes", {})
        services = self._services(top.get("services", []), nodes)
        check_nodes(nodes, top.get("mqtt"), at)
        check_services(
            services, networks, volumes, at, complete=self._services_known, line_of=self._line
        )
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

    def _line(self, path: Path) -> int:
        for known, line in self._source.lines.items():
            if len(known) == len(path) and self._named(known) == path:
                return line
        return 0

    # --- nodes

    def _nodes(self, raw: list[Any]) -> list[Node]:
        found: list[Node] = []
        ids: dict[str, int] = {}
        for index, entry in enumerate(raw):
            name = plain(entry.get("id")) if isinstance(entry, Mapping) else None
            good = name is not None and re.fullmatch(NAME, name) is not None
            if not good or self._is_broken("nodes", index, "id"):
                self._nodes_known = False
            if good and name is not None and name in ids:
                first = self._source.lines.get(("nodes", ids[name]), 0)
                self._at("nodes", index, "id").problem(
                    "is taken", found=name, expected=f"another id: line {first} has it"
                )
                read_table(NODE, entry, self._at("nodes", index))
                continue
            if good and name is not None:
                ids[name] = index
                self._names["nodes", index] = name
            at = self._at("nodes", name if good and name is not None else index)
            values = read_table(NODE, entry, at)
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
        if node.is_astray and not {"user", "docker_url"} & (written.keys() - values.keys()):
            at.problem(
                "has no user, so it would be this machine, but its host is another one",
                found=f"host: {node.host}, docker_url: {node.docker_url}",
                expected="user: NAME for SSH, or host: localhost",
                hint="docker_url: tcp://host:port reaches an engine without SSH",
            )
        return node

    def _at(self, *path: str | int) -> At:
        return At(path, self._problems, self._source.environ)

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
                elif is_service_name(name, at):
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
                elif is_service_name(entry["name"], at.sub("name")) and name is not None:
                    first[name] = index
                    self._names["services", index] = name
                    yield name, entry, self._at("services", name)
                    continue
            self._services_known = False

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
        spec = parse_service(
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
            wanted = read_labels(raw, where)
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


def _valued(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None}


def _with(problem: Problem, **changes: Any) -> Problem:
    return Problem(**{**vars(problem), **changes})
