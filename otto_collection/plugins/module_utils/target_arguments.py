# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both ways of the module `target` to a node agree on. Pure."""

from __future__ import annotations

from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "target": {"type": "str", "no_log": True},
    "revision": {"type": "str"},
    "expect": {"type": "str"},
    "adopt": {"type": "dict", "default": {}},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "volumes": {"type": "bool", "default": False},
    "agent": {"type": "dict"},
    "registries": {"type": "str", "no_log": True},
    "keep_images": {"type": "int", "default": 3},
    "hold": {"type": "bool", "default": False},
    "state_dir": {"type": "path", "default": "/var/lib/otto"},
    "docker_url": {"type": "str", "default": "unix:///var/run/docker.sock"},
    "timeout": {"type": "int", "default": 60},
    "lock_timeout": {"type": "int", "default": 120},
    "workers": {"type": "int", "default": 10},
}
RESULT = "otto-result:"
"""What the line with the result begins with: a login may have said something before."""
RULES: dict[str, Any] = {
    "required_if": [("state", "present", ["target", "revision"], True)],
    "mutually_exclusive": [("target", "revision")],
}
