# SPDX-License-Identifier: GPL-3.0-or-later
"""What the control plane knows of its nodes, in SQLite: last word of each, history, events.

Times are seconds since the epoch by this machine's clock, except `time`, which is the node's own.
What is in here has been synced to the disk: on its acknowledgement the node forgets it.
One control plane writes and any number of `otto-run status` read, side by side thanks to WAL.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed

from otto_run.messages import Message
from otto_run.numbers import Numbers
from otto_run.store_quotas import Quota, keep_within
from otto_run.store_tables import STEPS, statements

_KEEP_METRICS = 24 * 3600.0
_KEEP_APPLIES = 1_000

_KEEP_NUMBERS = 30 * 24 * 3600.0


@dataclass(frozen=True)
class NodeRecord:
    """The last word of one node. seen: last sign of life of its agent, None for none ever.

    state: "online", "offline" or "" (its agent was never heard). lost: samples that are gone for
    good, since the moment that was asked for.
    """

    node: str
    state: str = ""
    boot: str = ""
    conn: int = 0
    agent: str = ""
    seen: float | None = None
    report: Mapping[str, Any] | None = None
    report_seen: float | None = None
    metrics: Mapping[str, Any] | None = None
    metrics_seen: float | None = None
    lost: int = 0


@dataclass(frozen=True)
class ApplyNode:
    """What became of one node in one apply.

    revision: "" where the node did not get as far. result: done, failed, unreachable or held back
    (its batch was not begun).
    changes: what was done, in short; never a value.
    """

    revision: str
    result: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ApplyRecord:
    """One apply. kind: apply, plan (a saved one), rollback or adopt. back_to: number of the apply
    that a rollback went back to, if it was one. result: begun (it has no end), done or failed.
    actor: who typed it, "" where an earlier Otto did not note that."""

    number: int
    time: float
    kind: str
    file: str
    result: str
    back_to: int | None = None
    nodes: Mapping[str, ApplyNode] = field(default_factory=dict)
    actor: str = ""


@dataclass(frozen=True)
class EventRecord:
    """at: when it was, by this machine's clock. skewed: its node's clock was off."""

    id: int
    node: str
    at: float
    kind: str
    service: str
    text: str
    skewed: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "time": self.at,
            "kind": self.kind,
            "service": self.service,
            "text": self.text,
            "skewed": self.skewed,
        }


class Store:
    """A connection; use it in the thread that made it."""

    def __init__(self, path: Path, quota: Quota | None = None) -> None:
        """Open, and create where it is missing. Raises OttoError."""
        self.path = path
        self._quota = quota or Quota()
        try:
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._create()
        except sqlite3.Error as error:
            raise OttoError(
                f"The store {path} cannot be used",
                cause=str(error),
                next=typed(
                    "mv {0} {0}.broken   (only history is lost: agents tell the rest anew)", path
                ),
            ) from error

    def _create(self) -> None:
        with closing(self._db.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            found = cursor.execute("PRAGMA user_version").fetchone()[0]
            if found > len(STEPS):
                cursor.execute("ROLLBACK")
                raise sqlite3.DatabaseError(f"format {found} is of another version of Otto")
            for step in STEPS[found:]:
                for statement in statements(step):
                    cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version = {len(STEPS)}")
            cursor.execute("COMMIT")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    # ---- writing

    def add(self, messages: Sequence[Message], now: float) -> list[Message]:
        """Store a batch of messages in one transaction. When this returns they may be acked.
        Returns what is to be told besides: of each node that had more than its quota."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            numbers = Numbers(self._db)
            for message in messages:
                self._db.execute(
                    "INSERT INTO nodes (node) VALUES (?) ON CONFLICT DO NOTHING", (message.node,)
                )
                if message.kind == "status":
                    self._status(message, now)
                    continue
                if message.kind == "quota":
                    self._own_event(message.node, message.body["text"], now)
                    continue
                self._alive(message, now)
                if message.kind == "gap":
                    self._gap(message, numbers, now)
                    continue
                new = message.number is None or numbers.store(
                    message.node, message.body["boot"], message.number
                )
                # The numbers of reports (of older agents) are noted, and say nothing else.
                if new or message.kind == "report":
                    getattr(self, "_" + message.kind)(message, now)
            numbers.save(now)
            told = keep_within(self._db, {message.node for message in messages}, self._quota)
            for node, texts in told.items():
                for text in texts:
                    self._own_event(node, text, now)
        return [
            Message(node, "quota", {"text": text}) for node, texts in told.items() for text in texts
        ]

    def _own_event(self, node: str, text: str, now: float) -> None:
        """The control plane's own word about a node: it has no number and no life."""
        self._db.execute(
            "INSERT INTO events (node, boot, seen, at, time, kind, service, text)"
            " VALUES (?, '', ?, ?, ?, 'quota', '', ?)",
            (node, now, now, now, text),
        )

    def _status(self, message: Message, now: float) -> None:
        body = message.body
        state, boot, conn = body["state"], body["boot"], body["conn"]
        known = self._db.execute(
            "SELECT state, boot, conn FROM nodes WHERE node = ?", (message.node,)
        ).fetchone()
        if state == "offline" and known[0] == "online":
            # A will that comes late must not bury the connection that came after it.
            late = conn < known[2] if boot == known[1] else not message.retained
            if late:
                return
        self._db.execute(
            "UPDATE nodes SET state = ?, boot = ?, conn = ?, agent = ? WHERE node = ?",
            (state, boot, conn, body["agent"], message.node),
        )
        if state == "online":
            self._seen(message, now)

    def _alive(self, message: Message, now: float) -> None:
        """Who speaks is there. A retained message only tells when its sender last spoke."""
        if not message.retained:
            self._db.execute("UPDATE nodes SET state = 'online' WHERE node = ?", (message.node,))
        self._seen(message, now)

    def _seen(self, message: Message, now: float) -> None:
        # What is live is news whatever was noted, by a clock that was ahead then.
        least = "min(ifnull(seen, 0), :now)" if message.retained else "0"
        self._db.execute(
            f"UPDATE nodes SET seen = max({least}, :seen) WHERE node = :node",
            {"now": now, "seen": message.seen(now), "node": message.node},
        )

    def _report(self, message: Message, now: float) -> None:
        self.report(message.node, message.body, message.seen(now), live=not message.retained)

    def report(self, node: str, body: Mapping[str, Any], seen: float, *, live: bool = True) -> None:
        """Keep the last report; that of an apply counts as well as the agent's. live: it is the
        last one, whatever the clock says."""
        self._db.execute(
            "INSERT INTO nodes (node, report, report_seen) VALUES (?, ?, ?)"
            " ON CONFLICT (node) DO UPDATE SET report = excluded.report,"
            " report_seen = excluded.report_seen"
            " WHERE ? OR excluded.report_seen >= ifnull(report_seen, 0)",
            (node, _text(body), seen, live),
        )

    def _metrics(self, message: Message, now: float) -> None:
        body = message.body
        text = _text(body)
        at, skewed = message.taken(now)
        # What comes late is no news of how the node stands; what is live always is.
        self._db.execute(
            "UPDATE nodes SET metrics = ?, metrics_seen = ?"
            " WHERE node = ? AND (? OR ? >= ifnull(metrics_seen, 0))",
            (text, at, message.node, "age" not in body, at),
        )
        self._db.execute(
            "INSERT OR IGNORE INTO metrics (node, boot, seq, seen, at, skewed, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (message.node, body["boot"], message.number, now, at, skewed, text),
        )

    def _event(self, message: Message, now: float) -> None:
        body = message.body
        at, skewed = message.taken(now)
        self._db.execute(
            "INSERT OR IGNORE INTO events (node, boot, seq, seen, at, time, skewed, kind, service,"
            " text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                message.node,
                body["boot"],
                message.number,
                now,
                at,
                body["time"],
                skewed,
                body["kind"],
                body["service"],
                body["text"],
            ),
        )

    def _gap(self, message: Message, numbers: Numbers, now: float) -> None:
        body = message.body
        lost = numbers.lose(message.node, body["boot"], body["first"], body["last"])
        if lost:
            self._db.execute(
                "INSERT INTO events (node, boot, seen, at, time, kind, service, text, lost)"
                " VALUES (?, ?, ?, ?, ?, 'gap', '', ?, ?)",
                (message.node, body["boot"], now, now, body["time"], body["text"], lost),
            )

    def forget(self, nodes: Sequence[str]) -> None:
        """After `down`: what is known of these nodes is not true any more; events stay."""
        with self._db:
            for node in nodes:
                self._db.execute("DELETE FROM nodes WHERE node = ?", (node,))
                self._db.execute("DELETE FROM metrics WHERE node = ?", (node,))

    def begin_apply(
        self, kind: str, file: str, now: float, back_to: int | None = None, *, actor: str = ""
    ) -> int:
        """Note that an apply begins; returns its number. One that is cut off stays `begun`."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            number = self._db.execute(
                "INSERT INTO applies (time, kind, file, back_to, actor) VALUES (?, ?, ?, ?, ?)",
                (now, kind, file, back_to, actor),
            ).lastrowid
            assert number is not None
            self._db.execute("DELETE FROM applies WHERE number <= ?", (number - _KEEP_APPLIES,))
        return number

    def end_apply(self, number: int, result: str, nodes: Mapping[str, ApplyNode]) -> None:
        """Note what became of it. result: done or failed."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("UPDATE applies SET result = ? WHERE number = ?", (result, number))
            self._db.executemany(
                "INSERT INTO apply_nodes (number, node, revision, result, changes)"
                " VALUES (?, ?, ?, ?, ?)",
                [
                    (number, name, node.revision, node.result, json.dumps(node.changes))
                    for name, node in nodes.items()
                ],
            )

    def prune(self, now: float) -> None:
        """Drop metrics that came more than a day ago, and the numbers of lives of which nothing was
        heard for a month."""
        with self._db:
            self._db.execute("DELETE FROM metrics WHERE seen < ?", (now - _KEEP_METRICS,))
            self._db.execute("DELETE FROM numbers WHERE seen < ?", (now - _KEEP_NUMBERS,))

    # ---- reading

    def nodes(self, lost_since: float = 0.0) -> dict[str, NodeRecord]:
        lost = dict(
            self._db.execute(
                # total(): as many as a node says; a sum that is too large would be an error.
                "SELECT node, CAST(total(lost) AS INTEGER) FROM events"
                " WHERE at >= ? AND lost > 0 GROUP BY node",
                (lost_since,),
            ).fetchall()
        )
        rows = self._db.execute(
            "SELECT node, state, boot, conn, agent, seen, report, report_seen, metrics,"
            " metrics_seen FROM nodes"
        )
        return {
            row[0]: NodeRecord(
                node=row[0],
                state=row[1],
                boot=row[2],
                conn=row[3],
                agent=row[4],
                seen=row[5],
                report=_tree(row[6]),
                report_seen=row[7],
                metrics=_tree(row[8]),
                metrics_seen=row[9],
                lost=lost.get(row[0], 0),
            )
            for row in rows
        }

    def applies(self) -> list[ApplyRecord]:
        """Every apply that is known, oldest first."""
        nodes: dict[int, dict[str, ApplyNode]] = {}
        for number, node, revision, result, changes in self._db.execute(
            "SELECT number, node, revision, result, changes FROM apply_nodes ORDER BY node"
        ):
            entry = ApplyNode(revision, result, tuple(json.loads(changes)))
            nodes.setdefault(number, {})[node] = entry
        rows = self._db.execute(
            "SELECT number, time, kind, file, result, back_to, actor FROM applies ORDER BY number"
        )
        return [
            ApplyRecord(number, moment, kind, file, result, back_to, nodes.get(number, {}), who)
            for number, moment, kind, file, result, back_to, who in rows
        ]

    def events(
        self, *, node: str = "", service: str = "", since: float = 0.0, last: int | None = None
    ) -> list[EventRecord]:
        """The events since a moment, in the order in which they happened. last: not more."""
        rows = self._select_events("at >= ?", node, service, since)
        return rows if last is None else rows[-last:]

    def events_after(self, id: int, *, node: str = "", service: str = "") -> list[EventRecord]:
        """What came after the event `id`, in the order in which it came."""
        return sorted(self._select_events("id > ?", node, service, id), key=lambda event: event.id)

    def _select_events(
        self, condition: str, node: str, service: str, value: float
    ) -> list[EventRecord]:
        rows = self._db.execute(
            "SELECT id, node, at, kind, service, text, skewed FROM events"
            f" WHERE {condition} AND (? = '' OR node = ?) AND (? = '' OR service = ?)"
            " ORDER BY at, id",
            (value, node, node, service, service),
        )
        return [
            EventRecord(id, node, at, kind, service, text, bool(skewed))
            for id, node, at, kind, service, text, skewed in rows
        ]

    def last_event(self) -> int:
        """The id of the newest event."""
        return int(self._db.execute("SELECT ifnull(max(id), 0) FROM events").fetchone()[0])

    def version(self) -> int:
        """Another number whenever somebody else has written; costs no reading."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def history(self, node: str, since: float) -> list[tuple[float, Mapping[str, Any]]]:
        """(when, metrics) of a node since then, oldest first."""
        rows = self._db.execute(
            "SELECT at, body FROM metrics WHERE node = ? AND at >= ? ORDER BY at, seq",
            (node, since),
        )
        return [(at, json.loads(body)) for at, body in rows]

    def counts(self, node: str) -> tuple[int, int]:
        """(stored, gone): how many numbered samples of a node, over all lives that are known."""
        rows = self._db.execute(
            "SELECT gone, sum(last - first + 1) FROM numbers WHERE node = ? GROUP BY gone", (node,)
        )
        found = dict(rows.fetchall())
        return found.get(0, 0), found.get(1, 0)


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _tree(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else json.loads(text)
