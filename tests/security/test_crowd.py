# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody can crowd others out at the embedded broker: fault 39, and what else takes its memory."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import CONTROL

from otto_run import broker
from otto_run.broker_doors import Shared
from tests.conftest import wait_for
from tests.run.conftest import free_port
from tests.security import attacker
from tests.security.conftest import CLUSTER, NODES, Site

ONE = f"otto/v1/{CLUSTER}/rpi-01"
SOON = 2.0  # seconds within which an agent is in, whatever others do
MIB = 1 << 20

_BROKER = """
import os, resource, signal, sys
from pathlib import Path
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Cluster, Mqtt, Node
from otto_run import broker, broker_lobby
directory, port, how, *nodes = sys.argv[1:]
if how == "without limits":  # who came first keeps the place
    broker_lobby._last_of_all = lambda here: None
cluster = Cluster(
    "home", tuple(Node(node, "192.0.2.1", "pi") for node in nodes),
    mqtt=Mqtt("127.0.0.1", int(port)),
)
place = broker.Place("127.0.0.1", int(port), embedded=True, address="127.0.0.1")
made = broker.own(cluster, Path(directory), place)
made.start()
if how == "few files":
    most = len(os.listdir("/proc/self/fd")) + 6
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
print("up", flush=True)
signal.pause()
"""


