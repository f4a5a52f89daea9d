# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that know where they were typed, so that those of several files can be put together. Pure.

A `Piece` is a value of a plain tree with its place. Pieces are never changed: what is merged or
inherited is a new piece around the old ones, each of which still names its own file, line and path.
In the end `Pieces` spreads one tree out again: the plain values, and the place of every path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import Path, Problem
from ansible_collections.otto.cluster.plugins.module_utils.source import Source


@dataclass(frozen=True)
class File:
    """name: as problems show it. directory: absolute, what the file's relative paths mean.

    encrypted: the whole file was vaulted.
    """

    name: str
    directory: str
    encrypted: bool = False


@dataclass(frozen=True)
class Place:
    """Where a value was typed: file, line (0 is not known) and the path within that file."""

    file: File
    path: Path = ()
    line: int = 0


class Piece:
    """value: dict of pieces, list of pieces, text or None. size: values in it, itself included.

    secret: it came out of a vault or an env file. broken: a problem with it is told already.
    mark: "reset" or "override", how it merges with what it stands over ("" as usual).
    """

    __slots__ = ("broken", "mark", "place", "secret", "size", "value")

    def __init__(
        self, value: Any, place: Place, *, secret: bool = False, broken: bool = False,
        mark: str = "",
    ) -> None:  # fmt: skip
        self.value = value
        self.place = place
        self.secret = secret
        self.broken = broken
        self.mark = mark
        below = value.values() if isinstance(value, dict) else value
        self.size = 1 + (sum(p.size for p in below) if isinstance(value, (dict, list)) else 0)

    def with_value(self, value: Any) -> Piece:
        """Another value in the same place."""
        return Piece(value, self.place, secret=self.secret, broken=self.broken, mark=self.mark)

    def get(self, key: str) -> Piece | None:
        """The piece of a key; None where there is none, it holds nothing, or this is no mapping."""
        found = self.value.get(key) if isinstance(self.value, dict) else None
        return found if found is not None and found.value is not None else None

    def entries(self, key: str) -> dict[str, Piece]:
        """The mapping below a key; {} where there is none."""
        found = self.get(key)
        return found.value if found is not None and isinstance(found.value, dict) else {}

    def items(self) -> list[Piece]:
        """A list's pieces; of one value, that alone."""
        return self.value if isinstance(self.value, list) else [self]

    def plain(self) -> Any:
        """The plain tree, without what a !reset takes away."""
        if isinstance(self.value, dict):
            return {k: p.plain() for k, p in self.value.items() if p.mark != "reset"}
        if isinstance(self.value, list):
            return [piece.plain() for piece in self.value if piece.mark != "reset"]
        return self.value

    def renamed(self, path: Path) -> Piece:
        """The same piece as if it stood at another path of its file."""
        place = Place(self.place.file, path, self.place.line)
        value = self.value
        if isinstance(value, dict):
            value = {key: piece.renamed((*path, key)) for key, piece in value.items()}
        elif isinstance(value, list):
            value = [piece.renamed((*path, index)) for index, piece in enumerate(value)]
        return Piece(value, place, secret=self.secret, broken=self.broken, mark=self.mark)


def pieces_of(source: Source, file: File) -> Piece:
    """The whole of a file that was read."""

    def build(value: Any, path: Path) -> Piece:
        if isinstance(value, dict):
            value = {key: build(item, (*path, key)) for key, item in value.items()}
        elif isinstance(value, list):
            value = [build(item, (*path, index)) for index, item in enumerate(value)]
        return Piece(
            value,
            Place(file, path, source.lines.get(path, 0)),
            secret=path in source.secrets,
            broken=path in source.broken,
            mark=source.marks.get(path, ""),
        )

    return build(source.tree, ())


@dataclass
class Places:
    """Where every path of a tree that was put together comes from."""

    of: dict[Path, Place] = field(default_factory=dict)
    secrets: set[Path] = field(default_factory=set)
    broken: set[Path] = field(default_factory=set)

    def spread(self, piece: Piece, path: Path = ()) -> None:
        self.of[path] = piece.place
        if piece.secret:
            self.secrets.add(path)
        if piece.broken:
            self.broken.add(path)
        for key, below in _children(piece):
            self.spread(below, (*path, key))

    def find(self, path: Path) -> Place:
        """The place of a path; what is not in the tree (a missing key) stands in its parent."""
        known = path
        while known not in self.of:
            known = known[:-1]
        place = self.of[known]
        return Place(place.file, (*place.path, *path[len(known) :]), place.line)

    def is_secret(self, path: Path) -> bool:
        """Whether a value at, above or in the file of a path is one that is never shown."""
        above = (path[:n] in self.secrets for n in range(len(path) + 1))
        return any(above) or self.find(path).file.encrypted

    def located(self, problems: Iterable[Problem]) -> Iterator[Problem]:
        """Problems with file, line and their path there; secrets hidden.

        What is wrong at or below a broken value is told already, and left out.
        """
        for problem in problems:
            path = problem.path
            if any(path[:n] in self.broken for n in range(len(path) + 1)):
                continue
            place = self.find(path)
            words: dict[str, Any] = {
                **vars(problem),
                "path": place.path,
                "file": problem.file or place.file.name,
                "line": problem.line or place.line,
            }
            if problem.found and self.is_secret(path):
                words.update(found="(hidden)", nearest="")
            yield Problem(**words)


def _children(piece: Piece) -> Iterator[tuple[str | int, Piece]]:
    if isinstance(piece.value, dict):
        yield from ((k, p) for k, p in piece.value.items() if p.mark != "reset")
    elif isinstance(piece.value, list):
        yield from enumerate(p for p in piece.value if p.mark != "reset")
