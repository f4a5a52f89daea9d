# SPDX-License-Identifier: GPL-3.0-or-later
"""Ranges beside the plain set that they stand for."""

from __future__ import annotations

from itertools import pairwise

from ansible_collections.otto.cluster.plugins.module_utils.ranges import Ranges
from hypothesis import given
from hypothesis import strategies as st

PAIR = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda pair: (pair[0], sum(pair)))


@given(st.lists(st.tuples(st.booleans(), PAIR), max_size=30), PAIR)
def test_ranges_are_a_set_in_short(
    steps: list[tuple[bool, tuple[int, int]]], ask: tuple[int, int]
) -> None:
    """Whatever is added and removed: the numbers of a set, in ranges that cannot be fewer."""
    ranges, plain = Ranges(), set[int]()
    for adds, (first, last) in steps:
        if adds:
            ranges.add(first, last)
            plain |= set(range(first, last + 1))
        else:
            ranges.remove(first, last)
            plain -= set(range(first, last + 1))

    def numbers(found: Ranges) -> set[int]:
        return {number for first, last in found for number in range(first, last + 1)}

    asked = set(range(ask[0], ask[1] + 1))
    assert numbers(ranges) == plain and ranges.count == len(plain)
    assert all(end + 1 < begin for (_, end), (begin, _) in pairwise(ranges))
    assert {number for number in range(60) if number in ranges} == plain
    assert ranges.before(ask[0]) == max((n for n in plain if n < ask[0]), default=None)
    assert numbers(ranges.within(*ask)) == plain & asked
    assert numbers(ranges.missing(*ask)) == asked - plain
