# SPDX-License-Identifier: GPL-3.0-or-later
"""The listener on real brokers: Mosquitto and our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

from otto_run.broker import EmbeddedBroker, find, local_address
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
    assert sum(listener.refused.values()) == 2
    assert listener.connected


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
    place = Mqtt("127.0.0.1", free_port())
    heard: list[Message] = []
    first = EmbeddedBroker(place.host, place.port)
    first.start()
    listener = Listener(place, "home", ["rpi-01"], tmp_path / "store.db", heard.append)
    listener.start()
    first.stop()
    wait_for(lambda: not listener.connected, seconds=5, what="the loss to be seen")
    second = EmbeddedBroker(place.host, place.port)
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
        EmbeddedBroker(mosquitto.host, mosquitto.port).start()


def test_the_rule_of_the_embedded_broker(mosquitto: Mqtt) -> None:
    """Something answers: that one. Ours and silent: our own. Elsewhere and silent: an error."""
    assert not find(mosquitto).embedded
    place = find(Mqtt("localhost", free_port()))
    assert place.embedded
    assert place.address in ("127.0.0.1", "::1")
    assert local_address("192.0.2.1") is None
    with pytest.raises(OttoError, match="has no address"):
        find(Mqtt("no-such-host.invalid", 1883))
