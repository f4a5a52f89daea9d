# SPDX-License-Identifier: GPL-3.0-or-later
"""Room in the kernel for many hosts: the one setting of this machine that the lab changes."""

from __future__ import annotations

from pathlib import Path

from lab.plan import STATE
from lab.shell import say

# Measured: a host (systemd, journald, dbus, sshd, dockerd) holds 6 to 7 inotify instances of
# root; Debian's 128 are gone at the 20th, whose systemd then freezes without a word.
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_BEFORE = STATE / "inotify-before"
_PER_HOST = 10
_REST = 64


def raise_for(hosts: int) -> None:
    """Allow as many inotify instances as that many hosts take; remembers the old limit."""
    needed = _REST + _PER_HOST * hosts
    now = int(_INOTIFY.read_text())
    if now >= needed:
        return
    if not _BEFORE.exists():
        _BEFORE.write_text(f"{now}\n")
    _INOTIFY.write_text(f"{needed}\n")
    say(f"limits: fs.inotify.max_user_instances {now} → {needed}, for {hosts} hosts")


def restore() -> None:
    if _BEFORE.exists():
        _INOTIFY.write_text(_BEFORE.read_text())
        say(f"limits: fs.inotify.max_user_instances back to {_BEFORE.read_text().strip()}")
        _BEFORE.unlink()
