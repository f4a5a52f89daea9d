# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's state on a disk of its own that fills up, or is mounted read-only under it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from conftest import Ear, Node, eventually

from otto_agent.agent import Agent
from otto_agent.config import Config

SLEEPER = {"image": "busybox:latest", "command": ["sleep", "100000"], "stop_signal": "SIGKILL"}


@pytest.fixture
def config(config: Config, tmp_path: Path) -> Iterator[Config]:
    """The state directory lies on a tmpfs of 1 MiB; the agent looks every two seconds."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "otto-test", str(place)], check=True)
    yield dataclasses.replace(config, state_dir=place, sweep_interval=2.0)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def agent(config: Config) -> Iterator[Agent]:
    one = Agent(config)
    yield one
    one.stop()


@contextlib.contextmanager
def read_only(place: Path) -> Iterator[None]:
    """What a kernel does to a disk that fails, whoever has files open on it; `mount` only does it
    to a disk that nobody writes to, so the same one is mounted read-only above itself."""
    subprocess.run(["mount", "--bind", str(place), str(place)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> None:
    """To the last block, as a log that runs away does it."""
    with (place / "filler").open("ab", buffering=0) as stream:
        try:
            while True:
                stream.write(b"x" * 4096)
        except OSError as error:
            assert error.errno == errno.ENOSPC
    # Names have to fit, too.
    assert shutil.disk_usage(place).free == 0


def mended(node: Node) -> Any:
    old = node.get("web")
    old.remove(force=True)
    return eventually(lambda: node.runs("web", other_than=old.id), 10)


def alarm(text: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event["kind"] == "node" and text in event["text"]


def test_the_state_disk_is_full(
    node: Node, ear: Ear, agent: Agent, record_property: Callable[[str, object], None]
) -> None:
    """Fault 11: healing goes on, the target stays whole, it is told once; freed, all is as ever."""
    node.aim({"web": SLEEPER, "other": SLEEPER})
    agent.start()
    eventually(lambda: node.store.good())
    other = node.get("other")
    place = node.config.state_dir
    whole = node.store.current_path.read_bytes()
    fill(place)
    mended(node)
    ear.wait("event", alarm("No space left on device"))
    mended(node)
    assert node.store.current_path.read_bytes() == whole
    assert not list(place.glob("*.bad"))
    (place / "filler").unlink()
    begun = time.monotonic()
    ear.wait("event", alarm("can be written again"))
    record_property("seconds", time.monotonic() - begun)
    target = node.aim({"web": SLEEPER, "new": SLEEPER, "other": SLEEPER})
    ear.wait("report", lambda r: r["revision"] == target.revision and r["target"] == "current")
    eventually(lambda: node.store.good() == target)
    told = [e for e in ear.of("event") if alarm("No space left")(e)]
    assert len(told) == 1, told
    assert node.get("other").attrs["State"]["StartedAt"] == other.attrs["State"]["StartedAt"]


def test_the_state_disk_turns_read_only(node: Node, ear: Ear, agent: Agent) -> None:
    """Fault 12: an SD card does that before it dies. It is told, and the node is kept at its
    target; when it can be written again, the next apply finds all as ever."""
    node.aim({"web": SLEEPER, "other": SLEEPER})
    agent.start()
    eventually(lambda: node.store.good())
    other = node.get("other")
    place = node.config.state_dir
    with read_only(place):
        with pytest.raises(OSError, match="Read-only"):
            (place / "probe").touch()
        ear.wait("event", alarm("Read-only file system"))
        web = mended(node)
        report = ear.wait("report", lambda r: r["services"]["web"]["container_id"] == web.id)
        assert (report["target"], report["services"]["web"]["state"]) == ("current", "running")
    ear.wait("event", alarm("can be written again"))
    target = node.aim({"other": SLEEPER})
    ear.wait("report", lambda r: r["revision"] == target.revision)
    eventually(lambda: node.get("web") is None)
    assert node.get("other").attrs["State"]["StartedAt"] == other.attrs["State"]["StartedAt"]


def test_the_lock_holds_on_a_read_only_disk(node: Node) -> None:
    """Fault 12: one at a time even where no lock file can be made: all lock the directory then."""
    place = node.config.state_dir
    with read_only(place):
        assert not os.path.lexists(node.store.lock_path)
        with node.store.lock(0, "first"):
            assert "Read-only" in node.store.unwritable
            taken = pytest.raises(OttoError, match="worked on by somebody else")
            with taken, node.store.lock(0, "second"):
                pass
        with node.store.lock(0, "third"):
            pass
