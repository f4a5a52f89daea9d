# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time on a cluster: flock, so that the death of the holder frees it."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from otto_run.exits import Code, Stop


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. since: seconds since the epoch."""

    pid: int
    user: str
    command: str
    since: float

    def __str__(self) -> str:
        minutes, seconds = divmod(max(0, round(time.time() - self.since)), 60)
        age = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
        return f"{self.command} (pid {self.pid}, {self.user}, for {age})"


def holder(path: Path) -> Holder | None:
    """Who wrote themselves into the lock file; None where nobody did."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return Holder(
            int(value["pid"]), str(value["user"]), str(value["command"]), float(value["since"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def held(path: Path) -> bool:
    """Whether somebody holds the lock now."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def hold(path: Path, command: str) -> Iterator[None]:
    """Hold the lock. Raises Stop(LOCKED) that says who has it.

    The descriptor is not inherited: a child that outlives its parent keeps no lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = holder(path)
            raise Stop(
                Code.LOCKED,
                f"Another otto-run is at work on this cluster: {who or 'it does not say who'}\n"
                f"    lock      {path}\n"
                f"    next      wait for it to end and try again"
                + (f", or end it: kill {who.pid}" if who else ""),
            ) from None
        text = json.dumps(asdict(Holder(os.getpid(), _user(), command, time.time())))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
