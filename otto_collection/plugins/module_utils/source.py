# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML text -> plain tree, and the line of every path in it.

The tree holds `dict`, `list`, `str` and `None` only. A scalar keeps the text that was typed, so
`22:22`, `no`, `1.10` and `0644` are never guessed at; only a plain `null`, `~` or nothing is None.

The file may come from anywhere, so it is read as a stream of events and bounded before anything
is built: bytes, depth, and nodes after aliases are expanded (counted, not walked).

In values (never in keys) `$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?message}`,
`${VAR?message}`, `${VAR:+other}`, `${VAR+other}` and `$$` mean what they mean in compose. Jinja
braces mean nothing: they stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    OttoError,
    Path,
    Problem,
    Problems,
    nearest,
    show_value,
)

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_EXPANDED = 8 * MAX_BYTES
"""Characters that variables may blow a file up to."""

VAULT_HEADER = "$ANSIBLE_VAULT"
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TEXT_TAGS = frozenset(
    (
        "!",
        "!unsafe",  # Ansible's "never template this": nothing here ever is
        "tag:yaml.org,2002:str",
        "tag:yaml.org,2002:int",
        "tag:yaml.org,2002:float",
        "tag:yaml.org,2002:bool",
        "tag:yaml.org,2002:timestamp",
    )
)
_NULL_TAG = "tag:yaml.org,2002:null"
_MAPPING_TAGS = frozenset(("!", "tag:yaml.org,2002:map"))
_SEQUENCE_TAGS = frozenset(("!", "tag:yaml.org,2002:seq"))
_VAULT_TAGS = frozenset(("!vault", "!vault-encrypted"))

