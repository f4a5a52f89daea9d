# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

from otto_run.messages import Message
from otto_run.status import STALE_AFTER, agent_state
from otto_run.store import NodeRecord, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.db") as opened:
        yield opened


def status(state: str, boot: str = "b1", conn: int = 1, time: float = 0, **more: Any) -> Message:
    body = {"state": state, "boot": boot, "conn": conn, "agent": "0.1.0", "time": time}
    return Message("rpi-01", "status", body, **more)


def metrics(time: float = 0) -> Message:
    return Message("rpi-01", "metrics", {"boot": "b1", "time": time, "host": {}, "containers": {}})


def report(time: float, revision: str, retained: bool = False) -> Message:
    body = {"boot": "b1", "time": time, "revision": revision, "services": {}, "errors": []}
    return Message("rpi-01", "report", body, retained)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ([status("online")], "online"),
        ([status("online"), status("offline")], "offline"),
        # The will of the first connection comes after the birth of the second.
        ([status("online", conn=2), status("offline", conn=1)], "online"),
        # The will of the life before comes after the birth of this one.
        ([status("online", boot="b2"), status("offline", boot="b1")], "online"),
        # What a broker retains is its last word: nothing newer was there when we came.
        ([status("online", boot="b1"), status("offline", boot="b2", retained=True)], "offline"),
        ([status("offline"), metrics()], "online"),
        ([status("offline"), report(1, "r", retained=True)], "offline"),
    ],
)
def test_state_follows_births_and_wills(store: Store, said: list[Message], state: str) -> None:
    for message in said:
        store.add([message], now=1000)
    assert agent_state(store.nodes()["rpi-01"], 1000) == state


def test_silence_is_judged_by_our_own_clock(store: Store) -> None:
    """A node whose clock says 1970 is online while it speaks, and stale when it does not."""
    store.add([status("online", time=17), metrics(time=27)], now=1000)
    record = store.nodes()["rpi-01"]
    assert agent_state(record, 1000 + STALE_AFTER) == "online"
    assert agent_state(record, 1001 + STALE_AFTER) == "stale"


def test_retained_words_are_as_old_as_they_say(store: Store) -> None:
    """Only the node's clock can tell; one that runs ahead does not make it fresh for ever."""
    store.add([status("online", time=400, retained=True)], now=1000)
    assert agent_state(store.nodes()["rpi-01"], 1000) == "stale"
    store.add([status("online", time=9e9, retained=True)], now=1000)
    assert store.nodes()["rpi-01"].seen == 1000


def test_an_older_report_does_not_replace_a_newer_one(store: Store) -> None:
    store.report("rpi-01", {"revision": "apply"}, seen=1000)
    store.add([report(900, "retained before", retained=True)], now=1001)
    assert (store.nodes()["rpi-01"].report or {})["revision"] == "apply"
    store.add([report(1, "agent")], now=1002)
    assert (store.nodes()["rpi-01"].report or {})["revision"] == "agent"


def test_events_are_kept_once_and_pruned(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def event(seq: int) -> Message:
        body = {"boot": "b", "seq": seq, "time": 1, "kind": "died", "service": "web", "text": "x"}
        return Message("rpi-01", "event", body)

    store.add([event(1), event(1), event(2), event(3)], now=5)
    assert [record.kind for record in store.events()] == ["died"] * 3
    monkeypatch.setattr("otto_run.store._KEEP_EVENTS", 1)
    store.prune(now=6)
    assert len(store.events()) == 1


def test_metrics_are_kept_for_a_day(store: Store) -> None:
    for moment in (0, 50_000, 100_000):
        store.add([metrics()], now=moment)
    store.prune(now=100_000)
    assert [seen for seen, _ in store.history("rpi-01", 0)] == [50_000, 100_000]


def test_readers_and_writer_side_by_side(store: Store) -> None:
    with Store(store.path) as reader:
        store.add([status("online")], now=1)
        assert reader.nodes()["rpi-01"].agent == "0.1.0"


def test_forgotten_nodes_are_gone(store: Store) -> None:
    store.add([status("online"), metrics()], now=1)
    store.forget(["rpi-01"])
    assert store.nodes() == {}
    assert agent_state(NodeRecord("rpi-01"), 1) == "unknown"


@pytest.mark.parametrize("content", [b"no database, but long enough to look at" * 99, None])
def test_a_store_that_cannot_be_used_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "store.db"
    if content is None:
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 99")
        other.close()
    else:
        path.write_bytes(content)
    with pytest.raises(OttoError) as error:
        Store(path)
    assert error.value.next.startswith(f"mv {path} ")
