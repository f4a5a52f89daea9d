# SPDX-License-Identifier: GPL-3.0-or-later
"""The power and the network of a host go at any moment of an apply; the control plane is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import wait_for
from tests.e2e.conftest import Folder

from .conftest import NAME, SERVICES, Node

pytestmark = [pytest.mark.fault, pytest.mark.lab]
Recovered = Callable[..., float]


def start(folder: Folder, version: str) -> subprocess.Popen[str]:
    """An apply that replaces `web` and leaves `other` alone."""
    web = {**SERVICES["web"], "environment": {"VERSION": version}, "node": NAME}
    folder.document["services"]["web"] = web
    folder.write()
    return subprocess.Popen(
        ["otto-run", "apply", "--yes"],
        cwd=folder.path,
        env=folder.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(autouse=True)
def same_end(node: Node, folder: Folder) -> Iterator[None]:
    """Whatever happened: the next apply leads to the same end, and `other` was never touched."""
    before = node.containers()
    yield
    out = folder.ok("otto-run", "apply", "--yes", timeout=300)
    assert "nothing to do" in folder.ok("otto-run", "apply", "--yes").lower(), out
    after = node.containers()
    assert set(after) == set(SERVICES), "no duplicate, no orphan"
    assert after["other"][0] == before["other"][0]
    folder.document["services"]["web"] = {**SERVICES["web"], "node": NAME}
    folder.write()


def connecting(node: Node) -> bool:
    """The host sees the control machine."""
    return bool(node.inside("pgrep -f 'sshd: pi' || true"))


def working(node: Node) -> bool:
    """A run has begun and not ended."""
    last = node.inside("tail -n 1 /var/lib/otto/journal.jsonl 2>/dev/null; true")
    return bool(last) and json.loads(last)["event"] != "end"


PHASES = {"as it connects": connecting, "in the middle of the work": working}


@pytest.mark.parametrize("phase", ["before it begins", *PHASES])
def test_the_network_goes(node: Node, folder: Folder, recovered: Recovered, phase: str) -> None:
    """Fault 16: for twelve seconds. What the node has begun it finishes alone; the apply ends, and
    does not wait for ever."""
    if phase == "before it begins":
        node.lab("partition")
    running = start(folder, phase)
    if phase in PHASES:
        wait_for(lambda: PHASES[phase](node), seconds=60, what=phase, every=0.05)
        node.lab("partition")
    time.sleep(12)  # the fault's own length
    node.lab("heal")
    begun = time.monotonic()
    recovered(begun, lambda: running.poll() is not None, 120, "the end of the apply")
    said = running.communicate()[0]
    assert running.returncode in (0, 1), said
    assert "Traceback" not in said
    if phase == "in the middle of the work":
        wait_for(lambda: not working(node), seconds=60, what="the node to finish it")


def test_the_network_flaps(node: Node, folder: Folder, recovered: Recovered) -> None:
    """Fault 16: two seconds off, two seconds on, while an apply is at work."""
    running = start(folder, "flapping")
    for _ in range(5):
        node.lab("partition")
        time.sleep(2)
        node.lab("heal")
        time.sleep(2)
    begun = time.monotonic()
    recovered(begun, lambda: running.poll() is not None, 120, "the end of the apply")
    said = running.communicate()[0]
    assert running.returncode in (0, 1) and "Traceback" not in said, said


@pytest.mark.parametrize("phase", PHASES)
def test_the_power_goes(node: Node, folder: Folder, recovered: Recovered, phase: str) -> None:
    """Fault 13: every process of the host ends at once. After the start the target is the old or
    the new one, and the agent has made the node that. (The host's kernel lives on, so what was
    written and not synced is not lost here: tests/core/test_state.py has the model of that.)"""
    old = node.target()["services"]["web"].get("environment")
    running = start(folder, phase)
    wait_for(lambda: PHASES[phase](node), seconds=60, what=phase, every=0.05)
    node.lab("power-cut")
    running.wait(120)
    assert running.returncode == 1
    node.lab("power-on")
    begun = time.monotonic()
    recovered(
        begun,
        lambda: (
            node.inside("docker ps -q", check=False).count("\n") + 1 == len(SERVICES)
            and node.well()
        ),
        90,
        "both containers and the agent",
    )
    found = node.target()["services"]["web"].get("environment")
    assert found in (old, {"VERSION": phase})
    label = "docker inspect web --format '{{json .Config.Env}}'"
    wait_for(
        lambda: (
            ("VERSION=" + phase in node.inside(label, check=False)) == (found == {"VERSION": phase})
        ),
        seconds=60,
        what="the node at its target",
    )


def ours(folder: Path) -> list[int]:
    """Processes whose environment names the folder of this test."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(folder).encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_the_control_plane_is_killed(node: Node, folder: Folder, recovered: Recovered) -> None:
    """Fault 24: kill -9 in the middle of an apply. No ansible-playbook is left, the lock is free:
    the next apply begins at once."""
    running = start(folder, "killed")
    wait_for(lambda: working(node), seconds=60, what="work on the node", every=0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    begun = time.monotonic()
    # SSH's own masters stay for a minute, as they do after every run.
    recovered(
        begun,
        lambda: not [pid for pid in ours(folder.path) if b"ansible-playbook" in command(pid)],
        20,
        "the end of ansible-playbook",
    )
    done = folder.run("otto-run", "apply", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
