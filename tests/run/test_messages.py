# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever reaches the broker can write anything: refused with a reason, or made harmless."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Iterator
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


def texts(value: Any) -> Iterator[str]:
    """Every text in a body, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(key)
            yield from texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from texts(inner)


def believed(kind: str, payload: bytes, topic: str = "") -> messages.Message | None:
    """What comes of bytes; fails when they raise anything but Refused, or get through unclean."""
    try:
        message = messages.parse(
            topic or f"otto/v1/home/rpi-01/{kind}", payload, False, "home", NODES
        )
    except messages.Refused as refused:
        message = refused.instead
        assert str(refused).isprintable()
        assert len(str(refused)) < 200
    if message is None:
        return None
    found = list(texts(message.body))
    assert all(text.isprintable() and len(text) <= 600 for text in found)
    assert len(json.dumps(message.body, allow_nan=False)) < 20 * messages.MAX_BYTES
    moment, _ = message.taken(2e9) if "time" in message.body else (2e9, False)
    assert 2e9 - 367 * 86400 < moment <= 2e9
    return message


UNCLEAN = st.text(
    st.sampled_from("a\x00\x1b[2J\n\r\t\x7f\x9b\u202e\u2028\ud800\udfff\U000e0041é漢"), max_size=99
)
ODD = st.sampled_from(
    ["1e999", "-1e999", "NaN", "-Infinity", "9" * 4000, "-0", "1e-400", "true", "null", '""',
     "[" * 500 + "]" * 500, '{"a":' * 300 + "1" + "}" * 300, '"\\ud800"', '"\\u001b[31m"']
)  # fmt: skip


@given(kind=st.sampled_from(messages.KINDS), payload=st.binary(max_size=200))
def test_any_bytes_are_refused_or_clean(kind: str, payload: bytes) -> None:
    believed(kind, payload)


@given(st.data())
def test_any_value_in_any_place_is_refused_or_clean(data: st.DataObject) -> None:
    """Odd numbers, depth, surrogates and terminal escapes, written into good messages."""
    service = {"state": "running", "health": None, "image": "i", "error": None}
    good: dict[str, Any] = {
        **ONLINE,
        **REPORT,
        "v": 1,
        "kind": "died",
        "text": "t",
        "service": "web",
        "age": 1,
        "first": 1,
        "last": 2,
        "errors": [{"service": "web", "message": "m", "cause": "c", "next": "n"}],
        "services": {"web": service},
        "host": {"load_1m": 1},
        "containers": {"web": {"pids": 1}},
    }
    places = [good, good["errors"][0], service, good["host"], good["containers"]["web"]]
    marks: dict[str, str] = {}
    for number in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from(places))
        key = data.draw(st.sampled_from(sorted(place)) | UNCLEAN)
        if data.draw(st.booleans()):
            place[key] = data.draw(UNCLEAN)
        else:
            place[key] = f"odd{number}"
            marks[f'"odd{number}"'] = data.draw(ODD)
    text = json.dumps(good)
    for mark, odd in marks.items():
        text = text.replace(mark, odd)
    believed(data.draw(st.sampled_from(messages.KINDS)), text.encode())


@given(topic=UNCLEAN | st.lists(UNCLEAN, min_size=5, max_size=5).map("/".join))
def test_any_topic_is_refused(topic: str) -> None:
    assert messages.sender(topic, "home", NODES) == ("", "")
    assert believed("status", b"{}", topic=topic or "/") is None


@pytest.mark.parametrize("shape", ["services", "errors", "containers", "host", "long", "deep"])
def test_the_largest_message_takes_bounded_memory_and_time(shape: str) -> None:
    """Half a megabyte of the worst kind."""
    room = messages.MAX_BYTES - 300
    bodies: dict[str, str] = {
        "services": '{"services":{' + ",".join(f'"{n}":{{}}' for n in range(1000)) + "}",
        "errors": '{"errors":[' + ",".join(["{}"] * 1000) + "]",
        "containers": '{"containers":{' + ",".join(f'"{n}":{{}}' for n in range(1000)) + "}",
        "host": '{"host":{' + ",".join(f'"n{n}":1' for n in range(100)) + "}",
        "long": '{"text":"' + "x" * room + '"',
        "deep": '{"revision":' + "[" * (room // 2) + "]" * (room // 2),
    }
    head = ',"v":1,"boot":"b","seq":1,"time":1,"kind":"k"'
    document = bodies[shape] + head + ("" if shape == "long" else ',"text":"t"') + "}"
    kind = {"containers": "metrics", "host": "metrics", "long": "event"}.get(shape, "report")
    tracemalloc.start()
    begun = time.process_time()
    found = believed(kind, document.encode())
    assert time.process_time() - begun < 2
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()
    assert (found is None) is (shape == "deep")
