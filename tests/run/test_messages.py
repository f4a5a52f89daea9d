# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever reaches the broker can write anything: refused with a reason, or made harmless."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otto_run import messages
from tests.run.conftest import ONLINE, REPORT

NODES = ("rpi-01",)


def parse(kind: str, body: dict[str, Any] | bytes, node: str = "rpi-01") -> messages.Message:
    payload = body if isinstance(body, bytes) else json.dumps({"v": 1, **body}).encode()
    return messages.parse(f"otto/v1/home/{node}/{kind}", payload, False, "home", NODES)


def test_what_an_agent_says_is_taken() -> None:
    assert parse("status", ONLINE).body == ONLINE
    assert parse("report", REPORT).body["services"]["web"]["state"] == "running"
    metrics = {"boot": "b", "time": 1, "host": {"cpu_percent": 5, "x": "y"}, "containers": {}}
    assert parse("metrics", metrics).body["host"] == {"cpu_percent": 5}


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("status", b"{", "no JSON"),
        ("status", b"\xff\xfe", "no JSON"),
        ("status", b"[" * 100_000, "no JSON"),
        ("status", b'{"v": 2}', '"v": 1'),
        ("status", {**ONLINE, "state": "up"}, "state"),
        ("status", {**ONLINE, "conn": True}, "conn"),
        ("status", {**ONLINE, "conn": 2**70}, "conn"),
        ("status", {**ONLINE, "time": float("nan")}, "time"),
        ("status", b'{"v":1,"state":"online","boot":"","conn":1,"time":1e999}', "time"),
        ("report", {**REPORT, "services": []}, None),
        ("report", {**REPORT, "services": [1]}, "services"),
        ("report", {**REPORT, "services": {str(i): {} for i in range(3000)}}, "services"),
        ("report", b" " * (messages.MAX_BYTES + 1), "bytes"),
        ("event", {"boot": "b", "seq": -1, "time": 1, "kind": "k", "text": "t"}, "seq"),
        ("metrics", {"boot": "b", "time": 1, "host": {str(i): i for i in range(200)}}, "100"),
        ("cmd", ONLINE, "unknown kind"),
    ],
)
def test_what_does_not_fit_is_refused(
    kind: str, body: dict[str, Any] | bytes, reason: str | None
) -> None:
    if reason is None:
        parse(kind, body)
        return
    with pytest.raises(messages.Refused, match=reason):
        parse(kind, body)


def test_a_stranger_is_refused() -> None:
    with pytest.raises(messages.Refused, match="no node"):
        parse("status", ONLINE, node="evil")
    with pytest.raises(messages.Refused, match="topic"):
        messages.parse("otto/v1/other/rpi-01/status", b"{}", False, "home", NODES)


def test_text_cannot_move_the_cursor() -> None:
    body = {"boot": "b", "seq": 1, "time": 1, "kind": "died", "text": "\x1b[2Jgone\r\n\u202eevil"}
    text = parse("event", body).body["text"]
    assert text.isprintable()
    assert "gone" in text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)


@given(kind=st.sampled_from(messages.KINDS), body=st.dictionaries(st.text(), JSON), data=st.data())
def test_nothing_but_refused_is_raised(
    kind: str, body: dict[str, Any], data: st.DataObject
) -> None:
    good = {**ONLINE, **REPORT, "kind": "k", "text": "t", "host": {}, "containers": {}}
    for key in data.draw(st.sets(st.sampled_from(sorted(good)))):
        good[key] = data.draw(JSON)
    for document in (body, {**body, **good}):
        try:
            message = parse(kind, document)
        except messages.Refused:
            continue
        json.dumps(message.body, allow_nan=False)
