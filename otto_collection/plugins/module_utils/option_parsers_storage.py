# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be written of mounts -> its canonical shape. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from .option_text import (
    At,
    Parser,
    boolean,
    keyed,
    matching,
    one_of,
    plain,
    refused,
    size,
    strings,
    text,
    without_effect,
)

_VOLUME_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"
_ON_NODE = "paths are on the node: write an absolute one such as /srv/data"


def _container_path(raw: Any, at: At) -> str | None:
    value = (plain(raw) or "").strip()
    if not value.startswith("/") or posixpath.normpath(value) in ("/", "//") or ":" in value:
        at.problem("is no path in the container", found=raw, expected="an absolute path, not /")
        return None
    return _clean(value)


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _bind_source(raw: Any, at: At) -> str | None:
    value = (plain(raw) or "").strip()
    if not value.startswith("/"):
        at.problem("is a relative path", found=raw, expected="an absolute path", hint=_ON_NODE)
        return None
    if ":" in value:
        at.problem("has a colon in its path", found=raw, expected="a path without a colon")
        return None
    return _clean(value)


_OF_A_MAC = ("cached", "consistent", "delegated")
"""Modes that only mean something to Docker Desktop: there are files that have them everywhere."""
_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


def _volume_short(raw: Any, at: At) -> dict[str, Any] | None:
    value = (plain(raw) or "").strip()
    parts = value.split(":")
    if not value or len(parts) > 3 or isinstance(raw, bool):
        at.problem("is no volume", found=raw, expected="/srv/data:/data, data:/data:ro or /data")
        return None
    if len(parts) == 1:
        target = _container_path(parts[0], at)
        if target is None:
            return None
        return {"type": "volume", "source": None, "target": target, "read_only": False}
    source: str | None = parts[0]
    if parts[0].startswith("/") or parts[0][:1] in (".", "~") or "/" in parts[0]:
        kind = "bind"
        source = _bind_source(parts[0], at)
    else:
        kind = "volume"
        if not re.fullmatch(_VOLUME_NAME, parts[0]):
            at.problem("is no name of a volume", found=parts[0], expected="a name or absolute path")
            source = None
    target = _container_path(parts[1], at)
    if source is None or target is None:
        return None
    result = {"type": kind, "source": source, "target": target, "read_only": False}
    for mode in parts[2].split(",") if len(parts) == 3 else ():
        if mode in ("ro", "rw"):
            result["read_only"] = mode == "ro"
        elif mode == "z" and kind == "volume":
            continue  # the engine labels its own volumes so by itself
        elif mode in ("z", "Z") and kind == "bind":
            result["selinux"] = mode
        elif mode in _PROPAGATION and kind == "bind":
            result["propagation"] = mode
        elif mode == "nocopy" and kind == "volume":
            result["nocopy"] = True
        elif mode in _OF_A_MAC:
            continue
        else:
            known = "ro, rw, z, Z" if kind == "bind" else "ro, rw, nocopy"
            at.problem("has an unknown mode", found=mode, expected=known)
            return None
    return result


_VOLUME_LONG = keyed(
    {
        "type": one_of("bind", "volume", "tmpfs"),
        "source": text,
        "target": _container_path,
        "read_only": boolean,
        "consistency": without_effect(one_of(*_OF_A_MAC, "default")),
        "bind": keyed(
            {
                "recursive": refused("needs Docker 25", "leave it out"),
                "propagation": one_of(*_PROPAGATION),
                "create_host_path": boolean,
                "selinux": one_of("z", "Z"),
            }
        ),
        "volume": keyed(
            {
                "nocopy": boolean,
                "subpath": refused("needs Docker 26", "a volume of its own, or a bind mount"),
            }
        ),
        "tmpfs": keyed({"size": size, "mode": matching(r"0?[0-7]{3,4}", "an octal mode: 1777")}),
    },
    required=("type", "target"),
)


