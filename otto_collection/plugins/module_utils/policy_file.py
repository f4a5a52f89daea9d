# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the node's policy, where there is one."""

from __future__ import annotations

import dataclasses
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.model import Policy, Target
from ansible_collections.otto.cluster.plugins.module_utils.policy import (
    FILE,
    SOCKETS,
    host_paths,
    parse,
    volume_options,
)
from ansible_collections.otto.cluster.plugins.module_utils.sdk import BUNDLE

_LARGEST = 64 * 1024


def read(
    target: Target, volumes: Mapping[str, Mapping[str, Any]], file: Path = Path(FILE)
) -> Policy | None:
    """None where there is no file: everything is allowed. One that cannot be read, or that others
    than root may write, is a policy with a problem.

    volumes: engine name -> options of the volumes there are.
    """
    try:
        descriptor = os.open(str(file), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Policy(problem=f"{error.strerror}; it has to be readable for the agent: chmod 644")
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return Policy(problem="others than root may write it: chown root, chmod 644")
        raw = stream.read(_LARGEST + 1)
    if len(raw) > _LARGEST:
        return Policy(problem=f"it is larger than {_LARGEST // 1024} KiB")
    policy = _parsed(raw)
    options = volume_options(target.volumes, volumes)
    paths = {source for spec in target.services.values() for source, _ in host_paths(spec, options)}
    paths.update(SOCKETS, (mount.path for mount in policy.mounts))
    real = {path: os.path.realpath(path) for path in paths}
    return dataclasses.replace(policy, real=real, volumes=volumes)


def _parsed(raw: bytes) -> Policy:
    # Only here: a node without a policy, which is most of them, loads no YAML.
    if (BUNDLE / "yaml").is_dir() and str(BUNDLE) not in sys.path:
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
