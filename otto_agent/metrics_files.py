# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of /proc and /sys, and the few shapes that they have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Union

Value = Union[float, int, str]  # noqa: UP007 - evaluated, and nodes have Python 3.9
Values = dict[str, Value]


class Tree:
    """A file system: the machine's own, or one below `root`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def at(self, path: str | Path) -> Path:
        return self.root / str(path).lstrip("/")

    def read(self, path: str | Path) -> str:
        """Raises OSError where there is no such file."""
        return self.at(path).read_text(encoding="utf-8", errors="replace")

    def mounts(self) -> Iterator[Mount]:
        """What is mounted, in the order of mounting."""
        for line in self.read("proc/self/mountinfo").splitlines():
            before, _, after = line.partition(" - ")
            kind, _, rest = after.partition(" ")
            yield Mount(before.split(" ")[4], kind, frozenset(rest.split(" ")[-1].split(",")))


@dataclass(frozen=True)
class Mount:
    """options: those of the file system itself, which are the same in every mount namespace."""

    path: str
    kind: str
    options: frozenset[str]

    def holds(self, path: str) -> bool:
        return path == self.path or path.startswith(self.path.rstrip("/") + "/")


def interfaces(text: str) -> Iterator[tuple[str, int, int]]:
    """(name, received bytes, sent bytes) of each line of a net/dev file."""
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = rest.split()
        yield name.strip(), int(fields[0]), int(fields[8])


def fields(text: str) -> dict[str, int]:
    """Lines of a name and a number."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
