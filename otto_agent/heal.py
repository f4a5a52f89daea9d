# SPDX-License-Identifier: GPL-3.0-or-later
"""The heal loop: looks at the node on every event and on a timer, and mends what left its target.

It works from the target file alone, under the node's lock, with the control machine on or off.
A missing or unreadable target is never an empty one: then nothing is touched.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine, EngineError
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.model import Observed, Target
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import (
    Report,
    reconcile,
)
from ansible_collections.otto.cluster.plugins.module_utils.state import Loaded, TargetStore

from otto_agent import messages
from otto_agent.backoff import Backoff
from otto_agent.config import Config
from otto_agent.metrics import Container
from otto_agent.watch import Death

log = logging.getLogger(__name__)

QUIET = 0.25  # seconds without an event before looking: events come in bursts
BURST = 2.0  # seconds after which a burst that does not end is looked into anyway
GLANCE = 1.0  # seconds between two looks at the target file
LOCK_PATIENCE = 1.0  # seconds between two looks whether to stop, while somebody holds the lock
WORK_LIMIT = 3600.0  # seconds that one reconcile may take: a pull over a thin line is slow

_DONE = {
    "create": "it had no container; one was created",
    "start": "its container was down; it was started",
    "update": "its container was changed back",
    "recreate": "its container was replaced",
    "remove": "a container that no service of the target has was removed",
}


class Voice(Protocol):
    """Where the healer says what it does."""

    def report(self, body: Mapping[str, Any]) -> None: ...

    def event(self, kind: str, text: str, service: str = "") -> None: ...


@dataclass(frozen=True)
class View:
    """What the last look at Docker showed, for the metrics."""

    containers: tuple[Container, ...] = ()
    docker_root: Path = Path("/var/lib/docker")


class _Engine(DockerEngine):
    """Remembers what it saw, so that metrics need no call of their own."""

    view = View()

    def observe(self, target: Target) -> Observed:
        observed = super().observe(target)
        self.view = View(
            tuple(
                Container.from_inspect(item.inspect)
                for item in observed.containers
                if item.cluster == target.cluster
            ),
            Path(str(self._info.get("DockerRootDir") or View.docker_root)),
        )
        return observed


class Healer:
    """One node's loop. `run` blocks; `wake` and `died` may be called from any thread."""

    def __init__(self, config: Config, voice: Voice, stop: threading.Event) -> None:
        self._config = config
        self._voice = voice
        self._stop = stop
        self._store = TargetStore(config.state_dir)
        self._engine: _Engine | None = None
        self._woken = threading.Event()
        self._woken_at = 0.0
        self._deaths: collections.deque[Death] = collections.deque(maxlen=1000)
        self._busy = False
        self._beat = time.monotonic()
        self._sweep_at = 0.0
        self._retry_at = float("inf")
        self._gone: Backoff | None = None
        self._services: dict[str, Backoff] = {}
        self._failed: dict[str, Mapping[str, Any]] = {}
        self._revision: str | None = None
        self._file: object = None
        self._problem = ""
        self._said: Mapping[str, Any] | None = None
        self.view = View()

    def wake(self) -> None:
        """Something happened: look soon."""
        self._woken_at = time.monotonic()
        self._woken.set()

    def died(self, death: Death) -> None:
        self._deaths.append(death)

    def alive(self, now: float) -> bool:
        """Whether the loop moves (for a watchdog). Hours of pulling are moving, too."""
        return now - self._beat < (WORK_LIMIT if self._busy else 30.0)

    def run(self) -> None:
        while True:
            self._wait()
            if self._stop.is_set():
                break
            try:
                self._round()
            except Exception:
                # A fault of ours in one round must not end all healing.
                log.exception("a round of the heal loop failed in an unforeseen way")
                self._sweep_at = time.monotonic() + min(10.0, self._config.sweep_interval)
            finally:
                self._busy = False
        self._drop_engine()

    # ---- waiting

    def _wait(self) -> None:
        """Until there is a reason to look: an event, another target file, a retry, the timer."""
        while not self._stop.is_set():
            self._beat = now = time.monotonic()
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
                self._busy = True
                self._file = self._signature()
                loaded = self._store.load()
                self._check(loaded)
            except OttoError as error:
                self._unreadable(error, sweep)
                return
            if waited:
                # An apply was at work: what ended meanwhile it ended, or it has told of it.
                self._deaths.clear()
            if loaded.target is None:
                self._no_target(sweep)
                return
            self._note_source(loaded)
            self._mend(loaded.target, loaded.source, sweep)

    def _lock(self, stack: contextlib.ExitStack) -> bool:
        """Take the node's lock, however long somebody else has it. Returns whether it took long."""
        waited = False

        def tell(holder: str) -> None:
            nonlocal waited
            if not waited:
                log.info("waiting for the node's lock, held by: %s", holder or "(no name)")
            waited = True

        while not self._stop.is_set():
            self._beat = time.monotonic()
            try:
                stack.enter_context(self._store.lock(LOCK_PATIENCE, "agent", tell))
                return waited
            except OttoError as error:
                if isinstance(error.__cause__, OSError):
                    raise
        return waited

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
            if self._revision is not None:
                self._voice.event(
                    messages.TARGET, f"target {target.revision} replaces {self._revision}"
                )
            # Another target is another try for everybody.
            self._revision = target.revision
            self._services.clear()
            self._failed.clear()
        now = begun = time.monotonic()
        held = {name for name, backoff in self._services.items() if not backoff.ready(now)}
        held &= set(target.services)
        try:
            if self._engine is None:
                self._engine = _Engine(self._config.docker_url)
            report = reconcile(
                self._engine,
                target,
                previous=self._store.good(),
                progress=lambda text: log.info("%s", text),
                services=sorted(set(target.services) - held) if held else None,
                # No pull at each sweep, and no second outage by an update that failed: both are
                # for an apply, which somebody looks at.
                refresh=False,
                retry_failed=False,
            )
        except OttoError as error:
            self._silent(target, source, error, sweep)
            return
        self._answered()
        if source == "current" and not held and not report.errors:
            self._store.settle(target)
            self._file = self._signature()
        self.view = self._engine.view
        self._tell(report, source, held, sweep, begun)

    # ---- what came of it

    def _tell(self, report: Report, source: str, held: set[str], sweep: bool, begun: float) -> None:
        now = time.monotonic()
        deaths = {
            death.service: death
            for death in self._drain()
            # What ends while we work on its service ends by our work, or fails at our gate.
            if death.at < begun
            or report.services.get(death.service, {}).get("verdict") == "up_to_date"
        }
        services = {name: dict(entry) for name, entry in report.services.items()}
        errors = [dict(error) for error in report.errors]
        for name, entry in services.items():
            if name in deaths:
                self._say_death(name, entry, deaths[name])
            if name in held:
                backoff = self._services[name]
                if name in self._failed:
                    entry["error"] = self._failed[name]
                    errors.append(dict(self._failed[name]))
            else:
                known = self._failed.get(name)
                backoff = self._count(name, entry, now)
                self._say(name, entry, backoff, known)
            if name in held or entry["error"] is not None:
                entry["retry_in"] = round(max(0.0, backoff.ready_at - now), 1)
                self._retry_at = min(self._retry_at, backoff.ready_at)
        for error in report.errors:
            if not error["service"]:
                log.error("%s (%s)", error["message"], error["cause"])
                self._voice.event(
                    messages.FAILED, "{} ({})".format(error["message"], error["cause"])
                )
        body = {**report.to_json(), "services": services, "errors": errors, "target": source}
        if sweep or report.changed or report.errors or self._differs(body):
            self._publish(body)

    def _drain(self) -> list[Death]:
        deaths = []
        while self._deaths:
            deaths.append(self._deaths.popleft())
        return deaths

    def _count(self, name: str, entry: Mapping[str, Any], now: float) -> Backoff:
        """Count what has to delay the next try: failures, and mending the same thing over and over.

        A container that was removed is no crash: putting it back waits for a second at the most.
        """
        backoff = self._services.get(name, Backoff())
        verdict = entry["verdict"]
        if entry["error"] is not None:
            self._failed[name] = entry["error"]
            backoff = backoff.failed(now)
        elif verdict == "create":
            self._failed.pop(name, None)
            backoff = Backoff().failed(now)
        elif verdict != "up_to_date":
            self._failed.pop(name, None)
            backoff = backoff.failed(now)
        else:
            self._failed.pop(name, None)
        self._services[name] = backoff
        return backoff

    def _say_death(self, name: str, entry: Mapping[str, Any], death: Death) -> None:
        text = f"{name} ended with exit code {death.exit_code}"
        if entry["verdict"] == "up_to_date":
            if death.container_id != entry["container_id"]:
                return  # another one stands in its place: it was replaced, by us or by an apply
            if entry["state"] in ("running", "restarting"):
                text += "; Docker starts it again"
        self._voice.event(messages.DIED, text, name)

    def _say(
        self,
        name: str,
        entry: Mapping[str, Any],
        backoff: Backoff,
        known: Mapping[str, Any] | None,
    ) -> None:
        """What was done for one service; nothing where nothing was. known: the failure that was
        told last time; the same one again stands in the report, and is no event."""
        verdict, error = entry["verdict"], entry["error"]
        if error is not None and error != known:
            text = "{}: {} ({})".format(name, error["message"], error["cause"])
            text += f"; next try in {backoff.delay:.0f} s"
            log.error("%s", text)
            self._voice.event(messages.FAILED, text, name)
        elif error is None and verdict != "up_to_date":
            text = f"{name}: {_DONE.get(verdict, verdict)}"
            if entry["changes"]:
                text += " ({})".format("; ".join(entry["changes"]))
            if backoff.failures > 1:
                text += f"; {backoff.failures} times in a row"
            log.warning("%s", text)
            self._voice.event(messages.HEALED, text, name)

    def _differs(self, body: Mapping[str, Any]) -> bool:
        """Whether a reader of the last report would believe something that is not so."""
        return _essence(body) != (None if self._said is None else _essence(self._said))

    def _publish(self, body: Mapping[str, Any]) -> None:
        self._said = body
        self._voice.report(body)

    # ---- when there is nothing to work with

    def _note_source(self, loaded: Loaded) -> None:
        if loaded.problem and loaded.problem != self._problem:
            text = f"target.json does not serve, the last good target does: {loaded.problem}"
            log.error("%s", text)
            self._voice.event(messages.TARGET_BROKEN, text)
        self._problem = loaded.problem

    def _unreadable(self, error: OttoError, sweep: bool) -> None:
        text = f"{error.message} ({error.cause})"
        if text != self._problem:
            log.error("%s; nothing is touched", text)
            self._voice.event(messages.TARGET_BROKEN, text)
        self._problem = text
        self._without_target("broken", text, sweep)

    def _no_target(self, sweep: bool) -> None:
        if self._said is None or self._said.get("target") != "none":
            log.info("no target; nothing is touched")
            if self._revision is not None:
                self._voice.event(
                    messages.TARGET, "the target was taken away; nothing is touched from now on"
                )
        self._problem = ""
        self._without_target("none", "", sweep)

    def _without_target(self, why: str, cause: str, sweep: bool) -> None:
        self._file = self._signature()
        self._revision = None
        self._deaths.clear()
        self.view = View()
        body = messages.no_target(self._config.cluster, self._config.node, why, cause)
        if sweep or self._differs(body):
            self._publish(body)

    # ---- Docker silent, Docker back

    def _silent(self, target: Target, source: str, error: OttoError, sweep: bool) -> None:
        now = time.monotonic()
        first = self._gone is None
        self._gone = (self._gone or Backoff(most=30.0)).failed(now)
        self._retry_at = self._gone.ready_at
        self.view = View()
        if not isinstance(error, EngineError) or error.status == 0:
            self._drop_engine()
        text = f"{error.message} ({error.cause})"
        if first:
            log.error("%s; trying again until it is back", text)
            self._voice.event(messages.DOCKER_GONE, text)
        if first or sweep:
            body = messages.unreachable(
                self._said, target.cluster, target.node, error.message, error.cause, error.next
            )
            self._publish({**body, "revision": target.revision, "target": source})

    def _answered(self) -> None:
        if self._gone is not None:
            self._gone = None
            log.info("Docker is back")
            self._voice.event(messages.DOCKER_BACK, "Docker answers again")

    def _drop_engine(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()


def _essence(body: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        body.get("target"),
        body.get("revision"),
        sorted(
            (name, entry["state"], entry["health"], entry.get("container_id"))
            for name, entry in body["services"].items()
        )
        if all(entry["state"] is not None for entry in body["services"].values())
        else None,
        [(error["service"], error["message"], error["cause"]) for error in body["errors"]],
    )
