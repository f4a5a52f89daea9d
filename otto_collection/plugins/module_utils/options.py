# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service's options put together: parsed, as schema and arguments, as a create body, compared.

What there is to know of one option stands in `option_table.py`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from .errors import Path, Problems, nearest, show_value
from .model import Engine, Spec
from .option_engine import api_at_least, show_size
from .option_parsers_service import Spread
from .option_refused import BEFORE, REFUSED, Before
from .option_table import OPTIONS, Option
from .option_text import At

NAMESPACES = ("network_mode", "ipc", "pid")
"""Options that may name another container."""


def parse_service(
    raw: Any,
    path: Path,
    problems: Problems,
    *,
    environ: Mapping[str, str] | None = None,
    also: Collection[str] = (),
) -> dict[str, Any]:
    """A service as it is written -> its spec. All that is wrong goes to `problems`.

    raw: the mapping without the keys that are Otto's (name, node): `also` holds those, so that they
    are found as the nearest key. Keys that begin with x- are anyone's.
    """
    if not isinstance(raw, Mapping):
        problems.add(path, "is no service", found=show_value(raw), expected="a mapping")
        return {}
    spec: dict[str, Any] = {}
    spread: list[Spread] = []
    for key, value in raw.items():
        name, here = str(key), (*path, str(key))
        if name in OPTIONS:
            if value is None and name != "networks":
                continue  # a key without a value says nothing
            if (value == "" and name in _EMPTY) or (name in _ZERO and str(value).strip() == "0"):
                continue  # as in compose: what `${VAR:-}` leaves, and no limit
            parsed = OPTIONS[name].parse(value, At(here, problems, environ or {}))
            if OPTIONS[name].spreads:
                spread.append(parsed)
            elif parsed is not None:
                spec[name] = parsed
        elif name in REFUSED:
            problems.add(here, REFUSED[name].why, hint=REFUSED[name].instead)
        elif name in BEFORE:
            problems.add(
                here, "is read before a service is, and was not", hint=BEFORE[name].instead
            )
        elif not name.startswith("x-"):
            near = nearest(name, [*OPTIONS, *BEFORE, *also])
            problems.add(here, "is no key of a service", nearest=near)
    if "image" not in raw or raw["image"] is None:
        problems.add(path, "has no image", expected="image: such as nginx:alpine")
    _merge(spec, spread)
    _implied(spec)
    _together(spec, path, problems)
    return spec


_EMPTY = {
    *("cgroup_parent", "container_name", "cpuset", "dns", "dns_search", "domainname", "hostname"),
    *("ipc", "mac_address", "network_mode", "pid", "platform", "pull_policy", "restart", "runtime"),
    *("stop_signal", "user", "userns_mode", "uts", "working_dir"),
}
_ZERO = {"cpus", "cpu_shares", "mem_limit", "mem_reservation", "memswap_limit", "shm_size"}


def _implied(spec: dict[str, Any]) -> None:
    """Who uses another's namespace, mounts or name comes after it."""
    names = [str(spec.get(key, "")) for key in NAMESPACES]
    names = [name.partition(":")[2] for name in names if name.startswith("service:")]
    for line in (*spec.get("volumes_from", ()), *spec.get("links", ())):
        name, _, rest = line.partition(":")
        names += [name] if name != "container" or rest.count(":") == 0 else []
    if names:
        there = spec.get("depends_on", {})
        usual = {"condition": "service_started", "required": True, "restart": False}
        spec["depends_on"] = {n: there.get(n, usual) for n in sorted({*there, *names})}


def _merge(spec: dict[str, Any], spread: list[Spread]) -> None:
    """What `scale` and `deploy` say, beside what the options of that name say."""
    for entry in spread:
        for name, (value, at) in entry.items():
            if spec.setdefault(name, value) != value:
                hint = "write it once"
                at.problem(f"differs from {_SAID.get(name, name)}", found=_shown(value),
                           expected=_shown(spec[name]), hint=hint)  # fmt: skip


_SAID = {"replicas": "scale"}


def _shown(value: Any) -> str:
    return show_size(value) if isinstance(value, int) and value >= 1024 else str(value)


def _together(spec: Mapping[str, Any], path: Path, problems: Problems) -> None:
    """Options that do not go together."""
    if "network_mode" in spec and "networks" in spec:
        problems.add((*path, "network_mode"), "does not go with networks", hint="keep one of them")
    if spec.get("network_mode") in ("host", "none") and spec.get("ports"):
        hint = "on the node's own network every port is open as it is"
        mode = spec["network_mode"]
        problems.add((*path, "ports"), f"does nothing with network_mode: {mode}", hint=hint)
    if str(spec.get("network_mode", "")).startswith(("service:", "container:")):
        whose = spec["network_mode"].partition(":")[2]
        for key in ("ports", "expose", "hostname", "dns", "extra_hosts", "mac_address"):
            if spec.get(key):
                message = f"does not go with the network of {whose}"
                problems.add((*path, key), message, hint=f"write it at {whose}")
    if "network_mode" in spec and "links" in spec:
        hint = "links are names on networks: of its own"
        problems.add((*path, "links"), "does not go with network_mode", hint=hint)
    if "memswap_limit" in spec and "mem_limit" not in spec:
        problems.add((*path, "memswap_limit"), "needs mem_limit", hint="add mem_limit")
    elif 0 <= spec.get("memswap_limit", -1) < spec.get("mem_limit", 0):
        hint = "it counts memory and swap together"
        problems.add((*path, "memswap_limit"), "is less than mem_limit", hint=hint)
    for name in ("cpu_quota", "cpu_period"):
        if "cpus" in spec and name in spec:
            hint = "cpus: 0.5 is half of each round"
            problems.add((*path, name), "does not go with cpus", hint=hint)
            break
    if spec.get("replicas", 1) > 1:
        _copies(spec, path, problems)
    _mounted_twice(spec, path, problems)


