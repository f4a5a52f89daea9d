# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way in which a node becomes its target: under the lock, with the record of it kept.

How a plan is carried out stands in `carry_out.py`.

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

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils import image_memory
from ansible_collections.otto.cluster.plugins.module_utils.adoption import (
    adopted,
    check_permitted,
)
from ansible_collections.otto.cluster.plugins.module_utils.carry_out import (
    Engine,
    Progress,
    Report,
    drive,
)
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.image_memory import Asking, Keeper
from ansible_collections.otto.cluster.plugins.module_utils.journal import Journal
from ansible_collections.otto.cluster.plugins.module_utils.model import Change, Observed, Target
from ansible_collections.otto.cluster.plugins.module_utils.node_files import WithFiles
from ansible_collections.otto.cluster.plugins.module_utils.plan import Plan, plan, plan_absent
from ansible_collections.otto.cluster.plugins.module_utils.plan_before import believable
from ansible_collections.otto.cluster.plugins.module_utils.plan_document import brief, digest_of
from ansible_collections.otto.cluster.plugins.module_utils.plan_images import as_they_were, ran
from ansible_collections.otto.cluster.plugins.module_utils.revisions import Revisions
from ansible_collections.otto.cluster.plugins.module_utils.state import BrokenTarget, TargetStore

__all__ = ["Engine", "Moved", "Report", "apply", "drive", "reconcile", "remove"]


