# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes over MQTT, as docs/mqtt.md has it; what comes is made safe: whoever reaches the broker
can write anything. Pure.

Everything is bounded in size, depth and count, and text is one line without control characters.
A message that does not fit is refused with a reason; it never raises anything else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.ranges import Ranges
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.answers import VERSION
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.hints import allowed

from otto_run.render import clean

STATUS = "status"
KINDS = (STATUS, "report", "metrics", "event")
MAX_BYTES = 512 * 1024
_VERSION = 1
_MANY = 1000  # services, containers or errors in one message
_NUMBERS = 100  # of the host, or of one container
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")  # of a number
_OLDEST = 366 * 86400.0  # seconds: nothing is older than a year, whatever a node says
SKEW = 60.0
"""Seconds that a node's clock may be off before its samples are flagged"""
_INTEGER = 2**53  # SQLite's integers end at 2**63, JSON's exactness ends here


class Refused(ValueError):
    """Why a message is not believed. instead: what is stored in place of a sample, so that its
    node does not send it for ever; None where it has no number."""

    instead: Message | None = None


@dataclass(frozen=True)
class Message:
    """One message of an agent. kind: as in its topic, or "gap"; or "quota", by which the control
    plane says what of this node it did not take or keep. body: only what is known and has its type.

    retained: the broker had kept it, so it says nothing of when its sender was last there.
    number: of this life of its agent (`body["boot"]`), where it has one.
    """

    node: str
    kind: str
    body: Mapping[str, Any]
    retained: bool = False
    number: int | None = None

    def seen(self, now: float) -> float:
        """When its sender was there, by this machine's clock `now` (seconds since the epoch)."""
        # For a retained one only the node's own clock can tell, and it may run ahead.
        return max(0.0, min(now, float(self.body["time"]))) if self.retained else now

    def taken(self, now: float) -> tuple[float, bool]:
        """When a sample was taken, by this machine's clock, and whether its node's clock is off.

        Its age was measured by a clock that nobody sets, so it is true whatever the time is there.
        Without one (the node was started anew meanwhile) there is only what the node's clock said.
        """
        time = float(self.body["time"])
        age = self.body.get("age", 0.0)
        if age is None:
            return max(0.0, now - _OLDEST, min(now, time)), time > now + SKEW
        return max(0.0, now - min(age, _OLDEST)), abs(now - age - time) > SKEW


def topic_filters(cluster: str) -> list[str]:
    """What a listener subscribes to: all that agents say."""
    return [f"otto/v{_VERSION}/{cluster}/+/{kind}" for kind in KINDS]


def topic(cluster: str, node: str, kind: str) -> str:
    return f"otto/v{_VERSION}/{cluster}/{node}/{kind}"


def hello(listener: str) -> bytes:
    """An ack with nothing in it: a listener has come, and knows nothing of what was said before."""
    return _encode({"listener": listener, "stored": {}, "gaps": []})


def acks(listener: str, messages: Iterable[Message]) -> dict[str, bytes]:
    """node -> the ack of what was stored of it."""
    stored: dict[str, dict[str, Ranges]] = {}
    gaps: dict[str, list[list[Any]]] = {}
    for message in messages:
        boot = message.body.get("boot", "")
        if message.number is not None:
            ranges = stored.setdefault(message.node, {}).setdefault(boot, Ranges())
            ranges.add(message.number, message.number)
        elif message.kind == "gap":
            gaps.setdefault(message.node, []).append(
                [boot, message.body["first"], message.body["last"]]
            )
    return {
        node: _encode(
            {
                "listener": listener,
                "stored": {boot: list(ranges) for boot, ranges in stored.get(node, {}).items()},
                "gaps": gaps.get(node, []),
            }
        )
        for node in stored | gaps
    }


def look() -> bytes:
    """The command to look at Docker now, and report."""
    return _encode({"do": "look"})


def _encode(body: Mapping[str, Any]) -> bytes:
    return json.dumps({"v": _VERSION, **body}, separators=(",", ":")).encode()


def sender(topic: str, cluster: str, nodes: Collection[str]) -> tuple[str, str]:
    """The node and the kind of a message, by its topic alone; the broker vouches for the node.
    "" and "" where it is of nobody that is known."""
    try:
        return _address(topic, cluster, nodes)
    except Refused:
        return "", ""


def _address(topic: str, cluster: str, nodes: Collection[str]) -> tuple[str, str]:
    parts = topic.split("/")
    if len(parts) != 5 or parts[:3] != ["otto", f"v{_VERSION}", cluster]:
        raise Refused("unknown topic")
    if parts[3] not in nodes:
        raise Refused(f"{clean(parts[3], 60)} is no node of otto.yaml")
    if parts[4] not in KINDS:
        raise Refused(f"unknown kind {clean(parts[4], 30)}")
    return parts[3], parts[4]


def parse(
    topic: str, payload: bytes, retained: bool, cluster: str, nodes: Collection[str]
) -> Message:
    """A message from the wire. Raises Refused, and nothing else."""
    node, kind = _address(topic, cluster, nodes)
    if len(payload) > MAX_BYTES:
        raise Refused(f"{len(payload)} bytes are more than {MAX_BYTES}")
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        raise Refused("no JSON") from None
    if not isinstance(document, dict) or document.get("v") != _VERSION:
        raise Refused(f'no object with "v": {_VERSION}')
    try:
        body = _BODIES[kind](document)
    except Refused as refused:
        refused.instead = _instead(node, kind, document, str(refused))
        raise
    if "first" in body:
        return Message(node, "gap", body, retained)
    return Message(node, kind, body, retained, body.get("seq"))


