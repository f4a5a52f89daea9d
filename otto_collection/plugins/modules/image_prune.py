#!/usr/bin/python
# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: image_prune
short_description: Remove images that Otto brought and superseded
version_added: 0.1.0
description:
  - Removes from a node the images that earlier applies of its cluster brought, that are not among
    those kept to go back to, and that no container uses. M(otto.cluster.target) does the same at
    the end of an apply.
  - An image that was on the node before, or that somebody gave another name, is never removed.
author:
  - The Otto authors (@otto-cluster)
requirements:
  - Docker Engine 20.10 or later
  - The Docker SDK for Python, 7.1 or later, which the agent brings with it in C(/opt/otto/current)
options:
  keep:
    description: How many earlier sets of images stay to go back to; below 0 all of them.
    type: int
    default: 3
  state_dir:
    description: Directory on the node that holds the target and the lock.
    type: path
    default: /var/lib/otto
  docker_url:
    description: Address of the Docker engine, C(unix:///path) or C(tcp://host:port).
    type: str
    default: unix:///var/run/docker.sock
  lock_timeout:
    description: Seconds to wait for another run on the same node, such as a mend by the agent.
    type: int
    default: 120
attributes:
  check_mode:
    description: Can run in check mode and return what would be removed without removing it.
    support: full
  diff_mode:
    description: Returns what is removed in diff mode.
    support: full
seealso:
  - module: otto.cluster.target
"""

EXAMPLES = r"""
- name: Keep only what runs
  otto.cluster.image_prune:
    keep: 0
"""

RETURN = r"""
removed:
  description: A line for each image that was removed, or would be in check mode.
  type: list
  elements: str
  returned: success
  sample: ["remove image nginx:1.27-alpine (sha256:dfc3724201aa)"]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.otto.cluster.plugins.module_utils import image_memory
from ansible_collections.otto.cluster.plugins.module_utils.beneath import within
from ansible_collections.otto.cluster.plugins.module_utils.edge import fail
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.module_utils.state import TargetStore


def work(params: dict, check: bool) -> list:
    directory, keep = Path(params["state_dir"]), params["keep"]
    try:
        with within(directory) as folder:
            if folder is None:
                return []  # Otto was never here
    except OSError as error:
        raise OttoError(
            f"Cannot open {directory}",
            cause=error.strerror or str(error),
            next=typed("ls -ld {}", directory),
        ) from error
    with DockerEngine(params["docker_url"]) as engine:
        if check:
            steps = image_memory.to_prune(
                image_memory.read(directory), engine.images_in_use(), keep
            )
            return [step.line() for step in steps]
        with TargetStore(directory).lock(params["lock_timeout"], "prune of images"):
            memory = image_memory.read(directory)
            after, gone = image_memory.prune(engine, memory, engine.images_in_use(), keep)
            if after != memory:
                image_memory.write(directory, after)
            return list(gone)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "keep": {"type": "int", "default": 3},
            "state_dir": {"type": "path", "default": "/var/lib/otto"},
            "docker_url": {"type": "str", "default": "unix:///var/run/docker.sock"},
            "lock_timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    try:
        removed = work(module.params, module.check_mode)
    except OttoError as error:
        fail(module, error)
    result = {"changed": bool(removed), "removed": removed}
    if module._diff:
        result["diff"] = {"before": "".join(f"{line}\n" for line in removed), "after": ""}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
