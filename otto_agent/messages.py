# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent says: topics and payloads. Pure, so that the listener's tests can use it too.

Each payload is a JSON object with `"v": 1`. `boot` names one life of the agent, `conn` counts its
connections in that life, `seq` numbers its messages in that life: (boot, seq) is unique, and a
number that never arrives is a message that was dropped. `time` is in seconds since the epoch, by
the node's own clock, which may be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

VERSION = 1

STATUS = "status"
REPORT = "report"
METRICS = "metrics"
EVENT = "event"

RETAINED = frozenset((STATUS, REPORT))

# Kinds of events.
DIED = "died"  # a container ended by itself or was killed
HEALED = "healed"  # a service was brought back to its target
FAILED = "failed"  # a service could not be brought to its target
TARGET = "target"  # another target (an apply)
TARGET_BROKEN = "target_broken"  # the target file cannot be read
DOCKER_GONE = "docker_gone"
DOCKER_BACK = "docker_back"
NODE = "node"  # something about the node that a person should mend


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


def report(body: Mapping[str, Any], boot: str, seq: int, time: float) -> dict[str, Any]:
    """body: a Report's JSON document, and `target`: "current", "good" (target.json is broken and
    the last good one serves), "none" or "broken"."""
    return {**body, **_head(boot, seq, time)}


def metrics(
    host: Mapping[str, Any],
    containers: Mapping[str, Mapping[str, Any]],
    boot: str,
    seq: int,
    time: float,
    interval: float,
    dropped: int = 0,
) -> dict[str, Any]:
    """dropped: how many messages of this life were thrown away because the broker was not there."""
    return {
        **_head(boot, seq, time),
        "interval": interval,
        "dropped": dropped,
        "host": dict(host),
        "containers": {name: dict(values) for name, values in containers.items()},
    }


def event(
    kind: str, text: str, boot: str, seq: int, time: float, service: str = ""
) -> dict[str, Any]:
    payload = {**_head(boot, seq, time), "kind": kind, "text": text}
    if service:
        payload["service"] = service
    return payload


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
    body["errors"] = [{"service": "", "message": message, "cause": cause, "next": next}]
    body.pop("plan", None)
    return body


def _head(boot: str, seq: int, time: float) -> dict[str, Any]:
    return {"v": VERSION, "boot": boot, "seq": seq, "time": round(time, 3)}
