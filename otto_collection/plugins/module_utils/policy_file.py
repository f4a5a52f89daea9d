# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the node's policy, where there is one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import stat
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.beneath import opened
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.model import Policy, Target
from ansible_collections.otto.cluster.plugins.module_utils.policy import (
    FILE,
    parse,
    places,
)
from ansible_collections.otto.cluster.plugins.module_utils.sdk import BUNDLE, check_owner

_LARGEST = 64 * 1024
_MOST_LINKS = 40
_PROC = Path("/proc")


def read(file: Path = Path(FILE)) -> Policy | None:
    """None where there is no file: everything is allowed. One that cannot be read, or that others
    than root may write, is a policy with a problem."""
    try:
        return _parsed(_of_root(file))
    except FileNotFoundError:
        return None
    except ValueError as error:
        return Policy(problem=str(error))
    except OSError as error:
        return Policy(problem=f"{error.strerror}; it has to be readable for the agent: chmod 644")


def look(
    policy: Policy,
    target: Target,
    file: Path = Path(FILE),
    *,
    remember: bool = False,
    recursive: bool = False,
) -> Policy:
    """The policy with what can be seen of all paths that it has to judge for this target: where
    their links lead, and whether something is mounted below them.

    remember: note it for the agent, which may not look everywhere, and has mounts of its own
    (beside the file, in `policy.paths.json`). recursive: the engine's read-only mounts are so with
    all that is mounted below.
    """
    real = {path: real_path(path) for path in places(policy, target)}
    notes = file.with_name("policy.paths.json")
    mounted = _mounted()
    above = {path for path, seen in real.items() if seen and _is_above(seen, mounted)}
    absent = {path for path, seen in real.items() if seen and not os.path.lexists(seen)}
    if os.geteuid() == 0:
        if remember:
            _note(notes, real, above, absent)
    else:
        known, noted_above, noted_absent = _noted(notes)
        # What is not there for the agent may be there for the engine: its /tmp is its own.
        real = {
            path: seen if seen is not None and path not in absent else known.get(path, seen)
            for path, seen in real.items()
        }
        above = {path for path in real if path in (noted_above if path in known else above)}
        absent = {path for path in absent if path in noted_absent or path not in known}
    return dataclasses.replace(
        policy,
        real=real,
        leaky=frozenset() if recursive else frozenset(above),
        absent=frozenset(absent),
    )


def _of_root(file: Path) -> bytes:
    """Raises OSError; ValueError where what stands there need not be root's word."""
    descriptor = os.open(str(file), os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("others than root may write it: chown root, chmod 644")
        raw = stream.read(_LARGEST + 1)
    if len(raw) > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST // 1024} KiB")
    return raw


def real_path(path: str) -> str | None:
    """Where a path leads once its links are followed; what is not there yet is no link. None where
    a directory on the way may not be looked into, where links go in a circle, and where one of the
    kernel's own links is on the way: what stands in `/proc/<pid>/root` leads into that process's
    own tree, whatever it says."""
    rest = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    here, links = Path("/"), 0
    while rest:
        part = rest.pop()
        if part == "..":
            here = here.parent
            continue
        below = here / part
        try:
            if not stat.S_ISLNK(below.lstat().st_mode):
                here = below
                continue
            leads = os.fspath(below.readlink())
        except (FileNotFoundError, NotADirectoryError):
            here = below
            continue
        except OSError:
            return None
        links += 1
        if links > _MOST_LINKS or here == _PROC or _PROC in here.parents:
            return None
        if leads.startswith("/"):
            here = Path("/")
        rest += [each for each in reversed(leads.split("/")) if each not in ("", ".")]
    return str(here)


def _mounted() -> set[str]:
    """Where something is mounted."""
    lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    return {re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[4]) for line in lines}


def _is_above(path: str, mounted: Collection[str]) -> bool:
    return any(place.startswith(path.rstrip("/") + "/") and place != path for place in mounted)


def _note(
    notes: Path, real: Mapping[str, str | None], above: Collection[str], absent: Collection[str]
) -> None:
    seen = {path: found for path, found in sorted(real.items()) if found}
    document = {"real": seen, "above": sorted(above), "absent": sorted(absent)}
    content = json.dumps(document).encode()
    # The agent refuses what it cannot see itself, where this cannot be written.
    with contextlib.suppress(OSError), opened(notes.parent) as folder:
        known = folder.read(notes.name, _LARGEST) if folder.has_file(notes.name) else None
        if known != content:
            folder.replace(notes.name, content, 0o644)


def _noted(notes: Path) -> tuple[Mapping[str, str], Collection[str], Collection[str]]:
    """What root has seen of paths: where they lead, above what mounts they are, and where nothing
    is."""
    try:
        found = json.loads(_of_root(notes))
        return dict(found["real"]), set(found["above"]), set(found["absent"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}, (), ()


def _parsed(raw: bytes) -> Policy:
    # Only here: a node without a policy, which is most of them, loads no YAML.
    if (BUNDLE / "yaml").is_dir() and str(BUNDLE) not in sys.path:
        try:
            check_owner()
        except OttoError as error:
            return Policy(problem=f"{error.message}: {error.cause}")
        sys.path.append(str(BUNDLE))
    try:
        import yaml
    except ImportError:
        return Policy(problem="the node has no PyYAML: otto-run apply brings it with the agent")
    try:
        return parse(yaml.safe_load(raw))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        place = getattr(error, "problem_mark", None)
        line = f" in line {place.line + 1}" if place is not None else ""
        reason = " ".join(str(getattr(error, "problem", error)).split())
        return Policy(problem=f"it is no YAML{line}: {reason}")