def _mounted_twice(spec: Mapping[str, Any], path: Path, problems: Problems) -> None:
    taken = {volume["target"]: "volumes" for volume in spec.get("volumes", ())}
    for key in ("tmpfs", "secrets", "configs"):
        for entry in spec.get(key, ()):
            target = entry if isinstance(entry, str) else entry["target"]
            other = taken.setdefault(target, key)
            if other != key:
                message = f"mounts where one of {other} is mounted"
                problems.add((*path, key), message, found=target)


def _copies(spec: Mapping[str, Any], path: Path, problems: Problems) -> None:
    """What only one container of a node can have."""
    if "container_name" in spec:
        name = spec["container_name"]
        hint = "remove container_name: copies are named by the service"
        problems.add((*path, "container_name"), "is for one container, and scale asks for more",
                     found=show_value(name), hint=hint)  # fmt: skip
    fixed = sorted({p["published"] for p in spec.get("ports", ()) if p["published"] is not None})
    if fixed:
        hint = "publish no fixed port: only 80, and a proxy before them"
        problems.add((*path, "ports"), "can be published by one container of a node only",
                     found=", ".join(map(str, fixed)), hint=hint)  # fmt: skip


def service_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a service's own keys, without name and node."""
    rows: list[Option | Before] = [*OPTIONS.values(), *BEFORE.values()]
    return {
        "type": "object",
        "properties": {
            **{row.name: {"description": _without_marks(row.doc), **row.schema} for row in rows},
            **{
                row.name: {"description": f"Not done: {row.instead}.", "not": {}}
                for row in REFUSED.values()
            },
        },
        "patternProperties": {"^x-": {}},
        "required": ["image"],
    }  # fmt: skip


def _without_marks(doc: str) -> str:
    return re.sub(r"C\(([^()]*)\)", r"\1", doc)


def argument_spec() -> dict[str, dict[str, Any]]:
    """The options as arguments of an Ansible module; none is required, values are parsed later."""
    return {
        option.name: {"type": option.argument} for option in OPTIONS.values() if option.argument
    }


def create_payload(spec: Spec) -> dict[str, Any]:
    """Body of POST /containers/create for a resolved spec (no labels of Otto's in it)."""
    body: dict[str, Any] = {}
    for option in OPTIONS.values():
        option.side.payload(spec, body)
    return body


def _known(option: Option, engine: Engine) -> bool:
    return not option.side.since or api_at_least(engine, *option.side.since)


def unknown_to(spec: Spec, engine: Engine) -> list[str]:
    """What the spec asks for and this engine does not know, a line for each option."""
    return [
        f"{name} needs API {'.'.join(map(str, OPTIONS[name].side.since))},"
        f" and Docker {engine.version} has {engine.api_version}"
        for name in OPTIONS
        if name in spec and not _known(OPTIONS[name], engine)
    ]


def differences(
    spec: Spec,
    inspect: Mapping[str, Any],
    image: Mapping[str, Any] | None,
    engine: Engine,
    applied: Spec | None = None,
) -> dict[str, dict[str, tuple[str | None, str | None]]]:
    """option -> key within it -> (observed, expected); empty for a container that is as it must.

    spec, applied: resolved; applied is the last-applied spec, None where it is not known.
    image: Config of the image that the container runs; None where it is no longer there: what it
    has a say in is then compared with the last-applied spec.
    """
    result: dict[str, dict[str, tuple[str | None, str | None]]] = {}
    for name, option in OPTIONS.items():
        if not _known(option, engine):
            continue
        wanted = option.side.expected(spec, image or {}, engine)
        found = option.side.observed(inspect)
        before = option.side.expected(applied, image or {}, engine) if applied is not None else {}
        if option.side.inherits and image is None:
            found = before if applied is not None else wanted
        adds = option.side.adds
        if adds is not None:
            found = {
                k: v for k, v in found.items()
                if k in wanted or k in before or not adds(k, inspect)
            }  # fmt: skip
        if option.side.discards:
            wanted = {k: v for k, v in wanted.items() if k in found or before.get(k) != v}
        keys = sorted(set(wanted) | set(found))
        delta = {k: (found.get(k), wanted.get(k)) for k in keys if found.get(k) != wanted.get(k)}
        if delta:
            result[name] = delta
    for name in list(result):
        unnamed = name not in spec and name not in (applied or {})
        if unnamed and OPTIONS[name].side.follows in result:
            del result[name]
    return result
