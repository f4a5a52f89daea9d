# SPDX-License-Identifier: GPL-3.0-or-later
"""A rate with room for a burst: what one may take, so that there is something left for the others.
Pure."""

from __future__ import annotations


class Bucket:
    """Fills by `rate` units a second up to `burst`. Times are seconds of any clock that only runs
    forward."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        """Take it if it is there. Returns whether it was."""
        self._fill(now)
        if self._level < amount:
            return False
        self._level -= amount
        return True

    def owe(self, amount: float, now: float) -> float:
        """Take it in any case. Returns the seconds to wait until it is paid for."""
        self._fill(now)
        self._level -= amount
        return max(0.0, -self._level / self._rate)

    def _fill(self, now: float) -> None:
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
