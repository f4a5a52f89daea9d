#!/usr/bin/python
# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: container
short_description: Run one container, ad hoc
version_added: 0.1.0
description:
  - Brings one container to the state that the arguments describe. Their names and values are those
    of a service in C(otto.yaml), which are those of the compose specification.
  - An argument that is left out is the image's or the engine's own value again, so running the
    module with the same arguments changes nothing, and leaving one out takes its value away.
  - A container that must be replaced is replaced by way of a new one; the earlier one comes back
    when the new one does not start or does not become healthy.
  - A container made this way belongs to no cluster. C(otto-run apply) leaves it alone and the agent
    does not mend it; a container of a cluster is refused here.
  - Networks that are named must exist; volumes are made by the engine.
  - What the owner of the node does not allow in C(/etc/otto/policy.yaml) is refused, also where a
    container that is there is to be started as it is.
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
  state:
    description:
      - V(started) makes it run as described. Without O(image) it is the one that is there.
      - V(restarted) is V(started), and ends it once where that did not start it anew.
      - V(stopped) ends it and keeps it.
      - V(absent) ends and removes it. Its named volumes stay.
    type: str
    choices: [started, stopped, absent, restarted]
    default: started
  docker_url:
    description: Address of the Docker engine, C(unix:///path) or C(tcp://host:port).
    type: str
    default: unix:///var/run/docker.sock
  timeout:
    description: Seconds that one answer of the Docker engine may take.
    type: int
    default: 60
# options of a service: written by docs/generate.py
  image:
    description: 'Image to run, such as C(nginx:alpine).'
    type: str
  command:
    description: 'Command, instead of the image''s own.'
    type: raw
  entrypoint:
    description: 'Entrypoint, instead of the image''s own (clears its command too).'
    type: raw
  environment:
    description: 'Environment variables.'
    type: raw
    aliases: [env]
  ports:
    description: 'Ports of the container that the node publishes, such as C(8080:80).'
    type: raw
  restart:
    description: 'When the engine starts it again by itself.'
    type: raw
  labels:
    description: 'Labels of the container.'
    type: raw
  volumes:
    description: 'Directories of the node, named volumes and tmpfs that it mounts.'
    type: raw
  tmpfs:
    description: 'Paths that hold a file system in memory.'
    type: raw
  networks:
    description: 'Networks that it joins, by list or with aliases and addresses.'
    type: raw
  network_mode:
    description: >-
      The node's own network (C(host)), the engine's (C(bridge)), none, or that of C(service:NAME)
      or C(container:NAME).
    type: str
  user:
    description: 'User, or user:group, that it runs as.'
    type: str
  working_dir:
    description: 'Directory that its command starts in.'
    type: str
  hostname:
    description: 'Host name inside the container.'
    type: str
  domainname:
    description: 'Domain name inside the container.'
    type: str
  healthcheck:
    description: 'How the engine sees whether it serves.'
    type: dict
  mem_limit:
    description: 'Most memory that it may use.'
    type: raw
  mem_reservation:
    description: 'Memory that is kept for it when memory is short.'
    type: raw
  memswap_limit:
    description: 'Most memory and swap together; -1 for no limit of swap.'
    type: raw
  cpus:
    description: 'Most CPUs that it may use.'
    type: raw
  cpu_shares:
    description: 'Its weight when CPUs are short (1024 is usual).'
    type: int
  cpuset:
    description: 'CPUs that it may use, such as C(0-2,4).'
    type: str
  pids_limit:
    description: 'Most processes that it may have; -1 for no limit.'
    type: int
  cap_add:
    description: 'Capabilities that it gets.'
    type: raw
  cap_drop:
    description: 'Capabilities that it loses.'
    type: raw
  security_opt:
    description: 'Security options, such as C(no-new-privileges).'
    type: raw
  privileged:
    description: 'Whether it has every right on the node.'
    type: bool
  read_only:
    description: 'Whether its own file system is read-only.'
    type: bool
  init:
    description: 'Whether a small init process reaps what its command leaves.'
    type: bool
  tty:
    description: 'Whether it has a terminal.'
    type: bool
  stdin_open:
    description: 'Whether its standard input stays open.'
    type: bool
  stop_signal:
    description: 'Signal that asks it to end.'
    type: str
  stop_grace_period:
    description: 'Time that it has to end before it is killed.'
    type: str
  dns:
    description: 'DNS servers.'
    type: raw
  dns_search:
    description: 'DNS search domains.'
    type: raw
  extra_hosts:
    description: 'Further names in its hosts file.'
    type: raw
  group_add:
    description: 'Further groups of its user.'
    type: raw
  devices:
    description: 'Devices of the node that it may use.'
    type: raw
  shm_size:
    description: 'Size of /dev/shm.'
    type: raw
  sysctls:
    description: 'Kernel settings of its namespaces.'
    type: raw
  ulimits:
    description: 'Limits of its processes.'
    type: dict
  ipc:
    description: >-
      IPC namespace: C(private), C(shareable), C(host), C(none), or that of C(service:NAME) or
      C(container:NAME).
    type: str
  pid:
    description: >-
      Processes that it sees: C(host) for the node's, or those of C(service:NAME) or
      C(container:NAME).
    type: str
  userns_mode:
    description: 'C(host) for the node''s user namespace.'
    type: str
  cgroup:
    description: 'Cgroup namespace.'
    type: str
  logging:
    description: 'Log driver and its options.'
    type: dict
  pull_policy:
    description: 'When the image is fetched.'
    type: str
  gpus:
    description: 'GPUs of the node that it may use: C(all), or device requests.'
    type: raw
  annotations:
    description: 'Annotations of the container, for its runtime.'
    type: raw
  blkio_config:
    description: 'Weight and rates of its block devices.'
    type: dict
  cgroup_parent:
    description: 'Cgroup that its own is made in.'
    type: str
  cpu_period:
    description: 'Length of a round of its CPU quota, in microseconds or as C(50ms).'
    type: str
  cpu_quota:
    description: 'CPU time that it gets in each round, in microseconds or as C(20ms).'
    type: str
  cpu_rt_period:
    description: 'Length of a round of its real-time quota.'
    type: str
  cpu_rt_runtime:
    description: 'Real-time CPU time that it gets in each round.'
    type: str
  device_cgroup_rules:
    description: 'Kinds of devices that it may use, such as C(c 188:* rmw).'
    type: raw
  dns_opt:
    description: 'Options of its resolver, such as C(ndots:2).'
    type: raw
  expose:
    description: 'Ports that it serves to other containers.'
    type: raw
  mac_address:
    description: 'MAC address on its first network.'
    type: str
  mem_swappiness:
    description: 'How gladly its memory is swapped out, 0 to 100.'
    type: int
  oom_kill_disable:
    description: 'Whether the kernel lets it hang instead of killing it.'
    type: bool
  oom_score_adj:
    description: 'How soon the kernel kills it when memory is out, -1000 to 1000.'
    type: int
  platform:
    description: 'Platform of its image, such as C(linux/arm64).'
    type: str
  runtime:
    description: 'Runtime of the engine that runs it.'
    type: str
  storage_opt:
    description: 'Options of the storage of its own file system.'
    type: raw
  uts:
    description: 'C(host) for the node''s host name.'
    type: str
  volumes_from:
    description: 'Services, or containers, whose mounts it has too.'
    type: raw
# end of the options of a service
attributes:
  check_mode:
    description: Can run in check mode and return the plan without changing anything.
    support: full
  diff_mode:
    description: Returns what changes, or in check mode what would change, in diff mode.
    support: full
seealso:
  - module: otto.cluster.target
"""

EXAMPLES = r"""
- name: Run a web server
  otto.cluster.container:
    name: web
    image: nginx:alpine
    ports: ["8080:80"]
    environment:
      NGINX_HOST: localhost

# The same from the command line:
#   ansible rpi-01 -m otto.container -a "name=web image=nginx:alpine ports=8080:80"

- name: Restart it
  otto.cluster.container:
    name: web
    state: restarted

- name: Remove it
  otto.cluster.container:
    name: web
    state: absent
"""

RETURN = r"""
container:
  description: The container afterwards, or in check mode as it is.
  type: dict
  returned: success or failure
  contains:
    state:
      description: State that the engine gives, or C(absent).
      type: str
      sample: running
    health:
      description: Health where there is a health check.
      type: str
    container_id:
      description: Id, empty where there is none.
      type: str
    image:
      description: Image that it was made from.
      type: str
    verdict:
      description: What it needed.
      type: str
      sample: create
    changes:
      description: Each change as a line.
      type: list
      elements: str
    error:
      description: What went wrong, with C(message), C(cause) and C(next).
      type: dict
plan:
  description: What was to be done.
  type: dict
  returned: success or failure
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.otto.cluster.plugins.module_utils.edge import diff_of, fail, page
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    OttoError,
    Problems,
    typed,
)
from ansible_collections.otto.cluster.plugins.module_utils.image_memory import Asking
from ansible_collections.otto.cluster.plugins.module_utils.known_secrets import (
    of_spec,
    sensitive_names,
)
from ansible_collections.otto.cluster.plugins.module_utils.masking import FREE, masked_tree
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    Change,
    Observed,
    ObservedContainer,
    Spec,
    Target,
)
from ansible_collections.otto.cluster.plugins.module_utils.operations import Start, Stop
from ansible_collections.otto.cluster.plugins.module_utils.options import (
    argument_spec,
    parse_service,
)
from ansible_collections.otto.cluster.plugins.module_utils.plan import (
    Plan,
    ServicePlan,
    plan_container,
)
from ansible_collections.otto.cluster.plugins.module_utils.policy import refusal_of_container
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import Report, drive

