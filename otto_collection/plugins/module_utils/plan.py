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

from .errors import typed
from .model import LABEL_CLUSTER, Change, NodeFiles, Observed, ObservedContainer, Spec, Target
from .operations import Operation, RemoveVolume, Start, Stop
from .option_sides_storage import ANONYMOUS
from .plan_compare import create_body, own_labels
from .plan_depends import (
    COMPLETED,
    dependencies,
    ordered,
    removal_order,
    users_of,
    with_dependencies,
)
from .plan_document import step_lines
from .plan_files import put_files
from .plan_images import notes as image_notes
from .plan_joins import as_it_will_be
from .plan_objects import networks_of, objects, remove_networks, resolve, uses
from .plan_replicas import plan_service, removal
from .plan_values import ServicePlan, Trouble, Wanted, replica_names
from .policy import refusal

__all__ = ["Plan", "ServicePlan", "Trouble", "create_body", "plan", "plan_absent", "plan_container"]


@dataclass(frozen=True)
class Plan:
    """before: networks and volumes to make. services: ordered so that each comes after those that
    it depends on. after: networks and volumes to remove. troubles: those of the node itself.
    notes: what hinders nothing and is to be known: a registry that did not answer, a label that a
    volume cannot get any more.
    """

    before: tuple[Operation, ...] = ()
    services: tuple[ServicePlan, ...] = ()
    after: tuple[Operation, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    notes: tuple[Trouble, ...] = ()

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
        result = []
        for step in self.before:
            line, *more = step_lines(step.to_json())
            result += [f"> {line}", *more]
        for service in self.services:
            result += service.lines()
        result += [f"> {step.line()}" for step in self.after]
        for sign, told in (("!", self.troubles), ("?", self.notes)):
            for trouble in told:
                result.append(f"{sign} {trouble.message}")
                result += [f"  {text}" for text in (trouble.cause, trouble.next) if text]
        return tuple(result)

    def to_json(self) -> dict[str, Any]:
        return {
            "before": [step.to_json() for step in self.before],
            "services": [service.to_json() for service in self.services],
            "after": [step.to_json() for step in self.after],
            "troubles": [trouble.to_json() for trouble in self.troubles],
            "notes": [note.to_json() for note in self.notes],
            "empty": self.empty,
        }


def labels_for(target: Target, service: str, files: str = NodeFiles.directory) -> dict[str, str]:
    """The io.otto.* labels of a service's container."""
    spec = resolve(target, service, target.services[service], files)
    return own_labels(target.cluster, service, spec, tuple(target.sensitive.get(service, ())))


def wanted_of(target: Target, service: str, files: str, previous: Target | None = None) -> Wanted:
    spec = resolve(target, service, target.services[service], files)
    before = None
    if previous is not None and service in previous.services:
        before = resolve(previous, service, previous.services[service], files)
    return Wanted(
        service=service,
        name=spec.get("container_name", service),
        spec=spec,
        labels=labels_for(target, service, files),
        cluster=target.cluster,
        sensitive=tuple(target.sensitive.get(service, ())),
        previous=before,
        others=tuple(target.services),
        node=target.node,
    )


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
    refresh: images that lie there are pulled where their `pull_policy` says so (an apply), or only
    missing ones (an agent's sweep).
    retry_failed: a change whose container has failed before, and lies there as `.otto-failed`, is
    tried again (an apply), or left alone with an error (an agent's sweep).
    blocked: service -> why it can make no container now (its pull failed): only what serves is
    put back.
    """
    files = observed.files.directory
    wanted = {name: wanted_of(target, name, files, previous) for name in target.services}
    for spec in target.services.values():
        for name, how in dependencies(spec).items():
            if name in wanted and how.get("condition") == COMPLETED:
                wanted[name] = replace(wanted[name], completes=True)
    chosen = [name for name in ordered(target.services) if services is None or name in services]
    refused = {name: refusal(observed.policy, target, name) for name in chosen}
    used: tuple[set[str], set[str]] | None = None
    if services is not None or observed.policy is not None:
        # A network alone changes the node: under a policy it is made for who may use it.
        used = (set(), set())
        for name in chosen:
            if refused[name] is not None:
                continue
            networks, volumes = uses(wanted[name].spec)
            used[0].update(networks)
            used[1].update(volumes)
    things = objects(target, observed, used)
    allowed = [name for name in chosen if refused[name] is None]
    before = [*things.before, *put_files(target, observed, allowed)]
    made: dict[str, ServicePlan] = {}
    taken: dict[str, str] = {}
    for name in chosen:
        forbidden = refused[name]
        if forbidden is not None:
            made[name] = ServicePlan(name, "up_to_date", error=forbidden)
            continue
        reason = (blocked or {}).get(name)
        short = _lacking(wanted[name].spec, things.missing)
        if reason is None and short is not None:
            reason = short.message
        seen = as_it_will_be(target, target.services[name], made, observed)
        one = plan_service(
            wanted[name], seen, refresh=refresh, retry_failed=retry_failed, blocked=reason
        )
        one = with_dependencies(one, wanted[name], wanted, made, observed)
        if short is not None:
            one = replace(one, error=replace(short, service=name))
        for needed in replica_names(wanted[name].name, wanted[name].spec):
            other = taken.setdefault(needed, name)
            if other != name:
                one = ServicePlan(name, "up_to_date", error=_twice(name, other, needed))
        made[name] = one
    plans = list(made.values())
    after_all: list[Operation] = []
    if services is None:
        orphans: dict[str, list[ObservedContainer]] = {}
        for container in observed.containers:
            if container.cluster != target.cluster or container.name in taken:
                continue
            if container.service not in target.services:
                orphans.setdefault(container.service or container.name, []).append(container)
        plans += _removals(orphans, observed)
        names = {value["name"] for value in networks_of(target).values()}
        after_all += remove_networks(target.cluster, observed, names)
    return Plan(
        tuple(before),
        tuple(plans),
        tuple(after_all),
        tuple(things.troubles),
        (*things.notes, *image_notes(observed)),
    )


def _lacking(spec: Spec, missing: Mapping[str, Trouble]) -> Trouble | None:
    networks, volumes = uses(spec)
    keys = [f"network {name}" for name in sorted(networks)]
    keys += [f"volume {name}" for name in sorted(volumes)]
    return next((missing[key] for key in keys if key in missing), None)


def _twice(service: str, other: str, container: str) -> Trouble:
    return Trouble(
        f"{service} and {other} both want a container named {container}",
        "a service with several replicas numbers its containers",
        f"rename {service}, or {other}",
        service,
    )


def _removals(
    found: Mapping[str, list[ObservedContainer]], observed: Observed, volumes: bool = False
) -> list[ServicePlan]:
    """Who depends goes before whom it depends on; so does who depends on it no longer."""
    plans = []
    for name, earlier in removal_order(found).items():
        after = (*earlier, *sorted(users_of(name, observed.containers) - set(earlier)))
        steps = tuple(removal(found[name], volumes))
        plans.append(ServicePlan(name, "remove", operations=steps, after=after))
    return plans


def plan_absent(cluster: str, observed: Observed, volumes: bool = False) -> Plan:
    """Remove all that the cluster has on the node; its volumes, and the data in them, if asked."""
    found: dict[str, list[ObservedContainer]] = {}
    for container in observed.containers:
        if container.cluster == cluster:
            found.setdefault(container.service or container.name, []).append(container)
    after = remove_networks(cluster, observed, ())
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
    return Plan((), tuple(_removals(found, observed, volumes)), tuple(after))


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
                f"container {name} exists and {whose}", "", typed("docker rm -f {}", name), name
            )
            return Plan(services=(ServicePlan(name, "up_to_date", error=trouble),))
        if not mine:
            return Plan(services=(ServicePlan(name, "up_to_date"),))
        steps = tuple(removal(mine))
        return Plan(services=(ServicePlan(name, "remove", operations=steps),))
    forbidden = refusal(observed.policy, Target("", "", {name: spec}), name)
    if forbidden is not None:
        return Plan(services=(ServicePlan(name, "up_to_date", error=forbidden),))
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
