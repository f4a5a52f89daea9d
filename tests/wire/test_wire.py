# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes over the wire between agent, broker and listener; the same at three brokers."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import docker
import pytest

from otto_agent import messages
from otto_run.store import Store
from tests.conftest import ROOT, wait_for
from tests.wire.conftest import (
    KINDS,
    NODE,
    VALIDATORS,
    Ear,
    Place,
    backlog_gone,
    leave_behind,
    state,
    stored,
)


def test_every_payload_fits_its_schema(
    place: Place, web: str, record_property: pytest.RecordProperty
) -> None:
    """All kinds are seen, live and late, and not one message is of another shape."""
    leave_behind(place, 9, rows=5)
    ear = place.ear()
    listener = place.listener()
    agent = place.agent().start()
    engine = docker.from_env()

    def seen(kind: str, event: str = "") -> int:
        return ear.checked[kind, event]

    wait_for(lambda: seen("metrics") >= 6 and seen("event", "gap"), seconds=30, what="a backlog")
    wait_for(lambda: engine.containers.list(filters={"name": web}), seconds=20, what="web")
    wait_for(lambda: seen("event", "healed") == 1, seconds=20, what="its making")
    engine.containers.get(web).kill()
    wait_for(lambda: seen("event", "healed") == 2, seconds=20, what="its healing")
    reports = seen("report")
    listener.look()
    wait_for(lambda: seen("report") > reports, seconds=20, what="the report that was asked for")
    wait_for(lambda: backlog_gone(place), seconds=20, what="all acks")
    agent.terminate()
    assert agent.wait(6) == 0
    wait_for(lambda: state(place) == "offline", seconds=5, what="the goodbye")

    assert ear.faults == []
    assert {kind for kind, _ in ear.checked} == set(KINDS)
    record_property("messages checked", sum(ear.checked.values()))
    print("messages checked:", sum(ear.checked.values()), dict(ear.checked))
    rows = place.rows()
    assert len(rows) == len(set(rows))
    assert stored(place) == 5
    with Store(place.store) as store:
        assert store.counts(NODE) == (len(rows), 4)
        assert store.nodes()[NODE].lost == 4


def test_a_listener_that_comes_late_gets_all_of_it_once(place: Place) -> None:
    """Nobody listened for some seconds; no number is missing, none is there twice."""
    ear = place.ear()
    agent = place.agent()
    agent.start()
    wait_for(lambda: len(ear.samples) >= 4, seconds=20, what="samples without a listener")
    place.listener()
    wait_for(lambda: backlog_gone(place), seconds=30, what="all acks")
    rows = place.rows()
    numbers = sorted(seq for _, seq in rows)
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 4
    assert ear.faults == []


def test_broker_killed_mid_stream(place: Place) -> None:
    """Fault 18: what was acked is stored, what was not comes again; nothing is there twice."""
    leave_behind(place, 3000)
    place.listener()
    agent = place.agent()
    agent.start()
    wait_for(lambda: stored(place) > 300, seconds=30, what="a part of the backlog", every=0.02)
    place.broker.stop()
    time_of_death = stored(place)
    place.broker.start()
    wait_for(lambda: stored(place) == 3000, seconds=60, what="the rest")
    assert time_of_death < 3000, "it was killed too late"
    wait_for(lambda: backlog_gone(place), seconds=30, what="all acks")
    rows = place.rows()
    assert len(rows) == len(set(rows))


def test_listener_killed_mid_batch(place: Place) -> None:
    """Fault 20: kill -9 while it writes; another one on the same store: 0 lost, 0 double."""
    leave_behind(place, 3000)
    listener = place.listener_process()
    place.agent().start()
    for least in (300, 1000, 1700):
        wait_for(lambda least=least: stored(place) > least, seconds=30, what="a part", every=0.02)
        listener.kill()
        listener.wait()
        assert stored(place) < 3000, "it was killed too late"
        listener = place.listener_process()
    wait_for(lambda: stored(place) == 3000, seconds=60, what="the rest")
    wait_for(lambda: backlog_gone(place), seconds=30, what="all acks")
    rows = place.rows()
    assert len(rows) == len(set(rows))
    numbers = {seq for boot, seq in rows if boot != "earlier"}
    assert numbers >= set(range(1, max(numbers))), "live ones, too"


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096


def test_a_broker_that_hangs(place: Place) -> None:
    """Fault 21: SIGSTOP leaves the line half open. Memory stays, and SIGTERM is heard in 5 s."""
    leave_behind(place, 3000)
    ear = place.ear()
    agent = place.agent().start()
    wait_for(lambda: len(ear.samples) >= 100, seconds=20, what="the stream")
    before = resident(agent.pid)
    place.broker.signal(signal.SIGSTOP)
    try:
        time.sleep(4)  # of hanging, which is what is tested
        assert resident(agent.pid) - before < 3_000_000
        begun = time.monotonic()
        agent.terminate()
        assert agent.wait(10) == 0
        assert time.monotonic() - begun <= 5.5
    finally:
        place.broker.signal(signal.SIGCONT)


def test_the_examples_of_the_contract() -> None:
    """Each example of docs/mqtt.md has the shape of one kind, and every kind has one."""
    text = (ROOT / "docs" / "mqtt.md").read_text()
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    fits = [[kind for kind in KINDS if VALIDATORS[kind].is_valid(one)] for one in shown]
    assert all(len(kinds) == 1 for kinds in fits), fits
    assert {kinds[0] for kinds in fits} == set(KINDS)


def test_nobody_stands_in_the_ear(at_mosquitto: Place) -> None:
    """The check can fail: what has another shape is found."""
    ear: Ear = at_mosquitto.ear()
    topic = messages.topic(at_mosquitto.cluster, NODE, "event")
    for payload in (
        b'{"v":1}',
        b"\xff",
        b'{"v":1,"boot":"b","seq":1,"time":1,"kind":"x","text":"t"}',
    ):
        ear.client.publish(topic, payload, qos=1)
    wait_for(lambda: len(ear.faults) == 3, seconds=5, what="three faults")
