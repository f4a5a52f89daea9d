# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON Schema of what may be written for each option, for editors. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXT: Mapping[str, Any] = {"type": "string"}
NUMBER: Mapping[str, Any] = {"type": ["string", "number"]}
SCALAR: Mapping[str, Any] = {"type": ["string", "number", "boolean", "null"]}
FLAG: Mapping[str, Any] = {
    "anyOf": [{"type": "boolean"}, {"enum": ["true", "false", "yes", "no", "on", "off"]}]
}


def list_of(items: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "array", "items": items}


def object_of(optional: Mapping[str, Any], required: tuple[str, ...] = ()) -> Mapping[str, Any]:
    shape = {"type": "object", "properties": dict(optional), "additionalProperties": False}
    return {**shape, "required": list(required)} if required else shape


def any_of(*shapes: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"anyOf": list(shapes)}


def map_of(shape: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "additionalProperties": shape}


TEXTS = any_of(TEXT, list_of(NUMBER))
MAPPING = any_of({"type": "object", "additionalProperties": SCALAR}, list_of(TEXT))
PORT = any_of(
    NUMBER,
    object_of(
        {
            "target": NUMBER,
            "published": NUMBER,
            "host_ip": TEXT,
            "protocol": {"enum": ["tcp", "udp", "sctp"]},
            "mode": {"enum": ["host", "ingress"]},
            "name": TEXT,
            "app_protocol": TEXT,
        },
        ("target",),
    ),
)
VOLUME = any_of(
    TEXT,
    object_of(
        {
            "type": {"enum": ["bind", "volume", "tmpfs"]},
            "source": TEXT,
            "target": TEXT,
            "read_only": FLAG,
            "consistency": TEXT,
            "bind": object_of(
                {"propagation": TEXT, "create_host_path": FLAG, "selinux": {"enum": ["z", "Z"]}}
            ),
            "volume": object_of({"nocopy": FLAG}),
            "tmpfs": object_of({"size": NUMBER, "mode": NUMBER}),
        },
        ("type", "target"),
    ),
)
NETWORK = any_of(
    {"type": "null"},
    object_of(
        {
            "aliases": TEXTS,
            "ipv4_address": TEXT,
            "ipv6_address": TEXT,
            "link_local_ips": TEXTS,
            "driver_opts": MAPPING,
            "priority": NUMBER,
        }
    ),
)
HEALTH = object_of(
    {
        "test": any_of(TEXT, list_of(TEXT)),
        "interval": TEXT,
        "timeout": TEXT,
        "start_period": TEXT,
        "start_interval": TEXT,
        "retries": NUMBER,
        "disable": FLAG,
    }
)
DEPENDENCY = any_of(
    {"type": "null"},
    object_of(
        {
            "condition": {
                "enum": [
                    "service_started",
                    "service_healthy",
                    "service_completed_successfully",
                ]
            },
            "required": FLAG,
            "restart": FLAG,
        }
    ),
)
ULIMIT = any_of(NUMBER, object_of({"soft": NUMBER, "hard": NUMBER}, ("soft", "hard")))
DEVICE = any_of(TEXT, object_of({"source": TEXT, "target": TEXT, "permissions": TEXT}, ("source",)))
JOINING = any_of(
    {"enum": ["bridge", "host", "none", "private", "shareable"]},
    {"type": "string", "pattern": "^(service|container):"},
)
FILE = any_of(
    TEXT,
    object_of(
        {"source": TEXT, "target": TEXT, "uid": NUMBER, "gid": NUMBER, "mode": NUMBER}, ("source",)
    ),
)
HOOK = object_of(
    {
        "command": TEXTS,
        "user": NUMBER,
        "privileged": FLAG,
        "working_dir": TEXT,
        "environment": MAPPING,
    },
    ("command",),
)
DEVICE_REQUEST = object_of(
    {
        "driver": TEXT,
        "count": NUMBER,
        "device_ids": TEXTS,
        "capabilities": TEXTS,
        "options": MAPPING,
    }
)
DEPLOY = object_of(
    {
        "mode": {"enum": ["replicated"]},
        "replicas": NUMBER,
        "resources": object_of(
            {
                "limits": object_of({"cpus": NUMBER, "memory": NUMBER, "pids": NUMBER}),
                "reservations": object_of(
                    {"cpus": NUMBER, "memory": NUMBER, "devices": list_of(DEVICE_REQUEST)}
                ),
            }
        ),
        "restart_policy": object_of(
            {"condition": {"enum": ["none", "on-failure", "any"]}, "max_attempts": NUMBER}
        ),
        "update_config": object_of(
            {
                "order": {"enum": ["start-first", "stop-first"]},
                "failure_action": {"enum": ["rollback"]},
            }
        ),
    }
)
_RATES = list_of(object_of({"path": TEXT, "rate": NUMBER}, ("path", "rate")))
BLKIO = object_of(
    {
        "weight": NUMBER,
        "weight_device": list_of(object_of({"path": TEXT, "weight": NUMBER}, ("path", "weight"))),
        "device_read_bps": _RATES,
        "device_write_bps": _RATES,
        "device_read_iops": _RATES,
        "device_write_iops": _RATES,
    }
)
