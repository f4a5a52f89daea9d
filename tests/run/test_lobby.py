# SPDX-License-Identifier: GPL-3.0-or-later
"""Places before the login, and rates: the arithmetic alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otto_run.broker_lobby import STRANGERS, Guest, Lobby, Stage
from otto_run.pace import Bucket

MEMBERS = 3


def enter(lobby: Lobby, address: str = "192.0.2.1", stage: Stage = Stage.SILENT) -> Guest:
    guest, _ = lobby.enter(address)
    assert guest is not None
    guest.stage = stage
    return guest


def test_a_crowded_address_makes_room_for_itself() -> None:
    """Its oldest goes; one at another address stays, however long it is there."""
    lobby = Lobby(MEMBERS)
    elsewhere = enter(lobby, "192.0.2.2")
    here = [enter(lobby) for _ in range(lobby.each)]
    victims = [lobby.enter("192.0.2.1")[1] for _ in range(3)]
    assert victims == here[:3]
    assert lobby.enter("192.0.2.2")[1] is not elsewhere
    assert lobby.each == MEMBERS + STRANGERS


@pytest.mark.parametrize(
    ("crowd", "newcomer"),
    [
        (Stage.SILENT, Stage.ASKING),  # silent ones, and one that is about to log in
        (Stage.SHAKING, Stage.SILENT),  # stalled handshakes, and one that has just come
        (Stage.ASKING, Stage.SILENT),
        (Stage.ASKING, Stage.SHAKING),
    ],
)
def test_the_crowd_pushes_out_itself(crowd: Stage, newcomer: Stage) -> None:
    """Not one of another stage, though it has been there longer."""
    lobby = Lobby(MEMBERS)
    honest = enter(lobby, stage=newcomer)
    for _ in range(5 * lobby.each):
        guest, victim = lobby.enter("192.0.2.1")
        assert victim is not honest
        assert guest is not None
        guest.stage = crowd


def test_members_take_places_of_their_address_and_are_not_pushed_out() -> None:
    lobby = Lobby(MEMBERS)
    members = [enter(lobby) for _ in range(lobby.each)]
    for member in members:
        lobby.log_in(member)
    assert lobby.enter("192.0.2.1") == (None, None)
    lobby.leave(members[0])
    guest, victim = lobby.enter("192.0.2.1")
    assert guest is not None
    assert victim is None


def test_many_addresses_share_what_there_is() -> None:
    """A hundred strangers, each from a place of its own, and one address with many of its own: the
    most crowded one gives."""
    lobby = Lobby(MEMBERS)
    crowd = [enter(lobby, "192.0.2.1") for _ in range(STRANGERS)]
    alone = [enter(lobby, f"198.51.100.{n}") for n in range(lobby.in_all - len(crowd))]
    assert lobby.enter("203.0.113.1")[1] == crowd[0]
    assert all(guest in lobby._waiting[guest.home] for guest in alone)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),  # one site has 2**64 of them
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    lobby = Lobby(MEMBERS)
    assert (enter(lobby, one).home == enter(lobby, other).home) is same


@given(st.lists(st.tuples(st.sampled_from("elw"), st.integers(0, 5), st.integers(0, 2))))
def test_the_count_is_right_and_bounded(steps: list[tuple[str, int, int]]) -> None:
    """Whoever enters, logs in and leaves, in whatever order, twice or never."""
    lobby = Lobby(MEMBERS)
    lobby.each, lobby.in_all = 4, 6
    there: list[Guest] = []
    for step, who, stage in steps:
        if step == "e":
            guest, victim = lobby.enter(f"192.0.2.{who}")
            if victim is not None:
                assert not victim.member
                there.remove(victim)
                lobby.leave(victim)
            if guest is not None:
                guest.stage = Stage(stage)
                there.append(guest)
        elif there:
            guest = there[who % len(there)]
            if step == "w":
                lobby.leave(guest)
                there.remove(guest)
            elif not guest.member:
                lobby.log_in(guest)
        waiting = [guest for guest in there if not guest.member]
        assert lobby.waiting == len(waiting) <= lobby.in_all
        homes = Counter(guest.home for guest in there)
        assert all(number <= lobby.each for number in homes.values())
        assert (lobby.crowded() is None) is (not waiting)


def test_a_bucket_gives_a_burst_and_then_its_rate() -> None:
    bucket = Bucket(rate=2, burst=10, now=0)
    assert [bucket.take(4, 0) for _ in range(3)] == [True, True, False]
    assert bucket.take(4, 1)
    assert not bucket.take(1, 1)
    assert bucket.take(10, 1000)
    assert not bucket.take(11, 10_000), "never more than its burst"


def test_a_bucket_says_how_long_to_wait() -> None:
    bucket = Bucket(rate=2, burst=1, now=0)
    assert [bucket.owe(1, 0) for _ in range(3)] == [0, 0.5, 1]
    assert bucket.owe(1, 10) == 0
