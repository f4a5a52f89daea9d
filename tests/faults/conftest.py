# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab host with a real unit of the agent and two containers, and what may be asked of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import ROOT, LabHost, wait_for
from tests.e2e.conftest import Folder

NAME = "rpi-01"
SLEEPER: dict[str, Any] = {"image": "busybox:latest", "command": ["sleep", "1000000"]}
SLEEPER |= {"stop_grace_period": "1s", "network_mode": "none"}
SERVICES = {"web": SLEEPER, "other": SLEEPER}


class Node(LabHost):
    """The host, also where its network is gone: commands go in through the lab's engine then."""

    @property
    def machine(self) -> str:
        """Its name in the lab: with OTTO_LAB_OFFSET it is not the one in otto.yaml."""
        return "rpi-{:02d}".format(int(self.address.rsplit(".", 1)[1]) - 10)

    def inside(self, command: str, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "exec", self.machine, "sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check and done.returncode:
            raise AssertionError(f"{self.machine}: {command}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def lab(self, verb: str) -> None:
        """`python3 -m lab partition|heal|power-cut|power-on`"""
        subprocess.run(
            [sys.executable, "-m", "lab", verb, self.machine],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )

    def containers(self) -> dict[str, tuple[str, str]]:
        """name -> (id, start time) of those that run."""
        text = self.inside(
            "docker ps -q --no-trunc | xargs -r docker inspect"
            " --format '{{.Name}} {{.Id}} {{.State.StartedAt}}'"
        )
        rows = [line.split() for line in text.splitlines()]
        return {name.lstrip("/"): (identity, started) for name, identity, started in rows}

    def agent(self, field: str = "MainPID") -> str:
        return self.inside(f"systemctl show otto-agent -p {field} --value")

    def well(self) -> bool:
        return self.inside("systemctl is-active otto-agent", check=False) == "active"

    def journal(self, since: float) -> str:
        return self.inside(f"journalctl -u otto-agent --since @{since:.0f} --no-pager -o cat")

    def aim(self, service: str, **changes: Any) -> None:
        """Another target, as an apply writes it that is cut off right after that."""
        script = (
            "import json,sys,dataclasses;"
            "from ansible_collections.otto.cluster.plugins.module_utils.state import TargetStore;"
            "s=TargetStore('/var/lib/otto');t=s.read();"
            "n=sys.argv[1];spec={**t.services[n],**json.loads(sys.argv[2])};"
            "t=dataclasses.replace(t,services={**t.services,n:spec})\n"
            "with s.lock(60,'test'): s.write(t)"
        )
        command = ["docker", "exec", "-e", "PYTHONPATH=/opt/otto/current", self.machine]
        command += ["python3", "-c", script, service, json.dumps(changes)]
        subprocess.run(command, check=True, capture_output=True, timeout=90)

    def target(self) -> dict[str, Any]:
        document = json.loads(self.inside("cat /var/lib/otto/target.json"))
        found: dict[str, Any] = document["target"]
        return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """otto.yaml for the one host."""
    made = Folder(tmp_path_factory.mktemp("faults"), "faults")
    made.document["nodes"] = [n for n in made.document["nodes"] if n["id"] == NAME]
    made.document["services"] = {name: {**spec, "node": NAME} for name, spec in SERVICES.items()}
    made.write()
    yield made
    made.run("otto-run", "down", "--yes", "--volumes")


@pytest.fixture(scope="module")
def applied(lab_hosts: dict[str, LabHost], folder: Folder) -> Node:
    """The host after its first apply."""
    del lab_hosts  # only that there is a lab
    folder.ok("otto-run", "apply", "--yes", timeout=400)
    return Node(NAME)


@pytest.fixture
def node(applied: Node, folder: Folder) -> Iterator[Node]:
    """The host as an apply leaves it: before each test, and brought back to it after each one."""
    yield applied
    folder.ok("otto-run", "apply", "--yes", timeout=400)


@pytest.fixture
def untouched(node: Node) -> Iterator[None]:
    """The test's fault concerns no container: all of them keep ids and start times."""
    before = node.containers()
    assert set(before) == set(SERVICES)
    yield
    assert node.containers() == before


@pytest.fixture
def recovered(record_property: Callable[[str, object], None]) -> Callable[..., float]:
    """Wait until all is well again, and note the seconds since `begun` for the table."""

    def wait(begun: float, condition: Callable[[], object], seconds: float, what: str) -> float:
        wait_for(condition, seconds=seconds, what=what, every=0.3)
        took = time.monotonic() - begun
        record_property("seconds", took)
        return took

    return wait
