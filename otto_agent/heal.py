# SPDX-License-Identifier: GPL-3.0-or-later
"""The heal loop: looks at the node on every event and on a timer, and mends what left its target.

It works from the target file alone, under the node's lock, with the control machine on or off.
A missing or unreadable target is never an empty one: then nothing is touched.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.journal import Journal
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.node_files import WithFiles
from ansible_collections.otto.cluster.plugins.module_utils.plan import Plan
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import (
    Report,
    reconcile,
)
from ansible_collections.otto.cluster.plugins.module_utils.state import Loaded, TargetStore
from ansible_collections.otto.cluster.plugins.module_utils.transport import EngineError

from otto_agent.backoff import Backoff
from otto_agent.config import Config
from otto_agent.look import LookingEngine, View
from otto_agent.pulse import Pulse
from otto_agent.services import Services
from otto_agent.tell import Teller, Voice
from otto_agent.watch import Death

log = logging.getLogger(__name__)

QUIET = 0.25  # seconds without an event before looking: events come in bursts
BURST = 2.0  # seconds after which a burst that does not end is looked into anyway
GLANCE = 1.0  # seconds between two looks at the target file
LOCK_PATIENCE = 1.0  # seconds between two looks whether to stop, while somebody holds the lock


class Healer:
    """One node's loop. `run` blocks; `wake` and `died` may be called from any thread.

    looked: Docker was looked at once, or what hinders that was told. view: of the last look.
    homeless: the state directory is gone and cannot be made from in here.
    """

    def __init__(self, config: Config, voice: Voice, stop: threading.Event) -> None:
        self._config = config
        self._stop = stop
        self._store = TargetStore(config.state_dir)
        self._teller = Teller(config, voice)
        self._services = Services()
        self._pulse = Pulse()
        self._engine: LookingEngine | None = None
        self._woken = threading.Event()
        self._woken_at = 0.0
        self._sweep_at = 0.0
        self._retry_at = float("inf")
        self._gone: Backoff | None = None
        self._revision: str | None = None
        self._file: object = None
        self._unwritten = ""
        self.looked = False
        self.homeless = False
        self.view = View()

    def wake(self) -> None:
        """Something happened: look soon."""
        self._woken_at = time.monotonic()
        self._woken.set()

    def sweep(self) -> None:
        """Somebody wants to know: look at everything, and report."""
        self._sweep_at = 0.0
        self.wake()

    def died(self, death: Death) -> None:
        self._services.died(death)

    def alive(self, now: float) -> bool:
        """Whether the loop moves (for a watchdog). Hours of pulling are moving, too; going round
        and round without ever having looked is not."""
        return self._pulse.alive(now) and (self.looked or self._pulse.busy)

    def run(self) -> None:
        while True:
            self._wait()
            if self._stop.is_set() or self.homeless:
                break
            try:
                self._round()
            except Exception as error:
                # A fault of ours in one round must not end all healing.
                log.exception("a round of the heal loop failed in an unforeseen way")
                self._teller.unforeseen(error)
                self._sweep_at = time.monotonic() + min(10.0, self._config.sweep_interval)
        self._drop_engine()

    # ---- waiting

    def _wait(self) -> None:
        """Until there is a reason to look: an event, another target file, a retry, the timer."""
        while not self._stop.is_set():
            self._pulse.beat()
            now = time.monotonic()
            due = min(self._sweep_at, self._retry_at)
            if now >= due or self._signature() != self._file:
                break
            if self._woken.wait(min(GLANCE, due - now)):
                break
        begun = time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            if not self._woken.is_set() or now - self._woken_at >= QUIET or now - begun >= BURST:
                break
            self._stop.wait(0.05)
        # Before the look: what happens during it is a reason for another one.
        self._woken.clear()

    def _signature(self) -> object:
        """Changes whenever target.json is replaced, gone or back."""
        try:
            state = self._store.current_path.stat()
        except OSError as error:
            return error.errno
        return (state.st_ino, state.st_mtime_ns, state.st_size)

    # ---- one round

    def _round(self) -> None:
        now = time.monotonic()
        sweep = now >= self._sweep_at
        self._retry_at = float("inf")
        if sweep:
            self._sweep_at = now + self._config.sweep_interval
        with contextlib.ExitStack() as stack:
            try:
                waited = self._lock(stack)
                if self._stop.is_set():
                    return
                self._unwritten = self._store.unwritable
                if not self.looked:
                    self._store.tidy()  # what a power cut left half written
                self._file = self._signature()
                loaded = self._store.load()
                self._check(loaded)
            except OttoError as error:
                self._without_target(error, sweep)
                return
            if waited:
                # An apply was at work: what ended meanwhile it ended, or it has told of it.
                self._services.forget_deaths()
            if loaded.target is None:
                self._without_target(None, sweep)
                return
            self._teller.source(loaded.problem)
            self._mend(loaded.target, loaded.source, sweep)
            self._teller.disk(self._unwritten)

    def _lock(self, stack: contextlib.ExitStack) -> bool:
        """Take the node's lock, however long somebody else has it. Returns whether it took long."""
        waited = False

        def tell(holder: str) -> None:
            nonlocal waited
            if not waited:
                log.info("waiting for the node's lock, held by: %s", holder or "(no name)")
            waited = True

        while not self._stop.is_set():
            self._pulse.beat()
            try:
                stack.enter_context(self._store.lock(LOCK_PATIENCE, "agent", tell))
                return waited
            except OttoError as error:
                if isinstance(error.__cause__, OSError):
                    raise
            self._glance()
        return waited

    def _glance(self) -> None:
        """Who is kept waiting by an apply at its start looks without touching: that is enough to
        know that this agent can do its work."""
        if self.looked:
            return
        with contextlib.suppress(OttoError):
            target = self._store.read()
            if target is not None:
                self._connect().observe(target)
            self.looked = True

    def _check(self, loaded: Loaded) -> None:
        target, config = loaded.target, self._config
        if target is not None and (target.cluster, target.node) != (config.cluster, config.node):
            raise OttoError(
                f"The target in {config.state_dir} is not this node's",
                cause=f"it is for node {target.node} of cluster {target.cluster}, "
                f"this is node {config.node} of cluster {config.cluster}",
                next="otto-run apply",
            )

    def _mend(self, target: Target, source: str, sweep: bool) -> None:
        if target.revision != self._revision:
            self._teller.new_target(target.revision, self._revision)
            self._revision = target.revision
            self._services.begin_anew()
        begun = time.monotonic()
        held = self._services.held(target.services, begun)
        try:
            engine = self._connect()
            report = self._reconcile(engine, target, held)
        except OttoError as error:
            self._silent(target, source, error, sweep)
            return
        if report.interrupted is not None:
            before = report.interrupted
            log.warning("%s was cut off at: %s", before.holder, before.operation or "its beginning")
        self._gone = None
        self._teller.answered()
        self.view = engine.view
        standings = self._services.account(report, held, begun)
        self._retry_at = time.monotonic() + min(
            (each.retry_in for each in standings if each.retry_in is not None),
            default=float("inf"),
        )
        self._teller.round(report, standings, source, sweep)
        if source == "current" and not held and not report.errors:
            self._settle(target)

    def _reconcile(self, engine: LookingEngine, target: Target, held: frozenset[str]) -> Report:
        return reconcile(
            WithFiles(engine, self._store.directory),
            target,
            previous=self._store.good(),
            progress=lambda text: log.info("%s", text),
            services=sorted(set(target.services) - held) if held else None,
            # No pull at each sweep, and no second outage by an update that failed: both are
            # for an apply, which somebody looks at.
            refresh=False,
            retry_failed=False,
            starting=self._has_looked,
            journal=Journal(self._store.directory, "agent", target.revision, self._note_unwritten),
        )

    def _has_looked(self, _plan: Plan) -> None:
        self.looked = True

    def _settle(self, target: Target) -> None:
        try:
            self._store.settle(target)
        except OttoError as error:
            self._note_unwritten(f"{error.message} ({error.cause})")
        self._file = self._signature()

    def _note_unwritten(self, problem: str) -> None:
        self._unwritten = self._unwritten or problem

    # ---- when there is nothing to work with

    def _without_target(self, error: OttoError | None, sweep: bool) -> None:
        """error: why the target cannot be read; None where there is none."""
        taken = self._revision is not None
        self._file = self._signature()
        self._revision = None
        self._services.forget_deaths()
        self.view = View()
        if error is None or not self._store.directory.exists():
            self._teller.no_target(taken, sweep)
        else:
            self._teller.unreadable(error, sweep)
        self.homeless = error is not None and not self._store.directory.exists()
        self.looked = True

    # ---- Docker

    def _connect(self) -> LookingEngine:
        if self._engine is None:
            self._engine = LookingEngine(self._config.docker_url, self._pulse)
        return self._engine

    def _silent(self, target: Target, source: str, error: OttoError, sweep: bool) -> None:
        self._gone = (self._gone or Backoff(most=30.0)).failed(time.monotonic())
        self._retry_at = self._gone.ready_at
        self.view = View()
        if not isinstance(error, EngineError) or error.status == 0:
            self._drop_engine()
        self._teller.silent(target.revision, source, error, sweep)
        self.looked = True

    def _drop_engine(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
