# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done: a target and an observed node give a plan. Pure.

How to carry one out: `before` in order; then each service's plan, those of `after` first, else side
by side: its `pulls`, and if there were any, observe and plan that service again; its `operations`
in order; where one fails, `service_plan.undo(index)`; then the plan's `after`. Whatever fails
concerns that service only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .model import LABEL_CLUSTER, Change, Observed, ObservedContainer, ObservedObject, Spec, Target
from .operations import (
    CreateNetwork,
    CreateVolume,
    Operation,
    Remove,
    RemoveNetwork,
    RemoveVolume,
    Start,
    Stop,
)
from .option_engine import ANONYMOUS
from .plan_service import ServicePlan, Trouble, Wanted, create_body, own_labels, plan_service

__all__ = ["Plan", "ServicePlan", "Trouble", "create_body", "plan", "plan_absent", "plan_container"]


@dataclass(frozen=True)
class Plan:
    """before: networks and volumes to make. services: ordered so that each comes after those that
    it depends on. after: networks and volumes to remove. troubles: those of the node itself.
    """

    before: tuple[Operation, ...] = ()
    services: tuple[ServicePlan, ...] = ()
    after: tuple[Operation, ...] = ()
    troubles: tuple[Trouble, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing to do. A pull of what lies there already does not count."""
        if self.before or self.after:
            return False
        return not any(
            service.operations or any(not pull.always for pull in service.pulls)
            for service in self.services
        )

    def lines(self) -> tuple[str, ...]:
        """The plan as a person reads it; empty for an empty plan."""
        result = [f"> {step.line()}" for step in self.before]
        for service in self.services:
            result += service.lines()
        result += [f"> {step.line()}" for step in self.after]
        for trouble in self.troubles:
            result.append(f"! {trouble.message}")
            result += [f"  {text}" for text in (trouble.cause, trouble.next) if text]
        return tuple(result)

    def to_json(self) -> dict[str, Any]:
        return {
            "before": [step.to_json() for step in self.before],
            "services": [service.to_json() for service in self.services],
            "after": [step.to_json() for step in self.after],
            "troubles": [trouble.to_json() for trouble in self.troubles],
            "empty": self.empty,
        }


# --- a target's own words in the engine's --------------------------------------------------------


def networks_of(target: Target) -> dict[str, Mapping[str, Any]]:
    """key -> network, with `default` where some service joins it without anyone having named it."""
    result = dict(target.networks)
    for spec in target.services.values():
        if "network_mode" not in spec and "default" in spec.get("networks", ("default",)):
            result.setdefault("default", {"name": f"{target.cluster}_default", "external": False})
    return result


def resolve(target: Target, service: str, spec: Spec) -> dict[str, Any]:
    """The spec with engine names for the keys of networks and volumes.

    On every network the service is found under its name; without networks it joins `default`.
    """
    result = dict(spec)
    if "network_mode" not in spec:
        known = networks_of(target)
        result["networks"] = {}
        for key, given in spec.get("networks", {"default": {}}).items():
            name = known.get(key, {}).get("name", f"{target.cluster}_{key}")
            aliases = sorted({service, *given.get("aliases", ())})
            result["networks"][name] = {**given, "aliases": aliases}
    if "volumes" in spec:
        result["volumes"] = [
            {
                **volume,
                "source": target.volumes.get(volume["source"], {}).get("name", volume["source"]),
            }
            if volume["type"] == "volume" and volume["source"] is not None
            else volume
            for volume in spec["volumes"]
        ]
    return result


def labels_for(target: Target, service: str) -> dict[str, str]:
    """The io.otto.* labels of a service's container."""
    spec = resolve(target, service, target.services[service])
    return own_labels(target.cluster, service, spec, tuple(target.sensitive.get(service, ())))


def wanted_of(target: Target, service: str, previous: Target | None = None) -> Wanted:
    spec = resolve(target, service, target.services[service])
    before = None
    if previous is not None and service in previous.services:
        before = resolve(previous, service, previous.services[service])
    return Wanted(
        service=service,
        name=spec.get("container_name", service),
        spec=spec,
        labels=labels_for(target, service),
        cluster=target.cluster,
        sensitive=tuple(target.sensitive.get(service, ())),
        previous=before,
        others=tuple(target.services),
    )


# --- networks and volumes ------------------------------------------------------------------------

_NETWORK_KEYS = {
    "driver": "Driver",
    "options": "Options",
    "driver_opts": "Options",
    "internal": "Internal",
    "attachable": "Attachable",
    "enable_ipv6": "EnableIPv6",
    "ipam": "IPAM",
}
_VOLUME_KEYS = {"driver": "Driver", "options": "DriverOpts", "driver_opts": "DriverOpts"}


def _object_body(
    target: Target, value: Mapping[str, Any], keys: Mapping[str, str]
) -> dict[str, Any]:
    body: dict[str, Any] = {"Name": value["name"]}
    body.update({keys[key]: value[key] for key in keys if value.get(key) not in (None, {})})
    body["Labels"] = {**value.get("labels", {}), LABEL_CLUSTER: target.cluster}
    return body


def _other_shape(value: Mapping[str, Any], found: ObservedObject, kind: str) -> Trouble | None:
    """Told, not mended: containers and data hang on it."""
    default = "bridge" if kind == "network" else "local"
    options = value.get("options", value.get("driver_opts")) or {}
    pairs = (
        ("driver", value.get("driver") or default, found.inspect.get("Driver", default)),
        ("options", dict(options), found.inspect.get("Options") or {}),
    )
    for what, wanted, is_now in pairs:
        if wanted != is_now:
            return Trouble(
                f"{kind} {found.name} has {what} {is_now}, the file says {wanted}",
                f"Otto does not change a {kind} that is there",
                f"docker {kind} rm {found.name}",
            )
    return None


def _objects(
    target: Target, observed: Observed, used: tuple[set[str], set[str]] | None
) -> tuple[list[Operation], list[Trouble], dict[str, Trouble]]:
    """What to make first, what differs, and by engine name what is missing and not Otto's."""
    before: list[Operation] = []
    troubles: list[Trouble] = []
    missing: dict[str, Trouble] = {}
    kinds = (
        ("network", networks_of(target), observed.networks, _NETWORK_KEYS),
        ("volume", target.volumes, observed.volumes, _VOLUME_KEYS),
    )
    for number, (kind, wanted, there, keys) in enumerate(kinds):
        for value in wanted.values():
            name = value["name"]
            if used is not None and name not in used[number]:
                continue
            if name in there:
                trouble = None if value.get("external") else _other_shape(value, there[name], kind)
                troubles += [trouble] if trouble is not None else []
            elif value.get("external"):
                missing[f"{kind} {name}"] = Trouble(
                    f"{kind} {name} is external and is not on this node",
                    next=f"docker {kind} create {name}",
                )
            else:
                body = _object_body(target, value, keys)
                make = CreateNetwork if kind == "network" else CreateVolume
                before.append(make(name, body))
    return before, troubles, missing


def _uses(spec: Spec) -> tuple[set[str], set[str]]:
    """Engine names of the networks and volumes of a resolved spec."""
    volumes = {
        v["source"] for v in spec.get("volumes", ()) if v["type"] == "volume" and v["source"]
    }
    return set(spec.get("networks", ())), volumes


# --- the plan ------------------------------------------------------------------------------------


def plan(
    target: Target,
    observed: Observed,
    *,
    previous: Target | None = None,
    services: Collection[str] | None = None,
    refresh: bool = True,
    retry_failed: bool = True,
    blocked: Mapping[str, str] | None = None,
) -> Plan:
    """All that brings a node to its target.

    previous: the target before this apply: it tells what the file changed from what drifted (the
    agent gives the target itself). services: only these; nothing is removed then.
    refresh: `pull_policy: always` pulls (an apply), or not (an agent's sweep).
    retry_failed: a change whose container has failed before, and lies there as `.otto-failed`, is
    tried again (an apply), or left alone with an error (an agent's sweep).
    blocked: service -> why it can make no container now (its pull failed): only what serves is
    put back.
    """
    wanted = {name: wanted_of(target, name, previous) for name in target.services}
    chosen = [name for name in _ordered(target) if services is None or name in services]
    used: tuple[set[str], set[str]] | None = None
    if services is not None:
        used = (set(), set())
        for name in chosen:
            networks, volumes = _uses(wanted[name].spec)
            used[0].update(networks)
            used[1].update(volumes)
    before, troubles, missing = _objects(target, observed, used)
    plans = []
    taken = set()
    for name in chosen:
        reason = (blocked or {}).get(name)
        lacking = _lacking(wanted[name].spec, missing)
        if reason is None and lacking is not None:
            reason = lacking.message
        made = plan_service(
            wanted[name], observed, refresh=refresh, retry_failed=retry_failed, blocked=reason
        )
        if lacking is not None:
            made = replace(made, error=replace(lacking, service=name))
        after = tuple(
            other
            for other in target.services[name].get("depends_on", ())
            if other in target.services
        )
        plans.append(replace(made, after=after))
        taken.add(wanted[name].name)
    after_all: list[Operation] = []
    if services is None:
        orphans: dict[str, list[ObservedContainer]] = {}
        for container in observed.containers:
            if container.cluster != target.cluster or container.name in taken:
                continue
            if container.service not in target.services:
                orphans.setdefault(container.service or container.name, []).append(container)
        plans += [_removal(name, orphans[name]) for name in sorted(orphans)]
        names = {value["name"] for value in networks_of(target).values()}
        after_all += _remove_networks(target.cluster, observed, names)
    return Plan(tuple(before), tuple(plans), tuple(after_all), tuple(troubles))


def _ordered(target: Target) -> list[str]:
    """Names of services, each after those that it depends on; a circle is cut where it closes."""
    done: dict[str, None] = {}
    open_: set[str] = set()

    def visit(name: str) -> None:
        if name in done or name in open_ or name not in target.services:
            return
        open_.add(name)
        for other in target.services[name].get("depends_on", ()):
            visit(other)
        done[name] = None

    for name in sorted(target.services):
        visit(name)
    return list(done)


def _lacking(spec: Spec, missing: Mapping[str, Trouble]) -> Trouble | None:
    networks, volumes = _uses(spec)
    keys = [f"network {name}" for name in sorted(networks)]
    keys += [f"volume {name}" for name in sorted(volumes)]
    return next((missing[key] for key in keys if key in missing), None)


def _removal(
    service: str, containers: list[ObservedContainer], volumes: bool = False
) -> ServicePlan:
    steps: list[Operation] = []
    for container in sorted(containers, key=lambda c: c.name):
        if container.state in ("running", "restarting", "paused"):
            grace = int((container.inspect.get("Config") or {}).get("StopTimeout") or 10)
            steps.append(Stop(container.name, container.id, grace))
        steps.append(Remove(container.name, container.id, force=True, volumes=volumes))
    return ServicePlan(service, "remove", operations=tuple(steps))


def _remove_networks(cluster: str, observed: Observed, keep: Collection[str]) -> list[Operation]:
    return [
        RemoveNetwork(name)
        for name, network in sorted(observed.networks.items())
        if network.labels.get(LABEL_CLUSTER) == cluster and name not in keep
    ]


def plan_absent(cluster: str, observed: Observed, volumes: bool = False) -> Plan:
    """Remove all that the cluster has on the node; its volumes, and the data in them, if asked."""
    found: dict[str, list[ObservedContainer]] = {}
    for container in observed.containers:
        if container.cluster == cluster:
            found.setdefault(container.service or container.name, []).append(container)
    after = _remove_networks(cluster, observed, ())
    if volumes:
        names = {
            name for name, v in observed.volumes.items() if v.labels.get(LABEL_CLUSTER) == cluster
        }
        for containers in found.values():
            for container in containers:
                for mount in container.inspect.get("Mounts") or ():
                    if ANONYMOUS.fullmatch(mount.get("Name") or ""):
                        names.add(mount["Name"])  # carried over a replacement: no longer anonymous
        after += [RemoveVolume(name) for name in sorted(names)]
    plans = tuple(_removal(name, found[name], volumes) for name in sorted(found))
    return Plan((), plans, tuple(after))


def plan_container(
    name: str,
    spec: Spec,
    observed: Observed,
    *,
    state: str = "started",
    sensitive: tuple[str, ...] = (),
) -> Plan:
    """One container that belongs to no cluster; its spec names networks and volumes as the engine.

    state: started | stopped | restarted | absent (the spec is not looked at then).
    """
    there = {container.name: container for container in observed.containers}
    if state == "absent":
        mine = [c for c in observed.containers if c.service == name and c.cluster is None]
        other = there.get(name)
        if other is not None and other not in mine:
            whose = f"belongs to cluster {other.cluster}" if other.cluster else "is not Otto's"
            trouble = Trouble(
                f"container {name} exists and {whose}", "", f"docker rm -f {name}", name
            )
            return Plan(services=(ServicePlan(name, "up_to_date", error=trouble),))
        if not mine:
            return Plan(services=(ServicePlan(name, "up_to_date"),))
        return Plan(services=(_removal(name, mine),))
    wanted = Wanted(
        service=name,
        name=name,
        spec=spec,
        labels=own_labels(None, name, spec, sensitive),
        cluster=None,
        sensitive=sensitive,
        running=state != "stopped",
        others=(name,),
    )
    made = plan_service(wanted, observed)
    current = there.get(name)
    idle = made.verdict == "up_to_date" and made.error is None
    if state == "restarted" and idle and current is not None:
        change = Change("state", current.state, "restarted", "file")
        steps = (*made.operations, Stop(name, current.id), Start(name, current.id))
        made = replace(made, verdict="start", changes=(change,), operations=steps)
    return Plan(services=(made,))
