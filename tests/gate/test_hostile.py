# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that lies, at every door of the control machine. The other node of the cluster is honest.

Looked at from outside: whether a command of the node's ran here, which files changed here and on
the other node, and whether the other node's result was told.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import LAB_HOSTS, LAB_STATE, ROOT, LabHost
from tests.gate.hostile import answer, files, honest, hostile, kinds

pytestmark = pytest.mark.lab
NODES = ("rpi-01", "rpi-02")
ESCAPE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
PROBE: dict[str, Any] = {
    "python": [3, 13, 5],
    "sudo": {"ok": True},
    "docker": {"ok": True, "text": "26"},
    "disk": {"free": 1 << 40, "path": "/"},
    "broker": {"ok": True},
    "clock": 0.0,
}


class Doors:
    """A cluster of an honest node and one that lies, with a home and a state of its own."""

    def __init__(self, folder: Path, hosts: dict[str, LabHost], tree: Path = ROOT) -> None:
        self.folder = folder
        self.honest, self.liar = hosts["rpi-01"], hosts["rpi-02"]
        self.marker = folder / "ran-here"
        self.home, self.state = folder / "home", folder / "state"
        self.tree = tree
        for path in (self.home, self.state, folder / "work"):
            path.mkdir(exist_ok=True)
        document = {
            "plugin": "otto.cluster.otto",
            "cluster": {"name": "doors", "known_hosts": str(LAB_STATE / "known_hosts")},
            "nodes": [
                {
                    "id": name,
                    "host": LAB_HOSTS[name],
                    "user": "pi",
                    "identity_file": str(LAB_STATE / "id_ed25519"),
                }
                for name in NODES
            ],
            "services": {
                "doors-web": {
                    "image": "busybox:latest",
                    "node": "all",
                    "command": ["sh", "-c", "trap exit TERM; while :; do sleep 0.2; done"],
                }
            },
        }
        (folder / "work/otto.yaml").write_text(yaml.safe_dump(document))

    def typed(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command as a person types it; nothing of this checkout's settings counts."""
        beside = Path(sys.executable).parent
        program = [str(beside / command[0]), *command[1:]]
        if command[0] == "otto-run":
            program = [sys.executable, "-m", "otto_run.cli", *command[1:]]
        kept = ("PATH", "LANG", "SSH_AUTH_SOCK", "DOCKER_HOST", "TERM")
        return subprocess.run(
            program,
            cwd=self.folder / "work",
            env={
                **{name: os.environ[name] for name in kept if name in os.environ},
                "HOME": str(self.home),
                "OTTO_STATE": str(self.state),
                "PYTHONPATH": f"{self.tree}:{self.tree / '.links'}",
                "ANSIBLE_COLLECTIONS_PATH": str(self.tree / ".links"),
                "NO_COLOR": "1",
                "ANSIBLE_NOCOLOR": "1",
                **more,
            },
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=180,
            check=False,
        )

    def outside(self) -> dict[str, str]:
        """What nobody but its owner may change: files here, and what the other node has."""
        here = files(self.folder / "work", self.home / ".ssh", self.state / "doors/pki")
        known = self.state / "doors/credentials.json"
        if known.exists():
            here |= {"credentials": known.read_text()}
        theirs = self.honest.run(
            "sha256sum /etc/otto/agent.json /var/lib/otto/target.json; readlink /opt/otto/current"
        )
        return {**here, "the other node": theirs}


@pytest.fixture(scope="module")
def doors(
    tmp_path_factory: pytest.TempPathFactory, lab_hosts: dict[str, LabHost]
) -> Iterator[Doors]:
    """Both nodes deployed while they are honest, and then one turns."""
    found = Doors(tmp_path_factory.mktemp("doors"), lab_hosts)
    done = found.typed("otto-run", "apply", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    done = found.typed("otto-run", "plan", "--out", "plan.json")
    assert done.returncode == 0, done.stdout + done.stderr
    with hostile(found.liar):
        yield found
        honest(found.liar)
    done = found.typed("otto-run", "down", "--yes", "--volumes")
    assert done.returncode == 0, done.stdout + done.stderr


ANSIBLE = ("plan", "apply", "saved", "rollback", "adopt", "prune", "playbook", "adhoc")
COMMANDS = {
    "plan": ("otto-run", "plan"),
    "apply": ("otto-run", "apply", "--yes", "-v"),
    "saved": ("otto-run", "apply", "plan.json"),
    "rollback": ("otto-run", "rollback", "1", "--yes"),
    "adopt": ("otto-run", "adopt", "rpi-02", "some-container", "--as", "new"),
    "prune": ("otto-run", "prune"),
    "playbook": ("ansible-playbook", "-i", "otto.yaml", "otto.cluster.site", "-v"),
    "adhoc": (
        *("ansible", "-i", "otto.yaml", "otto", "-m", "otto.cluster.container"),
        *("-a", "name=doors-hand image=busybox:latest state=absent"),
    ),
}
KINDS = tuple(kinds(Path("/x")))
FEW = {
    "plan": "stats",
    "apply": "obeyed",
    "saved": "digest",
    "rollback": "types",
    "adopt": "words",
    "prune": "facts",
    "playbook": "obeyed",
    "adhoc": "stats",
}
PAIRS = [
    pytest.param(door, kind, marks=() if FEW[door] == kind else pytest.mark.hostile)
    for door in ANSIBLE
    for kind in KINDS
]


def knock(doors: Doors, door: str, kind: str) -> subprocess.CompletedProcess[str]:
    result = kinds(doors.marker)[kind]
    answer(doors.liar, f"otto-result:{json.dumps(result)}", result, words="\x1b[2Jwords\n")
    return doors.typed(*COMMANDS[door])


@pytest.mark.parametrize(("door", "kind"), PAIRS)
def test_a_liar_changes_nothing_but_its_own_row(doors: Doors, door: str, kind: str) -> None:
    """Fault 37: no command runs here, no file changes, and the other node is told."""
    before = doors.outside()
    done = knock(doors, door, kind)
    told = done.stdout + done.stderr
    assert not doors.marker.exists(), told
    assert doors.outside() == before
    assert not ESCAPE.search(told), told
    assert "Traceback" not in told and "Otto itself failed" not in told, told
    assert "evil" not in told and "10.77.0.66" not in told, told
    if door != "adopt":
        assert other_was_told(door, done), told


def other_was_told(door: str, done: subprocess.CompletedProcess[str]) -> bool:
    if door == "playbook":
        return bool(re.search(r"rpi-01 +: ok=[1-9].*failed=0", done.stdout))
    if door == "adhoc":
        return "rpi-01 | SUCCESS" in done.stdout
    failed = re.findall(r"^(?:\[[^]]*\] )?(rpi-\d+): failed", done.stderr, re.MULTILINE)
    return "rpi-01" not in failed and "before it reached a node" not in done.stderr


def test_an_endless_answer_fails_its_own_task(doors: Doors) -> None:
    """A hundred megabytes from one node: one failed row."""
    answer(doors.liar, "otto-result:", large=True)
    done = doors.typed("otto-run", "plan", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert [failure["node"] for failure in document["failures"]] == ["rpi-02"]
    assert document["nodes"]["rpi-01"]["changed"] is False


@pytest.mark.parametrize(
    "probe",
    [
        {**PROBE, "clock": "now"},
        {**PROBE, "python": "3"},
        {**PROBE, "docker": ["x"]},
        {**PROBE, "disk": {"free": "much"}},
        {**PROBE, "sudo": {"ok": True, "text": "\x1b[2J"}},
        ["x"],
        {},
    ],
    ids=["clock", "python", "docker", "disk", "escape", "list", "empty"],
)
def test_doctor_tells_the_other_node(doors: Doors, probe: Any) -> None:
    """What a liar tells doctor is one failed row, or clean."""
    answer(doors.liar, probe)
    done = doors.typed("otto-run", "doctor", "--json")
    told = done.stdout + done.stderr
    assert "Otto itself failed" not in told, told
    nodes = {node["node"]: node for node in json.loads(done.stdout)["nodes"]}
    assert nodes["rpi-01"]["ok"], told
    assert not ESCAPE.search(told.replace("\n", "")), told


@pytest.mark.parametrize(
    "said",
    [
        {"named": [], "layers": "x", "containerd": False},
        {"ids": [], "named": "", "layers": [], "containerd": "no"},
        {"error": {"a": "\x1b[2J"}},
        {"error": "\x1b[2Jno"},
        "no json",
    ],
    ids=["types", "flag", "object", "escape", "words"],
)
def test_push_tells_the_other_node(doors: Doors, said: Any) -> None:
    """An image goes to the honest node, whatever the other one says."""
    answer(doors.liar, said)
    done = doors.typed("otto-run", "push", "busybox:latest", "--json")
    told = done.stdout + done.stderr
    assert "Otto itself failed" not in told, told
    found = {one["node"]: one for one in json.loads(done.stdout)["nodes"]}
    assert found["rpi-02"]["error"] and not found["rpi-01"]["error"], told
    assert not ESCAPE.search(told.replace("\n", "")), told
