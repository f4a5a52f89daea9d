# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of numbers as ranges: what is held, stored, gone. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator


class Ranges:
    """A set of integers, kept as disjoint ranges (first, last), both included, none adjacent.

    A run of numbers costs one range, however long it is.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges, in order."""
        return iter([(first, self._lasts[at]) for at, first in enumerate(self._firsts)])

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and list(self) == list(other)

    def __contains__(self, number: int) -> bool:
        at = bisect.bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def __repr__(self) -> str:
        return f"Ranges({list(self)})"

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    def before(self, number: int) -> int | None:
        """The largest member that is smaller than `number`."""
        at = bisect.bisect_left(self._firsts, number) - 1
        return None if at < 0 else min(self._lasts[at], number - 1)

    def add(self, first: int, last: int) -> None:
        # All that overlaps or is adjacent becomes one with it.
        low = bisect.bisect_left(self._lasts, first - 1)
        high = bisect.bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def remove(self, first: int, last: int) -> None:
        low = bisect.bisect_left(self._lasts, first)
        high = bisect.bisect_right(self._firsts, last)
        if low >= high:
            return
        left = [
            (low_part, high_part)
            for low_part, high_part in (
                (self._firsts[low], first - 1),
                (last + 1, self._lasts[high - 1]),
            )
            if low_part <= high_part
        ]
        self._firsts[low:high] = [part[0] for part in left]
        self._lasts[low:high] = [part[1] for part in left]

    def within(self, first: int, last: int) -> Ranges:
        """What of first..last is in the set."""
        low = bisect.bisect_left(self._lasts, first)
        high = bisect.bisect_right(self._firsts, last)
        found = Ranges()
        found._firsts = [max(first, number) for number in self._firsts[low:high]]
        found._lasts = [min(last, number) for number in self._lasts[low:high]]
        return found

    def missing(self, first: int, last: int) -> Ranges:
        """What of first..last is not in the set."""
        rest = Ranges([(first, last)])
        for there in self.within(first, last):
            rest.remove(*there)
        return rest
