# SPDX-License-Identifier: GPL-3.0-or-later
"""What was typed about whose file it is -> Caller, and the question about files from elsewhere."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.otto.cluster.plugins.module_utils.caller import (
    UNTRUSTED,
    Caller,
    variable_name,
)
from ansible_collections.otto.cluster.plugins.module_utils.errors import ClusterFileError

from otto_run.exits import Code, Stop, again

OPTIONS = ("untrusted", "known_hosts", "variables", "identity_files", "jumps", "folders")
_OF_STRANGERS = ("known_hosts", "variables", "identity_files", "jumps")

Read = TypeVar("Read")


def caller(typed: Mapping[str, Any], *, untrusted: bool) -> Caller:
    """What was typed, over what the environment says. Raises Stop, OttoError.

    untrusted: whether the command takes a file that somebody else wrote.
    """
    said = Caller.of(os.environ)
    is_untrusted = bool(typed.get("untrusted")) or said.untrusted
    if is_untrusted and not untrusted:
        raise Stop(
            Code.USAGE,
            f"{UNTRUSTED} is set, and this command takes no untrusted file\n"
            "    cause     plan, apply, import and doctor do\n"
            f"    next      {UNTRUSTED}=0 {again()}   (if the file is your own)",
        )
    if not is_untrusted and (extra := [name for name in _OF_STRANGERS if typed.get(name)]):
        options = ", ".join(_option(name) for name in extra)
        raise Stop(
            Code.USAGE,
            f"{options}: this goes with --untrusted\n    next      {again('--untrusted')}",
        )
    if is_untrusted and typed.get("folders"):
        raise Stop(
            Code.USAGE,
            "--allow-files-from does not go with --untrusted\n"
            "    cause     an untrusted file reads nothing from outside of its folder",
        )
    names = tuple(variable_name(name) for name in typed.get("variables") or ())
    known_hosts = typed.get("known_hosts")
    return Caller(
        untrusted=is_untrusted,
        variables=(*said.variables, *names),
        known_hosts=_absolute(known_hosts) if known_hosts else said.known_hosts,
        identity_files=(*said.identity_files, *map(_absolute, typed.get("identity_files") or ())),
        jumps=(*said.jumps, *(typed.get("jumps") or ())),
        folders=(*said.folders, *map(_absolute, typed.get("folders") or ())),
    )


def _option(name: str) -> str:
    usual = {"variables": "--var", "identity_files": "--identity-file", "jumps": "--jump"}
    return usual.get(name, "--" + name.replace("_", "-"))


def _absolute(path: Path) -> str:
    found = os.path.normpath(path.expanduser().absolute())
    if os.pathsep in found:
        raise Stop(
            Code.USAGE, f"{found}: a path with {os.pathsep} in it cannot be given to Ansible"
        )
    return found


def with_files(
    read: Callable[[Caller], Read],
    given: Caller,
    ask: Callable[[str], bool] | None,
    say: Callable[[str], None],
) -> tuple[Read, Caller]:
    """What `read` reads for a caller, and the caller with what a person allowed.

    Files from outside of the cluster file's folder are asked for, at once; ask: None where there is
    nobody to ask. Raises what `read` does.
    """
    while True:
        try:
            return read(given), given
        except ClusterFileError as error:
            wanted = list(dict.fromkeys(p.outside for p in error.problems if p.outside))
            if not wanted or ask is None:
                raise
            say("Files are named that lie outside of the cluster file's folder:")
            for path in wanted:
                say(f"  {path}")
            if not ask("Read them?"):
                raise
            given = dataclasses.replace(given, folders=(*given.folders, *wanted))
