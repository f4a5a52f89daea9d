# SPDX-License-Identifier: GPL-3.0-or-later
"""Real brokers as processes of their own, on a free port of loopback, to be killed and stopped."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, wait_for

PASSWORD = "word"  # for the embedded broker, which asks for one


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """The path of a Debian program; a missing one is an error with the command to type."""
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    assert found is not None, f"{name} is not installed: python -m lab tools"
    return found


class Mosquitto:
    """`start` and `stop` keep the port. It retains in memory only."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.directory = directory / f"broker-{self.port}"
        self.directory.mkdir()
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        file = self.directory / "mosquitto.conf"
        file.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        return [program("mosquitto"), "-c", str(file)]

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self._answers, seconds=15, what="the broker to listen")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Amqtt(Mosquitto):
    """amqtt as it comes: what it does wrong is of concern to agents of others' brokers."""

    def command(self) -> list[str]:
        file = self.directory / "amqtt.json"
        anonymous = "amqtt.plugins.authentication.AnonymousAuthPlugin"
        document = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
            "plugins": {anonymous: {"allow_anonymous": True}},
        }
        file.write_text(json.dumps(document))
        return [str(Path(sys.executable).with_name("amqtt")), "-c", str(file)]


_EMBEDDED = """
import signal, sys
from otto_run.broker import EmbeddedBroker
from otto_run.broker_doors import Members
cluster, password, port, *nodes = sys.argv[1:]
broker = EmbeddedBroker(
    "127.0.0.1", int(port), Members(cluster, nodes, lambda member: [password])
)
broker.start()
signal.pause()
"""


class Embedded(Mosquitto):
    """The control plane's own, with a rule for every node, as `otto-run up` runs it."""

    def __init__(self, directory: Path, cluster: str, nodes: list[str]) -> None:
        super().__init__(directory)
        self._members = [cluster, PASSWORD, str(self.port), *nodes]

    def command(self) -> list[str]:
        return [sys.executable, "-c", _EMBEDDED, *self._members]


class Nats(Mosquitto):
    """nats-server, which can be a cluster; its MQTT is 3.1.1 and keeps sessions in JetStream."""

    def command(self) -> list[str]:
        file = self.directory / "nats.conf"
        file.write_text(
            f"server_name: lab\nlisten: 127.0.0.1:{free_port()}\n"
            f"jetstream {{ store_dir: {self.directory / 'data'} }}\n"
            f"mqtt {{ listen: 127.0.0.1:{self.port} }}\n"
        )
        return [program("nats-server"), "-c", str(file)]


class Agent:
    """An agent as systemd starts it."""

    def __init__(self, directory: Path, document: dict[str, object]) -> None:
        self.file = directory / "agent.json"
        self.file.write_text(json.dumps(document))
        self.log = directory / "agent.log"
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "otto_agent", "--config", str(self.file)],
                cwd=ROOT,
                env={
                    "PATH": "/usr/bin:/bin",
                    "PYTHONPATH": f"{ROOT}:{ROOT / '.links'}",
                    **environment,
                },
                stderr=log,
            )
        return self.popen

    def end(self) -> None:
        """SIGKILL."""
        if self.popen is not None and self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
