# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""May a service run twice for a moment? Then its replacement needs no downtime. Pure.

What cannot be had twice forbids it; what might not bear being used twice only keeps it from being
the default, and `update_order: start-first` is the person's word that it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model import Spec
from .option_sides_process import DEFAULT_RESTART
from .plan_values import Trouble, Wanted

START_FIRST, STOP_FIRST = "start-first", "stop-first"


def forbids(spec: Spec) -> str:
    """Why two containers of this spec can never run side by side; "" where they can."""
    for port in spec.get("ports", ()):
        if port.get("published"):
            return f"port {port['published']} of the node can be published by one container only"
    if spec.get("network_mode") == "host":
        return "with network_mode: host both would use the same ports of the node"
    if str(spec.get("network_mode", "")).startswith(("container:", "service:")):
        return "both would use the same ports of another container's network"
    if spec.get("mac_address"):
        return "mac_address is an address that one container only can have"
    for name, given in sorted(spec.get("networks", {}).items()):
        for key in ("ipv4_address", "ipv6_address", "mac_address"):
            if given.get(key):
                return f"{key} on network {name} is an address that one container only can have"
    return ""


def _shares(spec: Spec, image: Mapping[str, Any]) -> bool:
    """Whether two of them would write the same data, or use the same thing."""
    if "container_name" in spec or spec.get("privileged"):
        return True
    if spec.get("devices") or spec.get("gpus") or spec.get("volumes_from"):
        return True
    if spec.get("restart", DEFAULT_RESTART).startswith(("no", "on-failure")):
        return True  # it does a piece of work, and two would do it twice
    targets = set(spec.get("tmpfs", ()))
    for volume in spec.get("volumes", ()):
        targets.add(volume["target"])
        if volume["type"] != "tmpfs" and not volume["read_only"]:
            return True
    # Anonymous volumes go over to the new container.
    return bool({path.rstrip("/") for path in image.get("Volumes") or ()} - targets)


def starts_first(wanted: Wanted, image: Mapping[str, Any] | None) -> bool:
    """Whether the new container is started before the old one stops. image: Config of the image
    that is to run, None where it is not known yet."""
    asked = wanted.spec.get("update_order")
    if asked is not None:
        return bool(asked == START_FIRST) and not forbids(wanted.spec)
    return not forbids(wanted.spec) and not _shares(wanted.spec, image or {})


def impossible(wanted: Wanted) -> Trouble | None:
    """What the file asks for and cannot be: told before anything is made."""
    why = forbids(wanted.spec)
    if wanted.spec.get("update_order") == START_FIRST and why:
        return Trouble(
            f"{wanted.service} cannot be updated start-first",
            why,
            "write order: stop-first under deploy.update_config, or take away what forbids it",
            wanted.service,
        )
    count = wanted.spec.get("replicas", 1)
    if count > 1 and "container_name" in wanted.spec:
        why = "container_name is a name that one container only can have"
    if count > 1 and why:
        return Trouble(
            f"{wanted.service} cannot have {count} replicas",
            why,
            "write replicas: 1, or take away what forbids it",
            wanted.service,
        )
    return None
