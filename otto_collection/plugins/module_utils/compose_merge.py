# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How one compose file is laid over another, and a service over the one that it extends. Pure.

The rules are compose's: mappings are merged, lists are joined, a single value is replaced, and the
keys that are neither are listed in `_RULES`. `!override` replaces, `!reset` takes away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import Path
from ansible_collections.otto.cluster.plugins.module_utils.pieces import Piece

Rule = Callable[[Piece, Piece, Path], Piece]


def merge_files(base: Piece, over: Piece) -> Piece:
    """A whole compose file over another one."""
    return _merge(base, over, ())


def merge_services(base: Piece, over: Piece) -> Piece:
    """A service over the one that it extends."""
    return _merge(base, over, ("services", "*"))


def merge_pairs(base: Piece, over: Piece) -> Piece:
    """KEY=value over KEY=value, each a mapping or a list; a key without a value counts."""
    return _pairs(base, over, ())


def _merge(base: Piece, over: Piece, path: Path) -> Piece:
    if over.mark:
        return over
    rule = _RULES.get((*path[:1], "*", *path[2:]))
    if rule is not None:
        return rule(base, over, path)
    if isinstance(base.value, dict) and isinstance(over.value, dict):
        return _mappings(base, over, path)
    if isinstance(base.value, list) and isinstance(over.value, list):
        return _lists(base, over, path)
    return over


_BACK_TO_IMAGE = ("command", "entrypoint")
"""What an override without a value gives back to the image; of others it says nothing."""


def _mappings(base: Piece, over: Piece, path: Path) -> Piece:
    merged = dict(base.value)
    for key, piece in over.value.items():
        back = piece.value is None and len(path) == 2 and key in _BACK_TO_IMAGE
        if key not in merged or merged[key].value is None or back:
            merged[key] = piece
        elif piece.value is not None or piece.mark:
            merged[key] = _merge(merged[key], piece, (*path, key))
    return over.with_value(merged)


def _lists(base: Piece, over: Piece, _path: Path) -> Piece:
    """Joined; a text that stands there already does not come again."""
    items = base.items()
    known = {piece.value for piece in items if isinstance(piece.value, str)}
    more = [p for p in over.items() if not isinstance(p.value, str) or p.value not in known]
    return over.with_value([*items, *more])


def _replaced(_base: Piece, over: Piece, _path: Path) -> Piece:
    return over


def _pairs(base: Piece, over: Piece, _path: Path) -> Piece:
    """A mapping; where one of the two can be none, that one stays, for its parser to refuse."""
    below, above = _as_pairs(base), _as_pairs(over)
    if below is None:
        return base
    return over if above is None else over.with_value({**below, **above})


def _as_pairs(piece: Piece) -> dict[str, Piece] | None:
    if isinstance(piece.value, dict):
        return piece.value
    if not isinstance(piece.value, list):
        return None
    pairs: dict[str, Piece] = {}
    for item in piece.value:
        if not isinstance(item.value, str):
            return None
        key, equals, value = item.value.partition("=")
        if key in pairs:
            return None
        pairs[key] = item.with_value(value if equals else None)
    return pairs


def _named(**words: str) -> Rule:
    """Names, as a list or as the keys of a mapping: merged as mappings.

    words: what a name in a list stands for.
    """

    def as_mapping(piece: Piece) -> Piece:
        if not isinstance(piece.value, list):
            return piece
        return piece.with_value(
            {
                item.value: item.with_value(
                    {key: item.with_value(word) for key, word in words.items()} or None
                )
                for item in piece.value
                if isinstance(item.value, str)
            }
        )

    def merge(base: Piece, over: Piece, path: Path) -> Piece:
        if isinstance(base.value, list) and isinstance(over.value, list):
            return _lists(base, over, path)
        below, above = as_mapping(base), as_mapping(over)
        if not isinstance(below.value, dict):
            return base
        return _mappings(below, above, path) if isinstance(above.value, dict) else over

    return merge


