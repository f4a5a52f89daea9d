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

from ansible import constants as C
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
    refuse_facts(variables)
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


def refuse_facts(variables: Mapping[str, Any], connection: Any = None) -> None:
    """Raises OttoError where facts of the host are called like what decides whose host it is, what
    it gets, or how it is reached: with `inject_facts_as_vars` they would replace that.

    connection: of the task, where there is one. `ansible_facts` is Ansible's own word among the
    variables: it holds every fact, without the prefix `ansible_`, and no fact replaces it.
    """
    facts = variables.get("ansible_facts") or {}
    if not facts or not C.INJECT_FACTS_AS_VARS:
        return
    own_names = {name for name in facts if name in _NAMES or name.startswith("otto_")}
    plugins = [connection, getattr(connection, "become", None), getattr(connection, "_shell", None)]
    steering = {
        each["name"].removeprefix("ansible_")
        for plugin in plugins
        for option in getattr(plugin, "option_definitions", {}).values()
        for each in option.get("vars") or ()
    }
    bad = sorted(own_names | (steering & set(facts)))
    if bad:
        raise OttoError(
            "Facts of this host are called like what Otto and Ansible go by",
            cause=f"with inject_facts_as_vars they replace it: {', '.join(bad)[:300]}",
            next="ANSIBLE_INJECT_FACT_VARS=False ansible-playbook site.yml"
            "   (and look at what returned them)",
        )


_NAMES = ("inventory_hostname", "inventory_hostname_short", "group_names")
