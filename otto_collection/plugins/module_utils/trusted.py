# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether root may run what lies at a path, and whether a bundle is what the control machine made.

Needs the standard library alone and no other room: its text is also sent to nodes, where it runs
before anything of the bundle does (`plugin_utils/in_place.py`).
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator

MANIFEST = "MANIFEST"
"""Of a bundle: a line `<sha256> <mode> <path>` for each file. Its own SHA-256 names the bundle."""
COMPILED = "COMPILED"
"""Made on the node when the bundle is unpacked: the Python that compiled it, then lines as in
MANIFEST for what that Python wrote."""

_LINKS = 40
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def distrust(found: os.stat_result) -> str:
    """Why others than root may write this; "" where they may not."""
    if found.st_uid != 0:
        return f"belongs to user {found.st_uid} and not to root"
    if found.st_mode & _OTHERS:
        return f"may be written by others than root (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def distrusted(path: str) -> str:
    """What on the way to a path, its end included, others than root may write; "" where nothing is.

    Every directory is looked at, and links are followed. Raises OSError where it leads nowhere.
    """
    here, links = "/", 0
    rest = [part for part in reversed(path.split("/")) if part]
    why = distrust(os.lstat(here))
    if why:
        return f"/ {why}"
    while rest:
        part = rest.pop()
        if part in (".", ".."):
            here = os.path.dirname(here) if part == ".." else here
            continue
        at = os.path.join(here, part)
        found = os.lstat(at)
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _LINKS:
                return f"{at} is one of too many links"
            to = os.readlink(at)
            here = "/" if to.startswith("/") else here
            rest += [one for one in reversed(to.split("/")) if one]
            continue
        why = distrust(found)
        if why:
            return f"{at} {why}"
        here = at
    return ""


def distrusted_tree(directory: str) -> str:
    """`distrusted` of a directory, and of all that lies in it. Raises OSError."""
    why = distrusted(directory)
    if why:
        return why
    for path, found in _files(directory, ""):
        why = "is a link" if stat.S_ISLNK(found.st_mode) else distrust(found)
        if why:
            return f"{directory}/{path} {why}"
    return ""


def altered(bundle: str, sha256: str = "") -> str:
    """Why a bundle that lies on a node is not to be run; "" where it may be.

    It is root's alone, it holds what its manifest names and nothing else, byte for byte, and it was
    compiled by this Python. sha256: of the manifest that it has to have; "" for any.
    """
    try:
        why = distrusted(bundle)
        if why:
            return why
        manifest = _read(os.path.join(bundle, MANIFEST))
        if sha256 and hashlib.sha256(manifest).hexdigest() != sha256:
            return f"{bundle} holds another bundle"
        python, _, compiled = _read(os.path.join(bundle, COMPILED)).partition(b"\n")
        if python.decode() != sys.implementation.cache_tag:
            return f"{bundle} was compiled by another Python"
        wanted = dict(_lines(manifest + compiled))
        for path, found in _files(bundle, ""):
            why = "is no plain file" if not stat.S_ISREG(found.st_mode) else distrust(found)
            if why:
                return f"{bundle}/{path} {why}"
            if path in (MANIFEST, COMPILED):
                continue
            line = wanted.pop(path, "")
            if line != digest(os.path.join(bundle, path), found):
                return f"{bundle}/{path} " + ("was altered" if line else "is not of the bundle")
        return f"{bundle}/{min(wanted)} is missing" if wanted else ""
    except (OSError, ValueError) as error:
        return f"{bundle} cannot be read: {error}"


def digest(path: str, found: os.stat_result) -> str:
    """What a manifest says of a file before its path."""
    return f"{hashlib.sha256(_read(path)).hexdigest()} {stat.S_IMODE(found.st_mode):o}"


def _lines(text: bytes) -> Iterator[tuple[str, str]]:
    for line in text.decode().splitlines():
        sha256, mode, path = line.split(" ", 2)
        yield path, f"{sha256} {mode}"


def _files(directory: str, below: str) -> Iterator[tuple[str, os.stat_result]]:
    """Path in the bundle and look of all that is no directory; a directory that is not root's
    alone counts as one, too."""
    with os.scandir(directory) as entries:
        for entry in entries:
            found = entry.stat(follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode) or distrust(found):
                yield below + entry.name, found
            else:
                yield from _files(entry.path, f"{below}{entry.name}/")


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        parts: list[bytes] = []
        while True:
            part = os.read(descriptor, 1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)
    finally:
        os.close(descriptor)