class Apart(Site):
    """The embedded broker in a process of its own, as anybody sees it: its memory, its time and
    what it prints."""

    def __init__(self, directory: Path, how: str = "as it is") -> None:
        super().__init__(directory, "embedded")
        self.directory_of_log = directory
        self._how = how

    def start(self, certificate: object = None) -> None:
        assert certificate is None
        arguments = [str(self.directory), str(self.mqtt.port), self._how, *NODES]
        with (self.directory_of_log / "said").open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BROKER, *arguments], stdout=subprocess.PIPE, stderr=said
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"up\n", self.said

    @property
    def said(self) -> str:
        return (self.directory_of_log / "said").read_text()

    @property
    def memory(self) -> int:
        """Bytes of it that are in memory."""
        pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def busy(self) -> float:
        """Seconds of a processor that it has used."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Apart]]:
    sites: list[Apart] = []

    def make(how: str = "as it is") -> Apart:
        sites.append(Apart(tmp_path, how))
        sites[-1].start()
        return sites[-1]

    yield make
    for site in sites:
        site.stop()


@pytest.fixture
def apart(made: Callable[..., Apart]) -> Apart:
    return made()


@pytest.fixture
def crowd() -> Iterator[list[socket.socket]]:
    connections: list[socket.socket] = []
    yield connections
    for connection in connections:
        connection.close()


KINDS = (attacker.raw, attacker.half_a_hello, attacker.raw, attacker.stalled, attacker.silent)


def fill(site: Site, crowd: list[socket.socket], number: int) -> None:
    """So many connections, of every kind."""
    for make in itertools.islice(itertools.cycle(KINDS), number):
        with contextlib.suppress(OSError):  # sent away at once
            crowd.append(make(site))


def agent_is_in_after(site: Site) -> float:
    """Seconds; as many as there were if it is not let in."""
    begun = time.monotonic()
    with contextlib.suppress(OSError, AssertionError):
        if site.client("rpi-01").code == "":
            return time.monotonic() - begun
    return float("inf")


def test_an_agent_is_let_in_beside_500_silent_connections(
    apart: Apart, crowd: list[socket.socket]
) -> None:
    """Fault 39: silent, half-open and raw ones, of its own address. What they cost is bounded."""
    assert agent_is_in_after(apart) < SOON
    before = apart.memory
    fill(apart, crowd, 500)
    assert agent_is_in_after(apart) < SOON
    assert apart.memory - before < 20 * MIB
    assert apart.said == ""


def test_a_mosquitto_has_places_left(tmp_path: Path, crowd: list[socket.socket]) -> None:
    """It sends nobody away for 90 s, and has no limit for one address: it has more places."""
    site = Site(tmp_path, "mosquitto")
    site.start()
    try:
        fill(site, crowd, 500)
        assert agent_is_in_after(site) < SOON
    finally:
        site.stop()


def test_it_is_the_limits_that_let_it_in(
    made: Callable[..., Apart], crowd: list[socket.socket]
) -> None:
    """Switched off, the same crowd keeps it out: the test above can fail."""
    site = made("without limits")
    assert agent_is_in_after(site) < SOON
    fill(site, crowd, 500)
    assert agent_is_in_after(site) > SOON


def test_a_member_that_is_in_stays_in(apart: Apart, crowd: list[socket.socket]) -> None:
    """Nobody is pushed out who has logged in, and the control plane hears it all the while."""
    plane = apart.client(CONTROL)
    plane.subscribe("otto/v1/home/#")
    node = apart.client("rpi-01")
    fill(apart, crowd, 100)
    node.say(f"{ONE}/event", b"still here")
    wait_for(lambda: (f"{ONE}/event", b"still here") in plane.heard, seconds=SOON, what="its word")
    assert not node.ended.is_set()


def test_without_files_it_is_quiet_and_comes_back(
    made: Callable[..., Apart], crowd: list[socket.socket]
) -> None:
    """Too many open files: no line for each connection, no loop at full speed, and whoever is
    silent goes for one who speaks."""
    site = made("few files")
    before = site.busy
    fill(site, crowd, 60)
    assert agent_is_in_after(site) < SOON
    begun = time.monotonic()
    wait_for(lambda: time.monotonic() - begun > 1, seconds=5, what="a second of it")
    assert site.busy - before < 1.0
    assert site.said == ""


def test_half_a_word_costs_no_time(apart: Apart, crowd: list[socket.socket]) -> None:
    """Half a ClientHello is waited for, not looked at again and again."""
    crowd.extend(attacker.half_a_hello(apart) for _ in range(10))
    before, begun = apart.busy, time.monotonic()
    wait_for(lambda: time.monotonic() - begun > 1, seconds=5, what="a second of it")
    assert apart.busy - before < 0.2


@pytest.mark.parametrize("make", [attacker.raw, attacker.half_a_hello, attacker.stalled,
                                  attacker.silent])  # fmt: skip
def test_who_does_not_log_in_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Site], socket.socket]
) -> None:
    monkeypatch.setattr("otto_run.broker_entrance.LOGIN", 0.3)
    site = Site(tmp_path, "embedded")
    site.start()
    try:
        with make(site) as connection:
            assert attacker.ends(connection)
        embedded = site._embedded
        assert embedded is not None
        assert embedded.turned_away() == {"127.0.0.1": 1}, "it is counted"
    finally:
        site.stop()


def test_passwords_are_not_guessed_fast(apart: Apart) -> None:
    """A wrong one is answered after half a second, and the next one needs a connection."""
    begun = time.monotonic()
    for _ in range(2):
        with attacker.silent(apart) as guess:
            guess.sendall(attacker.connect("otto-home-rpi-01", "home/rpi-01", "guess"))
            assert guess.recv(4) == b"\x20\x02\x00\x05"
    assert time.monotonic() - begun >= 1


# ---- members who mean it ill


def send(connection: socket.socket, packets: Iterable[bytes], seconds: float = 4) -> None:
    """Until all are sent, the time has passed, or nobody takes them any more."""
    connection.settimeout(1)
    end = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        for one in packets:
            connection.sendall(one)
            if time.monotonic() > end:
                return


ILL: dict[str, Iterable[bytes]] = {
    "says much to itself": [attacker.publish(f"{ONE}/status", b"x" * (MIB // 2))] * 200,
    "says much to others": [attacker.publish(f"{ONE}/event", b"x" * (MIB // 2))] * 200,
    "says it twice": [
        attacker.publish(f"{ONE}/event", b"x" * 9999, 2, number=number)
        for number in range(1, 10_001)
    ],
}


@pytest.mark.parametrize("what", ILL)
def test_a_member_that_means_ill_takes_its_own_share(what: str, apart: Apart) -> None:
    """A node with its own password, while a control plane is connected that hears nothing: the
    broker's memory is bounded, and another node comes in and is answered at once."""
    deaf = attacker.logged_in(apart, CONTROL, "otto-run-home-deaf")
    deaf.sendall(attacker.subscribe("otto/v1/home/#"))
    ill = attacker.logged_in(apart, "rpi-01", "otto-home-rpi-01")
    ill.sendall(attacker.subscribe(f"{ONE}/status"))
    before = apart.memory
    send(ill, ILL[what])
    grown = apart.memory - before
    begun = time.monotonic()
    other = apart.client("rpi-02")
    assert other.code == ""
    assert other.subscribe("otto/v1/home/rpi-02/cmd") == [True]
    assert time.monotonic() - begun < SOON
    assert grown < 32 * MIB
    assert apart.said == ""
    for connection in (ill, deaf):
        connection.close()


