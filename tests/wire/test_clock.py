# SPDX-License-Identifier: GPL-3.0-or-later
"""Clocks that are wrong, and days without a control machine.

The lab's hosts have the clock of the machine that they run on, and nobody may set that; so
`time.time` of the agent's process is moved, while the monotonic clocks run on, as they do when
somebody sets a clock. (libfaketime would move all of the process, but breaks its sleeps.)
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import docker
import pytest

from otto_run.store import Store
from tests.conftest import ROOT, wait_for
from tests.wire.conftest import NODE, Place, backlog_gone, state

YEARS = 10 * 365 * 86400


_MOVED = """
import os, time
_true = time.time
def _moved():
    with open(os.environ["OTTO_TEST_CLOCK"]) as file:
        return _true() + int(file.read())
time.time = _moved
"""


class Clock:
    """The wall clock of an agent that runs with `environment`."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.set(0)
        (directory / "sitecustomize.py").write_text(_MOVED)
        self.environment = {
            "PYTHONPATH": f"{directory}:{ROOT}:{ROOT / '.links'}",
            "OTTO_TEST_CLOCK": str(self._file),
        }

    def set(self, seconds: int) -> None:
        """So far from the true time."""
        written = self._file.with_suffix(".new")
        written.write_text(str(seconds))
        written.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.mark.parametrize("away", [-YEARS, YEARS])
def test_clock_ten_years_away(at_mosquitto: Place, clock: Clock, away: int) -> None:
    """Fault 22: set while it runs. What is taken then is flagged and stored at the true time; the
    intervals are those that passed, and the node is online all the while."""
    place = at_mosquitto
    place.listener()
    agent = place.agent()
    agent.start(**clock.environment)

    def samples() -> list[tuple[float, int, float]]:
        with Store(place.store) as store:
            return store._db.execute(
                "SELECT at, skewed, json_extract(body, '$.time') FROM metrics ORDER BY seq"
            ).fetchall()

    wait_for(lambda: len(samples()) >= 3, seconds=20, what="samples at the true time")
    clock.set(away)
    wait_for(lambda: sum(skewed for _, skewed, _ in samples()) >= 3, seconds=20, what="flags")
    assert state(place) == "online"
    clock.set(0)
    flagged = len(samples())
    wait_for(lambda: len(samples()) >= flagged + 3, seconds=20, what="samples after it was mended")

    found = samples()
    moments = [at for at, _, _ in found]
    steps = [after - before for before, after in pairwise(moments)]
    assert all(0.5 < step < 3 for step in steps), steps
    for at, skewed, said in found:
        assert bool(skewed) == (abs(said - at) > 60)
    assert [skewed for _, skewed, _ in found[-2:]] == [0, 0]
    with Store(place.store) as store:
        assert [at for at, _ in store.history(NODE, 0)] == sorted(moments)


def test_days_without_a_control_machine(place: Place, web: str, clock: Clock) -> None:
    """Fault 17: three days by the node's clock without broker or listener. Drift is mended all the
    same; what was measured meanwhile is stored later, each once."""
    place.broker.stop()
    agent = place.agent()
    agent.start(**clock.environment)
    engine = docker.from_env()

    def made(times: int) -> bool:
        """Not before it has proved itself."""
        return agent.log.read_text().count("one was created") == times

    wait_for(lambda: made(1), seconds=20, what="web")
    for day in (1, 2, 3):
        clock.set(day * 86400)
        engine.containers.get(web).remove(force=True)
        wait_for(lambda day=day: made(day + 1), seconds=20, what="web again")
    place.broker.start()
    place.listener()
    wait_for(lambda: backlog_gone(place), seconds=60, what="all samples")
    rows = place.rows()
    assert sorted(seq for _, seq in rows) == list(range(1, len(rows) + 1))
    with Store(place.store) as store:
        times = [event.at for event in store.events() if event.kind == "healed"]
        assert len(times) == 4
        assert max(times) - min(times) < 120, "the clock of the machine, which nobody set"
    engine.close()
