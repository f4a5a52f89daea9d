# SPDX-License-Identifier: GPL-3.0-or-later
"""When a person is told of a number, and when not."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Ear

from otto_agent.agent import Agent
from otto_agent.alarms import RULES, Alarms
from otto_agent.config import Config

MINUTE = 60.0


def told(steps: list[tuple[float, dict[str, Any]]]) -> list[tuple[float, str]]:
    """(minute, kind) of each event of looks at (minute, values)."""
    alarms, found = Alarms(), []
    for minute, values in steps:
        alarms, events = alarms.look(values, minute * MINUTE, 1e9 + minute * MINUTE)
        found += [(minute, event.kind) for event in events]
    return found


def disk(percent: float) -> dict[str, Any]:
    return {"disk_bytes": percent * 10, "disk_free_bytes": 1000 - percent * 10}


def inodes(percent: float) -> dict[str, Any]:
    return {"disk_inodes_total": 1000, "disk_inodes_free": 1000 - percent * 10}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([disk(50), disk(89.9)], []),
        ([disk(91)], [(0, "alarm")]),
        ([disk(91), disk(89), disk(91), disk(86), disk(92)], [(0, "alarm")]),  # it swings
        ([disk(91), disk(84), disk(91)], [(0, "alarm"), (1, "alarm_over"), (2, "alarm")]),
        ([disk(91), {}, disk(91)], [(0, "alarm")]),  # what cannot be read changes nothing
        ([{"disk_bytes": 0, "disk_free_bytes": 0}, {"disk_bytes": 5}], [(1, "alarm")]),  # no room
        ([inodes(90), inodes(85)], [(0, "alarm"), (1, "alarm_over")]),
        ([{"disk_inodes_free": 3}], []),
        ([{"disk_read_only": flag} for flag in (0, 1, 1, 0)], [(1, "alarm"), (3, "alarm_over")]),
        ([{"reboot_required": flag} for flag in (0, 1, 1)], [(1, "alarm")]),
        ([{"undervoltage": 0, "undervoltage_occurred": flag} for flag in (0, 1)], [(1, "alarm")]),
        ([{"emmc_life_used_percent": used} for used in (90, 100, 110)], [(1, "alarm")]),
        ([{}, {"state": "x"}], []),
    ],
)
def test_alarms(steps: list[dict[str, Any]], expected: list[tuple[float, str]]) -> None:
    """A look each minute."""
    assert told(list(enumerate(steps))) == expected


def test_a_supply_that_dips_is_one_alarm() -> None:
    """It is over after ten minutes without a dip, and each dip begins them anew."""
    dips = {0, 5, 12}
    steps = [(minute, {"undervoltage": int(minute in dips)}) for minute in range(30)]
    assert told(steps) == [(0, "alarm"), (23, "alarm_over")]


def test_a_clock_has_time_to_find_its_server() -> None:
    found = told([(minute, {"clock_synchronised": 0}) for minute in range(20)])
    assert found == [(15, "alarm")]
    assert told([(0, {"clock_synchronised": 0}), (14, {"clock_synchronised": 1})]) == []


@pytest.mark.parametrize(
    ("clock", "text"),
    [
        (1e9 + 10, None),
        (1e9 + 14.9, None),  # slewing, a slow look
        (1e9 + 16, "the clock was set by +6.0 s"),
        (1e9 - 90, "the clock was set by -100.0 s"),
    ],
)
def test_a_jump_of_the_clock(clock: float, text: str | None) -> None:
    """Told once: from the next look on, the new time is the time."""
    alarms, first = Alarms().look({}, 0.0, 1e9)
    alarms, then = alarms.look({}, 10.0, clock)
    _, last = alarms.look({}, 20.0, clock + 10)
    assert [event.text for event in (*first, *then, *last)] == ([text] if text else [])


def test_texts_say_the_level() -> None:
    _, events = Alarms().look(disk(93), 0.0, 1e9)
    assert events[0].text.startswith("the root disk is 93 % full")


def test_rules_have_room_between_their_levels() -> None:
    assert all(rule.off < rule.on for rule in RULES)
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.fixture
def small(config: Config, tmp_path: Path) -> Iterator[Config]:
    """The agent's state lies on a disk of 1 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "otto-test", str(place)], check=True)
    yield dataclasses.replace(config, state_dir=place)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_the_agent_tells_of_them(small: Config, ear: Ear) -> None:
    """As events with numbers: once when the disk is full, once when there is room."""
    agent = Agent(small)
    agent.start()
    try:
        ear.wait("metrics")
        filler = small.state_dir / "filler"
        free = shutil.disk_usage(small.state_dir).free
        filler.write_bytes(b"x" * (free - 40 * 1024))
        alarm = ear.wait("event", lambda event: event["kind"] == "alarm")
        assert "the disk of the agent's state is 9" in alarm["text"]
        filler.unlink()
        over = ear.wait("event", lambda event: event["kind"] == "alarm_over")
        assert over["seq"] > alarm["seq"] > 0
    finally:
        agent.stop()
    assert len([event for event in ear.of("event") if event["kind"].startswith("alarm")]) == 2
