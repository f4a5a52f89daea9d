# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C against real hosts: no child is left, the lock is free, the exit code is 130."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
from ansible_collections.otto.cluster.plugins.module_utils.target import targets

from otto_run import lock, saved
from otto_run.store import ApplyNode, Store
from tests.conftest import LAB_HOSTS, LAB_STATE, LabHost, wait_for
from tests.run.conftest import OTTO_RUN, Typed, free_port

pytestmark = pytest.mark.lab


def carriers(mark: Path) -> list[str]:
    """Command lines of all processes whose environment names the test's own folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(mark).encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def way_back(typed: Typed) -> list[str]:
    """A rollback to an apply that is known of."""
    (typed.state / "interrupted").mkdir(parents=True)
    with Store(typed.state / "interrupted" / "store.db") as store:
        number = store.begin_apply("apply", "otto.yaml", 1000.0)
        store.end_apply(number, "done", {"rpi-01": ApplyNode("0" * 16, "done")})
    return ["rollback", str(number), "--yes"]


def saved_plan(typed: Typed) -> list[str]:
    """A plan that still fits the file."""
    target = targets(load_file(str(typed.folder / "otto.yaml"), environ={}))["rpi-01"]
    plan: dict[str, list[str]] = {"before": [], "services": [], "after": []}
    node = saved.node_of(target, {"changed": True, "plan": plan, "plan_digest": "0" * 16}, ())
    path = typed.folder / "plan.json"
    saved.write(saved.SavedPlan(path, "interrupted", 1000.0, {"rpi-01": node}))
    return ["apply", str(path)]


COMMANDS: dict[str, Callable[[Typed], list[str]]] = {
    "apply": lambda _typed: ["apply", "--yes"],
    "rollback": way_back,
    "saved plan": saved_plan,
}


@pytest.fixture
def running(
    typed: Typed, lab_hosts: dict[str, LabHost], request: pytest.FixtureRequest
) -> Iterator[subprocess.Popen[str]]:
    """A run that is busy on a host: its Python there only sleeps, so the host stays as it is."""
    python = f"/usr/local/bin/otto-slow-{typed.folder.name}"
    script = f"printf '#!/bin/sh\\nsleep 30\\n' > {python} && chmod 755 {python}"
    lab_hosts["rpi-01"].run(script)
    document = {
        "cluster": {"name": "interrupted", "known_hosts": str(LAB_STATE / "known_hosts")},
        "mqtt": {"host": "10.77.0.1", "port": free_port()},
        "nodes": [
            {
                "id": "rpi-01",
                "host": LAB_HOSTS["rpi-01"],
                "user": "pi",
                "identity_file": str(LAB_STATE / "id_ed25519"),
                "python": python,
            }
        ],
    }
    (typed.folder / "otto.yaml").write_text(yaml.safe_dump(document))
    process = subprocess.Popen(
        [OTTO_RUN, *COMMANDS[request.param](typed)],
        cwd=typed.folder,
        env=typed.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()
    lab_hosts["rpi-01"].run(f"rm -f {python}")


@pytest.mark.parametrize(
    ("running", "signum"),
    [
        ("apply", signal.SIGINT),
        ("apply", signal.SIGTERM),
        ("rollback", signal.SIGINT),
        ("saved plan", signal.SIGTERM),
    ],
    indirect=["running"],
)
def test_interrupt_of_a_run(
    running: subprocess.Popen[str], typed: Typed, signum: signal.Signals
) -> None:
    held = typed.state / "interrupted" / "lock"
    wait_for(
        lambda: any("ssh" in line and "otto-slow" in line for line in carriers(typed.folder)),
        seconds=30,
        what="Ansible to be at work on the host",
    )
    assert lock.held(held)
    began = time.monotonic()
    running.send_signal(signum)
    said, _ = running.communicate(timeout=20)
    assert running.returncode == 130, said
    assert time.monotonic() - began < 12
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert carriers(typed.folder) == []
    assert not lock.held(held)
    assert list((typed.state / "interrupted" / "runs").iterdir()) == []
