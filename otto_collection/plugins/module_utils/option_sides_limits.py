# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container may use, as the engine shows it and changes it. Pure."""

# Every side has the same three signatures, whether it needs all of their arguments or not.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .model import Engine, Spec
from .option_engine import (
    Body,
    Image,
    Shown,
    Side,
    host,
    host_part,
    resource,
    show_size,
    shown_host,
)


def _memory_update(spec: Spec) -> Mapping[str, Any] | None:
    if not spec.get("mem_limit"):
        return None
    # The engine refuses a limit above the swap limit that stands: both go together.
    swap = spec.get("memswap_limit", 2 * spec["mem_limit"])
    return {"Memory": spec["mem_limit"], "MemorySwap": swap}


_MEMORY = resource("mem_limit", "Memory", back=show_size)
MEM_LIMIT = Side(_MEMORY.payload, _MEMORY.expected, _MEMORY.observed, _memory_update)


def _swap_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    """Left out, it is twice the memory; the kernel may not count it at all."""
    if {"mem_limit", "memswap_limit"} & set(engine.without):
        return {}
    swap = spec.get("memswap_limit") or 2 * (spec.get("mem_limit") or 0)
    return {"": show_size(swap)} if swap else {}


def _swap_observed(inspect: Mapping[str, Any]) -> Shown:
    swap = shown_host(inspect).get("MemorySwap")
    return {"": show_size(swap)} if swap else {}


def _swap_update(spec: Spec) -> Mapping[str, Any] | None:
    if not spec.get("mem_limit"):
        return None
    return {"MemorySwap": spec.get("memswap_limit") or 2 * spec["mem_limit"]}


MEMSWAP_LIMIT = Side(
    host("memswap_limit", "MemorySwap").payload,
    _swap_expected,
    _swap_observed,
    _swap_update,
    adds=lambda key, inspect: shown_host(inspect).get("MemorySwap") == -1,
    follows="mem_limit",
)


# --- CPUs ----------------------------------------------------------------------------------------

CPU_QUOTA = resource("cpu_quota", "CpuQuota", none=(0, -1))
CPU_PERIOD = resource("cpu_period", "CpuPeriod", none=(0, 100000))
"""A tenth of a second is the kernel's own."""


# --- block devices -------------------------------------------------------------------------------

BLKIO_KEYS = {
    "weight_device": ("BlkioWeightDevice", "Weight"),
    "device_read_bps": ("BlkioDeviceReadBps", "Rate"),
    "device_write_bps": ("BlkioDeviceWriteBps", "Rate"),
    "device_read_iops": ("BlkioDeviceReadIOps", "Rate"),
    "device_write_iops": ("BlkioDeviceWriteIOps", "Rate"),
}


def _blkio_payload(spec: Spec, body: Body) -> None:
    given = spec.get("blkio_config", {})
    if "weight" in given:
        host_part(body)["BlkioWeight"] = given["weight"]
    for name, (key, what) in BLKIO_KEYS.items():
        if given.get(name):
            host_part(body)[key] = [
                {"Path": path, what: value} for path, value in sorted(given[name].items())
            ]


def _blkio_shape(shown: Mapping[str, Any]) -> Shown:
    result = {"weight": str(shown["BlkioWeight"])} if shown.get("BlkioWeight") else {}
    for name, (key, what) in BLKIO_KEYS.items():
        for entry in shown.get(key) or ():
            text = show_size(entry[what]) if name.endswith("bps") else str(entry[what])
            result[f"{name}.{entry['Path']}"] = text
    return result


def _blkio_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    body: Body = {}
    _blkio_payload(spec, body)
    return _blkio_shape(body.get("HostConfig", {}))


BLKIO = Side(
    _blkio_payload,
    _blkio_expected,
    lambda inspect: _blkio_shape(shown_host(inspect)),
    discards=True,
)


def _pids_shape(value: Any) -> Shown:
    return {"": str(value)} if value and value > 0 else {}


def _pids_payload(spec: Spec, body: Body) -> None:
    if "pids_limit" in spec:
        host_part(body)["PidsLimit"] = spec["pids_limit"]


PIDS_LIMIT = Side(
    _pids_payload,
    lambda spec, image, engine: (
        {} if "pids_limit" in engine.without else _pids_shape(spec.get("pids_limit"))
    ),
    lambda inspect: _pids_shape((inspect.get("HostConfig") or {}).get("PidsLimit")),
    lambda spec: {"PidsLimit": spec.get("pids_limit") or -1},
)

OOM_KILL = replace(resource("oom_kill_disable", "OomKillDisable"), update=None, discards=True)
