# SPDX-License-Identifier: GPL-3.0-or-later
"""The places at the embedded broker for connections that have not logged in yet: who waits where,
and who has to go when there are too many. Pure.

Members who are in take no place from those who wait, and those who wait none from members.
"""

from __future__ import annotations

import enum
import ipaddress
from collections import Counter
from dataclasses import dataclass

STRANGERS = 16  # places at one address, and four times as many in all, beyond one for every member


class Stage(enum.IntEnum):
    """How far a connection has come."""

    SILENT = 0  # not one whole word yet
    SHAKING = 1  # TLS is being agreed on
    ASKING = 2  # its CONNECT is awaited, or looked at


@dataclass(eq=False, slots=True)
class Guest:
    """A connection. home: its address; of IPv6 the network, which is one site's."""

    home: str
    stage: Stage = Stage.SILENT
    member: bool = False


class Lobby:
    """members: how many clients are expected; all of them may be behind one address."""

    def __init__(self, members: int) -> None:
        self.each = members + STRANGERS
        self.in_all = members + 4 * STRANGERS
        self._waiting: dict[str, dict[Guest, None]] = {}  # in the order in which they came
        self._number = 0
        self._members: Counter[str] = Counter()

    def enter(self, address: str) -> tuple[Guest | None, Guest | None]:
        """A connection has come. Returns its place, None where there is none, and who has to go for
        it. An address that is crowded makes room for itself; else the most crowded one does."""
        home = _home(address)
        here = self._waiting.get(home, {})
        victim = None
        if len(here) + self._members[home] >= self.each:
            victim = _last_of_all(here)
            if victim is None:
                return None, None
        elif self._number >= self.in_all:
            victim = self.crowded()
        if victim is not None:
            self.leave(victim)
        guest = Guest(home)
        self._waiting.setdefault(home, {})[guest] = None
        self._number += 1
        return guest, victim

    def log_in(self, guest: Guest) -> None:
        """It is a member from now on."""
        self.leave(guest)
        guest.member = True
        self._members[guest.home] += 1

    def leave(self, guest: Guest) -> None:
        """It has gone, or is about to; twice is once."""
        if guest.member:
            guest.member = False
            self._members[guest.home] -= 1
            if not self._members[guest.home]:
                del self._members[guest.home]
            return
        here = self._waiting.get(guest.home, {})
        if guest in here:
            del here[guest]
            self._number -= 1
            if not here:
                del self._waiting[guest.home]

    def crowded(self) -> Guest | None:
        """Who goes when there is no room at all: one of the address where most wait."""
        return _last_of_all(max(self._waiting.values(), key=len, default={}))

    @property
    def waiting(self) -> int:
        return self._number


def _last_of_all(here: dict[Guest, None]) -> Guest | None:
    """The oldest of the stage that most are in. So those who say nothing push out each other, not
    one who has just come or is about to log in."""
    if not here:
        return None
    stages = Counter(guest.stage for guest in here)
    most = max(stages, key=lambda stage: (stages[stage], -stage))
    return next(guest for guest in here if guest.stage == most)


def _home(address: str) -> str:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
