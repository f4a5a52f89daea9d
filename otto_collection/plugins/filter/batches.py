# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets a playbook go over the nodes as `update` of otto.yaml says."""

from __future__ import annotations

# ruff: noqa: E402 - Ansible's own shape: documentation first

DOCUMENTATION = r"""
name: batches
short_description: Put nodes into the batches that they are updated in
version_added: 0.1.0
description:
  - Canaries come first and alone, then as many nodes at once as the file allows, in its order.
author:
  - The Otto authors (@otto-cluster)
positional: update
options:
  _input:
    description: Ids of the nodes that have something to change.
    type: list
    elements: str
    required: true
  update:
    description: What the inventory plugin P(otto.cluster.otto#inventory) gives as C(otto_update).
    type: dict
    required: true
"""

EXAMPLES = r"""
# [["rpi-01"], ["rpi-02", "rpi-03"], ["rpi-04"]] with canary 1 and parallelism 2
- name: Show how an update would go
  ansible.builtin.debug:
    msg: "{{ groups['otto'] | otto.cluster.batches(otto_update) }}"
"""

RETURN = r"""
_value:
  description: Lists of ids, one list for each batch.
  type: list
  elements: list
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster import Update


def batches(waiting: Iterable[str], update: Mapping[str, Any]) -> list[list[str]]:
    """waiting: node ids. update: `otto_update`."""
    canary = update["canary"]
    how = Update(
        parallelism=update["parallelism"],
        canary=canary if isinstance(canary, int) else tuple(canary),
    )
    return how.batches(set(waiting), update["nodes"])


class FilterModule:
    """otto.cluster.batches"""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"batches": batches}
