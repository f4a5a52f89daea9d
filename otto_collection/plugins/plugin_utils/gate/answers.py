# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node may answer, call by call. Pure.

Nobody trusts a node: whoever has root there answers what they like. So every answer is read through
the shape of its call, here and nowhere else. What comes out has these keys and no others, with
these types, and its text moves no cursor. None of it is ever a template, a variable of another
host, a command or a path on the control machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils import operations
from ansible_collections.otto.cluster.plugins.module_utils.plan_values import COSTS
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.hints import Hint, Message
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.shapes import (
    Count,
    Either,
    Flag,
    Line,
    Lines,
    Listed,
    ListOf,
    MapOf,
    Maybe,
    Misfit,
    Number,
    OneOf,
    Pattern,
    Reading,
    Record,
    Said,
    Shape,
    Text,
    all_of,
)
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.words import lines

MOST_BYTES = 8 << 20
"""Bytes of one answer."""
DIGEST = r"[0-9a-f]{16}"
"""A revision, or the digest of a plan."""
REVISION = rf"{DIGEST}(?:\+[0-9a-f]{{6}})?"
"""What a node was given: the target's revision, and which images it ran."""
VERSION = r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,79}"
"""The version of a bundle or of an engine."""
CONTAINER = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}"
"""The name of a container as the engine takes it."""
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]{0,99}"
_SHA256 = r"[0-9a-f]{64}"
_WHY = ("file", "drift", "image")
_VERDICTS = ("up_to_date", "create", "update", "recreate", "start", "stop", "remove")


def _or_nothing(expression: str, what: str) -> Pattern:
    return Pattern(f"(?:{expression})?", what)


NAME, WORD = Line(255), Line(80)
ERROR = Record({"service": NAME, "message": Line(600), "cause": Line(600), "next": Hint()})
_SCALAR = Either((Flag(), Count(), Number(), Line(600)), "plain value")
OPERATION = Record(
    {
        **{
            item.name: Maybe(Either((_SCALAR, ListOf(Line(600))), "plain value or list of texts"))
            for kind in vars(operations).values()
            if isinstance(kind, type) and issubclass(kind, operations.Operation)
            for item in fields(kind)
            if item.name not in operations.NOT_SENT
        },
        "op": Line(40),
        "line": Line(600),
    },
    frozenset({"op", "line"}),
)
CHANGE = all_of(key=Line(300), old=Maybe(Line(2000)), new=Maybe(Line(2000)), why=OneOf(_WHY))
SERVICE_PLAN = Record(
    {
        "service": NAME,
        "verdict": OneOf(_VERDICTS),
        "changes": ListOf(CHANGE),
        "pulls": ListOf(OPERATION),
        "operations": ListOf(OPERATION),
        "after": ListOf(NAME),
        "needs": ListOf(NAME),
        "cost": OneOf(COSTS),
        "error": Maybe(ERROR),
    },
    frozenset({"service", "verdict", "changes", "pulls", "operations"}),
)
PLAN = Record(
    {
        "before": ListOf(OPERATION),
        "services": ListOf(SERVICE_PLAN),
        "after": ListOf(OPERATION),
        "troubles": ListOf(ERROR),
        "notes": ListOf(ERROR),
        "empty": Flag(),
    },
    frozenset({"before", "services", "after"}),
)
SERVICE = Record(
    {
        "state": WORD,
        "health": Maybe(WORD),
        "container_id": Line(64),
        "image": Line(300),
        "verdict": WORD,
        "changes": ListOf(Line(600)),
        "error": Maybe(ERROR),
    }
)
REPORT = Record(
    {
        "cluster": NAME,
        "node": NAME,
        "revision": _or_nothing(DIGEST, "revision"),
        "changed": Flag(),
        "services": MapOf(NAME, SERVICE),
        "errors": ListOf(ERROR),
        "interrupted": Maybe(
            Record({"holder": NAME, "revision": Line(40), "operation": Line(600), "time": WORD})
        ),
        "pruned": ListOf(Line(600)),
        "seconds": Number(),
    },
    frozenset({"services", "errors"}),
)
AGENT = all_of(
    version=_or_nothing(VERSION, "version"),
    bundle_sha256=_or_nothing(_SHA256, "SHA-256"),
    config_sha256=_or_nothing(_SHA256, "SHA-256"),
    unit_sha256=_or_nothing(_SHA256, "SHA-256"),
    unfinished=Flag(),
    active=WORD,
    enabled=Flag(),
)
NODE = Record(
    {
        "python": WORD,
        "distribution": Record(
            {
                "id": _or_nothing(r"[a-z0-9._-]{1,40}", "name of a distribution"),
                "id_like": ListOf(Line(40), 20),
                "version_id": _or_nothing(r"[a-z0-9._-]{1,40}", "version"),
                "codename": Line(60),
                "name": Line(120),
            }
        ),
        "architecture": WORD,
        "hostname": NAME,
        "init": WORD,
        "docker": all_of(
            present=Flag(),
            answers=Flag(),
            version=_or_nothing(VERSION, "version"),
            api_version=_or_nothing(VERSION, "version"),
            error=Line(600),
        ),
        "agent": AGENT,
        "disk": Record({"path": Line(300), "free": Count(), "total": Count()}),
        "memory_cgroup": Flag(),
        "time": Number(),
    },
    frozenset({"docker", "agent", "memory_cgroup"}),
)

