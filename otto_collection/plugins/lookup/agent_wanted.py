# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets a playbook see, without a task, whether a node has the agent that it ought to have."""

from __future__ import annotations

# ruff: noqa: ARG002, E402 - Ansible's own shape: signature, documentation first

DOCUMENTATION = r"""
name: agent_wanted
short_description: Tell what the agent of a node has to be
version_added: 0.1.0
description:
  - Returns what RV(otto.cluster.node_info#module:agent) is where the agent is as it has to be.
  - Builds the agent bundle on the control machine when its cache has none of that content.
  - Takes everything from what the inventory says of the host; facts of the host count for nothing.
author:
  - The Otto authors (@otto-cluster)
options:
  _terms:
    description: Not used.
    required: false
"""

EXAMPLES = r"""
- name: Install the agent where it is missing or another one
  ansible.builtin.include_role:
    name: otto.cluster.agent
  when: otto_info.agent != lookup('otto.cluster.agent_wanted')
"""

RETURN = r"""
_raw:
  description: One dictionary with version, config_sha256, unit_sha256, active and enabled.
  type: list
  elements: dict
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.plugin_utils.installation import (
    SETTINGS,
    installation,
)
from ansible_collections.otto.cluster.plugins.plugin_utils.own import own


class LookupModule(LookupBase):  # type: ignore[misc]
    """otto.cluster.agent_wanted"""

    def run(
        self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        self.set_options(var_options=variables, direct=kwargs)
        try:
            known = variables or {}
            settings = {
                name: self._templar.template(known[name]) for name in SETTINGS if name in known
            }
            return [installation(own(known), settings).as_seen()]
        except OttoError as error:
            raise AnsibleLookupError(str(error)) from error
