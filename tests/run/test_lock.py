# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from otto_run import lock
from otto_run.exits import Code, Stop
from tests.conftest import wait_for

HOLD = """
import sys, signal
from pathlib import Path
from otto_run import lock
with lock.hold(Path(sys.argv[1]), "otto-run apply"):
    print("held", flush=True)
    signal.pause()
"""


def test_second_holder_is_told_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock.hold(path, "otto-run apply"):
        assert lock.held(path)
        with pytest.raises(Stop) as stop, lock.hold(path, "otto-run plan"):
            pytest.fail("two hold it")
    assert stop.value.code is Code.LOCKED
    assert f"otto-run apply (pid {os.getpid()}, " in stop.value.message
    assert f"kill {os.getpid()}" in stop.value.message


def test_death_of_the_holder_frees_it(tmp_path: Path) -> None:
    """SIGKILL leaves the name in the file, and the lock free all the same."""
    path = tmp_path / "lock"
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    assert lock.held(path)
    child.send_signal(signal.SIGKILL)
    child.wait(5)
    child.stdout.close()
    wait_for(lambda: not lock.held(path), seconds=2, what="the lock to be free")
    with lock.hold(path, "otto-run apply"):
        found = lock.holder(path)
        assert found is not None
        assert found.pid == os.getpid()
    assert lock.holder(path) is None


def test_no_lock_file_is_a_free_lock(tmp_path: Path) -> None:
    assert not lock.held(tmp_path / "lock")
