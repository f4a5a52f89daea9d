# SPDX-License-Identifier: GPL-3.0-or-later
"""The line to the broker, against a real Mosquitto."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Amqtt, Ear, Mosquitto, Process, eventually

from otto_agent import messages
from otto_agent.config import Config
from otto_agent.mqtt import Link


@pytest.fixture
def link(config: Config) -> Iterator[Link]:
    one = Link(config, "boot-b")
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
    link = Link(dataclasses.replace(config, mqtt=broker), "boot-b")
    link.start()
    birth = ear.wait("status", online())
    assert (birth["v"], birth["conn"], birth["agent"]) == (1, 1, "0.1.0")
    link.put(messages.EVENT, messages.event("died", "x", "boot-b", 1, time.time()))
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
    for seq in range(1, 6):
        link.put(messages.EVENT, messages.event("died", "x", "boot-b", seq, time.time()))
    # Right after a vain attempt there is a second or more for the new ear to be there first.
    attempts = link.conn + 2
    eventually(lambda: link.conn >= attempts)
    mosquitto.start()
    again = Ear(mosquitto.port)
    try:
        assert again.wait("status", online())["conn"] > attempts
        eventually(lambda: len(again.of("event")) >= 5)
        assert [event["seq"] for event in again.of("event")] == [1, 2, 3, 4, 5]
        eventually(lambda: len(link.outbox) == 0)
    finally:
        again.close()


def test_broker_that_hangs_does_not_hold_the_agent(
    mosquitto: Mosquitto, ear: Ear, link: Link
) -> None:
    """A stopped broker (half-open line): putting never blocks, the queue bounded, stop quick."""
    link.start()
    ear.wait("status", online())
    assert mosquitto.process is not None
    os.kill(mosquitto.process.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        for seq in range(2000):
            link.put(messages.METRICS, messages.metrics({}, {}, "boot-b", seq, 0.0, 1.0))
        assert time.monotonic() - begun < 2
        assert len(link.outbox) <= 100
        assert link.outbox.dropped >= 1900
        begun = time.monotonic()
        link.stop()
        assert time.monotonic() - begun <= 5.5
    finally:
        os.kill(mosquitto.process.pid, signal.SIGCONT)


def test_broker_that_refuses_is_tried_again(mosquitto: Mosquitto, config: Config) -> None:
    """Nobody listens at first; the link does not give up."""
    mosquitto.stop()
    link = Link(config, "boot-b")
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
    """One gives way and both raise an alarm; the other one stays."""
    alarms: list[str] = []
    links = [Link(config, boot, alarm=alarms.append) for boot in ("boot-a", "boot-z")]
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
    link = Link(here, "boot-b", alarm=alarms.append)
    others = [Link(there, "boot-a") for _ in range(2)]
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
    link = Link(config, "boot-b")
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
