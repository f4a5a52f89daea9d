# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether every sample arrives once: a sample a second from each host, while agents, broker,
listener and dockerd are killed at random.

What was sent is told by two that know nothing of each other: the store, and an ear of our own at
the broker that remembers the highest number of every life of every agent. At the end each number
from 1 to the highest has to be stored once, or counted in a gap. What the agents cost meanwhile
is told beside it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started by its path, as the documentation says
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bench.contenders import BENCH
from bench.cost import HEADING, Cost
from bench.fleet import CLUSTER, Fleet, end, wait_for
from bench.hosts import BenchError, close_masters
from bench.table import markdown
from lab.plan import GATEWAY

PORT = 18842
INTERVAL = 1.0
CONTAINERS = 5
LOOK = 5  # samples to a look at what the agents cost
DRAIN = 180.0  # seconds in which all that waits has to come
PAUSE = (2.0, 12.0)  # seconds between two kills
AWAY = (0.5, 5.0)  # seconds that what we started ourselves stays dead


class Ear:
    """Hears every numbered message: (node, boot) -> highest number; node -> its last metrics."""

    def __init__(self) -> None:
        self.highest: dict[tuple[str, str], int] = {}
        self.metrics: dict[str, Mapping[str, Any]] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(f"otto/v1/{CLUSTER}/#", 1)
        self._client.on_message = self._take
        self._client.connect(GATEWAY, PORT)
        self._client.loop_start()

    def _take(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        node, kind = message.topic.split("/")[3:5]
        if kind not in ("metrics", "event"):
            return
        body = json.loads(message.payload)
        if "seq" in body:
            key = (node, body["boot"])
            self.highest[key] = max(body["seq"], self.highest.get(key, 0))
        if kind == "metrics" and body["time"] >= self.metrics.get(node, {"time": 0.0})["time"]:
            self.metrics[node] = body

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclass(frozen=True)
class Count:
    """Of one node: samples that it sent, stored and lost ones, numbers that are neither, and rows
    beyond one for a number."""

    lives: int
    sent: int
    stored: int
    gone: int
    missing: int
    double: int

    @property
    def right(self) -> bool:
        return self.sent == self.stored + self.gone and not self.missing and not self.double


def count(store: Path, node: str, heard: Mapping[tuple[str, str], int]) -> Count:
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        ranges = db.execute(
            "SELECT boot, gone, first, last FROM numbers WHERE node = ?", (node,)
        ).fetchall()
        rows = db.execute(
            "SELECT boot, seq FROM metrics WHERE node = ? AND seq IS NOT NULL UNION ALL"
            " SELECT boot, seq FROM events WHERE node = ? AND seq IS NOT NULL",
            (node, node),
        ).fetchall()
    known: dict[str, list[set[int]]] = collections.defaultdict(lambda: [set(), set()])
    for boot, is_gone, first, last in ranges:
        known[boot][is_gone].update(range(first, last + 1))
    last_of = {boot: number for (name, boot), number in heard.items() if name == node}
    sent = missing = 0
    for boot in known.keys() | last_of.keys():
        stored, gone = known[boot]
        highest = max(last_of.get(boot, 0), *stored, *gone, 0)
        sent += highest
        missing += highest - len(stored | gone)
    return Count(
        lives=len(known.keys() | last_of.keys()),
        sent=sent,
        stored=len(set(rows)),
        gone=sum(len(gone - stored) for stored, gone in known.values()),
        missing=missing,
        double=len(rows) - len(set(rows)),
    )


class Soak:
    def __init__(self, fleet: Fleet, chance: random.Random) -> None:
        self.fleet = fleet
        self.kills: collections.Counter[str] = collections.Counter()
        self._chance = chance
        self._conf = fleet.folder / "mosquitto.conf"
        self.broker: subprocess.Popen[bytes] | None = None
        self.listener: subprocess.Popen[bytes] | None = None

    def start_broker(self) -> None:
        self._conf.write_text(f"listener {PORT} {GATEWAY}\nallow_anonymous true\n")
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self.broker = self.fleet.start(program, "-c", str(self._conf), log="mosquitto.log")

    def start_listener(self) -> None:
        words = (sys.executable, "-m", "bench.listen", str(self.fleet.file))
        environment = {**self.fleet.environment, "PYTHONPATH": str(BENCH.parent)}
        with (self.fleet.folder / "listener.log").open("ab") as log:
            self.listener = subprocess.Popen(
                words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """One of them, with SIGKILL."""
        what = self._chance.choice(("agent", "broker", "listener", "dockerd"))
        node = self._chance.choice(self.fleet.nodes)
        self.kills[what] += 1
        if what == "broker":
            self._kill(self.broker, self.start_broker)
        elif what == "listener":
            self._kill(self.listener, self.start_listener)
        else:
            unit = "otto-agent" if what == "agent" else "docker"
            # It may be dead from the last time.
            self.fleet.shell.run(node, f"systemctl kill --signal=KILL {unit} || true")

    def _kill(self, process: subprocess.Popen[bytes] | None, again: Callable[[], None]) -> None:
        if process is not None:
            process.kill()
            process.wait()
        time.sleep(self._chance.uniform(*AWAY))
        again()

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, self._chance.uniform(*PAUSE)))
            if time.monotonic() < deadline:
                self.kill()

    def end(self) -> None:
        for process in (self.listener, self.broker):
            if process is not None and process.poll() is None:
                end(process)


