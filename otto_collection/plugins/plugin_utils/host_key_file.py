# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where host keys may be written: otto.yaml names the file, and it might name any.

A line of known_hosts is a command to a shell that reads it at login, and lets somebody in where an
sshd takes it for authorized_keys. So it goes to a file that holds host keys and nothing else, or to
a new one whose name says what it is. SSH gets no other file either: set up so, it writes to it too.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

_NEW_NAME = re.compile(r"(?:.*[._-])?known_hosts[0-9]?")
_HOSTS = re.compile(r"\|1\|[A-Za-z0-9+/=]+\|[A-Za-z0-9+/=]+|[^\s\"'=#]+")
_MARKERS = ("@cert-authority", "@revoked")


def is_key(kind: str, blob: str) -> bool:
    """Whether two words are a public key: the blob begins with the name of its type."""
    try:
        raw = base64.b64decode(blob, validate=True)
    except (ValueError, binascii.Error):
        return False
    length = int.from_bytes(raw[:4], "big")
    return raw[4 : 4 + length] == kind.encode() and len(raw) > 4 + length > 4


def _is_host_key(line: str) -> bool:
    fields = line.split()
    if fields[0] in _MARKERS:
        del fields[0]
    return len(fields) >= 3 and bool(_HOSTS.fullmatch(fields[0])) and is_key(*fields[1:3])


class Keeper:
    """The file that new host keys are written to. Raises OttoError where that is a wrong one."""

    def __init__(self, known_hosts: str | Path) -> None:
        self._file = Path(os.path.realpath(known_hosts))
        if os.path.lexists(self._file):
            os.close(self._open(os.O_RDONLY))
        else:
            self._check_new()

    def append(self, lines: Sequence[str]) -> None:
        """Write lines of known_hosts at its end."""
        if not self._file.parent.is_dir():
            parent = shlex.quote(str(self._file.parent))
            raise self._refused(f"its folder is not there: mkdir {parent}")
        descriptor = self._open(os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            size = os.fstat(descriptor).st_size
            torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
            text = ("\n" if torn else "") + "".join(line + "\n" for line in lines)
            # One write, so that two runs on two clusters with one file do not mix their lines.
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def _open(self, flags: int) -> int:
        """The file, looked through: what is checked is what is written to."""
        try:
            descriptor = os.open(self._file, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise self._refused(error.strerror or "it cannot be opened") from None
        try:
            self._check(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check(self, descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise self._refused("it is no file")
        with os.fdopen(os.dup(descriptor), encoding="utf-8", errors="replace") as stream:
            lines = [line for line in stream if line.strip() and line.strip()[0] != "#"]
        if not lines:
            self._check_new()
        elif self._file.name.startswith("authorized_keys"):
            raise self._refused("it says who may log in to this machine")
        elif not all(map(_is_host_key, lines)):
            raise self._refused("it holds other lines than host keys")

    def _check_new(self) -> None:
        if not _NEW_NAME.fullmatch(self._file.name):
            raise self._refused("it is new or empty, and not named known_hosts")

    def _refused(self, why: str) -> OttoError:
        return OttoError(
            f"Otto keeps no host keys in {self._file}",
            cause=why,
            next="known_hosts: another file, or leave it out and Otto keeps its own",
        )
