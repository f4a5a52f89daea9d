# SPDX-License-Identifier: GPL-3.0-or-later
"""The two brokers that Otto runs, as it configures them: accounts for two nodes, rules, TLS."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import yaml
from ansible_collections.otto.cluster.plugins.module_utils import tls
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Cluster, Mqtt, Node
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import CONTROL
from ansible_collections.otto.cluster.plugins.plugin_utils import mosquitto
from ansible_collections.otto.cluster.plugins.plugin_utils.access import access
from ansible_collections.otto.cluster.plugins.plugin_utils.credentials import Credentials
from ansible_collections.otto.cluster.plugins.plugin_utils.pki import Pair, Pki
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from otto_run import broker
from tests.conftest import ROOT, wait_for
from tests.run.conftest import free_port

CLUSTER = "home"
NODES = ("rpi-01", "rpi-02")
ROLE = ROOT / "otto_collection/roles/broker"


class Client:
    """One client. heard: (topic, payload). code: what the broker said to CONNECT, "" for yes."""

    def __init__(
        self,
        site: Site,
        name: str,
        *,
        password: str | None = None,
        client_id: str | None = None,
        will: str = "",
        username: str | None = None,
    ) -> None:
        mine = access(site.mqtt, site.state, CLUSTER, name)
        default = f"otto-run-{CLUSTER}-test" if name == CONTROL else f"otto-{CLUSTER}-{name}"
        self.heard: list[tuple[str, bytes]] = []
        self.code: str | None = None
        self.grants: list[bool] = []
        self.ended = threading.Event()
        self._answered = threading.Event()
        self._granted = threading.Event()
        self.paho = client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id or default, reconnect_on_failure=False
        )
        client.username_pw_set(username or mine.username, password or mine.password)
        client.tls_set_context(tls.context(mine.ca))
        if will:
            client.will_set(will, b"a lie", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = lambda *_: self.ended.set()
        client.on_subscribe = self._on_subscribe
        client.on_message = lambda _c, _d, m: self.heard.append((m.topic, bytes(m.payload)))
        client.connect(mine.host, mine.port)
        client.loop_start()
        assert self._answered.wait(10), "no CONNACK"

    def _on_connect(self, _c: Any, _d: Any, _f: Any, reason: Any, _p: Any) -> None:
        self.code = "" if not reason.is_failure else str(reason)
        self._answered.set()

    def _on_subscribe(self, _c: Any, _d: Any, _mid: int, reasons: Any, _p: Any) -> None:
        self.grants = [not reason.is_failure for reason in reasons]
        self._granted.set()

    def subscribe(self, *filters: str) -> list[bool]:
        self._granted.clear()
        self.paho.subscribe([(one, 1) for one in filters])
        assert self._granted.wait(5), "no SUBACK"
        return self.grants

    def say(self, topic: str, payload: bytes, retain: bool = False) -> None:
        info = self.paho.publish(topic, payload, qos=1, retain=retain)
        with contextlib.suppress(RuntimeError, ValueError):
            info.wait_for_publish(5)

    def vanish(self) -> None:
        """Gone without DISCONNECT: the broker sends the will."""
        self.paho.socket().shutdown(2)  # type: ignore[union-attr]
        self.ended.wait(5)

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


class Site:
    """A cluster's state and its broker. `kind`: embedded or mosquitto."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.kind = kind
        self.state = directory / "state"
        self.mqtt = Mqtt("127.0.0.1", free_port())
        self.directory = self.state / CLUSTER
        self.directory.mkdir(parents=True)
        self.credentials = Credentials(self.directory)
        self.credentials.accounts([CONTROL, *NODES])
        self.pki = Pki(self.directory)
        self.certificate = self.pki.broker(self.mqtt.host)
        self.clients: list[Client] = []
        self._etc = directory / "etc"
        self._process: subprocess.Popen[bytes] | None = None
        self._embedded: broker.EmbeddedBroker | None = None

    def client(self, name: str, **options: Any) -> Client:
        self.clients.append(Client(self, name, **options))
        return self.clients[-1]

    def start(self, certificate: Pair | None = None) -> None:
        if self.kind == "embedded":
            self._embedded = self._made(certificate)
            self._embedded.start()
        else:
            self.write(certificate)
            program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
            self._process = subprocess.Popen(
                [program, "-c", str(self._etc / "mosquitto.conf")],
                stdout=subprocess.DEVNULL,
                stderr=(self._etc / "log").open("ab"),
            )
        wait_for(self._listens, seconds=10, what=f"{self.kind} to listen")

    def _made(self, certificate: Pair | None) -> broker.EmbeddedBroker:
        nodes = tuple(Node(node, "192.0.2.1", "pi") for node in NODES)
        place = broker.Place(self.mqtt.host, self.mqtt.port, embedded=True, address="127.0.0.1")
        made = broker.own(Cluster(CLUSTER, nodes, mqtt=self.mqtt), self.directory, place)
        if certificate is not None:
            made = broker.EmbeddedBroker(place.address, place.port, made.door, certificate)
        return made

    def _listens(self) -> bool:
        if self._process is not None:
            assert self._process.poll() is None, (self._etc / "log").read_text()
        return broker.answers(self.mqtt.host, self.mqtt.port)

    def write(self, certificate: Pair | None = None) -> None:
        """The files of the role `broker`, from its own template and rooms."""
        data = self._etc / "data"
        data.mkdir(parents=True, exist_ok=True)
        accounts = self.credentials.read()
        shown = certificate or self.certificate
        files = {
            "passwords": mosquitto.password_file(
                CLUSTER, {name: account.password for name, account in accounts.items()}
            ),
            "acl": mosquitto.acl_file(CLUSTER, NODES),
            "broker.crt": shown.certificate.read_text(),
            "broker.key": shown.key.read_text(),
        }
        defaults = yaml.safe_load((ROLE / "vars/main.yml").read_text())
        template = Environment(
            loader=FileSystemLoader(ROLE / "templates"), undefined=StrictUndefined, trim_blocks=True
        ).get_template("mosquitto.conf.j2")
        files["mosquitto.conf"] = template.render(
            broker_port=self.mqtt.port,
            broker_bind="127.0.0.1",
            broker_tls=self.mqtt.tls,
            broker_etc=self._etc,
            broker_state=data,
            broker_user="root",
            broker_autosave_interval=1,
            broker_max_connections=defaults["broker_max_connections"],
        )
        for name, text in files.items():
            (self._etc / name).write_text(text)
            (self._etc / name).chmod(0o600)

    def reload(self) -> None:
        """What an apply does when accounts or certificates have changed."""
        if self._process is not None:
            self.write()
            self._process.send_signal(signal.SIGHUP)
        if self._embedded is not None:
            self._embedded.check()

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.clients.clear()
        if self._embedded is not None:
            self._embedded.stop()
            self._embedded = None
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


@pytest.fixture(params=["embedded", "mosquitto"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, str(request.param))
    made.start()
    yield made
    made.stop()
