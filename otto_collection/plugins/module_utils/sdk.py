# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the Docker SDK on a node: the one in Otto's bundle first, else an installed one."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

BUNDLE = Path("/opt/otto/current")
"""What the agent runs from. It holds a pure-Python SDK that was tested with this Otto."""


def docker_module(bundle: Path = BUNDLE) -> Any:
    """The `docker` package. A machine with a bundle is a node, and uses the SDK of the bundle.

    Raises OttoError with the command that installs it when there is none.
    """
    if "docker" not in sys.modules and (bundle / "docker").is_dir() and str(bundle) not in sys.path:
        # First, so that a node's old python3-requests never meets the bundle's SDK. It stays on
        # the path because requests and urllib3 import parts of themselves late.
        sys.path.insert(0, str(bundle))
    try:
        docker = importlib.import_module("docker")
        importlib.import_module("docker.errors")
    except ImportError as error:
        raise OttoError(
            "The Docker SDK for Python is missing on this node",
            cause=f"{error} ({sys.executable} has no {bundle})",
            next="otto-run apply   (or ansible-playbook site.yml: both install it with the agent;"
            " without the agent: apt-get install python3-docker)",
        ) from error
    if not hasattr(docker, "APIClient"):
        raise OttoError(
            "What Python finds as `docker` is not the Docker SDK",
            cause="it is %s" % (getattr(docker, "__file__", None) or list(docker.__path__)),
            next="pip uninstall docker-py; apt-get install python3-docker",
        )
    return docker
