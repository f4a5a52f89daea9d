#!/usr/bin/python
# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: first_plan
short_description: Plan a node that has no Docker or no agent yet
version_added: 0.1.0
description:
  - Returns what M(otto.cluster.target) would return in check mode if the node had nothing at all.
  - The target is the one that the inventory has for the host.
  - This is an action that runs on the control machine; the node is not called.
author:
  - The Otto authors (@otto-cluster)
options:
  installed:
    description: What M(otto.cluster.node_info) returned for the node.
    type: dict
    required: true
attributes:
  check_mode:
    description: Can run in check mode and return what would change without changing it.
    support: full
  diff_mode:
    description: Returns details on what has changed, or would change in check mode.
    support: full
seealso:
  - module: otto.cluster.target
"""

EXAMPLES = r"""
- name: Plan from nothing
  otto.cluster.first_plan:
    installed: "{{ otto_info }}"
"""

RETURN = r"""
msg:
  description: One line for people.
  type: str
  returned: success
  sample: would install Docker, install the agent, create 2 services
plan:
  description: The plan, as M(otto.cluster.target) returns it.
  type: dict
  returned: success
plan_digest:
  description: The digest of the plan, as M(otto.cluster.target) returns it.
  type: str
  returned: success
report:
  description: The report, as M(otto.cluster.target) returns it.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(
        argument_spec={
            "installed": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    module.fail_json(msg="first_plan is an action of the control machine: call it by its full name")


if __name__ == "__main__":
    main()
