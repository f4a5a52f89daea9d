# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's owner allows on it, whoever applies: `/etc/otto/policy.yaml`. Pure.

Where there is no such file, everything is allowed. Where there is one, what gives a container power
over the node is refused unless it stands there.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .errors import nearest
from .model import Mount, Policy, Spec
from .plan_values import Trouble

FILE = "/etc/otto/policy.yaml"
# Who may write to one of these is root on the node.
SOCKETS = ("/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")


class _Need(NamedTuple):
    """key: under `allow`. text: what the service asks for. asked: whether it does."""

    key: str
    text: str
    asked: Callable[[Spec], Any]


NEEDS = (
    _Need("privileged", "privileged", lambda s: s.get("privileged") or _privileged_hook(s)),
    _Need("host_network", "network_mode: host", lambda s: s.get("network_mode") == "host"),
    _Need("host_pid", "pid: host", lambda s: s.get("pid") == "host"),
    _Need("host_ipc", "ipc: host", lambda s: s.get("ipc") == "host"),
    _Need("host_uts", "uts: host", lambda s: s.get("uts") == "host"),
    _Need("host_userns", "userns_mode: host", lambda s: s.get("userns_mode") == "host"),
    _Need(
        "host_cgroup", "cgroup: host", lambda s: s.get("cgroup") == "host" or "cgroup_parent" in s
    ),
    _Need("cap_add", "cap_add", lambda s: s.get("cap_add")),
    _Need(
        "devices",
        "devices of the node",
        lambda s: s.get("devices") or s.get("gpus") or s.get("device_cgroup_rules"),
    ),
    _Need(
        "security_opt",
        "security_opt",
        lambda s: [one for one in s.get("security_opt", ()) if "no-new-privileges" not in one],
    ),
    _Need("runtime", "another runtime", lambda s: s.get("runtime")),
    _Need(
        "volumes_from",
        "the mounts of a container that is not the cluster's",
        lambda s: [one for one in s.get("volumes_from", ()) if one.startswith("container:")],
    ),
    _Need("docker_socket", "the engine's socket", lambda _: False),  # seen at the mounts
)
"""What a service may need: each is true, or a list of services, under `allow`."""
KEYS = (*(need.key for need in NEEDS), "mounts")


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
    return Mount(posixpath.normpath(path), read_only) if isinstance(read_only, bool) else None


def refusal(
    policy: Policy | None,
    service: str,
    spec: Spec,
    declared: Mapping[str, Mapping[str, Any]] | None = None,
) -> Trouble | None:
    """Why a service may not run on this node; None where it may.

    declared: the target's volumes, by the keys that the spec names; None where it has the engine's
    names.
    """
    if policy is None:
        return None
    volumes = volume_options(declared or {}, policy.volumes)
    for need in NEEDS:
        if need.asked(spec) and not policy.allows(need.key, service):
            return _refused(policy, service, need.text, f"{need.key}: [{service}]")
    for source, read_only in host_paths(spec, volumes):
        found = _refused_mount(policy, service, source, read_only)
        if found is not None:
            return found
    return None


def volume_options(
    declared: Mapping[str, Mapping[str, Any]], existing: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """What a spec names -> options of that volume's driver. Those of one that is there count: it
    is not made again."""
    found = dict(existing)
    for key, volume in declared.items():
        found[key] = existing.get(volume["name"], volume.get("options", {}))
    return found


def host_paths(spec: Spec, volumes: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, bool]]:
    """(path, read-only) of all that the container would see of the node's own files: also by a
    named volume that its driver lays upon a directory or a device."""
    found = []
    for mount in spec.get("volumes", ()):
        source = str(mount.get("source") or "")
        sources = [source] if mount["type"] == "bind" else _of_volume(volumes.get(source, {}))
        found += [(each, bool(mount.get("read_only"))) for each in sources if each.startswith("/")]
    return found


_SHARES = ("nfs", "nfs4", "cifs")


def _of_volume(options: Mapping[str, Any]) -> list[str]:
    """What the engine's own driver would mount: the device, and directories among the options, as
    an overlay has them. With `bind` the kernel does not look at the type."""
    words = [word.strip() for word in str(options.get("o") or "").split(",")]
    if options.get("type") in _SHARES and not {"bind", "rbind"} & set(words):
        return []
    places = [part for word in words for part in word.partition("=")[2].split(":")]
    return [str(options.get("device") or ""), *places]


def _refused_mount(policy: Policy, service: str, source: str, read_only: bool) -> Trouble | None:
    if ".." in source.split("/"):
        return _refused(policy, service, f"the mount {source}: write it without ..", "")
    real = policy.real.get(source, posixpath.normpath(source))
    if real is None:
        return Trouble(
            f"{service} is refused by this node's policy: the mount {source}",
            "it is not to be seen from here where that leads",
            "otto-run apply   (sees it as root, and the agent remembers)",
            service,
        )
    shown = source if real == posixpath.normpath(source) else f"{source} (it leads to {real})"
    sockets = {policy.real.get(socket) or socket for socket in SOCKETS}
    if any(_below(socket, real) for socket in sockets):
        if not policy.allows("docker_socket", service):
            return _refused(
                policy, service, f"{shown}, which has the engine's socket",
                f"docker_socket: [{service}]",
            )  # fmt: skip
        if real in sockets:
            return None
    allowed = {mount: policy.real.get(mount.path, mount.path) for mount in policy.mounts}
    fitting = [mount for mount, path in allowed.items() if path and _below(real, path)]
    if any(read_only or not mount.read_only for mount in fitting):
        return None
    if fitting:
        return _refused(policy, service, f"the mount {shown} without :ro", f"mounts: [{source}]")
    return _refused(policy, service, f"the mount {shown}", f"mounts: [{source}]")


def _below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _privileged_hook(spec: Spec) -> bool:
    hooks = (*spec.get("post_start", ()), *spec.get("pre_stop", ()))
    return any(hook.get("privileged") for hook in hooks)


def _refused(policy: Policy, service: str, what: str, key: str) -> Trouble:
    message = f"{service} is refused by this node's policy: {what}"
    if policy.problem:
        return Trouble(
            message,
            f"{FILE} cannot be used, so it allows nothing: {policy.problem}",
            f"sudoedit {FILE}   (on the node)",
            service,
        )
    step = f"; there, under allow: {key}" if key else ""
    return Trouble(
        message,
        f"{FILE} does not allow it",
        f"take it out of otto.yaml, or on the node: sudoedit {FILE}{step}",
        service,
    )
