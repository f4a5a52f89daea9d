# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of each service from one round to the next: who fails or ends again and again
waits longer each time, and is not touched until then.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.reconcile import Report

from otto_agent.backoff import Backoff
from otto_agent.watch import Death

CRASHES = Backoff(most=60.0)
"""Docker starts again what ended, and waits a minute at the most before it does."""


def _refused(report: Report) -> frozenset[str]:
    """Services for which nothing was tried, because the plan says that it would be in vain: a look
    a minute is enough to see whether that still holds, and it is no failure more."""
    return frozenset(
        str(service["service"])
        for service in report.plan.get("services", ())
        if service["error"] and not service["operations"]
    )


@dataclass(frozen=True)
class Standing:
    """One service after one round.

    entry: its part of the report. tried: it was looked after; False while it is let alone.
    failure: what it fails at now; known: what it failed at before, and was told of.
    death: how its container ended by itself since the last round. times: how often in a row it
    failed, had to be mended or ended, as of this round; before: as of the one before.
    retry_in: seconds until the next try, None where none is needed or Docker makes it.
    """

    name: str
    entry: Mapping[str, Any]
    tried: bool
    failure: Mapping[str, Any] | None
    known: Mapping[str, Any] | None
    death: Death | None
    times: int
    before: int
    retry_in: float | None


class Services:
    """`died` may be called from any thread, all else from the heal loop."""

    def __init__(self) -> None:
        self._deaths: collections.deque[Death] = collections.deque(maxlen=1000)
        self._tries: dict[str, Backoff] = {}
        self._crashes: dict[str, Backoff] = {}
        self._failures: dict[str, Mapping[str, Any]] = {}

    def died(self, death: Death) -> None:
        self._deaths.append(death)

    def forget_deaths(self) -> None:
        self._deaths.clear()

    def begin_anew(self) -> None:
        """Another target is another try for everybody."""
        self._tries.clear()
        self._crashes.clear()
        self._failures.clear()

    def held(self, names: Collection[str], now: float) -> frozenset[str]:
        """Those of these services that are let alone for now."""
        return frozenset(
            name for name, tries in self._tries.items() if name in names and not tries.ready(now)
        )

    def account(self, report: Report, held: Collection[str], begun: float) -> list[Standing]:
        """Count what a round found, and what ended since the last one.

        held: services that the round let alone. begun: when it began, monotonic.
        """
        deaths = self._drain(report, begun)
        now = time.monotonic()
        refused = _refused(report)
        return [
            self._stand(name, entry, name not in held, name in refused, deaths.get(name, []), now)
            for name, entry in report.services.items()
        ]

    def _stand(
        self,
        name: str,
        entry: Mapping[str, Any],
        tried: bool,
        refused: bool,
        deaths: list[Death],
        now: float,
    ) -> Standing:
        known = self._failures.get(name)
        before = self._times(name, now)
        for death in deaths:
            self._crashes[name] = self._crashes.get(name, CRASHES).failed(death.at)
        if refused:
            self._failures[name] = entry["error"]
            self._tries.pop(name, None)
        elif tried:
            self._count(name, entry, now)
        failure = self._failures.get(name)
        tries = self._tries.get(name, Backoff())
        waits = not refused and (not tried or failure is not None)
        return Standing(
            name,
            entry,
            tried,
            failure,
            known,
            deaths[-1] if deaths else None,
            self._times(name, now),
            before,
            max(0.0, tries.ready_at - now) if waits else None,
        )

    def _count(self, name: str, entry: Mapping[str, Any], now: float) -> None:
        """Count what has to delay the next try: failures, and mending the same thing over and over.

        A container that was removed is no crash: putting it back waits for a second at the most.
        """
        tries = self._tries.get(name, Backoff())
        if entry["error"] is not None:
            self._failures[name] = entry["error"]
            self._tries[name] = tries.failed(now)
            return
        self._failures.pop(name, None)
        if entry["verdict"] == "create":
            self._tries[name] = Backoff().failed(now)
        elif entry["verdict"] != "up_to_date":
            self._tries[name] = tries.failed(now)

    def _times(self, name: str, now: float) -> int:
        found = (self._tries.get(name), self._crashes.get(name))
        return max((backoff.row(now) for backoff in found if backoff is not None), default=0)

    def _drain(self, report: Report, begun: float) -> dict[str, list[Death]]:
        """service -> how its containers ended by themselves, oldest first."""
        found: dict[str, list[Death]] = {}
        while self._deaths:
            death = self._deaths.popleft()
            entry = report.services.get(death.service)
            if entry is None:
                continue
            if entry["verdict"] == "up_to_date":
                # Another one stands in its place: it was replaced, by us or by an apply.
                mine = death.container_id == entry["container_id"]
            else:
                # What ends while we work on its service ends by our work, or fails at our gate.
                mine = death.at < begun
            if mine:
                found.setdefault(death.service, []).append(death)
        return found
