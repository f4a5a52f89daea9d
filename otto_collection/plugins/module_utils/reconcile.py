# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""observe -> plan -> carry out -> Report: the one way in which a node becomes its target.

What one service fails at is undone for that service alone; all others go on.

Which target a node keeps when an update fails
    `apply` writes the new target before the first operation, so that an interrupted run is finished
    by the agent, control machine or none; and it stays the target when a service fails at it: that
    is still what the file says, and every report goes on naming the failure. The agent does not
    repeat a failed update (with its short outage) at each sweep: the container that failed is kept
    as `<name>.otto-failed`, its label says which spec it had, and the agent plans with
    `retry_failed=False`. The next apply tries again, when somebody has looked. The good copy of the
    target is only written when all of it was reached: until then it is what `previous` has to be.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Protocol

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    Observed,
    ObservedContainer,
    Target,
)
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    Operation,
    PullImage,
    Rename,
)
from ansible_collections.otto.cluster.plugins.module_utils.plan import (
    Plan,
    ServicePlan,
    Trouble,
    plan,
    plan_absent,
)
from ansible_collections.otto.cluster.plugins.module_utils.state import BrokenTarget, TargetStore

Progress = Callable[[str], None]


class Engine(Protocol):
    """What is asked of an engine (`engine.DockerEngine`)."""

    def observe(self, target: Target) -> Observed: ...

    def execute(self, operation: Operation, progress: Progress | None = None) -> bool: ...


@dataclass(frozen=True)
class Report:
    """What became of one reconcile.

    revision: of the target that was asked for. changed: in check mode, whether it would change.
    plan: `Plan.to_json()`. services: name -> {"state", "health", "container_id", "image",
    "verdict", "changes": [line], "error": None or the entry of `errors`}; state is "absent" where
    there is no container. errors: [{"service", "message", "cause", "next"}]; service is "" for the
    node's own.
    seconds: wall time.
    """

    cluster: str
    node: str
    revision: str
    changed: bool
    plan: Mapping[str, Any] = field(default_factory=dict)
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: tuple[Mapping[str, str], ...] = ()
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
            "seconds": self.seconds,
        }


def reconcile(
    engine: Engine,
    target: Target,
    *,
    previous: Target | None = None,
    check: bool = False,
    progress: Progress | None = None,
    services: Collection[str] | None = None,
    workers: int = 10,
    refresh: bool = True,
    retry_failed: bool = True,
    starting: Callable[[], None] | None = None,
) -> Report:
    """Make a node its target. Call it under the node's lock (see `TargetStore.lock`).

    previous: the target before this one; it tells a change of the file from drift.
    check: plan only. services: only these; the others are left alone. workers: services at once.
    refresh, retry_failed: see `plan.plan`; the agent's sweeps say False to both.
    starting: called once, when there is a plan and before anything is touched.
    Raises OttoError when the engine cannot be observed; what a service fails at is in the report.
    """

    def planner(observed: Observed, again: bool, blocked: Mapping[str, str]) -> Plan:
        return plan(
            target,
            observed,
            previous=previous,
            services=services,
            refresh=refresh and not again,
            retry_failed=retry_failed,
            blocked=blocked,
        )

    return drive(
        engine,
        target,
        planner,
        check=check,
        progress=progress,
        workers=workers,
        starting=starting,
    )


def apply(
    engine: Engine,
    store: TargetStore,
    target: Target,
    *,
    check: bool = False,
    progress: Progress | None = None,
    workers: int = 10,
    lock_timeout: float = 120,
    holder: str = "apply",
) -> Report:
    """Give a node a new target: lock, write it, reconcile, and keep it as good if it was reached.

    Check mode takes no lock and writes nothing. Raises OttoError (engine, lock or disk).
    """
    if check:
        return reconcile(engine, target, previous=_previous(store), check=True)
    with store.lock(lock_timeout, holder, _waiting(progress)):
        report = reconcile(
            engine,
            target,
            previous=_previous(store),
            progress=progress,
            workers=workers,
            starting=lambda: store.write(target),
        )
        if not report.errors:
            store.settle(target)
        return report


def remove(
    engine: Engine,
    cluster: str,
    volumes: bool = False,
    *,
    node: str = "",
    check: bool = False,
    progress: Progress | None = None,
    workers: int = 10,
) -> Report:
    """Take down all that carries this cluster's label: containers, networks and, if told, volumes.

    Call it under the lock and with the target forgotten (`TargetStore.clear`), so that no agent
    brings it back. Volumes are data: they stay unless `volumes` is true.
    """
    return drive(
        engine,
        Target(cluster=cluster, node=node),
        lambda observed, _again, _blocked: plan_absent(cluster, observed, volumes),
        check=check,
        progress=progress,
        workers=workers,
    )


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
    starting: Callable[[], None] | None = None,
) -> Report:
    """Observe what concerns the target, plan, carry out, report; `reconcile` with any planner."""
    run = _Run(engine, target, progress or _quiet, workers)
    observed = engine.observe(target)
    todo = planner(observed, False, {})
    if check:
        run.note_troubles(todo)
        return run.report(observed, todo, changed=not todo.empty)
    if starting is not None:
        starting()
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
    return run.report(observed, todo, changed=run.changed)


