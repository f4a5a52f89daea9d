# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the node's numbers a person should be told of, once when it begins and once when it
is over. Pure: values and times in, texts out.

An alarm has two levels with room in between, and a time that each has to hold, so that a value
that swings around one level is one alarm and not a hundred. Absent values change nothing. What
stands when an agent starts is told again: an agent has no memory beyond its own life.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from otto_agent import messages

Values = Mapping[str, Any]

JUMP = 5.0  # seconds that the clock has to leap to be told of


@dataclass(frozen=True)
class Rule:
    """begins at `on` or above, ends at `off` or below, each held for so many seconds.

    level: the number that is watched; None where it cannot be read. told, over: texts; `{}` is the
    level.
    """

    name: str
    level: Callable[[Values], float | None]
    on: float
    off: float
    told: str
    over: str
    on_for: float = 0.0
    off_for: float = 0.0


def _number(name: str) -> Callable[[Values], float | None]:
    return lambda values: values.get(name)


def _unset(name: str) -> Callable[[Values], float | None]:
    def level(values: Values) -> float | None:
        return None if name not in values else 1 - values[name]

    return level


def _any(*names: str) -> Callable[[Values], float | None]:
    def level(values: Values) -> float | None:
        return max((values[name] for name in names if name in values), default=None)

    return level


def _filled(prefix: str) -> Callable[[Values], float | None]:
    """Percent, as df counts them: of what is not kept back for root."""

    def level(values: Values) -> float | None:
        used, free = values.get(prefix + "_bytes", 0), values.get(prefix + "_free_bytes", 0)
        return 100.0 * used / (used + free) if used + free else None

    return level


def _inodes(prefix: str) -> Callable[[Values], float | None]:
    def level(values: Values) -> float | None:
        total = values.get(prefix + "_inodes_total")
        return 100.0 * (1 - values[prefix + "_inodes_free"] / total) if total else None

    return level


_DISKS = (
    ("disk", "the root disk"),
    ("docker_disk", "Docker's disk"),
    ("state_disk", "the disk of the agent's state"),
)

RULES = (
    *(
        Rule(
            f"{prefix}_full",
            _filled(prefix),
            on=90.0,
            off=85.0,
            told=f"{words} is {{:.0f}} % full; docker system df, docker system prune",
            over=f"{words} has room again ({{:.0f}} % full)",
        )
        for prefix, words in _DISKS
    ),
    *(
        Rule(
            f"{prefix}_inodes_full",
            _inodes(prefix),
            on=90.0,
            off=85.0,
            told=f"{{:.0f}} % of the inodes of {words} are used; df -i",
            over=f"{words} has inodes again ({{:.0f}} % used)",
        )
        for prefix, words in _DISKS
    ),
    *(
        Rule(
            f"{prefix}_read_only",
            _number(prefix + "_read_only"),
            on=1,
            off=0,
            told=f"{words} takes no writes any more (read-only; a worn SD card?); dmesg",
            over=f"{words} takes writes again",
        )
        for prefix, words in _DISKS
    ),
    Rule(
        "undervoltage",
        _any("undervoltage", "undervoltage_occurred"),
        on=1,
        off=0,
        off_for=600.0,  # a weak supply dips under load, for seconds, again and again
        told="the power supply is too weak: undervoltage",
        over="no undervoltage for ten minutes",
    ),
    Rule(
        "clock_unsynchronised",
        _unset("clock_synchronised"),
        on=1,
        off=0,
        on_for=900.0,  # a board without a battery has to find its time server first
        told="the clock is not synchronised; timedatectl",
        over="the clock is synchronised",
    ),
    Rule(
        "reboot_required",
        _number("reboot_required"),
        on=1,
        off=0,
        told="an update waits for a reboot",
        over="no reboot is waited for any more",
    ),
    Rule(
        "emmc_worn",
        _any("emmc_life_used_percent"),
        on=100.0,
        off=0.0,
        told="the eMMC has had {:.0f} % of the writes that it was made for; copy it",
        over="the eMMC is another one",
    ),
)


@dataclass(frozen=True)
class Told:
    """kind: as events have it."""

    kind: str
    text: str


@dataclass(frozen=True)
class _Standing:
    """raised: whether the alarm stands. since: when its level began to say otherwise."""

    raised: bool = False
    since: float | None = None


@dataclass(frozen=True)
class Alarms:
    """What stands after one look; each look gives the next."""

    standing: Mapping[str, _Standing] = field(default_factory=dict)
    clock: float | None = None
    """The node's clock less the monotonic one, seconds."""

    def look(self, values: Values, now: float, clock: float) -> tuple[Alarms, tuple[Told, ...]]:
        """values: of the host. now: seconds, monotonic, sleep counted. clock: seconds since the
        epoch."""
        standing = {}
        told = []
        for rule in RULES:
            before = self.standing.get(rule.name, _Standing())
            level = rule.level(values)
            after = before if level is None else _step(rule, before, level, now)
            standing[rule.name] = after
            if level is not None and after.raised != before.raised:
                kind = messages.ALARM if after.raised else messages.ALARM_OVER
                text = rule.told if after.raised else rule.over
                told.append(Told(kind, text.format(level)))
        leap = 0.0 if self.clock is None else clock - now - self.clock
        if abs(leap) >= JUMP:
            told.append(Told(messages.CLOCK_JUMPED, f"the clock was set by {leap:+.1f} s"))
        return Alarms(standing, clock - now), tuple(told)


def _step(rule: Rule, before: _Standing, level: float, now: float) -> _Standing:
    turns = level <= rule.off if before.raised else level >= rule.on
    if not turns:
        return _Standing(before.raised)
    since = now if before.since is None else before.since
    if now - since < (rule.off_for if before.raised else rule.on_for):
        return _Standing(before.raised, since)
    return _Standing(not before.raised)
