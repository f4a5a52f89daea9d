# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the ring goes out next on one connection: the new at once, the backlog beside it.

Nothing is taken from the ring here; that is a listener's word alone.
"""

from __future__ import annotations

from otto_agent.ring import START, Gap, Ring
from otto_agent.ring_file import Sample

FLYING = 100  # samples of the backlog that wait for a listener's word at the most
PATIENCE = 10.0  # seconds without such a word after which nobody listens
LOOK = 30.0  # seconds after which what a listener has passed over is sent again


class Replay:
    """For one connection, in its thread. Times are seconds of one monotonic clock."""

    def __init__(self, ring: Ring, now: float) -> None:
        self._ring = ring
        self._live = ring.last_place
        self._flying: list[tuple[str, int]] = []  # given out, and no listener's word yet
        self._flying_gaps: list[Gap] = []
        self._gaps: list[Gap] = []  # still to be given out in this pass
        self._cursor = self._upto = START
        self._paused = False
        self._heard_at = self._looked_at = now
        self._mark = START
        self._begin(ring.last_place, now)

    @property
    def live_is_out(self) -> bool:
        """Whether all that came since the connection stands has been given out."""
        return self._live >= self._ring.last_place

    def live(self, room: int) -> list[Sample]:
        """The next new samples, at most `room`."""
        newest = self._ring.last_place
        found = self._ring.after(self._live, room)
        if found:
            self._live = found[-1].place
        elif room > 0:
            self._live = max(self._live, newest)  # the ring lost them
        return found

    def backlog(self, room: int, now: float) -> tuple[list[Gap], list[Sample]]:
        """The next gaps and old samples, at most `room`; none while nobody listens."""
        if self._paused:
            return [], []
        self._flying = [key for key in self._flying if self._ring.holds(*key)]
        if self._flying or self._flying_gaps:
            if now - self._heard_at > PATIENCE:
                self._paused = True
                return [], []
            there = set(self._ring.gaps())
            self._flying_gaps = [gap for gap in self._flying_gaps if gap in there]
        room = min(room, FLYING - len(self._flying) - len(self._flying_gaps))
        gaps, self._gaps = self._gaps[: max(0, room)], self._gaps[max(0, room) :]
        self._flying_gaps += gaps
        samples = self._old(room - len(gaps))
        self._flying += [(sample.boot, sample.seq) for sample in samples]
        return gaps, samples

    def heard(self, now: float, hello: bool) -> None:
        """A listener said what it has stored, or that it is there."""
        self._heard_at = now
        if hello or self._paused:
            self._begin(self._ring.last_place, now)
        elif self._cursor >= self._upto and not self._gaps and now - self._looked_at >= LOOK:
            # A broker may drop a message without a word, and its sample would wait for ever.
            self._begin(self._mark, now)

    def _begin(self, upto: int, now: float) -> None:
        self._cursor = START
        self._upto = upto
        self._gaps = self._ring.gaps()
        self._flying, self._flying_gaps = [], []
        self._paused = False
        self._heard_at = self._looked_at = now
        self._mark = self._ring.last_place

    def _old(self, room: int) -> list[Sample]:
        if room <= 0 or self._cursor >= self._upto:
            return []
        found = [one for one in self._ring.after(self._cursor, room) if one.place <= self._upto]
        self._cursor = found[-1].place if len(found) == room else self._upto
        return found
