# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent on a host as an apply leaves it, in its own unit: how much it takes, and what the unit
lets it see. The long run with figures is `bench/footprint.py`."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.cost import AGENT, read
from bench.fleet import Fleet, end
from bench.hosts import close_masters
from otto_agent import metrics_table
from tests.conftest import LAB_HOSTS, LAB_OFFSET, LabHost, wait_for

NAMES = [f"rpi-{number + LAB_OFFSET:02d}" for number in (1, 2)]  # Debian 12 and 13
CONTAINERS = 20
SAMPLES = 60  # at one a second: more than the agent needs to settle
MOST = 30.0  # MiB resident


@pytest.fixture(scope="module")
def fleet(
    lab_hosts: dict[str, LabHost], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Two hosts with twenty containers each, a control plane with TLS, a sample a second."""
    assert set(lab_hosts) == set(LAB_HOSTS)
    folder = tmp_path_factory.mktemp("footprint") / "fleet"
    with (
        tempfile.TemporaryDirectory(prefix="ob", dir="/tmp") as short,
        contextlib.ExitStack() as stack,
    ):
        made = Fleet.of(NAMES, folder, Path(short), port=18843, containers=CONTAINERS)
        stack.callback(close_masters, Path(short))
        stack.enter_context(made.deployed())
        plane = made.start("otto-run", "up", "--yes", log="up.log")
        stack.callback(end, plane)
        said = folder / "up.log"

        def ready() -> bool:
            assert plane.poll() is None, said.read_text()
            return "control plane of" in said.read_text()

        wait_for(ready, seconds=180, what="the control plane", every=0.5)
        made.set_interval(1)
        wait_for(
            lambda: all(len(samples(made, name)) >= SAMPLES for name in NAMES),
            seconds=180,
            what=f"{SAMPLES} samples of each host",
            every=1,
        )
        yield made


def samples(fleet: Fleet, node: str) -> list[dict[str, Any]]:
    """What the node has sent since its interval is a second, oldest first."""
    with contextlib.closing(sqlite3.connect(f"file:{fleet.store}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT body FROM metrics WHERE node = ? AND boot ="
            " (SELECT boot FROM nodes WHERE node = ?) ORDER BY seq",
            (node, node),
        ).fetchall()
    return [json.loads(body) for (body,) in rows]


@pytest.mark.parametrize("number", [0, 1], ids=NAMES)
def test_it_is_light(fleet: Fleet, number: int) -> None:
    reading = read(fleet, fleet.nodes[number])[AGENT]
    assert reading.rss <= MOST, reading


@pytest.mark.parametrize("name", NAMES)
def test_its_unit_lets_it_see(fleet: Fleet, name: str) -> None:
    """All that a lab host has: the clock, what each disk is like, the cgroups of containers."""
    last = samples(fleet, name)[-1]
    boards = ("undervoltage", "frequency", "throttled", "temperature", "emmc", "reboot")
    absent = ("state_disk", "clock_offset", "clock_max_error", *boards)  # the lab has none of it
    expected = {m.name for m in metrics_table.HOST if not m.name.startswith(absent)}
    assert expected <= set(last["host"])
    assert last["host"]["disk_read_only"] == 0, "the unit's own view of the disk was taken"
    assert len(last["containers"]) == CONTAINERS
    unlimited = {"memory_limit_bytes", "cpu_throttled_seconds", "pids_limit"}
    numbers = {m.name for m in metrics_table.CONTAINER if m.unit != "text"} - unlimited
    assert all(numbers <= set(values) for values in last["containers"].values())
