# SPDX-License-Identifier: GPL-3.0-or-later
"""The control plane in the foreground, with a local node on this machine's Docker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Mqtt as File

from otto_run import lock
from otto_run.agents import LocalAgents
from otto_run.control import _Plane
from otto_run.paths import StatePaths
from tests.conftest import wait_for
from tests.run.conftest import OTTO_RUN, Mqtt, Typed, free_port
from tests.run.test_interrupt import carriers


class Local:
    id = "here"
    docker_url = "unix:///no/such/docker.sock"
    state_dir = None


def test_a_local_agent_that_dies_is_started_again(embedded: Mqtt, tmp_path: Path) -> None:
    """Told, waited for a moment, started; its configuration is private; stop ends it."""
    paths = StatePaths(tmp_path, "home")
    said: list[str] = []
    mqtt = File(embedded.host, embedded.port, embedded.username, embedded.password, tls=False)
    agents = LocalAgents([Local()], mqtt, paths, said.append)
    config = paths.node("here") / "agent.json"
    assert config.stat().st_mode & 0o077 == 0
    assert json.loads(config.read_text())["mqtt"]["password"] == "s3cret"
    agents.start()
    log = paths.node("here") / "agent.log"
    wait_for(lambda: "connected" in log.read_text(), seconds=15, what="the agent's connection")
    (first,) = agents.pids
    os.kill(first, signal.SIGKILL)

    def again() -> bool:
        agents.tend()
        return bool(agents.pids) and agents.pids != [first]

    wait_for(again, seconds=10, what="another agent")
    assert "ended with code -9" in said[0]
    assert str(log) in said[0]
    (second,) = agents.pids
    agents.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_a_local_agent_ends_with_its_control_plane(embedded: Mqtt, tmp_path: Path) -> None:
    """However that ends: it holds the other end of the agent's standard input."""
    paths = StatePaths(tmp_path, "home")
    mqtt = File(embedded.host, embedded.port, embedded.username, embedded.password, tls=False)
    LocalAgents([Local()], mqtt, paths, print)
    config = paths.node("here") / "agent.json"
    agent = subprocess.Popen(
        [sys.executable, "-m", "otto_agent", "--until-eof", "--config", str(config)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert agent.stdin is not None
    assert agent.stderr is not None
    while "connected" not in agent.stderr.readline():
        assert agent.poll() is None
    agent.stdin.close()
    assert agent.wait(10) == 0
    agent.stderr.close()


@pytest.fixture
def local(typed: Typed) -> Typed:
    document = {
        "cluster": {"name": "uptest"},
        "mqtt": {"host": "127.0.0.1", "port": free_port(), "username": "a", "password": "bcde"},
        "nodes": [{"id": "here", "host": "localhost"}],
    }
    (typed.folder / "otto.yaml").write_text(yaml.safe_dump(document))
    return typed


@pytest.mark.lab
def test_up_once_waits_for_the_report(local: Typed) -> None:
    done = local("up", "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "here" in done.stdout
    assert "online" in done.stdout
    assert carriers(local.folder) == []


@pytest.fixture
def plane(local: Typed) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [OTTO_RUN, "up"],
        cwd=local.folder,
        env=local.env,
        stdin=subprocess.DEVNULL,
        stdout=(local.folder / "up.log").open("w"),
        stderr=subprocess.STDOUT,
        text=True,
        # As in a terminal: a background job of a shell would not hear SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


def state(local: Typed) -> str:
    return str(json.loads(local("status", "--json").stdout)["nodes"][0]["state"])


@pytest.mark.lab
def test_up_stays_until_ctrl_c_and_leaves_nothing(
    plane: subprocess.Popen[str], local: Typed
) -> None:
    wait_for(lambda: state(local) == "online", seconds=60, what="the local agent", every=0.5)
    second = local("up")
    assert second.returncode == 4
    assert f"otto-run up (pid {plane.pid}," in second.stderr
    assert not lock.held(local.state / "uptest" / "lock"), "an apply beside `up` is welcome"

    plane.send_signal(signal.SIGINT)
    assert plane.wait(20) == 0, (local.folder / "up.log").read_text()
    assert "Ended." in (local.folder / "up.log").read_text()
    assert state(local) == "offline"
    assert carriers(local.folder) == []
    assert not lock.held(local.state / "uptest" / "up.lock")


def test_status_asks_a_broker_when_no_control_plane_runs(mosquitto: Mqtt, typed: Typed) -> None:
    """Retained words are enough: an agent that reported before we came is seen."""
    document = {
        "cluster": {"name": "home"},
        "mqtt": {"host": mosquitto.host, "port": mosquitto.port, "tls": "off"},
        "nodes": [{"id": "here", "host": "localhost", "docker_url": Local.docker_url}],
    }
    (typed.folder / "otto.yaml").write_text(yaml.safe_dump(document))
    paths = StatePaths(typed.folder / "elsewhere", "home")
    mqtt = File(mosquitto.host, mosquitto.port, tls=False)
    agents = LocalAgents([Local()], mqtt, paths, print)
    agents.start()
    log = paths.node("here") / "agent.log"
    try:
        wait_for(lambda: "connected" in log.read_text(), seconds=15, what="the agent")
        wait_for(lambda: state(typed) == "online", seconds=15, what="its retained status")
    finally:
        agents.stop()
    assert state(typed) == "offline"


def test_whom_the_broker_sends_away_is_told_once_a_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the addresses of which there are most, and no line for each connection."""

    class Crowded:
        def turned_away(self) -> Counter[str]:
            return Counter({"192.0.2.1": 480, "192.0.2.2": 1})

    plane = _Plane(None)  # type: ignore[arg-type]
    plane._broker = Crowded()  # type: ignore[assignment]
    plane._complain()
    plane._complain()
    assert capsys.readouterr().err.splitlines() == [
        "Connections that did not log in, ended by the broker: 481 (192.0.2.1: 480, 192.0.2.2: 1)"
    ]
