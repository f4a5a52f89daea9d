# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON Schema of otto.yaml, from the rows of `cluster_tables` and the options of a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster_rows import (
    Row,
    pattern_of,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import (
    CLUSTER,
    CONTENT,
    IMAGES,
    MQTT,
    NETWORK,
    NODE,
    NODES_SCHEMA,
    REGISTRY,
    SERVICE_NAME,
    STACK,
    TOP,
    UPDATE,
    VOLUME,
)
from ansible_collections.otto.cluster.plugins.module_utils.options import service_schema


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
        **NODES_SCHEMA,
    }
    own.pop("required")
    service = {
        **own,
        "anyOf": [{"required": ["image"]}, {"required": ["extends"]}],
        "properties": {"node": node, **own["properties"]},
        "additionalProperties": False,
    }
    name = {"description": "Name of the service and of its container.", **pattern_of(SERVICE_NAME)}
    listed = {
        **service,
        "properties": {"name": name, **service["properties"]},
        "required": ["name"],
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
        "stacks": {"type": "array", "items": _schema(STACK, node=node)},
        "update": _schema(UPDATE),
        "networks": _schema_of_objects(NETWORK),
        "volumes": _schema_of_objects(VOLUME),
        "registries": _schema_of_objects(REGISTRY),
        "images": _schema(IMAGES),
        "secrets": _schema_of_objects(CONTENT),
        "configs": _schema_of_objects(CONTENT),
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
