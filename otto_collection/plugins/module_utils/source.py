# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML text -> plain tree, and the line of every path in it.

The tree holds `dict`, `list`, `str` and `None` only. A scalar keeps the text that was typed, so
`22:22`, `no`, `1.10` and `0644` are never guessed at; only a plain `null`, `~` or nothing is None.

The file may come from anywhere, so each step is bounded before the next one starts: its bytes
here, depth and nodes in `yaml_nodes.py`, what variables blow it up to in `yaml_tree.py`. Variables
(`interpolate.py`) stand in values, never in keys.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    OttoError,
    Path,
    Problem,
    Problems,
)
from ansible_collections.otto.cluster.plugins.module_utils.interpolate import parse_env
from ansible_collections.otto.cluster.plugins.module_utils.yaml_nodes import compose
from ansible_collections.otto.cluster.plugins.module_utils.yaml_tree import (
    VAULT_HEADER,
    VAULT_HINT,
    Builder,
    Vault,
    because,
)

MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Source:
    """A file as it was read.

    tree: dict, list, str and None.
    lines: path -> line, counted from 1; a mapping's entry stands where its key does.
    secrets: paths of values that came out of `!vault`.
    encrypted: the whole file was vaulted.
    problems: what is wrong with single values; whoever reads the tree shows them with its own.
    broken: their paths. A broken value stands in the tree as its text, so that one cause stays
    one problem: leave out whatever else goes wrong at or below such a path.
    marks: path -> "reset" or "override", compose's tags for merges.
    environ: `.env` and the process's variables, for options that pass variables on.
    """

    tree: Any
    lines: Mapping[Path, int]
    secrets: frozenset[Path]
    file: str
    encrypted: bool = False
    problems: tuple[Problem, ...] = ()
    broken: frozenset[Path] = frozenset()
    marks: Mapping[Path, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


def load(
    text: str | bytes,
    file: str,
    *,
    environ: Mapping[str, str],
    vault: Vault | None = None,
    literal: Collection[str] = (),
) -> Source:
    """Read one YAML document.

    file: its name as errors show it. environ: where `${VAR}` looks. literal: top-level keys in
    which `$` means nothing. Raises ClusterFileError where there is no tree to speak of; problems
    of single values are in the result.
    """
    problems = Problems()
    decoded = _decode(text, problems)
    encrypted = decoded is not None and decoded.lstrip().startswith(VAULT_HEADER)
    if decoded is not None and encrypted:
        decoded = _decrypt_file(decoded.lstrip(), vault, problems)
    root = None if decoded is None else compose(decoded, problems)
    if root is None:
        raise ClusterFileError(problems.located(file))
    builder = Builder(environ, vault, problems, frozenset(literal))
    tree = builder.build(root)
    return Source(
        tree=tree,
        lines=builder.lines,
        secrets=frozenset(builder.secrets),
        file=file,
        encrypted=encrypted,
        problems=_shown(problems.located(file, builder.lines), encrypted),
        broken=frozenset(builder.broken),
        marks=builder.marks,
        environ=environ,
    )


def _shown(problems: tuple[Problem, ...], encrypted: bool) -> tuple[Problem, ...]:
    """Of a file that is a secret as a whole, no value is quoted."""
    if not encrypted:
        return problems
    return tuple(
        replace(problem, found="(hidden)") if problem.found.startswith('"') else problem
        for problem in problems
    )


def env_file(
    content: bytes,
    file: str,
    environ: Mapping[str, str] | None = None,
    *,
    vault: Vault | None = None,
    raw: bool = False,
    bare: bool = False,
) -> dict[str, str]:
    """Variables of the content of a `.env` file; file: its name as errors show it.

    `KEY=value`, `export KEY=value`, comments, 'literal' and "escaped" quotes that may span lines.
    Outside of single quotes variables are expanded: those of `environ` first, then those above.
    raw: no quotes, no variables, a value is what stands after the =. bare: a line may be a name
    alone, which takes its value from `environ`. A vaulted file is decrypted.
    Raises ClusterFileError with the lines of the file, and nothing of what stands in them.
    """
    problems = Problems()
    text = _decode(content, problems)
    if text is not None and text.startswith(VAULT_HEADER):
        text = _decrypt_file(text, vault, problems)
    values: dict[str, str] = {}
    if text is not None:
        text = text.replace("\r\n", "\n")
        values = parse_env(text, environ or {}, problems, raw=raw, bare=bare)
    if problems:
        raise ClusterFileError(problems.located(file))
    return values


# --- text -----------------------------------------------------------------------------------


_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _decode(text: str | bytes, problems: Problems) -> str | None:
    """Text within the bounds and free of control characters; None after noting a problem."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    if len(raw) > MAX_BYTES:
        problems.add((), found=f"{len(raw)} bytes", expected=f"at most {MAX_BYTES} bytes")
        return None
    try:
        decoded = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add(
            (),
            found=f"byte 0x{raw[error.start]:02x}, which is not UTF-8",
            expected="text in UTF-8",
            hint=_encoding_hint(raw),
            line=raw.count(b"\n", 0, error.start) + 1,
        )
        return None
    stray = _UNPRINTABLE.search(decoded)
    if stray:
        problems.add(
            (),
            found=f"the control character U+{ord(stray.group()):04X}",
            expected="text",
            hint="is this a YAML file?",
            line=decoded.count("\n", 0, stray.start()) + 1,
        )
        return None
    return decoded


def _encoding_hint(raw: bytes) -> str:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "iconv -f utf-16 -t utf-8 converts it"
    return "save the file as UTF-8; iconv -f latin1 -t utf-8 converts an old one"


def _decrypt_file(text: str, vault: Vault | None, problems: Problems) -> str | None:
    if vault is None:
        problems.add(
            (), found="a vaulted file", expected="a vault password", hint=VAULT_HINT, line=1
        )
        return None
    try:
        plain = vault(text)
    except OttoError as error:
        problems.add((), "cannot decrypt the file: " + because(error), hint=VAULT_HINT, line=1)
        return None
    return _decode(plain, problems)
