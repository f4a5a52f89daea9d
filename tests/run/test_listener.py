# SPDX-License-Identifier: GPL-3.0-or-later
"""The listener on real brokers: Mosquitto and our own."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Mqtt as File
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.ranges import Ranges

from otto_run.broker import EmbeddedBroker, find, local_address
from otto_run.broker_doors import Shared
from otto_run.listener import Listener
from otto_run.messages import Message
from otto_run.store import Store
from tests.conftest import wait_for
from tests.run.conftest import ONLINE, REPORT, Agent, Mqtt, free_port

MakeAgent = Callable[[str], Agent]


@pytest.fixture
def heard() -> list[Message]:
    return []


@pytest.fixture
def listener(mqtt: Mqtt, tmp_path: Path, heard: list[Message]) -> Iterator[Listener]:
    made = Listener(mqtt, "home", ["rpi-01"], tmp_path / "store.db", heard.append)
    made.start()
    yield made
    made.stop()
    made.check()


@pytest.mark.usefixtures("listener")
def test_what_is_said_is_stored(agent: MakeAgent, heard: list[Message], tmp_path: Path) -> None:
    node = agent("rpi-01")
    node.say("status", ONLINE, retain=True)
    node.say("report", REPORT, retain=True)
    wait_for(lambda: len(heard) == 2, seconds=5, what="two messages")
    with Store(tmp_path / "store.db") as store:
        record = store.nodes()["rpi-01"]
    assert record.state == "online"
    assert (record.report or {})["services"]["web"]["state"] == "running"


def test_rubbish_does_not_silence_it(
    listener: Listener, agent: MakeAgent, heard: list[Message]
) -> None:
    node = agent("rpi-01")
    node.say("status", b"\x00\xff")
    node.say("report", b'{"v": 1, "services": 7}')
    node.say("status", ONLINE)
    wait_for(lambda: heard, seconds=5, what="the good message")
    assert listener.refusals.take().total() == 2
    assert listener.connected


def sample(number: int, **more: Any) -> dict[str, Any]:
    head = {"boot": "b1", "seq": number, "time": time.time(), "interval": 10}
    return {**head, "host": {}, "containers": {}, **more}


class Acks:
    """What a node hears."""

    def __init__(self, node: Agent) -> None:
        self.heard: list[dict[str, Any]] = []
        node.client.on_message = lambda _c, _d, message: self.heard.append(
            json.loads(message.payload)
        )
        node.client.subscribe("otto/v1/home/rpi-01/ack", 1)

    @property
    def stored(self) -> Ranges:
        return Ranges(
            (first, last) for ack in self.heard for first, last in ack["stored"].get("b1", [])
        )


def test_hello_then_an_ack_of_what_is_stored(mqtt: Mqtt, agent: MakeAgent, tmp_path: Path) -> None:
    """Also of what is not believed: that is counted as gone, and comes no more."""
    node = agent("rpi-01")
    acks = Acks(node)
    listener = Listener(mqtt, "home", ["rpi-01"], tmp_path / "store.db")
    listener.start()
    wait_for(lambda: acks.heard, seconds=5, what="the hello")
    assert (acks.heard[0]["stored"], acks.heard[0]["gaps"]) == ({}, [])
    for body in (sample(1), sample(2), sample(2), sample(4, time="late")):
        node.say("metrics", body)
    gap = {"boot": "b0", "kind": "gap", "first": 1, "last": 9, "time": 1.0, "text": "gone"}
    node.say("event", gap)
    wait_for(lambda: acks.heard[-1]["gaps"], seconds=5, what="the ack of the gap")
    listener.stop()
    assert list(acks.stored) == [(1, 2), (4, 4)]
    assert [gap for ack in acks.heard for gap in ack["gaps"]] == [["b0", 1, 9]]
    with Store(tmp_path / "store.db") as store:
        assert store.counts("rpi-01") == (2, 10)
        assert len(store.history("rpi-01", 0)) == 2


def test_a_slow_store_holds_up_the_network(
    mqtt: Mqtt, agent: MakeAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is full and the store shut: nothing is thrown away, nothing is acked early."""
    monkeypatch.setattr("otto_run.hearing.QUEUE", 10)
    path = tmp_path / "store.db"
    listener = Listener(mqtt, "home", ["rpi-01"], path)
    listener.start()
    node = agent("rpi-01")
    acks = Acks(node)
    wait_for(path.exists, seconds=5, what="the store")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(1, 101):
        node.say("metrics", sample(number))
    assert not acks.stored
    other.execute("ROLLBACK")
    other.close()
    wait_for(lambda: list(acks.stored) == [(1, 100)], seconds=15, what="all of them")
    listener.stop()
    listener.check()


