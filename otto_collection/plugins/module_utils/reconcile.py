# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""observe -> plan -> carry out -> Report: the one way in which a node becomes its target.

What one service fails at is undone for that service alone; all others go on.

Which target a node keeps when an update fails
    `apply` writes the new target before the first operation: an interrupted run is finished by the
    agent, control machine or none. What is *kept* afterwards is what was reached (`reached`):
    a service whose update failed, and whose earlier container was put back, stays at its earlier
    spec. Otherwise the agent would see drift and repeat the failing update (and its short outage)
    at each sweep, for ever. The failed update is repeated by the next apply, when somebody has
    looked: the node's revision then differs from the one of the file. A service that had nothing
    before keeps the new spec; there is nothing to lose, so the agent goes on trying to bring it up.
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
    LABEL_SERVICE,
    Observed,
    ObservedContainer,
    Target,
)
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    Operation,
    PullImage,
    Remove,
    RemoveNetwork,
    RemoveVolume,
    Rename,
    Stop,
)
from ansible_collections.otto.cluster.plugins.module_utils.plan import (
    Plan,
    ServicePlan,
    Trouble,
    plan,
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
    workers: int = 4,
    starting: Callable[[], None] | None = None,
) -> Report:
    """Make a node its target. Call it under the node's lock (see `TargetStore.lock`).

    previous: the target before this one; it tells a change of the file from drift.
    check: plan only. services: only these; the others are left alone. workers: services at once.
    starting: called once, when there is a plan and before anything is touched.
    Raises OttoError when the engine cannot be observed; what a service fails at is in the report.
    """
    begun = time.monotonic()
    run = _Run(engine, target, progress or _quiet, workers)
    observed = engine.observe(target)
    todo = plan(target, observed, previous=previous, services=services)
    if check:
        return run.report(observed, todo, changed=not todo.empty, begun=begun)
    if starting is not None:
        starting()
    pulls = _pulls(todo)
    if pulls:
        run.pull(pulls, todo)
        # What was pulled is part of what a container must equal, so it is planned from anew.
        observed = engine.observe(target)
        todo = plan(
            target, observed, previous=previous, services=services, blocked=dict(run.blocked)
        )
    run.carry_out(todo)
    if run.touched:
        observed = engine.observe(target)
    return run.report(observed, todo, changed=run.changed, begun=begun)


def apply(
    engine: Engine,
    store: TargetStore,
    target: Target,
    *,
    check: bool = False,
    progress: Progress | None = None,
    workers: int = 4,
    lock_timeout: float = 120,
    holder: str = "apply",
) -> Report:
    """Give a node a new target: lock, write it, reconcile, keep what was reached.

    Check mode takes no lock and writes nothing. Raises OttoError (engine, lock or disk).
    """
    if check:
        return reconcile(engine, target, previous=_previous(store), check=True)
    with store.lock(lock_timeout, holder, _waiting(progress)):
        previous = _previous(store)
        report = reconcile(
            engine,
            target,
            previous=previous,
            progress=progress,
            workers=workers,
            starting=lambda: store.write(target),
        )
        store.settle(reached(target, previous, report))
        return report


def reached(target: Target, previous: Target | None, report: Report) -> Target:
    """The target that a node keeps after a reconcile; see the head of this file.

    The agent calls it too, when it finishes what an interrupted apply began.
    """
    if previous is None:
        return target
    held = {
        name
        for name, service in report.services.items()
        if service["error"] is not None
        and service["verdict"] in ("recreate", "update")
        and name in target.services
        and name in previous.services
        and previous.services[name] != target.services[name]
    }
    if not held:
        return target
    services = {
        name: previous.services[name] if name in held else spec
        for name, spec in target.services.items()
    }
    # What the earlier spec names must stay declared, or it would be taken for an orphan.
    networks = dict(target.networks)
    volumes = dict(target.volumes)
    for name in held:
        spec = previous.services[name]
        for key in spec.get("networks") or ("default",):
            if key in previous.networks:
                networks.setdefault(key, previous.networks[key])
        for mount in spec.get("volumes") or ():
            if mount.get("source") in previous.volumes:
                volumes.setdefault(mount["source"], previous.volumes[mount["source"]])
    sensitive = dict(target.sensitive)
    for name in held & set(previous.sensitive):
        sensitive[name] = previous.sensitive[name]
    return replace(
        target, services=services, networks=networks, volumes=volumes, sensitive=sensitive
    )


