# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be written in otto.yaml.

Each part of the file is a table of rows (key, parser, schema, doc): what is read, what an editor
is told and what a person reads come from the same row. Services' keys are those of `options.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster import (
    DOCKER_URL,
    KEEP_ALL,
    KEEP_IMAGES,
    PORT,
    SYSTEM_CA,
    TLS_PORT,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_reach import (
    BROKER_REACH,
    ENGINE_REACH,
    HOST_REACH,
    IDENTITY_REACH,
    JUMP_REACH,
    KNOWN_HOSTS_REACH,
    PYTHON_REACH,
    STATE_REACH,
    TEMPLATES,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_rows import (
    BOOLEAN,
    LABELS,
    MAPPING,
    NAME,
    NAME_HELP,
    TEXT,
    Row,
    absolute,
    as_it_stands,
    listed,
    mapping,
    pattern_of,
    read_labels,
    read_table,
    secret_text,
    texts,
    texts_list,
    whole_number,
)
from ansible_collections.otto.cluster.plugins.module_utils.image_names import HUB
from ansible_collections.otto.cluster.plugins.module_utils.option_text import (
    At,
    Parser,
    boolean,
    duration,
    integer,
    matching,
    one_of,
    text,
)
from ansible_collections.otto.cluster.plugins.module_utils.reach import FILE, VALUE, VARIABLE

INVENTORY_KEYS = ("plugin", "strict", "compose", "groups", "keyed_groups")
"""Keys of Ansible's constructed inventories: theirs, so `$` means nothing in them."""
PLUGIN_NAMES = ("otto.cluster.otto", "otto")
CONTROL = "otto-run"
"""What stands in a node's place in the control plane's user name at the broker."""


SERVICE_NAME = "[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}"
STACK_NAME = "[a-z0-9][a-z0-9_-]{0,40}"
STACK_NAME_HELP = "small letters, digits, _ and -, at most 41, the first a letter or digit"
_HOST = r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]*"
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*\$?"
_HOP = (
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.@-]*@)?"
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\])(?::[0-9]{1,5})?"
)
_JUMP = rf"{_HOP}(?:,{_HOP})*"
_DOCKER_URL = r"unix:///[^\s]+|tcp://[^\s/:]+:[0-9]{1,5}|tcp://\[[0-9A-Fa-f:]+\]:[0-9]{1,5}"


def is_service_name(name: Any, at: At) -> bool:
    help_text = NAME_HELP.replace("at most 63", "2 to 63")
    if matching(SERVICE_NAME, help_text)(name, at) is None:
        return False
    if name.endswith((".otto-new", ".otto-old")):
        at.problem("is a name that Otto uses while it replaces a container", found=name)
        return False
    return True


def _node_id(raw: Any, at: At) -> str | None:
    value: str | None = matching(NAME, NAME_HELP)(raw, at)
    if value in ("all", "ungrouped"):
        at.problem("means every node already", found=value, expected="another id")
        return None
    if value == CONTROL:
        at.problem("is the control plane's name at the broker", found=value, expected="another id")
        return None
    return value


def _plugin(raw: Any, at: At) -> str | None:
    if raw not in PLUGIN_NAMES:
        at.problem("is another plugin's", found=raw, expected=PLUGIN_NAMES[0])
        return None
    return str(raw)


_port = integer(1, 65535)

CLUSTER = (
    Row(
        "name",
        matching(NAME, NAME_HELP),
        pattern_of(NAME),
        "Name of the cluster: in MQTT topics, labels and the names of networks and volumes.",
        required=True,
        reach=VALUE,
    ),
    Row(
        "known_hosts",
        text,
        TEXT,
        "File with the nodes' host keys, relative to otto.yaml. Left out, Otto keeps its own.",
        reach=KNOWN_HOSTS_REACH,
    ),
)

TLS = (
    Row("ca", text, TEXT, "File of this machine with the CA that signed the broker's certificate, "
        f"relative to otto.yaml; {SYSTEM_CA}: a CA that the nodes trust anyhow.", required=True,
        reach=FILE),
)  # fmt: skip


