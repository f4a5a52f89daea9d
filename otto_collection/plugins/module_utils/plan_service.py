# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one service needs: its spec and the containers that are there give operations. Pure.

A replacement keeps the old container until the new one has proved itself. Stop-first:

    create <name>.otto-new · stop old · rename old to <name>.otto-old · rename new to <name> ·
    start · await · remove old

Start-first, where the two may run side by side (`plan_order`):

    create <name>.otto-new without aliases · start · await · connect it with its aliases ·
    stop old · rename old to <name>.otto-old · rename new to <name> · remove old

Either may be interrupted between any two of them, and so may its undoing. What is found then is
told by name, label and networks: which container is the one to keep (*current*) and which the one
to come (*new*). Steps that are behind are kept as `resumed`, so that a failure later still leads
back. Commands of `post_start` may so be run a second time, never not at all: where there are some,
also the first container of a service gets its name only when they have passed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import plan_images
from .errors import typed
from .model import Change, Observed, ObservedContainer
from .operations import Create, Operation, Remove, Rename, Start, Stop, Update
from .option_sides_process import DEFAULT_RESTART
from .option_table import OPTIONS
from .options import unknown_to
from .plan_compare import compare, create_body, flat
from .plan_order import impossible, starts_first
from .plan_steps import FRESH, SETTLE, Steps
from .plan_values import (
    FAILED,
    IN_PLACE,
    NEW,
    NO_DOWNTIME,
    OLD,
    SUFFIXES,
    WITH_STOP,
    ServicePlan,
    Trouble,
    Wanted,
)


def is_mine(wanted: Wanted, container: ObservedContainer) -> bool:
    """Whether it is a container of this service."""
    if container.cluster != wanted.cluster or container.service is None:
        return False
    if container.service == wanted.service:
        return True
    # A service that is no more in the file leaves its container's name to its successor.
    return container.name == wanted.name and container.service not in wanted.others


