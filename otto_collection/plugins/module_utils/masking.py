# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a value is shown, wherever one is: the one place that decides it. Pure.

A secret is known by the name that it stands under (`secret_names`), by how it is written (the
password of an address, `?token=`, `--password x`, `Authorization: ...`), or because it is one of
those that a target holds (`known_secrets`). What is masked is only shown: nothing here is compared
or applied. What is masked twice is masked once.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .secret_names import sounds_secret
from .secret_search import spans_of

HIDDEN = "(hidden)"
SHORTEST = 6
"""Characters from which on a secret is masked wherever it stands. A shorter one (`admin`, `1`) is
masked under its own name alone: it would riddle a text and tell nothing."""


class Span(NamedTuple):
    start: int
    end: int


# --- one value -----------------------------------------------------------------------------------


def shown(key: str, text: str | None, known: Iterable[str] = ()) -> str | None:
    """The value of a dotted key (`environment.DB_PASSWORD`, `labels.team`, `command`) as a person
    may see it; None for one that is not there. known: secrets that may stand in it."""
    if text is None:
        return None
    option, dot, name = key.partition(".")
    if dot and option in NAMED and sounds_secret(name):
        return HIDDEN
    masked_text = in_text(text) if option not in WORDS else _in_command(text)
    return masked(masked_text, known) if option in FREE else masked_text


def found_at(path: Sequence[str | int], text: str) -> str:
    """What was found at a path of a file, which is quoted where it is a text of the file."""
    keys = [str(part) for part in path]
    named = any(
        option in NAMED and sounds_secret(name)
        for option, name in zip(keys, keys[1:])  # noqa: B905, RUF007 (3.9)
    )
    hides = text.startswith('"') and (named or keys[-1:] == ["password"])
    return HIDDEN if hides else in_text(text)


NAMED = ("environment", "labels", "annotations", "logging", "options", "driver_opts", "storage_opt")
"""Options whose keys people choose: a name of theirs may say that the value is a secret."""
WORDS = ("command", "entrypoint", "healthcheck")
"""Options that are shown as the words of a shell."""
FREE = (*NAMED, *WORDS, "post_start", "pre_stop")
"""Options whose values are people's own text. The name of an image, of a mount or of a network is
no secret, though somebody's password be `postgres`."""


def in_command(words: Sequence[str]) -> list[str]:
    """The words of a command, without the secrets in them."""
    told = list(words)
    for index, spans in spans_of_words(words):
        told[index] = replaced(words[index], spans, lambda _value: HIDDEN)
    return told


def _in_command(text: str) -> str:
    """Words as a shell takes them: a quote that is part of a password does not end it."""
    try:
        words = shlex.split(text)
    except ValueError:
        return in_text(text)
    if " ".join(map(_quoted, words)) != text:
        return in_text(text)
    return " ".join(map(_quoted, in_command(words)))


def _quoted(word: str) -> str:
    return word if word == HIDDEN else shlex.quote(word)


def spans_of_words(words: Sequence[str]) -> Iterator[tuple[int, list[Span]]]:
    """(index, what is secret in it) of the words that hold something; `--password x` is two."""
    after_flag = False
    for index, word in enumerate(words):
        whole = after_flag and not word.startswith("-") and not is_reference(word)
        spans = [Span(0, len(word))] if whole and word else secret_spans(word)
        if spans:
            yield index, spans
        after_flag = bool(_FLAG_WORD.fullmatch(word)) and sounds_secret(word)


_FLAG_WORD = re.compile(r"--?[A-Za-z][\w.-]*")


# --- a text --------------------------------------------------------------------------------------


def in_text(text: str) -> str:
    """A text without what is written as a secret; `postgres://app:(hidden)@db/app`."""
    return replaced(text, secret_spans(text), lambda _value: HIDDEN)


def secrets_in(text: str) -> list[str]:
    """What `in_text` hides."""
    found = [text[span.start : span.end] for span in secret_spans(text)]
    return [value for value in found if value != HIDDEN]


def secrets_in_words(words: Sequence[str]) -> list[str]:
    """What `in_command` hides."""
    return [
        words[index][span.start : span.end]
        for index, spans in spans_of_words(words)
        for span in spans
    ]


def masked(text: str, secrets: Iterable[str]) -> str:
    """A text without these secrets, in clear or in base64, URL-quoted or JSON-escaped, and without
    what is written as one. secrets: those of fewer than SHORTEST characters are not looked for."""
    long = [secret for secret in secrets if len(secret) >= SHORTEST]
    found = [Span(*span) for span in spans_of(text, long)] if long else []
    return replaced(text, _merged([*found, *secret_spans(text)]), lambda _value: HIDDEN)


def masked_tree(value: Any, secrets: Sequence[str]) -> Any:
    """Every text of a JSON value, `masked`; what stands under a name that sounds secret is hidden
    whole."""
    if isinstance(value, str):
        return masked(value, secrets)
    if isinstance(value, dict):
        return {
            masked(key, secrets) if isinstance(key, str) else key: HIDDEN
            if isinstance(key, str) and sounds_secret(key) and isinstance(item, (str, int, float))
            else masked_tree(item, secrets)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(item, str) for item in value):
            return [masked(word, secrets) for word in in_command(value)]
        return [masked_tree(item, secrets) for item in value]
    return value


