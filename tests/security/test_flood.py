# SPDX-License-Identifier: GPL-3.0-or-later
"""Fault 38: one node floods the broker and the store with its own password. The others' samples and
events are all kept, and soon; what the flood leaves has a size."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import CONTROL
from ansible_collections.otto.cluster.plugins.module_utils.ranges import Ranges
from ansible_collections.otto.cluster.plugins.plugin_utils.access import access

from otto_run.hearing import A_MINUTE, Meter, Turns
from otto_run.listener import Listener
from otto_run.messages import MAX_BYTES, Message
from otto_run.store import Store
from otto_run.store_quotas import Quota
from tests.conftest import ROOT, wait_for
from tests.security.conftest import CLUSTER, NODES, Client, Site
from tests.security.flooder import payload

MAD, HONEST = NODES
BEFORE = 50  # events of the honest node from before
SOON = 3.0  # seconds from a sample to its ack


def begin(site: Site, seconds: float) -> subprocess.Popen[str]:
    """A node with its own password that says all it can."""
    mine = access(site.mqtt, site.state, CLUSTER, MAD)
    ca = site.state / "ca.pem"
    ca.write_text(mine.ca)
    words = [mine.host, str(mine.port), str(ca), mine.username, mine.password]
    words += [f"otto-{CLUSTER}-{MAD}", f"otto/v1/{CLUSTER}/{MAD}", str(seconds)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.security.flooder", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


class Teller:
    """A node that does what an agent does, and knows how long it waited for each ack."""

    def __init__(self, client: Client) -> None:
        self._client = client
        client.subscribe(f"otto/v1/{CLUSTER}/{HONEST}/ack")
        self._seq = 0

    def say(self, kind: str) -> None:
        self._seq += 1
        self._client.say(f"otto/v1/{CLUSTER}/{HONEST}/{kind}", payload(kind, self._seq))

    def waits(self) -> float:
        """Say one of each; seconds until both are acked."""
        begun = time.monotonic()
        self.say("event")
        self.say("metrics")
        wait_for(lambda: self._seq in self.acked, seconds=30, what="an ack", every=0.02)
        return time.monotonic() - begun

    @property
    def acked(self) -> Ranges:
        return Ranges(
            (first, last)
            for _, ack in list(self._client.heard)
            for first, last in json.loads(ack)["stored"].get("b", [])
        )

    @property
    def said(self) -> int:
        return self._seq


def flood(site: Site, store: Path, seconds: float) -> None:
    """The whole story; fails where the honest node has suffered for it."""
    mine = access(site.mqtt, site.state, CLUSTER, CONTROL)
    listener = Listener(mine, CLUSTER, NODES, store)
    listener.start()
    honest = Teller(site.client(HONEST))
    for _ in range(BEFORE):
        honest.say("event")
    mad = begin(site, seconds)
    waits = []
    while mad.poll() is None:
        waits.append(honest.waits())
    sent = int(mad.communicate()[0])
    waits.append(honest.waits())
    listener.check()
    listener.stop()
    listener.check()
    assert sent > 1000
    assert max(waits) < SOON, f"{sent} messages beside {len(waits)}: {max(waits):.1f} s"
    assert list(honest.acked) == [(1, honest.said)]
    with Store(store) as found:
        found.prune(time.time())
        assert found.counts(HONEST) == (honest.said, 0)
        events = [one for one in found.events(node=HONEST) if one.kind == "died"]
        assert len(events) + len(found.history(HONEST, 0)) == honest.said
        theirs = found.events(node=MAD)
        assert len(theirs) <= Quota().events + 2
        lives = "SELECT count(DISTINCT boot), count(*) FROM numbers WHERE node = ?"
        count, ranges = found._db.execute(lives, (MAD,)).fetchone()
        assert count <= Quota().lives + 1
        assert ranges <= Quota().ranges
        assert any(event.kind == "quota" for event in theirs), "nothing is dropped in silence"
        assert not any(event.kind == "quota" for event in found.events(node=HONEST))
    # Of one node: 5,000 events of 600 characters, metrics and its last report.
    assert store.stat().st_size < 48 << 20


def test_a_node_that_floods_delays_only_itself(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At both brokers; what it may say at once is made small, so that it is used up soon."""
    monkeypatch.setattr("otto_run.hearing._AT_ONCE", 1000)
    flood(site, tmp_path / "store.db", 4)


@pytest.mark.hostile
def test_a_node_that_floods_for_a_minute(site: Site, tmp_path: Path) -> None:
    flood(site, tmp_path / "store.db", 60)


# ---- the arithmetic alone


def message(node: str, number: int) -> Message:
    return Message(node, "metrics", {"boot": "b"}, number=number)


def never() -> bool:
    return False


def test_nodes_take_turns() -> None:
    """One with many in the queue is not before one that comes with its first."""
    turns = Turns()
    for number in range(100):
        assert turns.put(message("mad", number), 10, never)
    assert turns.put(message("honest", 1), 10, never)
    batch = turns.take(10, 0, 0)
    assert [one.node for one in batch[:2]] == ["mad", "honest"]
    assert [one.number for one in batch if one.node == "mad"] == list(range(9))
    assert len(turns.take(1000, 0, 0)) == 91
    assert turns.empty


@pytest.mark.parametrize(("size", "fit"), [(10, 500), (MAX_BYTES, 9)])
def test_a_node_has_its_share_of_the_queue(size: int, fit: int) -> None:
    """In number and in bytes; another one still has its own."""
    turns = Turns()
    taken = [turns.put(message("mad", number), size, never) for number in range(fit + 5)]
    assert taken == [True] * fit + [False] * 5
    assert turns.put(message("honest", 1), size, never)


def test_a_full_queue_waits_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otto_run.hearing.QUEUE", 2)
    turns = Turns()
    ends = iter([False, True])
    assert turns.put(message("a", 1), 1, never)
    assert turns.put(message("b", 1), 1, never)
    assert not turns.put(message("c", 1), 1, lambda: next(ends))


def test_what_is_too_much_is_told_once_a_minute() -> None:
    """A full ring is let through at once; how a node stands is never held back by the rest."""
    meter = Meter()
    assert all(meter.admits("mad", "event", 100, now=0) for _ in range(40_000))
    assert not any(meter.admits("mad", "event", 100, now=0) for _ in range(7))
    assert meter.admits("mad", "status", 100, now=0)
    assert meter.admits("honest", "event", 100, now=0)
    (told,) = meter.told(now=1)
    assert (told.node, told.kind) == ("mad", "quota")
    assert told.body["text"].startswith("7 of its messages were not taken in")
    assert meter.told(now=2) == []
    meter.drop("mad")
    assert meter.told(now=30) == []
    assert len(meter.told(now=62)) == 1
    assert sum(meter.admits("mad", "event", 100, now=60) for _ in range(2000)) == A_MINUTE


def test_large_messages_are_counted_by_their_size() -> None:
    meter = Meter()
    taken = sum(meter.admits("mad", "report", MAX_BYTES, now=0) for _ in range(1000))
    assert taken == 128
