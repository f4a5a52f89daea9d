# SPDX-License-Identifier: GPL-3.0-or-later
"""Many nodes at one broker, which dies."""

from __future__ import annotations

import resource
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from otto_agent import messages
from otto_agent.config import Broker, Config
from otto_agent.mqtt import Link
from otto_agent.ring import Ring
from otto_run.status import agent_state
from otto_run.store import Store
from tests.brokers import PASSWORD, Embedded, Mosquitto
from tests.conftest import wait_for
from tests.wire.conftest import Place

NODES = 200  # of the 1,000 of fault 26: as many as two cores carry beside broker and listener
AWAY = 10  # samples that each of them takes while the broker is away


class Fleet:
    """The links of many agents in one process: the agent's own, without Docker and metrics."""

    def __init__(self, place: Place, names: list[str]) -> None:
        self.links = {name: self._link(place, name) for name in names}
        self._seq = dict.fromkeys(names, 0)

    def _link(self, place: Place, name: str) -> Link:
        config = Config(
            cluster=place.cluster,
            node=name,
            mqtt=Broker(
                "127.0.0.1", place.broker.port, f"{place.cluster}/{name}", PASSWORD, keepalive=20
            ),
        )
        return Link(config, "boot", Ring(place.directory / f"{name}.db"))

    def measure(self) -> None:
        for name, link in self.links.items():
            self._seq[name] += 1
            seq = self._seq[name]
            sample = messages.metrics({"load_1m": 1.0}, {}, "boot", seq, time.time(), 10.0)
            link.put(messages.METRICS, seq, sample)

    @property
    def up(self) -> int:
        return sum(link.up for link in self.links.values())

    def stop(self) -> None:
        ends = [threading.Thread(target=link.stop) for link in self.links.values()]
        for end in ends:
            end.start()
        for end in ends:
            end.join()


@pytest.mark.fault
@pytest.mark.parametrize("kind", [Mosquitto, Embedded])
def test_a_fleet_comes_back_at_once(
    kind: type[Mosquitto], tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """Fault 26, at 200 nodes: the broker is killed with SIGKILL and comes back. Nothing is lost,
    and the status of every node is right within 60 s."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    names = [f"n{number:03}" for number in range(NODES)]
    broker = Embedded(tmp_path, "fleet", names) if kind is Embedded else kind(tmp_path)
    broker.start()
    place = Place(broker, "fleet", tmp_path)
    fleet = Fleet(place, names)
    listener = place.listener(tuple(names))
    try:
        for link in fleet.links.values():
            link.start()
        wait_for(lambda: fleet.up == NODES, seconds=60, what="the fleet")
        fleet.measure()
        broker.stop()
        wait_for(lambda: fleet.up == 0, seconds=30, what="the end of every connection")
        for _ in range(AWAY):
            fleet.measure()
        broker.start()
        begun = time.monotonic()

        def right() -> bool:
            with Store(place.store) as store:
                records = store.nodes()
            return fleet.up == NODES and all(
                agent_state(record, time.time()) == "online"
                and record.conn == fleet.links[name].conn
                for name, record in records.items()
            )

        wait_for(right, seconds=60, what="the right status of all", every=0.5)
        status_after = time.monotonic() - begun

        def all_home() -> bool:
            """Of those that were taken till then; new ones are taken all the while."""
            fleet.measure()
            return not any(
                link.ring.holds("boot", seq)
                for link in fleet.links.values()
                for seq in range(1, AWAY + 2)
            )

        wait_for(all_home, seconds=120, what="every sample", every=2.0)
        home_after = time.monotonic() - begun
        listener.check()
        rows = place.rows()
        assert Counter(seq for _, seq in rows if seq <= AWAY + 1) == dict.fromkeys(
            range(1, AWAY + 2), NODES
        )
        with Store(place.store) as store:
            assert all(store.counts(name)[1] == 0 for name in names)
    finally:
        fleet.stop()
        listener.stop()
        broker.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    record_property("status right after seconds", round(status_after, 1))
    print(f"{NODES} nodes: status right {status_after:.1f} s, all samples {home_after:.1f} s")
