# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that is there, in the words of a spec, so that one table tells what it has. Pure.

Each key of the engine's HostConfig stands here: the option that it is, or nothing where it gives no
power. One that does not stand here, and is not empty, becomes an option that nobody knows.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .option_needs import Asked, Need, Place, UsesVolume
from .option_parsers import normal_capability, normal_security_opt
from .option_sides_storage import ANONYMOUS

Doc = Mapping[str, Any]

_OWN_FILE = re.compile(r"[0-9a-f]+-[0-7]+-\w+-\w+")


def _names(value: Any) -> list[str]:
    return [str(one.get("Name")) for one in value]


_OPTIONS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "Annotations": ("annotations", dict),
    "CapAdd": ("cap_add", lambda value: [normal_capability(one) for one in value]),
    "CgroupParent": ("cgroup_parent", str),
    "CpuRealtimePeriod": ("cpu_rt_period", int),
    "CpuRealtimeRuntime": ("cpu_rt_runtime", int),
    "DeviceCgroupRules": ("device_cgroup_rules", list),
    "DeviceRequests": ("gpus", list),
    "Devices": ("devices", list),
    "IpcMode": ("ipc", str),
    "LogConfig": (
        "logging",
        lambda value: {"driver": value.get("Type"), "options": value.get("Config") or {}},
    ),
    "OomKillDisable": ("oom_kill_disable", bool),
    "OomScoreAdj": ("oom_score_adj", int),
    "PidMode": ("pid", str),
    "Privileged": ("privileged", bool),
    "StorageOpt": ("storage_opt", dict),
    "Sysctls": ("sysctls", dict),
    "Tmpfs": ("tmpfs", dict),
    "UTSMode": ("uts", str),
    "Ulimits": ("ulimits", _names),
    "UsernsMode": ("userns_mode", str),
}
_POWERLESS = frozenset(
    (
        *("AutoRemove", "BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps"),
        *("BlkioDeviceWriteIOps", "BlkioWeight", "BlkioWeightDevice", "CapDrop", "ConsoleSize"),
        *("ContainerIDFile", "CpuCount", "CpuPercent", "CpuPeriod", "CpuQuota", "CpuShares"),
        *("CpusetCpus", "CpusetMems", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "GroupAdd"),
        *("IOMaximumBandwidth", "IOMaximumIOps", "Init", "KernelMemory", "KernelMemoryTCP"),
        *("Links", "Memory", "MemoryReservation", "MemorySwap", "MemorySwappiness", "NanoCpus"),
        *("PidsLimit", "PortBindings", "PublishAllPorts", "ReadonlyRootfs", "RestartPolicy"),
        *("ShmSize",),
    )
)
_ELSEWHERE = frozenset(
    (
        *("Binds", "Mounts", "VolumesFrom", "VolumeDriver"),  # the mounts that came of it
        *("NetworkMode", "SecurityOpt", "MaskedPaths", "ReadonlyPaths", "Runtime", "Isolation"),
        "Cgroup",  # of engines that no longer are: the same as NetworkMode
        "CgroupnsMode",  # with cgroup v1 every container has the node's, and can only read in it
    )
)
_ENGINES_OWN = ("", "runc", "io.containerd.runc.v2", "crun")


def spec_of(doc: Doc) -> dict[str, Any]:
    """What a container was made with, as far as it is a power; without its mounts and networks."""
    host = doc.get("HostConfig") or {}
    spec: dict[str, Any] = {}
    for key, value in host.items():
        if key in _OPTIONS:
            name, convert = _OPTIONS[key]
            if value:
                spec[name] = convert(value)
        elif value and key not in _POWERLESS and key not in _ELSEWHERE:
            spec[key] = value
    if str(host.get("Runtime") or "") not in _ENGINES_OWN:
        spec["runtime"] = host["Runtime"]
    if str(host.get("Isolation") or "default") != "default":
        spec["Isolation"] = host["Isolation"]
    mode = str(host.get("NetworkMode") or "")
    if mode == "host" or mode.startswith("container:"):
        spec["network_mode"] = mode
    options = [normal_security_opt(one) for one in host.get("SecurityOpt") or ()]
    if spec.get("privileged") or "host" in (spec.get("pid"), spec.get("ipc")):
        options = [one for one in options if one != "label=disable"]  # the engine's own addition
    if not spec.get("privileged") and [] in (host.get("MaskedPaths"), host.get("ReadonlyPaths")):
        options.append("systempaths=unconfined")
    if options:
        spec["security_opt"] = options
    return spec


def networks_of(doc: Doc) -> list[str]:
    """Engine names of the networks that it is on."""
    return list((doc.get("NetworkSettings") or {}).get("Networks") or ())


def mounts_of(doc: Doc) -> Iterator[Asked]:
    """What of the node, and which volumes, it has mounted: by whatever way that was asked for."""
    for mount in doc.get("Mounts") or ():
        kind, read_only = mount.get("Type"), not mount.get("RW", True)
        source = str(mount.get("Source") or "")
        if mount.get("Propagation") in ("shared", "rshared"):
            yield Need("propagation", f"propagation: {mount['Propagation']} of a mount")
        if kind == "bind":
            directory, name = posixpath.split(source)
            if not (directory == "/var/lib/otto/files" and _OWN_FILE.fullmatch(name)):
                yield Place(source, read_only)
        elif kind == "volume":
            if not ANONYMOUS.fullmatch(str(mount.get("Name") or "")):
                yield UsesVolume(str(mount.get("Name")), read_only)
        elif kind != "tmpfs":
            yield Need("", f"a mount of type {kind}")


def others_of(doc: Doc) -> set[str]:
    """Names or ids of the containers whose namespaces or mounts it uses."""
    host = doc.get("HostConfig") or {}
    modes = [str(host.get(key) or "") for key in ("NetworkMode", "IpcMode", "PidMode")]
    found = {mode.partition(":")[2] for mode in modes if mode.startswith("container:")}
    return found | {str(line).partition(":")[0] for line in host.get("VolumesFrom") or ()}
