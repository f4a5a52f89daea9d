# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong only when two things of otto.yaml are seen together.

`at` stands at the top of the file. Nothing is returned: what is wrong is told there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster import (
    DEFAULT_NETWORK,
    LOCAL_HOSTS,
    Node,
    Service,
)
from ansible_collections.otto.cluster.plugins.module_utils.errors import Path, nearest
from ansible_collections.otto.cluster.plugins.module_utils.option_text import At


def check_nodes(nodes: Sequence[Node], mqtt: Mapping[str, Any] | None, at: At) -> None:
    """mqtt: the keys of the broker as far as they could be read."""
    _same_engine(nodes, at)
    _jumps(nodes, at)
    _broker(mqtt, nodes, at)


def check_services(
    services: Sequence[Service],
    networks: Collection[str],
    volumes: Collection[str],
    at: At,
    *,
    complete: bool,
    line_of: Callable[[Path], int],
) -> None:
    """complete: no service was left out. line_of: the line of a path that goes by name, or 0."""
    places = {service.name: service.nodes for service in services}
    names = places.keys()
    for service in services:
        where = at.sub("services", service.name)
        _defined(service, networks, volumes, where)
        _awaited(service, names, where, complete=complete)
        _together(service, places, where)
    _circles({s.name: list(s.spec.get("depends_on", ())) for s in services}, at)
    _clashes(services, at, line_of)


def _same_engine(nodes: Sequence[Node], at: At) -> None:
    seen: dict[tuple[str, ...], str] = {}
    for node in nodes:
        if node.is_astray:
            continue  # told already
        if not node.is_local:
            key: tuple[str, ...] = (node.host.lower(), str(node.port), node.docker_url)
        elif node.docker_url.startswith("unix:"):
            key = ("localhost", node.docker_url)
        else:
            key = (node.docker_url,)
        if key in seen:
            at.sub("nodes", node.id).problem(
                f"is the same engine as node {seen[key]}: they would remove each "
                "other's containers",
                found=f"{node.host}, {node.docker_url}",
                expected="one node for each engine",
            )
        seen.setdefault(key, node.id)


def _jumps(nodes: Sequence[Node], at: At) -> None:
    """A jump through oneself, or in a circle, never arrives."""
    through = {node.id: node.jump for node in nodes}
    told: set[str] = set()
    for start in through:
        way: list[str] = []
        here: str | None = start
        while here in through and here not in way and here not in told:
            way.append(here)
            here = through[here]
        if here in way:
            circle = way[way.index(here) :]
            at.sub("nodes", circle[0], "jump").problem(
                "goes in a circle",
                found=" -> ".join([*circle, circle[0]]),
                expected="a way that ends",
            )
        told.update(way)


def _broker(mqtt: Mapping[str, Any] | None, nodes: Sequence[Node], at: At) -> None:
    """To an agent on another host, localhost is that host."""
    far = [node.id for node in nodes if not (node.is_local or node.is_astray)]
    if mqtt and far and mqtt.get("host", "").lower() in LOCAL_HOSTS:
        at.sub("mqtt", "host").problem(
            f"is {far[0]} itself, seen from there",
            found=mqtt["host"],
            expected="the address by which the nodes reach the broker",
        )


def _defined(service: Service, networks: Collection[str], volumes: Collection[str], at: At) -> None:
    for key in service.spec.get("networks", {}):
        if key not in networks and key != DEFAULT_NETWORK:
            _undefined(at.sub("networks"), "network", key, networks)
    for mount in service.spec.get("volumes", ()):
        key = mount["source"]
        if mount["type"] == "volume" and key is not None and key not in volumes:
            _undefined(at.sub("volumes"), "volume", key, volumes)


def _undefined(at: At, kind: str, key: str, known: Collection[str]) -> None:
    at.problem(
        f"names a {kind} that the file does not define",
        found=key,
        nearest=nearest(key, known),
        hint=f"at the end of the file: {kind}s: {{{key}: {{}}}}",
    )


def _awaited(service: Service, names: Collection[str], at: At, *, complete: bool) -> None:
    for other in service.spec.get("depends_on", ()):
        where = at.sub("depends_on")
        if other == service.name:
            where.problem("is the service itself", found=other)
        elif other not in names and complete:
            where.problem("is no service of this file", found=other, nearest=nearest(other, names))


def _together(service: Service, places: Mapping[str, Collection[str]], at: At) -> None:
    """Only the services of one node wait for each other."""
    for other in service.spec.get("depends_on", ()):
        theirs = places.get(other, ())
        if theirs and service.nodes and not set(theirs) & set(service.nodes):
            at.sub("depends_on").problem(
                "is on another node: only services of one node wait for each other",
                found=f"{other} on {', '.join(sorted(theirs))}",
                expected=f"a service on {', '.join(service.nodes)}",
            )


def _circles(after: dict[str, list[str]], at: At) -> None:
    """Services that wait for each other; each circle is told once, at its first service."""
    left = dict(after)
    while True:
        free = [name for name, others in left.items() if not any(o in left for o in others)]
        if not free:
            break
        for name in free:
            del left[name]
    # What is left is in a circle, or waits for one: go on until a name comes again.
    while left:
        name = next(iter(left))
        way = [name]
        while True:
            following = [o for o in after[way[-1]] if o in left]
            if not following:
                break
            if following[0] in way:
                circle = way[way.index(following[0]) :]
                if len(circle) > 1:
                    at.sub("services", circle[0], "depends_on").problem(
                        "goes in a circle", found=" -> ".join([*circle, circle[0]])
                    )
                break
            way.append(following[0])
        for done in way:
            del left[done]


def _clashes(services: Sequence[Service], at: At, line_of: Callable[[Path], int]) -> None:
    """Ports and names that two services of one node want; each pair is told once."""
    told: set[tuple[str, str, Any]] = set()
    ports: dict[tuple[str, str, int], list[tuple[str, str]]] = {}
    names: dict[tuple[str, str], str] = {}
    for service in services:
        mine = at.sub("services", service.name)
        container = service.spec.get("container_name", service.name)
        for node in service.nodes:
            other = names.setdefault((node, container), service.name)
            if other != service.name and (service.name, other, None) not in told:
                told.add((service.name, other, None))
                where = mine.sub("container_name") if container != service.name else mine
                where.problem(
                    f"has the container name of service {other} on node {node}",
                    found=container,
                    expected="another name",
                )
            for port in service.spec.get("ports", ()):
                if port["published"] is None:
                    continue
                taken = ports.setdefault((node, port["protocol"], port["published"]), [])
                for other, address in taken:
                    key = (service.name, other, (port["protocol"], port["published"]))
                    if (
                        other != service.name
                        and key not in told
                        and _overlap(address, port["host_ip"])
                    ):
                        told.add(key)
                        line = line_of(("services", other, "ports"))
                        mine.sub("ports").problem(
                            f"publishes a port of node {node} that service {other} "
                            f"publishes too{f' (line {line})' if line else ''}",
                            found=f"{port['published']}/{port['protocol']}",
                            expected="a port that is free on the node",
                        )
                taken.append((service.name, port["host_ip"]))


def _overlap(first: str, second: str) -> bool:
    return first == second or any(one in ("", "0.0.0.0", "::") for one in (first, second))
