# SPDX-License-Identifier: GPL-3.0-or-later
"""What the control plane knows of its nodes, in SQLite: last word of each, history, events.

Times are seconds since the epoch by this machine's clock, except `time`, which is the node's own.
One control plane writes and any number of `otto-run status` read, side by side thanks to WAL.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

from otto_run.messages import Message

_FORMAT = 1
_KEEP_METRICS = 24 * 3600.0
_KEEP_EVENTS = 10_000

_TABLES = """
CREATE TABLE nodes (
  node TEXT PRIMARY KEY,
  state TEXT NOT NULL DEFAULT '',
  boot TEXT NOT NULL DEFAULT '',
  conn INTEGER NOT NULL DEFAULT 0,
  agent TEXT NOT NULL DEFAULT '',
  seen REAL,
  report TEXT,
  report_seen REAL,
  metrics TEXT,
  metrics_seen REAL
) STRICT;
CREATE TABLE metrics (
  node TEXT NOT NULL, seen REAL NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX metrics_by_node ON metrics (node, seen);
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  node TEXT NOT NULL, boot TEXT NOT NULL, seq INTEGER NOT NULL,
  seen REAL NOT NULL, time REAL NOT NULL,
  kind TEXT NOT NULL, service TEXT NOT NULL, text TEXT NOT NULL,
  UNIQUE (node, boot, seq)
) STRICT;
"""


@dataclass(frozen=True)
class NodeRecord:
    """The last word of one node. seen: last sign of life of its agent, None for none ever.

    state: "online", "offline" or "" (its agent was never heard).
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


@dataclass(frozen=True)
class EventRecord:
    node: str
    seen: float
    kind: str
    service: str
    text: str


class Store:
    """A connection; use it in the thread that made it."""

    def __init__(self, path: Path) -> None:
        """Open, and create where it is missing. Raises OttoError."""
        self.path = path
        try:
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._create()
        except sqlite3.Error as error:
            raise OttoError(
                f"The store {path} cannot be used",
                cause=str(error),
                next=f"mv {path} {path}.broken   (only history is lost: agents tell the rest anew)",
            ) from error

    def _create(self) -> None:
        with closing(self._db.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            found = cursor.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _FORMAT):
                cursor.execute("ROLLBACK")
                raise sqlite3.DatabaseError(f"format {found} is of another version of Otto")
            if found == 0:
                for statement in _TABLES.split(";"):
                    cursor.execute(statement)
                cursor.execute(f"PRAGMA user_version = {_FORMAT}")
            cursor.execute("COMMIT")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    # ---- writing

    def add(self, messages: Iterable[Message], now: float) -> None:
        """Store a batch of messages in one transaction."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for message in messages:
                self._db.execute(
                    "INSERT INTO nodes (node) VALUES (?) ON CONFLICT DO NOTHING", (message.node,)
                )
                if message.kind == "status":
                    self._status(message, now)
                    continue
                self._alive(message, now)
                getattr(self, "_" + message.kind)(message, now)

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
            self._db.execute(
                "UPDATE nodes SET seen = max(ifnull(seen, 0), ?) WHERE node = ?",
                (message.seen(now), message.node),
            )

    def _alive(self, message: Message, now: float) -> None:
        """Who speaks is there. A retained message only tells when its sender last spoke."""
        state = "state" if message.retained else "'online'"
        self._db.execute(
            f"UPDATE nodes SET state = {state}, seen = max(ifnull(seen, 0), ?) WHERE node = ?",
            (message.seen(now), message.node),
        )

    def _report(self, message: Message, now: float) -> None:
        self.report(message.node, message.body, message.seen(now))

    def report(self, node: str, body: Mapping[str, Any], seen: float) -> None:
        """Keep the last report; that of an apply counts as well as the agent's."""
        self._db.execute(
            "INSERT INTO nodes (node, report, report_seen) VALUES (?, ?, ?)"
            " ON CONFLICT (node) DO UPDATE SET report = excluded.report,"
            " report_seen = excluded.report_seen"
            " WHERE excluded.report_seen >= ifnull(report_seen, 0)",
            (node, _text(body), seen),
        )

    def _metrics(self, message: Message, now: float) -> None:
        body = _text(message.body)
        self._db.execute(
            "UPDATE nodes SET metrics = ?, metrics_seen = ? WHERE node = ?",
            (body, now, message.node),
        )
        self._db.execute(
            "INSERT INTO metrics (node, seen, body) VALUES (?, ?, ?)", (message.node, now, body)
        )

    def _event(self, message: Message, now: float) -> None:
        body = message.body
        self._db.execute(
            "INSERT INTO events (node, boot, seq, seen, time, kind, service, text)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                message.node,
                body["boot"],
                body["seq"],
                now,
                body["time"],
                body["kind"],
                body["service"],
                body["text"],
            ),
        )

    def forget(self, nodes: Sequence[str]) -> None:
        """After `down`: what is known of these nodes is not true any more; events stay."""
        with self._db:
            for node in nodes:
                self._db.execute("DELETE FROM nodes WHERE node = ?", (node,))
                self._db.execute("DELETE FROM metrics WHERE node = ?", (node,))

    def prune(self, now: float) -> None:
        """Drop history that is older than a day, and all but the last 10,000 events."""
        with self._db:
            self._db.execute("DELETE FROM metrics WHERE seen < ?", (now - _KEEP_METRICS,))
            self._db.execute(
                "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (_KEEP_EVENTS,)
            )

    # ---- reading

    def nodes(self) -> dict[str, NodeRecord]:
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
            )
            for row in rows
        }

    def events(self, limit: int = 50) -> list[EventRecord]:
        """The last events, oldest first."""
        rows = self._db.execute(
            "SELECT node, seen, kind, service, text FROM events ORDER BY id DESC LIMIT ?", (limit,)
        ).fetchall()
        return [EventRecord(*row) for row in reversed(rows)]

    def history(self, node: str, since: float) -> list[tuple[float, Mapping[str, Any]]]:
        """(seen, metrics) of a node since then, oldest first."""
        rows = self._db.execute(
            "SELECT seen, body FROM metrics WHERE node = ? AND seen >= ? ORDER BY seen",
            (node, since),
        )
        return [(seen, json.loads(body)) for seen, body in rows]


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _tree(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else json.loads(text)