# An ad-hoc command has only text: where it says several things, this is where it is cut.
CUTS = {
    "environment": r",\s*(?=[A-Za-z_][A-Za-z0-9_.]*=)",
    "labels": r",\s*(?=[A-Za-z0-9][A-Za-z0-9_./-]*=)",
    "sysctls": r",\s*(?=[a-z0-9_.]+=)",
    "extra_hosts": r",\s*(?=[^,]+[:=])",
    # `/a:/b:ro,z` is one mount: the next one begins with a path or has a colon.
    "volumes": r",\s*(?=/|[^,]*:)",
    **dict.fromkeys(
        (
            *("cap_add", "cap_drop", "devices", "dns", "dns_opt", "dns_search", "expose"),
            *("device_cgroup_rules", "group_add", "networks", "ports", "volumes_from"),
        ),
        r",\s*",
    ),
}


def arguments() -> dict:
    """The argument spec: what every container has, and the options of a service."""
    spec = {
        "name": {"type": "str", "required": True},
        "state": {
            "type": "str",
            "choices": ["started", "stopped", "absent", "restarted"],
            "default": "started",
        },
        "docker_url": {"type": "str", "default": "unix:///var/run/docker.sock"},
        "timeout": {"type": "int", "default": 60},
        **argument_spec(),
    }
    spec["environment"]["aliases"] = ["env"]
    for name in FREE:
        # Ansible writes the arguments of a module into the node's log before the module runs.
        if name in spec:
            spec[name]["no_log"] = True
    return spec


