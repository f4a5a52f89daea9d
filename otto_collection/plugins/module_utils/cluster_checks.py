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
    engine_name,
)
from ansible_collections.otto.cluster.plugins.module_utils.errors import Path, nearest
from ansible_collections.otto.cluster.plugins.module_utils.option_text import At


def check_nodes(nodes: Sequence[Node], mqtt: Mapping[str, Any] | None, at: At) -> None:
    """mqtt: the keys of the broker as far as they could be read."""
    _same_engine(nodes, at)
    _jumps(nodes, at)
    _broker(mqtt, nodes, at)


def check_scope(
    services: Mapping[str, Service],
    defined: Mapping[str, Collection[str]],
    at: At,
    *,
    resting: Mapping[str, Sequence[str]],
    complete: bool,
) -> None:
    """Services that know each other by the names of one file: their keys here.

    defined: network, volume, secret, config -> their keys in the file. resting: services that no
    chosen profile runs -> their profiles. complete: no service was left out.
    """
    for name, service in services.items():
        where = at.sub("services", name)
        _defined(service, defined, where)
        _awaited(name, service, services.keys(), where, resting=resting, complete=complete)
        _together(service, services, where)
    _circles({name: [o for _, o in _needs(s)] for name, s in services.items()}, at)


def check_cluster(
    cluster: str,
    services: Sequence[Service],
    objects: Mapping[str, Mapping[str, tuple[Path, Mapping[str, Any]]]],
    at: At,
    *,
    line_of: Callable[[Path], str],
) -> None:
    """What services of all files want of the same nodes.

    objects: networks, volumes -> key -> where it stands, and what is said of it. line_of: where a
    path stands, "" where that is not known.
    """
    _clashes(services, at, line_of)
    for kind, declared in objects.items():
        names: dict[str, tuple[str, Path]] = {}
        for key, (path, said) in declared.items():
            if said.get("external"):
                continue
            name = engine_name(cluster, key, said)
            if name in names:
                other, where = names[name]
                line = line_of(where)
                At(path or where, at.problems).problem(
                    f"has the engine name of {kind[:-1]} {other}{f' ({line})' if line else ''}",
                    found=name,
                    expected="another name",
                    hint="external: true uses what is there already",
                )
            names.setdefault(name, (key, path))


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
    if not mqtt or "node" not in mqtt:
        return
    where = next((node for node in nodes if node.id == mqtt["node"]), None)
    at = at.sub("mqtt", "node")
    if where is None:
        ids = [node.id for node in nodes]
        at.problem("is no node", found=mqtt["node"], nearest=nearest(mqtt["node"], ids))
    elif where.is_local:
        at.problem(
            "is this machine, where `otto-run up` is the broker itself",
            found=mqtt["node"],
            expected="a node that is reached by SSH",
            hint="remove node, and write this machine's address under host",
        )


def _defined(service: Service, defined: Mapping[str, Collection[str]], at: At) -> None:
    for kind, keys in _uses(service).items():
        for key in keys:
            if key not in defined[kind]:
                _undefined(at.sub(f"{kind}s"), kind, key, defined[kind])


def _uses(service: Service) -> dict[str, list[str]]:
    """What of the top level a service names: kind -> keys."""
    spec = service.spec
    return {
        "network": [key for key in spec.get("networks", ()) if key != DEFAULT_NETWORK],
        "volume": [
            mount["source"]
            for mount in spec.get("volumes", ())
            if mount["type"] == "volume" and mount["source"] is not None
        ],
        "secret": [entry["source"] for entry in spec.get("secrets", ())],
        "config": [entry["source"] for entry in spec.get("configs", ())],
    }


_EXAMPLE = {"secret": "{file: PATH}", "config": "{file: PATH}"}


def _undefined(at: At, kind: str, key: str, known: Collection[str]) -> None:
    at.problem(
        f"names a {kind} that the file does not define",
        found=key,
        nearest=nearest(key, known),
        hint=f"at the end of the file: {kind}s: {{{key}: {_EXAMPLE.get(kind, '{}')}}}",
    )


def _needs(service: Service) -> list[tuple[str, str]]:
    """(option, name) of every other service that it cannot do without, each once.

    Links and shared namespaces have become dependencies too: the option that was written counts.
    """
    spec = service.spec
    found = dict.fromkeys(spec.get("depends_on", ()), "depends_on")
    for option in ("links", "volumes_from"):
        names = (line.partition(":")[0] for line in spec.get(option, ()))
        found.update((name, option) for name in names if name != "container")
    for option in ("network_mode", "ipc", "pid"):
        kind, _, name = str(spec.get(option, "")).partition(":")
        if kind == "service":
            found[name] = option
    return [(option, name) for name, option in found.items()]


def _awaited(
    name: str,
    service: Service,
    names: Collection[str],
    at: At,
    *,
    resting: Mapping[str, Sequence[str]],
    complete: bool,
) -> None:
    for option, other in _needs(service):
        where = at.sub(option)
        if other == name:
            where.problem("is the service itself", found=other)
        elif other in resting:
            optional = ", or required: false here" if option == "depends_on" else ""
            where.problem(
                "is a service that no chosen profile runs",
                found=other,
                expected="a service that runs",
                hint=f"profiles: [{resting[other][0]}]{optional}",
            )
        elif other not in names and complete:
            where.problem("is no service of this file", found=other, nearest=nearest(other, names))


def _together(service: Service, services: Mapping[str, Service], at: At) -> None:
    """Only the services of one node wait for each other."""
    for option, other in _needs(service):
        theirs = services[other].nodes if other in services else ()
        if theirs and service.nodes and not set(theirs) & set(service.nodes):
            at.sub(option).problem(
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


def _clashes(services: Sequence[Service], at: At, line_of: Callable[[Path], str]) -> None:
    """Ports and names that two services of one node want; each pair is told once."""
    told: set[tuple[str, str, Any]] = set()
    ports: dict[tuple[str, str, int], list[tuple[str, str]]] = {}
    names: dict[tuple[str, str], str] = {}
    places = {service.name: service.path for service in services}
    for service in services:
        mine = At(service.path, at.problems)
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
                        line = line_of((*places[other], "ports"))
                        mine.sub("ports").problem(
                            f"publishes a port of node {node} that service {other} "
                            f"publishes too{f' ({line})' if line else ''}",
                            found=f"{port['published']}/{port['protocol']}",
                            expected="a port that is free on the node",
                        )
                taken.append((service.name, port["host_ip"]))


def _overlap(first: str, second: str) -> bool:
    if first and second and (":" in first) != (":" in second):
        return False  # IPv4 and IPv6 have ports of their own
    return first == second or any(one in ("", "0.0.0.0", "::") for one in (first, second))
