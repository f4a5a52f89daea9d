# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be written of a service beyond its container: order, copies, hooks, deploy. Pure.

`scale` and `deploy` are other ways to write options that have a name of their own: their parsers
give a `Spread`, option -> (its canonical value, where it stands).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .option_engine import show_duration
from .option_parsers import environment, words
from .option_text import (
    At,
    boolean,
    cpus,
    duration,
    integer,
    keyed,
    one_of,
    plain,
    refused,
    size,
    string_set,
    text,
    texts,
)

Spread = dict[str, tuple[Any, At]]


# --- order ---------------------------------------------------------------------------------------

_DEPENDENCY = keyed(
    {
        "condition": one_of("service_started", "service_healthy", "service_completed_successfully"),
        "required": boolean,
        "restart": boolean,
    }
)


def depends_on(raw: Any, at: At) -> dict[str, dict[str, Any]] | None:
    """name -> {"condition", "required", "restart"}, all three always there."""
    if isinstance(raw, Mapping):
        given = {}
        for name, value in raw.items():
            found = {} if value is None else _DEPENDENCY(value, at.sub(str(name)))
            if found is not None:
                given[str(name)] = found
    else:
        given = {name: {} for name in string_set(raw, at) or ()}
    usual = {"condition": "service_started", "required": True, "restart": False}
    return {name: {**usual, **given[name]} for name in sorted(given)}


_HOOK = keyed(
    {
        "command": words,
        "user": text,
        "privileged": boolean,
        "working_dir": text,
        "environment": environment,
    },
    required=("command",),
)


def hooks(raw: Any, at: At) -> list[dict[str, Any]] | None:
    """[{"command", "user"?, "privileged"?, "working_dir"?, "environment"?}], in order."""
    if not isinstance(raw, list):
        at.problem("is not valid", found=raw, expected="a list of mappings with command")
        return None
    result = []
    for i, item in enumerate(raw):
        hook = _HOOK(item, at.sub(i))
        if hook is None:
            continue
        if hook.get("command"):
            result.append(hook)
        elif "command" in hook:
            at.sub(i, "command").problem("is empty", found=item["command"], expected="a command")
    return result


# --- images --------------------------------------------------------------------------------------

_PULL = ("always", "missing", "never", "newer", "daily", "weekly")
_AGES = {"daily": 86400 * 10**9, "weekly": 7 * 86400 * 10**9}


def pull_policy(raw: Any, at: At) -> str | None:
    """always, missing, never, newer, daily, weekly, or every_<duration> in its shortest text."""
    value = (plain(raw) or "").strip()
    if value == "if_not_present":
        return "missing"
    if value in _PULL:
        return value
    if value == "build":
        hint = "build it here, then otto-run push IMAGE, or a registry"
        at.problem("is not done: Otto builds no images", found=raw, hint=hint)
        return None
    if value.startswith("every_"):
        every: int | None = duration(value[len("every_") :], at)
        if every == 0:
            at.problem("is no time between two looks", found=raw, expected="every_12h")
        return f"every_{show_duration(every)}" if every else None
    at.problem("is not valid", found=raw, expected=" or ".join((*_PULL, "every_12h")))
    return None


