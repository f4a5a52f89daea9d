# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the store each node may have. What is more goes, its own oldest first, and an event
of that node tells: so no node washes away what another one said, and the store has a size."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_MIB = 1 << 20


@dataclass(frozen=True)
class Quota:
    """Of one node. events, and events_in_all for all of them where there are many nodes, but never
    less than events_least. samples, sample_bytes: metrics, of the last day at the most. lives: of
    its agent, of which it is known what was heard; ranges: what is known of them."""

    events: int = 5_000
    events_in_all: int = 200_000
    events_least: int = 500
    samples: int = 100_000
    sample_bytes: int = 256 * _MIB
    lives: int = 500
    ranges: int = 2_000

    def events_of_each(self, nodes: int) -> int:
        return max(self.events_least, min(self.events, self.events_in_all // max(nodes, 1)))


def keep_within(db: sqlite3.Connection, nodes: Iterable[str], quota: Quota) -> dict[str, list[str]]:
    """Drop what these nodes have too much. Returns what is to be told of each."""
    (count,) = db.execute("SELECT count(*) FROM usage").fetchone()
    events = quota.events_of_each(count)
    told: dict[str, list[str]] = {}
    for node in nodes:
        row = db.execute("SELECT events, samples, bytes FROM usage WHERE node = ?", (node,))
        number, samples, size = row.fetchone() or (0, 0, 0)
        lines = [
            *_events(db, node, number, events),
            *_samples(db, node, samples, size, quota),
            *_lives(db, node, quota),
        ]
        if lines:
            told[node] = lines
    return told


def _less(most: int) -> int:
    """How many stay where there are too many: a tenth goes at once, not each one by itself."""
    return most - most // 10


def _events(db: sqlite3.Connection, node: str, there: int, most: int) -> Iterator[str]:
    if there <= most:
        return
    gone = there - _less(most)
    db.execute(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE node = ? ORDER BY id LIMIT ?)",
        (node, gone),
    )
    yield f"{gone} old events dropped: more than {most} of this node"


def _samples(
    db: sqlite3.Connection, node: str, there: int, size: int, quota: Quota
) -> Iterator[str]:
    if there <= quota.samples and size <= quota.sample_bytes:
        return
    limit = f"{quota.samples}" if there > quota.samples else f"{quota.sample_bytes >> 20} MiB"
    gone = 0
    for rowid, length in db.execute(
        "SELECT rowid, length(body) FROM metrics WHERE node = ? ORDER BY at, seq", (node,)
    ).fetchall():
        if there <= _less(quota.samples) and size <= _less(quota.sample_bytes):
            break
        db.execute("DELETE FROM metrics WHERE rowid = ?", (rowid,))
        gone, there, size = gone + 1, there - 1, size - length
    yield f"{gone} old metrics dropped: more than {limit} in a day of this node"


def _lives(db: sqlite3.Connection, node: str, quota: Quota) -> Iterator[str]:
    """A number of a life that is forgotten would be stored again if it came again, and counted."""
    lives = db.execute(
        "SELECT boot, count(*) FROM numbers WHERE node = ? GROUP BY boot ORDER BY max(seen) DESC",
        (node,),
    ).fetchall()
    if len(lives) <= quota.lives and sum(ranges for _, ranges in lives) <= quota.ranges:
        return
    kept = ranges_kept = 0
    for boot, ranges in lives:
        left = _less(quota.ranges) - ranges_kept
        if kept < _less(quota.lives) and left > 0:
            kept, ranges_kept = kept + 1, ranges_kept + min(ranges, left)
            db.execute(  # of one that does not fit as a whole, its newest numbers
                "DELETE FROM numbers WHERE node = ? AND boot = ? AND (gone, first) NOT IN ("
                "SELECT gone, first FROM numbers WHERE node = ? AND boot = ?"
                " ORDER BY first DESC LIMIT ?)",
                (node, boot, node, boot, left),
            )
        else:
            db.execute("DELETE FROM numbers WHERE node = ? AND boot = ?", (node, boot))
    yield (
        f"what was heard of {len(lives) - kept} former lives of its agent is forgotten: more than"
        f" {quota.lives}, or too many holes in them"
    )
