# SPDX-License-Identifier: GPL-3.0-or-later
"""Daemons that the lab starts: remembered by pid and start time, so that no other is ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

from lab.plan import STATE
from lab.shell import LabError, wait_for


def start(name: str, argv: list[str]) -> None:
    """Start a daemon in its own session; log and record lie in the state folder."""
    with _log(name).open("ab") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    record = {"pid": process.pid, "started": _start_time(process.pid)}
    _record(name).write_text(json.dumps(record))


def alive(name: str) -> int | None:
    """Pid of the daemon that the lab started under this name, if it still runs."""
    try:
        record = json.loads(_record(name).read_text())
    except FileNotFoundError:
        return None
    pid = int(record["pid"])
    # A pid alone may have passed to another program; pid and start time cannot.
    return pid if _start_time(pid) == record["started"] else None


def stop(name: str, deadline: float = 30.0) -> bool:
    """End the daemon politely, then by force; False when the lab runs none of that name."""
    pid = alive(name)
    if pid is None:
        _record(name).unlink(missing_ok=True)
        return False
    os.kill(pid, signal.SIGTERM)
    try:
        wait_for(name, lambda: _gone(name, pid), deadline)
    except LabError:
        os.kill(pid, signal.SIGKILL)
        wait_for(name, lambda: _gone(name, pid), 5.0)
    _record(name).unlink()
    return True


def running() -> dict[str, int]:
    """Every daemon of the lab that still runs: pid by name."""
    names = sorted(path.stem for path in STATE.glob("*.json"))
    return {name: pid for name in names if (pid := alive(name)) is not None}


def last_words(name: str) -> str:
    """The end of the daemon's log, for an error message."""
    path = _log(name)
    lines = path.read_text(errors="replace").splitlines()[-8:] if path.exists() else []
    return "\n".join([*lines, f"(log: {path})"])


def _gone(name: str, pid: int) -> str | None:
    # Reaps it when this very program is the parent; otherwise init does.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return f"pid {pid} still runs" if alive(name) else None


def _start_time(pid: int) -> int | None:
    """Start of a process in clock ticks since boot; None for none or one already dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _record(name: str) -> Path:
    return STATE / f"{name}.json"


def _log(name: str) -> Path:
    return STATE / f"{name}.log"
