#!/usr/bin/python
# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: node_info
short_description: Tell what a node has of what Otto needs
version_added: 0.1.0
description:
  - Tells in one call what an installation of Docker and of the agent has to know about a host.
  - Needs Python 3.9 and nothing else on the node. It changes nothing.
author:
  - The Otto authors (@otto-cluster)
options:
  docker_url:
    description: Address of the Docker engine that is asked for its version.
    type: str
    default: unix:///var/run/docker.sock
  disk_path:
    description: Directory whose file system is measured. Its nearest existing parent is taken.
    type: path
    default: /var/lib
  timeout:
    description: Seconds that the Docker engine has for its answer.
    type: float
    default: 3.0
attributes:
  check_mode:
    description: Can run in check mode and return the state without changing anything.
    support: full
  diff_mode:
    description: Returns what would change in diff mode.
    support: none
seealso:
  - module: otto.cluster.target
"""

EXAMPLES = r"""
- name: Look at the node
  otto.cluster.node_info:
  register: node

- name: Install Docker where none answers
  ansible.builtin.include_role:
    name: otto.cluster.docker
  when: not node.docker.answers
"""

RETURN = r"""
python:
  description: Version of the Python interpreter that runs the modules.
  type: str
  returned: always
  sample: 3.11.2
distribution:
  description: Fields of C(/etc/os-release), empty where the node has none.
  type: dict
  returned: always
  contains:
    id:
      description: Name for programs.
      type: str
      sample: debian
    id_like:
      description: Names of the distributions that it descends from.
      type: list
      elements: str
    version_id:
      description: Version.
      type: str
      sample: "12"
    codename:
      description: Code name.
      type: str
      sample: bookworm
    name:
      description: Name for people.
      type: str
      sample: Debian GNU/Linux 12 (bookworm)
architecture:
  description: Machine name of the kernel.
  type: str
  returned: always
  sample: aarch64
hostname:
  description: Name of the host.
  type: str
  returned: always
  sample: rpi-01
init:
  description: Name of process 1.
  type: str
  returned: always
  sample: systemd
docker:
  description: The Docker engine.
  type: dict
  returned: always
  contains:
    present:
      description: Whether C(dockerd) is installed or something answers at the address.
      type: bool
    answers:
      description: Whether the engine answers.
      type: bool
    version:
      description: Version of the engine, empty where none answers.
      type: str
      sample: 26.1.5
    api_version:
      description: Version of its API, empty where none answers.
      type: str
      sample: "1.45"
    error:
      description: Why it does not answer, empty where it does.
      type: str
agent:
  description: The agent of Otto.
  type: dict
  returned: always
  contains:
    version:
      description: Name of the bundle that C(/opt/otto/current) leads to, empty where there is none.
      type: str
      sample: 0.1.0
    bundle_sha256:
      description:
        - SHA-256 of the manifest of that bundle, by which the control machine knows it. Empty where
          it is not root's alone, or not every file in it is as the manifest says.
      type: str
    config_sha256:
      description: SHA-256 of C(/etc/otto/agent.json), empty where there is none.
      type: str
    unit_sha256:
      description: SHA-256 of the systemd unit of the agent, empty where there is none.
      type: str
    unfinished:
      description: Whether its last installation was cut off.
      type: bool
    active:
      description: What systemd says of C(otto-agent.service).
      type: str
      sample: active
    enabled:
      description: Whether systemd starts it at boot.
      type: bool
disk:
  description: The file system of O(disk_path).
  type: dict
  returned: always
  contains:
    path:
      description: The directory that was measured.
      type: str
    free:
      description: Bytes that are free for those who are not root.
      type: int
    total:
      description: Bytes in all.
      type: int
memory_cgroup:
  description:
    - Whether the kernel accounts memory. Raspberry Pi OS may need C(cgroup_enable=memory) on its
      kernel command line; without it memory limits do nothing.
  type: bool
  returned: always
time:
  description: The clock of the node, in seconds since the epoch.
  type: float
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.otto.cluster.plugins.module_utils.edge import fail
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.node import look


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "docker_url": {"type": "str", "default": "unix:///var/run/docker.sock"},
            "disk_path": {"type": "path", "default": "/var/lib"},
            "timeout": {"type": "float", "default": 3.0},
        },
        supports_check_mode=True,
    )
    try:
        result = look(**module.params)
    except OttoError as error:
        fail(module, error)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
