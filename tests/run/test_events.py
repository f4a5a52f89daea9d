# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run events`, as a person types it, over a store that somebody fills."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest
import yaml

from otto_run.messages import Message
from otto_run.paths import StatePaths
from otto_run.store import Store
from tests.run.conftest import OTTO_RUN, Typed


def event(number: int, service: str, text: str, age: float = 0.0) -> Message:
    body = {"boot": "b", "time": time.time() - age, "kind": "died", "service": service}
    return Message("rpi-01", "event", {**body, "text": text, "age": age}, number=number)


@pytest.fixture
def store(typed: Typed) -> Store:
    document = {"cluster": {"name": "home"}, "nodes": [{"id": "rpi-01", "host": "localhost"}]}
    (typed.folder / "otto.yaml").write_text(yaml.safe_dump(document))
    path = StatePaths(typed.state, "home").store
    path.parent.mkdir(parents=True)
    made = Store(path)
    made.add([event(1, "web", "long ago", 9000), event(2, "db", "just now")], time.time())
    return made


def test_events_are_shown_and_chosen(typed: Typed, store: Store) -> None:
    shown = typed("events").stdout.splitlines()
    assert [line.split(" ", 2)[2] for line in shown] == [
        "rpi-01: web: long ago",
        "rpi-01: db: just now",
    ]
    (recent,) = typed("events", "--since", "2h", "--json").stdout.splitlines()
    assert json.loads(recent)["text"] == "just now"
    assert "long ago" in typed("events", "--service", "web", "--node", "rpi-01").stdout
    for wrong in (("--since", "soon"), ("--node", "rpi-99")):
        refused = typed("events", *wrong)
        assert refused.returncode == 2 and wrong[1] in refused.stderr
    store.close()


def test_following_tells_what_comes(typed: Typed, store: Store) -> None:
    """Each once, also beside a writer, until Ctrl-C."""
    follower = subprocess.Popen(
        [OTTO_RUN, "events", "-f", "--json"],
        cwd=typed.folder,
        env=typed.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert follower.stdout is not None
    lines = [follower.stdout.readline() for _ in range(2)]
    for number in (3, 4):
        store.add([event(number, "web", f"event {number}")], time.time())
        lines.append(follower.stdout.readline())
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 0
    assert follower.stdout.read() == ""
    told = [json.loads(line)["text"] for line in lines]
    assert told == ["long ago", "just now", "event 3", "event 4"]
    store.close()
