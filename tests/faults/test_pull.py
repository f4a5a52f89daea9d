# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls over a thin line: slow ones go on, whoever is killed meanwhile; dead ones are given up."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import engine_images
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.operations import PullImage

from tests.conftest import wait_for

from .conftest import Node
from .slow_registry import REGISTRY, SlowRegistry

PORT = 5999
IMAGE = f"127.0.0.1:{PORT}/library/nginx:alpine"  # 48 MB in its layers
DOWNLOADS = "/var/lib/docker/tmp"
SLOW = 600.0  # seconds: ten times the watchdog's limit
Recovered = Callable[..., float]
Line = Callable[[int], None]


@pytest.fixture
def line(node: Node) -> Iterator[Line]:
    """The host's thin line to the registry: bytes a second. Nothing was pulled through it yet."""
    node.inside(f"docker rmi -f {IMAGE} nginx:alpine >/dev/null 2>&1; docker image prune -f")
    source = Path(__file__).with_name("slow_registry.py").read_text()
    node.inside("cat >/tmp/slow_registry.py <<'END'\n" + source + "END\n")
    unit = "otto-test-line"

    def start(rate: int) -> None:
        arguments = f"127.0.0.1 {PORT} {REGISTRY[0]} {REGISTRY[1]} {rate}"
        node.inside(f"systemctl stop {unit} 2>/dev/null; true")
        node.inside(f"systemd-run -q --unit {unit} python3 /tmp/slow_registry.py {arguments}")

    yield start
    node.inside(f"systemctl stop {unit}; docker rmi -f {IMAGE} >/dev/null 2>&1; true")


@contextlib.contextmanager
def starved(node: Node) -> Iterator[None]:
    """The whole host has a third of a core."""
    limit = ["docker", "update", "--cpu-period", "100000", "--cpu-quota"]
    subprocess.run([*limit, "33000", node.machine], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*limit, "-1", node.machine], check=True, capture_output=True)


def pulling(node: Node) -> bool:
    return "layers" in node.inside("journalctl -u otto-agent -n 3 --no-pager -o cat")


def serves(node: Node) -> Callable[[], bool]:
    """Whether `web` runs the image that came over the line."""
    find = "docker inspect web --format '{{.Config.Image}} {{.State.Status}}'"
    return lambda: node.inside(find, check=False) == f"{IMAGE} running"


@pytest.mark.fault
@pytest.mark.lab
def test_killed_during_a_pull(node: Node, line: Line, recovered: Recovered) -> None:
    """Fault 3: the old version serves all the time, and the pull goes on with the next agent."""
    before = node.containers()
    line(1_000_000)
    node.aim("web", image=IMAGE)
    wait_for(lambda: pulling(node), seconds=40, what="the pull")
    begun = time.monotonic()
    node.inside(f"kill -9 {node.agent()}")
    assert node.containers() == before
    wait_for(lambda: pulling(node), seconds=40, what="the pull again")
    assert node.containers() == before
    recovered(begun, serves(node), 150, "the new version")
    assert node.containers()["other"] == before["other"]
    assert set(node.containers()) == set(before)


@pytest.mark.fault
@pytest.mark.lab
def test_a_slow_pull_on_a_starved_host(node: Node, line: Line) -> None:
    """Fault 6: ten minutes, a third of a core for the whole host. The watchdog (60 s) does
    not fire, the old version serves, and other containers are not forgotten afterwards."""
    before, life = node.containers(), (node.agent(), node.agent("NRestarts"))
    line(int(48_100_000 / SLOW))
    begun = time.monotonic()
    with starved(node):
        node.aim("web", image=IMAGE)
        wait_for(lambda: pulling(node), seconds=90, what="the pull")
        time.sleep(SLOW - 60)  # the fault's own length
        assert node.containers() == before
        assert pulling(node), "it was not slow"
        wait_for(serves(node), seconds=SLOW, what="the new version", every=2)
    assert time.monotonic() - begun > SLOW - 60
    assert (node.agent(), node.agent("NRestarts")) == life
    assert node.well()
    assert node.containers()["other"] == before["other"]


@pytest.mark.fault
@pytest.mark.lab
def test_the_disk_fills_up_in_a_pull(node: Node, line: Line, recovered: Recovered) -> None:
    """Fault 11: the old version serves, the cause is told, and with room again it is pulled. The
    engine lays what it downloads into this folder; a disk of 1 MiB is mounted there."""
    before = node.containers()
    line(20_000_000)
    node.inside(f"mount -t tmpfs -o size=1m otto-test {DOWNLOADS}")
    try:
        node.aim("web", image=IMAGE)
        told = "journalctl -u otto-agent -n 40 --no-pager -o cat"
        wait_for(
            lambda: "no space left on device" in node.inside(told).lower(),
            seconds=60, what="the cause in the agent's log",
        )  # fmt: skip
        assert node.containers() == before
    finally:
        node.inside(f"umount --lazy {DOWNLOADS}")
    recovered(time.monotonic(), serves(node), 90, "the new version")
    assert node.containers()["other"] == before["other"]
    assert set(node.containers()) == set(before)


def test_a_line_that_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 6: what does not move is an error with its cause, long before anybody has to be
    killed for it."""
    monkeypatch.setattr(engine_images, "PULL_SILENCE", 2.0)
    dead = SlowRegistry(0)
    engine = DockerEngine("unix:///var/run/docker.sock")
    begun = time.monotonic()
    try:
        with pytest.raises(OttoError) as caught:
            engine.execute(PullImage(f"{dead.door}/library/redis:alpine", False))
    finally:
        engine.close()
        dead.close()
    assert "2 s" in caught.value.cause and "Could not pull" in caught.value.message
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("said", "moves"),
    [
        ({"id": "a", "status": "Downloading", "progressDetail": {"current": 2}}, True),
        ({"id": "a", "status": "Downloading", "progressDetail": {"current": 1}}, False),
        ({"id": "b", "status": "Pulling fs layer"}, True),
        ({"id": "a", "status": "Retrying in 4 seconds"}, False),
        ({"id": "b", "status": "Waiting"}, False),
    ],
)
def test_what_moves(monkeypatch: pytest.MonkeyPatch, said: dict[str, object], moves: bool) -> None:
    """Fault 6: an engine that says the same again and again does not pull."""
    moved = engine_images._Moves()
    moved.see({"id": "a", "status": "Downloading", "progressDetail": {"current": 1}})
    monkeypatch.setattr(engine_images, "PULL_SILENCE", -1.0)
    if moves:
        moved.see(said)
    else:
        with pytest.raises(OttoError, match="Docker cannot pull"):
            moved.see(said)
