# SPDX-License-Identifier: GPL-3.0-or-later
"""Fault 38: one node floods the broker and the store with its own password. The others' samples and
events are all kept, and soon; what the flood leaves has a size."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import CONTROL
from ansible_collections.otto.cluster.plugins.plugin_utils.access import access

from otto_agent import messages
from otto_agent.config import Broker, Config
from otto_agent.mqtt import Link
from otto_agent.ring import Ring
from otto_run.hearing import A_MINUTE, Meter, Turns
from otto_run.listener import Listener
from otto_run.messages import MAX_BYTES, Message
from otto_run.store import Store
from otto_run.store_quotas import Quota
from tests.conftest import ROOT, wait_for
from tests.security.conftest import CLUSTER, NODES, Site

MAD, HONEST = NODES
BEFORE = 25  # events and samples of the honest node from before
SOON = 2.0  # seconds from a sample to its ack, most of the time
AT_LAST = 10.0  # the longest one


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


class Honest:
    """The link of another node's agent, as the agent has it."""

    def __init__(self, site: Site, directory: Path) -> None:
        mine = access(site.mqtt, site.state, CLUSTER, HONEST)
        config = Config(CLUSTER, HONEST, Broker(**mine.to_json()), state_dir=directory)
        self.link = Link(config, "boot", Ring(directory / "ring.db"))
        self.said = 0
        self.link.start()
        wait_for(lambda: self.link.up, seconds=15, what="the honest node")

    def say(self) -> None:
        """One event and one sample."""
        now = time.time()
        event = messages.event("died", "ended", "boot", self.said + 1, now, "web")
        self.link.put("event", self.said + 1, event)
        metrics = messages.metrics({"load_1m": 1}, {}, "boot", self.said + 2, now, 10)
        self.link.put("metrics", self.said + 2, metrics)
        self.said += 2

    def heard(self, upto: int | None = None) -> bool:
        """Whether all that it said till then is known to be stored."""
        numbers = range(1, (upto or self.said) + 1)
        return not any(self.link.ring.holds("boot", seq) for seq in numbers)

    def waits(self, over: Callable[[], bool]) -> float:
        """Say something; seconds until it is acked, or all is over. It goes on speaking, as an
        agent does."""
        begun = again = time.monotonic()
        self.say()
        upto = self.said
        while not self.heard(upto) and not over():
            now = time.monotonic()
            if now - again > 1:
                again = now
                self.say()
            time.sleep(0.02)
        return time.monotonic() - begun


def told(store: Path) -> bool:
    """Whether the events of the mad node say that something of it was dropped."""
    with Store(store) as found:
        return any(event.kind == "quota" for event in found.events(node=MAD))


def flood(site: Site, directory: Path, seconds: float) -> None:
    """The whole story; fails where the honest node has suffered for it."""
    store = directory / "store.db"
    listener = Listener(access(site.mqtt, site.state, CLUSTER, CONTROL), CLUSTER, NODES, store)
    listener.start()
    honest = Honest(site, directory)
    try:
        for _ in range(BEFORE):
            honest.say()
        mad = begin(site, seconds)
        waits = []
        while mad.poll() is None:
            waits.append(honest.waits(lambda: mad.poll() is not None))
        sent = int(mad.communicate()[0])
        late = time.monotonic() + 60
        honest.waits(lambda: time.monotonic() > late)
        wait_for(honest.heard, seconds=30, what="the last acks")
        wait_for(lambda: told(store), seconds=30, what="a word about what was dropped")
    finally:
        honest.link.stop()
        listener.stop()
    listener.check()
    print(f"{site.kind}: {sent} messages; acks after {median(waits):.2f} s, {max(waits):.2f} s")
    assert sent > 1000
    if site.kind == "embedded":  # Mosquitto drops what comes while the control plane is behind
        assert median(waits) < SOON
        assert max(waits) < AT_LAST
    with Store(store) as found:
        found.prune(time.time())
        assert found.counts(HONEST) == (honest.said, 0)
        assert len(found.events(node=HONEST)) == len(found.history(HONEST, 0)) == honest.said / 2
        theirs = found.events(node=MAD)
        assert len(theirs) <= Quota().events + 2
        lives = "SELECT count(DISTINCT boot), count(*) FROM numbers WHERE node = ?"
        count, ranges = found._db.execute(lives, (MAD,)).fetchone()
        assert count <= Quota().lives + 1
        assert ranges <= Quota().ranges
    # Of one node: 5,000 events of 600 characters, metrics and its last report.
    assert store.stat().st_size < 48 << 20


def test_a_node_that_floods_delays_only_itself(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 38: at both brokers; what it may say at once is made small, so it is used up soon."""
    monkeypatch.setattr("otto_run.hearing._AT_ONCE", 300)
    monkeypatch.setattr("otto_agent.replay.LOOK", 2.0)
    flood(site, tmp_path, 4)


@pytest.mark.hostile
def test_a_node_that_floods_for_a_minute(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otto_agent.replay.LOOK", 5.0)
    flood(site, tmp_path, 60)


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


def test_a_node_has_its_share_of_a_batch() -> None:
    """However much of it waits: no more than an agent says before it waits for an ack."""
    turns = Turns()
    for number in range(150):
        assert turns.put(message("mad", number), 10, never)
    assert [len(turns.take(500, 0, 0)) for _ in range(3)] == [100, 50, 0]


@pytest.mark.parametrize(("size", "fit"), [(10, 200), (MAX_BYTES, 9)])
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
