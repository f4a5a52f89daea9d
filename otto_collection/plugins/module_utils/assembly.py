# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""otto.yaml and all that it refers to, put together into one tree of pieces.

`services` of the tree is a mapping name -> keys, whatever the file says. `stacks` is a mapping
name -> the entry's keys, and `model`: the stack's own compose tree.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.caller import Caller
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import (
    STACK,
    STACK_NAME,
    is_service_name,
)
from ansible_collections.otto.cluster.plugins.module_utils.compose_binds import Binds
from ansible_collections.otto.cluster.plugins.module_utils.compose_file import (
    Model,
    choose,
    chosen_profiles,
    is_compose_name,
)
from ansible_collections.otto.cluster.plugins.module_utils.compose_merge import merge_files
from ansible_collections.otto.cluster.plugins.module_utils.compose_read import Files, TooMuch
from ansible_collections.otto.cluster.plugins.module_utils.errors import Path, Problem, nearest
from ansible_collections.otto.cluster.plugins.module_utils.folders import Folders
from ansible_collections.otto.cluster.plugins.module_utils.pieces import (
    File,
    Piece,
    Places,
    pieces_of,
)
from ansible_collections.otto.cluster.plugins.module_utils.source import Source
from ansible_collections.otto.cluster.plugins.module_utils.withheld import layered, withheld
from ansible_collections.otto.cluster.plugins.module_utils.yaml_tree import Vault

STACKS_ON_NODE = "/srv"


@dataclass(frozen=True)
class Scope:
    """Services that know each other by the names that one file gives them.

    path: where in the tree its sections stand. stack: its name, "" for otto.yaml itself.
    environ: its variables. resting: services that no chosen profile runs -> their profiles.
    complete: no service was left out because it could not be read.
    """

    path: Path
    stack: str
    environ: Mapping[str, str] = field(repr=False)
    resting: Mapping[str, list[str]]
    complete: bool


@dataclass(frozen=True)
class Assembled:
    """tree: plain values. problems: located already, in no order. files: in order of reading.

    names: file, index in its list of services -> name of the service.
    """

    tree: Any = field(repr=False)
    places: Places
    scopes: tuple[Scope, ...]
    problems: tuple[Problem, ...]
    files: tuple[str, ...]
    names: Mapping[tuple[str, int], str]


def assemble(
    source: Source,
    *,
    outer: Mapping[str, str],
    vault: Vault | None,
    caller: Caller,
    folders: Folders,
) -> Assembled:
    """outer: the process's variables, which win over every `.env`. caller: whose file it is."""
    directory = os.path.dirname(os.path.abspath(source.file))  # noqa: PTH100, PTH120
    main = File(source.file, directory, source.encrypted)
    files = Files(main, vault, caller, folders=folders)
    root = pieces_of(source, main)
    work = _Assembly(files, source.environ, outer)
    scopes: list[Scope] = []
    if isinstance(root.value, dict):
        try:
            root = work.otto(root, scopes)
        except TooMuch:
            # What there is of the tree is no whole; the problem says why.
            root = Piece({}, root.place, broken=True)
    places = Places()
    places.spread(root)
    return Assembled(
        root.plain(),
        places,
        tuple(scopes),
        (*source.problems, *files.problems),
        tuple(files.order),
        files.names,
    )


