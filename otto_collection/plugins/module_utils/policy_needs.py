# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a service asks of its node: what its options declare, and what stands behind the names
in them: volumes, networks, and containers whose namespaces or mounts it joins. Pure.

What is joined is looked at twice: as the file says it, and as it is there now. A container that
was made under another policy may still be the one that answers to the name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from . import policy_containers, policy_objects
from .model import LABEL_CLUSTER, Policy, Spec, Target
from .option_needs import (
    HARMLESS,
    Asked,
    Joins,
    Need,
    Needs,
    Place,
    UsesNetwork,
    UsesVolume,
)
from .option_table import OPTIONS
from .options import NAMESPACES
from .plan_objects import networks_of
from .plan_values import replica_names

Doc = Mapping[str, Any]

_SPREAD: Mapping[str, Needs] = {"replicas": HARMLESS, "update_order": HARMLESS}
"""Keys of a spec that `scale` and `deploy` give, and no option has for a name."""
_NOT_IN_A_SPEC = frozenset(name for name, option in OPTIONS.items() if option.spreads)

_PARTS: Mapping[str, Collection[str] | None] = {
    "network_mode": ("network_mode", "networks"),
    "ipc": ("ipc",),
    "volumes_from": ("volumes", "volumes_from"),
    "pid": None,  # its processes' files are in /proc: all that it has
}
"""Option -> the options of another container that one gets with it; None for all."""


def needs_of(key: str) -> Needs | None:
    """What a key of a spec declares; None for one that declares nothing."""
    if key in _SPREAD:
        return _SPREAD[key]
    return None if key in _NOT_IN_A_SPEC or key not in OPTIONS else OPTIONS[key].needs


def asked(policy: Policy, target: Target, service: str) -> list[Need | Place]:
    """Each once, in the order of the spec."""
    found = _Look(policy, target).spec(target.services[service])
    return list(dict.fromkeys(found))


def asked_by_container(policy: Policy, doc: Doc) -> list[Need | Place]:
    """What a container that is there already has."""
    return list(dict.fromkeys(_Look(policy, Target("", "")).container(doc, None)))


def containers_joined(target: Target) -> set[str]:
    """Names of the containers that the services join, as the engine knows them. One that belongs
    to no cluster is among them itself: it may be started as it is."""
    found = set() if target.cluster else set(target.services)
    for spec in target.services.values():
        lines = [str(spec.get(key, "")) for key in NAMESPACES]
        lines += [
            line if line.startswith("container:") else f"service:{line}"
            for line in spec.get("volumes_from", ())
        ]
        for kind, name in (line.split(":")[:2] for line in lines if ":" in line):
            found.add(_container_of(target, name) if kind == "service" else name)
    return found


def _container_of(target: Target, service: str) -> str:
    spec = target.services.get(service, {})
    names = replica_names(str(spec.get("container_name", service)), spec)
    return names[0] if names else service