def remove(
    engine: Engine,
    cluster: str,
    volumes: bool = False,
    *,
    node: str = "",
    check: bool = False,
    progress: Progress | None = None,
    workers: int = 4,
) -> Report:
    """Take down all that carries this cluster's label: containers, networks and, if told, volumes.

    Call it under the lock and with the target forgotten (`TargetStore.clear`), so that no agent
    brings it back. Volumes are data: they stay unless `volumes` is true.
    """
    begun = time.monotonic()
    nothing = Target(cluster=cluster, node=node)
    run = _Run(engine, nothing, progress or _quiet, workers)
    observed = engine.observe(nothing)
    services = []
    for container in observed.containers:
        grace = container.inspect.get("Config", {}).get("StopTimeout")
        stop = Stop(container.name, container.id, grace=10 if grace is None else grace)
        operations: tuple[Operation, ...] = (
            Remove(container.name, container.id, force=True, volumes=True),
        )
        if container.state in ("running", "restarting", "paused"):
            operations = (stop, *operations)
        services.append(ServicePlan(container.name, "remove", operations=operations))
    after: list[Operation] = [
        RemoveNetwork(name) for name in sorted(observed.networks) if name not in _BUILT_IN
    ]
    if volumes:
        after += [RemoveVolume(name) for name in sorted(observed.volumes)]
    todo = Plan(services=tuple(services), after=tuple(after))
    if check:
        return run.report(observed, todo, changed=not todo.empty, begun=begun)
    run.carry_out(todo)
    if run.touched:
        observed = engine.observe(nothing)
    return run.report(observed, todo, changed=run.changed, begun=begun)


_BUILT_IN = ("bridge", "host", "none")


class _Run:
    """What one reconcile gathers while it works; threads only append to it."""

    def __init__(self, engine: Engine, target: Target, progress: Progress, workers: int) -> None:
        self.engine = engine
        self.target = target
        self.progress = progress
        self.workers = max(1, workers)
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

    def carry_out(self, todo: Plan) -> None:
        for trouble in todo.troubles:
            self._note(trouble)
        for operation in todo.before:
            self._on_node(operation)
        self._carry_out_services(todo.services)
        for operation in todo.after:
            self._on_node(operation)

    def _carry_out_services(self, services: Iterable[ServicePlan]) -> None:
        """Side by side, but each one after those that it depends on, however these ended."""
        waiting = {service.service: service for service in services}
        running: dict[Future[None], str] = {}
        with ThreadPoolExecutor(self.workers) as pool:
            while waiting or running:
                unfinished = set(waiting) | set(running.values())
                ready = [
                    name
                    for name, service in waiting.items()
                    if not unfinished.intersection(service.after)
                ]
                if not ready and not running:
                    raise OttoError(
                        "These services wait for each other: %s" % ", ".join(sorted(waiting)),
                        cause="their depends_on goes round in a circle",
                        next="otto-run validate",
                    )
                for name in ready:
                    running[pool.submit(self._carry_out_service, waiting.pop(name))] = name
                done, _rest = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    del running[future]
                    future.result()

    def _carry_out_service(self, service: ServicePlan) -> None:
        if service.error is not None and service.service not in self.blocked:
            self._note(replace(service.error, service=service.service))
        for index, operation in enumerate(service.operations):
            self.progress("%s: %s" % (service.service, operation.line()))
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
            self.progress("%s: undo: %s" % (service.service, operation.line()))
            failure = self._execute(operation)
            if failure is not None:
                failures.append("%s: %s" % (failure.message, failure.cause))
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
                "Otto itself failed at: %s" % operation.line(),
                cause="%s: %s (%s, line %s)"
                % (type(error).__name__, error, PurePath(place.filename).name, place.lineno),
                next="report this as a fault of Otto, with the line above",
            )

    def _note(self, trouble: Trouble) -> None:
        self.errors.setdefault(trouble.service, []).append(trouble)

    # ---- the report

    def report(self, observed: Observed, todo: Plan, *, changed: bool, begun: float) -> Report:
        hide = _secrets(self.target)
        by_service = {service.service: service for service in todo.services}
        if not self.touched:  # check mode: what stands in the plan's way is told as well
            for trouble in todo.troubles:
                if trouble not in self.errors.get(trouble.service, ()):
                    self._note(trouble)
            for service in todo.services:
                if service.error is not None and service.service not in self.errors:
                    self._note(replace(service.error, service=service.service))
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
            seconds=round(time.monotonic() - begun, 3),
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


def _container_of(target: Target, service: str, observed: Observed) -> ObservedContainer | None:
    spec = target.services.get(service, {})
    wanted = str(spec.get("container_name") or service)
    for container in observed.containers:
        if container.name == wanted and container.labels.get(LABEL_SERVICE, service) == service:
            return container
    return None


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
