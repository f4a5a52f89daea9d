#!/usr/bin/python
# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: on_node
short_description: Run a module of Ansible on a node that is not trusted
version_added: 0.1.0
description:
  - Runs a module of C(ansible.builtin) on a node and returns only what is named below, each part
    with its type and bounded.
  - A result that comes to Ansible as a node gives it can add hosts, set facts that win over the
    inventory, write escapes to a terminal, and end the run of all other hosts. Whoever has root on
    one node would use that.
  - This is an action that runs on the control machine.
author:
  - The Otto authors (@otto-cluster)
options:
  module:
    description: Name of the module, without its collection.
    type: str
    required: true
    choices: [apt, command, copy, file, stat, systemd_service]
  arguments:
    description: Its arguments.
    type: dict
    required: true
attributes:
  check_mode:
    description: Can run in check mode and return what would change without changing it.
    support: partial
    details: As the module does.
  diff_mode:
    description: Returns details on what has changed, or would change in check mode.
    support: partial
    details: As the module does.
seealso:
  - module: otto.cluster.node_info
"""

EXAMPLES = r"""
- name: Start the engine
  otto.cluster.on_node:
    module: systemd_service
    arguments:
      name: docker.service
      state: started
"""

RETURN = r"""
rc:
  description: Exit code, of a module that runs a program.
  type: int
  returned: when the module returns it
stdout:
  description: What the program said, at most 20,000 characters and without control characters.
  type: str
  returned: when the module returns it
stdout_lines:
  description: The same as lines.
  type: list
  elements: str
  returned: with RV(stdout)
stderr:
  description: What the program said of failures.
  type: str
  returned: when the module returns it
stat:
  description: Whether the file is there.
  type: dict
  returned: when O(module=stat)
  contains:
    exists:
      description: Whether it is.
      type: bool
"""

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(
        argument_spec={
            "module": {
                "type": "str",
                "required": True,
                "choices": ["apt", "command", "copy", "file", "stat", "systemd_service"],
            },
            "arguments": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    module.fail_json(msg="on_node is an action of the control machine: call it by its full name")


if __name__ == "__main__":
    main()