def _instead(node: str, kind: str, document: Mapping[str, Any], why: str) -> Message | None:
    """A gap in place of a sample that cannot be believed."""
    if kind not in ("metrics", "event"):
        return None
    try:
        boot, seq = _line(document, "boot", 64), _integer(document, "seq")
    except Refused:
        return None
    body = {"boot": boot, "first": seq, "last": seq, "time": 0.0}
    text = f"sample {seq} was not believed: {why}"
    return Message(node, "gap", {**body, "text": clean(text, 600)}, number=seq)


# ---- one body per kind


def _status(value: Mapping[str, Any]) -> dict[str, Any]:
    if value.get("state") not in ("online", "offline"):
        raise Refused("state is neither online nor offline")
    return {
        "state": value["state"],
        "boot": _line(value, "boot", 64),
        "conn": _integer(value, "conn"),
        "agent": _version(value),
        "time": _number(value, "time"),
    }


def _report(value: Mapping[str, Any]) -> dict[str, Any]:
    # Agents from before the ring number their reports, too.
    number = {"seq": _integer(value, "seq")} if "seq" in value else {}
    head = {"boot": _line(value, "boot", 64), "time": _number(value, "time"), **number}
    return {**head, **report(value)}


def report(value: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a Report that the control plane keeps: also for one that came from a module."""
    services = _mapping(value, "services")
    return {
        "revision": _word(value, "revision", 64),
        "changed": value.get("changed") is True,
        "services": {
            clean(name, 255): _service(service)
            for name, service in services.items()
            if isinstance(service, dict)
        },
        "errors": [_error(error) for error in _list(value, "errors") if isinstance(error, dict)],
    }


def _service(value: Mapping[str, Any]) -> dict[str, Any]:
    error = value.get("error")
    return {
        "state": _word(value, "state", 30),
        "health": _word(value, "health", 30),
        "image": _word(value, "image", 300),
        "container_id": _word(value, "container_id", 64),
        "error": _error(error) if isinstance(error, dict) else None,
    }


def _version(value: Mapping[str, Any]) -> str:
    """What stands in a column of its own holds no words."""
    version = _line(value, "agent", 80, "")
    return version if re.fullmatch(VERSION, version, re.ASCII) else ""


def _error(value: Mapping[str, Any]) -> dict[str, str]:
    said = {key: _word(value, key, 600) for key in ("service", "message", "cause")}
    following = value.get("next")
    return {**said, "next": allowed(following) if isinstance(following, str) else ""}


def _metrics(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **_sample(value),
        "backlog": _integer(value, "backlog") if "backlog" in value else 0,
        "host": _numbers(_mapping(value, "host")),
        "containers": {
            clean(name, 255): _numbers(numbers)
            for name, numbers in _mapping(value, "containers").items()
            if isinstance(numbers, dict)
        },
    }


def _sample(value: Mapping[str, Any]) -> dict[str, Any]:
    """The head of what has a number. age: seconds, None where nobody knows, absent where it is
    live."""
    head = {
        "boot": _line(value, "boot", 64),
        "seq": _integer(value, "seq"),
        "time": _number(value, "time"),
    }
    if "age" in value:
        head["age"] = None if value["age"] is None else max(0.0, _number(value, "age"))
    return head


def _event(value: Mapping[str, Any]) -> dict[str, Any]:
    if value.get("kind") == "gap":
        return _gap(value)
    return {
        **_sample(value),
        "kind": _line(value, "kind", 40),
        "service": _line(value, "service", 255, ""),
        "text": _line(value, "text", 600),
    }


def _gap(value: Mapping[str, Any]) -> dict[str, Any]:
    first, last = _integer(value, "first"), _integer(value, "last")
    if first > last:
        raise Refused("a gap that ends before it begins")
    return {
        "boot": _line(value, "boot", 64),
        "first": first,
        "last": last,
        "time": _number(value, "time"),
        "text": _line(value, "text", 600, ""),
    }


_BODIES: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "status": _status,
    "report": _report,
    "metrics": _metrics,
    "event": _event,
}


# ---- one value


def _line(value: Mapping[str, Any], key: str, limit: int, default: str | None = None) -> str:
    found = value.get(key, default)
    if not isinstance(found, str):
        raise Refused(f"{key} is no text")
    return clean(found, limit)


def _word(value: Mapping[str, Any], key: str, limit: int) -> str:
    """Text that may be missing; what is there instead is not looked at."""
    found = value.get(key)
    return clean(found, limit) if isinstance(found, str) else ""


def _integer(value: Mapping[str, Any], key: str) -> int:
    found = value.get(key)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= _INTEGER:
        raise Refused(f"{key} is no count")
    return found


def _number(value: Mapping[str, Any], key: str) -> float:
    found = _finite(value.get(key))
    if found is None:
        raise Refused(f"{key} is no number")
    return found


def _finite(value: object) -> float | None:
    """A number that can be stored; JSON as Python reads it may hold NaN and 10**400."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int) and abs(value) > _INTEGER:
        return None
    return value if math.isfinite(value) else None


def _numbers(value: Mapping[str, Any]) -> dict[str, float]:
    if len(value) > _NUMBERS:
        raise Refused(f"more than {_NUMBERS} numbers in one place")
    return {
        key: number
        for key, found in value.items()
        if _NAME.fullmatch(key) and (number := _finite(found)) is not None
    }


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key) or {}
    if not isinstance(found, dict) or len(found) > _MANY:
        raise Refused(f"{key} is no mapping, or too large")
    return found


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key) or []
    if not isinstance(found, (list, tuple)) or len(found) > _MANY:
        raise Refused(f"{key} is no list, or too large")
    return list(found)
