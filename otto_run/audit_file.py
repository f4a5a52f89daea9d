# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log's file: lines are added and synced, never changed. Old ones go by age alone.

`audit.jsonl` is the newest; once it is full it becomes `audit.jsonl.1`, that one `.2`, and so on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "audit.jsonl"
FULL = 8 << 20
"""Bytes from which on a new file is begun."""
OLDER = 8
"""Files that are kept beside the newest: 72 MiB in all, some 50,000 runs."""
_MODE = 0o600


def append(directory: Path, entry: dict[str, Any]) -> None:
    """Add one line, and see it on the disk. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = json.dumps(entry, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
    with _locked(directory / NAME) as descriptor:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # the one before was torn
        written = os.write(descriptor, line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes could be written")
        os.fsync(descriptor)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The newest file, to be written to by nobody else."""
    while True:
        existed = path.exists()
        descriptor = _open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_there(path, descriptor):
                continue  # somebody began a new one meanwhile
            if os.fstat(descriptor).st_size >= FULL:
                _turn(path)
                continue
            os.fchmod(descriptor, _MODE)
            if not existed:
                _sync_directory(path.parent)
            yield descriptor
            return
        finally:
            os.close(descriptor)


def _open(path: Path, flags: int) -> int:
    """Of a link nobody knows where it leads."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        named = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)


def _turn(path: Path) -> None:
    for number in range(OLDER - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            _numbered(path, number).replace(_numbered(path, number + 1))
    path.replace(_numbered(path, 1))
    _sync_directory(path.parent)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def entries(directory: Path) -> Iterator[dict[str, Any]]:
    """What can be read, oldest first; a line that was torn is left out. Raises OSError."""
    newest = directory / NAME
    for path in (*(_numbered(newest, number) for number in range(OLDER, 0, -1)), newest):
        try:
            descriptor = _open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        with os.fdopen(descriptor, "rb") as stream:
            for line in stream:
                with contextlib.suppress(ValueError, RecursionError):
                    entry = json.loads(line)
                    if isinstance(entry, dict):
                        yield entry
