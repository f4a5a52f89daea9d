# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples until a listener has stored them: bounded, in order, and never in the agent's way.

What this process knows is the truth, and the file on the node's disk is its copy for the next
process. While the disk fails, samples wait in memory; the copy is made good when it works again.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.ranges import Ranges

from otto_agent import messages
from otto_agent.backoff import Backoff
from otto_agent.ring_file import (
    CorruptError,
    DiskError,
    RingFile,
    Sample,
    boottime,
    host,
    set_aside,
)

log = logging.getLogger(__name__)

Gap = tuple[str, int, int]  # boot, first and last number
CALM = 600.0  # seconds without a failure of the disk after which the next one is told again
START = -(2**62)  # a place before every sample


class Ring:
    """Safe to use from any thread. No method raises because of the disk.

    alarm: called with (kind of event, text) when a person should know; it may `put`.
    rows, size: samples, and bytes of the file, held at the most. waiting: samples in memory at the
    most while the disk fails. Beyond that the oldest metrics go, then the oldest events, and their
    numbers become gaps.
    """

    def __init__(
        self,
        path: Path,
        alarm: Callable[[str, str], None] = lambda *_: None,
        rows: int = 30_000,
        size: int = 32 * 1024 * 1024,
        waiting: int = 500,
    ) -> None:
        self.path = path
        self._alarm = alarm
        self._rows = rows
        self._size = size
        self._most_waiting = waiting
        self._lock = threading.Lock()
        self._file: RingFile | None = None
        self._tries = Backoff(first=5.0, most=60.0, stable=10.0)
        self._failing = False
        self._failed_at = -CALM
        # Places count from this process's first sample: 1. What an earlier one left is before.
        self._place = 0
        self._base: int | None = None
        self._waiting: collections.deque[Sample] = collections.deque()  # not in the file yet
        self._held: dict[str, Ranges] = {}  # boot -> numbers that no listener has stored
        self._gaps: dict[str, Ranges] = {}  # boot -> numbers that are gone
        self._released: dict[str, Ranges] = {}  # boot -> numbers in the file, and held no more
        self._gaps_saved = True
        self._alarms: collections.deque[tuple[str, str]] = collections.deque()

    def open(self) -> None:
        """Read what an earlier process left. Until then a ring knows only of what is put."""
        with self._locked(), self._careful():
            self._open()

    def __len__(self) -> int:
        """Samples that no listener has stored."""
        with self._lock:
            return self._count()

    @property
    def last_place(self) -> int:
        """The place of the newest sample."""
        return self._place

    def put(self, boot: str, seq: int, kind: str, payload: bytes) -> None:
        """Take a sample. When this returns, it outlives the process; or it waits in memory, where
        the disk fails."""
        with self._locked():
            self._place += 1
            self._waiting.append(Sample(self._place, boot, seq, kind, payload, host(), boottime()))
            self._held.setdefault(boot, Ranges()).add(seq, seq)
            with self._careful():
                self._open()
                self._make_room()
                self._save()
            while len(self._waiting) > self._most_waiting:
                self._lose_waiting()

    def after(self, place: int, limit: int) -> list[Sample]:
        """The next samples behind `place`, oldest first."""
        found: list[Sample] = []
        if place < self._place and limit > 0:
            with self._locked():
                with self._careful():
                    self._open()
                    found = self._read(place, limit)
                found += [sample for sample in self._waiting if sample.place > place]
        return found[:limit]

    def holds(self, boot: str, seq: int) -> bool:
        with self._lock:
            return seq in self._held.get(boot, ())

    def release(self, stored: Mapping[str, Sequence[tuple[int, int]]]) -> None:
        """A listener has stored these numbers: boot -> ranges. They leave the file together with
        the next write to it: a disk is worn by every one."""
        with self._locked():
            for boot, ranges in stored.items():
                for first, last in ranges:
                    self._remove(boot, first, last)
            for sample in self._waiting:
                if not self._is_held(sample):
                    self._never_saved(sample)
            self._waiting = collections.deque(filter(self._is_held, self._waiting))

    def gaps(self) -> list[Gap]:
        """Numbers that are gone and that no listener has noted yet."""
        with self._lock:
            return [(boot, *pair) for boot, ranges in self._gaps.items() for pair in ranges]

    def noted(self, gaps: Sequence[Gap]) -> None:
        """A listener has noted that these numbers are gone."""
        with self._locked():
            for boot, first, last in gaps:
                if boot in self._gaps and self._gaps[boot].within(first, last):
                    self._gaps[boot].remove(first, last)
                    self._gaps_saved = False
            self._gaps = {boot: ranges for boot, ranges in self._gaps.items() if ranges}

    def close(self) -> None:
        """Write what is to be written. A ring that is used again opens its file again."""
        with self._locked():
            with self._careful():
                self._save()
            self._shut()

    # ---- with the lock held

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            yield
        # An alarm becomes a sample: it is raised when the ring is free.
        while self._alarms:
            with contextlib.suppress(IndexError):
                self._alarm(*self._alarms.popleft())

    @contextlib.contextmanager
    def _careful(self) -> Iterator[None]:
        """What goes wrong with the file ends here: samples wait in memory, or a new one begins."""
        try:
            try:
                yield
            except CorruptError as error:
                self._begin_anew(error)
        except (CorruptError, DiskError) as error:
            self._shut()
            now = time.monotonic()
            self._tries = self._tries.failed(now)
            self._failing = True
            told_lately, self._failed_at = now - self._failed_at < CALM, now
            if not told_lately:
                self._tell(
                    messages.NODE,
                    f"samples cannot be kept in {self.path} ({error}): the newest "
                    f"{self._most_waiting} wait in memory until the disk works again",
                )

    def _tell(self, kind: str, text: str) -> None:
        log.error("%s", text)
        self._alarms.append((kind, text))

    def _open(self) -> None:
        if self._file is not None and self._file.moved():
            raise CorruptError("somebody removed the file")
        if self._file is not None or not self._tries.ready(time.monotonic()):
            return
        file = RingFile(self.path)
        try:
            if self._base is None:
                held, gaps = file.held(), file.gaps()
                self._base = file.last_place()
                for mine, found in ((self._held, held), (self._gaps, gaps)):
                    for boot, ranges in found.items():
                        for first, last in ranges:
                            mine.setdefault(boot, Ranges()).add(first, last)
        except BaseException:
            file.close()
            raise
        self._file = file

    def _shut(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin_anew(self, error: Exception) -> None:
        """The file is broken. What it held and this process knows of is gone."""
        self._shut()
        set_aside(self.path)
        self._base = self._base or 0
        self._released = {}
        lost = 0
        for boot, ranges in list(self._held.items()):
            for sample in self._waiting:
                if sample.boot == boot:
                    ranges.remove(sample.seq, sample.seq)
            lost += ranges.count
            for first, last in ranges:
                self._gaps.setdefault(boot, Ranges()).add(first, last)
        self._held = {}
        for sample in self._waiting:
            self._held.setdefault(sample.boot, Ranges()).add(sample.seq, sample.seq)
        self._gaps_saved = False
        self._tell(
            messages.RING_LOST,
            f"{self.path} was broken ({error}) and is set aside as {self.path.name}.bad; "
            f"{lost} samples that are known to have been in it are lost",
        )
        self._open()
        self._save()

    def _save(self) -> None:
        if self._file is None or self._base is None:
            return
        if not (self._waiting or self._released or not self._gaps_saved):
            return
        moved = [_moved(sample, self._base) for sample in self._waiting]
        released = [(boot, *pair) for boot, ranges in self._released.items() for pair in ranges]
        self._file.save(moved, released, None if self._gaps_saved else self._gaps)
        self._waiting.clear()
        self._released = {}
        self._gaps_saved = True
        if self._failing:
            self._failing = False
            log.info("samples are kept in %s again", self.path)

    def _read(self, place: int, limit: int) -> list[Sample]:
        found: list[Sample] = []
        while self._file is not None and self._base is not None and len(found) < limit:
            rows = self._file.read(place + self._base, limit)
            if not rows:
                break
            samples = [_moved(sample, -self._base) for sample in rows]
            found += filter(self._is_held, samples)
            place = samples[-1].place
        return found

    def _make_room(self) -> None:
        """Before a write: the oldest go, a hundredth of the ring at once."""
        if self._file is None:
            return
        if self._count() <= self._rows and self._file.used() <= self._size:
            return
        wanted = max(1, self._rows // 100)
        for kind in (messages.METRICS, messages.EVENT):
            # What was released is in the file still.
            spare = sum(ranges.count for ranges in self._released.values())
            for boot, seq in self._file.oldest(kind, wanted + spare) if wanted else ():
                if wanted and seq in self._held.get(boot, ()):
                    self._lose(boot, seq)
                    wanted -= 1

    def _lose_waiting(self) -> None:
        gone = next((one for one in self._waiting if one.kind == messages.METRICS), None)
        gone = gone or self._waiting[0]
        self._waiting.remove(gone)
        self._lose(gone.boot, gone.seq)
        self._never_saved(gone)

    def _lose(self, boot: str, seq: int) -> None:
        self._remove(boot, seq, seq)
        gaps = self._gaps.setdefault(boot, Ranges())
        before = gaps.before(seq)
        held = self._held.get(boot, Ranges())
        # Numbers between two gaps that are not held were stored: a listener leaves them out, and
        # the gaps stay as few as the samples between them.
        joined = before is not None and not held.within(before, seq)
        gaps.add(before if joined and before is not None else seq, seq)
        self._gaps_saved = False

    def _remove(self, boot: str, first: int, last: int) -> None:
        held = self._held.get(boot)
        if held is None:
            return
        released = self._released.setdefault(boot, Ranges())
        for pair in held.within(first, last):
            released.add(*pair)
        held.remove(first, last)
        if not held:
            del self._held[boot]

    def _never_saved(self, sample: Sample) -> None:
        """It waits in memory: there is nothing of it to be taken out of the file."""
        released = self._released.get(sample.boot, Ranges())
        released.remove(sample.seq, sample.seq)
        if not released:
            self._released.pop(sample.boot, None)

    def _is_held(self, sample: Sample) -> bool:
        return sample.seq in self._held.get(sample.boot, ())

    def _count(self) -> int:
        return sum(ranges.count for ranges in self._held.values())


def _moved(sample: Sample, by: int) -> Sample:
    return replace(sample, place=sample.place + by)
