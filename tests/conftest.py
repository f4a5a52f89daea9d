# SPDX-License-Identifier: GPL-3.0-or-later
"""What every test may use: the lab's hosts, and waiting for a condition instead of sleeping."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

# Whoever starts the suite in the background of a script has SIGINT ignored for all of its children;
# what Ctrl-C does to Otto is tested with a child that hears it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that is busy with hosts is slow at making examples; that says nothing of the code.
settings.register_profile("otto", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("otto")

ROOT = Path(__file__).resolve().parent.parent
LAB_STATE = ROOT / "lab" / ".state"
# OTTO_LAB_OFFSET=10 gives the tests rpi-11 to rpi-13 in place of rpi-01 to rpi-03.
LAB_OFFSET = int(os.environ.get("OTTO_LAB_OFFSET", "0"))
LAB_HOSTS = {f"rpi-{n:02d}": f"10.77.0.{10 + n + LAB_OFFSET}" for n in (1, 2, 3)}

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | None], *, seconds: float, what: str, every: float = 0.1
) -> T:
    """The first truthy answer of `condition`; fails the test with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s for {what}; last answer {answer!r}")
        time.sleep(every)


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers: a file stays whole, and one worker has the lab's hosts to itself."""
    with_hosts = {item.path for item in items if "lab_hosts" in getattr(item, "fixturenames", ())}
    for item in items:
        group = "hosts" if item.path in with_hosts else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
        if item.path in with_hosts:
            item.add_marker(pytest.mark.lab)


class LabHost:
    """One simulated host, reached as a person would: over SSH, as `pi` with sudo."""

    def __init__(self, name: str, address: str = "") -> None:
        self.name = name
        self.address = address or LAB_HOSTS[name]

    def run(self, command: str, *, check: bool = True, timeout: float = 60) -> str:
        """Standard output of a shell command run as root on the host."""
        done = subprocess.run(
            [
                "ssh",
                *("-i", str(LAB_STATE / "id_ed25519")),
                *("-o", f"UserKnownHostsFile={LAB_STATE / 'known_hosts'}"),
                *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
                *("-o", "ControlMaster=auto", "-o", "ControlPersist=60"),
                *("-o", "ControlPath=/tmp/otto-test-%C"),
                f"pi@{self.address}",
                "sudo sh -c " + "'" + command.replace("'", "'\\''") + "'",
            ],
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {command}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def container_id(self, name: str) -> str:
        """Id of a running container, empty where none of that name runs."""
        return self.run(f"docker ps -q --no-trunc --filter name=^/{name}$")


@pytest.fixture
def roots_own() -> Iterator[Path]:
    """A directory that root alone may write, on the way to it, too; /tmp is everybody's."""
    made = Path(tempfile.mkdtemp(prefix="otto-test-", dir="/opt"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def lab_hosts() -> dict[str, LabHost]:
    """The lab's hosts; a missing lab is an error with the command to type, not a skip."""
    if not (LAB_STATE / "id_ed25519").exists():
        pytest.fail("the lab is not up: `make lab` (or run pytest -m 'not lab')")
    return {name: LabHost(name) for name in LAB_HOSTS}
