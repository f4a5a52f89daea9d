# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML nodes -> plain tree, and the line of every path in it: the second half of `source.py`.

What a node means is decided here: tags, merges, vaulted values, variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    OttoError,
    Path,
    Problems,
    nearest,
    show_value,
)
from ansible_collections.otto.cluster.plugins.module_utils.interpolate import (
    MAX_EXPANDED,
    CannotExpand,
    expand,
)
from ansible_collections.otto.cluster.plugins.module_utils.secret_names import sounds_secret
from ansible_collections.otto.cluster.plugins.module_utils.yaml_nodes import NULL, Node

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
_MARK_TAGS = {"!reset": "reset", "!override": "override"}
"""Compose's tags for what a merge with another file does: drop the key, or take it as it is."""
_SURROGATE = re.compile("[\ud800-\udfff]")

VAULT_HEADER = "$ANSIBLE_VAULT"
VAULT_HINT = "give --vault-password-file FILE or --ask-vault-pass"

Vault = Callable[[str], str]
"""Ciphertext (`$ANSIBLE_VAULT;...`) -> text. Raises OttoError that says why it cannot."""


def because(error: OttoError) -> str:
    """What a vault said, on one line."""
    return error.message + (": " + error.cause if error.cause else "")


class Builder:
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
        self.marks: dict[Path, str] = {}
        self._environ = environ
        self._vault = vault
        self._problems = problems
        self._literal = literal
        self._expanded = 0
        # An aliased node is built once for each place, but is wrong only once.
        self._told: set[int] = set()
        self._vault_told: set[str] = set()
        self._entries_of: dict[int, list[tuple[str, Node, Node]]] = {}
        self._plain_of: dict[int, str] = {}

    def build(self, root: Node) -> Any:
        return self._value(root, (), root.line)

    def _problem(self, node: Node, path: Path, message: str = "", **words: str) -> None:
        if id(node) not in self._told:
            self._told.add(id(node))
            self._problems.add(path, message, line=node.line, **words)
        self.broken.add(path)

    def _key_problem(self, node: Node, path: Path, **words: str) -> None:
        """A key that is left out: what stands beside it is as good as before."""
        self._problems.add(path, line=node.line, **words)

    def _value(self, node: Node, path: Path, line: int) -> Any:
        self.lines[path] = line
        if node.tag in _MARK_TAGS:
            self.marks[path] = _MARK_TAGS[node.tag]
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

    def _check_tag(self, node: Node, path: Path, known: Collection[str]) -> None:
        if node.tag is not None and node.tag not in known and node.tag not in _MARK_TAGS:
            shown = node.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(
                node,
                path,
                found=f"the tag {show_value(shown)[1:-1]}",
                expected="no tag, or !vault before an encrypted text",
                nearest=nearest(shown, ("!vault",)),
            )

    def _entries(self, node: Node, path: Path) -> list[tuple[str, Node, Node]]:
        """key, key's node and value's node of a mapping, merges (`<<`) done."""
        done = self._entries_of.get(id(node))
        if done is not None:
            return done
        own: dict[str, tuple[str, Node, Node]] = {}
        merged: dict[str, tuple[str, Node, Node]] = {}
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

    def _merge(self, value: Node, path: Path) -> Iterator[tuple[str, Node, Node]]:
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

    def _key(self, node: Node, path: Path) -> str | None:
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
        if not node.text or (node.plain and node.text in NULL):
            self._key_problem(node, path, found="nothing as a key", expected="text")
            return None
        return node.text

    def _scalar(self, node: Node, path: Path) -> str | None:
        if node.tag in _VAULT_TAGS:
            self.secrets.add(path)
            return self._decrypt(node, path)
        if node.tag is None or node.tag in _MARK_TAGS:
            if node.plain and node.text in NULL:
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
        except CannotExpand as error:
            secret = error.quoted and any(sounds_secret(str(key)) for key in path)
            found = "(hidden)" if secret else error.found
            self._problem(
                node, path, error.message, found=found, expected=error.expected,
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

    def _decrypt(self, node: Node, path: Path) -> str:
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
                hint=VAULT_HINT,
            )
            return ""
        try:
            plain = self._vault(node.text.strip() + "\n")
        except OttoError as error:
            self._vault_problem(
                node,
                path,
                "cannot decrypt the value: " + because(error),
                hint=VAULT_HINT,
            )
            return ""
        self._plain_of[id(node)] = plain
        return plain

    def _vault_problem(self, node: Node, path: Path, message: str = "", **words: str) -> None:
        """Twenty values without a password are one problem, told at the first of them."""
        if message in self._vault_told:
            self._told.add(id(node))
        self._vault_told.add(message)
        self._problem(node, path, message, **words)
