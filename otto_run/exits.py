# SPDX-License-Identifier: GPL-3.0-or-later
"""Exit codes of otto-run: a contract for scripts."""

from __future__ import annotations

import shlex
import sys
from enum import IntEnum
from pathlib import Path


class Code(IntEnum):
    DONE = 0
    FAILED = 1
    """some node failed"""
    USAGE = 2
    """wrong usage or wrong otto.yaml; nothing was started"""
    CHANGES = 3
    """`plan --exit-code` found something to do"""
    LOCKED = 4
    """another otto-run holds the lock"""
    INTERRUPTED = 130


class Stop(Exception):
    """Ends the program with a message and an exit code; the message may have several lines."""

    def __init__(self, code: Code, message: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def again(*more: str) -> str:
    """The command as it was typed, and more: a hint leaves out nothing that was said."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:], *more])
