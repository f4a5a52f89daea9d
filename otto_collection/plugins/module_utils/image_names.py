# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the name of an image says by itself. Pure."""

from __future__ import annotations

HUB = "docker.io"
"""The registry of names without one, as Docker writes it."""


def pinned(reference: str) -> bool:
    """Whether a reference names its content: `nginx:alpine@sha256:...`."""
    return "@" in reference


def registry_of(reference: str) -> str:
    """The host that a reference is pulled from: `docker.io` for `nginx` and `team/app`."""
    head, slash, _rest = reference.partition("/")
    if not slash or not ("." in head or ":" in head or head == "localhost"):
        return HUB
    return HUB if head == f"index.{HUB}" else head
