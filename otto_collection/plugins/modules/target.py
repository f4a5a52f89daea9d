#!/usr/bin/python
# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: target
short_description: Make a node what otto.yaml says it is to be
version_added: 0.1.0
description:
  - Gives a node its target, which is all that it must be, and brings its containers, networks and
    volumes there in this one call. What is already as it should be is not touched.
  - The target is written to O(state_dir) before anything is changed, so that the agent on the node
    keeps it true from then on and finishes a run that was interrupted.
  - A service whose update fails gets its earlier container back; all other services go on.
  - The inventory plugin P(otto.cluster.otto#inventory) makes the target of every node.
author:
  - The Otto authors (@otto-cluster)
requirements:
  - Docker Engine 20.10 or later
  - The Docker SDK for Python, 7.1 or later, which the agent brings with it in C(/opt/otto/current)
options:
  target:
    description:
      - The target document as JSON text. It is text and not a dictionary, because Ansible masks a
        secret text as a whole, but each single value of a secret dictionary wherever it stands.
      - Required with O(state=present). With O(state=absent) it only says which cluster is meant;
        left out, that is the cluster of the target on the node.
    type: str
  state:
    description:
      - V(present) brings the node to its target.
      - V(absent) forgets the target and removes all containers and networks of the cluster.
    type: str
    choices: [present, absent]
    default: present
  volumes:
    description: With O(state=absent), remove the volumes of the cluster as well, data and all.
    type: bool
    default: false
  state_dir:
    description: Directory on the node that holds the target and the lock.
    type: path
    default: /var/lib/otto
  docker_url:
    description: Address of the Docker engine, C(unix:///path) or C(tcp://host:port).
    type: str
    default: unix:///var/run/docker.sock
  timeout:
    description: Seconds that one answer of the Docker engine may take.
    type: int
    default: 60
  lock_timeout:
    description: Seconds to wait for another run on the same node, such as a mend by the agent.
    type: int
    default: 120
  workers:
    description: How many services and images are worked on at once.
    type: int
    default: 10
attributes:
  check_mode:
    description: Can run in check mode and return the plan without changing anything.
    support: full
  diff_mode:
    description: Returns what changes, or in check mode what would change, in diff mode.
    support: full
seealso:
  - module: otto.cluster.container
  - module: otto.cluster.node_info
"""

EXAMPLES = r"""
- name: Bring every node to its target
  otto.cluster.target:
    target: "{{ otto_target | to_json }}"
    docker_url: "{{ otto_node.docker_url }}"
    state_dir: "{{ otto_state_dir }}"

- name: Take the cluster down and keep its data
  otto.cluster.target:
    state: absent
"""

RETURN = r"""
plan:
  description: What was to be done. Secret values are never in it.
  type: dict
  returned: success or failure
report:
  description: What became of it.
  type: dict
  returned: success or failure
  contains:
    cluster:
      description: Name of the cluster.
      type: str
    node:
      description: Id of the node.
      type: str
    revision:
      description: Digest of the target.
      type: str
    changed:
      description: Whether anything was changed.
      type: bool
    services:
      description:
        - For each service its C(state), C(health), C(container_id), C(image), C(verdict),
          C(changes) and C(error).
      type: dict
    errors:
      description: What went wrong, each with C(service), C(message), C(cause) and C(next).
      type: list
      elements: dict
    seconds:
      description: Wall time.
      type: float
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.otto.cluster.plugins.module_utils.edge import (
    diff_of,
    fail,
    page,
    target_from_text,
)
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.plan import Plan
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import Report, apply, remove
from ansible_collections.otto.cluster.plugins.module_utils.state import BrokenTarget, TargetStore


def bring(module: AnsibleModule, store: TargetStore) -> Report:
    """state=present"""
    target = target_from_text(module.params["target"])
    try:
        problem = store.load().problem
    except BrokenTarget as error:
        problem = error.cause
    if problem:
        module.warn(f"The earlier target could not be read, it is written anew: {problem}")
    with DockerEngine(module.params["docker_url"], module.params["timeout"]) as engine:
        return apply(
            engine,
            store,
            target,
            check=module.check_mode,
            workers=module.params["workers"],
            lock_timeout=module.params["lock_timeout"],
            holder=f"apply of revision {target.revision}",
        )


def take_down(module: AnsibleModule, store: TargetStore) -> Report:
    """state=absent"""
    if module.params["target"]:
        target: Target | None = target_from_text(module.params["target"])
    else:
        target = store.read()
    if target is None:
        return Report(cluster="", node="", revision="", changed=False, plan=Plan().to_json())
    how = {
        "volumes": module.params["volumes"],
        "node": target.node,
        "check": module.check_mode,
        "workers": module.params["workers"],
    }
    with DockerEngine(module.params["docker_url"], module.params["timeout"]) as engine:
        if module.check_mode:
            return remove(engine, target.cluster, **how)
        with store.lock(module.params["lock_timeout"], f"down of {target.cluster}"):
            # First forgotten, then removed: the other way round, an agent that comes in between
            # (or after an interruption) would bring everything back.
            store.clear()
            return remove(engine, target.cluster, **how)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "target": {"type": "str", "no_log": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "volumes": {"type": "bool", "default": False},
            "state_dir": {"type": "path", "default": "/var/lib/otto"},
            "docker_url": {"type": "str", "default": "unix:///var/run/docker.sock"},
            "timeout": {"type": "int", "default": 60},
            "lock_timeout": {"type": "int", "default": 120},
            "workers": {"type": "int", "default": 10},
        },
        required_if=[("state", "present", ["target"])],
        supports_check_mode=True,
    )
    store = TargetStore(module.params["state_dir"])
    try:
        work = bring if module.params["state"] == "present" else take_down
        report = work(module, store)
    except OttoError as error:
        fail(module, error)
    document = report.to_json()
    result = {"changed": report.changed, "plan": document.pop("plan"), "report": document}
    if module._diff:
        result["diff"] = diff_of(result["plan"])
    if report.errors:
        module.fail_json(msg=page(report.node or os.uname().nodename, report.errors), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
