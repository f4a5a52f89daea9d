# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not be seen in what a container or the engine wrote, and is quoted as a cause. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

from .model import Target


def secret_lines(target: Target) -> tuple[str, ...]:
    """Lines of the target's secrets, the longest first.

    A config may be vaulted too, and its node does not know; so no line of one is told.
    """
    # Shorter ones would only riddle the text, and are no secrets.
    texts = [(text, 4) for text in _sensitive_values(target)]
    for key, least in (("secrets", 4), ("configs", 8)):
        for spec in target.services.values():
            for entry in spec.get(key, ()):
                content = base64.b64decode(target.files.get(entry.get("digest", ""), ""))
                texts.append((content.decode("utf-8", "replace"), least))
    lines = {
        line
        for text, least in texts
        for line in map(str.strip, text.splitlines())
        if len(line) >= least
    }
    return tuple(sorted(lines, key=len, reverse=True))


def _sensitive_values(target: Target) -> Iterator[str]:
    """Of the variables of services and of their hooks."""
    for service, names in target.sensitive.items():
        spec = target.services.get(service, {})
        for part in (spec, *spec.get("post_start", ()), *spec.get("pre_stop", ())):
            environment = part.get("environment") or {}
            yield from (str(environment[name]) for name in names if environment.get(name))


def masked(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "(hidden)")
    return text
