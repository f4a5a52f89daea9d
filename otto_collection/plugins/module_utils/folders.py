# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the files may lie that a cluster file names, and the only way to open one of them.

Links are followed first, then the place is compared, then that very place is opened, part by part
and without a further link: what is changed in between is not opened.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import show_value

ALLOW_FILES_FROM = "OTTO_ALLOW_FILES_FROM"
"""The variable of the environment with folders that files may come from, as PATH has them."""
_GIT = ".git"


class Outside(Exception):
    """A file that may not be read. real: where it lies, links followed. words: what a problem says
    of it; `shown` in `found` is the path as it was written."""

    def __init__(
        self, real: str, message: str, expected: str, hint: str, *, link: bool, ask: bool = False
    ) -> None:
        super().__init__(real)
        self.real = real
        self._link = link
        self._words = {"message": message, "expected": expected, "hint": hint}
        self._ask = ask

    def words(self, shown: str) -> dict[str, Any]:
        """message, found, expected, hint and outside of a Problem."""
        found = show_value(shown)
        if self._link:
            found += f", which leads to {show_value(self.real)[1:-1]}"
        return {**self._words, "found": found, "outside": self.real if self._ask else ""}


class NoFile(OSError):
    """A pipe, a device, a folder: nothing that has an end."""

    def __init__(self) -> None:
        super().__init__(0, "it is no file")


class Folders:
    """main: folder of the cluster file. allowed: further folders, or files, that a person named.

    strict: the file is a stranger's. Then what a file names lies beneath that file's own folder.
    """

    def __init__(self, main: str, allowed: Sequence[str] = (), *, strict: bool = False) -> None:
        self._strict = strict
        self._main = os.path.realpath(main)
        self._roots = (self._main, *(os.path.realpath(one) for one in allowed))

    def inside(self, path: str, namer: str) -> str:
        """The place of a path with its links followed. Raises Outside.

        path: absolute. namer: absolute, the folder of the file that names it.
        """
        return self._found(path, namer)[0]

    def read(self, path: str, namer: str, most: int) -> bytes:
        """At most `most` bytes of a file. Raises Outside, or OSError."""
        real, root = self._found(path, namer)
        with open(_opened(real, root), "rb") as file:
            return file.read(most)

    def is_file(self, path: str, namer: str) -> bool:
        """Whether there is a file. Raises Outside."""
        return os.path.isfile(self._found(path, namer)[0])  # noqa: PTH113

    def _found(self, path: str, namer: str) -> tuple[str, str]:
        real = os.path.realpath(path)
        link = real != os.path.normpath(path)
        if self._strict:
            root = os.path.realpath(namer)
            if not _beneath(root, self._main):
                root = self._main
            if not _beneath(real, root):
                raise Outside(
                    real,
                    "lies outside of the folder of the file that names it",
                    f"a file beneath {root}",
                    "an untrusted file reads nothing from elsewhere",
                    link=link,
                )
            if _GIT in PurePath(os.path.relpath(real, root)).parts:
                # A checkout keeps the token there that it was made with.
                raise Outside(
                    real, "is Git's own", "a file of the repository", "copy it", link=link
                )
            return real, root
        for root in self._roots:
            if _beneath(real, root):
                return real, root
        folder = shlex.quote(self._to_allow(path, real))
        raise Outside(
            real,
            f"lies outside of {self._main}, the cluster file's folder",
            "a file beneath it",
            f"--allow-files-from {folder}   (plain Ansible: {ALLOW_FILES_FROM}={folder})",
            link=link,
            ask=True,
        )

    def _to_allow(self, path: str, real: str) -> str:
        """The folder that holds the file, and the link to it as well where that is little more."""
        beside = real if os.path.isdir(real) else os.path.dirname(real)  # noqa: PTH112, PTH120
        both = os.path.commonpath((os.path.dirname(os.path.normpath(path)), beside))  # noqa: PTH120
        return beside if both == "/" or _beneath(self._main, both) else both


def _beneath(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _opened(real: str, root: str) -> int:
    """A descriptor of the regular file at `real`, whose way from `root` on holds no link."""
    parts = () if real == root else PurePath(os.path.relpath(real, root)).parts
    # Not blocking: a pipe that nobody writes to would never be opened.
    last = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    here = os.open(root, last if not parts else os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for index, part in enumerate(parts):
            flags = last if index == len(parts) - 1 else last | os.O_DIRECTORY
            there = os.open(part, flags, dir_fd=here)
            os.close(here)
            here = there
        if not stat.S_ISREG(os.fstat(here).st_mode):
            raise NoFile
    except BaseException:
        os.close(here)
        raise
    return here
