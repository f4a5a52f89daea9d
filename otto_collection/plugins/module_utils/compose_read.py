# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of this machine that a cluster file refers to, and all that is wrong with them.

Each is read once, within the bounds of `source.py`, and all of them within a bound of their own.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.caller import Caller
from ansible_collections.otto.cluster.plugins.module_utils.cluster_rows import (
    Row,
    read_table,
)
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    Problem,
    Problems,
    show_value,
    typed,
)
from ansible_collections.otto.cluster.plugins.module_utils.folders import Folders, Outside
from ansible_collections.otto.cluster.plugins.module_utils.option_text import At
from ansible_collections.otto.cluster.plugins.module_utils.pieces import (
    File,
    Piece,
    Place,
    Places,
    pieces_of,
)
from ansible_collections.otto.cluster.plugins.module_utils.reach import VALUE, Reach, declared
from ansible_collections.otto.cluster.plugins.module_utils.source import (
    MAX_BYTES,
    env_file,
    load,
)
from ansible_collections.otto.cluster.plugins.module_utils.yaml_tree import Vault

MAX_FILES = 256
"""Files that one otto.yaml may refer to, each time counted."""


class TooMuch(Exception):
    """A bound of all files together is passed: there is no going on. The problem says which."""


class Files:
    """What is read beside the cluster file, and all that is wrong with it.

    order: names of the files as they came. names: file, index in its list of services -> name.
    literal: top-level keys of those files in which variables stay as they stand. caller: whose
    files they are. folders: where they may lie.
    """

    def __init__(
        self,
        main: File,
        vault: Vault | None,
        caller: Caller,
        *,
        folders: Folders | None = None,
        literal: Collection[str] = (),
    ) -> None:
        self.main = main
        self.vault = vault
        self.caller = caller
        self.folders = folders or caller.folders_of(main.directory)
        self.literal = literal
        self.problems: list[Problem] = []
        self.order: list[str] = [main.name]
        self.names: dict[tuple[str, int], str] = {}
        self._read: dict[tuple[str, str, str, int], tuple[Mapping[str, str], Piece | None]] = {}
        self._count = 0

    def tell(self, piece: Piece, message: str, *, found: Any = "", **words: str) -> None:
        """A problem at a piece; `found` is its value, unless that is secret."""
        if piece.broken:
            return
        hidden = piece.secret or piece.place.file.encrypted
        shown = show_value(found) if found != "" else ""
        place = piece.place
        self.problems.append(
            Problem(
                place.path, message, found="(hidden)" if shown and hidden else shown,
                file=place.file.name, line=place.line, **words,
            )
        )  # fmt: skip

    def table(self, rows: Sequence[Row], piece: Piece) -> dict[str, Any] | None:
        """The piece read by rows, as `read_table` does it."""
        problems, places = Problems(), Places()
        places.spread(piece, piece.place.path)
        at = At(piece.place.path, problems, untrusted=self.caller.untrusted)
        result = read_table(rows, piece.plain(), at)
        self.problems.extend(places.located(problems))
        return result

    def outside(self, piece: Piece, shown: str, outside: Outside) -> None:
        """That a file may not be read which a piece names."""
        if not piece.broken:
            hidden = piece.secret or piece.place.file.encrypted
            words = {**outside.words(shown), **({"found": "(hidden)"} if hidden else {})}
            place = piece.place
            self.problems.append(
                Problem(place.path, file=place.file.name, line=place.line, **words)
            )

    def resolve(self, piece: Piece, path: str) -> str:
        """Absolute path of what a file names."""
        joined = os.path.join(piece.place.file.directory, os.path.expanduser(path))  # noqa: PTH111, PTH118
        return os.path.normpath(joined)

    def shown(self, path: str) -> str:
        """A path as a person would type it who typed the cluster file's name."""
        beside = os.path.dirname(self.main.name)  # noqa: PTH120
        return os.path.normpath(
            os.path.join(beside, os.path.relpath(path, self.main.directory))  # noqa: PTH118
        )

    def yaml(
        self,
        piece: Piece,
        path: str,
        environ: Mapping[str, str],
        *,
        directory: str | None = None,
    ) -> Piece | None:
        """A compose file that `piece` names. None after telling why there is none."""
        absolute = self.resolve(piece, path)
        self._one_more(piece)
        beside = os.path.dirname(absolute)  # noqa: PTH120
        directory = directory or beside
        named = (absolute,) if directory == beside else (absolute, directory)
        if not all(self.may_be_named(piece, each) for each in named):
            return None
        key = (absolute, directory, piece.place.file.directory, id(environ))
        if key not in self._read:
            # environ stays referenced: its id is of use only as long as it lives.
            self._read[key] = (environ, self._yaml(piece, absolute, directory, environ))
        return self._read[key][1]

    def may_be_set(self, piece: Piece, reach: Reach | None) -> bool:
        """Whether the file may have the key of a piece; told where it may not."""
        why = declared(reach) if self.caller.untrusted else VALUE
        if why.refused:
            self.tell(piece, why.refused, hint=why.instead)
        return not why.refused

    def may_be_named(self, piece: Piece, path: str) -> bool:
        """Whether a piece may name what lies at an absolute path; told where it may not."""
        try:
            self.folders.inside(path, piece.place.file.directory)
        except Outside as outside:
            self.outside(piece, self.shown(path), outside)
            return False
        return True

    def _one_more(self, piece: Piece) -> None:
        self._count += 1
        if self._count > MAX_FILES:
            self.tell(
                piece,
                f"names more than {MAX_FILES} files, with all that they name",
                expected="fewer files",
            )
            raise TooMuch

    def _yaml(
        self, piece: Piece, path: str, directory: str, environ: Mapping[str, str]
    ) -> Piece | None:
        name = self.shown(path)
        namer = piece.place.file.directory
        try:
            if not self.folders.is_file(path, namer):
                self.tell(
                    piece, "is no file of this machine", found=name, hint=typed("ls -l {}", name)
                )
                return None
            raw = self.folders.read(path, namer, MAX_BYTES + 1)
            source = load(raw, name, environ=environ, vault=self.vault, literal=self.literal)
        except Outside as outside:
            self.outside(piece, name, outside)
            return None
        except OSError as error:
            self.tell(piece, f"cannot be read: {error.strerror}", found=name)
            return None
        except ClusterFileError as error:
            self._known(name)
            self.problems.extend(map(_unquoted, error.problems))
            return None
        self._known(name)
        root = pieces_of(source, File(name, directory, source.encrypted))
        # Any file may be named as one. What is none is not quoted, by its keys neither.
        if not isinstance(root.value, dict) or not root.value.keys() & _COMPOSE_KEYS:
            self.tell(
                Piece(None, Place(root.place.file, (), root.place.line)),
                "is no compose file",
                expected="a mapping with services",
            )
            return None
        self.problems.extend(source.problems)
        return root

    def _known(self, name: str) -> None:
        if name not in self.order:
            self.order.append(name)

    def variables(
        self,
        piece: Piece,
        path: str,
        environ: Mapping[str, str],
        *,
        required: bool = True,
        raw: bool = False,
    ) -> dict[str, str]:
        """Variables of an env file that `piece` names."""
        absolute = self.resolve(piece, path)
        self._one_more(piece)
        name = self.shown(absolute)
        namer = piece.place.file.directory
        try:
            if self.folders.is_file(absolute, namer):
                content = self.folders.read(absolute, namer, MAX_BYTES + 1)
                return env_file(content, name, environ, vault=self.vault, raw=raw, bare=True)
        except Outside as outside:
            self.outside(piece, name, outside)
            return {}
        except OSError as error:
            self.tell(piece, f"cannot be read: {error.strerror}", found=name)
            return {}
        except ClusterFileError as error:
            self._known(name)
            self.problems.extend(error.problems)
            return {}
        if required:
            self.tell(
                piece,
                "is no file of this machine",
                found=name,
                hint="{path: ..., required: false} does without it",
            )
        return {}

    def dot_env(self, piece: Piece, directory: str, environ: Mapping[str, str]) -> dict[str, str]:
        """Variables of the `.env` of a directory; {} where there is none. piece: what makes Otto
        look there.

        Nobody named the file, so a stranger's is its directory's own: no link to another's.
        """
        path = os.path.join(directory, ".env")  # noqa: PTH118
        if not os.path.lexists(path):
            return {}
        name = self.shown(path)
        try:
            content = self.folders.read(path, directory, MAX_BYTES + 1)
            return env_file(content, name, environ, vault=self.vault)
        except FileNotFoundError:
            return {}
        except Outside as outside:
            self.outside(piece, name, outside)
        except OSError as error:
            self.tell(piece, f"has a file of variables that cannot be read: {error.strerror}",
                      found=name)  # fmt: skip
        except ClusterFileError as error:
            self._known(name)
            self.problems.extend(error.problems)
        return {}


_COMPOSE_KEYS = frozenset(("services", "include", "networks", "volumes"))


def _unquoted(problem: Problem) -> Problem:
    """What is wrong with a file that is no YAML, so that it is not known to be a compose file:
    nothing of what stands in it."""
    message = "not valid YAML" if problem.message.startswith("not valid YAML") else problem.message
    found = "an alias" if problem.found.startswith("*") else problem.found
    return Problem(
        (), message, found, problem.expected, hint=problem.hint,
        file=problem.file, line=problem.line,
    )  # fmt: skip