def _tls(raw: Any, at: At) -> dict[str, Any] | None:
    """{"tls": bool, "ca"?: path or SYSTEM_CA}"""
    if isinstance(raw, Mapping):
        found = read_table(TLS, raw, at)
        return {"tls": True, **found} if found else None
    value = boolean(raw, at)
    return None if value is None else {"tls": value}


MQTT = (
    Row("host", matching(_HOST, "a host name or address"), pattern_of(_HOST),
        "Address of the broker as the nodes reach it; with node, that node's host if left out.",
        reach=BROKER_REACH),
    Row("node", matching(NAME, NAME_HELP), pattern_of(NAME),
        "Node that the broker is installed on; left out, `otto-run up` is the broker.",
        reach=VALUE),
    Row("port", _port, whole_number(1, 65535),
        f"Port of the broker; {TLS_PORT} if left out, {PORT} without TLS.", reach=VALUE),
    Row("tls", _tls, {"anyOf": [BOOLEAN, {"type": "object", "required": ["ca"],
        "properties": {"ca": TEXT}, "additionalProperties": False}]},
        "off: everything in clear. {ca: FILE}: a broker of your own, with another CA than Otto's. "
        "Left out: on, with a CA that Otto makes.", reach=VALUE),
    Row("username", secret_text, TEXT,
        "Name to log in with at a broker of your own; left out, every node has an account.",
        reach=VALUE),
    Row("password", secret_text, {"type": "string"}, "Password to log in with; use !vault.",
        reach=VALUE),
    Row("keepalive", integer(5, 3600), whole_number(5, 3600),
        "Seconds between signs of life; 30 if left out.", reach=VALUE),
)  # fmt: skip

NODE = (
    Row("id", _node_id, pattern_of(NAME), "Name of the node: host name in Ansible, in MQTT topics.",
        required=True, reach=VALUE),
    Row("host", matching(_HOST, "a host name or address"), pattern_of(_HOST),
        "Address of the node. localhost is this machine: no SSH.", required=True, reach=HOST_REACH),
    Row("user", matching(_USER, "a user name"), pattern_of(_USER),
        "SSH user. Without one the node is this machine, or an engine that docker_url reaches.",
        reach=VALUE),
    Row("port", _port, whole_number(1, 65535), "SSH port; 22 if left out.", reach=VALUE),
    Row("identity_file", text, TEXT, "Private key for SSH, relative to otto.yaml.",
        reach=IDENTITY_REACH),
    Row("jump", matching(_JUMP, "a node's id, or user@host:port"), pattern_of(_JUMP),
        "SSH goes through this host: the id of a node, or user@host:port.", reach=JUMP_REACH),
    Row("python", absolute, pattern_of("/.+"), "Python on the node, a path of root's alone beneath "
        "/usr, /bin or /opt; /usr/bin/python3 if left out.", reach=PYTHON_REACH),
    Row("become", boolean, BOOLEAN, "Use sudo; true if left out, unless user is root.",
        reach=VALUE),
    Row("docker_url", matching(_DOCKER_URL, "unix:///path or tcp://host:port"),
        pattern_of(_DOCKER_URL), f"Where the node finds its engine; {DOCKER_URL} if left out.",
        reach=ENGINE_REACH),
    Row("labels", read_labels, LABELS, "Labels, for services to be placed by and for groups.",
        reach=VALUE),
    Row("state_dir", absolute, pattern_of("/.+"), "Where Otto keeps the node's target.",
        reach=STATE_REACH),
)  # fmt: skip


def _ipam(raw: Any, at: At) -> list[dict[str, str]] | None:
    """[{"subnet", "gateway"?, "ip_range"?}], of compose's ipam: {config: [...]}."""
    found = read_table(_IPAM, raw, at)
    config: list[dict[str, str]] | None = found.get("config") if found else None
    return config


def _ipam_config(raw: Any, at: At) -> list[dict[str, str]]:
    entries = listed(raw, at) or []
    return [read_table(_SUBNET, entry, at.sub(i)) or {} for i, entry in enumerate(entries)]


