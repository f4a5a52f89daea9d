# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the person who calls Otto says of a cluster file: whose it is, and what it may have. Pure.

otto-run gets it from its options, and gives it to the Ansible that it runs as variables of the
environment; the inventory plugin has an option for each of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.module_utils.folders import (
    ALLOW_FILES_FROM,
    Folders,
)
from ansible_collections.otto.cluster.plugins.module_utils.withheld import Withheld

UNTRUSTED = "OTTO_UNTRUSTED"
VARIABLES = "OTTO_VARIABLES"
KNOWN_HOSTS = "OTTO_KNOWN_HOSTS"
IDENTITY_FILES = "OTTO_IDENTITY_FILES"
JUMPS = "OTTO_JUMPS"

_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Caller:
    """untrusted: somebody else wrote the file, and the rest of this is all that it gets.

    variables: names of variables of the environment. known_hosts: the only file with host keys.
    identity_files: absolute. jumps: as the file may write them. folders: absolute, where files may
    come from besides the folder of the cluster file.
    """

    untrusted: bool = False
    variables: tuple[str, ...] = ()
    known_hosts: str = ""
    identity_files: tuple[str, ...] = ()
    jumps: tuple[str, ...] = ()
    folders: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, said: Mapping[str, str]) -> Caller:
        """From variables of the environment, by name. Raises OttoError: nothing is guessed."""
        flag = said.get(UNTRUSTED, "").strip().lower()
        if flag not in (*_YES, *_NO):
            raise OttoError(
                f"{UNTRUSTED} says neither yes nor no",
                cause=f"it is {flag!r}",
                next=typed("{}=1 otto-run plan --known-hosts FILE", UNTRUSTED),
            )
        names = tuple(name for name in said.get(VARIABLES, "").split(",") if name)
        return cls(
            untrusted=flag in _YES,
            variables=tuple(map(variable_name, names)),
            known_hosts=_absolute(said.get(KNOWN_HOSTS, "")),
            identity_files=_paths(said.get(IDENTITY_FILES, "")),
            jumps=tuple(said.get(JUMPS, "").split()),
            folders=_paths(said.get(ALLOW_FILES_FROM, "")),
        )

    def environment(self) -> dict[str, str]:
        """The same as `of` takes it; every name is said, so that no other value is inherited."""
        return {
            UNTRUSTED: "1" if self.untrusted else "0",
            VARIABLES: ",".join(self.variables),
            KNOWN_HOSTS: self.known_hosts,
            IDENTITY_FILES: os.pathsep.join(self.identity_files),
            JUMPS: " ".join(self.jumps),
            ALLOW_FILES_FROM: os.pathsep.join(self.folders),
        }

    def variables_of(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The variables that the file sees; one that it is not given is there as Withheld."""
        if not self.untrusted:
            return dict(environ)
        return {
            name: value if name in self.variables else Withheld(name)
            for name, value in environ.items()
        }

    def folders_of(self, main: str) -> Folders:
        """Where files may lie that a cluster file in the folder `main` names."""
        allowed = () if self.untrusted else self.folders
        return Folders(main, allowed, strict=self.untrusted)

    def within(self, main: str) -> list[tuple[str, str]]:
        """(option, path) of what the caller gave and whoever wrote the file in the folder `main`
        may change: a host key or a key that they chose is trusted by nobody."""
        given = [("--known-hosts", self.known_hosts)] if self.known_hosts else []
        given += [("--identity-file", path) for path in self.identity_files]
        return [(option, path) for option, path in given if strangers_own(path, main)]


def strangers_own(path: str, main: str) -> bool:
    """Whether a path lies in the checkout that the folder `main` is in, as it is typed or with its
    links followed."""
    main = os.path.realpath(main)
    root = main
    while not os.path.lexists(os.path.join(root, ".git")):  # noqa: PTH118
        root = os.path.dirname(root)  # noqa: PTH120
        if root == os.path.dirname(root):  # noqa: PTH120
            root = main  # no checkout: the folder itself
            break
    # The folder's links are followed and the last part's is not: it may be a link in the checkout.
    folder, name = os.path.split(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111
    places = (os.path.join(os.path.realpath(folder), name), os.path.realpath(path))  # noqa: PTH118
    return any(place == root or place.startswith(root.rstrip("/") + "/") for place in places)


OUTSIDE_FIRST = "cp {} ~/.config/otto/   (from a place that you trust, then name it there)"
"""What to type for a file that lies in a stranger's checkout."""

ONESELF = Caller()
"""The file is the caller's own, and names no file from elsewhere."""


def variable_name(text: str) -> str:
    """The name of a variable of the environment. Raises OttoError: a value would stand in argv."""
    if _NAME.fullmatch(text):
        return text
    name = text.partition("=")[0]
    raise OttoError(
        "a variable is given by its name, its value comes from the environment",
        cause=f"{name!r} has more behind it: what is typed is seen by every user of this machine"
        if _NAME.fullmatch(name)
        else f"{name!r} is no name of a variable",
        next=typed("export {0}=...; otto-run plan --var {0}", name)
        if _NAME.fullmatch(name)
        else "",
    )


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path)) if path else ""  # noqa: PTH100, PTH111


def _paths(text: str) -> tuple[str, ...]:
    return tuple(_absolute(path) for path in text.split(os.pathsep) if path)
