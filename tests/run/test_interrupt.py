# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C against real hosts: no child is left, the lock is free, the exit code is 130."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from otto_run import lock
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


@pytest.fixture
def running(typed: Typed, lab_hosts: dict[str, LabHost]) -> Iterator[subprocess.Popen[str]]:
    """An apply that is busy on a host: its Python there only sleeps, so the host stays as it is."""
    python = f"/tmp/otto-slow-{typed.folder.name}"
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
        [OTTO_RUN, "apply", "--yes"],
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


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_during_an_apply(
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