_PLAIN = Either((Flag(), Number(), Text()), "plain value")
_TEXTS = ListOf(Text(), 500)
_PLAINS = MapOf(Text(300), _PLAIN, 500)
SERVICE_FOUND = Record(
    {
        **dict.fromkeys(
            (
                *("image", "user", "working_dir", "domainname", "stop_signal", "hostname"),
                *("restart", "cpuset", "pid", "stop_grace_period", "network_mode"),
            ),
            Text(1000),
        ),
        **dict.fromkeys(("privileged", "read_only", "init", "tty", "stdin_open"), Flag()),
        **dict.fromkeys(
            (
                *("entrypoint", "command", "cap_add", "cap_drop", "security_opt", "dns"),
                *("dns_search", "extra_hosts", "group_add", "ports", "tmpfs", "devices"),
            ),
            _TEXTS,
        ),
        **dict.fromkeys(
            (
                *("mem_limit", "mem_reservation", "cpu_shares", "pids_limit", "cpus"),
                "shm_size",
            ),
            Number(),
        ),
        **dict.fromkeys(("labels", "sysctls"), _PLAINS),
        "environment": MapOf(Text(300), Text(), 500),
        "ulimits": MapOf(WORD, Record({"soft": Count(-1), "hard": Count(-1)}), 50),
        "logging": Record({"driver": Text(100), "options": _PLAINS}),
        "healthcheck": Record(
            {
                "test": _TEXTS,
                "retries": Count(),
                **dict.fromkeys(("interval", "timeout", "start_period"), WORD),
            }
        ),
        "volumes": ListOf(
            Either(
                (
                    Record(
                        {
                            "type": OneOf(("bind",)),
                            "source": Pattern(r"(?s:/.{0,1000})", "absolute path"),
                            "target": Text(1000),
                            "read_only": Flag(),
                        }
                    ),
                    Record(
                        {
                            "type": OneOf(("volume",)),
                            "source": Pattern(CONTAINER, "name of a volume"),
                            "target": Text(1000),
                            "read_only": Flag(),
                        }
                    ),
                ),
                "mount",
            )
        ),
        "networks": MapOf(
            Pattern(CONTAINER, "name of a network"),
            Record({"aliases": _TEXTS, "ipv4_address": WORD}),
            100,
        ),
    },
    frozenset({"image"}),
)
_EXTERNAL = MapOf(Pattern(CONTAINER, "name"), all_of(external=Flag()), 500)

