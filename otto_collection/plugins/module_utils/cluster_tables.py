# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be written in otto.yaml, and the file's JSON Schema.

Each part of the file is a table of rows (key, parser, schema, doc): what is read, what an editor
is told and what a person reads come from the same row. Services' keys are those of `options.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster import DOCKER_URL
from ansible_collections.otto.cluster.plugins.module_utils.errors import nearest
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
from ansible_collections.otto.cluster.plugins.module_utils.options import service_schema

INVENTORY_KEYS = ("plugin", "strict", "compose", "groups", "keyed_groups")
"""Keys of Ansible's constructed inventories: theirs, so `$` means nothing in them."""
PLUGIN_NAMES = ("otto.cluster.otto", "otto")


@dataclass(frozen=True)
class Row:
    """One key of one part of the file."""

    key: str
    parse: Parser
    schema: Mapping[str, Any]
    doc: str
    required: bool = False


NAME = "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}"
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


def read_labels(raw: Any, at: At) -> dict[str, str]:
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
    return read_labels(raw, at)


def _secret_text(raw: Any, at: At) -> str | None:
    """Text that may hold anything, and is never shown."""
    value = plain(raw)
    if value is None:
        at.problem("is no text", found=raw, expected="text")
    return value


def is_service_name(name: Any, at: At) -> bool:
    help_text = _NAME_HELP.replace("at most 63", "2 to 63")
    if matching(_SERVICE_NAME, help_text)(name, at) is None:
        return False
    if name.endswith((".otto-new", ".otto-old")):
        at.problem("is a name that Otto uses while it replaces a container", found=name)
        return False
    return True


def _node_id(raw: Any, at: At) -> str | None:
    value: str | None = matching(NAME, _NAME_HELP)(raw, at)
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
        matching(NAME, _NAME_HELP),
        _pattern(NAME),
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
    Row("id", _node_id, _pattern(NAME), "Name of the node: host name in Ansible, in MQTT topics.",
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
    Row("labels", read_labels, _LABELS, "Labels, for services to be placed by and for groups."),
    Row("state_dir", _absolute, _pattern("/.+"), "Where Otto keeps the node's target."),
)  # fmt: skip


def _ipam(raw: Any, at: At) -> list[dict[str, str]] | None:
    """[{"subnet", "gateway"?, "ip_range"?}], of compose's ipam: {config: [...]}."""
    found = read_table(_IPAM, raw, at)
    config: list[dict[str, str]] | None = found.get("config") if found else None
    return config


def _ipam_config(raw: Any, at: At) -> list[dict[str, str]]:
    entries = _list(raw, at) or []
    return [read_table(_SUBNET, entry, at.sub(i)) or {} for i, entry in enumerate(entries)]


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
    Row("labels", read_labels, _LABELS, "Labels of the engine object."),
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
            if not re.fullmatch(NAME, key):
                where.problem("is no name", found=key, expected=_NAME_HELP)
            found = {} if value is None else read_table(rows, value, where)
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
    found = read_table(MQTT, raw, at)
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

ELSEWHERE = {
    "name": "the name of the cluster is cluster.name",
    "version": "leave it out: Otto's file has no version",
    "secrets": "Otto has no top-level secrets yet: use !vault under environment",
    "configs": "Otto has no top-level configs yet: use a bind mount",
    "include": "Otto reads one file; YAML anchors save repetition within it",
}
"""Keys of compose's top level that are not Otto's."""


def read_table(
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
    own = service_schema()
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
