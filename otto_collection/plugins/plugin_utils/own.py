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
    OttoError where no inventory knows the host, or where it gives itself a name.

    variables: as a plugin is given them.
    """
    found = _of_inventory(variables)
    if found is None:
        raise OttoError(
            f"No inventory has the host {variables.get('inventory_hostname', '')}",
            next="ansible-inventory -i otto.yaml --graph   (shows which hosts there are)",
        )
    return found


def own_or_nothing(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """Like `own`; {} for a host that is not one of Otto's inventory."""
    found = _of_inventory(variables)
    return found if found is not None and "otto_node" in found else {}


def _of_inventory(variables: Mapping[str, Any]) -> dict[str, Any] | None:
    # `hostvars` and `ansible_facts` are Ansible's own words, which nothing replaces. A name is not:
    # a fact that is called inventory_hostname makes one host another.
    if "inventory_hostname" in (variables.get("ansible_facts") or {}):
        raise OttoError(
            "A host gives itself the name of another one",
            cause="there is a fact inventory_hostname, which replaces the host's own",
            next="ansible-playbook --flush-cache site.yml   (and look at what returned that fact)",
        )
    inventory = getattr(variables.get("hostvars"), "_inventory", None)
    host = inventory.get_host(str(variables.get("inventory_hostname", ""))) if inventory else None
    if host is None:
        return None
    found: dict[str, Any] = {}
    for group in sorted(host.get_groups(), key=lambda one: (one.depth, one.priority, one.name)):
        found.update(group.get_vars())
    return {**found, **host.vars}


def place_of(mine: Mapping[str, Any]) -> dict[str, Any]:
    """The address of the engine and the directory of the state, as arguments of a module."""
    if not mine:
        return {}
    return {"docker_url": mine["otto_node"]["docker_url"], "state_dir": mine["otto_state_dir"]}