def test_an_agent_from_before_the_ring(agent: MakeAgent, heard: list[Message], listener: Listener,
                                       tmp_path: Path) -> None:  # fmt: skip
    """It numbers its reports, says nothing of age or backlog, and hears no ack."""
    node = agent("rpi-01")
    old = {key: value for key, value in sample(2, dropped=0).items() if key != "interval"}
    for kind, body in (("report", {**REPORT, "seq": 1}), ("metrics", old), ("metrics", old)):
        node.say(kind, body)
    wait_for(lambda: len(heard) == 3, seconds=5, what="three messages")
    listener.check()
    with Store(tmp_path / "store.db") as store:
        assert store.counts("rpi-01") == (2, 0)
        assert len(store.history("rpi-01", 0)) == 1
        assert (store.nodes()["rpi-01"].report or {})["revision"] == "abc"


def test_who_comes_late_hears_what_was_retained(
    mqtt: Mqtt, agent: MakeAgent, tmp_path: Path
) -> None:
    agent("rpi-01").say("status", ONLINE, retain=True)
    heard: list[Message] = []
    late = Listener(mqtt, "home", ["rpi-01"], tmp_path / "late.db", heard.append)
    late.start()
    wait_for(lambda: heard, seconds=5, what="the retained status")
    late.stop()
    assert heard[0].retained


def test_a_wrong_password_is_told(embedded: Mqtt, tmp_path: Path) -> None:
    wrong = replace(embedded, password="no")
    with pytest.raises(OttoError, match="does not let otto-run in"):
        Listener(wrong, "home", [], tmp_path / "store.db").start(3)


def test_the_listener_comes_back_with_its_broker(tmp_path: Path) -> None:
    place = Mqtt("127.0.0.1", free_port(), "ann", "s3cret")
    heard: list[Message] = []
    first = EmbeddedBroker(place.host, place.port, Shared("ann", "s3cret"))
    first.start()
    listener = Listener(place, "home", ["rpi-01"], tmp_path / "store.db", heard.append)
    listener.start()
    first.stop()
    wait_for(lambda: not listener.connected, seconds=5, what="the loss to be seen")
    second = EmbeddedBroker(place.host, place.port, Shared("ann", "s3cret"))
    second.start()
    wait_for(lambda: listener.connected, seconds=20, what="the listener to come back")
    node = Agent(place, "home", "rpi-01")
    node.say("status", ONLINE)
    wait_for(lambda: heard, seconds=5, what="a message after the return")
    node.stop()
    listener.stop()
    second.stop()


def test_a_taken_port_is_told(mosquitto: Mqtt) -> None:
    with pytest.raises(OttoError, match="cannot listen"):
        EmbeddedBroker(mosquitto.host, mosquitto.port, Shared("ann", "s3cret")).start()


def test_the_rule_of_the_embedded_broker(mosquitto: Mqtt) -> None:
    """Something answers: that one. Ours and silent: our own. Elsewhere and silent: an error."""
    found = find(File(mosquitto.host, mosquitto.port))
    assert found is not None and not found.embedded
    place = find(File("localhost", free_port()))
    assert place is not None and place.embedded
    assert place.address in ("127.0.0.1", "::1")
    assert local_address("192.0.2.1") is None
    with pytest.raises(OttoError, match="has no address"):
        find(File("no-such-host.invalid", 1883))
