# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's owner allows on it, whoever applies: `/etc/otto/policy.yaml`. Pure.

Where there is no such file, everything is allowed. Where there is one, a service may run if all
that it asks of the node (`policy_needs.py`) stands there; what says nothing of itself is refused.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import nearest, typed
from .model import Mount, Policy, Target
from .option_needs import Need, Place
from .plan_values import Trouble
from .policy_needs import asked, asked_by_container

FILE = "/etc/otto/policy.yaml"
SOCKETS = (
    *("/run/docker.sock", "/var/run/docker.sock", "/run/docker/containerd/containerd.sock"),
    *("/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/crio/crio.sock"),
)
"""Who may write to one of these is root on the node."""

KEYS: Mapping[str, str] = {
    "mounts": "directories and files of the node, with all below them: binds, and volumes that are"
    " binds (`driver_opts`)",
    "docker_socket": "mounts of the engine's socket, or of a directory that has it",
    "privileged": "`privileged`, also of a hook",
    "host_network": "`network_mode: host`, networks of the driver `host`",
    "host_pid": "`pid: host`",
    "host_ipc": "`ipc: host`",
    "host_uts": "`uts: host`",
    "host_userns": "`userns_mode: host`",
    "host_cgroup": "`cgroup: host`, `cgroup_parent`",
    "cap_add": "`cap_add` of more than every container has",
    "devices": "`devices`, `gpus`, `device_cgroup_rules`",
    "security_opt": "`security_opt` other than `no-new-privileges`",
    "runtime": "`runtime`: another one than the engine's own",
    "annotations": "`annotations`: a runtime may do anything for one",
    "sysctls": "`sysctls` other than `net.*` and those of the container's own IPC",
    "priority": "what puts a container before the node itself: `oom_kill_disable`, `oom_score_adj`"
    " below 0, `cpu_rt_*`, `ulimits` such as `rtprio` and `nice`",
    "logging": "log drivers other than `json-file`, `local`, `journald` and `none`, and log options"
    " that are not known",
    "storage_opt": "`storage_opt` other than `size`",
    "propagation": "mounts with `propagation: shared` or `rshared`",
    "external": "volumes and networks that are there and are not the cluster's, and the namespaces"
    " of such containers (`network_mode`, `ipc`, `pid`: `container:NAME`)",
    "volumes_from": "`volumes_from: container:NAME`: mounts of a container that is not the"
    " cluster's",
    "volume_driver": "volumes of another driver than `local`, or with options for it that are not"
    " `nfs`, `nfs4`, `cifs`, `tmpfs` or a bind",
    "network_driver": "networks of another driver than `bridge`, and options of networks that are"
    " not known to be harmless (`com.docker.network.bridge.name` may be an interface of the node)",
    "subnets": "networks with subnets of their own (`ipam`): what the node sends there goes to its"
    " containers",
}
"""Keys of `allow`, and what each allows. `mounts` is a list of paths; the others are true, false,
or a list of services."""


def parse(document: Any) -> Policy:
    """The document of policy.yaml. What is wrong with it is its `problem`, all in one line."""
    problems: list[str] = []
    if not isinstance(document, Mapping) or set(document) - {"allow"}:
        return Policy(problem="it has to be a mapping with one key, allow")
    said = document.get("allow")
    if said is not None and not isinstance(said, Mapping):
        return Policy(problem="allow: has to be a mapping")
    allow: dict[str, bool | frozenset[str]] = {}
    mounts: list[Mount] = []
    for key, value in (said or {}).items():
        if key not in KEYS:
            close = nearest(str(key), KEYS)
            problems.append(f"allow.{key}: is no key" + (f", perhaps {close}" if close else ""))
        elif key == "mounts":
            for entry in value if isinstance(value, list) else [None]:
                mount = _mount(entry)
                if mount is None:
                    problems.append("allow.mounts: a list of absolute paths, or {path, read_only}")
                else:
                    mounts.append(mount)
        elif isinstance(value, bool):
            allow[key] = value
        elif isinstance(value, list) and all(isinstance(name, str) for name in value):
            allow[key] = frozenset(value)
        else:
            problems.append(f"allow.{key}: true, false, or a list of services")
    if problems:
        return Policy(problem="; ".join(dict.fromkeys(problems)))
    return Policy(allow, tuple(mounts))


