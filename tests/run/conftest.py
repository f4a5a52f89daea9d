# SPDX-License-Identifier: GPL-3.0-or-later
"""Brokers of both kinds on loopback, and otto-run as a person types it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otto_run.broker import EmbeddedBroker, answers
from otto_run.broker_doors import Shared
from tests.conftest import wait_for

OTTO_RUN = str(Path(sys.executable).with_name("otto-run"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Mqtt:
    """As `Mqtt` of the cluster."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    keepalive: int = 20
    ca: str = ""


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mqtt]:
    """A real Mosquitto on a free port of loopback."""
    program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        pytest.fail("mosquitto is not installed: python -m lab tools")
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(
        [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: answers("127.0.0.1", port), seconds=5, what="mosquitto")
        yield Mqtt("127.0.0.1", port)
    finally:
        process.terminate()
        process.wait(5)


@pytest.fixture
def embedded() -> Iterator[Mqtt]:
    """Our own broker, with a password."""
    port = free_port()
    broker = EmbeddedBroker("127.0.0.1", port, Shared("ann", "s3cret"))
    broker.start()
    yield Mqtt("127.0.0.1", port, "ann", "s3cret")
    broker.stop()
    assert not broker.alive
    assert not answers("127.0.0.1", port)


@pytest.fixture(params=["mosquitto", "embedded"])
def mqtt(request: pytest.FixtureRequest) -> Mqtt:
    return request.getfixturevalue(str(request.param))


class Agent:
    """An MQTT client that says what an agent says."""

    def __init__(self, mqtt: Mqtt, cluster: str, node: str) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self._prefix = f"otto/v1/{cluster}/{node}/"
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        if mqtt.username:
            self.client.username_pw_set(mqtt.username, mqtt.password)
        self.client.connect(mqtt.host, mqtt.port)
        self.client.loop_start()

    def say(self, kind: str, body: dict[str, Any] | bytes, retain: bool = False) -> None:
        payload = body if isinstance(body, bytes) else json.dumps({"v": 1, **body}).encode()
        self.client.publish(self._prefix + kind, payload, qos=1, retain=retain).wait_for_publish(5)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def agent(mqtt: Mqtt) -> Iterator[Callable[[str], Agent]]:
    made: list[Agent] = []

    def make(node: str) -> Agent:
        made.append(Agent(mqtt, "home", node))
        return made[-1]

    yield make
    for each in made:
        each.stop()


ONLINE = {"state": "online", "boot": "b1", "conn": 1, "agent": "0.1.0", "time": 5.0}
REPORT = {
    "boot": "b1",
    "seq": 1,
    "time": 5.0,
    "revision": "abc",
    "changed": False,
    "services": {"web": {"state": "running", "health": None, "error": None}},
    "errors": [],
}


@dataclass(frozen=True)
class Typed:
    """otto-run in a folder, with a state of its own and no terminal."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "OTTO_STATE": str(self.state), "COLUMNS": "200"}

    def __call__(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [OTTO_RUN, *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@pytest.fixture
def typed(tmp_path: Path) -> Typed:
    return Typed(tmp_path)


def now() -> float:
    return time.time()
