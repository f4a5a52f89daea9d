# SPDX-License-Identifier: GPL-3.0-or-later
"""A broker of one's own, a listener on it, a node on the machine's Docker, and an agent on both."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import paho.mqtt.client as paho
import pytest
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.state import TargetStore

from otto_agent.config import Broker, Config
from tests.brokers import Agent, Mosquitto

ROOT = Path(__file__).parents[2]
SOCKET = "unix:///var/run/docker.sock"


def eventually(condition: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """The first true value of `condition`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, what or "it did not come to be in time"
        time.sleep(0.05)


class Ear:
    """Hears everything that is published on a broker, in order."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, dict[str, Any], paho.MQTTMessage]] = []
        self._subscribed = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("otto/#", 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def _take(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        kind = message.topic.rsplit("/", 1)[-1]
        self.heard.append((kind, json.loads(message.payload), message))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [payload for heard, payload, _ in list(self.heard) if heard == kind]

    def wait(
        self,
        kind: str,
        test: Callable[[dict[str, Any]], Any] = lambda _: True,
        seconds: float = 20.0,
    ) -> dict[str, Any]:
        """The first payload of this kind that passes."""
        found: dict[str, Any] = eventually(
            lambda: next((p for p in self.of(kind) if test(p)), None),
            seconds,
            f"no such {kind} was heard",
        )
        return found

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def ear(mosquitto: Mosquitto) -> Iterator[Ear]:
    listener = Ear(mosquitto.port)
    yield listener
    listener.close()


@pytest.fixture
def config(mosquitto: Mosquitto, tmp_path: Path) -> Config:
    return Config(
        cluster="agent-" + uuid.uuid4().hex[:8],
        node="n1",
        mqtt=Broker("127.0.0.1", mosquitto.port, keepalive=5),
        docker_url=SOCKET,
        state_dir=tmp_path / "state",
        metrics_interval=1.0,
        sweep_interval=60.0,
    )


class Node:
    """The containers of one cluster on this machine's Docker."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.docker = docker.DockerClient(base_url=config.docker_url)
        self.store = TargetStore(config.state_dir)

    def name(self, service: str) -> str:
        return f"{self.config.cluster}-{service}"

    def aim(self, services: dict[str, dict[str, Any]]) -> Target:
        """Write a target as an apply does. Containers get names that clash with no other test's."""
        target = Target(
            cluster=self.config.cluster,
            node=self.config.node,
            services={
                service: {"container_name": self.name(service), "network_mode": "none", **spec}
                for service, spec in services.items()
            },
        )
        with self.store.lock(30, "test"):
            self.store.write(target)
        return target

    def get(self, service: str) -> Any:
        """The container of a service; None where there is none."""
        try:
            return self.docker.containers.get(self.name(service))
        except docker.errors.NotFound:
            return None

    def runs(self, service: str, other_than: str = "") -> Any:
        container = self.get(service)
        running = container is not None and container.status == "running"
        return container if running and container.id != other_than else None

    def clear(self) -> None:
        flt = {"label": f"io.otto.cluster={self.config.cluster}"}
        for container in self.docker.containers.list(all=True, filters=flt):
            try:
                container.remove(force=True, v=True)
            except docker.errors.APIError as error:
                if error.status_code not in (404, 409):
                    raise
        for network in self.docker.networks.list(filters=flt):
            network.remove()
        self.docker.close()


@pytest.fixture
def node(config: Config) -> Iterator[Node]:
    one = Node(config)
    yield one
    one.clear()


class Process(Agent):
    def __init__(self, config: Config, directory: Path) -> None:
        assert config.mqtt is not None
        mqtt = dataclasses.asdict(config.mqtt)
        document = {**dataclasses.asdict(config), "mqtt": {k: v for k, v in mqtt.items() if v}}
        super().__init__(directory, {**document, "state_dir": str(config.state_dir)})


@pytest.fixture
def process(config: Config, tmp_path: Path) -> Iterator[Process]:
    one = Process(config, tmp_path)
    yield one
    one.end()
    print(one.log.read_text() if one.log.exists() else "")
