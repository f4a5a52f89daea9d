# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks and volumes of a target: their names, what is missing, what differs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import typed
from .model import LABEL_CLUSTER, Change, Observed, ObservedObject, Spec, Target
from .operations import CreateNetwork, CreateVolume, Operation, RemoveNetwork, ReplaceNetwork
from .options import NAMESPACES
from .plan_files import with_files
from .plan_object_compare import body_of, differences
from .plan_values import Trouble, replica_names

# --- a target's own words in the engine's --------------------------------------------------------


def networks_of(target: Target) -> dict[str, Mapping[str, Any]]:
    """key -> network, with `default` where some service joins it without anyone having named it."""
    result = dict(target.networks)
    for spec in target.services.values():
        if "network_mode" not in spec and "default" in spec.get("networks", ("default",)):
            result.setdefault("default", {"name": f"{target.cluster}_default", "external": False})
    return result


def resolve(target: Target, service: str, spec: Spec, files: str) -> dict[str, Any]:
    """The spec with engine names for the keys of networks and volumes, and with the mounts of its
    secrets and configs, whose files lie in the directory `files`.

    On every network the service is found under its name; without networks it joins `default`.
    """
    result = with_files(spec, files)
    if "network_mode" not in spec:
        known = networks_of(target)
        result["networks"] = {}
        for key, given in spec.get("networks", {"default": {}}).items():
            name = known.get(key, {}).get("name", f"{target.cluster}_{key}")
            aliases = sorted({service, *given.get("aliases", ())})
            result["networks"][name] = {**given, "aliases": aliases}
            if spec.get("links"):
                result["networks"][name]["links"] = [
                    _container(target, *line.split(":")) for line in spec["links"]
                ]
    for key in NAMESPACES:
        kind, _, name = str(spec.get(key, "")).partition(":")
        if kind == "service":
            result[key] = f"container:{_container(target, name)}"
    if "volumes_from" in spec:
        result["volumes_from"] = [
            line if line.startswith("container:") else _container(target, *line.split(":"))
            for line in spec["volumes_from"]
        ]
    if "volumes" in result:
        result["volumes"] = [
            {
                **volume,
                "source": target.volumes.get(volume["source"], {}).get("name", volume["source"]),
            }
            if volume["type"] == "volume" and volume["source"] is not None
            else volume
            for volume in result["volumes"]
        ]
    return result


def _container(target: Target, service: str, *more: str) -> str:
    """Name of (the first of) a service's containers, and what is said of it, after colons."""
    spec = target.services.get(service, {})
    names = replica_names(str(spec.get("container_name", service)), spec)
    return ":".join((names[0] if names else service, *more))


# --- networks and volumes ------------------------------------------------------------------------


def _made_anew(
    target: Target,
    found: ObservedObject,
    body: Mapping[str, Any],
    observed: Observed,
    changes: Sequence[Change],
) -> ReplaceNetwork | None:
    """How a network of Otto's gets its new shape; None where others' containers are on it."""
    if found.labels.get(LABEL_CLUSTER) != target.cluster:
        return None
    own = {c.id: c for c in observed.containers if c.cluster == target.cluster}
    if set(found.inspect.get("Containers") or ()) - set(own):
        return None
    config: dict[str, Mapping[str, Any]] = {}
    names = []
    for container in own.values():
        networks = (container.inspect.get("NetworkSettings") or {}).get("Networks") or {}
        end = networks.get(found.name)
        if end is None:
            continue
        aliases = [name for name in end.get("Aliases") or () if name != container.id[:12]]
        config[container.id] = {
            key: value
            for key, value in (("Aliases", aliases), ("IPAMConfig", end.get("IPAMConfig")))
            if value
        }
        names.append(container.name)
    kept = ("Driver", "Options", "Internal", "Attachable", "EnableIPv6", "IPAM", "Labels")
    previous = {key: found.inspect[key] for key in kept if found.inspect.get(key)}
    return ReplaceNetwork(
        found.name,
        tuple(sorted(names)),
        body,
        {"Name": found.name, **previous},
        config,
        tuple(change.line() for change in changes),
    )


def _stays(kind: str, name: str, changes: Sequence[Change]) -> Trouble:
    """Data hang on a volume, and others' containers on a network: what differs is told."""
    return Trouble(
        f"{kind} {name} is not as the file says: " + ", ".join(c.line() for c in changes),
        "data hang on a volume, and Otto does not remove them"
        if kind == "volume"
        else "the network is not Otto's, or containers of others are on it",
        typed("docker {} rm {}   (the next apply makes it anew), or put the file back", kind, name),
    )


@dataclass(frozen=True)
class Objects:
    """before: what to make first. troubles: what differs and cannot be changed. missing: by engine
    name, what is not there and not Otto's to make. notes: what differs and hinders nothing."""

    before: list[Operation] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    missing: dict[str, Trouble] = field(default_factory=dict)
    notes: list[Trouble] = field(default_factory=list)


def objects(target: Target, observed: Observed, used: tuple[set[str], set[str]] | None) -> Objects:
    """The networks and volumes of a target. used: their engine names; None for all."""
    result = Objects()
    kinds = (
        ("network", networks_of(target), observed.networks),
        ("volume", target.volumes, observed.volumes),
    )
    for number, (kind, wanted, there) in enumerate(kinds):
        for value in wanted.values():
            name = value["name"]
            if used is not None and name not in used[number]:
                continue
            body = body_of(target.cluster, kind, value)
            if name in there:
                if not value.get("external"):
                    changes = differences(target.cluster, kind, value, there[name])
                    _settle(result, kind, changes, target, there[name], body, observed)
            elif value.get("external"):
                result.missing[f"{kind} {name}"] = Trouble(
                    f"{kind} {name} is external and is not on this node",
                    next=typed("docker {} create {}", kind, name),
                )
            else:
                make = CreateNetwork if kind == "network" else CreateVolume
                result.before.append(make(name, body))
    return result


def _settle(
    result: Objects,
    kind: str,
    changes: Sequence[Change],
    target: Target,
    found: ObservedObject,
    body: Mapping[str, Any],
    observed: Observed,
) -> None:
    """One that is there: made anew, or told."""
    if not changes:
        return
    again = None
    if kind == "network":
        again = _made_anew(target, found, body, observed, changes)
    if again is not None:
        result.before.append(again)
    elif all(change.key.startswith("labels.") for change in changes):
        result.notes.append(_stays(kind, found.name, changes))
    else:
        result.troubles.append(_stays(kind, found.name, changes))


def uses(spec: Spec) -> tuple[set[str], set[str]]:
    """Engine names of the networks and volumes of a resolved spec."""
    volumes = {
        v["source"] for v in spec.get("volumes", ()) if v["type"] == "volume" and v["source"]
    }
    return set(spec.get("networks", ())), volumes


def remove_networks(cluster: str, observed: Observed, keep: Collection[str]) -> list[Operation]:
    return [
        RemoveNetwork(name)
        for name, network in sorted(observed.networks.items())
        if network.labels.get(LABEL_CLUSTER) == cluster and name not in keep
    ]