class _Assembly:
    def __init__(self, files: Files, environ: Mapping[str, str], outer: Mapping[str, str]) -> None:
        self._files = files
        self._environ = environ
        self._outer = outer
        self._profiles: set[str] = set()

    def otto(self, root: Piece, scopes: list[Scope]) -> Piece:
        model = Model(root, self._files, self._environ, is_service_name)
        wanted = root.get("profiles")
        chosen = chosen_profiles(wanted, self._environ, self._files)
        self._note_profiles(model)
        model.services, resting = choose(model.services, chosen, self._files)
        scopes.append(Scope((), "", self._environ, resting, model.complete))
        tree = dict(model.tree(root).value)
        if "stacks" in tree:
            tree["stacks"] = self._stacks(tree["stacks"], wanted, scopes)
        if wanted is not None:
            self._unknown_profiles(wanted, self._profiles)
        return Piece(tree, root.place)

    def _stacks(self, section: Piece, wanted: Piece | None, scopes: list[Scope]) -> Piece:
        found: dict[str, Piece] = {}
        if section.value is not None and not isinstance(section.value, list):
            self._files.tell(
                section,
                "is not valid",
                found=section.plain(),
                expected="a list of entries with compose and node",
            )
            return Piece(found, section.place, broken=True)
        for entry in section.value or ():
            if not isinstance(entry.value, dict):
                self._files.tell(
                    entry,
                    "is not valid",
                    found=entry.plain(),
                    expected="a mapping with compose and node",
                )
                continue
            self._stack(entry, wanted, found, scopes)
        return Piece(found, section.place)

    def _stack(
        self, entry: Piece, wanted: Piece | None, found: dict[str, Piece], scopes: list[Scope]
    ) -> None:
        files = self._files
        said = files.table(STACK, entry)
        if said is None or not said.get("compose"):
            return
        first = files.resolve(entry, said["compose"][0])
        directory = os.path.dirname(first)  # noqa: PTH120
        own: dict[str, str] = {}
        # A stranger's stack sees what it has itself, and what the caller gives.
        beside = self._environ
        if files.caller.untrusted:
            beside = layered(withheld(beside), self._outer)
        if "env_file" in said:
            for path in said["env_file"]:
                where = entry.get("env_file") or entry
                own.update(files.variables(where, path, layered(beside, own)))
        else:
            own = files.dot_env(entry, directory, beside)
        environ = layered(beside, own, self._outer)
        read = self._read(said, entry, environ, own, directory)
        if read is None:
            return
        root, name = read
        if name in found:
            files.tell(
                entry,
                f"has the name of the stack of line {found[name].place.line}",
                found=name,
                expected="another name",
                hint="name: says one",
            )
            return
        model = Model(root, files, environ, is_compose_name)
        chosen = chosen_profiles(wanted, environ, files)
        own_profiles = entry.get("profiles")
        known = self._note_profiles(model)
        if own_profiles is not None:
            chosen += chosen_profiles(own_profiles, {}, files)
            self._unknown_profiles(own_profiles, known)
        model.services, resting = choose(model.services, chosen, files)
        there = said.get("directory")
        binds = Binds(files, directory, there or f"{STACKS_ON_NODE}/{name}", carries=there is None)
        model.services = {key: binds.service(piece) for key, piece in model.services.items()}
        model.sections["configs"].update(binds.configs)
        found[name] = Piece({**entry.value, "model": model.tree(root)}, entry.place)
        path = ("stacks", name, "model")
        scopes.append(Scope(path, name, environ, resting, model.complete))

    def _read(
        self,
        said: Mapping[str, Any],
        entry: Piece,
        environ: dict[str, str],
        own: Mapping[str, str],
        directory: str,
    ) -> tuple[Piece, str] | None:
        """The files of a stack as one, and its name; `environ` gets it as COMPOSE_PROJECT_NAME. The
        files may say their own name, and what is in them may speak of it: then they are read again.
        """
        name = str(said.get("name") or self._default_name(own, directory))
        root: Piece | None = None
        for _ in range(2):
            environ["COMPOSE_PROJECT_NAME"] = before = name
            root = None
            for path in said["compose"]:
                link = entry.get("compose") or entry
                over = self._files.yaml(link, path, environ, directory=directory)
                if over is None:
                    return None
                root = over if root is None else merge_files(root, over)
            found = self._name(said, entry, root, own, directory) if root is not None else None
            if root is None or found is None:
                return None
            name = found
            if name == before or self._files.problems:
                break
        return None if root is None else (root, name)

    @staticmethod
    def _default_name(own: Mapping[str, str], directory: str) -> str:
        """COMPOSE_PROJECT_NAME's, or the folder's."""
        folder = own.get("COMPOSE_PROJECT_NAME") or os.path.basename(directory)  # noqa: PTH119
        return project_name(folder)

    def _name(
        self,
        said: Mapping[str, Any],
        entry: Piece,
        root: Piece,
        own: Mapping[str, str],
        directory: str,
    ) -> str | None:
        """The entry's, the file's, COMPOSE_PROJECT_NAME's, or the folder's, as compose has it."""
        if "name" in said:
            return str(said["name"])
        if entry.get("name") is not None:
            return None  # told already
        written = root.get("name")
        if written is not None:
            if isinstance(written.value, str) and re.fullmatch(STACK_NAME, written.value):
                return written.value
            self._files.tell(
                written, "is no name of a stack", found=written.plain(),
                expected="small letters, digits, _ and -",
            )  # fmt: skip
            return None
        name = self._default_name(own, directory)
        if not name:
            self._files.tell(entry, "has no name", expected="a key name", found=directory)
            return None
        return name

    def _note_profiles(self, model: Model) -> set[str]:
        known: set[str] = set()
        for service in model.services.values():
            said = service.get("profiles")
            if said is not None:
                known |= {piece.value for piece in said.items() if isinstance(piece.value, str)}
        self._profiles |= known
        return known

    def _unknown_profiles(self, wanted: Piece, known: set[str]) -> None:
        for piece in wanted.items():
            if isinstance(piece.value, str) and piece.value not in (*known, "*"):
                self._files.tell(
                    piece,
                    "is no profile of any service",
                    found=piece.value,
                    nearest=nearest(piece.value, sorted(known)),
                )


def project_name(folder: str) -> str:
    """What compose makes of a folder's name; "" where nothing is left of it."""
    return re.sub("[^a-z0-9_-]", "", folder.lower()).lstrip("_-")[:41]
