# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs to a host by the inventory, and by nothing else.

A node's facts stand among the variables of a task, and with Ansible's default
(`inject_facts_as_vars`) they win over those of the inventory. So what decides whose account, target
or directory a host gets is read from the inventory itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError


def own(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inventory's variables of the host that a task runs for, its groups' among them. Raises
    OttoError where no inventory knows the host.

    variables: as a plugin is given them. Of these, only Ansible's own are used: `hostvars` and
    `inventory_hostname`, which no fact and no variable of a play replaces.
    """
    name = str(variables.get("inventory_hostname", ""))
    inventory = getattr(variables.get("hostvars"), "_inventory", None)
    host = inventory.get_host(name) if inventory is not None else None
    if host is None:
        raise OttoError(
            f"No inventory has the host {name}",
            next="ansible-inventory -i otto.yaml --graph   (shows which hosts there are)",
        )
    found: dict[str, Any] = {}
    for group in sorted(host.get_groups(), key=lambda one: (one.depth, one.priority, one.name)):
        found.update(group.get_vars())
    return {**found, **host.vars}


def own_or_nothing(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """Like `own`; {} for a host that is not one of Otto's inventory."""
    try:
        found = own(variables)
    except OttoError:
        return {}
    return found if "otto_node" in found else {}


def place_of(mine: Mapping[str, Any]) -> dict[str, Any]:
    """The address of the engine and the directory of the state, as arguments of a module."""
    if not mine:
        return {}
    return {"docker_url": mine["otto_node"]["docker_url"], "state_dir": mine["otto_state_dir"]}
