# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a text has one of the secrets that are known, whatever it is wrapped in. Pure.

The text is unwrapped, not the secrets wrapped: so base64 of `user:password` is found as well as of
the password, with any alphabet, padding and beginning, and any mixture of quoted and plain
characters. A run of base64 that holds a secret is a secret from its first character to its last.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

_DEPTH = 2
"""How deep wrappings are undone: base64 of base64, base64 of a URL."""
_LONGEST = 1 << 16
"""Bytes from which on a text is searched for plain secrets alone."""
_PREFIX = 6
"""Bytes by which secrets are looked up: a text is walked once, however many there are."""
_BASE64 = re.compile(
    # Wrapped to lines, as `base64` and `openssl` print it, and as lines of a log are joined.
    rb"(?:(?:[A-Za-z0-9+/_-]{76}|[A-Za-z0-9+/_-]{64})(?:\r?\n| \| ))*[A-Za-z0-9+/_-]{8,}={0,2}"
)
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/_-]+")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})|\+")
_ESCAPE = re.compile(
    rb"\\(?:u([0-9A-Fa-f]{4})(?:\\u([Dd][C-Fc-f][0-9A-Fa-f]{2}))?|x([0-9A-Fa-f]{2})|(.))"
)
_SHORT = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}

_Bytes = tuple[int, int]
_Needles = Mapping[bytes, Sequence[bytes]]
"""The first bytes of secrets -> those that begin so."""


def spans_of(text: str, secrets: Sequence[str]) -> list[tuple[int, int]]:
    """(start, end) of every place in `text` that holds a secret; they may overlap.

    secrets: of at least six characters each.
    """
    raw = text.encode("utf-8", "surrogatepass")
    found = list(_search(raw, _indexed(tuple(secrets)), _DEPTH))
    if not found or len(raw) == len(text):
        return found
    return [
        (len(raw[:start].decode("utf-8", "replace")), len(raw[:end].decode("utf-8", "replace")))
        for start, end in found
    ]


@lru_cache(maxsize=8)
def _indexed(secrets: tuple[str, ...]) -> _Needles:
    found: dict[bytes, list[bytes]] = {}
    for secret in secrets:
        needle = secret.encode("utf-8", "surrogatepass")
        found.setdefault(needle[:_PREFIX], []).append(needle)
    return found


def _search(raw: bytes, needles: _Needles, depth: int) -> Iterator[_Bytes]:
    for at in range(len(raw) - _PREFIX + 1):
        for needle in needles.get(raw[at : at + _PREFIX], ()):
            if raw.startswith(needle, at):
                yield at, at + len(needle)
    if not depth or len(raw) > _LONGEST:
        return
    for view in (_without_percent(raw), _without_escapes(raw)):
        if view is not None and view.plain != raw:
            for start, end in _search(bytes(view.plain), needles, depth - 1):
                yield view.starts[start], view.ends[end - 1]
    for run in _BASE64.finditer(raw):
        if any(True for _ in _in_base64(run[0], needles, depth)):
            yield run.span()


def _in_base64(run: bytes, needles: _Needles, depth: int) -> Iterator[_Bytes]:
    """Where its beginning is not known, one of four is right: it may stand in a path."""
    letters = _NO_BASE64.sub(b"", run).translate(bytes.maketrans(b"-_", b"+/"))
    for begin in range(4):
        part = letters[begin:]
        # One letter too many is the beginning of a byte that was cut off.
        part = part[: len(part) - (len(part) % 4 == 1)]
        plain = base64.b64decode(part + b"=" * (-len(part) % 4))
        yield from _search(plain, needles, depth - 1)


class _View:
    """Bytes with their wrapping undone, and where each one came from."""

    def __init__(self) -> None:
        self.plain = bytearray()
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, plain: bytes, start: int, end: int, *, one_by_one: bool = False) -> None:
        for index in range(len(plain)):
            self.starts.append(start + index if one_by_one else start)
            self.ends.append(start + index + 1 if one_by_one else end)
        self.plain += plain


def _without_percent(raw: bytes) -> _View | None:
    """As a URL or a form has it: `%40`, and `+` for a space."""

    def plain(match: re.Match[bytes]) -> bytes:
        return bytes([int(match[1], 16)]) if match[1] else b" "

    return _unwrapped(raw, _PERCENT, plain) if b"%" in raw or b"+" in raw else None


def _without_escapes(raw: bytes) -> _View | None:
    """As JSON has it: `\\"`, `\\n`, `\\u00e9`; `\\x41` as other programs print it."""
    return _unwrapped(raw, _ESCAPE, _plain_escape) if b"\\" in raw else None


def _plain_escape(match: re.Match[bytes]) -> bytes:
    if match[1]:
        high = int(match[1], 16)
        if match[2] and 0xD800 <= high < 0xDC00:
            code = 0x10000 + ((high - 0xD800) << 10) + (int(match[2], 16) - 0xDC00)
            return chr(code).encode()
        low = chr(int(match[2], 16)) if match[2] else ""
        return (chr(high) + low).encode("utf-8", "surrogatepass")
    if match[3]:
        return bytes([int(match[3], 16)])
    return _SHORT.get(match[4], match[4])


def _unwrapped(
    raw: bytes, pattern: re.Pattern[bytes], plain: Callable[[re.Match[bytes]], bytes]
) -> _View:
    view = _View()
    at = 0
    for match in pattern.finditer(raw):
        view.add(raw[at : match.start()], at, match.start(), one_by_one=True)
        view.add(plain(match), *match.span())
        at = match.end()
    view.add(raw[at:], at, len(raw), one_by_one=True)
    return view