_CIDR = r"[0-9A-Fa-f:.]+/[0-9]{1,3}"
_SUBNET = (
    Row("subnet", matching(_CIDR, "a subnet such as 172.28.0.0/16"), pattern_of(_CIDR),
        "Subnet of the network.", required=True, reach=VALUE),
    Row("gateway", matching("[0-9A-Fa-f:.]+", "an IP address"), TEXT, "Address of the gateway.",
        reach=VALUE),
    Row("ip_range", matching(_CIDR, "a subnet"), pattern_of(_CIDR), "Where addresses come from.",
        reach=VALUE),
    Row("aux_addresses", texts, MAPPING, "Addresses that are taken: name to address.", reach=VALUE),
)  # fmt: skip
_IPAM = (
    Row(
        "driver",
        matching("default", "default"),
        TEXT,
        "Only the engine's own: default.",
        reach=VALUE,
    ),
    Row(
        "config",
        _ipam_config,
        {"type": "array", "items": {"type": "object"}},
        "Subnets.",
        reach=VALUE,
    ),
)

_OBJECT = (
    Row("name", matching(SERVICE_NAME, NAME_HELP), pattern_of(SERVICE_NAME),
        "Name in the engine; <cluster>_<key> if left out.", reach=VALUE),
    Row("external", boolean, BOOLEAN, "It exists already: Otto neither makes nor removes it.",
        reach=VALUE),
    Row("driver", text, TEXT, "Driver; the engine's own if left out.", reach=VALUE),
    Row("driver_opts", texts, MAPPING, "Options of the driver.", reach=VALUE),
    Row("labels", read_labels, LABELS, "Labels of the engine object.", reach=VALUE),
)  # fmt: skip
VOLUME = _OBJECT
NETWORK = (
    *_OBJECT,
    Row("internal", boolean, BOOLEAN, "No way out of the network.", reach=VALUE),
    Row("attachable", boolean, BOOLEAN, "Containers that are not services may join.", reach=VALUE),
    Row("enable_ipv6", boolean, BOOLEAN, "IPv6 as well.", reach=VALUE),
    Row(
        "ipam",
        _ipam,
        {"type": "object"},
        "Subnets, as in compose: {config: [{subnet: ...}]}.",
        reach=VALUE,
    ),
)


def _no_store(raw: Any, at: At) -> None:
    if boolean(raw, at):
        at.problem(
            "lies in a store that an engine without Swarm has not",
            found="external: true",
            expected="file, environment or content",
            hint="content: !vault keeps it in this file, encrypted",
        )


CONTENT = (
    Row("file", text, TEXT, "File of this machine, relative to otto.yaml; a vaulted one is "
        "decrypted.", reach=FILE),
    Row("environment", matching("[A-Za-z_][A-Za-z0-9_]*", "the name of a variable"), TEXT,
        "Variable of this machine's environment, or of .env, that holds it.", reach=VARIABLE),
    Row("content", secret_text, {"type": ["string", "number", "boolean"]},
        "The text itself; use !vault for a secret.", reach=VALUE),
    Row("external", _no_store, BOOLEAN, "Refused: an engine without Swarm keeps none.",
        reach=VALUE),
    Row("name", text, TEXT, "Taken, and without effect: no engine object is made of it.",
        reach=VALUE),
    Row("labels", read_labels, LABELS, "Taken, and without effect, as name.", reach=VALUE),
)  # fmt: skip
"""A secret or a config: one of file, environment, content."""
_SWARM = dict.fromkeys(
    ("driver", "driver_opts", "template_driver"),
    "only Swarm has it: write the finished text, variables are filled in",
)
CONTENT_SOURCES = ("file", "environment", "content")


def _contents(raw: Any, at: At) -> dict[str, dict[str, Any]]:
    """key -> {one of CONTENT_SOURCES: text}; what says none, or two, is told and left out."""
    result: dict[str, dict[str, Any]] = {}
    for key, value in (mapping(raw, at) or {}).items():
        where = at.sub(key)
        if not re.fullmatch(NAME, key):
            where.problem("is no name", found=key, expected=NAME_HELP)
        found = read_table(CONTENT, value, where, _SWARM)
        if found is None:
            continue
        said = [one for one in CONTENT_SOURCES if value.get(one) is not None]
        if len(said) == 1:
            result[key] = {one: found[one] for one in said if one in found}
        elif said:
            where.problem("says where it comes from twice", found=", ".join(said), expected="one")
        elif "external" not in value:
            where.problem("says not where it comes from", expected="file, environment or content")
    return result


def _external_name(raw: Any) -> Any:
    """`external: {name: ...}`, as old compose files say it."""
    said = raw.get("external") if isinstance(raw, Mapping) else None
    if not isinstance(said, Mapping) or set(said) != {"name"}:
        return raw
    return {"name": said["name"], **raw, "external": "true"}


REGISTRY = (
    Row("username", secret_text, TEXT, "Name to log in with.", required=True, reach=VALUE),
    Row("password", secret_text, {"type": ["string", "number"]},
        "Password or token; use !vault or ${VAR}.", reach=VALUE),
    Row("password_file", text, TEXT, "File of this machine that holds it, relative to otto.yaml; "
        "a vaulted one is decrypted.", reach=FILE),
)  # fmt: skip
_REGISTRY = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"


def _registries(raw: Any, at: At) -> dict[str, dict[str, Any]]:
    """host -> {username, and password or password_file}."""
    result: dict[str, dict[str, Any]] = {}
    for key, value in (mapping(raw, at) or {}).items():
        where = at.sub(key)
        host = re.sub(r"^https?://|/.*$", "", key)
        if host.endswith(".docker.io"):
            host = HUB
        if host != key or not re.fullmatch(_REGISTRY, key):
            where.problem(
                "is no registry's host",
                found=key,
                expected=f"the host as images name it, {HUB} for Docker Hub",
                nearest=host if re.fullmatch(_REGISTRY, host) else "",
            )
        if not isinstance(value, Mapping):  # not shown: it may be a password
            where.problem("is not valid", expected="a mapping with username and password")
            continue
        found = read_table(REGISTRY, value, where) or {}
        if len({"password", "password_file"} & {k for k, v in value.items() if v is not None}) != 1:
            where.problem("needs one password", expected="password or password_file")
        elif "username" in found and len(found) == 2:
            result[key] = found
    return result


def _keep(raw: Any, at: At) -> int | None:
    return KEEP_ALL if raw == "all" else integer(0, 100)(raw, at)


IMAGES = (
    Row("keep", _keep, {"anyOf": [whole_number(0, 100), {"const": "all"}]},
        "How many earlier sets of images stay on a node to go back to; older ones that Otto "
        f"brought and no container uses are removed by an apply. {KEEP_IMAGES} if left out; all "
        "removes none.", reach=VALUE),
)  # fmt: skip


def _images(raw: Any, at: At) -> dict[str, Any] | None:
    return read_table(IMAGES, raw, at)


def _objects(rows: Sequence[Row]) -> Parser:
    def parse(raw: Any, at: At) -> dict[str, dict[str, Any]]:
        result: dict[str, dict[str, Any]] = {}
        for key, value in (mapping(raw, at) or {}).items():
            where = at.sub(key)
            if not re.fullmatch(NAME, key):
                where.problem("is no name", found=key, expected=NAME_HELP)
            found = {} if value is None else read_table(rows, _external_name(value), where)
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
    return read_table(CLUSTER, raw, at)


def _mqtt(raw: Any, at: At) -> dict[str, Any] | None:
    """The arguments of Mqtt; host is missing where it is that of `node`."""
    if not isinstance(raw, Mapping):
        at.problem("is not valid", found=raw, expected="a mapping with host")
        return None
    found = read_table(MQTT, raw, at) or {}
    if "password" in found and "username" not in found:
        at.sub("password").problem("needs a username", expected="a key username beside it")
    if not {"host", "node"} & raw.keys():
        at.problem("has no host", expected="a key host", hint=MQTT[0].doc)
    found |= found.pop("tls", {"tls": True})
    if "node" in found:
        for key in ("username", "ca"):
            if key in found:
                at.sub("tls" if key == "ca" else key).problem(
                    "does not go with node: Otto makes accounts and certificates there",
                    hint=f"remove {'tls' if key == 'ca' else key}, or node",
                )
    return {"port": TLS_PORT if found["tls"] else PORT, **found}


EXTENDS = (
    Row("service", text, TEXT, "Name of the service whose keys this one starts from.",
        required=True, reach=VALUE),
    Row("file", text, TEXT, "File that it stands in, relative to this one; this one if left out.",
        reach=FILE),
)  # fmt: skip
ENV_FILE = (
    Row(
        "path",
        text,
        TEXT,
        "The file, relative to the one that names it.",
        required=True,
        reach=FILE,
    ),
    Row("required", boolean, BOOLEAN, "false: it may be missing.", reach=VALUE),
    Row("format", one_of("raw"), TEXT, "raw: neither quotes nor variables.", reach=VALUE),
)
_FILES = {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}
INCLUDE = (
    Row("path", texts_list, _FILES, "Compose files; a later one is laid over those before.",
        required=True, reach=FILE),
    Row("project_directory", text, TEXT, "What their relative paths mean; the first one's "
        "directory if left out.", reach=FILE),
    Row("env_file", texts_list, _FILES, "Their variables, instead of .env beside them.",
        reach=FILE),
)  # fmt: skip
_INCLUDES = {
    "type": "array",
    "items": {
        "anyOf": [
            TEXT,
            {
                "type": "object",
                "properties": {row.key: {"description": row.doc, **row.schema} for row in INCLUDE},
                "required": ["path"],
                "additionalProperties": False,
            },
        ]
    },
}

STACK = (
    Row("compose", texts_list, _FILES, "The compose.yaml, relative to otto.yaml; of several, a "
        "later one is laid over those before.", required=True, reach=FILE),
    Row("node", as_it_stands, {}, "Where its services run: an id, a list, labels, or all.",
        reach=VALUE),
    Row("name", matching(STACK_NAME, STACK_NAME_HELP), pattern_of(STACK_NAME),
        "Name of the stack, before the names of its services, networks and volumes; "
        "the compose project's own if left out.", reach=VALUE),
    Row("profiles", texts_list, _FILES, "Profiles of the compose file that are to run.",
        reach=VALUE),
    Row("env_file", texts_list, _FILES, "Files with its variables, instead of .env beside it.",
        reach=FILE),
    Row("directory", absolute, pattern_of("/.+"), "Directory of the nodes that relative paths of "
        "volumes mean; /srv/<name> if left out.", reach=VALUE),
)  # fmt: skip


def _pause(raw: Any, at: At) -> float | None:
    """Seconds."""
    nanoseconds = duration(raw, at)
    return None if nanoseconds is None else nanoseconds / 10**9


NODES_SCHEMA: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        MAPPING,
    ]
}
"""Nodes as a person names them: an id, a list of ids, labels."""

UPDATE = (
    Row("parallelism", integer(0, 10000), whole_number(0, 10000),
        "How many nodes are changed at once; 0, or left out: all.", reach=VALUE),
    Row("delay", _pause, TEXT, "Pause between two batches of nodes, such as 30s.", reach=VALUE),
    Row("order", one_of("start-first", "stop-first"),
        {"enum": ["start-first", "stop-first"]},
        "stop-first: for every service; start-first is done anyhow where it can be.", reach=VALUE),
    Row("max_failures", integer(0, 10000), whole_number(0, 10000),
        "Nodes that may fail before no further one is begun; 0 if left out.", reach=VALUE),
    # Which nodes these are is known only beside the nodes.
    Row("canary", as_it_stands, {"anyOf": [{"type": "integer"}, *NODES_SCHEMA["anyOf"]]},
        "Nodes that go first, alone: how many, an id, a list of ids, or labels.", reach=VALUE),
)  # fmt: skip


def _update(raw: Any, at: At) -> dict[str, Any] | None:
    found = read_table(UPDATE, raw, at)
    if found is None:
        return None
    misspelt = raw.keys() - {row.key for row in UPDATE}  # it may be the one that is missed below
    if not (misspelt or found.get("parallelism") or found.get("canary")):
        for key in ("delay", "max_failures"):
            if found.get(key):
                at.sub(key).problem(
                    "has no effect while all nodes are changed at once",
                    expected="parallelism or canary beside it",
                )
    return found


INCLUDES = Row(
    "include",
    as_it_stands,
    _INCLUDES,
    "Compose files whose services belong to this file.",
    reach=FILE,
)
"""Read before the rest of a file is, of otto.yaml and of a compose file."""

TOP = (
    Row("cluster", _cluster, {}, "The cluster itself.", required=True, reach=VALUE),
    Row(
        "mqtt",
        _mqtt,
        {},
        "The broker that agents report to. Without it they heal in silence.",
        reach=VALUE,
    ),
    Row("nodes", listed, {}, "The Docker hosts.", required=True, reach=VALUE),
    Row("services", as_it_stands, {}, "What runs, and where.", reach=VALUE),
    Row(
        "stacks",
        as_it_stands,
        {},
        "Compose files that are taken as they are, and where.",
        reach=VALUE,
    ),
    INCLUDES,
    Row(
        "profiles",
        as_it_stands,
        _FILES,
        "Profiles that are to run, of services that have some.",
        reach=VALUE,
    ),
    Row("networks", _objects(NETWORK), {}, "Networks, as in compose.", reach=VALUE),
    Row("volumes", _objects(VOLUME), {}, "Named volumes, as in compose.", reach=VALUE),
    Row(
        "secrets",
        _contents,
        {},
        "Contents that services get as files under /run/secrets.",
        reach=VALUE,
    ),
    Row(
        "configs",
        _contents,
        {},
        "Contents that services get as files, at a path of their own.",
        reach=VALUE,
    ),
    Row("registries", _registries, {}, "Logins of registries, by host.", reach=VALUE),
    Row("images", _images, {}, "Which images stay on a node.", reach=VALUE),
    Row(
        "update",
        _update,
        {},
        "How a change goes over the nodes; left out, all at once.",
        reach=VALUE,
    ),
    Row(
        "plugin",
        _plugin,
        {"enum": list(PLUGIN_NAMES)},
        "The inventory plugin, for Ansible.",
        reach=VALUE,
    ),
    Row(
        "strict",
        boolean,
        BOOLEAN,
        "Ansible: a wrong expression in compose or groups is fatal.",
        reach=VALUE,
    ),
    Row(
        "compose",
        mapping,
        {"type": "object"},
        "Ansible: host variables from expressions.",
        reach=TEMPLATES,
    ),
    Row("groups", mapping, {"type": "object"}, "Ansible: groups from conditions.", reach=TEMPLATES),
    Row("keyed_groups", listed, {"type": "array"}, "Ansible: groups from values.", reach=TEMPLATES),
)

ELSEWHERE = {
    "name": "the name of the cluster is cluster.name",
    "version": "leave it out: Otto's file has no version",
    "models": "plain engines have none: run the model as a service",
}
"""Keys of compose's top level that are not Otto's."""

COMPOSE = (
    Row("name", text, TEXT, "Name of the project.", reach=VALUE),
    Row("version", as_it_stands, {}, "Taken, and without effect, as in compose.", reach=VALUE),
    *(row for row in TOP if row.key in ("services", "networks", "volumes", "secrets", "configs")),
)
"""A compose file that is a stack, what it includes taken in."""
COMPOSE_ELSEWHERE = {
    "models": "plain engines have none: run the model as a service",
    **dict.fromkeys(("cluster", "nodes", "mqtt", "stacks"), "it belongs into otto.yaml"),
}