class _Look:
    """What is looked at for one service."""

    def __init__(self, policy: Policy, target: Target) -> None:
        self._policy = policy
        self._target = target
        self._networks = networks_of(target) if target.cluster else {}
        self._done: set[object] = set()

    def spec(self, spec: Spec, parts: Collection[str] | None = None) -> Iterator[Need | Place]:
        """parts: only these options."""
        for key, value in spec.items():
            if parts is not None and key not in parts:
                continue
            needs = needs_of(key)
            if needs is None:
                yield Need("", f"{key}, of which is not known what it can do")
                continue
            for one in needs.of(value):
                yield from self._behind(one)
        named = "networks" in spec or "network_mode" in spec
        if self._target.cluster and not named and (parts is None or "networks" in parts):
            yield from self._network("default")

    def container(self, doc: Doc, parts: Collection[str] | None) -> Iterator[Need | Place]:
        """The same of a container that is there."""
        yield from self.spec(
            {"network_mode": "none", **policy_containers.spec_of(doc)},
            parts,
        )
        if parts is None or "networks" in parts:
            for name in policy_containers.networks_of(doc):
                yield from self._engine_network(name, None)
        if parts is None or "volumes" in parts:
            for one in policy_containers.mounts_of(doc):
                if isinstance(one, UsesVolume):
                    yield from self._engine_volume(one.name, None, one.read_only)
                else:
                    yield from self._behind(one)

    def _behind(self, one: Asked) -> Iterator[Need | Place]:
        if isinstance(one, UsesVolume):
            declared = self._target.volumes.get(one.name)
            name = str(declared["name"]) if declared is not None else one.name
            yield from self._engine_volume(name, declared, one.read_only)
        elif isinstance(one, UsesNetwork):
            yield from self._network(one.name)
        elif isinstance(one, Joins):
            yield from self._joined(one)
        else:
            yield one

    # ---- volumes and networks

    def _engine_volume(
        self, name: str, declared: Doc | None, read_only: bool
    ) -> Iterator[Need | Place]:
        """One that is there is not made again: then what it is counts, not what the file says."""
        there = self._policy.volumes.get(name)
        if not self._is_ours(there, declared):
            yield Need("external", f"the volume {name}, which is not this cluster's")
        said: Mapping[str, Any] = declared or {}
        if there is not None:
            said = {"driver": there.get("Driver"), "options": there.get("Options")}
        for one in policy_objects.declared("volume", name, policy_objects.VOLUME, said):
            if isinstance(one, Place):
                yield Place(one.path, read_only)
            elif isinstance(one, Need):
                yield one

    def _network(self, key: str) -> Iterator[Need | Place]:
        declared = self._networks.get(key)
        cluster = self._target.cluster
        usual = f"{cluster}_{key}" if cluster else key
        yield from self._engine_network(str((declared or {}).get("name", usual)), declared)

    def _engine_network(self, name: str, declared: Doc | None) -> Iterator[Need | Place]:
        """Both count: one that differs from the file is made anew as the file says."""
        there = self._network_there(name)
        if (there or {}).get("Name", name) == "host":
            yield Need("host_network", "the network host")
            return
        if name not in ("bridge", "none") and not self._is_ours(there, declared):
            yield Need("external", f"the network {name}, which is not this cluster's")
        said = [declared] if declared is not None else []
        if there is not None and name != "bridge":
            said.append({"driver": there.get("Driver"), "options": there.get("Options")})
        for each in said:
            for one in policy_objects.declared("network", name, policy_objects.NETWORK, each):
                if isinstance(one, Need):
                    yield one

    def _network_there(self, name: str) -> Doc | None:
        """As the engine finds it: by its name, else by the beginning of its id."""
        networks = self._policy.networks
        by_id = (one for one in networks.values() if str(one.get("Id", "")).startswith(name))
        return networks.get(name) or (next(by_id, None) if name else None)

    def _is_ours(self, there: Doc | None, declared: Doc | None) -> bool:
        if there is not None:
            cluster = (there.get("Labels") or {}).get(LABEL_CLUSTER)
            return bool(self._target.cluster) and cluster == self._target.cluster
        return declared is not None and not declared.get("external")

    # ---- containers

    def _joined(self, one: Joins) -> Iterator[Need | Place]:
        if one in self._done:
            return
        self._done.add(one)
        kind, _, name = one.whose.partition(":")
        parts = _PARTS[one.option]
        doc = self._policy.containers.get(_container_of(self._target, name))
        service = name
        if kind != "service":
            doc = self._policy.containers.get(name)
            real = str(doc["Name"]).lstrip("/") if doc is not None else name
            service = next((s for s in self._target.services if real in self._names(s)), "")
        if service in self._target.services:
            yield from self.spec(self._target.services[service], parts)
        else:
            key = "volumes_from" if one.option == "volumes_from" else "external"
            yield Need(key, f"{one.option} of {name}, a container that is not the cluster's")
        if doc is not None:  # of one that is not there, the engine gives nothing
            yield from self.container(doc, parts)

    def _names(self, service: str) -> list[str]:
        spec = self._target.services[service]
        return replica_names(str(spec.get("container_name", service)), spec)
