# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts as the engine shows them. Pure."""

# Every side has the same three signatures, whether it needs all of their arguments or not.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from .model import Engine, Spec
from .option_engine import Body, Image, Shown, Side, host_part, show_size, shown_host

ANONYMOUS = re.compile(r"[0-9a-f]{64}")
"""Name that the engine gives to a volume that has none."""


def _volumes_payload(spec: Spec, body: Body) -> None:
    binds, mounts = [], []
    for volume in spec.get("volumes", ()):
        if volume["type"] == "bind" and not volume.get("must_exist"):
            # Only this form makes a missing directory on the node, and knows SELinux labels.
            modes = ["ro" if volume["read_only"] else "rw"]
            modes += [volume[key] for key in ("selinux", "propagation") if key in volume]
            binds.append(f"{volume['source']}:{volume['target']}:{','.join(modes)}")
            continue
        mount: Body = {
            "Type": volume["type"],
            "Target": volume["target"],
            "ReadOnly": volume["read_only"],
        }
        if volume["source"] is not None:
            mount["Source"] = volume["source"]
        if volume["type"] == "bind" and "propagation" in volume:
            mount["BindOptions"] = {"Propagation": volume["propagation"]}
        if volume.get("nocopy"):
            mount["VolumeOptions"] = {"NoCopy": True}
        if volume["type"] == "tmpfs":
            options = {"SizeBytes": volume.get("size"), "Mode": volume.get("mode")}
            mount["TmpfsOptions"] = {k: v for k, v in options.items() if v is not None}
        mounts.append(mount)
    if binds:
        host_part(body)["Binds"] = binds
    if mounts:
        host_part(body)["Mounts"] = mounts


def _mount_text(kind: str, source: str, read_only: bool, *extra: str) -> str:
    words = [kind, source, "ro" if read_only else "", *extra]
    return " ".join(word for word in words if word)


def _tmpfs_text(size: Any, mode: Any, read_only: bool) -> str:
    limits = (f"size={show_size(size)}" if size else "", f"mode={mode:o}" if mode else "")
    return _mount_text("tmpfs", "", read_only, *limits)


_ABOVE_THE_ENGINE = ("/", "/var", "/var/lib", "/var/lib/docker")


def _propagation(source: str, value: Any) -> str:
    """ "" for what is so by itself: rprivate, and rslave where the engine's own files lie below."""
    usual = ("rprivate", "rslave") if source in _ABOVE_THE_ENGINE else ("rprivate",)
    return "" if value in (None, *usual) else str(value)


def _volumes_expected(spec: Spec, image: Image, engine: Engine) -> Shown:
    taken = set(spec.get("tmpfs", {}))
    result = {
        posixpath.normpath(path): _mount_text("volume", "(anonymous)", False)
        for path in image.get("Volumes") or {}
        if posixpath.normpath(path) not in taken and not spec.get("volumes_from")
    }
    for volume in spec.get("volumes", ()):
        if volume["type"] == "tmpfs":
            text = _tmpfs_text(volume.get("size"), volume.get("mode"), volume["read_only"])
        else:
            source = volume["source"] or "(anonymous)"
            extra = [volume.get("selinux", ""), _propagation(source, volume.get("propagation"))]
            text = _mount_text(volume["type"], source, volume["read_only"], *extra)
        result[volume["target"]] = text
    return result


def _volumes_observed(inspect: Mapping[str, Any]) -> Shown:
    asked = {m["Target"]: m for m in (inspect.get("HostConfig") or {}).get("Mounts") or ()}
    binds = shown_host(inspect).get("Binds") or ()
    own = {*asked, *(bind.split(":")[1] for bind in binds)}
    others = shown_host(inspect).get("VolumesFrom")
    result = {}
    for mount in inspect.get("Mounts") or ():
        target, kind = mount["Destination"], mount["Type"]
        read_only = not mount.get("RW", True)
        if kind == "tmpfs":
            options = asked.get(target, {}).get("TmpfsOptions") or {}
            read_only = bool(asked.get(target, {}).get("ReadOnly", False))
            result[target] = _tmpfs_text(options.get("SizeBytes"), options.get("Mode"), read_only)
            continue
        if others and target not in own:
            continue  # another container's, as it is
        source = mount.get("Source", "")
        extra = []
        if kind == "volume":
            source = mount.get("Name", "")
            source = "(anonymous)" if ANONYMOUS.fullmatch(source) else source
        else:
            extra = [flag for flag in (mount.get("Mode") or "").split(",") if flag in ("z", "Z")]
            extra.append(_propagation(source, mount.get("Propagation")))
        result[target] = _mount_text(kind, source, read_only, *extra)
    for mount in asked.values():  # engines differ in whether Mounts tells of a tmpfs
        if mount["Type"] == "tmpfs" and mount["Target"] not in result:
            options = mount.get("TmpfsOptions") or {}
            text = _tmpfs_text(
                options.get("SizeBytes"), options.get("Mode"), mount.get("ReadOnly", False)
            )
            result[mount["Target"]] = text
    return result


def _from_payload(spec: Spec, body: Body) -> None:
    if spec.get("volumes_from"):
        host_part(body)["VolumesFrom"] = _containers(spec["volumes_from"])


def _containers(lines: Any) -> list[str]:
    return [line[len("container:") :] if line.startswith("container:") else line for line in lines]


def _from_shape(lines: Any) -> Shown:
    parts = (line.partition(":") for line in lines or ())
    return {name: mode or "rw" for name, _, mode in parts}


VOLUMES_FROM = Side(
    _from_payload,
    lambda spec, image, engine: _from_shape(_containers(spec.get("volumes_from", ()))),
    lambda inspect: _from_shape(shown_host(inspect).get("VolumesFrom")),
)

VOLUMES = Side(_volumes_payload, _volumes_expected, _volumes_observed, inherits=True)