def _by(identity: Callable[[Any], str | None]) -> Rule:
    """A list in which an entry replaces the one with the same identity."""

    def merge(base: Piece, over: Piece, _path: Path) -> Piece:
        merged: dict[Any, Piece] = {}
        for position, piece in enumerate([*base.items(), *over.items()]):
            key = identity(piece.plain())
            # Without an identity it is wrong, or anonymous: it stays for its parser.
            merged[(position, "") if key is None else key] = piece
        return over.with_value(list(merged.values()))

    return merge


def mount_target(value: Any) -> str | None:
    """Path in the container: of a volume or a device, short or long."""
    if isinstance(value, Mapping):
        target = value.get("target") or value.get("source")
        return target if isinstance(target, str) else None
    if not isinstance(value, str):
        return None
    parts = value.split(":")
    return parts[1] if len(parts) > 1 else value


def _content_target(directory: str) -> Callable[[Any], str | None]:
    """Path in the container: of a secret or a config, short or long."""

    def identity(value: Any) -> str | None:
        name = value
        if isinstance(value, Mapping):
            name = value.get("target") or value.get("source")
        if not isinstance(name, str):
            return None
        return name if name.startswith("/") else f"{directory}/{name}"

    return identity


def _before_colon(value: Any) -> str | None:
    return value.partition(":")[0] if isinstance(value, str) else None


def _env_path(value: Any) -> str | None:
    path = value.get("path") if isinstance(value, Mapping) else value
    return path if isinstance(path, str) else None


def _subnet(value: Any) -> str | None:
    subnet = value.get("subnet") if isinstance(value, Mapping) else None
    return subnet if isinstance(subnet, str) else None


def _extra_hosts(base: Piece, over: Piece, path: Path) -> Piece:
    return _lists(_host_lines(base), _host_lines(over), path)


def _host_lines(piece: Piece) -> Piece:
    if not isinstance(piece.value, dict):
        return piece
    return piece.with_value(
        [
            one.with_value(f"{name}={one.value}") if isinstance(one.value, str) else one
            for name, address in piece.value.items()
            for one in address.items()
        ]
    )


def _logging(base: Piece, over: Piece, path: Path) -> Piece:
    """Options belong to a driver: another driver begins anew."""
    below, above = base.get("driver"), over.get("driver")
    if below is not None and above is not None and below.value != above.value:
        return over
    if isinstance(base.value, dict) and isinstance(over.value, dict):
        return _mappings(base, over, path)
    return over


_SERVICE: dict[tuple[str, ...], Rule] = {
    ("annotations",): _pairs,
    ("cap_add",): _lists,
    ("cap_drop",): _lists,
    ("command",): _replaced,
    ("configs",): _by(_content_target("")),
    ("depends_on",): _named(condition="service_started", required="true"),
    ("deploy", "labels"): _pairs,
    ("devices",): _by(mount_target),
    ("dns",): _lists,
    ("dns_opt",): _lists,
    ("dns_search",): _lists,
    ("entrypoint",): _replaced,
    ("env_file",): _by(_env_path),
    ("environment",): _pairs,
    ("extra_hosts",): _extra_hosts,
    ("group_add",): _lists,
    ("healthcheck", "test"): _replaced,
    ("label_file",): _lists,
    ("labels",): _pairs,
    ("logging",): _logging,
    ("networks",): _named(),
    ("profiles",): _lists,
    ("secrets",): _by(_content_target("/run/secrets")),
    ("security_opt",): _lists,
    ("sysctls",): _pairs,
    ("tmpfs",): _by(_before_colon),
    ("volumes",): _by(mount_target),
}
_RULES: dict[Path, Rule] = {
    **{("services", "*", *key): rule for key, rule in _SERVICE.items()},
    ("networks", "*", "labels"): _pairs,
    ("networks", "*", "ipam", "config"): _by(_subnet),
    ("volumes", "*", "labels"): _pairs,
}
