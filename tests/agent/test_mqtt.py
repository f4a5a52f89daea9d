# SPDX-License-Identifier: GPL-3.0-or-later
"""The line to the broker, against a real Mosquitto."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Ear, Process, eventually
from paho.mqtt import publish

from otto_agent import messages
from otto_agent.config import Config
from otto_agent.mqtt import LIVE, Link
from otto_agent.ring import Ring
from tests.brokers import Amqtt, Mosquitto


def linked(config: Config, boot: str = "boot-b", **called: Any) -> Link:
    return Link(config, boot, Ring(config.state_dir / f"{boot}.db"), **called)


def say(link: Link, *numbers: int, kind: str = messages.EVENT) -> None:
    for seq in numbers:
        link.put(kind, seq, messages.event("died", "x", link._boot, seq, time.time()))


@pytest.fixture
def link(config: Config) -> Iterator[Link]:
    one = linked(config)
    yield one
    one.stop()


def online(boot: str = "boot-b") -> Any:
    return lambda payload: payload["state"] == "online" and payload["boot"] == boot


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_birth_and_goodbye_are_retained(
    mosquitto: Mosquitto, ear: Ear, config: Config, protocol: str
) -> None:
    """With both protocols: online after connecting, offline when stopped, both for late readers."""
    broker = dataclasses.replace(config.mqtt, protocol=protocol)
    link = linked(dataclasses.replace(config, mqtt=broker))
    link.start()
    birth = ear.wait("status", online())
    assert (birth["v"], birth["conn"], birth["agent"]) == (1, 1, "0.1.0")
    say(link, 1)
    ear.wait("event")
    begun = time.monotonic()
    link.stop()
    assert time.monotonic() - begun < 2
    ear.wait("status", lambda p: p["state"] == "offline")
    late = Ear(mosquitto.port)
    try:
        last = late.wait("status")
        assert (last["state"], last["boot"], last["conn"]) == ("offline", "boot-b", 1)
        assert [m.qos for kind, _, m in late.heard if kind == "status"] == [1]
        assert not late.of("event"), "events are not retained"
    finally:
        late.close()


def test_broker_gone_and_back(mosquitto: Mosquitto, ear: Ear, link: Link) -> None:
    """Says online again under a new number; what was said meanwhile arrives, in order."""
    link.start()
    ear.wait("status", online())
    mosquitto.stop()
    eventually(lambda: not link.up)
    say(link, *range(1, 6))
    # Right after a vain attempt there is a second or more for the new ear to be there first.
    attempts = link.conn + 2
    eventually(lambda: link.conn >= attempts)
    mosquitto.start()
    again = Ear(mosquitto.port)
    try:
        assert again.wait("status", online())["conn"] > attempts
        eventually(lambda: len(again.of("event")) >= 5)
        assert [event["seq"] for event in again.of("event")] == [1, 2, 3, 4, 5]
        assert len(link.ring) == 5, "a broker's word is no listener's"
    finally:
        again.close()


def test_broker_that_hangs_does_not_hold_the_agent(
    mosquitto: Mosquitto, ear: Ear, link: Link
) -> None:
    """Fault 21: a half-open line. Putting never waits, paho holds a hundred, stopping is quick."""
    link.start()
    ear.wait("status", online())
    assert mosquitto.process is not None
    os.kill(mosquitto.process.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        say(link, *range(1, 2001), kind=messages.METRICS)
        assert time.monotonic() - begun < 5
        tracemalloc.start()
        say(link, *range(2001, 4001), kind=messages.METRICS)
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(link.ring) == 4000
        assert grown < 300_000, "they are on the disk, and in no memory"
        begun = time.monotonic()
        link.stop()
        assert time.monotonic() - begun <= 5.5
    finally:
        os.kill(mosquitto.process.pid, signal.SIGCONT)


class Stored:
    """A listener: acknowledges what an ear hears."""

    def __init__(self, ear: Ear, config: Config) -> None:
        self._ear = ear
        self._topic = messages.topic(config.cluster, config.node, messages.ACK)

    def ack(self, **stored: list[list[int]]) -> None:
        self.say(stored=stored, gaps=[])

    def say(self, **body: Any) -> None:
        payload = messages.encode({"v": 1, "listener": "l", **body})
        self._ear._client.publish(self._topic, payload, qos=1)


def test_a_sample_stays_until_a_listener_has_stored_it(
    ear: Ear, config: Config, link: Link
) -> None:
    """Live ones at once; without a word nothing leaves; a hello brings all of them once more."""
    listener = Stored(ear, config)
    link.start()
    ear.wait("status", online())
    say(link, 1, 2, 3)
    eventually(lambda: len(ear.of("event")) == 3)
    assert not any("age" in event for event in ear.of("event")), "they are live"
    listener.say(stored={"boot-b": "rubbish"}, gaps=7)
    listener.ack(**{"boot-b": [[2, 2]], "another": [[1, 3]]})
    eventually(lambda: len(link.ring) == 2)
    listener.say(stored={}, gaps=[])
    eventually(lambda: len(ear.of("event")) == 5)
    assert [event["seq"] for event in ear.of("event")] == [1, 2, 3, 1, 3]
    listener.ack(**{"boot-b": [[1, 3]]})
    eventually(lambda: len(link.ring) == 0)


def test_what_an_earlier_life_left_is_sent_with_its_age(ear: Ear, config: Config) -> None:
    """Oldest first; the age is right whatever the clock says, and the gap comes before."""
    left = Ring(config.state_dir / "boot-b.db", rows=3)
    for seq in range(1, 6):
        left.put("boot-a", seq, messages.EVENT, messages.encode({"v": 1, "seq": seq}))
    left.close()
    threading.Event().wait(LIVE)
    link = linked(config)
    link.start()
    try:
        eventually(lambda: len(ear.of("event")) == 4)
        gap, *old = ear.of("event")
        assert (gap["kind"], gap["boot"], gap["first"], gap["last"]) == ("gap", "boot-a", 1, 2)
        assert [event["seq"] for event in old] == [3, 4, 5]
        assert all(LIVE <= event["age"] < 30 for event in old)
        Stored(ear, config).say(stored={}, gaps=[["boot-a", 1, 2]])
        eventually(lambda: not link.ring.gaps())
    finally:
        link.stop()


def test_only_look_is_obeyed(config: Config) -> None:
    looks: list[None] = []
    link = linked(config, look=lambda: looks.append(None))
    link.start()
    try:
        eventually(lambda: link.up)
        topic = messages.topic(config.cluster, config.node, messages.CMD)
        rubbish = (b'{"v":1,"do":"run"}', b"[" * 100_000, b'{"v":2,"do":"look"}', b"[]", b"\xff")
        publish.multiple(
            [(topic, payload, 1, False) for payload in (*rubbish, b'{"v":1,"do":"look"}')],
            port=config.mqtt.port,
        )
        eventually(lambda: looks)
        assert looks == [None]
    finally:
        link.stop()


def test_broker_that_refuses_is_tried_again(mosquitto: Mosquitto, config: Config) -> None:
    """Nobody listens at first; the link does not give up."""
    mosquitto.stop()
    link = linked(config)
    link.start()
    try:
        eventually(lambda: link.conn >= 2, 10)
        assert not link.up
        mosquitto.start()
        eventually(lambda: link.up, 10)
    finally:
        link.stop()


def test_late_will_is_answered(ear: Ear, mosquitto: Mosquitto, link: Link) -> None:
    """A will of an earlier life that arrives after the birth does not stand."""
    link.start()
    ear.wait("status", online())
    config = link._config
    will = messages.encode(messages.status("offline", "boot-a", 7, "0.1.0", time.time()))
    ear._client.publish(messages.topic(config.cluster, config.node, "status"), will, 1, True)
    ear.wait("status", lambda p: p["state"] == "offline")
    eventually(lambda: ear.of("status")[-1]["state"] == "online")
    late = Ear(mosquitto.port)
    try:
        assert late.wait("status")["state"] == "online"
    finally:
        late.close()


def test_two_agents_with_one_id(config: Config) -> None:
    """Fault 23: one gives way and both raise an alarm; the other one stays."""
    alarms: list[str] = []
    links = [linked(config, boot, alarm=alarms.append) for boot in ("boot-a", "boot-z")]
    for link in links:
        link.start()
    try:
        eventually(lambda: len(set(alarms)) == 2, 30, "both raise an alarm")

        def settled() -> bool:
            conn = links[0].conn
            threading.Event().wait(5)
            return (links[0].conn, links[0].up, links[1].up) == (conn, True, False)

        eventually(settled, 40, "one stays and the other one gives way")
    finally:
        for link in links:
            link.stop()


def test_what_is_retained_for_another_node_is_no_rival(config: Config, tmp_path: Path) -> None:
    """amqtt sends each new connection what is retained for anybody's subscription."""
    broker = Amqtt(tmp_path)
    broker.start()
    here = dataclasses.replace(config, mqtt=dataclasses.replace(config.mqtt, port=broker.port))
    there = dataclasses.replace(here, node="another")
    alarms: list[str] = []
    link = linked(here, alarm=alarms.append)
    others = [linked(there, "boot-a") for _ in range(2)]
    try:
        others[0].start()
        eventually(lambda: others[0].up)
        link.start()
        eventually(lambda: link.up)
        broker.stop()
        eventually(lambda: link.conn >= 3, 20, "two tries without a broker")
        others[0].stop()
        broker.start()
        others[1].conn = 1  # the same agent, connected once more
        others[1].start()
        eventually(lambda: link.up, 30)
        threading.Event().wait(1)
        assert (alarms, link.up) == ([], True)
    finally:
        for one in (link, *others):
            one.stop()
        broker.stop()


def test_thread_that_died_is_started_again(
    ear: Ear, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = linked(config)
    with monkeypatch.context() as patch:
        patch.setattr(link, "_run", lambda: None)
        link.start()
        assert link._thread is not None
        link._thread.join()
    link.watch()
    try:
        ear.wait("status", online())
    finally:
        link.stop()


def test_will_when_the_agent_is_killed(ear: Ear, process: Process) -> None:
    """SIGKILL: the broker says offline at once, with boot and conn of the birth it ends."""
    running = process.start()
    birth = ear.wait("status", lambda p: p["state"] == "online")
    running.kill()
    running.wait()
    gone = ear.wait("status", lambda p: p["state"] == "offline", 5)
    assert (gone["boot"], gone["conn"]) == (birth["boot"], birth["conn"])
    process.start()
    ear.wait("status", lambda p: p["state"] == "online" and p["boot"] != birth["boot"])


def test_stops_on_sigterm(ear: Ear, process: Process) -> None:
    running = process.start()
    ear.wait("status", lambda p: p["state"] == "online")
    running.terminate()
    assert running.wait(5) == 0
    assert ear.of("status")[-1]["state"] == "offline"
