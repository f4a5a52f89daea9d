# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent says and is told: topics and payloads, as docs/mqtt.md has them. Pure.

Each payload is a JSON object with `"v": 1`. `boot` names one life of the agent, `conn` counts its
connections in that life, `seq` numbers its metrics and events in that life: (boot, seq) is unique,
and none is missing for good but those that a gap names. `time` is in seconds since the epoch, by
the node's own clock, which may be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.masking import in_text

VERSION = 1

STATUS = "status"
REPORT = "report"
METRICS = "metrics"
EVENT = "event"
ACK = "ack"
CMD = "cmd"

RETAINED = frozenset((STATUS, REPORT))

# Kinds of events.
DIED = "died"  # a container ended by itself or was killed
HEALED = "healed"  # a service was brought back to its target
FAILED = "failed"  # a service could not be brought to its target
BACKOFF = "backoff"  # it fails or ends again and again: how often, and when it is tried next
TARGET = "target"  # another target (an apply)
TARGET_BROKEN = "target_broken"  # the target file cannot be read
DOCKER_GONE = "docker_gone"
DOCKER_BACK = "docker_back"
NODE = "node"  # something about the node that a person should mend
ALARM = "alarm"  # one of the node's numbers is bad (a full disk, a weak power supply)
ALARM_OVER = "alarm_over"  # it is well again
CLOCK_JUMPED = "clock_jumped"  # the node's clock was set: times before and after do not compare
GAP = "gap"  # samples are gone: the ring overflowed or was lost
RING_LOST = "ring_lost"  # the file of the ring was broken; a new one was begun


def topic(cluster: str, node: str, kind: str) -> str:
    """`otto/v1/home/rpi-01/status`"""
    return f"otto/v{VERSION}/{cluster}/{node}/{kind}"


def client_id(cluster: str, node: str) -> str:
    return f"otto-{cluster}-{node}"


def encode(payload: Mapping[str, Any]) -> bytes:
    """The bytes of a payload. What is no valid Unicode (a file name in an error) becomes a
    question mark: a message is not lost for it, and no reader stumbles over it."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False, default=str).encode(
        "utf-8", "replace"
    )


def status(state: str, boot: str, conn: int, agent: str, time: float) -> dict[str, Any]:
    """state: "online" or "offline". The last will has the boot and conn of the birth it ends."""
    return {
        "v": VERSION,
        "state": state,
        "boot": boot,
        "conn": conn,
        "agent": agent,
        "time": round(time, 3),
    }


def report(body: Mapping[str, Any], boot: str, time: float) -> dict[str, Any]:
    """body: a Report's JSON document, and `target`: "current", "good" (target.json is broken and
    the last good one serves), "none" or "broken"."""
    return {**body, "v": VERSION, "boot": boot, "time": round(time, 3)}


def metrics(
    host: Mapping[str, Any],
    containers: Mapping[str, Mapping[str, Any]],
    boot: str,
    seq: int,
    time: float,
    interval: float,
    backlog: int = 0,
) -> dict[str, Any]:
    """interval: seconds between two of them. backlog: samples that no listener has stored yet."""
    return {
        **_head(boot, seq, time),
        "interval": interval,
        "backlog": backlog,
        "host": dict(host),
        "containers": {name: dict(values) for name, values in containers.items()},
    }


def event(
    kind: str, text: str, boot: str, seq: int, time: float, service: str = ""
) -> dict[str, Any]:
    payload = {**_head(boot, seq, time), "kind": kind, "text": in_text(text)}
    if service:
        payload["service"] = service
    return payload


def gap(boot: str, first: int, last: int, time: float) -> dict[str, Any]:
    """An event without a number of its own: the samples first..last of `boot` that no listener has
    stored are gone."""
    return {
        "v": VERSION,
        "boot": boot,
        "kind": GAP,
        "first": first,
        "last": last,
        "time": round(time, 3),
        "text": f"samples {first} to {last} were not heard in time and are gone",
    }


def aged(payload: bytes, age: float | None) -> bytes:
    """An encoded sample as it is sent later than it was taken. age: seconds, None: unknown."""
    return (
        payload[:-1] + b',"age":%s}' % json.dumps(None if age is None else round(age, 3)).encode()
    )


@dataclass(frozen=True)
class Ack:
    """What a listener has in its store. stored: boot -> ranges of numbers. gaps: as they were told.
    With neither it is the hello of one that has just come."""

    stored: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    gaps: Sequence[tuple[str, int, int]] = ()

    @property
    def hello(self) -> bool:
        return not self.stored and not self.gaps


def read_ack(payload: bytes) -> Ack:
    """Raises ValueError, and nothing else, where it is none."""
    document = _told(payload)
    try:
        stored = {
            str(boot): [(_count(first), _count(last)) for first, last in ranges]
            for boot, ranges in document.get("stored", {}).items()
        }
        gaps = [
            (str(boot), _count(first), _count(last))
            for boot, first, last in document.get("gaps", ())
        ]
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    return Ack(stored, gaps)


def read_cmd(payload: bytes) -> str:
    """What is to be done: "look", or a word that is not obeyed. Raises ValueError."""
    return str(_told(payload).get("do", ""))


def _told(payload: bytes) -> dict[str, Any]:
    try:
        document = json.loads(payload)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(document, dict) or document.get("v") != VERSION:
        raise ValueError(f'no object with "v": {VERSION}')
    return document


def _count(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("no number")
    return value


def no_target(cluster: str, node: str, why: str, cause: str = "") -> dict[str, Any]:
    """Body of the report of a node that has no target (`why` "none") or no readable one
    ("broken"): it touches nothing, and says so."""
    message = (
        "No target: nothing was ever applied to this node, and nothing is touched"
        if why == "none"
        else "The target cannot be read, so nothing is touched"
    )
    return {
        "cluster": cluster,
        "node": node,
        "target": why,
        "revision": None,
        "changed": False,
        "services": {},
        "errors": [{"service": "", "message": message, "cause": cause, "next": "otto-run apply"}],
    }


def unreachable(
    last: Mapping[str, Any] | None, cluster: str, node: str, message: str, cause: str, next: str
) -> dict[str, Any]:
    """Body of the report of a node whose Docker does not answer: what was known last, no state.

    Nothing is said of containers that nobody can see: a service keeps no state and no health.
    """
    body: dict[str, Any] = dict(last or {"cluster": cluster, "node": node, "revision": None})
    services = body.get("services") or {}
    body["changed"] = False
    body["services"] = {
        name: {**value, "state": None, "health": None} for name, value in services.items()
    }
    cause = in_text(cause)
    body["errors"] = [{"service": "", "message": message, "cause": cause, "next": next}]
    body.pop("plan", None)
    return body


def _head(boot: str, seq: int, time: float) -> dict[str, Any]:
    return {"v": VERSION, "boot": boot, "seq": seq, "time": round(time, 3)}
