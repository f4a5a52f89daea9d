# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets that a target, a service or a container holds, to be masked where they stand. Pure.

By name (environment, labels, ...), by how they are written (`masking.secrets_in`), because the file
has them under !vault (`Target.sensitive`), and the contents of `secrets` and `configs`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, unquote_plus

from .masking import SHORTEST, secrets_in, secrets_in_words
from .model import Observed, ObservedContainer, Spec, Target
from .secret_names import sounds_secret

_OF_A_CONFIG = 8
"""A config may be vaulted, and its node does not know; so no line of one is told. A line of fewer
characters than this is no secret and would riddle a text."""
_SKIPPED = ("secrets", "configs", "image")


def sensitive_names(spec: Spec) -> frozenset[str]:
    """Names of the variables of a spec and its hooks that sound secret."""
    hooks = (*spec.get("post_start", ()), *spec.get("pre_stop", ()))
    variables = {name for part in (spec, *hooks) for name in part.get("environment") or ()}
    return frozenset(filter(sounds_secret, variables))


def of_target(target: Target, observed: Observed | None = None) -> tuple[str, ...]:
    """Of all that the target says, and of the containers that are there; the longest first.

    A text of several lines counts line by line: a log has no more than some of them.
    """
    found = set()
    for name, spec in target.services.items():
        found |= set(of_spec(spec, target.sensitive.get(name, ())))
    for objects in (target.networks, target.volumes):
        for value in objects.values():
            found |= set(_in_tree(value))
    for key, least in (("secrets", SHORTEST), ("configs", _OF_A_CONFIG)):
        for spec in target.services.values():
            for entry in spec.get(key, ()):
                content = base64.b64decode(target.files.get(entry.get("digest", ""), ""))
                found |= set(_lines([content.decode("utf-8", "replace")], least))
    for container in observed.containers if observed is not None else ():
        found |= set(of_container(container))
    return _sorted(found)


def of_spec(spec: Spec, sensitive: Iterable[str] = ()) -> tuple[str, ...]:
    """Of one service. sensitive: names of variables that are secret whatever they are called."""
    names = set(sensitive)
    parts = (spec, *spec.get("post_start", ()), *spec.get("pre_stop", ()))
    values = [
        str(value)
        for part in parts
        for name, value in (part.get("environment") or {}).items()
        if name in names and value
    ]
    rest = {key: value for key, value in spec.items() if key not in _SKIPPED}
    return _sorted(_lines([*values, *_in_tree(rest)], SHORTEST))


def of_container(container: ObservedContainer) -> tuple[str, ...]:
    """Of one that is there, as far as names and writing tell."""
    config = container.inspect.get("Config") or {}
    health = config.get("Healthcheck") or {}
    environment = dict(str(line).partition("=")[::2] for line in config.get("Env") or ())
    labels = {
        key: value
        for key, value in (config.get("Labels") or {}).items()
        if not str(key).startswith("io.otto.")
    }
    logs = (container.inspect.get("HostConfig") or {}).get("LogConfig") or {}
    tree = {
        "environment": environment,
        "labels": labels,
        "command": config.get("Cmd") or (),
        "entrypoint": config.get("Entrypoint") or (),
        "test": health.get("Test") or (),
        "options": logs.get("Config") or {},
    }
    return _sorted(_lines(_in_tree(tree), SHORTEST))


def _in_tree(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from secrets_in(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if sounds_secret(str(key)) and isinstance(item, str):
                yield item
            yield from _in_tree(item)
    elif isinstance(value, Sequence):
        if all(isinstance(item, str) for item in value):
            yield from secrets_in_words(value)
        else:
            for item in value:
                yield from _in_tree(item)


def _lines(texts: Iterable[str], least: int) -> Iterator[str]:
    for text in texts:
        # As a URL says it, and as it is meant.
        for form in {text, unquote(text), unquote_plus(text)}:
            yield from (line for line in map(str.strip, form.splitlines()) if len(line) >= least)


def _sorted(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(found), key=lambda text: (-len(text), text)))
