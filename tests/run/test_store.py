# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

from otto_run.messages import Message
from otto_run.status import STALE_AFTER, agent_state
from otto_run.store import NodeRecord, Store
from otto_run.store_quotas import Quota
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


@pytest.mark.parametrize("said", [{"time": 9e300}, {"time": -9e300}, {"time": 9e300, "age": 9e300},
                                  {"time": 0, "age": None}])  # fmt: skip
def test_times_that_a_node_makes_up_stay_within_a_year(store: Store, said: dict[str, Any]) -> None:
    """Not in the future, and never so old that another's events are younger by an age."""
    body = {"boot": "b", "kind": "died", "service": "", "text": "x", **said}
    now = 2e9
    store.add([Message("rpi-01", "event", body, number=1)], now=now)
    (found,) = store.events()
    assert now - 367 * 86400 < found.at <= now


def test_a_node_that_says_too_much_of_what_is_lost_breaks_nothing(store: Store) -> None:
    for life in range(1100):
        body = {"boot": str(life), "first": 0, "last": 2**53 - 1, "time": 1, "text": "gone"}
        store.add([Message("rpi-01", "gap", body)], now=1000)
    assert store.nodes()["rpi-01"].lost > 2**62


def event(seq: int, node: str = "rpi-01", boot: str = "b", text: str = "x") -> Message:
    body = {"boot": boot, "seq": seq, "time": 1, "kind": "died", "service": "web", "text": text}
    return Message(node, "event", body, number=seq)


def test_events_are_kept_once(store: Store) -> None:
    store.add([event(1), event(1), event(2), event(3)], now=5)
    assert [record.kind for record in store.events()] == ["died"] * 3


# ---- quotas: fault 38

SMALL = Quota(events=20, events_least=10, samples=50, sample_bytes=5000, lives=10, ranges=30)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "small.db", SMALL) as opened:
        yield opened


def of(store: Store, node: str, kind: str) -> list[str]:
    return [found.text for found in store.events(node=node) if found.kind == kind]


def test_one_node_does_not_wash_away_anothers_events(small: Store) -> None:
    """Of its own the oldest go, and it is told how many."""
    small.add([event(1, "rpi-02", text="only one")], now=1)
    told = [
        message for n in range(1, 1001) for message in small.add([event(n, text=f"{n}")], now=n + 1)
    ]
    small.prune(now=2000)
    assert of(small, "rpi-02", "died") == ["only one"]
    kept = of(small, "rpi-01", "died")
    assert kept == [str(n) for n in range(1001 - len(kept), 1001)]
    assert 10 <= len(small.events(node="rpi-01")) <= SMALL.events + 1
    lines = of(small, "rpi-01", "quota")
    assert lines
    assert all(line.endswith("old events dropped: more than 20 of this node") for line in lines)
    assert [message.body["text"] for message in told][-len(lines) :] == lines
    assert {message.node for message in told} == {"rpi-01"}


@pytest.mark.parametrize(
    ("size", "limit"), [(1, "more than 50 in a day"), (1000, "more than 0 MiB in a day")]
)
def test_metrics_of_one_node_have_a_size(small: Store, size: int, limit: str) -> None:
    """In rows and in bytes; the newest stay, and those of another node do."""
    other = Message("rpi-02", "metrics", metrics(number=1).body, number=1)
    small.add([other], now=1)
    for n in range(1, 201):
        small.add([metrics(number=n, host={f"load_{i}": 1 for i in range(size // 10)})], now=n)
    kept = small.history("rpi-01", 0)
    assert [at for at, _ in kept] == list(range(201 - len(kept), 201))
    assert len(kept) <= SMALL.samples
    assert sum(len(json.dumps(body)) for _, body in kept) <= SMALL.sample_bytes * 1.2
    assert len(small.history("rpi-02", 0)) == 1
    assert any(limit in line for line in of(small, "rpi-01", "quota"))
    assert small.counts("rpi-01") == (200, 0), "each was stored and may be acked"


def test_lives_that_a_node_makes_up_are_bounded(small: Store) -> None:
    """The newest are known; so is the life of another node, which speaks only once."""
    small.add([event(1, "rpi-02", boot="quiet")], now=1)
    for n in range(100):
        small.add([event(1, boot=f"life{n}")], now=n + 2)
    known = small._db.execute("SELECT node, boot FROM numbers").fetchall()
    assert ("rpi-02", "quiet") in known
    assert ("rpi-01", "life99") in known
    assert len(known) <= SMALL.lives + 1
    lines = of(small, "rpi-01", "quota")
    assert any("former lives of its agent is forgotten" in line for line in lines)


def test_holes_that_a_node_makes_up_are_bounded(small: Store) -> None:
    """Each hole costs a row; of one life too many, the newest numbers are known."""
    for n in range(100):
        small.add([event(2 * n)], now=n + 1)
    rows = small._db.execute("SELECT first FROM numbers ORDER BY first").fetchall()
    assert len(rows) <= SMALL.ranges
    assert rows[-1] == (198,)
    small.add([event(198)], now=200)
    assert small.counts("rpi-01")[0] <= SMALL.ranges


def test_many_nodes_share_what_there_is() -> None:
    assert [Quota().events_of_each(nodes) for nodes in (0, 1, 40, 200, 10_000)] == [
        5000, 5000, 5000, 1000, 500,
    ]  # fmt: skip


def test_usage_is_counted_as_rows_come_and_go(store: Store) -> None:
    store.add([metrics(), metrics(), event(1), event(2)], now=1)
    store.add([metrics()], now=90_000)

    def usage() -> tuple[int, int, int]:
        found = store._db.execute("SELECT events, samples, bytes FROM usage").fetchone()
        assert found is not None
        return tuple(found)  # type: ignore[return-value]

    def real() -> tuple[int, int, int]:
        rows = store._db.execute("SELECT count(*), ifnull(sum(length(body)), 0) FROM metrics")
        return (len(store.events()), *rows.fetchone())

    assert usage() == real()
    store.prune(now=90_000)
    assert usage() == real()
    store.forget(["rpi-01"])
    assert usage() == real() == (2, 0, 0)


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
        usage = store._db.execute("SELECT * FROM usage").fetchall()
        assert usage == [("rpi-01", 1, 1, len('{"boot":"b","host":{}}'))]
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
