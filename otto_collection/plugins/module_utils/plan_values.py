# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan is made of: a service as it must be, what is to be done for it, and why not. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .masking import in_text
from .model import Change, Observed, ObservedContainer, Spec
from .operations import Operation, PullImage, Remove, Rename

NEW, OLD, FAILED = ".otto-new", ".otto-old", ".otto-failed"
SUFFIXES = (NEW, OLD, FAILED)
"""What the name of a container ends with while, or after, it is replaced."""


@dataclass(frozen=True)
class Trouble:
    """Why something cannot be done: what, why, and the next command to type. service: "" = node."""

    message: str
    cause: str = ""
    next: str = ""
    service: str = ""

    def __post_init__(self) -> None:
        for name in ("message", "cause", "next"):
            object.__setattr__(self, name, in_text(getattr(self, name)))

    def to_json(self) -> dict[str, str]:
        return {
            "service": self.service,
            "message": self.message,
            "cause": self.cause,
            "next": self.next,
        }


IN_PLACE, NO_DOWNTIME, WITH_STOP, RESTART = (
    "in place",
    "replace without downtime",
    "replace with a stop",
    "restart",
)
"""What a change of a running container costs."""
COSTS = ("", IN_PLACE, NO_DOWNTIME, RESTART, WITH_STOP)
"""The least first."""


@dataclass(frozen=True)
class Part:
    """One container's share of a service's operations: those from `start` up to the next part's.

    verdict: as a ServicePlan's. resumed: operations of this part that an interrupted run has
    carried out already; they are only there to be undone with the rest.
    """

    start: int
    verdict: str
    resumed: tuple[Operation, ...] = ()

    def is_held_up(self, failed: Collection[str]) -> bool:
        """Whether it is left alone, when parts with these verdicts before it have failed.

        Containers that are to be mended do not suffer from each other. But what has failed as a
        replacement is not tried on the next one, and nothing is removed after a failure.
        """
        if self.verdict == "create":
            return "recreate" in failed
        return bool(failed) and self.verdict in ("recreate", "remove")


@dataclass(frozen=True)
class ServicePlan:
    """What one service needs.

    verdict: up_to_date | create | update | recreate | start | stop | remove.
    pulls: to be done first; afterwards observe again and plan this service again
    (`services={name}`, with `blocked={name: why}` if a pull failed), then carry out `operations`.
    operations: in order. parts: whose they are, where the service has more than one container;
    () for one. resumed: see Part; of the only part.
    after: services whose plans are to be carried out before this one's (depends_on).
    needs: those of `after` without which this one is not to be touched: where one of them fails,
    the operations are not carried out.
    cost: what the change costs (IN_PLACE, ...); "" where nothing that runs is touched.
    error: why the service cannot be brought to its target; the operations are still to be done
    (they put back what serves).
    """

    service: str
    verdict: str
    changes: tuple[Change, ...] = ()
    operations: tuple[Operation, ...] = ()
    pulls: tuple[PullImage, ...] = ()
    resumed: tuple[Operation, ...] = ()
    after: tuple[str, ...] = ()
    error: Trouble | None = None
    needs: tuple[str, ...] = ()
    cost: str = ""
    parts: tuple[Part, ...] = ()

    def runs(self) -> tuple[tuple[Part, range], ...]:
        """Each part with the indices of its operations, in order."""
        parts = self.parts or (Part(0, self.verdict, self.resumed),)
        ends = [*(part.start for part in parts[1:]), len(self.operations)]
        return tuple(
            (part, range(part.start, end))
            for part, end in zip(parts, ends)  # noqa: B905 (3.9)
        )

    def undo(self, index: int) -> tuple[Operation, ...]:
        """What to carry out when `operations[index]` has failed, in order.

        Empty when nothing is to be undone: a created or started container stays as it is (it is
        what the file asks for), and a failure while tidying up takes back no good replacement.
        An undo that fails in its turn is reported, and the next ones are still carried out.
        """
        failed = self.operations[index]
        part = next(part for part, indices in self.runs() if index in indices)
        if part.verdict not in ("recreate", "update") or isinstance(failed, Remove):
            return ()
        done = [*part.resumed, *self.operations[part.start : index]]
        if not isinstance(failed, Rename):
            # It may have been done in part, or its answer lost. Not so a rename, and what stands
            # under that name may be someone else's.
            done.append(failed)
        return tuple(step for operation in reversed(done) for step in operation.undo())

    def lines(self) -> tuple[str, ...]:
        """One head line, then the changes and the operations, indented; () if there is nothing."""
        if not (self.operations or self.pulls or self.changes or self.error):
            return ()
        cost = f" ({self.cost})" if self.cost else ""
        result = [f"{self.service}: {self.verdict.replace('_', ' ')}{cost}"]
        result += [f"  ~ {change.line()}" for change in self.changes]
        result += [f"  > {step.line()}" for step in (*self.pulls, *self.operations)]
        if self.error is not None:
            result.append(f"  ! {self.error.message}")
            result += [f"    {text}" for text in (self.error.cause, self.error.next) if text]
        return tuple(result)

    def to_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "verdict": self.verdict,
            "changes": [
                {"key": c.key, "old": c.old, "new": c.new, "why": c.why} for c in self.changes
            ],
            "pulls": [step.to_json() for step in self.pulls],
            "operations": [step.to_json() for step in self.operations],
            "after": list(self.after),
            "needs": list(self.needs),
            "cost": self.cost,
            "error": self.error.to_json() if self.error is not None else None,
        }


@dataclass(frozen=True)
class Wanted:
    """A service as it must be. spec: resolved (networks and volumes have their engine names).

    cluster: None for a container that belongs to none. previous: resolved spec of the target before
    this apply; None where there is none. running: False for a container that is to stand still.
    others: names of all services of the target. completes: another service waits for it to end
    with exit code 0. node: id, "" for a container that belongs to no cluster.
    """

    service: str
    name: str
    spec: Spec
    labels: Mapping[str, str]
    cluster: str | None
    sensitive: tuple[str, ...] = ()
    previous: Spec | None = None
    running: bool = True
    others: tuple[str, ...] = ()
    completes: bool = False
    node: str = ""


def replica_names(name: str, spec: Spec) -> list[str]:
    """Names of the containers of a service; none where it has 0 replicas."""
    count = int(spec.get("replicas", 1))
    return [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]


def started_at(container: ObservedContainer) -> str:
    """When it was started last, as text that sorts; "" where it never was."""
    state = container.inspect.get("State")
    return sortable(str(state.get("StartedAt") or "")) if isinstance(state, Mapping) else ""


def has_come(time: str, observed: Observed) -> bool:
    """False for one that the node's clock, set back since, has still to reach: it says nothing of
    what came before what."""
    return not observed.now or time <= observed.now


def sortable(time: str) -> str:
    """The engine leaves out zeros at the end of the nanoseconds."""
    seconds, _, rest = time.rstrip("Z").partition(".")
    return f"{seconds}.{rest:0<9}" if seconds else ""
