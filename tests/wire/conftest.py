# SPDX-License-Identifier: GPL-3.0-or-later
"""Real agents, brokers of each kind, listeners; and an ear that checks every payload."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import jsonschema
import paho.mqtt.client as paho
import pytest
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.state import TargetStore
from ansible_collections.otto.cluster.plugins.plugin_utils.access import Access

from otto_agent import messages
from otto_agent.ring import Ring
from otto_run.listener import Listener
from otto_run.store import Store
from tests.brokers import PASSWORD, Agent, Embedded, Mosquitto, Nats
from tests.conftest import ROOT

KINDS = ("status", "report", "metrics", "event", "ack", "cmd")
NODE = "n1"


def schema(kind: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (ROOT / "docs" / "schemas" / f"{kind}.schema.json").read_text()
    )
    return document


VALIDATORS = {kind: jsonschema.Draft202012Validator(schema(kind)) for kind in KINDS}


class Ear:
    """Hears all of a cluster as the control plane may, and checks each payload against its schema.

    checked: (kind, kind of event or "") -> how many. faults: what did not fit.
    """

    def __init__(self, place: Place) -> None:
        self.checked: collections.Counter[tuple[str, str]] = collections.Counter()
        self.faults: list[str] = []
        self.samples: collections.Counter[tuple[str, int]] = collections.Counter()
        self._subscribed = threading.Event()
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=f"otto-run-{place.cluster}-ear"
        )
        self.client.username_pw_set(place.access.username, place.access.password)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe(
            f"otto/v1/{place.cluster}/#", 1
        )
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", place.access.port)
        self.client.loop_start()
        assert self._subscribed.wait(10)

    def _take(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        kind = message.topic.rsplit("/", 1)[-1]
        try:
            payload = json.loads(message.payload)
            error = jsonschema.exceptions.best_match(VALIDATORS[kind].iter_errors(payload))
            if error is not None:
                self.faults.append(f"{message.topic}: {error.message}: {message.payload!r}")
            self.checked[kind, payload.get("kind", "")] += 1
            if "seq" in payload:
                self.samples[payload["boot"], payload["seq"]] += 1
        except Exception as error:
            self.faults.append(f"{message.topic}: {error!r}")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


_LISTENER = """
import signal, sys, time
from pathlib import Path
from ansible_collections.otto.cluster.plugins.plugin_utils.access import Access
from otto_run.listener import Listener
cluster, port, username, password, store, *nodes = sys.argv[1:]
Listener(Access("127.0.0.1", int(port), username, password), cluster, nodes, Path(store)).start()
print("listening", flush=True)
signal.pause()
"""


@dataclass
class Place:
    """One cluster at one broker."""

    broker: Mosquitto
    cluster: str
    directory: Path
    ends: list[Callable[[], None]] = field(default_factory=list)

    @property
    def access(self) -> Access:
        """As the control plane has it."""
        return Access("127.0.0.1", self.broker.port, f"{self.cluster}/otto-run", PASSWORD)

    @property
    def store(self) -> Path:
        return self.directory / "store.db"

    def agent(self, node: str = NODE, **more: object) -> Agent:
        directory = self.directory / node
        directory.mkdir(exist_ok=True)
        made = Agent(
            directory,
            {
                "cluster": self.cluster,
                "node": node,
                "docker_url": "unix:///var/run/docker.sock",
                "state_dir": str(directory / "state"),
                "metrics_interval": 1,
                "mqtt": {
                    "host": "127.0.0.1",
                    "port": self.broker.port,
                    "username": f"{self.cluster}/{node}",
                    "password": PASSWORD,
                    "keepalive": 5,
                },
                **more,
            },
        )
        self.ends.append(made.end)
        return made

    def listener(self, nodes: tuple[str, ...] = (NODE,), told: Any = lambda _: None) -> Listener:
        made = Listener(self.access, self.cluster, nodes, self.store, told)
        made.start()
        self.ends.append(made.stop)
        return made

    def listener_process(self, nodes: tuple[str, ...] = (NODE,)) -> subprocess.Popen[bytes]:
        access = self.access
        arguments = [self.cluster, str(access.port), access.username, access.password]
        process = subprocess.Popen(
            [sys.executable, "-c", _LISTENER, *arguments, str(self.store), *nodes],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"

        def end() -> None:
            if process.poll() is None:
                process.kill()
            process.wait()

        self.ends.append(end)
        return process

    def ear(self) -> Ear:
        made = Ear(self)
        self.ends.append(made.close)
        return made

    def rows(self) -> list[tuple[str, int]]:
        """(boot, seq) of every stored sample, also of those that are stored twice."""
        with Store(self.store) as store:
            return store._db.execute(
                "SELECT boot, seq FROM metrics UNION ALL"
                " SELECT boot, seq FROM events WHERE seq IS NOT NULL"
            ).fetchall()


@pytest.fixture(params=[Mosquitto, Embedded, Nats])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from at_broker(request.param, tmp_path)


@pytest.fixture
def at_mosquitto(tmp_path: Path) -> Iterator[Place]:
    yield from at_broker(Mosquitto, tmp_path)


def at_broker(kind: type[Mosquitto], directory: Path) -> Iterator[Place]:
    cluster = "wire-" + uuid.uuid4().hex[:8]
    if kind is Embedded:
        broker: Mosquitto = Embedded(directory, cluster, [NODE, "n2"])
    else:
        broker = kind(directory)
    broker.start()
    made = Place(broker, cluster, directory)
    try:
        yield made
    finally:
        for end in reversed(made.ends):
            end()
        broker.stop()


SLEEPER = {
    "image": "busybox:latest",
    "command": ["sleep", "100000"],
    "stop_signal": "SIGKILL",
    "network_mode": "none",
}


def leave_behind(place: Place, count: int, node: str = NODE, **bounds: int) -> None:
    """Samples of an earlier life that nobody has stored."""
    ring = Ring(place.directory / node / "state" / "ring.db", **bounds)
    for seq in range(1, count + 1):
        sample = messages.metrics({"load_1m": 0.5}, {}, "earlier", seq, time.time(), 1.0)
        ring.put("earlier", seq, messages.METRICS, messages.encode(sample))
    ring.close()


def stored(place: Place, boot: str = "earlier") -> int:
    return sum(1 for found, _ in place.rows() if found == boot)


def backlog_gone(place: Place) -> bool:
    """Whether the agent knows that all is stored, as its last metrics say."""
    with Store(place.store) as store:
        record = store.nodes().get(NODE)
    return record is not None and record.metrics is not None and not record.metrics["backlog"]


def state(place: Place) -> str:
    with Store(place.store) as store:
        return store.nodes()[NODE].state


@pytest.fixture
def web(place: Place) -> Iterator[str]:
    """The target of the node: one container. Its name."""
    name = f"{place.cluster}-web"
    target = Target(place.cluster, NODE, {"web": {**SLEEPER, "container_name": name}})
    target_store = TargetStore(place.directory / NODE / "state")
    with target_store.lock(5, "test"):
        target_store.write(target)
    yield name
    engine = docker.from_env()
    for container in engine.containers.list(
        all=True, filters={"label": f"io.otto.cluster={place.cluster}"}
    ):
        container.remove(force=True)
    engine.close()
