# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder with an otto.yaml for the lab's three hosts, and the commands typed in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import LAB_HOSTS, LAB_STATE, wait_for

BIN = Path(sys.executable).parent


class Folder:
    """A person's folder: otto.yaml in it, a state directory of its own, no colours."""

    def __init__(self, path: Path, cluster: str) -> None:
        self.path = path
        self.cluster = cluster
        self.file = path / "otto.yaml"
        self.env = {
            **os.environ,
            "OTTO_STATE": str(path / "state"),
            "NO_COLOR": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        self.document: dict[str, Any] = {
            "plugin": "otto.cluster.otto",
            "cluster": {"name": cluster, "known_hosts": str(LAB_STATE / "known_hosts")},
            "mqtt": {"host": "10.77.0.1", "port": 18830},
            "nodes": [
                {
                    "id": name,
                    "host": address,
                    "user": "pi",
                    "identity_file": str(LAB_STATE / "id_ed25519"),
                }
                for name, address in LAB_HOSTS.items()
            ],
            "services": {},
        }

    def write(self) -> None:
        """otto.yaml from `document`, so that a test changes one key and nothing else."""
        self.file.write_text(yaml.safe_dump(self.document, sort_keys=False))

    def run(self, *command: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """One command as typed in the folder, without a terminal."""
        return subprocess.run(
            command,
            cwd=self.path,
            env=self.env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )

    def ok(self, *command: str, timeout: float = 240) -> str:
        """Standard output of a command that has to end with 0."""
        done = self.run(*command, timeout=timeout)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def status(self) -> dict[str, Any]:
        """`otto-run status --json`, nodes by id."""
        document = json.loads(self.ok("otto-run", "status", "--json"))
        return {node["node"]: node for node in document["nodes"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """The folder of one story; what it deployed is taken down at the end."""
    made = Folder(tmp_path_factory.mktemp("cluster"), "e2e")
    yield made
    made.run("otto-run", "down", "--yes", "--volumes")


@pytest.fixture
def control_plane(folder: Folder) -> Iterator[subprocess.Popen[bytes]]:
    """`otto-run up` in the background, ended with Ctrl-C as a person would."""
    log = (folder.path / "up.log").open("wb")
    process = subprocess.Popen(
        ["otto-run", "up", "--yes"],
        cwd=folder.path,
        env=folder.env,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )

    def all_online() -> bool:
        assert process.poll() is None, (folder.path / "up.log").read_text()
        nodes = folder.status()
        return len(nodes) == 3 and all(node["state"] == "online" for node in nodes.values())

    wait_for(all_online, seconds=90, what="three agents online", every=0.5)
    yield process
    process.send_signal(signal.SIGINT)
    process.wait(20)
