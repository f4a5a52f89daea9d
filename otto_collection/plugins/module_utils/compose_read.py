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

from ansible_collections.otto.cluster.plugins.module_utils.cluster_rows import (
    Row,
    read_table,
)
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    Problem,
    Problems,
    show_value,
)
from ansible_collections.otto.cluster.plugins.module_utils.option_text import At
from ansible_collections.otto.cluster.plugins.module_utils.pieces import (
    File,
    Piece,
    Places,
    pieces_of,
)
from ansible_collections.otto.cluster.plugins.module_utils.source import (
    MAX_BYTES,
    load,
    read_env_file,
)
from ansible_collections.otto.cluster.plugins.module_utils.yaml_tree import Vault

MAX_FILES = 256
"""Files that one otto.yaml may refer to, each time counted."""


class TooMuch(Exception):
    """A bound of all files together is passed: there is no going on. The problem says which."""


class Files:
    """What is read beside the cluster file, and all that is wrong with it.

    order: names of the files as they came. names: file, index in its list of services -> name.
    literal: top-level keys of those files in which variables stay as they stand.
    """

    def __init__(self, main: File, vault: Vault | None, *, literal: Collection[str] = ()) -> None:
        self.main = main
        self.vault = vault
        self.literal = literal
        self.problems: list[Problem] = []
        self.order: list[str] = [main.name]
        self.names: dict[tuple[str, int], str] = {}
        self._read: dict[tuple[str, str, int], tuple[Mapping[str, str], Piece | None]] = {}
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
        result = read_table(rows, piece.plain(), At(piece.place.path, problems))
        self.problems.extend(places.located(problems))
        return result

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
        directory = directory or os.path.dirname(absolute)  # noqa: PTH120
        self._one_more(piece)
        key = (absolute, directory, id(environ))
        if key not in self._read:
            # environ stays referenced: its id is of use only as long as it lives.
            self._read[key] = (environ, self._yaml(piece, absolute, directory, environ))
        return self._read[key][1]

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
        try:
            if not os.path.isfile(path):  # noqa: PTH113
                self.tell(piece, "is no file of this machine", found=name, hint=f"ls -l {name}")
                return None
            with open(path, "rb") as file:  # noqa: PTH123
                raw = file.read(MAX_BYTES + 1)
            source = load(raw, name, environ=environ, vault=self.vault, literal=self.literal)
        except OSError as error:
            self.tell(piece, f"cannot be read: {error.strerror}", found=name)
            return None
        except ClusterFileError as error:
            self._known(name)
            self.problems.extend(error.problems)
            return None
        self._known(name)
        self.problems.extend(source.problems)
        root = pieces_of(source, File(name, directory, source.encrypted))
        if not isinstance(root.value, dict):
            self.tell(root, "is no compose file", found=root.plain(), expected="a mapping")
            return None
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
        if not os.path.isfile(absolute):  # noqa: PTH113
            if required:
                self.tell(
                    piece,
                    "is no file of this machine",
                    found=name,
                    hint="{path: ..., required: false} does without it",
                )
            return {}
        try:
            return read_env_file(name, environ, vault=self.vault, raw=raw, bare=True)
        except ClusterFileError as error:
            self._known(name)
            self.problems.extend(error.problems)
            return {}

    def dot_env(self, directory: str, environ: Mapping[str, str]) -> dict[str, str]:
        """Variables of the `.env` of a directory; {} where there is none."""
        name = self.shown(os.path.join(directory, ".env"))  # noqa: PTH118
        try:
            return read_env_file(name, environ, vault=self.vault)
        except ClusterFileError as error:
            self._known(name)
            self.problems.extend(error.problems)
            return {}