Vault = Callable[[str], str]
"""Ciphertext (`$ANSIBLE_VAULT;...`) -> text. Raises OttoError that says why it cannot."""


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
    environ: `.env` and the process's variables, for options that pass variables on.
    """

    tree: Any
    lines: Mapping[Path, int]
    secrets: frozenset[Path]
    file: str
    encrypted: bool = False
    problems: tuple[Problem, ...] = ()
    broken: frozenset[Path] = frozenset()
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
    root = None if decoded is None else _compose(decoded, problems)
    if root is None:
        raise ClusterFileError(problems.located(file))
    builder = _Builder(environ, vault, problems, frozenset(literal))
    tree = builder.build(root)
    return Source(
        tree=tree,
        lines=builder.lines,
        secrets=frozenset(builder.secrets),
        file=file,
        encrypted=encrypted,
        problems=problems.located(file, builder.lines),
        broken=frozenset(builder.broken),
        environ=environ,
    )


# --- text -----------------------------------------------------------------------------------


_SURROGATE = re.compile("[\ud800-\udfff]")
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


_VAULT_HINT = "give --vault-password-file FILE or --ask-vault-pass"


def _decrypt_file(text: str, vault: Vault | None, problems: Problems) -> str | None:
    if vault is None:
        problems.add(
            (), found="a vaulted file", expected="a vault password", hint=_VAULT_HINT, line=1
        )
        return None
    try:
        plain = vault(text)
    except OttoError as error:
        problems.add((), "cannot decrypt the file: " + _because(error), hint=_VAULT_HINT, line=1)
        return None
    return _decode(plain, problems)


def _because(error: OttoError) -> str:
    return error.message + (": " + error.cause if error.cause else "")


# --- events -> nodes ------------------------------------------------------------------------


class _Node:
    """A YAML node. size and depth count what stands below it with all aliases expanded."""

    __slots__ = ("depth", "items", "kind", "line", "open", "plain", "size", "tag", "text")

    def __init__(self, kind: str, line: int, tag: str | None) -> None:
        self.kind = kind
        self.line = line
        self.tag = tag
        self.text = ""
        self.plain = False
        self.items: list[_Node] = []
        self.size = 1
        self.depth = 1
        self.open = True

    def add(self, child: _Node) -> None:
        self.items.append(child)
        self.size += child.size
        self.depth = max(self.depth, child.depth + 1)

    def pairs(self) -> Iterator[tuple[_Node, _Node]]:
        return zip(self.items[::2], self.items[1::2])  # noqa: B905  (strict= came with 3.10)


def _compose(text: str, problems: Problems) -> _Node | None:
    """The root node; None after noting why there is none. No recursion: depth is the file's."""
    # Only the control machine has it; this file is imported on others too (ansible-test).
    import yaml

    root: _Node | None = None
    stack: list[_Node] = []
    anchors: dict[str, _Node] = {}
    nodes = 0
    line = 1
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = _line_of(event.start_mark)
            node: _Node
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    problems.add(
                        (),
                        found="a second document (---)",
                        expected="one document",
                        line=line,
                    )
                    return None
                continue
            if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                node = stack.pop()
                node.open = False
                if stack:
                    stack[-1].add(node)
                else:
                    root = node
                continue
            if isinstance(event, yaml.AliasEvent):
                name = event.anchor or ""
                found = anchors.get(name)
                if found is None or found.open:
                    if found is None:
                        problems.add(
                            (),
                            found=f"*{name}",
                            expected="an anchor that stands above it",
                            nearest=nearest(name, anchors),
                            line=line,
                        )
                    else:
                        problems.add(
                            (),
                            found=f"*{name} inside of &{name}",
                            expected="an alias of something that is complete",
                            line=line,
                        )
                    return None
                node = found
                nodes += node.size
            elif isinstance(event, yaml.ScalarEvent):
                node = _Node("scalar", line, event.tag)
                node.text = event.value
                node.plain = event.style is None
                node.open = False
                nodes += 1
            elif isinstance(event, yaml.CollectionStartEvent):
                kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "sequence"
                node = _Node(kind, line, event.tag)
                nodes += 1
            else:
                continue
            if len(stack) + node.depth > MAX_DEPTH:
                problems.add(
                    (),
                    found=f"nesting deeper than {MAX_DEPTH} levels",
                    expected=f"at most {MAX_DEPTH}",
                    line=line,
                )
                return None
            if nodes > MAX_NODES:
                problems.add(
                    (),
                    found=f"more than {MAX_NODES} values with all aliases expanded",
                    expected=f"at most {MAX_NODES}",
                    line=line,
                )
                return None
            if not isinstance(event, yaml.AliasEvent) and event.anchor:
                anchors[event.anchor] = node
            if node.open:
                stack.append(node)
            elif stack:
                stack[-1].add(node)
            else:
                root = node
    except yaml.MarkedYAMLError as error:
        _syntax_problem(error, text, problems)
        return None
    except (ValueError, OverflowError):
        # PyYAML hands the number of "\UFFFFFFFF" to chr() as it stands.
        problems.add((), "not valid YAML: an escape that is no character", line=line)
        return None
    if root is None or (root.kind == "scalar" and root.plain and root.text in _NULL):
        problems.add(
            (), found="an empty file", expected="a mapping with cluster, nodes, services", line=1
        )
        return None
    return root


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, problems: Problems) -> None:
    """PyYAML's words, and what to do about the mistakes that people make."""
    line = _line_of(error.problem_mark) or _line_of(error.context_mark)
    said = error.problem or error.context or "not YAML"
    hint = ""
    if "'\\t'" in said or _is_tab(text, line):
        problems.add(
            (),
            found="a tab",
            expected="spaces: YAML takes no tabs for indentation",
            hint="expand -t 2 FILE shows the file without tabs",
            line=line,
        )
        return
    if "cannot start any token" in said:
        hint = "put the value in quotes"
    elif "mapping values are not allowed" in said:
        hint = 'a value with ": " in it needs quotes; else look at the indentation'
    elif "could not find expected ':'" in said:
        hint = "a colon is missing, or a quote is not closed"
    elif "expected <block end>" in said:
        hint = "look at the indentation of this line and the ones above"
    elif "unexpected end of stream" in said:
        hint = "a quote is not closed"
    elif "flow" in (error.context or ""):
        hint = "a bracket, a brace or a comma is missing"
    begin = _line_of(error.context_mark)
    since = f" ({error.context} of line {begin})" if error.context and begin != line else ""
    problems.add((), f"not valid YAML: {said}{since}", hint=hint, line=line)


def _line_of(mark: Any) -> int:
    return mark.line + 1 if mark is not None else 0


def _is_tab(text: str, line: int) -> bool:
    lines = text.split("\n")
    return 0 < line <= len(lines) and lines[line - 1][: 1 + _indent(lines[line - 1])].endswith("\t")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


# --- nodes -> tree --------------------------------------------------------------------------


class _Builder:
    """Makes the plain tree. Recursion is bounded by MAX_DEPTH, work by MAX_NODES."""

    def __init__(
        self,
        environ: Mapping[str, str],
        vault: Vault | None,
        problems: Problems,
        literal: frozenset[str],
    ) -> None:
        self.lines: dict[Path, int] = {}
        self.secrets: set[Path] = set()
        self.broken: set[Path] = set()
        self._environ = environ
        self._vault = vault
        self._problems = problems
        self._literal = literal
        self._expanded = 0
        # An aliased node is built once for each place, but is wrong only once.
        self._told: set[int] = set()
        self._vault_told: set[str] = set()
        self._entries_of: dict[int, list[tuple[str, _Node, _Node]]] = {}
        self._plain_of: dict[int, str] = {}

    def build(self, root: _Node) -> Any:
        return self._value(root, (), root.line)

    def _problem(self, node: _Node, path: Path, message: str = "", **words: str) -> None:
        if id(node) not in self._told:
            self._told.add(id(node))
            self._problems.add(path, message, line=node.line, **words)
        self.broken.add(path)

    def _key_problem(self, node: _Node, path: Path, **words: str) -> None:
        """A key that is left out: what stands beside it is as good as before."""
        self._problems.add(path, line=node.line, **words)

    def _value(self, node: _Node, path: Path, line: int) -> Any:
        self.lines[path] = line
        if node.kind == "mapping":
            self._check_tag(node, path, _MAPPING_TAGS)
            return {
                key: self._value(value, (*path, key), key_node.line)
                for key, key_node, value in self._entries(node, path)
            }
        if node.kind == "sequence":
            self._check_tag(node, path, _SEQUENCE_TAGS)
            return [
                self._value(item, (*path, index), item.line)
                for index, item in enumerate(node.items)
            ]
        return self._scalar(node, path)

    def _check_tag(self, node: _Node, path: Path, known: Collection[str]) -> None:
        if node.tag is not None and node.tag not in known:
            shown = node.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(
                node,
                path,
                found=f"the tag {show_value(shown)[1:-1]}",
                expected="no tag, or !vault before an encrypted text",
                nearest=nearest(shown, ("!vault",)),
            )

    def _entries(self, node: _Node, path: Path) -> list[tuple[str, _Node, _Node]]:
        """key, key's node and value's node of a mapping, merges (`<<`) done."""
        done = self._entries_of.get(id(node))
        if done is not None:
            return done
        own: dict[str, tuple[str, _Node, _Node]] = {}
        merged: dict[str, tuple[str, _Node, _Node]] = {}
        merge_line = 0
        for key_node, value in node.pairs():
            is_merge = key_node.kind == "scalar" and key_node.plain and key_node.text == "<<"
            if is_merge and key_node.tag is None:
                if merge_line:
                    self._key_problem(
                        key_node,
                        (*path, "<<"),
                        found=f"a second <<, the first is on line {merge_line}",
                        expected="one",
                        hint="<<: [*first, *second] merges several; the first of them wins",
                    )
                    continue
                merge_line = key_node.line
                for entry in self._merge(value, path):
                    merged.setdefault(entry[0], entry)
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in own:
                self._key_problem(
                    key_node,
                    (*path, key),
                    found=f"the key a second time, the first is on line {own[key][1].line}",
                    expected="each key once",
                )
                continue
            own[key] = (key, key_node, value)
        merged.update(own)
        self._entries_of[id(node)] = list(merged.values())
        return self._entries_of[id(node)]

    def _merge(self, value: _Node, path: Path) -> Iterator[tuple[str, _Node, _Node]]:
        for node in value.items if value.kind == "sequence" else [value]:
            if node.kind == "mapping":
                yield from self._entries(node, path)
            else:
                # What it should have brought may be missed all over this mapping.
                self.broken.add(path)
                self._key_problem(
                    node,
                    (*path, "<<"),
                    found="a list" if node.kind == "sequence" else show_value(node.text),
                    expected="an alias of a mapping (*name), or a list of them",
                )

    def _key(self, node: _Node, path: Path) -> str | None:
        if node.kind != "scalar":
            self._key_problem(
                node,
                path,
                found=f"a {'list' if node.kind == 'sequence' else node.kind} as a key",
                expected="text",
                hint='{{ ... }} needs quotes: "{{ ... }}"',
            )
            return None
        if node.tag is not None and node.tag not in _TEXT_TAGS:
            self._key_problem(node, path, found="a tag on a key", expected="plain text")
            return None
        if not node.text or (node.plain and node.text in _NULL):
            self._key_problem(node, path, found="nothing as a key", expected="text")
            return None
        return node.text

    def _scalar(self, node: _Node, path: Path) -> str | None:
        if node.tag in _VAULT_TAGS:
            self.secrets.add(path)
            return self._decrypt(node, path)
        if node.tag is None:
            if node.plain and node.text in _NULL:
                return None
        elif node.tag == _NULL_TAG:
            return None
        elif node.tag not in _TEXT_TAGS:
            self._check_tag(node, path, ())
            return node.text
        if _SURROGATE.search(node.text) or "\0" in node.text:
            self._problem(
                node, path, found="an escape that is no character", expected="text in UTF-8"
            )
            return ""
        if "$" not in node.text or (path and path[0] in self._literal):
            return node.text
        if id(node) in self._told:
            self.broken.add(path)
            return node.text
        try:
            text = expand(node.text, self._environ)
        except _CannotExpand as error:
            self._problem(
                node, path, error.message, found=error.found, expected=error.expected,
                hint=error.hint, nearest=error.nearest,
            )  # fmt: skip
            return node.text
        self._expanded += len(text)
        if self._expanded > MAX_EXPANDED:
            self._problem(
                node,
                path,
                found=f"more than {MAX_EXPANDED} characters with all variables expanded",
                expected=f"at most {MAX_EXPANDED}",
            )
            # Everything after it would be as long.
            self._environ = {}
            return node.text
        return text

    def _decrypt(self, node: _Node, path: Path) -> str:
        if id(node) in self._plain_of:
            return self._plain_of[id(node)]
        if not node.text.lstrip().startswith(VAULT_HEADER):
            self._problem(
                node,
                path,
                found="!vault before a text that is not encrypted",
                expected=f"a text that starts with {VAULT_HEADER}",
                hint="ansible-vault encrypt_string writes one",
            )
            return ""
        if self._vault is None:
            self._vault_problem(
                node,
                path,
                found="an encrypted value",
                expected="a vault password",
                hint=_VAULT_HINT,
            )
            return ""
        try:
            plain = self._vault(node.text.strip() + "\n")
        except OttoError as error:
            self._vault_problem(
                node,
                path,
                "cannot decrypt the value: " + _because(error),
                hint=_VAULT_HINT,
            )
            return ""
        self._plain_of[id(node)] = plain
        return plain

    def _vault_problem(self, node: _Node, path: Path, message: str = "", **words: str) -> None:
        """Twenty values without a password are one problem, told at the first of them."""
        if message in self._vault_told:
            self._told.add(id(node))
        self._vault_told.add(message)
        self._problem(node, path, message, **words)


