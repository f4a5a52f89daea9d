# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A target -> the strictest policy under which its services run. Pure.

It knows what the target says. What only the node can tell (where links lead, volumes and networks
that others made there before) is refused there, with the line that is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .model import Policy, Target
from .option_needs import Place
from .policy import KEYS, SOCKETS, clean, is_below, sees_socket
from .policy_needs import asked


@dataclass(frozen=True)
class Strictest:
    """document: of policy.yaml. never: service -> what of it no policy can allow; it has no line in
    the document."""

    document: Mapping[str, Any]
    never: Mapping[str, tuple[str, ...]]


def as_usual(path: str) -> str:
    """Where a path leads on a node as they are: /var/run is a link to /run there."""
    real = clean(path)
    return "/run" + real[len("/var/run") :] if is_below(real, "/var/run") else real


def strictest(target: Target) -> Strictest:
    policy = Policy(real={path: as_usual(path) for path in SOCKETS})
    sockets = set(policy.real.values())
    services: dict[str, set[str]] = {}
    never: dict[str, tuple[str, ...]] = {}
    places: dict[str, bool] = {}  # path -> whether all only read it
    for service in target.services:
        needs = asked(policy, target, service)
        hopeless = tuple(n.text for n in needs if not isinstance(n, Place) and not n.key)
        if hopeless:
            never[service] = hopeless
            continue
        for need in needs:
            if not isinstance(need, Place):
                services.setdefault(need.key, set()).add(service)
                continue
            real = as_usual(need.path)
            if sees_socket(policy, real):
                services.setdefault("docker_socket", set()).add(service)
            if real not in sockets:
                path = clean(need.path)
                places[path] = places.get(path, True) and need.read_only
    allow: dict[str, Any] = {"mounts": _mounts(places)} if places else {}
    allow.update({key: sorted(services[key]) for key in KEYS if key in services})
    return Strictest({"allow": allow}, never)


def _mounts(places: Mapping[str, bool]) -> list[Any]:
    """Without those that another one has below it."""
    kept = [
        path
        for path, read_only in sorted(places.items())
        if not any(
            path != other
            and is_below(as_usual(path), as_usual(other))
            and (read_only or not other_read_only)
            and (as_usual(path) != as_usual(other) or (other_read_only, other) < (read_only, path))
            for other, other_read_only in places.items()
        )
    ]
    return [{"path": path, "read_only": True} if places[path] else path for path in kept]