_ENDS: Mapping[str, Shape] = {
    "changed": Flag(),
    "failed": Flag(),
    "msg": Message(8000),
    "cause": Line(600),
    "next": Hint(),
    "warnings": ListOf(Said(Line(600)), 50),
    "dropped": Count(),
    "of_node": Flag(),
}
"""What every call may answer."""
_CRASH: Mapping[str, Shape] = {
    "exception": Maybe(Said(Lines(8000), "formatted_traceback")),
    "rc": Maybe(Count(-(2**31))),
    "stdout": Lines(8000),
    "stderr": Lines(8000),
    "module_stdout": Lines(8000),
    "module_stderr": Lines(8000),
}
"""What Ansible adds where a module did not come to its end."""

_OWN_WAYS = (
    *("invocation", "diff", "deprecations"),
    *("stdout_lines", "stderr_lines", "_ansible_parsed", "_ansible_no_log"),
)
"""What an honest module of Ansible says too; it is left out and not counted as dropped."""

_TARGET: Mapping[str, Shape] = {
    "missing": Flag(),
    "held": Flag(),
    "moved": Flag(),
    "node": NODE,
    "plan": PLAN,
    "plan_digest": Pattern(DIGEST, "digest"),
    "given": _or_nothing(REVISION, "revision"),
    "report": REPORT,
}
_DIFF = Record(
    {
        **dict.fromkeys(("before", "after"), Listed(20_000)),
        **dict.fromkeys(("before_header", "after_header"), Line()),
    }
)
SHAPES: Mapping[str, Mapping[str, Shape]] = {
    "otto.cluster.target": _TARGET,
    "otto.cluster.first_plan": _TARGET,
    "otto.cluster.container": {"container": SERVICE, "plan": PLAN},
    "otto.cluster.container_service": {
        "service": SERVICE_FOUND,
        "volumes": _EXTERNAL,
        "networks": _EXTERNAL,
        "secrets": ListOf(Pattern(VARIABLE, "name of a variable"), 500),
        "left": ListOf(Line(600)),
    },
    "otto.cluster.image_prune": {"removed": ListOf(Line(600))},
    "otto.cluster.node_info": NODE.fields,
    "otto.cluster.agent": {
        "version": _or_nothing(VERSION, "version"),
        "former": _or_nothing(VERSION, "version"),
        "changes": ListOf(Line(300), 50),
        "needs_bundle": Flag(),
        "diff": _DIFF,
    },
    "otto.cluster.on_node": {
        "rc": Maybe(Count(-(2**31))),
        "stdout": Lines(20_000),
        "stderr": Lines(8000),
        "stat": Record({"exists": Flag()}),
        "diff": Either((_DIFF, ListOf(_DIFF, 20)), "difference"),
    },
}
"""Module -> what it may answer besides `_ENDS`. Nobody calls a node in another way; see
`plugin_utils/node_call.py`."""


CHECKED: Mapping[str, Shape] = {
    "ok": Flag(),
    "missing": Flag(),
    "text": Line(300),
    "error": Line(300),
}
PROBE = all_of(
    python=ListOf(Count(), 3),
    sudo=Record(CHECKED),
    docker=Record(CHECKED),
    disk=Record({"free": Count(), "path": Line(300), "error": Line(300)}),
    broker=Record(CHECKED),
    clock=Number(),
)
"""What the program of `otto-run doctor` says."""
_LAYERS = ListOf(Pattern(r"sha256:[0-9a-f]{64}", "digest of a layer"), 1000)
_IMAGE = _or_nothing(r"sha256:[0-9a-f]{64}", "id of an image")
PUSH = Record(
    {
        "ids": ListOf(_IMAGE, 20_000),
        "named": _IMAGE,
        "layers": Either((_LAYERS, ListOf(_LAYERS, 20_000)), "layers of an image, or of several"),
        "containerd": Flag(),
        "id": _IMAGE,
        "error": Line(300),
    }
)
"""What the program of `otto-run push` says, line by line."""