def _mount(entry: Any) -> Mount | None:
    if isinstance(entry, str):
        entry = {"path": entry}
    if not isinstance(entry, Mapping) or set(entry) - {"path", "read_only"}:
        return None
    path, read_only = entry.get("path"), entry.get("read_only", False)
    if not isinstance(path, str) or not path.startswith("/") or ".." in path.split("/"):
        return None
    return Mount(clean(path), read_only) if isinstance(read_only, bool) else None


def clean(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def places(policy: Policy, target: Target) -> set[str]:
    """Paths whose links have to be followed before `refusal` can tell anything of this target."""
    found = {*SOCKETS, *(mount.path for mount in policy.mounts)}
    needs: list[Need | Place] = []
    for service in target.services:
        needs += asked(policy, target, service)
        if not target.cluster and service in policy.containers:
            needs += asked_by_container(policy, policy.containers[service])
    found.update(need.path for need in needs if isinstance(need, Place))
    return found


def refusal(policy: Policy | None, target: Target, service: str) -> Trouble | None:
    """Why a service of the target may not run on this node; None where it may.

    A target without a cluster is one container by hand, whose spec has the engine's names.
    """
    if policy is None:
        return None
    return _judged(policy, service, asked(policy, target, service))


def refusal_of_container(policy: Policy | None, name: str) -> Trouble | None:
    """The same of a container that is there, before it is started as it is."""
    if policy is None or name not in policy.containers:
        return None
    return _judged(policy, name, asked_by_container(policy, policy.containers[name]))


# ---- one service


def _judged(policy: Policy, service: str, needs: Iterable[Need | Place]) -> Trouble | None:
    """All that is not allowed, in one message."""
    refused: dict[str, str] = {}
    unseen = []
    for need in needs:
        if isinstance(need, Place):
            if ".." not in need.path.split("/") and policy.real.get(need.path) is None:
                unseen.append(need.path)
            else:
                refused.update(_refused_mount(policy, service, need))
        elif not (need.key and policy.allows(need.key, service)):
            refused[need.text] = f"{need.key}: [{service}]" if need.key else ""
    what = [*refused, *(f"the mount {path}" for path in unseen)]
    if not what:
        return None
    message = f"{service} is refused by this node's policy: {', '.join(what)}"
    if policy.problem:
        return Trouble(
            message,
            f"{FILE} cannot be used, so it allows nothing: {policy.problem}",
            typed("sudoedit {}   (on the node)", FILE),
            service,
        )
    if not refused:
        return Trouble(
            message,
            "it is not to be seen from here where that leads",
            "otto-run apply   (sees it as root, and the agent remembers)",
            service,
        )
    keys = list(dict.fromkeys(refused.values()))
    if "" in keys:
        return Trouble(
            message,
            f"no line of {FILE} can allow {next(text for text in refused if not refused[text])}",
            "take it out of otto.yaml",
            service,
        )
    return Trouble(
        message,
        f"{FILE} does not allow it",
        f"take it out of otto.yaml, or on the node: sudoedit {FILE}; there, under allow: "
        + ", ".join(keys),
        service,
    )


def sees_socket(policy: Policy, real: str) -> bool:
    sockets = {policy.real.get(socket) or socket for socket in SOCKETS}
    return any(is_below(socket, real) for socket in sockets)


def _refused_mount(policy: Policy, service: str, need: Place) -> dict[str, str]:
    """What of it is refused -> the line that would allow it."""
    source = need.path
    if ".." in source.split("/"):
        return {f"the mount {source}: write it without ..": ""}
    real = policy.real[source]
    assert real is not None
    shown = source if real == clean(source) else f"{source} (it leads to {real})"
    found = {}
    if sees_socket(policy, real):
        if not policy.allows("docker_socket", service):
            found[f"{shown}, which has the engine's socket"] = f"docker_socket: [{service}]"
        if real in {policy.real.get(socket) or socket for socket in SOCKETS}:
            return found
    allowed = {mount: policy.real.get(mount.path) for mount in policy.mounts}
    fitting = [mount for mount, path in allowed.items() if path and is_below(real, path)]
    reads = need.read_only and source not in policy.leaky
    reads = reads and not (need.made and source in policy.absent)
    if not any(reads or not mount.read_only for mount in fitting):
        without = ""
        if fitting and source in policy.leaky:
            without = ", of which this engine leaves writable what is mounted below it"
        elif fitting and need.read_only:
            without = ", which is not there, and would be made"
        elif fitting:
            without = " without :ro (of a volume: and without nocopy)"
        found[f"the mount {shown}{without}"] = f"mounts: [{source}]"
    return found


def is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
