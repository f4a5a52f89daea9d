# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each option asks of a node beyond the container's own room. Pure.

Every option declares its `Needs`: `HARMLESS`, or a function from its canonical value to what that
value asks for. Only what is known to be harmless asks for nothing; a value that a function here
does not know asks for something that no policy can allow (a `Need` without a key).
How much a container uses (memory, CPUs, disk, ports) is no matter of a policy.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union


@dataclass(frozen=True)
class Need:
    """A power. key: under `allow` in a policy; "" for what nothing there can allow.
    text: what the service asks for, as a person reads it."""

    key: str
    text: str


@dataclass(frozen=True)
class Place:
    """A path of the node that the container sees. made: the engine makes a directory where nothing
    is."""

    path: str
    read_only: bool
    made: bool = False


@dataclass(frozen=True)
class UsesVolume:
    """name: as the spec names it. Of what it is, only the target and the engine can tell."""

    name: str
    read_only: bool


@dataclass(frozen=True)
class UsesNetwork:
    name: str


@dataclass(frozen=True)
class Joins:
    """Another container's namespace, or its mounts. whose: service:NAME or container:NAME."""

    option: str
    whose: str


# An alias is no annotation: Python 3.9 has to read it.
Asked = Union[Need, Place, UsesVolume, UsesNetwork, Joins]  # noqa: UP007


@dataclass(frozen=True)
class Needs:
    """keys: those of a policy's `allow` that the option may need. of: its value -> what it asks."""

    keys: tuple[str, ...]
    of: Callable[[Any], Iterable[Asked]]


def _nothing(value: Any) -> Iterable[Asked]:  # noqa: ARG001
    return ()


HARMLESS = Needs((), _nothing)


def _power(key: str, text: str) -> Needs:
    """Whatever the value is, unless it is empty or false."""
    return Needs((key,), lambda value: [Need(key, text)] if value else [])


def _one_by_one(key: str, option: str, harmless: Callable[[str], Any]) -> Needs:
    """A list of texts, or a mapping with such keys: those that are not harmless are told."""

    def of(value: Collection[str]) -> Iterator[Asked]:
        told = [str(one) for one in value if not harmless(str(one))]
        if told:
            yield Need(key, f"{option}: {', '.join(told)}")

    return Needs((key,), of)


# --- namespaces ----------------------------------------------------------------------------------


def _namespace(option: str, key: str, *harmless: str, joins: bool = True) -> Needs:
    def of(value: str) -> Iterator[Asked]:
        if value == "host":
            yield Need(key, f"{option}: host")
        elif joins and value.startswith(("service:", "container:")):
            yield Joins(option, value)
        elif value not in harmless:
            yield Need("", f"{option}: {value}")

    return Needs((key, "external") if joins else (key,), of)


NETWORK_MODE = _namespace("network_mode", "host_network", "bridge", "none", "default", "")
IPC = _namespace("ipc", "host_ipc", "private", "shareable", "none", "")
PID = _namespace("pid", "host_pid", "")
UTS = _namespace("uts", "host_uts", "", joins=False)
USERNS = _namespace("userns_mode", "host_userns", "", joins=False)
CGROUP = _namespace("cgroup", "host_cgroup", "private", "", joins=False)
CGROUP_PARENT = _power("host_cgroup", "cgroup_parent")


def _networks(value: Mapping[str, Mapping[str, Any]]) -> Iterator[Asked]:
    for name, given in value.items():
        yield UsesNetwork(name)
        if (given or {}).get("driver_opts"):
            yield Need("network_driver", f"driver_opts on network {name}")


NETWORKS = Needs(("external", "host_network", "network_driver", "subnets"), _networks)

# --- powers --------------------------------------------------------------------------------------

DEFAULT_CAPABILITIES = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
        *("NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)
"""What every container of Docker has that drops none."""

PRIVILEGED = _power("privileged", "privileged")
CAP_ADD = _one_by_one("cap_add", "cap_add", DEFAULT_CAPABILITIES.__contains__)
DEVICES = _power("devices", "devices of the node")
SECURITY_OPT = _one_by_one("security_opt", "security_opt", ("no-new-privileges=true",).__contains__)
RUNTIME = _power("runtime", "another runtime")
ANNOTATIONS = _power("annotations", "annotations for the runtime")
STORAGE_OPT = _one_by_one("storage_opt", "storage_opt", ("size",).__contains__)

_IPC_SYSCTLS = re.compile(
    r"kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|fs\.mqueue\.[a-z_]+"
)
SYSCTLS = _one_by_one(
    "sysctls",
    "sysctls",
    # Of net.* a container's network has only those that are its own.
    lambda name: re.fullmatch(r"net\.[A-Za-z0-9_.-]+", name) or _IPC_SYSCTLS.fullmatch(name),
)

_ULIMITS = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nofile", "nproc"),
    *("rss", "rttime", "sigpending", "stack"),
)
ULIMITS = _one_by_one("priority", "ulimits", _ULIMITS.__contains__)
OOM_KILL_DISABLE = _power("priority", "oom_kill_disable")
REAL_TIME = _power("priority", "real-time CPU")
OOM_SCORE_ADJ = Needs(
    ("priority",),
    lambda value: [Need("priority", "oom_score_adj below 0")] if value < 0 else [],
)

