# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives memory back that only the start of the agent needed.

The interpreter and its libraries are mapped from files. The start touches megabytes of them that
the agent's rounds never touch again, and they stay in its working set until the host is short of
memory, when it has better things to do. Dropped pages come back by themselves when they are used.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_MADV_DONTNEED = 4
_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ +(/.*)")


def give_back(smaps: Path = Path("/proc/self/smaps")) -> None:
    """Does nothing where the system has not what it takes."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.malloc_trim(ctypes.c_size_t(0))
        for start, size in clean(smaps.read_text(errors="replace").splitlines()):
            library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)


def clean(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    """(address, bytes) of what is mapped from a file, may not be written, and never was: its pages
    are the file's own, and reading it again gives the same. lines: of an smaps file."""
    found: tuple[int, int] | None = None
    for line in lines:
        head = _HEAD.match(line)
        if head:
            start, end = int(head[1], 16), int(head[2], 16)
            found = (start, end - start) if "w" not in head[3] else None
        elif re.match(r"[0-9a-f]+-", line):
            found = None
        elif line.startswith("Anonymous:") and found:
            # Pages of our own, from when the loader still wrote there: they would be lost.
            if line.split()[1] == "0":
                yield found
            found = None
