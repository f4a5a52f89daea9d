# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of the store, as steps from one format to the next: what was stored is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

_NODES = """
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
_APPLIES = """
CREATE TABLE applies (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  time REAL NOT NULL, kind TEXT NOT NULL, file TEXT NOT NULL,
  back_to INTEGER,
  result TEXT NOT NULL DEFAULT 'begun'
) STRICT;
CREATE TABLE apply_nodes (
  number INTEGER NOT NULL REFERENCES applies (number) ON DELETE CASCADE,
  node TEXT NOT NULL, revision TEXT NOT NULL, result TEXT NOT NULL, changes TEXT NOT NULL,
  PRIMARY KEY (number, node)
) STRICT;
"""
# at: when a sample was taken, by this machine's clock; seen: when it came. skewed: the node's clock
# was off. seq: NULL for what has no number. lost: how many samples a gap says are gone.
_NUMBERS = """
CREATE TABLE numbers (
  node TEXT NOT NULL, boot TEXT NOT NULL, gone INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL, seen REAL NOT NULL,
  PRIMARY KEY (node, boot, gone, first)
) STRICT, WITHOUT ROWID;
ALTER TABLE metrics RENAME TO old_metrics;
DROP INDEX metrics_by_node;
CREATE TABLE metrics (
  node TEXT NOT NULL, boot TEXT NOT NULL, seq INTEGER,
  seen REAL NOT NULL, at REAL NOT NULL, skewed INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL,
  UNIQUE (node, boot, seq)
) STRICT;
CREATE INDEX metrics_by_node ON metrics (node, at);
CREATE INDEX metrics_by_age ON metrics (seen);
INSERT INTO metrics (node, boot, seen, at, body)
  SELECT node, ifnull(json_extract(body, '$.boot'), ''), seen, seen, body FROM old_metrics;
DROP TABLE old_metrics;
ALTER TABLE events RENAME TO old_events;
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  node TEXT NOT NULL, boot TEXT NOT NULL, seq INTEGER,
  seen REAL NOT NULL, at REAL NOT NULL, time REAL NOT NULL, skewed INTEGER NOT NULL DEFAULT 0,
  kind TEXT NOT NULL, service TEXT NOT NULL, text TEXT NOT NULL, lost INTEGER NOT NULL DEFAULT 0,
  UNIQUE (node, boot, seq)
) STRICT;
INSERT INTO events (id, node, boot, seq, seen, at, time, kind, service, text)
  SELECT id, node, boot, seq, seen, seen, time, kind, service, text FROM old_events;
DROP TABLE old_events;
CREATE INDEX events_by_time ON events (at);
"""
_ACTOR = "ALTER TABLE applies ADD COLUMN actor TEXT NOT NULL DEFAULT ''"
# What each node has in the store, counted as rows come and go: nobody has to read a node's samples
# to know how large they are.
_USAGE = """
CREATE TABLE usage (
  node TEXT PRIMARY KEY,
  events INTEGER NOT NULL DEFAULT 0, samples INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO usage (node, samples, bytes)
  SELECT node, count(*), sum(length(body)) FROM metrics GROUP BY node;
INSERT INTO usage (node, events) SELECT node, count(*) FROM events WHERE true GROUP BY node
  ON CONFLICT (node) DO UPDATE SET events = excluded.events;
CREATE TRIGGER sample_added AFTER INSERT ON metrics BEGIN
  INSERT INTO usage (node, samples, bytes) VALUES (NEW.node, 1, length(NEW.body))
    ON CONFLICT (node) DO UPDATE SET samples = samples + 1, bytes = bytes + length(NEW.body);
END;
CREATE TRIGGER sample_removed AFTER DELETE ON metrics BEGIN
  UPDATE usage SET samples = samples - 1, bytes = bytes - length(OLD.body) WHERE node = OLD.node;
END;
CREATE TRIGGER event_added AFTER INSERT ON events BEGIN
  INSERT INTO usage (node, events) VALUES (NEW.node, 1)
    ON CONFLICT (node) DO UPDATE SET events = events + 1;
END;
CREATE TRIGGER event_removed AFTER DELETE ON events BEGIN
  UPDATE usage SET events = events - 1 WHERE node = OLD.node;
END;
CREATE INDEX events_by_node ON events (node, id);
"""
STEPS = (_NODES, _APPLIES, _NUMBERS, _ACTOR, _USAGE)
"""Each brings the tables from one format to the next; format 0 is an empty file."""


def statements(step: str) -> Iterator[str]:
    """The statements of a step, one by one; a trigger is one, with all that it does."""
    begun = ""
    for part in step.split(";"):
        begun += part + ";"
        if sqlite3.complete_statement(begun):
            yield begun
            begun = ""
