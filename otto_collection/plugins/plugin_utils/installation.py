# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent's installation on one node has to be: bundle, configuration, unit, digests.

The lookup `agent_wanted` compares by it and the action `agent` installs by it, so what is compared
is what is installed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster import Mqtt
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, show_value
from ansible_collections.otto.cluster.plugins.plugin_utils import bundle
from ansible_collections.otto.cluster.plugins.plugin_utils.access import access
from ansible_collections.otto.cluster.plugins.plugin_utils.state import state_root
from jinja2 import Environment, StrictUndefined

_NEEDED = ("otto_cluster", "otto_node", "otto_mqtt", "otto_state_dir")
SETTINGS = ("agent_memory_max", "agent_timeout")
"""Variables of a playbook that change an installation."""
TEMPLATE = Path(__file__).parents[2] / "roles/agent/templates/otto-agent.service.j2"
DEFAULT_PYTHON = "/usr/bin/python3"
DEFAULT_MEMORY = "256M"
DEFAULT_TIMEOUT = 60


@dataclass(frozen=True)
class Installation:
    """config and unit are the texts of the two files; config holds the MQTT password."""

    bundle: bundle.Bundle
    config: str
    unit: str

    def as_seen(self) -> dict[str, Any]:
        """What `otto.cluster.node_info` returns as `agent` where all is as it has to be."""
        return {
            "version": self.bundle.version,
            "bundle_sha256": self.bundle.sha256,
            "config_sha256": _sha256(self.config),
            "unit_sha256": _sha256(self.unit),
            "unfinished": False,
            "active": "active",
            "enabled": True,
        }


def installation(mine: Mapping[str, Any], settings: Mapping[str, Any]) -> Installation:
    """From what the inventory says of a host (`own.own`), and what the control machine keeps: the
    node's password and the CA, made here when they are asked for first. Raises OttoError that
    names what is missing.

    settings: of SETTINGS, those that a playbook has.
    """
    for name in _NEEDED:
        if name not in mine:
            raise OttoError(
                f"The host has no variable {name}",
                cause="it does not come from Otto's inventory plugin",
                next="ansible-inventory -i otto.yaml --graph   (shows which hosts do)",
            )
    node = mine["otto_node"]
    name = str(mine["otto_cluster"])
    config = {
        "cluster": name,
        "node": node["id"],
        "docker_url": node["docker_url"],
        "state_dir": mine["otto_state_dir"],
        "metrics_interval": 10,
        "sweep_interval": 60,
    }
    if mine["otto_mqtt"]:  # without a broker the agent heals in silence
        mqtt = Mqtt(**mine["otto_mqtt"])
        config["mqtt"] = access(mqtt, state_root(), name, node["id"]).to_json()
    unit = Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    ).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return Installation(
        bundle=bundle.current(),
        config=json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
        unit=unit.render(
            python=python_of(mine),
            docker_group="docker" if str(node["docker_url"]).startswith("unix:") else "",
            memory_max=_memory(settings.get("agent_memory_max", DEFAULT_MEMORY)),
            start_timeout=_seconds(settings.get("agent_timeout", DEFAULT_TIMEOUT)),
        ),
    )


def _memory(value: Any) -> str:
    if not re.fullmatch(r"[0-9]{1,18}[KMGT]?|[0-9]{1,2}%|infinity", str(value)):
        raise OttoError(
            f"agent_memory_max: {show_value(value)} is no amount of memory as systemd reads it",
            next="agent_memory_max: 256M",
        )
    return str(value)


def _seconds(value: Any) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", str(value)):
        raise OttoError(
            f"agent_timeout: {show_value(value)} is no number of seconds", next="agent_timeout: 60"
        )
    return int(value)


def python_of(variables: Mapping[str, Any]) -> str:
    """The Python of a node, by which its agent runs too."""
    python = str(variables.get("ansible_python_interpreter") or DEFAULT_PYTHON)
    # auto, auto_silent: what discovery finds is no stable path
    return python if python.startswith("/") else DEFAULT_PYTHON


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
