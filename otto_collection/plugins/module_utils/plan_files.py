# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets and configs as files that a container mounts read-only. Pure.

What a container is given stands in its mounts by the file's name, and so by the digest of the
content: another content is another mount, and a new container. The content itself is nowhere but in
the file and in the target.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .model import Observed, Spec, Target
from .operations import Operation, PutFile

KINDS = ("secrets", "configs")
_FILE = re.compile(r"bind \S+/([0-9a-f]+)-([0-7]+)-(\w+)-(\w+) ro")
"""A mount of one as `option_sides_storage` shows it."""


def _entries(spec: Spec, kinds: Collection[str] = KINDS) -> Iterator[Mapping[str, Any]]:
    for kind in kinds:
        for entry in spec.get(kind, ()):
            if "digest" in entry:
                yield entry


def file_name(entry: Mapping[str, Any]) -> str:
    """`<digest>-<mode>-<uid>-<gid>`; `any` for an owner that the file does not name."""
    uid, gid = (str(entry.get(key) or "any") for key in ("uid", "gid"))
    return "{}-{:o}-{}-{}".format(entry["digest"], entry.get("mode", 0o444), uid, gid)


def with_files(spec: Spec, directory: str) -> dict[str, Any]:
    """The spec with mounts in place of its secrets and configs."""
    mounts = [
        {
            "type": "bind",
            "source": posixpath.join(directory, file_name(entry)),
            "target": entry["target"],
            "read_only": True,
            "must_exist": True,
            "of": kind,
        }
        for kind in KINDS
        for entry in _entries(spec, (kind,))
    ]
    result = {key: value for key, value in spec.items() if key not in ("secrets", "configs")}
    if mounts:
        volumes = [*spec.get("volumes", ()), *mounts]
        result["volumes"] = sorted(volumes, key=lambda volume: str(volume["target"]))
    return result


def mounted(*specs: Spec) -> dict[str, str]:
    """target -> secrets or configs, of what these resolved specs mount of either."""
    volumes = [volume for spec in specs for volume in spec.get("volumes", ())]
    return {volume["target"]: volume["of"] for volume in volumes if volume.get("of") in KINDS}


def shown(text: str | None) -> str | None:
    """The mount of a secret or a config as a person knows it: which content, mode, owner."""
    found = _FILE.fullmatch(text or "")
    if found is None:
        return text
    digest, mode, uid, gid = found.groups()
    owner = "" if (uid, gid) == ("any", "any") else f" owner {uid}:{gid}"
    return f"content {digest[:8]} mode {mode}{owner}"


def put_files(target: Target, observed: Observed, services: Collection[str]) -> list[Operation]:
    """What is to be written for these services, each file once."""
    found: dict[str, Operation] = {}
    for service in services:
        for entry in _entries(target.services[service]):
            name = file_name(entry)
            if name in observed.files.names:
                continue
            found[name] = PutFile(
                name,
                entry["source"],
                int(entry.get("mode", 0o444)),
                str(entry.get("uid") or ""),
                str(entry.get("gid") or ""),
                target.files.get(entry["digest"], ""),
            )
    return [found[name] for name in sorted(found)]


def in_use(target: Target, observed: Observed) -> set[str]:
    """Names of the files that the target asks for, or that some container was made with."""
    names = {file_name(entry) for spec in target.services.values() for entry in _entries(spec)}
    for container in observed.containers:
        for mount in container.inspect.get("Mounts") or ():
            directory, name = posixpath.split(str(mount.get("Source") or ""))
            if directory == observed.files.directory:
                names.add(name)
    return names
