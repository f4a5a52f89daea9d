# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

from otto_run.messages import Message
from otto_run.status import STALE_AFTER, agent_state
from otto_run.store import NodeRecord, Store
from otto_run.store_tables import STEPS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.db") as opened:
        yield opened


def status(state: str, boot: str = "b1", conn: int = 1, time: float = 0, **more: Any) -> Message:
    body = {"state": state, "boot": boot, "conn": conn, "agent": "0.1.0", "time": time}
    return Message("rpi-01", "status", body, **more)


_numbers = itertools.count(1)


def metrics(time: float = 0, number: int | None = None, **more: Any) -> Message:
    body = {"boot": "b1", "time": time, "host": {}, "containers": {}, **more}
    return Message("rpi-01", "metrics", body, number=number or next(_numbers))


def gap(first: int, last: int) -> Message:
    body = {"boot": "b1", "first": first, "last": last, "time": 1, "text": "gone"}
    return Message("rpi-01", "gap", body)


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


def test_a_clock_that_was_ahead_freezes_nothing(store: Store) -> None:
    """Ours: what is live is news whatever was noted, and nobody is online for years."""
    store.add([status("online"), report(1, "then")], now=9000)
    store.add([report(1, "now")], now=1000)
    record = store.nodes()["rpi-01"]
    assert (record.report or {})["revision"] == "now"
    assert agent_state(record, 1001 + STALE_AFTER) == "stale"
    store.add([metrics()], now=9000)
    assert agent_state(store.nodes()["rpi-01"], 1000) == "stale"


def test_a_node_that_says_too_much_of_what_is_lost_breaks_nothing(store: Store) -> None:
    for life in range(1100):
        body = {"boot": str(life), "first": 0, "last": 2**53 - 1, "time": 1, "text": "gone"}
        store.add([Message("rpi-01", "gap", body)], now=1000)
    assert store.nodes()["rpi-01"].lost > 2**62


def test_events_are_kept_once_and_pruned(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def event(seq: int) -> Message:
        body = {"boot": "b", "seq": seq, "time": 1, "kind": "died", "service": "web", "text": "x"}
        return Message("rpi-01", "event", body, number=seq)

    store.add([event(1), event(1), event(2), event(3)], now=5)
    assert [record.kind for record in store.events()] == ["died"] * 3
    monkeypatch.setattr("otto_run.store._KEEP_EVENTS", 1)
    store.prune(now=6)
    assert len(store.events()) == 1


def test_metrics_are_kept_for_a_day(store: Store) -> None:
    for moment in (0, 50_000, 100_000):
        store.add([metrics()], now=moment)
    store.prune(now=100_000)
    assert [at for at, _ in store.history("rpi-01", 0)] == [50_000, 100_000]


def test_a_sample_is_stored_once_for_ever(store: Store) -> None:
    """Also when it comes again after the first one was pruned."""
    store.add([metrics(number=1), metrics(number=1)], now=1000)
    store.add([metrics(number=1), metrics(number=2)], now=1001)
    assert len(store.history("rpi-01", 0)) == 2
    store.prune(now=1001 + 86400)
    store.add([metrics(number=1)], now=90_000)
    assert [at for at, _ in store.history("rpi-01", 0)] == [1001]
    assert store.counts("rpi-01") == (2, 0)


def test_a_gap_counts_what_is_not_stored(store: Store) -> None:
    """Each number is stored or gone, never both; the event tells how many."""
    store.add([metrics(number=2), gap(1, 4), gap(1, 5)], now=1000)
    assert store.counts("rpi-01") == (1, 4)
    store.add([gap(1, 5)], now=1001)
    assert len(store.events()) == 2, "told again, for its ack was lost: nothing new"
    store.add([metrics(number=3)], now=1002)
    assert store.counts("rpi-01") == (2, 3), "it was on its way"
    assert store.nodes()["rpi-01"].lost == 4
    assert store.nodes(lost_since=1001)["rpi-01"].lost == 0


def test_late_samples_go_where_they_belong(store: Store) -> None:
    """Fault 17: history has them at their time; how the node stands now does not go back."""
    store.add([metrics(number=9, host={"load_1m": 9})], now=1000)
    store.add([metrics(number=n, age=100.0 - n, host={"load_1m": n}) for n in (2, 1)], now=1000)
    found = [(at, body["host"]["load_1m"]) for at, body in store.history("rpi-01", 0)]
    assert found == [(901, 1), (902, 2), (1000, 9)]
    assert (store.nodes()["rpi-01"].metrics or {})["host"] == {"load_1m": 9}


def test_events_are_found_by_node_service_and_time(store: Store) -> None:
    def event(number: int, node: str, service: str, age: float) -> Message:
        body = {"boot": "b", "time": 0, "kind": "died", "service": service, "text": str(number)}
        return Message(node, "event", {**body, "age": age}, number=number)

    store.add([event(1, "a", "web", 5), event(2, "a", "db", 50), event(3, "b", "web", 1)], now=100)

    def texts(**how: Any) -> str:
        return "".join(found.text for found in store.events(**how))

    assert texts() == "213"
    assert (texts(node="a"), texts(service="web"), texts(since=90), texts(last=1)) == (
        "21", "13", "13", "3",
    )  # fmt: skip
    assert [found.text for found in store.events_after(1, node="a")] == ["2"]
    assert store.last_event() == 3


def test_an_older_store_is_kept(tmp_path: Path) -> None:
    """The tables of 0.1.0, with what was in them."""
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as old:
        for step in STEPS[:2]:
            old.executescript(step)
        old.execute("PRAGMA user_version = 2")
        old.execute('INSERT INTO metrics VALUES (\'rpi-01\', 5, \'{"boot":"b","host":{}}\')')
        old.execute("INSERT INTO events VALUES (7, 'rpi-01', 'b', 3, 5, 4, 'died', 'web', 'x')")
        old.execute("INSERT INTO applies (time, kind, file) VALUES (1, 'apply', 'f')")
    old.close()
    with Store(path) as store:
        assert store.history("rpi-01", 0) == [(5, {"boot": "b", "host": {}})]
        assert [(event.id, event.at, event.kind) for event in store.events()] == [(7, 5, "died")]
        assert len(store.applies()) == 1
    with Store(path) as store:
        assert len(store.events()) == 1, "once"


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