def soak(fleet: Fleet, chance: random.Random, seconds: float) -> tuple[list[Count], Soak, Cost]:
    with contextlib.ExitStack() as stack:
        work = Soak(fleet, chance)
        stack.callback(work.end)
        work.start_broker()
        # Leaving takes the agents away first: a broker is still there for their last word.
        stack.enter_context(fleet.deployed())
        fleet.otto_run("apply", "--yes")
        ear = Ear()
        stack.callback(ear.close)
        work.start_listener()
        fleet.set_interval(INTERVAL)
        cost, enough = Cost(fleet), threading.Event()
        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(cost.watch, INTERVAL, LOOK, enough)
            try:
                work.run(seconds)
            finally:
                enough.set()
        watching.result()
        ended = time.time()

        def drained() -> bool:
            last = [ear.metrics.get(node.id) for node in fleet.nodes]
            # The last sample itself waits for its ack; one more may be on its way.
            return all(body and body["time"] > ended + 5 and body["backlog"] <= 2 for body in last)

        wait_for(drained, DRAIN, "what waits on the nodes to be stored")
        # Nothing is numbered any more, and what was is stored: then the numbers stand still.
        fleet.on_all("systemctl stop otto-agent")

        def settled() -> bool:
            return not any(one.missing for one in counted())

        def counted() -> list[Count]:
            return [count(fleet.store, node.id, ear.highest) for node in fleet.nodes]

        with contextlib.suppress(BenchError):  # the table says what is missing
            wait_for(settled, 15, "the last samples to be stored")
        return counted(), work, cost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--nodes", nargs="+", default=["rpi-01", "rpi-02", "rpi-04"], help="hosts of the lab"
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = BENCH / ".work" / "soak"
    try:
        with tempfile.TemporaryDirectory(prefix="ob", dir="/tmp") as short:
            fleet = Fleet.of(
                options.nodes, folder, Path(short), port=PORT, containers=CONTAINERS, tls=False
            )
            try:
                counts, work, cost = soak(fleet, random.Random(options.seed), options.minutes * 60)
            finally:
                close_masters(Path(short))
    except BenchError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    kills = ", ".join(f"{what} {times}" for what, times in sorted(work.kills.items()))
    print(f"{options.minutes:g} minutes, seed {options.seed}; killed: {kills}\n")
    names = ("lives", "sent", "stored", "gone", "missing", "double")
    rows = [
        [node.id, *(str(getattr(one, name)) for name in names), "yes" if one.right else "NO"]
        for node, one in zip(fleet.nodes, counts, strict=True)
    ]
    heading = ["host", "agent's lives", "sent", "stored", "counted gaps", "missing", "double rows"]
    print(markdown([[*heading, "sent = stored + gaps"], *rows], right=range(1, 7)))
    print(f"\n{CONTAINERS} containers, one sample in {INTERVAL:g} s, no TLS\n")
    print(markdown([HEADING, *cost.rows()], right=range(2, 8)))
    return 0 if all(one.right for one in counts) else 1


if __name__ == "__main__":
    sys.exit(main())
