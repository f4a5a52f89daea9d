# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log: who had what done from this machine, on which nodes, and what was refused.

    begin     before any node is touched: who, what was typed, where, with which file, which nodes
    ran       what became of each node in one run of a playbook, or in a push
    end       how the command ended, and what it refused
    refused   in place of all of these, where there was no cluster yet to touch

Every word in it is this machine's own: of a node there stand its name and a word of Otto's. A run
without an end was killed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    OttoError,
    typed,
)
from ansible_collections.otto.cluster.plugins.module_utils.masking import in_command, in_text

from otto_run import audit_file
from otto_run.actor import actor
from otto_run.exits import Code, Stop
from otto_run.render import clean

FORMAT = 1
_WORDS = 64
_LONG = 500


class Watch:
    """One run of a command that changes something, from its beginning to its end."""

    def __init__(self, directory: Path, command: str, file: Path, say: Callable[[str], None]):
        """directory: of the state of all clusters."""
        self._directory = directory
        self._command = command
        self._file = file
        self._say = say
        self._id = secrets.token_hex(4)
        self._clock = time.monotonic()
        self._begun = False
        self._code = Code.DONE
        self._why = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: object, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        code, result, why = (
            _of_error(error) if error is not None else (self._code, _word(self._code), "")
        )
        if self._why:
            result, why = "refused", self._why
        seconds = round(time.monotonic() - self._clock, 1)
        how = {"result": result, "why": why, "code": int(code), "seconds": seconds}
        if self._begun:
            self._note_afterwards("end", **how)
        elif self._directory.is_dir():  # who was never here before leaves nothing behind
            self._note_afterwards("refused", **self._about(), **how)

    def begin(self, cluster: str, nodes: Sequence[str]) -> None:
        """To be called before any node is touched. Raises Stop: what cannot be noted is not done.

        nodes: that are going to be touched; none where that turns out later.
        """
        try:
            self._note("begin", **self._about(), cluster=cluster, nodes=list(nodes))
        except OSError as error:
            raise Stop(
                Code.FAILED,
                "Nothing was done: it cannot be noted in the audit log\n"
                f"    log       {self._directory / audit_file.NAME}\n"
                f"    cause     {error.strerror or error}\n"
                f"    next      {typed('df -h {0}; ls -ld {0}', self._directory)}",
            ) from error
        self._begun = True

    def ran(self, what: str, nodes: Mapping[str, str]) -> None:
        """What became of each node. what: the playbook. nodes: node -> done, changed, failed,
        unreachable, held back, or moved (its plan is not the one that was agreed on)."""
        if self._begun:
            self._note_afterwards("ran", what=what, nodes=dict(nodes))

    def refuse(self, why: str, nodes: Iterable[str] = ()) -> None:
        """The command is not carried out, and ends with a word of its own about it."""
        names = ", ".join(sorted(set(filter(None, nodes))))
        self._why = f"{why}: {names}" if names else why

    def ended(self, code: Code) -> Code:
        self._code = code
        return code

    def _about(self) -> dict[str, Any]:
        typed = [clean(word, _LONG) for word in in_command(sys.argv[1 : 1 + _WORDS])]
        return {
            "command": self._command,
            "typed": [Path(sys.argv[0]).name, *typed],
            "who": actor().to_json(),
            "cwd": clean(_cwd(), _LONG),
            "file": {"path": clean(self._file.absolute(), _LONG), "sha256": _sha256(self._file)},
            "pid": os.getpid(),
            "started": started(os.getpid()),
        }

    def _note(self, event: str, **words: Any) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = {"v": FORMAT, "event": event, "id": self._id, "time": moment, **words}
        audit_file.append(self._directory, entry)

    def _note_afterwards(self, event: str, **words: Any) -> None:
        """What is done is done: that it is not noted is told."""
        try:
            self._note(event, **words)
        except OSError as error:
            where = self._directory / audit_file.NAME
            self._say(f"Not noted in the audit log {where}: {error.strerror or error}")


def _of_error(error: BaseException) -> tuple[Code, str, str]:
    """(exit code, word, why) as `ends.run` has them. Only what Otto itself says is told: a cause
    may be a node's words."""
    if isinstance(error, Stop):
        return error.code, _word(error.code, stopped=True), _brief(error.message)
    if isinstance(error, ClusterFileError):
        return Code.USAGE, "refused", f"{len(error.problems)} problems in the file"
    if isinstance(error, OttoError):
        return Code.FAILED, "failed", _brief(error.message)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return Code.INTERRUPTED, "interrupted", ""
    if isinstance(error, BrokenPipeError):
        return Code.FAILED, "failed", "who read the output is gone"
    return Code.FAILED, "crashed", type(error).__name__


def _word(code: Code, *, stopped: bool = False) -> str:
    if code == Code.DONE:
        return "done"
    return "refused" if stopped else "failed"


def _brief(text: str) -> str:
    return clean(in_text(text.partition("\n")[0]), _LONG)


def _cwd() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return ""


def _sha256(file: Path) -> str:
    """Empty where it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    except OSError:
        return ""


def started(pid: int) -> int:
    """When a process was started, in ticks since the boot; 0 where there is none. A number that was
    given to another process since has another beginning."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