def pull_age(policy: str) -> int | None:
    """Nanoseconds after which the registry is asked again; None for a policy without a time."""
    if policy.startswith("every_"):
        part = re.fullmatch(r"every_([0-9]+)(ns|ms|s|m|h)", policy)
        units = {"ns": 1, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
        return int(part.group(1)) * units[part.group(2)] if part else None
    return _AGES.get(policy)


# --- devices by request --------------------------------------------------------------------------


def _count(raw: Any, at: At) -> int | None:
    """-1 for all."""
    return -1 if (plain(raw) or "").strip() == "all" else integer(-1)(raw, at)


_REQUEST = keyed(
    {
        "driver": text,
        "count": _count,
        "device_ids": string_set,
        "capabilities": string_set,
        "options": texts,
    }
)


def _requests(raw: Any, at: At, implied: tuple[str, ...]) -> list[dict[str, Any]]:
    if not isinstance(raw, list):
        at.problem("is not valid", found=raw, expected="a list of device requests")
        return []
    result = []
    for i, item in enumerate(raw):
        where = at.sub(i)
        found = _REQUEST(item, where)
        if found is None:
            continue
        capabilities = sorted({*found.get("capabilities", ()), *implied})
        if not capabilities:
            where.problem("has no capabilities", found=item, expected="capabilities: [gpu]")
            continue
        if "count" in found and found.get("device_ids"):
            where.problem("has count and device_ids", found=item, hint="keep one of them")
            continue
        result.append(
            {
                "driver": found.get("driver", ""),
                "count": found.get("count", 0 if found.get("device_ids") else -1),
                "device_ids": found.get("device_ids", []),
                "capabilities": capabilities,
                "options": found.get("options", {}),
            }
        )
    return result


def gpus(raw: Any, at: At) -> list[dict[str, Any]] | None:
    """[{"driver", "count" (-1 for all), "device_ids", "capabilities", "options"}]."""
    if not isinstance(raw, list):
        if (plain(raw) or "").strip() != "all":
            at.problem("is not valid", found=raw, expected="all, or a list of device requests")
            return None
        raw = [{}]
    return _requests(raw, at, ("gpu",))


def _devices(raw: Any, at: At) -> list[dict[str, Any]]:
    return _requests(raw, at, ())


# --- scale and deploy ----------------------------------------------------------------------------


def scale(raw: Any, at: At) -> Spread:
    number = integer(0)(raw, at)
    return {} if number is None else {"replicas": (number, at)}


def _mode(raw: Any, at: At) -> None:
    value = (plain(raw) or "").strip()
    if value == "global":
        at.problem("is not done here", found=raw, hint="node: all runs it once on every node")
    elif value != "replicated":
        hint = 'what is to run once: restart: "no"'
        at.problem("is not valid", found=raw, expected="replicated", hint=hint)


def _failure_action(raw: Any, at: At) -> None:
    if (plain(raw) or "").strip() != "rollback":
        hint = "Otto always goes back to the container that served"
        at.problem("is not done", found=raw, expected="rollback, or leave it out", hint=hint)


_UPDATE = "is not done for the copies of one service"
_UPDATE_HINT = "update: at the top of otto.yaml says it for the nodes"
_FIXED = "is the engine's own: it waits longer each time"

_LIMITS = keyed({"cpus": cpus, "memory": size, "pids": integer(-1)})
_RESERVATIONS = keyed(
    {
        "cpus": cpus,
        "memory": size,
        "devices": _devices,
        "generic_resources": refused(
            "is for Swarm's own scheduler", "devices: passes devices of the node"
        ),
    }
)
_DEPLOY = keyed(
    {
        "mode": _mode,
        "replicas": integer(0),
        "resources": keyed({"limits": _LIMITS, "reservations": _RESERVATIONS}),
        "restart_policy": keyed(
            {
                "condition": one_of("none", "on-failure", "any"),
                "max_attempts": integer(0),
                "delay": refused(_FIXED, "leave it out"),
                "window": refused(_FIXED, "leave it out"),
            }
        ),
        "update_config": keyed(
            {
                "order": one_of("start-first", "stop-first"),
                "failure_action": _failure_action,
                "parallelism": refused(_UPDATE, _UPDATE_HINT),
                "delay": refused(_UPDATE, _UPDATE_HINT),
                "monitor": refused("is not done", "healthcheck: says when it serves"),
                "max_failure_ratio": refused(_UPDATE, _UPDATE_HINT),
            }
        ),
        "rollback_config": refused(
            "is not done: the old container is still there and is put back at once",
            "leave it out",
        ),
        "placement": refused("is Swarm's", "node: says where it runs: an id, a list, or labels"),
        "endpoint_mode": refused("is Swarm's", "leave it out: names resolve to containers"),
        "labels": refused("are labels of a Swarm service", "labels: of the service itself"),
    }
)


def deploy(raw: Any, at: At) -> Spread:
    """The options that it is another way to write."""
    found = _DEPLOY(raw, at)
    if found is None:
        return {}
    result: Spread = {}
    if "replicas" in found:
        result["replicas"] = (found["replicas"], at.sub("replicas"))
    order = found.get("update_config", {}).get("order")
    if order is not None:
        result["update_order"] = (order, at.sub("update_config", "order"))
    resources = found.get("resources", {})
    for part, names in (
        ("limits", {"cpus": "cpus", "memory": "mem_limit", "pids": "pids_limit"}),
        ("reservations", {"cpus": "cpu_shares", "memory": "mem_reservation", "devices": "gpus"}),
    ):
        for key, value in resources.get(part, {}).items():
            # Nothing is kept for a container: its weight when CPUs are short is what comes closest.
            given = max(2, round(value * 1024)) if names[key] == "cpu_shares" else value
            result[names[key]] = (given, at.sub("resources", part, key))
    policy = found.get("restart_policy")
    if policy is not None:
        result.update(_restart(policy, at.sub("restart_policy")))
    return result


def _restart(policy: Mapping[str, Any], at: At) -> Spread:
    condition, attempts = policy.get("condition", "any"), policy.get("max_attempts", 0)
    if condition == "on-failure":
        return {"restart": (f"on-failure:{attempts}" if attempts else "on-failure", at)}
    if attempts:
        hint = "condition: on-failure"
        at.sub("max_attempts").problem("does not go with this condition", found=attempts, hint=hint)
    return {"restart": ("no" if condition == "none" else "always", at)}
