#!/usr/bin/python
# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: container_service
short_description: Tell the service that a running container would be in otto.yaml
version_added: 0.1.0
description:
  - Looks at a container that somebody started by hand and returns the service to write into
    C(otto.yaml), so that the same would run. What the image and the engine add by themselves is
    left out.
  - Values of variables that sound secret do not leave the node.
author:
  - The Otto authors (@otto-cluster)
requirements:
  - Docker Engine 20.10 or later
  - The Docker SDK for Python, 7.1 or later, which the agent brings with it in C(/opt/otto/current)
options:
  name:
    description: Name of the container.
    type: str
    required: true
  docker_url:
    description: Address of the Docker engine, C(unix:///path) or C(tcp://host:port).
    type: str
    default: unix:///var/run/docker.sock
  timeout:
    description: Seconds that one answer of the Docker engine may take.
    type: int
    default: 60
attributes:
  check_mode:
    description: Can run in check mode; it never changes anything.
    support: full
  diff_mode:
    description: Returns what changes; nothing ever does.
    support: none
seealso:
  - module: otto.cluster.target
"""

EXAMPLES = r"""
- name: See what runs as web
  otto.cluster.container_service:
    name: web
"""

RETURN = r"""
service:
  description: The service, as it goes into otto.yaml.
  type: dict
  returned: success
volumes:
  description: Entries of the top-level C(volumes) that it needs.
  type: dict
  returned: success
networks:
  description: Entries of the top-level C(networks) that it needs.
  type: dict
  returned: success
secrets:
  description: Names of the variables that stand in the service for its secrets.
  type: list
  elements: str
  returned: success
left:
  description: What the container has and the service does not say, one line each.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.otto.cluster.plugins.module_utils.as_service import left, service_of
from ansible_collections.otto.cluster.plugins.module_utils.edge import fail
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.model import Target


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "docker_url": {"type": "str", "default": "unix:///var/run/docker.sock"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    name = module.params["name"]
    try:
        with DockerEngine(module.params["docker_url"], module.params["timeout"]) as engine:
            engine.also = (name,)
            observed = engine.observe(Target("", ""))
            container = next((c for c in observed.containers if c.name == name), None)
            if container is None:
                raise OttoError(
                    f"There is no container {name} on this node",
                    next="docker ps -a   (on the node: shows which there are)",
                )
            image = observed.images.get(container.image_id)
            config = image.config if image is not None else {}
            found = service_of(container.inspect, config)
            told = left(found, container.inspect, config, observed.engine)
    except OttoError as error:
        fail(module, error)
    module.exit_json(
        changed=False,
        service=found.shown(),
        volumes=found.volumes,
        networks=found.networks,
        secrets=list(found.secrets),
        left=told,
    )


if __name__ == "__main__":
    main()