class Moved(OttoError):
    """The node needs another plan than the one that was agreed on; `plan` is its document."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        super().__init__(
            "The node has moved on since the plan was saved, so nothing was touched",
            cause="what it needs now is not what the saved plan does",
            next="otto-run plan --out plan.json",
        )
        self.plan = plan


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
    starting: Callable[[Plan], None] | None = None,
    finished: Callable[[Observed], None] | None = None,
    journal: Journal | None = None,
    asking: Asking | None = None,
    adopt: Mapping[str, str] | None = None,
    images: Mapping[str, str] | None = None,
) -> Report:
    """Make a node its target. Call it under the node's lock (see `TargetStore.lock`).

    previous: the target before this one; it tells a change of the file from drift.
    check: plan only. services: only these; the others are left alone. workers: services at once.
    refresh, retry_failed: see `plan.plan`; the agent's sweeps say False to both. With refresh, the
    registries are asked for what they have, once.
    asking: who asks; left out, nothing is known of earlier answers.
    starting: called once, with the plan and before anything is touched; may refuse by raising.
    finished: called once, with what is there at the end.
    journal: where each step is noted; without one there is no record.
    adopt: container that somebody started by hand -> service that takes it over; the engine has to
    look at it (`DockerEngine.also`).
    images: reference -> id of the image that it is to mean again (a rollback).
    Raises OttoError when the engine cannot be observed; what a service fails at is in the report.
    """

    registries = asking or Asking(engine, absent=check)
    specs = [s for name, s in target.services.items() if services is None or name in services]

    def planner(observed: Observed, again: bool, blocked: Mapping[str, str]) -> Plan:
        if not again:
            check_permitted(observed, target, adopt or {})
        observed = adopted(observed, target, adopt)
        if refresh:
            observed = (
                registries.look_again(observed) if again else registries.look(observed, specs)
            )
        there = {one: engine.image(one) for one in (images or {}).values()}
        known = {one: image for one, image in there.items() if image is not None}
        observed, tags, notes = as_they_were(images or {}, known, observed)
        made = plan(
            target,
            observed,
            previous=previous,
            services=services,
            refresh=refresh and not again,
            retry_failed=retry_failed,
            blocked=blocked,
        )
        made = replace(made, before=(*tags, *made.before), notes=(*made.notes, *notes))
        return _with_vanished(made, previous)

    return drive(
        engine,
        target,
        planner,
        check=check,
        progress=progress,
        workers=workers,
        starting=starting,
        finished=finished,
        journal=journal,
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
    expect: str = "",
    keep_images: int = -1,
    adopt: Mapping[str, str] | None = None,
    images: Mapping[str, str] | None = None,
) -> Report:
    """Give a node a new target: lock, write it, reconcile, and keep it as good if it was reached.

    expect: digest of the plan that was agreed on (`plan_document.digest_of`); "" for any.
    keep_images: earlier sets of images that stay on the node, below 0 all of them.
    adopt, images: see `reconcile`; with images no registry is asked for newer ones.
    Check mode takes no lock and writes nothing. Raises OttoError (engine, lock or disk), Moved
    where the plan is another one than `expect`; then nothing was touched.
    """
    node = WithFiles(engine, store.directory)
    if check:
        asking = Asking(engine, image_memory.read(store.directory).asked, absent=True)
        return reconcile(
            node,
            target,
            previous=_previous(store),
            check=True,
            refresh=not images,
            asking=asking,
            adopt=adopt,
            images=images,
        )
    with store.lock(lock_timeout, holder, _waiting(progress)):
        keeper = Keeper(engine, store.directory, target)
        # A plan that was agreed on tells what the pulls bring; so must this one, to be equal.
        asking = Asking(engine, keeper.asked, absent=bool(expect))
        record = _Record(store, target, expect, keeper)

        def finished(observed: Observed) -> None:
            node.tidy(target, observed)
            record.images = ran(target.services.values(), observed.containers)

        report = reconcile(
            node,
            target,
            previous=_previous(store),
            progress=progress,
            workers=workers,
            starting=record.begin,
            finished=finished,
            refresh=not images,
            asking=asking,
            adopt=adopt,
            images=images,
            journal=Journal(store.directory, holder, target.revision, progress),
        )
        record.end(report)
        gone = keeper.end(asking.answers, reached=not report.errors, keep=keep_images)
        return replace(report, pruned=gone, changed=report.changed or bool(gone))


class _Record:
    """What an apply leaves in the state directory: the target, and that it was given and when."""

    def __init__(self, store: TargetStore, target: Target, expect: str, keeper: Keeper) -> None:
        self._keeper = keeper
        self._store = store
        self._target = target
        self._expect = expect
        self._revisions = Revisions(store.directory)
        self._begun = False
        self.images: Mapping[str, str] = {}
        """reference -> id, of what runs at the end."""

    def begin(self, todo: Plan) -> None:
        document = todo.to_json()
        if self._expect and digest_of(document) != self._expect:
            raise Moved(document)
        self._store.write(self._target)
        self._keeper.begin(todo)
        # Who applies every hour what is there already gets no line for it.
        if not self._revisions.is_last(self._target):
            self._begin()

    def _begin(self) -> None:
        self._revisions.begin(self._target)
        self._begun = True

    def end(self, report: Report) -> None:
        moved = self.images and self.images != self._revisions.images(self._revisions.last)
        if (report.errors or moved) and not self._begun:
            self._begin()
        if self._begun:
            result, images = ("failed", {}) if report.errors else ("done", self.images)
            self._revisions.settle(result, brief(report.plan), images)
        if not report.errors:
            self._store.settle(self._target)


def remove(
    engine: Engine,
    cluster: str,
    volumes: bool = False,
    *,
    node: str = "",
    check: bool = False,
    progress: Progress | None = None,
    workers: int = 10,
    journal: Journal | None = None,
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
        journal=journal,
    )


# ---- helpers


def _with_vanished(todo: Plan, previous: Target | None) -> Plan:
    """A container that has to be made though its service is an old one: somebody removed it."""
    gone = Change("container", "gone", "there", "drift")
    services = tuple(
        replace(service, changes=(gone,))
        if service.verdict == "create"
        and not service.changes
        and previous is not None
        and service.service in previous.services
        else service
        for service in todo.services
    )
    return replace(todo, services=services)


def _waiting(progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    tell = progress
    return lambda holder: tell("waiting for the lock, held by: %s" % (holder or "(no name)"))


def _previous(store: TargetStore) -> Target | None:
    """The target before this one; a broken one is no obstacle to writing a whole one."""
    good = store.good()
    if good is not None:
        return believable(good)
    try:
        return believable(store.read())
    except BrokenTarget:
        return None
