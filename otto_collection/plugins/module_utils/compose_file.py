# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A compose file with all that it extends and includes, put together into one tree.

Paths mean what they mean in the file that they stand in. Nothing here knows what an option means:
that is `parse_service`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster_rows import (
    NAME,
    NAME_HELP,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import (
    ENV_FILE,
    EXTENDS,
    INCLUDE,
    INCLUDES,
)
from ansible_collections.otto.cluster.plugins.module_utils.compose_merge import (
    merge_files,
    merge_pairs,
    merge_services,
)
from ansible_collections.otto.cluster.plugins.module_utils.compose_read import Files, TooMuch
from ansible_collections.otto.cluster.plugins.module_utils.errors import Problems, nearest
from ansible_collections.otto.cluster.plugins.module_utils.option_reach import REACH
from ansible_collections.otto.cluster.plugins.module_utils.option_refused import BEFORE
from ansible_collections.otto.cluster.plugins.module_utils.option_table import OPTIONS
from ansible_collections.otto.cluster.plugins.module_utils.option_text import At, matching, plain
from ansible_collections.otto.cluster.plugins.module_utils.pieces import File, Piece, Place
from ansible_collections.otto.cluster.plugins.module_utils.withheld import (
    WITHHELD,
    Withheld,
    layered,
    withheld_hint,
)

MAX_CHAIN = 32
"""Services that extend each other, and files that include each other."""
MAX_SIZE = 500_000
"""Values of all files together, with what is inherited counted where it lands."""

SECTIONS = ("services", "networks", "volumes", "secrets", "configs")


def services_of(
    root: Piece, files: Files, is_name: Callable[[Any, At], bool]
) -> tuple[dict[str, Piece], bool]:
    """name -> service, of a list with `name` or of a mapping; whether none was left out."""
    section = root.value.get("services")
    if section is None or section.value is None or section.broken:
        return {}, section is None or not section.broken
    found: dict[str, Piece] = {}
    complete = True
    if isinstance(section.value, dict):
        for name, piece in section.value.items():
            if name.startswith("x-"):
                continue
            if _is_service(piece, files) and _is_name(name, piece, files, is_name):
                own = piece.value.get("name")
                if own is not None and own.value != name:
                    files.tell(own, "is not its key", found=own.plain(), expected=name)
                found[name] = piece
            else:
                complete = False
    elif isinstance(section.value, list):
        for index, piece in enumerate(section.value):
            if not _is_service(piece, files, "name and "):
                complete = False
                continue
            own = piece.get("name")
            if own is None:
                files.tell(piece, "has no name", expected="a key name")
                complete = False
                continue
            name = plain(own.plain()) or ""
            if name in found:
                line = found[name].place.line
                files.tell(
                    own, "is taken", found=name, expected=f"another name: line {line} has it"
                )
            elif _is_name(own.plain(), own, files, is_name):
                files.names[piece.place.file.name, index] = name
                found[name] = piece.renamed((*section.place.path, name))
            else:
                complete = False
    else:
        files.tell(
            section,
            "is not valid",
            found=section.plain(),
            expected="a list of services with name, or a mapping name -> keys",
        )
        complete = False
    return found, complete


def _is_service(piece: Piece, files: Files, needs: str = "") -> bool:
    if not isinstance(piece.value, dict):
        expected = f"a mapping with {needs}image"
        files.tell(piece, "is not valid", found=piece.plain(), expected=expected)
        return False
    good = True
    for key in sorted(piece.value.keys() & KEYS):
        good = files.may_be_set(piece.value[key], REACH.get(key)) and good
    return good


KEYS = frozenset((*OPTIONS, *BEFORE, "name", "node"))
"""Keys that a service may have; what is none of them is told where it is parsed."""


def _is_name(name: Any, piece: Piece, files: Files, is_name: Callable[[Any, At], bool]) -> bool:
    problems = Problems()
    good = is_name(name, At((), problems))
    for problem in problems:
        files.tell(piece, problem.message, found=name, expected=problem.expected)
    return good


def is_compose_name(name: Any, at: At) -> bool:
    """A service's name in a compose file, where it is not yet a container's."""
    return matching(NAME, NAME_HELP)(name, at) is not None


class Model:
    """One compose file (or otto.yaml) with all that it refers to.

    environ: its variables. is_name: what its services may be called.
    services, sections: what it comes to, services with all that they extend, and with the variables
    and labels of their files (reads: false leaves env_file and label_file as they stand).
    complete: none was left out.
    """

    def __init__(
        self,
        root: Piece,
        files: Files,
        environ: Mapping[str, str],
        is_name: Callable[[Any, At], bool],
        *,
        above: Sequence[str] = (),
        reads: bool = True,
    ) -> None:
        self._files = files
        self._environ = environ
        self._is_name = is_name
        self._reads = reads
        self._above = (*above, root.place.file.name)
        self._extended: dict[tuple[str, str], Piece] = {}
        own, self.complete = services_of(root, files, is_name)
        self.services = {name: self._finished(self._extend(own, name, ())) for name in own}
        self.sections: dict[str, dict[str, Piece]] = {
            section: dict(root.entries(section)) for section in SECTIONS[1:]
        }
        include = root.get("include")
        if include is not None and files.may_be_set(include, INCLUDES.reach):
            for entry in include.items():
                self._include(entry)
        size = sum(piece.size for piece in self.services.values())
        if size > MAX_SIZE:
            files.tell(
                root, f"comes to more than {MAX_SIZE} values with all that it extends and includes",
                expected="less",
            )  # fmt: skip
            raise TooMuch

    def tree(self, root: Piece) -> Piece:
        """The file's own tree with its sections as they came out."""
        found: dict[str, Piece] = {
            key: piece for key, piece in root.value.items() if key not in (*SECTIONS, "include")
        }
        sections: dict[str, dict[str, Piece]] = {"services": self.services, **self.sections}
        for section, entries in sections.items():
            own = root.value.get(section)
            if entries:
                # A list of services has become a mapping.
                found[section] = Piece(entries, own.place if own else root.place)
            elif own is not None:
                broken = own.broken or (section == "services" and not self.complete)
                found[section] = Piece(
                    own.value if section != "services" or own.value is None else {},
                    own.place,
                    broken=broken,
                )
        return Piece(found, root.place)

    # --- extends

    def _extend(self, services: Mapping[str, Piece], name: str, way: tuple[str, ...]) -> Piece:
        """A service over all that it extends. A link that leads nowhere makes it broken."""
        piece = services[name]
        file = piece.place.file
        known = (file.name, name)
        if known in self._extended:
            return self._extended[known]
        link = piece.get("extends")
        own = piece.with_value({k: v for k, v in piece.value.items() if k != "extends"})
        if link is None:
            self._extended[known] = own
            return own
        here = f"{file.name}: {name}"
        base = self._base(link, services, (*way, here))
        if base is None:
            own = Piece(own.value, own.place, broken=True)
        else:
            inherited = {key: value for key, value in base.value.items() if key != "name"}
            own = merge_services(base.with_value(inherited), own)
            if base.broken:
                own = Piece(own.value, own.place, broken=True)
        self._extended[known] = own
        return own

    def _base(
        self, link: Piece, services: Mapping[str, Piece], way: tuple[str, ...]
    ) -> Piece | None:
        said: dict[str, Any] | None = {"service": link.value}
        if not isinstance(link.value, str):
            said = self._files.table(EXTENDS, link)
        if said is None or "service" not in said:
            return None
        name: str = said["service"]
        there = services
        if "file" in said:
            place = link.get("file") or link
            root = self._files.yaml(place, said["file"], self._environ)
            if root is None:
                return None
            there, complete = services_of(root, self._files, is_compose_name)
            if name not in there and not complete:
                return None  # told already
        where = link.get("service") or link
        if name not in there:
            files = {piece.place.file.name for piece in there.values()}
            self._files.tell(
                where,
                "is no service of " + (", ".join(sorted(files)) or "that file"),
                found=name,
                nearest=nearest(name, there),
            )
            return None
        key = f"{there[name].place.file.name}: {name}"
        if key in way:
            circle = [*way[way.index(key) :], key]
            self._files.tell(where, "goes in a circle: " + " -> ".join(circle))
            return None
        if len(way) > MAX_CHAIN:
            self._files.tell(where, f"is the end of more than {MAX_CHAIN} services that extend")
            return None
        return self._extend(there, name, way)

    # --- include

    def _include(self, entry: Piece) -> None:
        said: dict[str, Any] | None = {"path": [entry.value]}
        if not isinstance(entry.value, str):
            said = self._files.table(INCLUDE, entry)
        if said is None or not said.get("path"):
            return
        if len(self._above) > MAX_CHAIN:
            self._files.tell(entry, f"is the end of more than {MAX_CHAIN} files that include")
            return
        first = self._files.resolve(entry, said["path"][0])
        directory = os.path.dirname(first)  # noqa: PTH120
        if "project_directory" in said:
            directory = self._files.resolve(entry, said["project_directory"])
            if not self._files.may_be_named(entry, directory):
                self.complete = False
                return
        own: dict[str, str] = {}
        if "env_file" in said:
            for path in said["env_file"]:
                own.update(self._files.variables(entry, path, layered(own, self._environ)))
        else:
            own = self._files.dot_env(entry, directory, self._environ)
        environ = layered(own, self._environ) if own else self._environ
        root: Piece | None = None
        for path in said["path"]:
            name = self._files.shown(self._files.resolve(entry, path))
            if name in self._above:
                circle = [*self._above[self._above.index(name) :], name]
                self._files.tell(entry, "goes in a circle: " + " -> ".join(circle))
                return
            over = self._files.yaml(entry, path, environ, directory=directory)
            if over is None:
                self.complete = False
                return
            root = over if root is None else merge_files(root, over)
        assert root is not None
        model = Model(
            root, self._files, environ, self._is_name, above=self._above, reads=self._reads
        )
        self.complete = self.complete and model.complete
        self._take(self.services, model.services, "service")
        for section, entries in model.sections.items():
            self._take(self.sections[section], entries, section[:-1])

    def _take(self, mine: dict[str, Piece], theirs: Mapping[str, Piece], what: str) -> None:
        for key, piece in theirs.items():
            if key.startswith("x-"):
                continue
            if key not in mine:
                mine[key] = piece
            elif mine[key].plain() != piece.plain():
                other = piece.place
                self._files.tell(
                    mine[key],
                    f"is another {what} than the one of {other.file.name}"
                    + (f", line {other.line}" if other.line else ""),
                    expected="one of the two, or another name",
                    hint="extends takes over a service and changes it",
                )

    # --- files of variables and labels

    def _finished(self, service: Piece) -> Piece:
        """With what its env_file and label_file say; what the service says itself wins."""
        if not self._reads:
            return service
        value = dict(service.value)
        env_file = value.pop("env_file", None)
        if env_file is not None and env_file.value is not None and not env_file.broken:
            value["environment"] = self._over(self._environment(env_file), value.get("environment"))
        label_file = value.pop("label_file", None)
        if label_file is not None and label_file.value is not None and not label_file.broken:
            labels: dict[str, Piece] = {}
            for entry in label_file.items():
                labels.update(self._read_variables(entry, secret=False))
            value["labels"] = self._over(label_file.with_value(labels), value.get("labels"))
        environment = value.get("environment")
        if environment is not None:
            value["environment"] = self._passed_on(environment)
        return service.with_value(value)

    def _passed_on(self, environment: Piece) -> Piece:
        """Variables that are named without a value have that of the file they are named in."""
        if isinstance(environment.value, dict):
            entries: dict[str, Piece] = {}
            for key, piece in environment.value.items():
                given = self._given(key, piece) if piece.value is None else None
                entries[key] = piece if given is None else piece.with_value(given)
            return environment.with_value(entries)
        if isinstance(environment.value, list):
            lines: list[Piece] = []
            for piece in environment.value:
                name = piece.value
                given = self._given(name, piece) if isinstance(name, str) else None
                lines.append(piece if given is None else piece.with_value(f"{name}={given}"))
            return environment.with_value(lines)
        return environment

    def _given(self, name: str, piece: Piece) -> str | None:
        """The value of a variable; None where none is set, or it is withheld, which is told."""
        value = self._environ.get(name)
        if isinstance(value, Withheld):
            self._files.tell(piece, WITHHELD, found=name, hint=withheld_hint(name))
            return ""
        return value

    @staticmethod
    def _over(below: Piece, above: Piece | None) -> Piece:
        return below if above is None or above.value is None else merge_pairs(below, above)

    def _environment(self, env_file: Piece) -> Piece:
        variables: dict[str, Piece] = {}
        for entry in env_file.items():
            variables.update(self._read_variables(entry, secret=True, above=variables))
        return env_file.with_value(variables)

    def _read_variables(
        self, entry: Piece, *, secret: bool, above: Mapping[str, Piece] | None = None
    ) -> dict[str, Piece]:
        """Variables of one file of env_file or label_file.

        Passwords stand in env files: what comes out of one is never shown.
        """
        said: dict[str, Any] | None = {"path": entry.value}
        if not isinstance(entry.value, str):
            said = self._files.table(ENV_FILE, entry)
        if said is None or "path" not in said:
            return {}
        known = {key: piece.value for key, piece in (above or {}).items()}
        values = self._files.variables(
            entry,
            said["path"],
            layered(known, self._environ),
            required=said.get("required", True),
            raw=said.get("format") == "raw",
        )
        name = self._files.shown(self._files.resolve(entry, said["path"]))
        file = File(name, entry.place.file.directory)
        return {
            key: Piece(value, Place(file, (key,)), secret=secret) for key, value in values.items()
        }


def choose(
    services: Mapping[str, Piece], chosen: Sequence[str], files: Files
) -> tuple[dict[str, Piece], dict[str, list[str]]]:
    """The services that run with these profiles, without the key; and name -> profiles of the rest.

    A service without profiles always runs; `*` chooses all.
    """
    active: dict[str, Piece] = {}
    resting: dict[str, list[str]] = {}
    for name, service in services.items():
        value = dict(service.value)
        said = value.pop("profiles", None)
        profiles = _profiles(said, files) if said is not None and said.value is not None else []
        if not profiles or "*" in chosen or set(profiles) & set(chosen):
            active[name] = service.with_value(value)
        else:
            resting[name] = profiles
    return active, resting


def _profiles(said: Piece, files: Files) -> list[str]:
    names: list[str] = []
    for piece in said.items():
        name = plain(piece.plain())
        if name is None or not name.strip():
            files.tell(piece, "is no profile", found=piece.plain(), expected="the name of one")
        else:
            names.append(name.strip())
    return names


def chosen_profiles(said: Piece | None, environ: Mapping[str, str], files: Files) -> list[str]:
    """Profiles that a file names, and those of COMPOSE_PROFILES."""
    named = _profiles(said, files) if said is not None and said.value is not None else []
    of_environ = environ.get("COMPOSE_PROFILES", "")
    if isinstance(of_environ, Withheld):
        at = said or Piece(None, Place(files.main))
        hint = withheld_hint("COMPOSE_PROFILES")
        files.tell(at, f"COMPOSE_PROFILES {WITHHELD}", expected="it unset, or given", hint=hint)
        return named
    return [*named, *(p.strip() for p in of_environ.split(",") if p)]
