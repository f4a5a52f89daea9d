# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives a playbook what the inventory says of a host, whatever the host says of itself."""

from __future__ import annotations

# ruff: noqa: E402 - Ansible's own shape: signature, documentation first

DOCUMENTATION = r"""
name: own
short_description: Tell what the inventory says of a host
version_added: 0.1.0
description:
  - Returns variables of the host as the inventory has them.
  - With Ansible's default, a fact that a host returns wins over a variable of the inventory that is
    called the same. Here it does not.
author:
  - The Otto authors (@otto-cluster)
options:
  _terms:
    description: Names of variables.
    required: true
"""

EXAMPLES = r"""
- name: Show the address of the engine
  ansible.builtin.debug:
    msg: "{{ lookup('otto.cluster.own', 'otto_node').docker_url }}"
"""

RETURN = r"""
_raw:
  description: The values; an empty text for a variable that the inventory does not have.
  type: list
  elements: raw
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.plugin_utils.own import own


class LookupModule(LookupBase):  # type: ignore[misc]
    """otto.cluster.own"""

    def run(
        self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        try:
            mine = own(variables or {})
        except OttoError as error:
            raise AnsibleLookupError(str(error)) from error
        return [mine.get(str(term), "") for term in terms]
