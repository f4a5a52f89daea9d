# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network or volume as the file says it: as the engine is asked for it, and what differs. Pure.

The engine changes neither once it is made, and gives a network subnets where the file names none:
what was asked for stands in a label of the network, so that a key that leaves the file is seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from .model import LABEL_CLUSTER, LABEL_SPEC, Change, ObservedObject, canonical_json
from .option_engine import show

_DEFAULTS = {"network": "bridge", "volume": "local"}
_FLAGS = {"internal": "Internal", "attachable": "Attachable", "enable_ipv6": "EnableIPv6"}
_SUBNET = {
    "subnet": "Subnet",
    "gateway": "Gateway",
    "ip_range": "IPRange",
    "aux_addresses": "AuxiliaryAddresses",
}
_OWN = "io.otto."


def body_of(cluster: str, kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """What POST /networks/create or /volumes/create takes. kind: network | volume."""
    body: dict[str, Any] = {"Name": value["name"]}
    if value.get("driver"):
        body["Driver"] = value["driver"]
    if _options(value):
        body["Options" if kind == "network" else "DriverOpts"] = _options(value)
    labels = {**value.get("labels", {}), LABEL_CLUSTER: cluster}
    if kind == "network":
        body.update({key: value[name] for name, key in _FLAGS.items() if value.get(name)})
        if value.get("ipam"):
            config = [{_SUBNET[k]: one[k] for k in _SUBNET if k in one} for one in value["ipam"]]
            body["IPAM"] = {"Driver": "default", "Config": config}
        asked = {"options": _options(value)} | (
            {"ipam": value["ipam"]} if value.get("ipam") else {}
        )
        labels[LABEL_SPEC] = canonical_json(asked)
    body["Labels"] = labels
    return body


def differences(
    cluster: str, kind: str, value: Mapping[str, Any], found: ObservedObject
) -> tuple[Change, ...]:
    """What is otherwise than the file says; of labels that are not Otto's only those it names."""
    own = found.labels.get(LABEL_CLUSTER) == cluster
    wanted, there = _wanted(kind, value), _there(kind, value, found)
    keys = sorted(set(wanted) | {k for k in there if own or not k.startswith("labels.")})
    return tuple(
        Change(key, there.get(key), wanted.get(key), "file")
        for key in keys
        if there.get(key) != wanted.get(key)
    )


def _options(value: Mapping[str, Any]) -> dict[str, Any]:
    return dict(value.get("options", value.get("driver_opts")) or {})


def _wanted(kind: str, value: Mapping[str, Any]) -> dict[str, str]:
    flags = {name: bool(value.get(name)) for name in _FLAGS}
    ipam = _ipam_text(value.get("ipam", ()))
    driver = value.get("driver") or _DEFAULTS[kind]
    return _shown(kind, driver, _options(value), value.get("labels", {}), flags, ipam)


def _there(kind: str, value: Mapping[str, Any], found: ObservedObject) -> dict[str, str]:
    inspect = found.inspect
    flags = {name: bool(inspect.get(key)) for name, key in _FLAGS.items()}
    labels = {k: v for k, v in found.labels.items() if not k.startswith(_OWN)}
    driver = inspect.get("Driver", _DEFAULTS[kind])
    ipam = _ipam_text(_ipam_there(value, found))
    return _shown(kind, driver, _options_there(kind, value, found), labels, flags, ipam)


def _shown(
    kind: str,
    driver: str,
    options: Mapping[str, Any],
    labels: Mapping[str, str],
    flags: Mapping[str, bool],
    ipam: str,
) -> dict[str, str]:
    result = {"driver": driver}
    result.update({f"options.{key}": str(option) for key, option in options.items()})
    result.update({f"labels.{key}": label for key, label in labels.items()})
    if kind == "network":
        result.update({name: show(flag) for name, flag in flags.items()})
        if ipam:
            result["ipam"] = ipam
    return result


def _options_there(kind: str, value: Mapping[str, Any], found: ObservedObject) -> Mapping[str, Any]:
    """Without those that the engine gave a network by itself (`default-network-opts`): what was
    asked for stands in its label; where no label tells, no more counts than the file speaks of."""
    there = found.inspect.get("Options") or {}
    if kind != "network":
        return dict(there)
    asked = _asked(found).get("options", _options(value))
    return {key: option for key, option in there.items() if key in asked}


def _asked(found: ObservedObject) -> Mapping[str, Any]:
    """What the label of a network says that it was asked for with."""
    try:
        asked = json.loads(found.labels[LABEL_SPEC])
    except (KeyError, ValueError, TypeError):
        return {}
    return asked if isinstance(asked, dict) else {}


def _ipam_there(value: Mapping[str, Any], found: ObservedObject) -> list[Mapping[str, Any]]:
    """The subnets as they were asked for; where no label tells, the engine's, of each no more than
    the file speaks of."""
    asked = _asked(found).get("ipam")
    if isinstance(asked, list):
        return asked
    named = {one["subnet"]: one for one in value.get("ipam", ())}
    config = (found.inspect.get("IPAM") or {}).get("Config") or ()
    return [
        {
            name: one[key]
            for name, key in _SUBNET.items()
            if one.get(key) and (name == "subnet" or name in named.get(one.get("Subnet"), {}))
        }
        for one in config
        if named
    ]


def _ipam_text(entries: Iterable[Mapping[str, Any]]) -> str:
    lines = []
    for one in entries:
        words = [str(one.get("subnet", ""))]
        words += [f"{key} {one[key]}" for key in ("gateway", "ip_range") if one.get(key)]
        aux = one.get("aux_addresses") or {}
        words += [f"{name}={address}" for name, address in sorted(aux.items())]
        lines.append(" ".join(words))
    return ", ".join(sorted(lines))
