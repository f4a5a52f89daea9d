# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `depends_on` asks for: who waits for whom to be what, who is restarted with whom. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .model import Change, Observed, ObservedContainer, Spec
from .operations import Await, Create, Operation, Remove, Rename, Start
from .plan_service import is_mine
from .plan_steps import FRESH, Steps, stop_steps
from .plan_values import (
    COSTS,
    RESTART,
    SUFFIXES,
    Part,
    ServicePlan,
    Wanted,
    has_come,
    replica_names,
    sortable,
    started_at,
)

WORK = 600.0
"""Seconds that a service has to do its work, where another waits for it to be done."""
HEALTHY, COMPLETED = "service_healthy", "service_completed_successfully"


def dependencies(spec: Spec) -> dict[str, Mapping[str, Any]]:
    """name -> {"condition"?, "required"?, "restart"?}; older labels have only the names."""
    found = spec.get("depends_on", ())
    return dict(found) if isinstance(found, Mapping) else {name: {} for name in found}


def ordered(specs: Mapping[str, Spec]) -> list[str]:
    """Names, each after those that it depends on; a circle is cut where it closes."""
    done: dict[str, None] = {}
    open_: set[str] = set()

    def visit(name: str) -> None:
        if name in done or name in open_ or name not in specs:
            return
        open_.add(name)
        for other in dependencies(specs[name]):
            visit(other)
        done[name] = None

    for name in sorted(specs):
        visit(name)
    return list(done)


def with_dependencies(
    plan: ServicePlan,
    wanted: Wanted,
    all_wanted: Mapping[str, Wanted],
    before: Mapping[str, ServicePlan],
    observed: Observed,
) -> ServicePlan:
    """The plan of a service, with what it waits for. before: plans of those that it depends on,
    as far as they are planned."""
    known = {name: how for name, how in dependencies(wanted.spec).items() if name in all_wanted}
    plan = replace(plan, after=tuple(known))
    restarts = [name for name, how in known.items() if how.get("restart")]
    due = _due(plan, wanted, [all_wanted[name] for name in restarts], before, observed)
    if due:
        plan = _restarted(plan, wanted, observed, due)
    if not any(isinstance(step, (Create, Start)) for step in plan.operations):
        return plan
    gates: list[Operation] = []
    for name, how in known.items():
        gates += _gates(all_wanted[name], how, observed)
    needs = {name for name, how in known.items() if _conditional(how)}
    if plan.verdict == "start":
        needs = set()  # it was there before: what it waits for is told by the gates alone
    needs.update(due)
    return replace(_preceded(plan, gates), needs=tuple(sorted(needs)))


def _conditional(how: Mapping[str, Any]) -> bool:
    return how.get("condition") in (HEALTHY, COMPLETED) and bool(how.get("required", True))


def _gates(wanted: Wanted, how: Mapping[str, Any], observed: Observed) -> list[Operation]:
    required = bool(how.get("required", True))
    gates: list[Operation] = []
    for name in replica_names(wanted.name, wanted.spec):
        if how.get("condition") == HEALTHY:
            gate = Steps(wanted, observed).gate(name, "", FRESH)
            gates.append(replace(gate, required=required, standing=True))
        elif how.get("condition") == COMPLETED:
            gates.append(Await(name, timeout=WORK, completed=True, required=required))
    return gates


def _preceded(plan: ServicePlan, gates: Sequence[Operation]) -> ServicePlan:
    """Its operations after the gates; these belong to its first part, so that what an interrupted
    run has begun leads back if they fail."""
    parts = tuple(
        Part(part.start + len(gates) if number else 0, part.verdict, part.resumed)
        for number, part in enumerate(plan.parts)
    )
    return replace(plan, operations=(*gates, *plan.operations), parts=parts)


# --- restart: true --------------------------------------------------------------------------------


def _due(
    plan: ServicePlan,
    wanted: Wanted,
    others: Collection[Wanted],
    before: Mapping[str, ServicePlan],
    observed: Observed,
) -> list[str]:
    """Those that this service is to be restarted with: they are, or have been, replaced since it
    was started. Told by times, so that an interruption in between loses nothing."""
    own = [c for c in _kept(plan, wanted, observed) if c.state == "running"]
    if plan.error is not None or not own:
        return []
    started = min(started_at(container) for container in own)
    due = []
    for other in others:
        theirs = before.get(other.service)
        kept = _kept(theirs, other, observed)
        if kept:
            # The oldest: one replica of several is no replacement.
            first = min(_created(container) for container in kept)
            anew = first > started and has_come(first, observed)
        else:
            anew = theirs is not None and theirs.error is None and _makes(theirs)
        if anew:
            due.append(other.service)
    return due


def _makes(plan: ServicePlan) -> bool:
    return any(isinstance(step, Create) for step in plan.operations)


def _kept(plan: ServicePlan | None, wanted: Wanted, observed: Observed) -> list[ObservedContainer]:
    """The containers that are there now and still are when the plan is carried out, under the
    names that they have then."""
    names = {c.id: c.name for c in observed.containers if is_mine(wanted, c)}
    for step in plan.operations if plan is not None else ():
        if isinstance(step, Remove):
            names.pop(step.id, None)
        elif isinstance(step, Rename) and step.id in names:
            names[step.id] = step.to
    return [
        replace(container, name=names[container.id])
        for container in observed.containers
        if container.id in names and not names[container.id].endswith(SUFFIXES)
    ]


def _restarted(
    plan: ServicePlan, wanted: Wanted, observed: Observed, due: Sequence[str]
) -> ServicePlan:
    steps: list[Operation] = []
    for container in _kept(plan, wanted, observed):
        if container.state == "running":
            steps += stop_steps(container, wanted)
            steps += Steps(wanted, observed).start(container.name, container.id)
    changes = tuple(Change(f"depends_on.{name}", None, "its new container", "file") for name in due)
    return replace(
        plan,
        verdict="start" if plan.verdict == "up_to_date" else plan.verdict,
        changes=(*plan.changes, *changes),
        operations=(*plan.operations, *steps),
        cost=max(plan.cost, RESTART, key=COSTS.index),
        parts=(*plan.parts, Part(len(plan.operations), "start")) if plan.parts else (),
    )


def _created(container: ObservedContainer) -> str:
    return sortable(str(container.inspect.get("Created") or ""))


# --- the other way round: stopping ----------------------------------------------------------------


def removal_order(found: Mapping[str, Sequence[ObservedContainer]]) -> dict[str, tuple[str, ...]]:
    """service -> those that are to go before it, in the order in which they go: who depends goes
    before whom it depends on. The labels tell, the file has forgotten them."""
    specs = {name: (containers[0].applied or {}) for name, containers in found.items()}
    users: dict[str, list[str]] = {name: [] for name in specs}
    for name, spec in specs.items():
        for other in dependencies(spec):
            if other in users:
                users[other].append(name)
    return {name: tuple(sorted(users[name])) for name in reversed(ordered(specs))}


def users_of(service: str, containers: Sequence[ObservedContainer]) -> set[str]:
    """Services whose containers were made to depend on this one."""
    return {
        container.service
        for container in containers
        if container.service is not None
        and not container.name.endswith(SUFFIXES)
        and service in dependencies(container.applied or {})
    }
