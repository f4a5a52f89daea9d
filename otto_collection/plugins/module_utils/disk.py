# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the state directory: replaced whole or appended to, and owned as the directory is.

The module writes as root and the agent as `otto`; both read and replace each other's files.
All functions raise OSError.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

UNFINISHED = ".otto-part"
"""How the name of a file ends that is being written: `target.json.k3x9.otto-part`."""


def make_directory(path: Path, mode: int) -> None:
    """The directory and its parents; the owner is that of the directory which it lies in."""
    if path.is_dir():
        return
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        above = path.parent.stat()
        os.chown(str(path), above.st_uid, above.st_gid)


def own(descriptor: int, directory: Path, mode: int) -> None:
    """Give an open file the mode and the owner of its directory."""
    os.fchmod(descriptor, mode)
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """A power cut at any point leaves the old content or the new one."""
    descriptor, name = tempfile.mkstemp(
        prefix=path.name + ".", suffix=UNFINISHED, dir=str(path.parent)
    )
    try:
        with os.fdopen(descriptor, "wb") as stream:
            own(stream.fileno(), path.parent, mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, str(path))  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108
        raise
    sync_directory(path.parent)


def tidy(directory: Path) -> None:
    """Remove what writers left that were killed in the middle. Only under the node's lock."""
    for path in directory.rglob("*" + UNFINISHED):
        with contextlib.suppress(OSError):
            path.unlink()


def sync_directory(directory: Path) -> None:
    descriptor = os.open(str(directory), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
