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
    metrics = {
        "boot": "b",
        "seq": 7,
        "time": 1,
        "host": {"cpu_percent": 5, "x": "y"},
        "containers": {},
    }
    found = parse("metrics", metrics)
    assert (found.body["host"], found.number) == ({"cpu_percent": 5}, 7)
    assert "age" not in found.body
    assert parse("metrics", {**metrics, "age": 3.5}).body["age"] == 3.5
    assert parse("metrics", {**metrics, "age": None}).body["age"] is None


def test_a_gap_is_an_event_without_a_number() -> None:
    gap = {"boot": "b", "kind": "gap", "first": 3, "last": 9, "time": 1, "text": "gone"}
    found = parse("event", gap)
    assert (found.kind, found.number, found.body["first"]) == ("gap", None, 3)
    with pytest.raises(messages.Refused, match="before it begins"):
        parse("event", {**gap, "last": 2})


def test_a_sample_that_is_not_believed_leaves_a_gap() -> None:
    """Its node would send it for ever, else. Without a number nothing can be done."""
    with pytest.raises(messages.Refused) as refused:
        parse("event", {"boot": "b", "seq": 4, "time": "late", "kind": "died", "text": "t"})
    instead = refused.value.instead
    assert instead is not None
    assert (instead.kind, instead.number, instead.body["last"]) == ("gap", 4, 4)
    assert "time is no number" in instead.body["text"]
    with pytest.raises(messages.Refused) as refused:
        parse("event", {"boot": "b", "seq": "4"})
    assert refused.value.instead is None


def test_acks_are_ranges_for_each_node_and_life() -> None:
    def sample(node: str, boot: str, number: int | None, kind: str = "metrics") -> messages.Message:
        return messages.Message(node, kind, {"boot": boot, "first": 7, "last": 8}, False, number)

    said = [sample("a", "x", number) for number in (3, 1, 2, 9)]
    said += [sample("a", "y", 1), sample("a", "z", None, "gap"), sample("b", "x", None, "status")]
    assert {node: json.loads(ack) for node, ack in messages.acks("me", said).items()} == {
        "a": {
            "v": 1,
            "listener": "me",
            "stored": {"x": [[1, 3], [9, 9]], "y": [[1, 1]]},
            "gaps": [["z", 7, 8]],
        }
    }


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ({"time": 1000}, (1000, False)),
        ({"time": 970}, (1000, False)),
        ({"time": 1000 - 3.2e8}, (1000, True)),  # ten years back
        ({"time": 1000 + 3.2e8}, (1000, True)),
        ({"time": 400, "age": 600}, (400, False)),  # late, as its clock says itself
        ({"time": 400 + 3.2e8, "age": 600}, (400, True)),
        # The node was started anew: only its clock can tell, and not of the future.
        ({"time": 300, "age": None}, (300, False)),
        ({"time": 3.2e8, "age": None}, (1000, True)),
    ],
)
def test_when_a_sample_was_taken(said: dict[str, Any], taken: tuple[float, bool]) -> None:
    """Fault 22: by this machine's clock, and flagged where the node's is off."""
    assert messages.Message("a", "metrics", said).taken(1000) == taken


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
        (
            "metrics",
            {"boot": "b", "seq": 1, "time": 1, "host": {str(i): i for i in range(200)}},
            "100",
        ),
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
