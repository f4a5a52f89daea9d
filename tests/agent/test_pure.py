# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of the agent that need nothing: waiting, queueing, wording, configuration."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

from otto_agent import __main__, config, messages
from otto_agent.backoff import Backoff, jittered


def test_backoff_doubles_to_its_limit() -> None:
    backoff = Backoff()
    delays = []
    now = 1000.0
    for _ in range(11):
        backoff = backoff.failed(now)
        delays.append(backoff.delay)
        assert not backoff.ready(now) and backoff.ready(now + backoff.delay)
        now = backoff.ready_at
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@pytest.mark.parametrize(
    ("failures", "pause", "delay"),
    [
        (0, 0, 1),
        (3, 8, 8),  # soon after: one more
        (3, 60, 8),
        (3, 69, 1),  # 60 s and twice its delay of 4 s: stable, so it is a new case
        (10, 500, 300),  # crashing every eight minutes is not stable for one who waits for five
        (10, 700, 1),
    ],
)
def test_backoff_forgets(failures: int, pause: float, delay: float) -> None:
    backoff = Backoff(failures=failures, failed_at=100.0)
    assert backoff.failed(100.0 + pause).delay == delay
    assert Backoff().ready(0.0)


def test_jitter_stays_within_half_and_all() -> None:
    values = [jittered(10.0) for _ in range(200)]
    assert 5.0 <= min(values) < 6.5 and 8.5 < max(values) <= 10.0


def test_messages() -> None:
    """The documents of docs/mqtt.md."""
    assert messages.topic("home", "rpi-01", messages.STATUS) == "otto/v1/home/rpi-01/status"
    assert messages.client_id("home", "rpi-01") == "otto-home-rpi-01"
    assert messages.status("online", "b", 2, "0.1.0", 1.23456) == {
        "v": 1,
        "state": "online",
        "boot": "b",
        "conn": 2,
        "agent": "0.1.0",
        "time": 1.235,
    }
    assert messages.event("died", "text", "b", 7, 1.0, "web") == {
        "v": 1,
        "boot": "b",
        "seq": 7,
        "time": 1.0,
        "kind": "died",
        "service": "web",
        "text": "text",
    }
    assert "service" not in messages.event("docker_gone", "text", "b", 7, 1.0)
    report = messages.report({"services": {}, "revision": "r", "boot": "not this"}, "b", 1.0)
    assert report == {"services": {}, "revision": "r", "v": 1, "boot": "b", "time": 1.0}
    sample = messages.metrics({"load_1m": 1.0}, {"web": {}}, "b", 4, 1.0, 10.0, 2)
    assert (sample["interval"], sample["backlog"]) == (10.0, 2)
    late = json.loads(messages.aged(messages.encode(sample), 7.12345))
    assert late == {**sample, "age": 7.123}
    assert json.loads(messages.aged(b'{"v":1}', None)) == {"v": 1, "age": None}
    assert json.loads(messages.encode({"text": "caf\xe9 \udcff"}))["text"] == "caf\xe9 ?"


@pytest.mark.parametrize("formatter", [__main__._Formatter, __main__._JournalFormatter])
def test_what_the_agent_says_by_itself_holds_no_password(
    formatter: type[logging.Formatter],
) -> None:
    """An event, a report of its own, a line and a traceback in its log."""
    text, canary = "dial redis://:c4nary-77@h: no route", "c4nary-77"
    assert canary not in str(messages.event("node", text, "b", 7, 1.0))
    assert canary not in str(messages.unreachable(None, "home", "n1", "message", text, ""))
    try:
        raise ValueError(text)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, text, (), sys.exc_info())
    told = formatter("%(message)s").format(record)
    assert canary not in told
    assert "redis://:(hidden)@h" in told


def test_unreachable_claims_nothing() -> None:
    """What was known last stays in the report, but not as if it were seen now."""
    last = {"services": {"web": {"state": "running", "health": "healthy", "image": "i"}}, "plan": 1}
    body = messages.unreachable(last, "c", "n", "Docker does not answer", "why", "next")
    assert body["services"] == {"web": {"state": None, "health": None, "image": "i"}}
    assert body["errors"][0]["cause"] == "why" and "plan" not in body
    assert last["services"]["web"]["state"] == "running"  # type: ignore[index]


GOOD: dict[str, Any] = {"cluster": "c", "node": "n", "mqtt": {"host": "h"}}


def test_config_defaults() -> None:
    one = config.parse(GOOD)
    assert one.mqtt is not None
    assert (one.docker_url, one.mqtt.port) == ("unix:///var/run/docker.sock", 1883)
    assert (one.metrics_interval, one.sweep_interval, one.mqtt.protocol) == (10, 60, "3.1.1")
    one = config.parse({**GOOD, "mqtt": {"host": "h", "username": None, "password": None}})
    assert one.mqtt is not None and one.mqtt.username == ""
    assert config.parse({"cluster": "c", "node": "n"}).mqtt is None  # it heals in silence


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cluster": ""}, "cluster: expected text"),
        ({"node": None}, "node: expected text"),
        ({"mqtt": None}, "mqtt: expected an object"),
        ({"mqtt": {}}, "mqtt.host: is missing"),
        ({"mqtt": {"host": "h", "port": 0}}, "mqtt.port: expected 1 to 65535, found 0"),
        ({"mqtt": {"host": "h", "port": True}}, "mqtt.port: expected a number"),
        ({"mqtt": {"host": "h", "protocol": "4"}}, "mqtt.protocol: "),
        ({"mqtt": {"host": "h", "password": "geheim"}}, "needs mqtt.username"),
        ({"metrics_interval": 0}, "metrics_interval: expected 1 to 3600"),
        ({"sweeps": 1}, "sweeps: unknown key"),
    ],
)
def test_config_errors(change: dict[str, Any], told: str) -> None:
    with pytest.raises(OttoError) as caught:
        config.parse({**GOOD, **change})
    assert told in caught.value.cause and "geheim" not in str(caught.value)


def test_config_tells_everything_at_once(tmp_path: Path) -> None:
    with pytest.raises(OttoError) as caught:
        config.parse({"mqtt": {}})
    assert all(word in caught.value.cause for word in ("cluster", "node", "mqtt.host"))
    for content in (None, b"{", b"\xff", b"[]"):
        file = tmp_path / "agent.json"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(OttoError) as caught:
            config.load(file)
        assert str(file) in caught.value.message and caught.value.next
