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
      - With O(state=present) either this or O(revision) is required; for a host of the inventory
        plugin P(otto.cluster.otto#inventory) it is that host's where neither is given, as are
        O(docker_url), O(state_dir), O(registries) and O(keep_images). With O(state=absent) it only
        says which cluster is meant; left out, that is the cluster of the target on the node.
    type: str
  revision:
    description:
      - Instead of O(target), the revision of a target that the node was given earlier; it takes its
        own copy. A node keeps the last ten.
    type: str
  expect:
    description:
      - The RV(plan_digest) of a plan that was agreed on. Where the node needs another plan by now,
        the module fails with RV(moved) and touches nothing.
    type: str
  adopt:
    description:
      - Containers that somebody started by hand and that a service takes over, by name; the value
        is the service. Each is replaced by a container of Otto's, and put back if that fails.
    type: dict
    default: {}
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
  agent:
    description:
      - What the agent of the node has to be (lookup P(otto.cluster.agent_wanted#lookup) tells it).
      - Where the node has another one, or its Docker does not answer, nothing is done but to return
        RV(missing). A node that has all of it needs no other call before this one.
      - Only with O(state=present).
    type: dict
  registries:
    description:
      - >-
        Logins of registries as JSON text, C({"<host>": {"username": ..., "password": ...}}).
      - They are used for what this call asks and pulls, and are written nowhere on the node.
    type: str
  keep_images:
    description:
      - How many earlier sets of images stay on the node to go back to. Older ones are removed when
        the target is reached, if Otto brought them and no container uses them. Below 0 none is.
    type: int
    default: 3
  hold:
    description:
      - Do nothing where something would change, but return RV(held). A node that is as it has to be
        is brought to its target as ever, which changes nothing that runs.
      - So an update that goes over the nodes in batches makes only those wait that it concerns.
      - Only with O(state=present).
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
missing:
  description: Whether Docker or the agent has to be installed first; then nothing was done.
  type: bool
  returned: with O(agent)
held:
  description: Whether there was something to change, and nothing was done because of O(hold).
  type: bool
  returned: with O(hold)
node:
  description: What M(otto.cluster.node_info) returns.
  type: dict
  returned: with O(agent)
plan:
  description: What was to be done. Secret values are never in it.
  type: dict
  returned: success or failure
plan_digest:
  description: The same for two plans that do the same for the same reasons.
  type: str
  returned: with O(state=present)
moved:
  description: The node needs another plan than O(expect) says; RV(plan) is that other one.
  type: bool
  returned: when nothing was touched for that reason
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
    interrupted:
      description:
        - The run before this one, where it was cut off, with C(holder), C(revision), C(operation)
          and C(time). This run went on from what it found.
      type: dict
    errors:
      description: What went wrong, each with C(service), C(message), C(cause) and C(next).
      type: list
      elements: dict
    seconds:
      description: Wall time.
      type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.otto.cluster.plugins.module_utils.sdk import Sdk
from ansible_collections.otto.cluster.plugins.module_utils.target_arguments import ARGUMENTS, RULES
from ansible_collections.otto.cluster.plugins.module_utils.target_work import run


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, **RULES)
    run(module, module.params, Sdk)


if __name__ == "__main__":
    main()