def _volume_long(raw: Mapping[str, Any], at: At) -> dict[str, Any] | None:
    found = _VOLUME_LONG(raw, at)
    if found is None or "type" not in found or "target" not in found:
        return None
    kind = found["type"]
    for other in ("bind", "volume", "tmpfs"):
        if other in found and other != kind:
            at.sub(other).problem(
                f"does not belong to a {kind}", hint=f"remove it, or type: {other}"
            )
    result = {
        "type": kind,
        "source": found.get("source"),
        "target": found["target"],
        "read_only": found.get("read_only", False),
    }
    options = found.get(kind, {})
    if kind == "bind":
        if "source" not in found:
            at.problem("is a bind without a source", found=raw, expected="source: /path/on/node")
            return None
        result["source"] = _bind_source(found["source"], at.sub("source"))
        if result["source"] is None:
            return None
        if options.get("create_host_path") is False:
            result["must_exist"] = True
            if "selinux" in options:
                at.sub("bind").problem(
                    "has selinux, which the engine knows only where it may make the directory",
                    hint="remove selinux, or create_host_path: false",
                )
        result.update({key: options[key] for key in ("selinux", "propagation") if key in options})
    elif kind == "volume":
        source = found.get("source")
        if source is not None and not re.fullmatch(_VOLUME_NAME, source):
            at.sub("source").problem("is no name of a volume", found=source, hint="or type: bind")
            return None
        if options.get("nocopy"):
            result["nocopy"] = True
    else:
        if "source" in found:
            at.sub("source").problem("does not belong to a tmpfs", found=found["source"])
        result["source"] = None
        result.update(options)
        if "mode" in result:
            result["mode"] = int(result["mode"], 8)
    return result


def volumes(raw: Any, at: At) -> list[dict[str, Any]] | None:
    if not isinstance(raw, list):
        at.problem("is not valid", found=raw, expected="a list of volumes")
        return None
    found: dict[str, dict[str, Any]] = {}
    for i, item in enumerate(raw):
        where = at.sub(i)
        mount = (
            _volume_long(item, where) if isinstance(item, Mapping) else _volume_short(item, where)
        )
        if mount is None:
            continue
        if mount["target"] in found:
            where.problem("mounts at a path that is taken", found=mount["target"])
        found[mount["target"]] = mount
    return [found[target] for target in sorted(found)]


def tmpfs(raw: Any, at: At) -> dict[str, str] | None:
    """path -> mount options ("" for the engine's own)."""
    result: dict[str, str] = {}
    for i, line in enumerate(strings(raw, at) or ()):
        path, _, options = line.partition(":")
        target = _container_path(path, at.sub(i) if isinstance(raw, list) else at)
        if target is not None:
            result[target] = options
    return result


def volumes_from(raw: Any, at: At) -> list[str] | None:
    """Sorted "service:mode", or "container:name:mode"; mode is ro or rw."""
    found = set()
    for i, item in enumerate(strings(raw, at) or ()):
        match = re.fullmatch(rf"(container:)?({_VOLUME_NAME})(?::(ro|rw))?", item)
        if match is None:
            where = at.sub(i) if isinstance(raw, list) else at
            expected = "SERVICE, SERVICE:ro or container:NAME:ro"
            where.problem("is not valid", found=item, expected=expected)
            continue
        found.add(f"{match.group(1) or ''}{match.group(2)}:{match.group(3) or 'rw'}")
    return sorted(found)


# --- secrets and configs -------------------------------------------------------------------------

_FILE_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"
_SOURCE = matching(_FILE_NAME, "a key of the file's secrets or configs")
_FILE = keyed(
    {
        "source": _SOURCE,
        "target": text,
        "uid": matching("[0-9]+", "a number: the node does not know the container's names"),
        "gid": matching("[0-9]+", "a number: the node does not know the container's names"),
        "mode": matching(r"(0o?)?[0-7]{3,4}", "an octal mode: 0440"),
    },
    required=("source",),
)


def _files(directory: str) -> Parser:
    """[{"source", "target" (absolute), "uid"?, "gid"?, "mode" (int)}], sorted by target."""

    def parse(raw: Any, at: At) -> list[dict[str, Any]] | None:
        if not isinstance(raw, list):
            at.problem("is not valid", found=raw, expected="a list of names, or of mappings")
            return None
        found: dict[str, dict[str, Any]] = {}
        for i, item in enumerate(raw):
            where = at.sub(i)
            if isinstance(item, Mapping):
                entry = _FILE(item, where)
            else:
                entry = {"source": _SOURCE(item, where)}
            if entry is None or entry.get("source") is None:
                continue
            target = posixpath.join(directory, entry.get("target", entry["source"]))
            target = posixpath.normpath(target)
            mode = int(entry.get("mode", "444").replace("o", ""), 8)
            if target in found:
                where.problem("mounts at a path that is taken", found=target)
            found[target] = {**entry, "target": target, "mode": mode}
        return [found[target] for target in sorted(found)]

    return parse


secrets = _files("/run/secrets")
configs = _files("/")