def shown_arguments(params: dict, secrets: Collection[str]) -> dict:
    """The arguments as -vvv shows them; secrets: of the spec."""
    return {
        name: masked_tree(cut(name, value), secrets) if name in FREE else value
        for name, value in params.items()
    }


def cut(name: str, value: Any) -> Any:
    """What was typed as one text, as the list that it is."""
    if name not in CUTS or not isinstance(value, str):
        return value
    return [part for part in re.split(CUTS[name], value.strip()) if part]


def spec_of(params: dict) -> Spec:
    """The arguments as a spec. Raises ClusterFileError with all that is wrong with them."""
    raw = {name: cut(name, params[name]) for name in argument_spec() if params[name] is not None}
    problems = Problems()
    spec = parse_service(raw, (), problems)
    if problems:
        raise ClusterFileError(problems)
    return spec


def as_it_is(found: ObservedContainer, state: str) -> Plan:
    """Start, stop or restart a container without looking at what it was made from.

    Its label io.otto.spec does not serve: what was changed in place since is not in it.
    """
    if found.cluster is not None or found.service is None:
        whose = f"belongs to cluster {found.cluster}" if found.cluster else "is not Otto's"
        raise OttoError(
            f"Container {found.name} {whose}",
            cause="this module touches only what it made",
            next="otto-run apply" if found.cluster else typed("docker restart {}", found.name),
        )
    steps: list = []
    runs = found.state in ("running", "restarting", "paused")
    if state in ("stopped", "restarted") and runs:
        grace = found.inspect["Config"].get("StopTimeout")
        steps.append(Stop(found.name, found.id, 10 if grace is None else grace))
    if state == "restarted" or (state == "started" and found.state != "running"):
        steps.append(Start(found.name, found.id))
    verdict = {"stopped": "stop"}.get(state, "start") if steps else "up_to_date"
    change = Change("state", found.state, "exited" if state == "stopped" else "running", "file")
    return Plan(
        services=(ServicePlan(found.name, verdict, (change,) if steps else (), tuple(steps)),)
    )