# --- what runs in it -----------------------------------------------------------------------------


def _working_dir(value: str) -> Iterator[Asked]:
    # There are links of the kernel's there, and some engines let one lead out of the container.
    if re.match("/+proc(/|$)", posixpath.normpath(value)):
        yield Need("", f"working_dir {value}")


WORKING_DIR = Needs((), _working_dir)


def _hooks(value: Iterable[Mapping[str, Any]]) -> Iterator[Asked]:
    for hook in value:
        if hook.get("privileged"):
            yield Need("privileged", "privileged")
        yield from _working_dir(str(hook.get("working_dir") or "/"))


HOOKS = Needs(("privileged",), _hooks)

_ANY_LOG = ("env", "env-regex", "labels", "labels-regex", "tag", "mode", "max-buffer-size")
_LOGS = {
    "json-file": {*_ANY_LOG, "max-size", "max-file", "compress"},
    "local": {*_ANY_LOG, "max-size", "max-file", "compress"},
    "journald": {*_ANY_LOG},
    "none": set(),
    "": {"max-size", "max-file", "compress", "mode", "max-buffer-size"},  # the engine's own driver
}
"""Log drivers that write into a place of their own, and options that cannot change where."""


def _logging(value: Mapping[str, Any]) -> Iterator[Asked]:
    driver = str(value.get("driver") or "")
    if driver not in _LOGS:
        yield Need("logging", f"the log driver {driver}")
    else:
        others = sorted({str(one) for one in value.get("options") or ()} - _LOGS[driver])
        if others:
            yield Need("logging", f"the log options {', '.join(others)}")


LOGGING = Needs(("logging",), _logging)

# --- mounts --------------------------------------------------------------------------------------

_MOUNT_KEYS = {
    *("type", "source", "target", "read_only", "selinux", "propagation", "must_exist", "nocopy"),
    *("size", "mode"),
}
_INWARD = (None, "", "private", "rprivate", "slave", "rslave")
"""Propagation that lets no mount of the container's appear on the node."""


def _volumes(value: Iterable[Mapping[str, Any]]) -> Iterator[Asked]:
    for mount in value:
        kind, source = mount.get("type"), mount.get("source")
        unknown = sorted(set(mount) - _MOUNT_KEYS)
        if kind not in ("bind", "volume", "tmpfs") or unknown:
            yield Need("", f"a mount of type {kind} with {', '.join(unknown) or 'nothing known'}")
        if mount.get("propagation") not in _INWARD:
            yield Need("propagation", f"propagation: {mount['propagation']} of a mount")
        if kind == "bind":
            # SELinux labels are written to the files themselves.
            read_only = bool(mount.get("read_only")) and "selinux" not in mount
            yield Place(str(source), read_only, made=not mount.get("must_exist"))
        elif kind == "volume" and source is not None:
            # What the image has at that path is written to an empty volume, also for a reader.
            read_only = bool(mount.get("read_only")) and bool(mount.get("nocopy"))
            yield UsesVolume(str(source), read_only)


VOLUMES = Needs(("mounts", "docker_socket", "propagation", "external", "volume_driver"), _volumes)

_TMPFS = re.compile(
    r"(size|mode|uid|gid|nr_inodes|nr_blocks|mpol)=[^,=/]*|defaults|rw|ro|(no)?(suid|dev|exec)"
    r"|a?sync|dirsync|(no|rel|norel|strict|nostrict)?atime|(no)?diratime|"
)


def _tmpfs(value: Mapping[str, str]) -> Iterator[Asked]:
    for path, options in value.items():
        odd = [word for word in str(options).split(",") if not _TMPFS.fullmatch(word)]
        if odd:
            yield Need("", f"tmpfs {path} with {', '.join(odd)}")


TMPFS = Needs((), _tmpfs)


def _volumes_from(value: Iterable[str]) -> Iterator[Asked]:
    for line in value:
        whose = line if line.startswith("container:") else f"service:{line}"
        yield Joins("volumes_from", ":".join(whose.split(":")[:2]))


VOLUMES_FROM = Needs(("volumes_from", *VOLUMES.keys), _volumes_from)

_OWN_FILE = {"digest": "[0-9a-f]+", "uid": "[0-9]*", "gid": "[0-9]*"}


def _files(value: Iterable[Mapping[str, Any]]) -> Iterator[Asked]:
    """They come from Otto's own directory, by a name that is made of these."""
    for entry in value:
        for key, pattern in _OWN_FILE.items():
            if not re.fullmatch(pattern, str(entry.get(key) or ("0" if key == "digest" else ""))):
                yield Need("", f"a file with {key} {entry[key]}")


FILES = Needs((), _files)