class Planner:
    """The plan of one container of a service in the making: what is there, and what it is for.

    mine: the containers that are there for this one; the first that has no name of its own is
    taken for it, if there is nothing better. tried: name of the container that has failed with
    this very spec; "" where none has.
    """

    def __init__(
        self,
        wanted: Wanted,
        observed: Observed,
        mine: Sequence[ObservedContainer],
        *,
        tried: str = "",
    ) -> None:
        self.wanted = wanted
        self.observed = observed
        self.steps = Steps(wanted, observed)
        self.mine = list(mine)
        self.tried = tried
        self.first: list[Operation] = []
        """Leftovers that are in the way."""
        self.last: list[Operation] = []
        """Leftovers that may go once all is well."""
        image = observed.images.get(wanted.spec["image"])
        self.start_first = wanted.running and starts_first(
            wanted, image.config if image is not None else None
        )

    def find(self, suffix: str = "") -> ObservedContainer | None:
        name = self.wanted.name + suffix
        return next((c for c in self.mine if c.name == name), None)

    def clash(self) -> Trouble | None:
        wanted = self.wanted
        for suffix in ("", *SUFFIXES):
            name = self.wanted.name + suffix
            other = next((c for c in self.observed.containers if c.name == name), None)
            if other is None or is_mine(self.wanted, other):
                continue
            whose = "is not Otto's"
            if other.cluster is not None and other.cluster != self.wanted.cluster:
                whose = f"belongs to cluster {other.cluster}"
            elif other.service is not None:
                whose = f"belongs to service {other.service}"
            return Trouble(
                f"container {other.name} exists and {whose}",
                "Otto touches no container that it has not made for this service: have it taken"
                " over, remove it, rename the service, or set container_name",
                typed("otto-run adopt {} {} --as {}", wanted.node, other.name, wanted.service)
                if wanted.node and other.service is None and not suffix
                else typed("docker rm -f {}", other.name),
                wanted.service,
            )
        return None

    def plan(self, refresh: bool, retry_failed: bool, blocked: str | None) -> ServicePlan:
        wanted, name = self.wanted, self.wanted.name
        trouble = self.clash()
        if trouble is not None:
            return ServicePlan(wanted.service, "up_to_date", error=trouble)
        main, old, new, failed = (self.find(suffix) for suffix in ("", OLD, NEW, FAILED))
        strays = [c for c in self.mine if c not in (main, old, new, failed)]
        current = main
        if main is not None and main.state in ("dead", "removing"):
            self.first.append(Remove(name, main.id, force=True))
            main = current = None
        if main is not None and old is not None:
            if not compare(wanted, main, self.observed):
                return self._finish(main, old, new, failed)
            if _serves(main):
                self.first.append(Remove(old.name, old.id, force=True))
            else:
                self.first.append(Remove(name, main.id, force=True))
                current = old
        elif main is None:
            current = old
            plain = [c for c in strays if not c.name.endswith(SUFFIXES)]
            if current is None and plain:  # container_name or the number of replicas has changed
                current = plain[0]
                strays.remove(current)
        if failed is not None:
            self.last.append(Remove(failed.name, failed.id, force=True, volumes=True))
        self.last += [Remove(c.name, c.id, force=True) for c in strays]

        if current is None:
            return self._gated(self._create(new), None, refresh, retry_failed, blocked)
        changes = compare(wanted, current, self.observed)
        if current.state == "paused":
            state = Change("state", "paused", "running", "drift")
            changes = {**changes, "state": [state]}
        if current.by_hand:
            own = Change("container", "started by hand", "Otto's", "file")
            changes = {**changes, "container": [own]}
        renamed = self._renamed(current)
        if renamed is not None:
            changes = {**changes, "container_name": [renamed]}
        if not changes or self._in_place(changes, current):
            if new is not None:
                # One that runs may be all that serves, until the old one runs again.
                (self.last if new.state == "running" else self.first).append(
                    Remove(new.name, new.id, force=True, volumes=True)
                )
            pulls = plan_images.pulls(wanted.spec, self.observed, refresh=refresh, making=False)
            return replace(self._keep(current, changes), pulls=pulls, error=self._unknown())
        result = self._replace(current, new, changes)
        return self._gated(result, current, refresh, retry_failed, blocked)

    # The pieces.

    def _gated(
        self,
        result: ServicePlan,
        current: ObservedContainer | None,
        refresh: bool,
        retry_failed: bool,
        blocked: str | None,
    ) -> ServicePlan:
        """The plan that makes a container, or why not, with what puts the old one back."""
        wanted = self.wanted
        trouble = impossible(wanted) or plan_images.obstacle(wanted.spec, self.observed)
        trouble = trouble or self._unknown()
        if blocked is not None:
            trouble = Trouble(blocked, service=wanted.service)
        elif self.tried and not retry_failed and current is not None:
            trouble = Trouble(
                f"{wanted.service} did not come up with this change; the old container serves",
                f"what failed is kept as {self.tried}",
                typed("docker logs {}", self.tried),
                wanted.service,
            )
        if trouble is not None:
            steps = self._put_back(current) if current is not None else []
            trouble = replace(trouble, service=wanted.service)
            return replace(result, operations=tuple(steps), resumed=(), cost="", error=trouble)
        pulls = plan_images.pulls(wanted.spec, self.observed, refresh=refresh, making=True)
        return replace(result, pulls=pulls)

    def _unknown(self) -> Trouble | None:
        """What the file asks for and this engine has never heard of: it would just leave it out."""
        lines = unknown_to(self.wanted.spec, self.observed.engine)
        if not lines:
            return None
        hint = "remove it from the file, or upgrade Docker on this node"
        service = self.wanted.service
        return Trouble(f"{service}: {lines[0]}", ", ".join(lines[1:]), hint, service)

    def _put_back(self, current: ObservedContainer) -> list[Operation]:
        steps: list[Operation] = []
        if current.name == self.wanted.name + OLD:
            steps += [step for step in self.first if _names(step) == self.wanted.name]
            steps.append(Rename(current.name, self.wanted.name, current.id))
        if self._must_start(current):
            target = self.wanted.name if steps else current.name
            steps.append(Start(target, current.id))
        return steps

    def _renamed(self, current: ObservedContainer) -> Change | None:
        """The change of its name, where it has one that it did not get on the way."""
        name = self.wanted.name
        if current.name in (name, name + OLD):
            return None
        scaled = re.fullmatch(re.escape(self.wanted.service) + r"(-\d+)?", current.name)
        why = "file" if scaled or self._named(current) else "drift"
        return Change("container_name", current.name, name, why)

    def _named(self, current: ObservedContainer) -> bool:
        """Whether its name comes from container_name: another one is another container then."""
        specs = (self.wanted.spec, current.applied or {})
        first, second = (spec.get("container_name") for spec in specs)
        return bool(first != second)

    def _must_start(self, container: ObservedContainer) -> bool:
        """Whether one that stands still is to run. What the engine restarts is left to it."""
        if not self.wanted.running:
            return False
        if container.state == "created":
            return True
        if container.state != "exited":
            return False
        policy, _, count = self.wanted.spec.get("restart", DEFAULT_RESTART).partition(":")
        if policy == "no":  # it has run its once; but others wait until it has done so well
            return self.wanted.completes and container.exit_code != 0
        if policy == "on-failure":
            tried = int(container.inspect.get("RestartCount") or 0)
            return container.exit_code != 0 and not (count and tried >= int(count))
        return True

    def _create(self, new: ObservedContainer | None) -> ServicePlan:
        wanted = self.wanted
        steps = list(self.first)
        name = wanted.name
        new_id = ""
        hooks = wanted.running and bool(wanted.spec.get("post_start"))
        if hooks:
            name += NEW
        if new is not None and hooks and not compare(wanted, new, self.observed):
            new_id = new.id
            if new.state != "running":
                steps.append(Start(name, new_id))
            steps += self.steps.prove(name, new_id, FRESH)
        else:
            if new is not None:
                steps.append(Remove(new.name, new.id, force=True, volumes=True))
            steps += self.steps.make(name, create_body(wanted))
            steps += self.steps.start(name, "", FRESH)
        if hooks:
            steps.append(Rename(name, wanted.name, new_id))
        verdict = "recreate" if any(_names(s) == wanted.name for s in self.first) else "create"
        return ServicePlan(wanted.service, verdict, operations=(*steps, *self.last))

    def _finish(
        self,
        main: ObservedContainer,
        old: ObservedContainer,
        new: ObservedContainer | None,
        failed: ObservedContainer | None,
    ) -> ServicePlan:
        """The new one stands in its place already; it is seen to serve, then the old one goes."""
        name = self.wanted.name
        steps: list[Operation] = []
        if self.wanted.running:
            # Also one that runs: it may have been started and not yet have proved itself.
            steps += [Start(name, main.id)] if main.state != "running" else []
            steps += self.steps.prove(name, main.id)
        steps.append(Remove(old.name, old.id, force=True))
        steps += [Remove(c.name, c.id, force=True, volumes=True) for c in (new, failed) if c]
        back: tuple[Operation, ...] = (
            Stop(name, old.id),
            Rename(name, old.name, old.id),
            Rename(name + NEW, name, main.id, name + FAILED),
        )
        return ServicePlan(self.wanted.service, "recreate", (), tuple(steps), resumed=back)

    def _in_place(self, changes: Mapping[str, list[Change]], current: ObservedContainer) -> bool:
        if "network_mode" in changes or (current.state != "running" and "networks" in changes):
            return False
        for name in changes:
            if name == "container_name":
                if self._named(current):
                    return False
                continue
            if name == "networks":
                mode = self.wanted.spec.get("network_mode", "bridge")
                if mode != "bridge":
                    return False
                continue
            update = OPTIONS[name].side.update if name in OPTIONS else None
            if update is None or update(self.wanted.spec) is None:
                return False
        return True

    def _keep(self, current: ObservedContainer, changes: Mapping[str, list[Change]]) -> ServicePlan:
        """The container stays: put in its place, changed where it stands, started."""
        wanted, spec = self.wanted, self.wanted.spec
        steps = list(self.first)
        verdict = "up_to_date"
        if current.name != wanted.name:
            steps.append(Rename(current.name, wanted.name, current.id))
            verdict = "start"
        settings: dict[str, Any] = {}
        for name in changes:
            if name == "networks":
                steps += self.steps.reconnect(current)
            elif name != "container_name":
                update = OPTIONS[name].side.update
                settings.update((update(spec) if update is not None else None) or {})
        if settings:
            host = current.inspect.get("HostConfig") or {}
            before = {key: host.get(key) for key in settings if host.get(key) is not None}
            steps.append(Update(wanted.name, settings, before, current.id))
        if changes:
            verdict = "update"
        told = flat(changes)
        if self._must_start(current):
            steps += self.steps.start(wanted.name, current.id, SETTLE if changes else FRESH)
            told = (*told, Change("state", current.state, "running", "drift"))
            verdict = "update" if changes else "start"
        elif not wanted.running and current.state in ("running", "restarting"):
            steps += self.steps.stop(replace(current, name=wanted.name))
            verdict = "update" if changes else "stop"
        cost = IN_PLACE if changes else ""
        return ServicePlan(wanted.service, verdict, told, (*steps, *self.last), cost=cost)

    def _replace(
        self,
        current: ObservedContainer,
        new: ObservedContainer | None,
        changes: Mapping[str, list[Change]],
    ) -> ServicePlan:
        way = self._with_start_first if self.start_first else self._with_stop_first
        steps, resumed = way(current, new)
        steps.append(Remove(self.wanted.name + OLD, current.id, force=True))
        return ServicePlan(
            self.wanted.service,
            "recreate",
            flat(changes),
            (*self.first, *steps, *self.last),
            resumed=tuple(resumed),
            cost=NO_DOWNTIME if self.start_first else WITH_STOP,
        )

    def _with_stop_first(
        self, current: ObservedContainer, new: ObservedContainer | None
    ) -> tuple[list[Operation], list[Operation]]:
        wanted, name = self.wanted, self.wanted.name
        steps: list[Operation] = []
        resumed: list[Operation] = []
        new_id = ""
        if new is not None and new.state == "created" and not compare(wanted, new, self.observed):
            new_id = new.id
            resumed.append(Create(new.name, wanted.spec["image"], {}, name))
        else:
            if new is not None:
                steps.append(Remove(new.name, new.id, force=True, volumes=True))
            body = self.steps.carried(create_body(wanted), current)
            steps += self.steps.make(name + NEW, body, name)
        self._set_aside(current, steps, resumed)
        steps.append(Rename(name + NEW, name, new_id, name + FAILED))
        return steps + self.steps.start(name, new_id), resumed

    def _with_start_first(
        self, current: ObservedContainer, new: ObservedContainer | None
    ) -> tuple[list[Operation], list[Operation]]:
        name = self.wanted.name
        staged = self.steps.staged()
        steps: list[Operation] = []
        resumed: list[Operation] = []
        if new is not None and not self._goes_on(new, staged):
            steps.append(Remove(new.name, new.id, force=True, volumes=True))
            new = None
        new_id = "" if new is None else new.id
        start = Start(name + NEW, new_id, name + FAILED)
        if new is None:
            body = self.steps.carried(create_body(staged), current)
            steps += self.steps.make_staged(name + NEW, body, name)
        else:
            resumed.append(Create(new.name, self.wanted.spec["image"], {}, name))
        if new is not None and new.state == "running":
            resumed.append(start)
        else:
            steps.append(start)
        steps += self.steps.prove(name + NEW, new_id)
        steps += self.steps.admit(name + NEW, new)
        self._set_aside(current, steps, resumed)
        steps.append(Rename(name + NEW, name, new_id))
        return steps, resumed

    def _goes_on(self, new: ObservedContainer, staged: Wanted) -> bool:
        """Whether what an earlier run has begun is what is wanted now, and may be gone on with."""
        if new.state == "running":
            # Some of its networks may be on their way to have aliases.
            return set(compare(self.wanted, new, self.observed)) <= {"networks"}
        return new.state == "created" and not compare(staged, new, self.observed)

    def _set_aside(
        self, current: ObservedContainer, steps: list[Operation], resumed: list[Operation]
    ) -> None:
        """The old one stops and gives its name away."""
        old = self.wanted.name + OLD
        if current.state in ("running", "restarting", "paused"):
            steps += self.steps.stop(current)
        elif self._must_start(current):
            resumed.append(Stop(current.name, current.id))
        if current.name == old:
            resumed.append(Rename(self.wanted.name, old, current.id))
        else:
            steps.append(Rename(current.name, old, current.id))


def _names(step: Operation) -> str:
    return str(getattr(step, "container", ""))


def _serves(container: ObservedContainer) -> bool:
    return container.state == "running" and container.health in (None, "healthy")
