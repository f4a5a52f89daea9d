# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of lab hosts for what is measured over time: deployed, watched, taken down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.hosts import BenchError, Shell, on_all
from bench.run import Command, run
from bench.workload import Node
from lab.plan import GATEWAY, KEY, KNOWN_HOSTS, USER, host_named

CLUSTER = "fleet"
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Fleet:
    """folder: for otto.yaml, the state and logs. port: of the broker. tls: as in otto.yaml."""

    nodes: tuple[Node, ...]
    folder: Path
    shell: Shell
    port: int
    containers: int
    tls: bool = True

    @classmethod
    def of(cls, names: list[str], folder: Path, short: Path, **more: Any) -> Fleet:
        """folder: made empty. short: one with a short path, for SSH's control sockets."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        hosts = [host_named(name) for name in names]
        nodes = tuple(Node(host.name, host.address, USER) for host in hosts)
        return cls(nodes, folder, Shell(KEY, KNOWN_HOSTS, short), **more)

    @property
    def file(self) -> Path:
        return self.folder / "otto.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "state" / CLUSTER / "store.db"

    @property
    def environment(self) -> Mapping[str, str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("ANSIBLE_", "OTTO_", "PYTHON"))
        }
        path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "OTTO_STATE": str(self.folder / "state"), "PATH": path}

    def write(self) -> None:
        document = {
            "plugin": "otto.cluster.otto",
            "cluster": {"name": CLUSTER, "known_hosts": str(KNOWN_HOSTS)},
            "mqtt": {"host": GATEWAY, "port": self.port, **({} if self.tls else {"tls": "off"})},
            "nodes": [
                {"id": node.id, "host": node.address, "user": node.user, "identity_file": str(KEY)}
                for node in self.nodes
            ],
            "services": {
                f"wait-{number:02d}": {
                    "image": "busybox:latest",
                    "command": ["tail", "-f", "/dev/null"],
                    "node": "all",
                    "network_mode": "bridge",
                }
                for number in range(self.containers)
            },
        }
        # JSON is YAML.
        self.file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def otto_run(self, *words: str) -> None:
        """Raises BenchError with the end of its output."""
        command = Command((str(PROGRAMS / "otto-run"), *words), self.environment, self.folder)
        run(command, self.folder / f"{words[0]}.log")

    def start(self, *words: str, log: str) -> subprocess.Popen[bytes]:
        """A command that goes on, in a process group of its own."""
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                words,
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def on_all(self, script: str) -> dict[str, str]:
        """Node id -> what a shell script, run as root, wrote there."""
        return on_all(self.nodes, lambda node: self.shell.run(node, script))

    def set_interval(self, seconds: float) -> None:
        """Of the metrics, until the next apply: otto.yaml has no key for it."""
        self.on_all(
            f"""sed -i 's/"metrics_interval": *[0-9.]*/"metrics_interval": {seconds:g}/' """
            f"/etc/otto/agent.json; grep -q '\"metrics_interval\": {seconds:g}' "
            "/etc/otto/agent.json; systemctl restart otto-agent"
        )

    @contextmanager
    def deployed(self) -> Iterator[None]:
        self.write()
        try:
            yield
        finally:
            self.otto_run("down", "--yes", "--volumes")


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Raises BenchError when it does not come to be in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {seconds:g} s for {what}")
        time.sleep(0.5)


def end(process: subprocess.Popen[bytes], seconds: float = 20.0) -> None:
    """Asked first, then made to."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
