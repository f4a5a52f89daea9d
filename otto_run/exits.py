# SPDX-License-Identifier: GPL-3.0-or-later
"""Exit codes of otto-run: a contract for scripts."""

from __future__ import annotations

from enum import IntEnum


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
