# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was done to a node, step by step, in `journal.jsonl`: it tells where a run was cut off.

One JSON object in each line, every one with `time` (UTC) and `event`:

    {"event": "begin", "holder", "revision"}                  a run that has something to do
    {"event": "step", "n", "service", "operation": {"op", "line", ...}}    about to be carried out
    {"event": "done", "n"} or {"event": "failed", "n", "error"}
    {"event": "end", "result": "done" | "failed"}

A line is handed to the kernel before the step that it announces, so kill -9 leaves all of them; a
power cut may take the last ones, and a last line that is torn is no error. Nothing in it is secret.
A full disk is told once and stops no run: what is done to the node matters more than the record.

What is to be done next is never read from here: plans come from what is found on the node.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.beneath import Folder, opened, within
from ansible_collections.otto.cluster.plugins.module_utils.operations import Operation

NAME = "journal.jsonl"
MOST = 256 * 1024
"""Bytes after which a new run begins a new file; the one before is kept as journal.jsonl.1."""
_TAIL = 4096
_LARGEST = 16 * MOST
"""Bytes that are read: one run writes into one file, however long it is."""
_TEXT = 300


@dataclass(frozen=True)
class Interrupted:
    """A run that has no end. operation: the line of what it was at, or had done last; "" where it
    did not get as far as a first one. time: of its last sign, UTC."""

    holder: str
    revision: str
    operation: str
    time: str

    def to_json(self) -> dict[str, str]:
        return asdict(self)


class Journal:
    """One run's entries. Use it under the node's lock; threads of the run may share it."""

    def __init__(
        self,
        directory: Path | None,
        holder: str = "",
        revision: str = "",
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """directory: None keeps no journal (an ad-hoc container has no state directory).

        tell: gets a line when the journal cannot be read or written.
        """
        self._path = directory / NAME if directory is not None else None
        self._holder = holder
        self._revision = revision
        self._tell = tell or (lambda _text: None)
        self._turn = threading.Lock()
        self._begun = False
        self._steps = 0

    # ---- reading

    def interrupted(self) -> Interrupted | None:
        """The run before this one, if it has no end. To be asked before anything is written."""
        if self._path is None:
            return None
        try:
            with within(self._path.parent) as folder:
                if folder is None or _ended(folder):
                    return None
                return _last_run(list(_entries(folder)))
        except OSError as error:
            self._give_up("read", error)
            return None

    # ---- writing

    def begin(self) -> None:
        """Said by itself before the first step."""
        with self._turn:
            self._begin()

    def step(self, service: str, operation: Operation) -> int:
        """Called before an operation is carried out; returns its number for `done`."""
        with self._turn:
            self._begin()
            self._steps += 1
            self._write("step", n=self._steps, service=service, operation=operation.to_json())
            return self._steps

    def done(self, number: int, error: str = "") -> None:
        """How step `number` came out; error: why it failed, free of secrets."""
        with self._turn:
            if error:
                self._write("failed", n=number, error=error)
            else:
                self._write("done", n=number)

    def end(self, result: str) -> None:
        """result: "done" or "failed". Nothing for a run that had nothing to do."""
        with self._turn:
            if self._begun:
                self._write("end", result=result)

    def _begin(self) -> None:
        if self._begun or self._path is None:
            return
        self._begun = True
        try:
            with opened(self._path.parent, make=0o750) as folder:
                found = folder.look(NAME)
                if found is not None and found.st_size > MOST:
                    folder.rename(NAME, NAME + ".1")
        except OSError as error:
            self._give_up("written", error)
        self._write("begin", holder=self._holder, revision=self._revision)

    def _write(self, event: str, **fields: Any) -> None:
        if self._path is None:
            return
        entry = {"time": now(), "event": event, **fields}
        line = json.dumps(entry, separators=(",", ":"), default=str) + "\n"
        try:
            with opened(self._path.parent) as folder:
                folder.append(NAME, line.encode(), 0o640)
        except OSError as error:
            self._give_up("written", error)

    def _give_up(self, what: str, error: OSError) -> None:
        self._tell(f"the journal {self._path} cannot be {what}: {error.strerror or error}")
        self._path = None


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """What can be read of a journal, oldest first. Raises OSError."""
    with within(path.parent) as folder:
        if folder is not None:
            yield from _entries(folder)


def _entries(folder: Folder) -> Iterator[dict[str, Any]]:
    try:
        lines = folder.tail(NAME, _LARGEST).split(b"\n")
    except FileNotFoundError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry


def _ended(folder: Folder) -> bool:
    """Whether the last run is over. Looks at the end only: an agent asks once a minute, for years.

    What is torn is no end; neither is an end that is followed by the beginning of another run.
    """
    try:
        last = folder.tail(NAME, _TAIL).rstrip(b"\n").rpartition(b"\n")[2]
    except FileNotFoundError:
        return True
    try:
        return not last or json.loads(last).get("event") == "end"
    except (ValueError, AttributeError, RecursionError):
        return False


def _last_run(found: list[dict[str, Any]]) -> Interrupted | None:
    begin: dict[str, Any] = {}
    steps: dict[str, str] = {}
    last = ""
    for entry in found:
        event = entry.get("event")
        if event == "begin":
            begin, steps, last = entry, {}, ""
        elif event == "end":
            begin = {}
        elif event == "step":
            operation = entry.get("operation")
            last = _text(operation.get("line")) if isinstance(operation, dict) else ""
            steps[str(entry.get("n"))] = last
        else:
            steps.pop(str(entry.get("n")), None)
    if not begin:
        return None
    at = next(iter(steps.values()), last)
    return Interrupted(
        _text(begin.get("holder")), _text(begin.get("revision")), at, _text(found[-1].get("time"))
    )


def _text(value: Any) -> str:
    """A line of the journal is the agent's word too, and is shown to a person."""
    return "".join(c for c in value[:_TEXT] if c.isprintable()) if isinstance(value, str) else ""
