# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML text -> nodes, bounded while they are read: the first half of `source.py`.

The file may come from anywhere, so it is read as a stream of events and bounded before anything
is built: depth, and nodes after aliases are expanded (counted, not walked).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from ansible_collections.otto.cluster.plugins.module_utils.errors import Problems, nearest

if TYPE_CHECKING:
    import yaml

MAX_DEPTH = 64
MAX_NODES = 100_000
NULL = frozenset(("", "~", "null", "Null", "NULL"))
"""What a plain scalar is when it is nothing."""


class Node:
    """A YAML node. size and depth count what stands below it with all aliases expanded."""

    __slots__ = ("depth", "items", "kind", "line", "open", "plain", "size", "tag", "text")

    def __init__(self, kind: str, line: int, tag: str | None) -> None:
        self.kind = kind
        self.line = line
        self.tag = tag
        self.text = ""
        self.plain = False
        self.items: list[Node] = []
        self.size = 1
        self.depth = 1
        self.open = True

    def add(self, child: Node) -> None:
        self.items.append(child)
        self.size += child.size
        self.depth = max(self.depth, child.depth + 1)

    def pairs(self) -> Iterator[tuple[Node, Node]]:
        return zip(self.items[::2], self.items[1::2])  # noqa: B905  (strict= came with 3.10)


class _Stop(Exception):
    """There is no document to be had; the problems say why."""


class _Document:
    """The nodes so far. No recursion: depth is the file's. Raises _Stop."""

    def __init__(self, problems: Problems) -> None:
        self.root: Node | None = None
        self._problems = problems
        self._stack: list[Node] = []
        self._anchors: dict[str, Node] = {}
        self._size = 0

    def start(self, line: int) -> None:
        if self.root is not None:
            self._stop(line, found="a second document (---)", expected="one document")

    def open(self, node: Node, anchor: str | None) -> None:
        """A mapping or a list begins."""
        self._check(node, node.line)
        if anchor:
            self._anchors[anchor] = node
        self._stack.append(node)

    def close(self) -> None:
        node = self._stack.pop()
        node.open = False
        self._attach(node)

    def scalar(self, node: Node, anchor: str | None) -> None:
        node.open = False
        self._check(node, node.line)
        if anchor:
            self._anchors[anchor] = node
        self._attach(node)

    def alias(self, name: str, line: int) -> None:
        node = self._anchors.get(name)
        if node is None:
            self._stop(
                line,
                found=f"*{name}",
                expected="an anchor that stands above it",
                nearest=nearest(name, self._anchors),
            )
        if node.open:
            self._stop(
                line,
                found=f"*{name} inside of &{name}",
                expected="an alias of something that is complete",
            )
        self._check(node, line)
        self._attach(node)

    def _check(self, node: Node, line: int) -> None:
        """Bounds, before a node is let in."""
        self._size += node.size
        if len(self._stack) + node.depth > MAX_DEPTH:
            self._stop(
                line,
                found=f"nesting deeper than {MAX_DEPTH} levels",
                expected=f"at most {MAX_DEPTH}",
            )
        if self._size > MAX_NODES:
            self._stop(
                line,
                found=f"more than {MAX_NODES} values with all aliases expanded",
                expected=f"at most {MAX_NODES}",
            )

    def _attach(self, node: Node) -> None:
        if self._stack:
            self._stack[-1].add(node)
        else:
            self.root = node

    def _stop(self, line: int, **words: str) -> NoReturn:
        self._problems.add((), line=line, **words)
        raise _Stop


def compose(text: str, problems: Problems) -> Node | None:
    """The root node; None after noting why there is none."""
    # Only the control machine has it; this file is imported on others too (ansible-test).
    import yaml

    document = _Document(problems)
    line = 1
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = _line_of(event.start_mark)
            if isinstance(event, yaml.DocumentStartEvent):
                document.start(line)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                document.close()
            elif isinstance(event, yaml.AliasEvent):
                document.alias(event.anchor or "", line)
            elif isinstance(event, yaml.ScalarEvent):
                node = Node("scalar", line, event.tag)
                node.text = event.value
                node.plain = event.style is None
                document.scalar(node, event.anchor)
            elif isinstance(event, yaml.CollectionStartEvent):
                kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "sequence"
                document.open(Node(kind, line, event.tag), event.anchor)
    except _Stop:
        return None
    except yaml.MarkedYAMLError as error:
        _syntax_problem(error, text, problems)
        return None
    except (ValueError, OverflowError):
        # PyYAML hands the number of "\UFFFFFFFF" to chr() as it stands.
        problems.add((), "not valid YAML: an escape that is no character", line=line)
        return None
    root = document.root
    if root is None or (root.kind == "scalar" and root.plain and root.text in NULL):
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