def replaced(text: str, spans: Iterable[Span], by: Callable[[str], str]) -> str:
    """spans: in order, none in another."""
    parts: list[str] = []
    at = 0
    for span in spans:
        parts += [text[at : span.start], by(text[span.start : span.end])]
        at = span.end
    return "".join([*parts, text[at:]])


# --- how secrets are written ---------------------------------------------------------------------

_AUTHORITY = re.compile(r"://([^\s/?#\"'<>@:]{0,256}):([^\s/?#\"'<>]{0,1024})@")
_UNQUOTED = re.compile(r"://([^\s/?#\"'<>@:]{0,256}):(?!\d{1,5}(?:[/?#]|$))([^\s\"'<>]{0,1024})@")
_UNQUOTED_WITH_QUOTES = re.compile(
    r"://([^\s/?#\"'<>@:]{0,256}):(?!\d{1,5}(?:[/?#\"'<>]|$))(\S{0,1024})@"
)
"""A password that should have been URL-quoted, and was not: the last @ ends it."""
_TOKEN_AS_USER = re.compile(r"://([A-Za-z0-9_.~%+-]{16,256})(?=:?@)")
_REST = r"[^\s&\"'`|<>]"
_ASSIGNED = re.compile(
    r"(?<![\w.-])-*(\w[\w.-]*)\]?\s?=\s?"
    r"(?:\"([^\"]*)\"|'([^']*)'|(\$\{[^}]*\})|"
    rf"({_REST}(?:(?![,;]\s*[\w.-]+\s?=){_REST}|[\"'`|<>](?=[^\s&\"'`|<>]))*))"
)
"""`password=x`, `?token=x&`, `username=ann,password=x,vers=3`: what follows ends it."""
_FLAG = re.compile(
    r"(?<![\w-])(--?[A-Za-z][\w.-]*)\s+(?:\"([^\"]*)\"|'([^']*)'|(\$\{[^}]*\}|[^\s\"'-]\S*))"
)
_QUOTED_KEY = re.compile(r"[\"']([\w.-]+)[\"']\s*:\s*(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)')")
_HEADER = re.compile(r"(?<![\w-])([A-Za-z]+(?:-[A-Za-z]+)+|[Cc]ookie)\s*:\s*([^\s\"']+)")
_AUTHORIZATION = re.compile(
    r"authorization[\"']?\s*[:=]\s*[\"']?(?:[A-Za-z][\w-]*\s+)?([^\s\"',]+)", re.IGNORECASE
)
_SCHEME = re.compile(r"\b(?:Bearer|Basic)\s+([A-Za-z0-9._~+/-]{12,}=*)")
_WEBHOOK = re.compile(
    r"(?:hooks\.slack\.com/services|/webhooks?|api\.telegram\.org/bot)/?([^\s\"'?#<>]{8,})"
)
_PLACEHOLDERS = ("...", "\u2026", HIDDEN, "")


def is_reference(value: str) -> bool:
    """`$NAME`, `${NAME}`, `${NAME:?why}`: it says where the secret is, and is none."""
    return _REFERENCE.fullmatch(value) is not None


_REFERENCE = re.compile(r"\$[A-Za-z_]\w*|\$\{[A-Za-z_]\w*(?::?[?].*)?\}|\$\([^)]*\)")


def secret_spans(text: str) -> list[Span]:
    """Where a text has what is written as a secret: in order, none in another."""
    return _merged(_found(text)) if _SIGN.search(text) else []


_SIGN = re.compile(r"[=:]|(?<![\w-])--?[A-Za-z]|Bearer|Basic")
"""Without one of these nothing is found; most values have none, and each plan asks for each."""


def _found(text: str) -> Iterator[Span]:
    if "://" in text:
        for match in _in_addresses(text):
            yield Span(*match.span(match.lastindex or 1))
        for match in _WEBHOOK.finditer(text):
            yield Span(*match.span(1))
    for pattern in (_ASSIGNED, _FLAG, _QUOTED_KEY, _HEADER):
        for match in pattern.finditer(text):
            group = next((n for n in range(2, pattern.groups + 1) if match[n] is not None), 0)
            if group and sounds_secret(match[1]) and _is_value(match[group]):
                yield Span(*match.span(group))
    for pattern in (_AUTHORIZATION, _SCHEME):
        for match in pattern.finditer(text):
            if _is_value(match[1]) and (pattern is _AUTHORIZATION or _is_random(match[1])):
                yield Span(*match.span(1))


def _in_addresses(text: str) -> Iterator[re.Match[str]]:
    at = text.find("://")
    while at >= 0:
        for pattern in (_AUTHORITY, _UNQUOTED, _UNQUOTED_WITH_QUOTES):
            match = pattern.match(text, at)
            if match is not None:
                if _is_value(match[2]):
                    yield match
                break
        token = _TOKEN_AS_USER.match(text, at)
        if token is not None and _is_random(token[1]):
            yield token
        at = text.find("://", at + 3 if match is None else match.end())


def _is_value(text: str) -> bool:
    return text.rstrip(",;") not in _PLACEHOLDERS and not is_reference(text)


def _is_random(text: str) -> bool:
    """A word of people has no digits in it."""
    return any(c.isdigit() for c in text) and any(c.isalpha() for c in text)


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged
