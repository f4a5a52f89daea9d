# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relative paths of a stack's volumes: what they mean on a node.

`./data` is `<directory>/data` there. A file that stands beside the compose file is carried: it
becomes a config, mounted read-only where the file was to be. So is what a folder holds that is
mounted `:ro`. A folder with something in it that is not read-only can be neither, and is told;
`directory` in the stack says that everything is on the node already.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.compose_read import Files
from ansible_collections.otto.cluster.plugins.module_utils.pieces import Piece

from .errors import typed

MAX_CARRIED = 64
"""Files of one folder."""
_RELATIVE = re.compile(r"\..*")


class Binds:
    """here: the stack's directory on this machine, absolute. there: the one on the nodes.

    carries: files that stand here are taken along. refuses: a folder with something in it that can
    be neither is a problem; else it is taken to be on the node. configs: what they come to.
    """

    def __init__(
        self, files: Files, here: str, there: str, *, carries: bool, refuses: bool = True
    ) -> None:
        self._files = files
        self._here = here
        self._there = there
        self._carries = carries
        self._refuses = refuses
        self.configs: dict[str, Piece] = {}

    def service(self, service: Piece) -> Piece:
        """The service without relative paths."""
        volumes = service.get("volumes")
        if volumes is None or not isinstance(volumes.value, list):
            return service
        mounts: list[Piece] = []
        carried: list[Piece] = []
        for piece in volumes.value:
            found = self._mount(piece)
            if isinstance(found, Piece):
                mounts.append(found)
            else:
                carried += found
        value = {**service.value, "volumes": volumes.with_value(mounts)}
        if carried:
            configs = service.get("configs")
            value["configs"] = Piece(
                [*(configs.items() if configs is not None else ()), *carried],
                configs.place if configs is not None else volumes.place,
            )
        return service.with_value(value)

    def _mount(self, piece: Piece) -> Piece | list[Piece]:
        """The mount with an absolute path; or the entries of `configs` that stand for it."""
        said = _bind(piece)
        if said is None:
            return piece
        source, target, read_only = said
        here = os.path.normpath(os.path.join(piece.place.file.directory, source))  # noqa: PTH118
        if self._carries and os.path.lexists(here):
            if not self._files.may_be_named(piece, here):
                return []
            if os.path.isfile(here):  # noqa: PTH113
                return [self._carried(piece, here, target)]
            names = _inside(here)
            if names and read_only:
                return self._folder(piece, here, target, names)
            if names and self._refuses:
                self._files.tell(
                    piece,
                    "is a folder of this machine with something in it, and the node has it not",
                    found=source,
                    expected="an empty folder, one that is mounted :ro, or directory in the stack",
                    hint=typed(
                        "copy it to the node and write directory: {} in the stack", self._there
                    ),
                )
                return []
        relative = os.path.relpath(here, self._here)
        there = os.path.normpath(os.path.join(self._there, relative))  # noqa: PTH118
        return _with_source(piece, source, there)

    def _folder(self, piece: Piece, here: str, target: str, names: list[str]) -> list[Piece]:
        if len(names) > MAX_CARRIED:
            self._files.tell(
                piece,
                f"is a folder with more than {MAX_CARRIED} files, which are not carried",
                found=self._files.shown(here),
                hint=typed("copy it to the node and write directory: {} in the stack", self._there),
            )
            return []
        return [
            self._carried(piece, os.path.join(here, name), f"{target.rstrip('/')}/{name}")  # noqa: PTH118
            for name in names
        ]

    def _carried(self, piece: Piece, path: str, target: str) -> Piece:
        """A file as a config, and its entry in a service."""
        place = piece.place
        stem = re.sub("[^a-zA-Z0-9_.-]", "-", os.path.basename(path))[:40]  # noqa: PTH119
        # The key reaches the node, so it may not say where this machine keeps the folder.
        within = os.path.relpath(path, self._here)
        key = f"file-{hashlib.sha256(within.encode('utf-8')).hexdigest()[:8]}-{stem}"
        # An absolute name: which directory it is relative to does not matter any more.
        self.configs[key] = Piece({"file": Piece(path, place)}, place)
        mode = f"0{os.stat(path).st_mode & 0o777:o}"  # noqa: PTH116
        entry = {"source": key, "target": target, "mode": mode}
        return Piece({name: Piece(text, place) for name, text in entry.items()}, place)


def _bind(piece: Piece) -> tuple[str, str, bool] | None:
    """source, target, read-only of a mount with a relative path; None for any other."""
    value = piece.plain()
    if isinstance(value, str):
        parts = value.split(":")
        if len(parts) not in (2, 3) or not _RELATIVE.fullmatch(parts[0]):
            return None
        return parts[0], parts[1], "ro" in parts[2].split(",") if len(parts) == 3 else False
    if not isinstance(value, dict) or value.get("type") != "bind":
        return None
    source, target = value.get("source"), value.get("target")
    if not isinstance(source, str) or not isinstance(target, str) or source[:1] in ("/", "~"):
        return None
    return source, target, str(value.get("read_only")).lower() in ("true", "yes", "on")


def _with_source(piece: Piece, old: str, new: str) -> Piece:
    if isinstance(piece.value, str):
        return piece.with_value(new + piece.value[len(old) :])
    source: Any = piece.value["source"]
    return piece.with_value({**piece.value, "source": source.with_value(new)})


def _inside(path: str) -> list[str]:
    """Files below a folder, by their path within it; one more than may be carried is enough."""
    found: list[str] = []
    for folder, _, names in os.walk(path):
        for name in sorted(names):
            whole = os.path.join(folder, name)  # noqa: PTH118
            if os.path.isfile(whole):  # noqa: PTH113
                found.append(os.path.relpath(whole, path))
                if len(found) > MAX_CARRIED:
                    return found
    return sorted(found)