def test_a_packet_that_does_not_end_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keepalive is not asked for in the midst of it: a node that lost its power there would be
    online for ever."""
    monkeypatch.setattr("otto_run.broker_flow._WHOLE", 0.3)
    site = Site(tmp_path, "embedded")
    site.start()
    try:
        with attacker.logged_in(site, "rpi-01", "otto-home-rpi-01") as node:
            node.sendall(attacker.publish(f"{ONE}/event", b"x" * 1000)[:-1])
            assert attacker.ends(node)
    finally:
        site.stop()


@contextlib.contextmanager
def alone() -> Iterator[tuple[broker.EmbeddedBroker, socket.socket]]:
    """A broker with one account for all, and a client that is logged in."""
    port = free_port()
    embedded = broker.EmbeddedBroker("127.0.0.1", port, Shared("a", "b"))
    embedded.start()
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(attacker.connect("one", "a", "b"))
            assert client.recv(4) == b"\x20\x02\x00\x00"
            yield embedded, client
    finally:
        embedded.stop()


def test_what_is_kept_for_later_is_bounded() -> None:
    """Of one account, in bytes: the newest does not fit, and what stood there before goes too."""
    with alone() as (embedded, client):
        for number in range(80):
            client.sendall(attacker.publish(f"topic/{number}", b"x" * (MIB - 99), 0, True))
        client.sendall(b"\xc0\x00")
        client.settimeout(20)
        assert client.recv(2) == b"\xd0\x00"
        kept = embedded._broker
        assert kept is not None
        wait_for(lambda: len(kept._retained_messages) > 60, seconds=5, what="what is kept")
        assert sum(len(one.data) for one in kept._retained_messages.values()) <= 64 * MIB


def test_one_client_has_so_many_subscriptions() -> None:
    """What is over them is refused, one by one."""
    with alone() as (_, client):
        client.sendall(attacker.subscribe(*(f"a/{number}" for number in range(100))))
        client.settimeout(5)
        answer = client.recv(200)
        assert answer.count(b"\x80") == 36


@pytest.mark.hostile
def test_an_agent_is_let_in_again_and_again_while_they_come_back(
    apart: Apart, crowd: list[socket.socket]
) -> None:
    """For half a minute, 500 are open all the time: whoever is sent away comes back at once."""
    end = time.monotonic() + 30
    fill(apart, crowd, 500)
    peak = 0
    while time.monotonic() < end:
        for connection in crowd[:100]:
            connection.close()
        del crowd[:100]
        fill(apart, crowd, 100)
        assert agent_is_in_after(apart) < SOON
        peak = max(peak, apart.memory)
    assert peak < 150 * MIB
    assert apart.said == ""