def work(engine: DockerEngine, params: dict, spec: Spec, check: bool) -> Report:
    name, state = params["name"], params["state"]
    described = bool(spec)
    sensitive = tuple(sorted(sensitive_names(spec)))
    registries = Asking(engine, absent=check)

    def planner(observed: Observed, again: bool, blocked: Mapping[str, str]) -> Plan:
        if described:
            observed = (
                registries.look_again(observed) if again else registries.look(observed, [spec])
            )
        if described or state == "absent":
            made = plan_container(name, spec, observed, state=state, sensitive=sensitive)
            if name in blocked:
                return Plan(services=tuple(replace(one, operations=()) for one in made.services))
            return made
        found = next((one for one in observed.containers if one.name == name), None)
        if found is not None:
            made = as_it_is(found, state)
            forbidden = refusal_of_container(observed.policy, name)
            if forbidden is not None and state != "stopped":
                return Plan(services=(ServicePlan(name, "up_to_date", error=forbidden),))
            return made
        if state == "stopped":
            return Plan(services=(ServicePlan(name, "up_to_date"),))
        raise OttoError(
            f"There is no container {name}",
            cause="and no image is given to make one from",
            next="add image=..., such as image=nginx:alpine",
        )

    target = Target(
        cluster="",
        node=os.uname().nodename,
        services={name: spec},
        sensitive={name: sensitive},
    )
    return drive(engine, target, planner, check=check)


def main() -> None:
    module = AnsibleModule(argument_spec=arguments(), supports_check_mode=True)
    params = dict(module.params)
    # Ansible would blank every text that is the value of any variable, `1` and `true` among them.
    module.no_log_values = set()
    module.params = shown_arguments(params, ())
    try:
        described = any(params[option] is not None for option in argument_spec())
        spec = spec_of(params) if described and params["state"] != "absent" else {}
        secrets = of_spec(spec, sensitive_names(spec))
        module.params = shown_arguments(params, secrets)
        with DockerEngine(params["docker_url"], params["timeout"]) as engine:
            report = work(engine, params, spec, module.check_mode)
    except ClusterFileError as error:
        module.fail_json(msg=str(error))
    except OttoError as error:
        fail(module, error)
    result = {
        "changed": report.changed,
        "container": report.services[params["name"]],
        "plan": report.plan,
    }
    if module._diff:
        result["diff"] = diff_of(report.plan)
    if report.errors:
        module.fail_json(msg=page(os.uname().nodename, report.errors), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
