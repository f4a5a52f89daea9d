# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One service, and as many containers as it has replicas. Pure.

One replica is called `<service>`, several `<service>-1` to `<service>-N`. What is there keeps
running when the number changes: it gets the name that is free.
They are mended first, then replaced one after another, then added, and what is too many goes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .model import LABEL_REVISION, Change, Observed, ObservedContainer
from .operations import Operation, PullImage, Remove
from .plan_order import impossible
from .plan_service import Planner, is_mine
from .plan_steps import stop_steps
from .plan_values import (
    COSTS,
    FAILED,
    IN_PLACE,
    NO_DOWNTIME,
    SUFFIXES,
    WITH_STOP,
    Part,
    ServicePlan,
    Wanted,
    replica_names,
)

_ORDER = ("up_to_date", "stop", "start", "update", "recreate", "create", "remove")
"""Verdicts of parts, in the order in which they are carried out."""
_WEIGHT = ("up_to_date", "stop", "start", "remove", "create", "update", "recreate")


def plan_service(
    wanted: Wanted,
    observed: Observed,
    *,
    refresh: bool = True,
    retry_failed: bool = True,
    blocked: str | None = None,
) -> ServicePlan:
    """The plan of one service; see `plan.plan` for the arguments."""
    names = replica_names(wanted.name, wanted.spec)
    mine = [container for container in observed.containers if is_mine(wanted, container)]
    shares, surplus = _shared_out(names, mine)
    failed = [
        container.name
        for container in mine
        if container.name.endswith(FAILED)
        and container.labels.get(LABEL_REVISION) == wanted.labels[LABEL_REVISION]
    ]
    tried = min(failed, default="")
    parts = []
    for name in names:
        planner = Planner(replace(wanted, name=name), observed, shares[name], tried=tried)
        parts.append(planner.plan(refresh, retry_failed, blocked))
    if len(parts) == 1 and not surplus:
        return parts[0]
    if not names:
        steps = tuple(removal(surplus))
        return ServicePlan(wanted.service, "remove" if steps else "up_to_date", operations=steps)
    whole = _joined(wanted, parts, removal(surplus), len(mine) > 0)
    there = [c for c in mine if not c.name.endswith(SUFFIXES)]
    if there and len(there) != len(names):
        applied = (there[0].applied or {}).get("replicas", 1)
        why = "drift" if applied == len(names) else "file"
        change = Change("replicas", str(len(there)), str(len(names)), why)
        whole = replace(whole, changes=(change, *whole.changes))
    return whole


def _shared_out(
    names: Sequence[str], mine: Sequence[ObservedContainer]
) -> tuple[dict[str, list[ObservedContainer]], list[ObservedContainer]]:
    """name -> the containers that are there for it, and those that are too many."""
    shares: dict[str, list[ObservedContainer]] = {name: [] for name in names}
    spare = []
    for container in mine:
        base = container.name
        for suffix in SUFFIXES:
            base = base[: -len(suffix)] if base.endswith(suffix) else base
        if base in shares:
            shares[base].append(container)
        else:
            spare.append(container)
    # Who runs is the first to be kept; what an earlier run left lying is never.
    spare.sort(key=lambda c: (c.name.endswith(SUFFIXES), c.state != "running", c.name))
    for name in names:
        empty = all(container.name.endswith(FAILED) for container in shares[name])
        if empty and spare and not spare[0].name.endswith(SUFFIXES):
            shares[name].append(spare.pop(0))
    return shares, spare


def removal(containers: Sequence[ObservedContainer], volumes: bool = False) -> list[Operation]:
    """Stop them, each after its pre_stop commands, and remove them."""
    steps: list[Operation] = []
    for container in sorted(containers, key=lambda c: c.name):
        if container.state in ("running", "restarting", "paused"):
            steps += stop_steps(container)
        steps.append(Remove(container.name, container.id, force=True, volumes=volumes))
    return steps


def _joined(
    wanted: Wanted, plans: Sequence[ServicePlan], surplus: Sequence[Operation], there: bool
) -> ServicePlan:
    """One plan of those of the replicas."""
    operations: list[Operation] = []
    parts = []
    changes: dict[Change, None] = {}
    pulls: dict[PullImage, None] = {}
    ordered = sorted(plans, key=lambda plan: _ORDER.index(plan.verdict))
    for plan in ordered:
        parts.append(Part(len(operations), plan.verdict, plan.resumed))
        operations += plan.operations
        changes.update(dict.fromkeys(plan.changes))
        pulls.update(dict.fromkeys(plan.pulls))
    if surplus:
        parts.append(Part(len(operations), "remove"))
        operations += surplus
    verdicts = {part.verdict for part in parts}
    verdict = max(verdicts, key=_WEIGHT.index)
    if there and verdict in ("create", "remove"):
        verdict = "update"  # of the service: it is there, and gets more or fewer containers
    cost = max((plan.cost for plan in plans), key=COSTS.index)
    if cost == WITH_STOP and sum(plan.verdict != "create" for plan in plans) > 1:
        cost = NO_DOWNTIME  # one after another: the others serve
    error = next((plan.error for plan in plans if plan.error is not None), None)
    return ServicePlan(
        wanted.service,
        verdict,
        tuple(changes),
        tuple(operations),
        tuple(pulls),
        error=error or (impossible(wanted) if operations else None),
        cost=cost or (IN_PLACE if verdict == "update" else ""),
        parts=tuple(parts),
    )
