# SPDX-License-Identifier: GPL-3.0-or-later
"""Every process that this one has started, however far down, and how to end them.

Ansible's workers and SSH's connection masters call setsid, so no process group holds them all.
As a *subreaper* this process becomes the parent of whoever loses theirs: its tree is complete, and
"nothing is left" can be proved rather than hoped.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Adopt orphaned descendants from now on. Raises OSError where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def descendants(root: int | None = None) -> list[int]:
    """Pids of all living descendants (zombies do not live), children before grandchildren."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it ended between the listing and the look
        # The command's name stands in brackets and may itself hold spaces and brackets.
        state, parent = text[text.rindex(")") + 2 :].split()[:2]
        if state not in "ZX":
            children.setdefault(int(parent), []).append(int(entry.name))
    found: list[int] = []
    waiting = list(children.get(root or os.getpid(), ()))
    while waiting:
        pid = waiting.pop(0)
        found.append(pid)
        waiting += children.get(pid, ())
    return found


def name(pid: int) -> str:
    """The command of a process, for a message; empty when it is gone."""
    with suppress(OSError):
        raw = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        return raw.decode(errors="replace").strip()
    return ""


def tell(pids: Collection[int], signum: signal.Signals) -> None:
    """Send a signal to each; who is gone already is fine."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


def end_all(keep: Collection[int] = (), *, grace: float = 3.0) -> list[int]:
    """End every descendant but those in `keep` (and theirs): SIGTERM, then SIGKILL.

    grace: seconds between the two. Returns the pids that are still there afterwards (none, unless
    one hangs in the kernel).
    """

    def mine() -> list[int]:
        kept = set(keep)
        for pid in keep:
            kept.update(descendants(pid))
        return [pid for pid in descendants() if pid not in kept]

    left = mine()
    for signum, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 2.0)):
        deadline = time.monotonic() + seconds
        tell(left, signum)
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = mine()
        if not left:
            break
    return left
