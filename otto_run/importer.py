# SPDX-License-Identifier: GPL-3.0-or-later
"""A compose file as sections of otto.yaml that mean the same, with a comment where they differ.

What it extends and includes is written out; variables, `env_file` and `profiles` stay as they are,
because otto.yaml has them too. A stack (`stacks:`) takes the file as it is: this is for those who
want its services among their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.otto.cluster.plugins.module_utils.assembly import (
    STACKS_ON_NODE,
    project_name,
)
from ansible_collections.otto.cluster.plugins.module_utils.caller import ONESELF, Caller
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import (
    is_service_name,
)
from ansible_collections.otto.cluster.plugins.module_utils.compose_binds import Binds
from ansible_collections.otto.cluster.plugins.module_utils.compose_file import SECTIONS, Model
from ansible_collections.otto.cluster.plugins.module_utils.compose_read import Files
from ansible_collections.otto.cluster.plugins.module_utils.errors import ClusterFileError
from ansible_collections.otto.cluster.plugins.module_utils.interpolate import (
    CannotExpand,
    expand,
)
from ansible_collections.otto.cluster.plugins.module_utils.option_refused import REFUSED
from ansible_collections.otto.cluster.plugins.module_utils.pieces import File, Piece, Place
from ansible_collections.otto.cluster.plugins.module_utils.secret_variables import Variables
from ansible_collections.otto.cluster.plugins.module_utils.withheld import (
    WITHHELD,
    Withheld,
    layered,
    withheld_hint,
)

_VARIABLE = re.compile(r"\$\$|\$\{?([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class Imported:
    """text: to go into otto.yaml. secrets: variable -> what the compose file has in its place."""

    text: str
    secrets: Mapping[str, str] = field(repr=False)


def imported(
    file: Path, *, node: str | None, name: str | None, caller: Caller = ONESELF
) -> Imported:
    """A compose file, read. Paths in the text are relative to where the command is typed.

    Secrets that stand in the file are variables in the text: it is to be printed, and kept.
    node: where the services run; None leaves it to the reader. name: the project's, whose networks
    and volumes they use. caller: whose file it is. Raises ClusterFileError where the file is not
    usable.
    """
    here = Path.cwd()
    # It is the file's own folder that its files may come from: it was typed, and not the others.
    folder = str(file.absolute().parent)
    files = Files(
        File("otto.yaml", str(here)), None, caller,
        folders=caller.folders_of(folder), literal=SECTIONS,
    )  # fmt: skip
    asked = Piece(str(file), Place(File(str(file), folder)))
    root = files.yaml(asked, str(file.absolute()), {})
    model = Model(root, files, {}, is_service_name, reads=False) if root is not None else None
    if root is None or model is None or files.problems:
        raise ClusterFileError(files.problems)
    given = caller.variables_of(os.environ)
    environ = layered(files.dot_env(asked, root.place.file.directory, given), given)
    written = root.get("name")
    project = name or (_expanded(str(written.value), environ) if written is not None else "")
    by_environ = environ.get("COMPOSE_PROJECT_NAME", "")
    if isinstance(by_environ, Withheld):
        files.tell(
            asked, f"COMPOSE_PROJECT_NAME {WITHHELD}", hint=withheld_hint("COMPOSE_PROJECT_NAME")
        )
    project = project or project_name(by_environ or Path(file).absolute().parent.name)
    work = _Import(model, files, root, project, node, environ)
    text = work.text()
    if files.problems:
        raise ClusterFileError(files.problems)
    found = work.variables.values.items()
    return Imported(text, {variable: _expanded(value, environ) for variable, value in found})


class _Import:
    def __init__(
        self,
        model: Model,
        files: Files,
        root: Piece,
        project: str,
        node: str | None,
        environ: Mapping[str, str],
    ) -> None:
        self.variables = Variables()
        self._environ = environ
        self._model = model
        self._files = files
        self._root = root
        self._project = project
        self._node = node
        there = f"{STACKS_ON_NODE}/{project}"
        self._binds = Binds(files, root.place.file.directory, there, carries=True, refuses=False)

    def text(self) -> str:
        services = list(self._services())
        sections = {
            "networks": dict(self._objects("networks")),
            "volumes": dict(self._objects("volumes")),
            "secrets": dict(self._contents("secrets")),
            "configs": dict(self._contents("configs")),
        }
        body = ["services:\n", *services]
        for section, entries in sections.items():
            if entries:
                body.append(f"\n{section}:\n" + "".join(entries.values()))
        whole = "".join(body)
        return "".join(f"# {line}\n" for line in self._notes(whole)) + whole

    def _notes(self, text: str) -> Iterator[str]:
        yield f"From {self._root.place.file.name}, by otto-run import: to go into otto.yaml."
        if any("restart" not in service.value for service in self._model.services.values()):
            yield "restart is unless-stopped where it is left out; compose means no."
        secrets = sorted(self.variables.values)
        if secrets:
            yield f"Secrets of the file, to be put into .env beside otto.yaml: {', '.join(secrets)}"
        used = {found[1] for found in _VARIABLE.finditer(text) if found[1]}
        names = sorted(used.difference(secrets))
        if names:
            yield f"Variables, for .env beside otto.yaml: {', '.join(names)}"

    # --- services

    def _services(self) -> Iterator[str]:
        for name, service in self._model.services.items():
            notes: list[str] = []
            found = self._binds.service(self._without_variables(service))
            notes += self._moved(service, found)
            value: dict[str, Any] = {}
            if self._node is not None:
                value["node"] = self._node
            for key, piece in found.value.items():
                if key in REFUSED:
                    notes.append(f"{key} {REFUSED[key].why}: {REFUSED[key].instead}")
                elif key in ("env_file", "label_file"):
                    value[key] = self._relative(piece)
                elif not key.startswith("x-") and piece.mark != "reset":
                    plain = {key: piece.plain()}
                    value.update(self.variables.of_service(name, plain))
            if "image" not in value:
                value["image"] = f"{self._project}-{name}:latest"
                notes.append("its image is to be built and pushed first")
            yield _entry(name, value, notes)

    def _without_variables(self, service: Piece) -> Piece:
        """A variable that holds a relative path is written out: it is to become another path."""
        volumes = service.get("volumes")
        if volumes is None:
            return service

        def written_out(piece: Piece) -> Piece:
            source = _source(piece)
            expanded = _expanded(source, self._environ)
            if expanded == source or not expanded.startswith("."):
                return piece
            if isinstance(piece.value, str):
                return piece.with_value(_expanded(piece.value, self._environ))
            return piece.with_value(
                {**piece.value, "source": piece.value["source"].with_value(expanded)}
            )

        mounts = volumes.with_value([written_out(piece) for piece in volumes.items()])
        return service.with_value({**service.value, "volumes": mounts})

    def _moved(self, before: Piece, after: Piece) -> Iterator[str]:
        """What has become of relative paths."""
        kept = {piece.place: piece for piece in _listed(after, "volumes")}
        for piece in _listed(before, "volumes"):
            now = kept.get(piece.place)
            if now is None:
                yield f"{_source(piece)} is carried: configs below, mounted read-only"
            elif _source(now) != _source(piece):
                yield f"{_source(piece)} is {_source(now)} of the node: bring there what it holds"

    def _relative(self, piece: Piece) -> Any:
        """Names of files, as seen from here."""
        if isinstance(piece.value, list):
            return [self._relative(one) for one in piece.value]
        if isinstance(piece.value, dict):
            return {
                key: self._relative(one) if key == "path" else one.plain()
                for key, one in piece.value.items()
            }
        return self._here(piece, str(piece.value))

    def _here(self, piece: Piece, path: str) -> str:
        return os.path.relpath(self._files.resolve(piece, path))

    # --- the other sections

    def _objects(self, section: str) -> Iterator[tuple[str, str]]:
        """Networks and volumes, under the names that compose gives them: their data is there."""
        for key, piece in self._model.sections[section].items():
            if key.startswith("x-"):
                continue
            value = piece.plain() or {}
            if isinstance(value, Mapping) and not _is_external(value):
                value = {"name": f"{self._project}_{key}", **value}
            yield key, _entry(key, value, [])

    def _contents(self, section: str) -> Iterator[tuple[str, str]]:
        entries = dict(self._model.sections[section])
        if section == "configs":
            entries.update(self._binds.configs)
        for key, piece in entries.items():
            if key.startswith("x-"):
                continue
            value = piece.plain()
            file = piece.get("file")
            notes: list[str] = []
            if isinstance(value, dict) and file is not None:
                value["file"] = self._here(file, str(file.value))
            if isinstance(value, dict) and _is_external(value):
                value = {"content": ""}
                notes.append("it is external, in a store of Swarm's: its content goes here, !vault")
            yield key, _entry(key, value, notes)


def _is_external(value: Mapping[str, Any]) -> bool:
    said = value.get("external")
    return isinstance(said, Mapping) or str(said).lower() in ("true", "yes", "on")


def _listed(service: Piece, key: str) -> list[Piece]:
    found = service.get(key)
    return found.items() if found is not None else []


def _source(piece: Piece) -> str:
    value = piece.plain()
    if isinstance(value, dict):
        return str(value.get("source"))
    # A colon may stand in a variable's default.
    return re.split(r":(?![-?+])", str(value), maxsplit=1)[0]


def _expanded(text: str, environ: Mapping[str, str]) -> str:
    """With its variables, where they are known; else as it stands."""
    try:
        return expand(text, environ)
    except CannotExpand:
        return text


def _entry(name: str, value: Any, notes: list[str]) -> str:
    """One key of a section, with what has to be said of it."""
    text = yaml.dump(
        {name: value}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120,
        default_flow_style=False,
    )  # fmt: skip
    said = "".join(f"  # {note}\n" for note in notes)
    lines = text.splitlines()
    return said + "".join(f"  {line}\n" if line else "\n" for line in lines)


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, and texts of several lines as they are read."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
