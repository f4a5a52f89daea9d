# SPDX-License-Identifier: GPL-3.0-or-later
"""The one definition of the work, and its rendering for every contender. Pure: nothing here acts.

Every rendering asks for the same containers: name, image, command, environment, published
ports, restart policy, the default bridge, and one label that says who made them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CLUSTER = "bench"
LABEL = "bench.made-by"
RESTART = "unless-stopped"
FIRST_PORT = 18100


@dataclass(frozen=True)
class Node:
    """One host of the benchmark: its name, address and SSH user."""

    id: str
    address: str
    user: str


@dataclass(frozen=True)
class Service:
    """One container on every node. `ports` maps published port -> port of the container (TCP)."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ports: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Workload:
    nodes: tuple[Node, ...]
    services: tuple[Service, ...]

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(sorted({service.image for service in self.services}))


def workload(nodes: Sequence[Node], per_node: int) -> Workload:
    """`per_node` services: three of ten are a redis with a published port, the others only wait."""
    services = []
    for number in range(per_node):
        name = f"bench-{number:02d}"
        environment = {"BENCH_NAME": name, "BENCH_MODE": "steady"}
        if number % 10 < 3:
            ports = {FIRST_PORT + number: 6379}
            command = ("redis-server", "--appendonly", "no")
            services.append(Service(name, "redis:alpine", command, environment, ports))
        else:
            command = ("tail", "-f", "/dev/null")
            services.append(Service(name, "busybox:latest", command, environment))
    return Workload(tuple(nodes), tuple(services))


def otto_file(work: Workload, maker: str, identity_file: Path, mqtt: tuple[str, int]) -> Any:
    """The cluster file, as a tree (JSON is YAML)."""
    return {
        "plugin": "otto.cluster.otto",
        "cluster": {"name": CLUSTER},
        "mqtt": {"host": mqtt[0], "port": mqtt[1]},
        "nodes": [
            {
                "id": node.id,
                "host": node.address,
                "user": node.user,
                "identity_file": str(identity_file),
            }
            for node in work.nodes
        ],
        "services": [
            {
                "name": service.name,
                "node": [node.id for node in work.nodes],
                "image": service.image,
                "command": list(service.command),
                "environment": dict(service.environment),
                "ports": [f"{outer}:{inner}" for outer, inner in service.ports.items()],
                "restart": RESTART,
                "network_mode": "bridge",
                "labels": {LABEL: maker},
            }
            for service in work.services
        ],
    }


def docker_container_arguments(work: Workload, maker: str) -> list[dict[str, Any]]:
    """Arguments of `community.docker.docker_container`, one mapping per container."""
    return [
        {
            "name": service.name,
            "image": service.image,
            "command": list(service.command),
            "env": dict(service.environment),
            "published_ports": [f"{outer}:{inner}" for outer, inner in service.ports.items()],
            "restart_policy": RESTART,
            "labels": {LABEL: maker},
        }
        for service in work.services
    ]


def pyinfra_arguments(work: Workload, maker: str) -> list[dict[str, Any]]:
    """Arguments of `pyinfra.operations.docker.container`, one mapping per container."""
    return [
        {
            "container": service.name,
            "image": service.image,
            "command": shlex.join(service.command),
            "env_vars": [f"{key}={value}" for key, value in service.environment.items()],
            "ports": [f"{outer}:{inner}" for outer, inner in service.ports.items()],
            "restart_policy": RESTART,
            "labels": [f"{LABEL}={maker}"],
        }
        for service in work.services
    ]


def wrongs(work: Workload, maker: str, inspected: Sequence[Mapping[str, Any]]) -> list[str]:
    """What differs between the work and the containers of one node (`docker inspect` documents).

    An empty list means that the contender did all of the work: a time for half of it is no time.
    """
    found = {document["Name"].lstrip("/"): document for document in inspected}
    problems = []
    for service in work.services:
        document = found.pop(service.name, None)
        if document is None:
            problems.append(f"{service.name} is missing")
            continue
        config, host = document["Config"], document["HostConfig"]
        environment = dict(entry.split("=", 1) for entry in config["Env"] or [])
        bindings = {
            int(bound[0]["HostPort"]): int(inner.split("/")[0])
            for inner, bound in (host["PortBindings"] or {}).items()
        }
        seen = {
            "running": document["State"]["Running"],
            "image": config["Image"],
            "command": tuple(config["Cmd"] or ()),
            "environment": {key: environment.get(key) for key in service.environment},
            "ports": bindings,
            "restart": host["RestartPolicy"]["Name"],
            "label": (config["Labels"] or {}).get(LABEL),
        }
        wanted = {
            "running": True,
            "image": service.image,
            "command": service.command,
            "environment": dict(service.environment),
            "ports": dict(service.ports),
            "restart": RESTART,
            "label": maker,
        }
        problems += [
            f"{service.name}: {key} is {seen[key]!r}, not {wanted[key]!r}"
            for key in wanted
            if seen[key] != wanted[key]
        ]
    problems += [f"{name} is left over" for name in found]
    return problems