def said(shape: Shape, text: str) -> dict[str, Any]:
    """What a program of Otto's on a node printed, JSON in the shape. Raises Misfit."""
    if len(text) > MOST_BYTES:
        raise Misfit(f"answer: more than {MOST_BYTES >> 20} MiB")
    try:
        found: dict[str, Any] = shape.read(json.loads(text), "answer", Reading())
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, Misfit) else Misfit("answer: no JSON") from None
    return found


def shape_of(module: str) -> Record:
    return Record({**_CRASH, **SHAPES.get(module, {}), **_ENDS})


def read(module: str, answer: Any) -> tuple[dict[str, Any], int]:
    """(the answer, how much of it was dropped). Raises Misfit for one that cannot be used.

    module: its full name. answer: a result as Ansible or JSON has it.
    """
    reading = Reading()
    shape = shape_of(module)
    if isinstance(answer, Mapping):
        left_out = [key for key in _OWN_WAYS if key not in shape.fields]
        answer = {key: value for key, value in answer.items() if key not in left_out}
    found: dict[str, Any] = shape.read(answer, "answer", reading)
    if "service" in found and module == "otto.cluster.container_service":
        found["service"] = _as_written(found["service"], found.get("secrets", []))
    return found, reading.dropped


def parsed(module: str, text: str) -> tuple[dict[str, Any], int]:
    """Like `read`, of JSON text. Raises Misfit."""
    if len(text) > MOST_BYTES:
        raise Misfit(f"answer: more than {MOST_BYTES >> 20} MiB")
    try:
        return read(module, json.loads(text))
    except (ValueError, RecursionError) as error:
        if isinstance(error, Misfit):
            raise
        raise Misfit("answer: no JSON") from None


def here(result: Mapping[str, Any]) -> dict[str, Any]:
    """What Ansible says of a task of Otto's that did not get as far as the node."""
    texts = ("msg", "cause", "next", "exception")
    found: dict[str, Any] = {
        key: lines(str(result[key]), 8000) for key in texts if isinstance(result.get(key), str)
    }
    return {**found, "failed": result.get("failed") is True, "changed": False}


def plain(text: str) -> dict[str, Any]:
    """The answer of a module that an action of Ansible reads itself: JSON, without what Ansible
    would obey or show as its own. Raises Misfit."""
    if len(text) > MOST_BYTES:
        raise Misfit(f"answer: more than {MOST_BYTES >> 20} MiB")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Misfit("answer: no JSON") from None
    if not isinstance(found, dict):
        raise Misfit("answer: no mapping")
    return {
        key: value
        for key, value in found.items()
        if key not in _OBEYED and not key.startswith("_ansible_")
    }


_OBEYED = (
    *("add_host", "add_group", "ansible_facts", "ansible_stats", "results"),
    *("warnings", "deprecations", "exception", "invocation"),
)


def _as_written(service: dict[str, Any], secrets: list[str]) -> dict[str, Any]:
    """The service with no variable in it but those of its own secrets: a `$` is a literal one."""
    own = re.compile(r"\$\$\{(" + "|".join(map(re.escape, secrets)) + r")\}") if secrets else None
    written: dict[str, Any] = _each_text(service, lambda text: _literal(text, own))
    return written


def _literal(text: str, own: re.Pattern[str] | None) -> str:
    doubled = re.sub(r"\$\$?", "$$", text)
    return own.sub(r"${\1}", doubled) if own is not None else doubled


def renamed(service: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The service with other names for its variables; of what `read` gave."""
    if not names:
        return service
    known = re.compile(r"(?<!\$)\$\{(" + "|".join(map(re.escape, names)) + r")\}")
    written: dict[str, Any] = _each_text(
        service, lambda text: known.sub(lambda found: f"${{{names[found[1]]}}}", text)
    )
    return written


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _each_text(item, change) for key, item in value.items()}
    return [_each_text(item, change) for item in value] if isinstance(value, list) else value
