# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that live in another's namespace: `network_mode: service:x`, and `ipc`, `pid`. Pure.

The engine keeps the other container's id, and its namespace ends with its process. So one that the
other has outlived, or lost, has to be made anew; it cannot even be started again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .model import Change, Observed, ObservedContainer, Spec, Target
from .operations import Create, Start
from .options import NAMESPACES
from .plan_values import ServicePlan, has_come, started_at

_KEYS = {"network_mode": "NetworkMode", "ipc": "IpcMode", "pid": "PidMode"}


def named(inspect: Mapping[str, Any], observed: Observed) -> Mapping[str, Any]:
    """The engine's document with the names of the containers whose namespaces it uses."""
    host = dict(inspect.get("HostConfig") or {})
    names = {container.id: container.name for container in observed.containers}
    for key in _KEYS.values():
        kind, _, whose = str(host.get(key) or "").partition(":")
        if kind == "container":
            host[key] = f"container:{names.get(whose, whose[:12] + ' (gone)')}"
    return {**inspect, "HostConfig": host}


def outlived(container: ObservedContainer, observed: Observed) -> dict[str, list[Change]]:
    """option -> the change of what it joined and what has been started anew since."""
    found: dict[str, list[Change]] = {}
    if container.state != "running":
        return found
    there = {other.id: other for other in observed.containers}
    for option, key in _KEYS.items():
        mode = str((container.inspect.get("HostConfig") or {}).get(key) or "")
        other = there.get(mode.partition(":")[2]) if mode.startswith("container:") else None
        if other is None or other.state != "running":
            continue
        began = started_at(other)
        if began > started_at(container) and has_come(began, observed):
            old = f"container:{other.name} before its restart"
            found[option] = [Change(option, old, f"container:{other.name}", "drift")]
    return found


def as_it_will_be(
    target: Target, spec: Spec, made: Mapping[str, ServicePlan], observed: Observed
) -> Observed:
    """What is observed, without the containers of those services that the spec joins and that get
    a new container, or are started, before it is carried out."""
    gone = set()
    for key in NAMESPACES:
        kind, _, name = str(spec.get(key, "")).partition(":")
        plan = made.get(name)
        if kind != "service" or plan is None:
            continue
        if any(isinstance(step, (Create, Start)) for step in plan.operations):
            gone.add(name)
    if not gone:
        return observed
    left = tuple(
        container
        for container in observed.containers
        if container.cluster != target.cluster or container.service not in gone
    )
    return replace(observed, containers=left)