# --- variables ------------------------------------------------------------------------------

_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_MAX_NESTED = 16


class _CannotExpand(Exception):
    def __init__(
        self, message: str = "", found: str = "", expected: str = "", hint: str = "", near: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.found = found
        self.expected = expected
        self.hint = hint
        self.nearest = near


class _Piece(NamedTuple):
    """`${name operator argument}`; end is where the text goes on."""

    name: str
    operator: str
    argument: str
    end: int


def expand(text: str, environ: Mapping[str, str], depth: int = 0) -> str:
    """Text with its variables replaced, as compose does it. Raises _CannotExpand."""
    if depth > _MAX_NESTED:
        raise _CannotExpand(
            found=f"variables nested deeper than {_MAX_NESTED}", expected="a simpler default"
        )
    out: list[str] = []
    length = 0
    at = 0
    while True:
        dollar = text.find("$", at)
        if dollar < 0:
            out.append(text[at:])
            return "".join(out)
        out.append(text[at:dollar])
        if text.startswith("$$", dollar):
            out.append("$")
            at = dollar + 2
            continue
        piece = _piece(text, dollar)
        out.append(_resolve(piece, environ, depth))
        length += len(out[-1])
        if length > MAX_EXPANDED:
            raise _CannotExpand(
                found=f"more than {MAX_EXPANDED} characters with all variables expanded",
                expected=f"at most {MAX_EXPANDED}",
            )
        at = piece.end


def _piece(text: str, dollar: int) -> _Piece:
    braced = text.startswith("{", dollar + 1)
    name = _NAME.match(text, dollar + 1 + braced)
    if name is None:
        raise _CannotExpand(
            found=show_value(text[dollar : dollar + 12]),
            expected="$VAR, ${VAR}, ${VAR:-default} or $$",
            hint="$$ stands for a dollar sign",
        )
    if not braced:
        return _Piece(name.group(), "", "", name.end())
    operator = next(
        (one for one in (":-", ":?", ":+", "-", "?", "+") if text.startswith(one, name.end())), ""
    )
    start = name.end() + len(operator)
    depth = 1
    at = start
    while at < len(text):
        if text.startswith("$$", at):
            at += 2
            continue
        if text.startswith("${", at):
            depth += 1
            at += 2
            continue
        if text[at] == "}":
            depth -= 1
            if not depth:
                break
        at += 1
    if depth or (not operator and at != start):
        raise _CannotExpand(
            found=show_value(text[dollar : dollar + 32]),
            expected="${VAR}, ${VAR:-default}, ${VAR:?message} or ${VAR:+other}",
            hint="the closing brace is missing" if depth else "$$ stands for a dollar sign",
        )
    return _Piece(name.group(), operator, text[start:at], at + 1)


def _resolve(piece: _Piece, environ: Mapping[str, str], depth: int) -> str:
    value = environ.get(piece.name)
    missing = not value if piece.operator.startswith(":") else value is None
    kind = piece.operator[-1:]
    if kind == "+":
        return "" if missing else expand(piece.argument, environ, depth + 1)
    if not missing:
        return value or ""
    if kind == "-":
        return expand(piece.argument, environ, depth + 1)
    near = nearest(piece.name, environ)
    if kind == "?":
        said = expand(piece.argument, environ, depth + 1)
        raise _CannotExpand(
            show_value(said)[1:-1] if said else "",
            found=f"${{{piece.name}}}, which is not set",
            expected="a value",
            hint=f"export {piece.name}=..., or write {piece.name}=... into .env beside the file",
            near=near,
        )
    raise _CannotExpand(
        found=f"${{{piece.name}}}, which is not set",
        expected="a value",
        hint=f"export {piece.name}=..., write it into .env beside the file, "
        f"or say ${{{piece.name}:-default}}",
        near=near,
    )


# --- .env -----------------------------------------------------------------------------------

_ENV_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*")
_ENV_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


def read_env_file(path: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables of a `.env` file; {} where there is none.

    `KEY=value`, `export KEY=value`, comments, 'literal' and "escaped" quotes that may span lines.
    Outside of single quotes variables are expanded: those of `environ` first, then those above.
    Raises ClusterFileError with the lines of the file.
    """
    try:
        raw = FilePath(path).read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ClusterFileError(
            [Problem((), f"cannot read the file: {error.strerror}", file=str(path))]
        ) from error
    problems = Problems()
    text = _decode(raw, problems)
    values: dict[str, str] = {}
    if text is not None:
        _parse_env(text.replace("\r\n", "\n"), values, dict(environ or {}), problems)
    if problems:
        raise ClusterFileError(problems.located(str(path)))
    return values


def _parse_env(
    text: str, values: dict[str, str], environ: dict[str, str], problems: Problems
) -> None:
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text.count("\n", 0, at) + 1
        stripped = text[at:end].strip()
        if not stripped or stripped.startswith("#"):
            at = end + 1
            continue
        start = at + len(text[at:end]) - len(text[at:end].lstrip())
        match = _ENV_LINE.match(text, start)
        if match is None:
            # The line may hold half a secret: it is not shown.
            problems.add((), found="a line without KEY=", expected="KEY=value", line=line)
            at = end + 1
            continue
        name = match.group(1)
        begin = match.end()
        quote = text[begin : begin + 1]
        if quote in ("'", '"') and quote:
            close = _closing_quote(text, begin)
            if close < 0:
                problems.add((name,), found=f"a {quote} that is not closed", line=line)
                return
            value = text[begin + 1 : close]
            if quote == '"':
                value = re.sub(r"\\([nrt\"\\$])", lambda found: _ENV_ESCAPES[found.group(1)], value)
            end = text.find("\n", close)
            end = len(text) if end < 0 else end
            rest = text[close + 1 : end].strip()
            if rest and not rest.startswith("#"):
                problems.add((name,), found="text after the closing quote", line=line)
        else:
            value = re.split(r"(?:^|[ \t])#", text[begin:end], maxsplit=1)[0].strip()
        if quote != "'":
            try:
                value = expand(value, {**values, **environ})
            except _CannotExpand as error:
                problems.add(
                    (name,), error.message, found=error.found, expected=error.expected,
                    hint=error.hint, nearest=error.nearest, line=line,
                )  # fmt: skip
        values[name] = value
        at = end + 1


def _closing_quote(text: str, begin: int) -> int:
    """Index of the quote that closes the one at `begin`, -1 where none does."""
    quote = text[begin]
    at = begin + 1
    while at < len(text):
        if quote == '"' and text[at] == "\\":
            at += 2
            continue
        if text[at] == quote:
            return at
        at += 1
    return -1
