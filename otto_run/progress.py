# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees while Ansible works: a live table on a terminal, plain lines elsewhere.

Everything goes to stderr, so that stdout carries the result alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from otto_run.render import clean
from otto_run.runner import (
    TARGET_ACTIONS,
    Event,
    Output,
    Scheduled,
    TaskDone,
    TaskFailed,
    TaskStarted,
)

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


class Progress(Protocol):
    """Takes the events of a run."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def handle(self, event: Event) -> None: ...
    def tick(self) -> None: ...
    def say(self, line: str) -> None: ...


def make(nodes: Iterable[str], *, verbose: bool, terminal: bool, check: bool) -> Progress:
    """The progress that fits: `terminal` says whether stderr is one that can redraw. check: nothing
    is changed."""
    if verbose:
        return Verbose(check)
    return Table_(nodes, check) if terminal else Lines(check)


class Lines:
    """One line per task and node that changed something or failed, and per first sign of a node."""

    def __init__(self, check: bool = False) -> None:
        self._check = check
        self._began = time.monotonic()
        self._seen: set[str] = set()
        self._batches: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def handle(self, event: Event) -> None:
        if isinstance(event, TaskStarted) and event.node not in self._seen:
            self._seen.add(event.node)
            self._line(event.node, "looking" if self._check else "working")
        elif isinstance(event, TaskStarted) and event.action in TARGET_ACTIONS:
            if batch := self._batches.pop(event.node, 0):
                self._line(event.node, f"batch {batch}: its update begins")
        elif isinstance(event, Scheduled):
            self._batches[event.node] = event.batch
            self._line(event.node, f"has something to change, in batch {event.batch}")
        elif isinstance(event, TaskDone) and event.changed and not self._check:
            self._line(event.node, f"changed: {event.task}")
        elif isinstance(event, TaskFailed):
            what = "cannot be reached" if event.unreachable else f"failed: {event.task}"
            self._line(event.node, what)

    def tick(self) -> None:
        pass

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _line(self, node: str, text: str) -> None:
        self.say(f"[{time.monotonic() - self._began:5.1f}s] {node}: {clean(text, 200)}")


class Verbose(Lines):
    """Ansible's own output, as it comes."""

    def handle(self, event: Event) -> None:
        if isinstance(event, Output):
            self.say(event.text)


@dataclass
class _Row:
    phase: str = "waiting"
    current: str = ""
    began: float | None = None
    ended: float | None = None
    batch: int = 0


class Table_:
    """A row per node that is redrawn: how it stands, what it does, for how long."""

    def __init__(self, nodes: Iterable[str], check: bool = False) -> None:
        self._check = check
        self._rows = {node: _Row() for node in nodes}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            get_renderable=self._table,
            console=Console(stderr=True),
            refresh_per_second=8,
            transient=True,
        )
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def handle(self, event: Event) -> None:
        if isinstance(event, Output):
            return
        row = self._rows.setdefault(event.node, _Row())
        now = time.monotonic()
        if isinstance(event, Scheduled):
            self._rows[event.node] = _Row("waiting", f"for batch {event.batch}", batch=event.batch)
            return
        if row.batch:  # only its update is told from here on, not the steps that lead to it
            if not isinstance(event, TaskFailed) and event.action not in TARGET_ACTIONS:
                return
            row.batch = 0
        row.began = row.began or now
        if isinstance(event, TaskStarted):
            if row.phase != "failed":
                row.phase, row.current, row.ended = "working", event.task, None
                if self._check:  # the names of the tasks say what an apply does
                    row.phase, row.current = "looking", ""
        elif isinstance(event, TaskFailed):
            row.phase, row.current, row.ended = "failed", event.task, now
        else:
            row.ended = now

    def tick(self) -> None:
        pass

    def say(self, line: str) -> None:
        if self._live is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._live.console.print(line, markup=False, highlight=False)

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_header=False)
        now = time.monotonic()
        colours = {"failed": "red", "working": "cyan", "looking": "cyan"}
        for node, row in self._rows.items():
            seconds = "" if row.began is None else f"{(row.ended or now) - row.began:.0f} s"
            table.add_row(
                Text(node, style="bold"),
                Text(row.phase, style=colours.get(row.phase, "dim")),
                Text(clean(row.current, 60)),
                Text(seconds, style="dim", justify="right"),
            )
        return table