class _Run:
    """What one reconcile gathers while it works; threads only append to it."""

    def __init__(self, engine: Engine, target: Target, progress: Progress, workers: int) -> None:
        self.engine = engine
        self.target = target
        self.progress = progress
        self.workers = max(1, workers)
        self.begun = time.monotonic()
        self.touched = False
        self.changed = False
        self.blocked: dict[str, str] = {}
        self.errors: dict[str, list[Trouble]] = {}

    # ---- steps

    def pull(self, pulls: Collection[PullImage], todo: Plan) -> None:
        """Fetch the images side by side. A service whose image cannot be had is blocked."""

        def one(pull: PullImage) -> Trouble | None:
            self.progress(pull.line())
            return self._execute(pull)

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
        for index, operation in enumerate(service.operations):
            self.progress(f"{service.service}: {operation.line()}")
            trouble = self._execute(operation)
            if trouble is not None:
                trouble = self._undo(service, index, trouble)
                self._note(replace(trouble, service=service.service))
                return

    def _undo(self, service: ServicePlan, index: int, trouble: Trouble) -> Trouble:
        """Put back what was there before. What fails on the way is told with the first failure."""
        undone = service.undo(index)
        failures = []
        for operation in undone:
            self.progress(f"{service.service}: undo: {operation.line()}")
            failure = self._execute(operation)
            if failure is not None:
                failures.append(f"{failure.message}: {failure.cause}")
            elif isinstance(operation, Rename) and trouble.next.endswith(
                "docker logs " + operation.container
            ):
                # The container that failed is kept for its logs, under another name.
                trouble = replace(
                    trouble, next=trouble.next[: -len(operation.container)] + operation.to
                )
        if failures:
            ending = "; putting the earlier one back failed too: " + "; ".join(failures)
        elif undone:
            ending = "; the earlier one was put back"
        else:
            return trouble
        return replace(trouble, cause=trouble.cause + ending)

    # ---- one operation

    def _on_node(self, operation: Operation) -> None:
        self.progress(operation.line())
        trouble = self._execute(operation)
        if trouble is not None:
            self._note(trouble)

    def _execute(self, operation: Operation) -> Trouble | None:
        self.touched = True
        try:
            if self.engine.execute(operation, self.progress):
                self.changed = True
            return None
        except OttoError as error:
            return Trouble(error.message, error.cause, error.next)
        except Exception as error:  # a fault of ours must not keep the other services down
            place = traceback.extract_tb(error.__traceback__)[-1]
            return Trouble(
                f"Otto itself failed at: {operation.line()}",
                cause=f"{type(error).__name__}: {error}"
                f" ({PurePath(place.filename).name}, line {place.lineno})",
                next="report this as a fault of Otto, with the line above",
            )

    def _note(self, trouble: Trouble) -> None:
        self.errors.setdefault(trouble.service, []).append(trouble)

    # ---- the report

    def report(self, observed: Observed, todo: Plan, *, changed: bool) -> Report:
        hide = _secrets(self.target)
        by_service = {service.service: service for service in todo.services}
        errors: list[Mapping[str, str]] = []
        first: dict[str, Mapping[str, str]] = {}
        for name in sorted(self.errors):
            for trouble in self.errors[name]:
                entry = {key: _masked(text, hide) for key, text in trouble.to_json().items()}
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
            seconds=round(time.monotonic() - self.begun, 3),
        )


# ---- helpers


def _quiet(_text: str) -> None:
    pass


def _waiting(progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    tell = progress
    return lambda holder: tell("waiting for the lock, held by: %s" % (holder or "(no name)"))


def _previous(store: TargetStore) -> Target | None:
    """The target before this one; a broken one is no obstacle to writing a whole one."""
    good = store.good()
    if good is not None:
        return good
    try:
        return store.read()
    except BrokenTarget:
        return None


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


def _container_of(target: Target, service: str, observed: Observed) -> ObservedContainer | None:
    spec = target.services.get(service, {})
    wanted = str(spec.get("container_name") or service)
    mine = [
        container
        for container in observed.containers
        if container.service == service and (container.cluster or "") == target.cluster
    ]
    for container in mine:
        if container.name == wanted:
            return container
    return mine[0] if mine and service not in target.services else None


def _secrets(target: Target) -> tuple[str, ...]:
    """Values that must not be seen in what a container or the engine wrote."""
    values: set[str] = set()
    for service, names in target.sensitive.items():
        environment = target.services.get(service, {}).get("environment") or {}
        values.update(str(environment[name]) for name in names if environment.get(name))
    # Shorter ones would only riddle the text, and are no secrets.
    return tuple(sorted((value for value in values if len(value) >= 4), key=len, reverse=True))


def _masked(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "(hidden)")
    return text
