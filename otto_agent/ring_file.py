# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of the ring: SQLite, written without waiting for the disk, and trusted with nothing."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.ranges import Ranges

_FORMAT = 1
_TABLES = """
BEGIN;
CREATE TABLE samples (
  id INTEGER PRIMARY KEY, boot TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
  host TEXT NOT NULL, at REAL NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL
);
CREATE UNIQUE INDEX samples_by_number ON samples (boot, seq);
CREATE TABLE gaps (boot TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL);
PRAGMA user_version = 1;
COMMIT;
"""
# Exclusive: no file of shared memory, which a full disk could cut short under our feet. A commit
# is a write to the page cache, which outlives the process; only a checkpoint, one for a thousand
# pages, waits for the disk.
_PRAGMAS = """
PRAGMA page_size = 1024;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA cache_size = -256;
"""
_WAL = 2  # the newest file format that SQLite has, in bytes 18 and 19 of the file
# What the disk or another process does to us, as SQLite words it; it may pass.
_PASSES = ("full", "disk i/o error", "locked", "unable to open", "readonly", "out of memory")


class DiskError(Exception):
    """The disk does not do what it should, which may pass: full, read-only, gone."""


class CorruptError(Exception):
    """The file holds something else than what was written to it."""


@dataclass(frozen=True)
class Sample:
    """One numbered message. kind: metrics or event. payload: encoded.

    place: rises with every sample of this node. at: when it was taken, in seconds of
    CLOCK_BOOTTIME, which nobody sets; host: the life of the machine that this clock belongs to.
    """

    place: int
    boot: str
    seq: int
    kind: str
    payload: bytes
    host: str
    at: float

    def age(self) -> float | None:
        """Seconds since it was taken; None where the machine was started anew meanwhile."""
        return max(0.0, boottime() - self.at) if self.host == host() else None


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def host() -> str:
    """This life of the machine; another word after each start of it."""
    global _host
    if not _host:
        try:
            _host = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            # Then nobody can know: a life of its own for each process.
            _host = os.urandom(16).hex()
    return _host


_host = ""


class RingFile:
    """Open from the start. Raises DiskError and CorruptError, in every method, and no other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._check_head()
            # Several threads use it, one at a time.
            self._db = sqlite3.connect(
                path, timeout=1, isolation_level=None, check_same_thread=False
            )
            self._db.text_factory = _text
        try:
            with _told():
                self._db.executescript(_PRAGMAS)
                if self._number("PRAGMA user_version") == 0:
                    self._db.executescript(_TABLES)
                self._check()
                path.chmod(0o600)
                self._inode = path.stat().st_ino
        except BaseException:
            self.close()
            raise

    def _check_head(self) -> None:
        """A byte that stands for a newer SQLite would look like a disk that cannot be written."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as stream:
            head = stream.read(20)
            if head and (len(head) < 20 or max(head[18:]) > _WAL):
                raise CorruptError("no database")

    def _check(self) -> None:
        if self._number("PRAGMA user_version") != _FORMAT:
            raise CorruptError("another format")
        found = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise CorruptError(str(found).splitlines()[-1])

    def _number(self, sql: str) -> int:
        return int(self._db.execute(sql).fetchone()[0])

    # ---- reading

    def last_place(self) -> int:
        with _told():
            return self._number("SELECT ifnull(max(id), 0) FROM samples")

    def held(self) -> dict[str, Ranges]:
        """boot -> numbers of the samples that are there."""
        return self._ranges("SELECT boot, seq, seq FROM samples ORDER BY boot, seq")

    def gaps(self) -> dict[str, Ranges]:
        """boot -> numbers that are gone."""
        return self._ranges("SELECT boot, first, last FROM gaps")

    def _ranges(self, sql: str) -> dict[str, Ranges]:
        found: dict[str, Ranges] = {}
        with _told():
            for boot, first, last in self._db.execute(sql):
                found.setdefault(boot, Ranges()).add(int(first), int(last))
        return found

    def read(self, place: int, limit: int) -> list[Sample]:
        """The samples behind `place`, oldest first."""
        with _told():
            rows = self._db.execute(
                "SELECT id, boot, seq, kind, host, at, body, crc FROM samples"
                " WHERE id > ? ORDER BY id LIMIT ?",
                (place, limit),
            ).fetchall()
            return [_sample(*row) for row in rows]

    def oldest(self, kind: str, count: int) -> list[tuple[str, int]]:
        """(boot, seq) of the oldest samples of a kind."""
        with _told():
            return self._db.execute(
                "SELECT boot, seq FROM samples WHERE kind = ? ORDER BY id LIMIT ?", (kind, count)
            ).fetchall()

    def used(self) -> int:
        """Bytes of the file that are in use."""
        with _told():
            pages = self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")
            return pages * self._number("PRAGMA page_size")

    def moved(self) -> bool:
        """Whether somebody took the file away: what is written now would go nowhere."""
        try:
            return self._path.stat().st_ino != self._inode
        except OSError:
            return True

    # ---- writing

    def save(
        self,
        samples: Sequence[Sample],
        released: Sequence[tuple[str, int, int]],
        gaps: Mapping[str, Ranges] | None,
    ) -> None:
        """All of it or nothing. released: (boot, first, last) that are needed no more. gaps: what
        takes the place of those that stand there, None for no change."""
        with _told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(
                    "DELETE FROM samples WHERE boot = ? AND seq BETWEEN ? AND ?", released
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    map(_row, samples),
                )
                if gaps is not None:
                    self._db.execute("DELETE FROM gaps")
                    self._db.executemany(
                        "INSERT INTO gaps VALUES (?, ?, ?)",
                        [(boot, *pair) for boot, ranges in gaps.items() for pair in ranges],
                    )
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()


def set_aside(path: Path) -> None:
    """Keep a broken file as `<name>.bad`, for who wants to look. Raises DiskError."""
    with _told():
        with contextlib.suppress(FileNotFoundError):
            path.replace(path.with_name(path.name + ".bad"))
        path.with_name(path.name + "-wal").unlink(missing_ok=True)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What SQLite and the disk say, as one of two: it may pass, or the file is broken."""
    try:
        yield
    except OSError as error:
        raise DiskError(error.strerror or str(error)) from error
    except sqlite3.OperationalError as error:
        if any(word in str(error).lower() for word in _PASSES):
            raise DiskError(str(error)) from error
        raise CorruptError(str(error)) from error
    except (sqlite3.Error, ValueError, TypeError, OverflowError, zlib.error) as error:
        raise CorruptError(str(error)) from error


def _text(value: bytes) -> str:
    # Ours are ASCII; SQLite's own decoding would call a broken one trouble that may pass.
    return value.decode("ascii")


def _row(sample: Sample) -> tuple[object, ...]:
    body = zlib.compress(sample.payload)
    head = (sample.place, sample.boot, sample.seq, sample.kind, sample.host, sample.at)
    return (*head, body, _crc(*head, body))


def _sample(
    place: int, boot: str, seq: int, kind: str, host: str, at: float, body: bytes, crc: int
) -> Sample:
    # SQLite checks its structure, not what stands in it.
    if _crc(place, boot, seq, kind, host, at, body) != crc:
        raise CorruptError(f"sample {place} is not what was written")
    return Sample(place, boot, seq, kind, zlib.decompress(body), host, at)


def _crc(place: int, boot: str, seq: int, kind: str, host: str, at: float, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(repr((place, boot, seq, kind, host, at)).encode()))
