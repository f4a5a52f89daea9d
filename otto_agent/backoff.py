# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting longer after each failure. Pure: the caller brings the clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Backoff:
    """How often something failed in a row, and when it may be tried again.

    Times are seconds of one monotonic clock. first, most: the first and the longest delay.
    stable: after so long without a failure the next one is a first one again.
    """

    first: float = 1.0
    most: float = 300.0
    stable: float = 60.0
    failures: int = 0
    failed_at: float = 0.0

    @property
    def delay(self) -> float:
        """Seconds from the last failure until the next try; 0 where nothing failed."""
        if not self.failures:
            return 0.0
        return float(min(self.most, self.first * 2 ** min(self.failures - 1, 32)))

    @property
    def ready_at(self) -> float:
        return self.failed_at + self.delay

    def ready(self, now: float) -> bool:
        return not self.failures or now >= self.ready_at

    def row(self, now: float) -> int:
        """Failures in a row that are not over at `now`. The time to count as stable grows with the
        delay: a container that crashes every six minutes is not a new case each time."""
        return self.failures if now - self.failed_at < self.stable + 2 * self.delay else 0

    def failed(self, now: float) -> Backoff:
        """One more failure at `now`."""
        return replace(self, failures=self.row(now) + 1, failed_at=now)


def worth_telling(before: int, times: int) -> bool:
    """Whether a row of failures that grew from `before` to `times` has come to 3, 6, 12, 24, ...: a
    crash loop of a night is a handful of events, not thousands."""
    mark = 3
    while mark <= before:
        mark *= 2
    return before < mark <= times


def jittered(delay: float) -> float:
    """Half to all of a delay, so that a thousand nodes do not come back at once."""
    return delay * random.uniform(0.5, 1.0)
