# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The health gate: a container that was started has to prove that it serves."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable
from typing import NoReturn

from ansible_collections.otto.cluster.plugins.module_utils.model import ObservedContainer
from ansible_collections.otto.cluster.plugins.module_utils.operations import Await
from ansible_collections.otto.cluster.plugins.module_utils.transport import EngineError, Transport

from .errors import typed

Progress = Callable[[str], None]

POLL = 0.2
"""Seconds between two looks at what is about to end: a removal, a health check."""
SETTLING = (0.5, 1.0)
"""Seconds of its settling time after which a container without health check is looked at, before
the end: who crashes at once is told early, and every look takes from the engine what a start needs.
"""

DRAINING = 0.09
"""Seconds after its end in which the engine still reads what a container wrote; the soonest that it
starts it again is after 0.1."""


def wait_for(engine: Transport, operation: Await, progress: Progress) -> bool:
    """See `Await`. The state is polled: an event can be missed, a state cannot."""
    begun = time.monotonic()
    told = begun
    before: int | None = None  # restarts that are no concern of ours
    if not operation.healthcheck and not operation.completed:
        time.sleep(_pause(operation, None, 0.0))
    while True:
        found = engine.inspect(operation.id or operation.container)
        if found is None:
            raise EngineError(
                "",
                cause="it was removed while it was waited for",
                next=typed(
                    "docker events --since 10m --until 0m --filter container={}",
                    operation.container,
                ),
            )
        restarts = int(found.inspect.get("RestartCount") or 0)
        if before is None:
            before = restarts if operation.standing else 0
        # A job that failed and is tried again may still do its work.
        if not operation.completed and (restarts > before or found.state == "restarting"):
            # While it runs again, the engine shows 0 instead of the exit code that it ended with.
            code = "" if found.state == "running" else f" with exit code {found.exit_code}"
            _give_up(engine, found, f"it ends{code} and is started again and again")
        _fail_if_down(engine, found)
        waited = time.monotonic() - begun
        if found.state == "exited":
            if operation.may_exit or operation.completed:
                return False
            _give_up(engine, found, "it ended by itself with exit code 0")
        if operation.completed:
            if waited >= operation.timeout:
                _give_up(engine, found, f"it has not ended within {operation.timeout:.0f} s")
        elif operation.healthcheck and found.health is not None:
            if found.health == "healthy":
                return False
            if waited >= operation.timeout:
                _give_up(engine, found, f"it was not healthy within {operation.timeout:.0f} s")
        elif waited >= operation.settle and found.state == "running":
            return False
        elif waited >= max(operation.settle, operation.timeout):
            _give_up(engine, found, f"it is {found.state}")
        if time.monotonic() - told >= 5:
            told = time.monotonic()
            state = found.health or found.state
            progress(f"{operation.container}: {state} for {waited:.0f} s")
        time.sleep(_pause(operation, found.health, waited))


def _fail_if_down(engine: Transport, found: ObservedContainer) -> None:
    state = found.inspect["State"]
    if found.state == "dead" or (found.state == "exited" and found.exit_code != 0):
        why = f"it ended with exit code {found.exit_code}"
        if state.get("OOMKilled"):
            why += " (killed: out of memory)"
        _give_up(engine, found, why + (": {}".format(state["Error"]) if state.get("Error") else ""))
    if found.state == "created":
        _give_up(engine, found, "it was never started: %s" % (state.get("Error") or "no error"))
    if found.health == "unhealthy":
        _give_up(engine, found, "it is unhealthy")


def _give_up(engine: Transport, found: ObservedContainer, why: str) -> NoReturn:
    health = (found.inspect["State"].get("Health") or {}).get("Log") or []
    said = ""
    if found.state == "running" and health:
        last = health[-1]
        said = "health check exit code {}: {}".format(last.get("ExitCode"), last.get("Output", ""))
    else:
        said = engine.logs(found.id, lines=5, until=_end_of_run(found))
    said = " | ".join(line.strip() for line in said.splitlines() if line.strip())
    raise EngineError(
        "",
        cause=why + (f" ({said})" if said else " (it wrote nothing)"),
        next=typed("docker logs {}", found.name),
    )


def _end_of_run(found: ObservedContainer) -> float | None:
    """Epoch seconds until which the run that ended wrote, where the next one writes by now."""
    ended = str(found.inspect["State"].get("FinishedAt") or "")
    if found.state != "running" or not found.inspect.get("RestartCount") or not ended:
        return None
    seconds, _, fraction = ended.rstrip("Z").partition(".")
    at = calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S"))
    return at + float(f"0.{fraction or 0}") + DRAINING


def _pause(operation: Await, health: str | None, waited: float) -> float:
    """Seconds until the next look at a container that was waited for so long."""
    if operation.completed or (operation.healthcheck and health is not None):
        return min(1.0, max(POLL, waited / 10))
    looks = [at for at in (*SETTLING, operation.settle) if waited < at <= operation.settle]
    return looks[0] - waited if looks else POLL * bool(waited)
