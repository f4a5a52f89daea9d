# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out one plan on one node, and reports: observe -> plan -> operations -> Report.

What one service fails at is undone for that service alone; all others go on.
"""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Protocol

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.journal import Interrupted, Journal
from ansible_collections.otto.cluster.plugins.module_utils.known_secrets import of_target
from ansible_collections.otto.cluster.plugins.module_utils.masking import masked
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    Observed,
    ObservedContainer,
    ObservedImage,
    RegistryImage,
    Target,
)
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    Await,
    Operation,
    PullImage,
    Rename,
    Start,
)
from ansible_collections.otto.cluster.plugins.module_utils.plan import Plan, ServicePlan, Trouble
from ansible_collections.otto.cluster.plugins.module_utils.plan_values import (
    NEW,
    NO_DOWNTIME,
    replica_names,
)

Progress = Callable[[str], None]


class Engine(Protocol):
    """What is asked of an engine (`engine.DockerEngine`)."""

    def observe(self, target: Target) -> Observed: ...

    def execute(self, operation: Operation, progress: Progress | None = None) -> bool: ...

    def ask(self, references: Collection[str]) -> Mapping[str, RegistryImage]: ...

    def image(self, reference: str) -> ObservedImage | None: ...

    def image_ids(self) -> frozenset[str]: ...

    def images_in_use(self) -> Mapping[str, frozenset[str]]: ...


@dataclass(frozen=True)
class Report:
    """What became of one reconcile.

    revision: of the target that was asked for. changed: in check mode, whether it would change.
    plan: `Plan.to_json()`. services: name -> {"state", "health", "container_id", "image",
    "verdict", "changes": [line], "error": None or the entry of `errors`}; state is "absent" where
    there is no container. errors: [{"service", "message", "cause", "next"}]; service is "" for the
    node's own.
    pruned: a line for each image that was removed because it is superseded.
    interrupted: the run before this one, where it was cut off (see `journal.Interrupted`).
    seconds: wall time.
    """

    cluster: str
    node: str
    revision: str
    changed: bool
    plan: Mapping[str, Any] = field(default_factory=dict)
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: tuple[Mapping[str, str], ...] = ()
    interrupted: Interrupted | None = None
    pruned: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "cluster": self.cluster,
            "node": self.node,
            "revision": self.revision,
            "changed": self.changed,
            "plan": dict(self.plan),
            "services": {name: dict(value) for name, value in self.services.items()},
            "errors": [dict(error) for error in self.errors],
            "interrupted": self.interrupted.to_json() if self.interrupted is not None else None,
            "pruned": list(self.pruned),
            "seconds": self.seconds,
        }


Planner = Callable[[Observed, bool, Mapping[str, str]], Plan]
"""(what is there, whether images were pulled already, service -> why it is blocked) -> Plan"""


def drive(
    engine: Engine,
    target: Target,
    planner: Planner,
    *,
    check: bool = False,
    progress: Progress | None = None,
    workers: int = 10,
    starting: Callable[[Plan], None] | None = None,
    finished: Callable[[Observed], None] | None = None,
    journal: Journal | None = None,
) -> Report:
    """Observe what concerns the target, plan, carry out, report; `reconcile` with any planner."""
    run = _Run(engine, target, progress or _quiet, workers, journal or Journal(None))
    observed = run.observed = engine.observe(target)
    todo = planner(observed, False, {})
    if check:
        run.note_troubles(todo)
        return run.report(observed, todo, changed=not todo.empty)
    if starting is not None:
        starting(todo)
    run.begin()
    pulls = _pulls(todo)
    if pulls:
        run.pull(pulls, todo)
        # What was pulled is part of what a container must equal, so it is planned from anew.
        observed = engine.observe(target)
        todo = _with_pulls(planner(observed, True, run.blocked), todo)
    run.note_troubles(todo)
    run.carry_out(todo)
    if run.touched:
        observed = engine.observe(target)
        run.look_back(todo, observed)
    if finished is not None:
        finished(observed)
    run.end()
    return run.report(observed, todo, changed=run.changed)


class _Run:
    """What one reconcile gathers while it works; threads only append to it."""

    def __init__(
        self,
        engine: Engine,
        target: Target,
        progress: Progress,
        workers: int,
        journal: Journal,
    ) -> None:
        self.engine = engine
        self.target = target
        self.journal = journal
        self.interrupted: Interrupted | None = None
        self.progress = progress
        self.workers = max(1, workers)
        self.begun = time.monotonic()
        self.observed = Observed()
        self.touched = False
        self.changed = False
        self.blocked: dict[str, str] = {}
        self.errors: dict[str, list[Trouble]] = {}

    @functools.cached_property
    def hide(self) -> tuple[str, ...]:
        """Of the target, and of the containers that were there before it."""
        return of_target(self.target, self.observed)

    # ---- steps

    def begin(self) -> None:
        """A run that was cut off is told once: by the run that goes on from what is found."""
        self.interrupted = self.journal.interrupted()
        if self.interrupted is not None:
            self.journal.begin()

    def end(self) -> None:
        self.journal.end("failed" if self.errors else "done")

    def pull(self, pulls: Collection[PullImage], todo: Plan) -> None:
        """Fetch the images side by side. A service whose image cannot be had is blocked."""

        def one(pull: PullImage) -> Trouble | None:
            self.progress(pull.line())
            return self._execute(pull, "")

        with ThreadPoolExecutor(self.workers) as pool:
            ended = {pull.reference: pool.submit(one, pull) for pull in pulls}
        failed = {reference: future.result() for reference, future in ended.items()}
        for service in todo.services:
            for pull in service.pulls:
                trouble = failed[pull.reference]
                if trouble is not None:
                    self._note(replace(trouble, service=service.service))
                    self.blocked[service.service] = trouble.cause

    def note_troubles(self, todo: Plan) -> None:
        """What the plan itself says cannot be done. A failed pull is told already, in full."""
        for trouble in todo.troubles:
            self._note(trouble)
        for service in todo.services:
            if service.error is not None and service.service not in self.blocked:
                self._note(replace(service.error, service=service.service))

    def carry_out(self, todo: Plan) -> None:
        for operation in todo.before:
            self._on_node(operation)
        self._carry_out_services(todo.services)
        for operation in todo.after:
            self._on_node(operation)

    def _carry_out_services(self, services: Iterable[ServicePlan]) -> None:
        """Side by side, but each one after those that it depends on, however these ended."""
        waiting: dict[str, ServicePlan] = {}
        for service in services:
            # The plan lists dependencies first; what comes later closes a circle and is not waited
            # for.
            earlier = tuple(name for name in service.after if name in waiting)
            waiting[service.service] = replace(service, after=earlier)
        running: dict[Future[None], str] = {}
        with ThreadPoolExecutor(self.workers) as pool:
            while waiting or running:
                unfinished = set(waiting) | set(running.values())
                for name, service in list(waiting.items()):
                    if not unfinished.intersection(service.after):
                        running[pool.submit(self._carry_out_service, waiting.pop(name))] = name
                done, _rest = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    del running[future]
                    future.result()

    def _carry_out_service(self, service: ServicePlan) -> None:
        if self._is_held_up(service):
            return
        failed: set[str] = set()
        for part, indices in service.runs():
            if part.is_held_up(failed):
                continue
            for index in indices:
                operation = service.operations[index]
                self.progress(f"{service.service}: {operation.line()}")
                trouble = self._execute(operation, service.service)
                if trouble is not None:
                    trouble = self._undo(service, index, trouble)
                    self._note(replace(trouble, service=service.service))
                    failed.add(part.verdict)
                    break

    def _is_held_up(self, service: ServicePlan) -> bool:
        """Whether what it needs has failed: it is left as it is then, and says so."""
        for name in service.needs:
            if self.errors.get(name):
                trouble = Trouble(
                    f"{service.service} was left as it is",
                    f"it depends on {name}, which failed",
                    self.errors[name][0].next,
                    service.service,
                )
                self._note(trouble)
                return True
        return False

    def _undo(self, service: ServicePlan, index: int, trouble: Trouble) -> Trouble:
        """Put back what was there before. What fails on the way is told with the first failure."""
        undone = service.undo(index)
        failures = []
        for operation in undone:
            self.progress(f"{service.service}: undo: {operation.line()}")
            failure = self._execute(operation, service.service)
            if failure is not None:
                failures.append(f"{failure.message}: {failure.cause}")
            elif isinstance(operation, Rename) and trouble.next.endswith(
                "docker logs " + operation.container
            ):
                # The container that failed is kept for its logs, under another name.
                trouble = replace(
                    trouble, next=trouble.next[: -len(operation.container)] + operation.to
                )
        if not undone:
            return trouble
        if failures:
            ending = "; putting the earlier one back failed too: " + "; ".join(failures)
        elif service.cost == NO_DOWNTIME and not any(isinstance(o, Start) for o in undone):
            ending = "; the earlier one goes on serving"
        else:
            ending = "; the earlier one was put back"
        return replace(trouble, cause=trouble.cause + ending)

    def look_back(self, todo: Plan, observed: Observed) -> None:
        """Who was started at the beginning may have ended while the others were started."""
        for service in todo.services:
            if service.service in self.errors:
                continue
            for container in _containers_of(self.target, service.service, observed):
                if not _stays_up(container):
                    self._look_at(service, container)

    def _look_at(self, service: ServicePlan, container: ObservedContainer) -> None:
        """Its gate again, without patience."""
        for operation in service.operations:
            if not isinstance(operation, Await) or operation.completed:
                continue
            if operation.container in (container.name, container.name + NEW):
                look = replace(
                    operation, container=container.name, id=container.id, settle=0.0, timeout=0.0
                )
                trouble = self._execute(look, service.service)
                if trouble is not None:
                    self._note(replace(trouble, service=service.service))
                return

    # ---- one operation

    def _on_node(self, operation: Operation) -> None:
        self.progress(operation.line())
        trouble = self._execute(operation, "")
        if trouble is not None:
            self._note(trouble)

    def _execute(self, operation: Operation, service: str) -> Trouble | None:
        self.touched = True
        number = self.journal.step(service, operation)
        trouble = self._try(operation)
        error = masked(f"{trouble.message}: {trouble.cause}", self.hide) if trouble else ""
        self.journal.done(number, error)
        return trouble

    def _try(self, operation: Operation) -> Trouble | None:
        try:
            if self.engine.execute(operation, self._told):
                self.changed = True
            return None
        except OttoError as error:
            return Trouble(error.message, self._quoted(error.cause), error.next)
        except Exception as error:  # a fault of ours must not keep the other services down
            place = traceback.extract_tb(error.__traceback__)[-1]
            return Trouble(
                f"Otto itself failed at: {operation.line()}",
                cause=f"{type(error).__name__}: {error}"
                f" ({PurePath(place.filename).name}, line {place.lineno})",
                next="report this as a fault of Otto, with the line above",
            )

    def _told(self, line: str) -> None:
        """What an operation says may quote what a container said."""
        self.progress(self._quoted(line))

    def _quoted(self, text: str) -> str:
        """Masked, then cut: half a secret is none that is known."""
        return shortened(masked(text, self.hide))

    def _note(self, trouble: Trouble) -> None:
        self.errors.setdefault(trouble.service, []).append(trouble)

    # ---- the report

    def report(self, observed: Observed, todo: Plan, *, changed: bool) -> Report:
        by_service = {service.service: service for service in todo.services}
        errors: list[Mapping[str, str]] = []
        first: dict[str, Mapping[str, str]] = {}
        for name in sorted(self.errors):
            for trouble in self.errors[name]:
                entry = {key: masked(text, self.hide) for key, text in trouble.to_json().items()}
                first.setdefault(name, entry)
                errors.append(entry)
        services: dict[str, Mapping[str, Any]] = {}
        for name in sorted(set(self.target.services) | set(by_service)):
            part = by_service.get(name)
            container = _container_of(self.target, name, observed)
            services[name] = {
                "state": container.state if container else "absent",
                "health": container.health if container else None,
                "container_id": container.id if container else "",
                "image": container.image if container else "",
                "verdict": part.verdict if part else "up_to_date",
                "changes": [change.line() for change in part.changes] if part else [],
                "error": first.get(name),
            }
        return Report(
            cluster=self.target.cluster,
            node=self.target.node,
            revision=self.target.revision,
            changed=changed,
            plan=todo.to_json(),
            services=services,
            errors=tuple(errors),
            interrupted=self.interrupted,
            seconds=round(time.monotonic() - self.begun, 3),
        )


# ---- helpers


def shortened(text: str) -> str:
    """`why (what it said last)`: of what it said no more than the end."""
    why, opened, said = text.partition(" (")
    return f"{why[:_SAID]}{opened}...{said[-_SAID:]}" if len(said) > _SAID else text[: 2 * _SAID]


_SAID = 600
"""Characters of a log that are quoted."""


def _quiet(_text: str) -> None:
    pass


def _pulls(todo: Plan) -> list[PullImage]:
    """Each image once; `always` wins."""
    pulls: dict[str, PullImage] = {}
    for service in todo.services:
        for pull in service.pulls:
            if pull.always or pull.reference not in pulls:
                pulls[pull.reference] = pull
    return [pulls[reference] for reference in sorted(pulls)]


def _with_pulls(todo: Plan, earlier: Plan) -> Plan:
    """The plan with the pulls that it took to make it, so that it tells all that was done."""
    pulls = {service.service: service.pulls for service in earlier.services}
    services = tuple(
        replace(service, pulls=pulls.get(service.service, ())) for service in todo.services
    )
    return replace(todo, services=services)


def _stays_up(container: ObservedContainer) -> bool:
    return container.state == "running" and not container.inspect.get("RestartCount")


def _containers_of(target: Target, service: str, observed: Observed) -> list[ObservedContainer]:
    """The containers that a service of the target has: as many as it has replicas."""
    spec = target.services.get(service, {})
    names = replica_names(str(spec.get("container_name") or service), spec)
    return [
        container
        for container in observed.containers
        if container.service == service
        and (container.cluster or "") == target.cluster
        and (container.name in names or service not in target.services)
    ]


def _container_of(target: Target, service: str, observed: Observed) -> ObservedContainer | None:
    """The one that speaks for the service: of several, one that is not well before the others."""
    mine = _containers_of(target, service, observed)
    mine.sort(key=lambda c: (c.state == "running", c.health in (None, "healthy")))
    return mine[0] if mine else None
