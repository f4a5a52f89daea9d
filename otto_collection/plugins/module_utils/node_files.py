# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contents of secrets and configs on a node: files under the state directory.

`files/<digest>-<mode>-<uid>-<gid>`, each written whole and never changed: other content is another
file, which is what makes it a change of the container that mounts it. The directory belongs to the
agent and is closed to everyone else; the engine mounts out of it as root.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.beneath import opened, within
from ansible_collections.otto.cluster.plugins.module_utils.carry_out import Engine, Progress
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    NodeFiles,
    Observed,
    ObservedImage,
    RegistryImage,
    Target,
    content_digest,
)
from ansible_collections.otto.cluster.plugins.module_utils.operations import Operation, PutFile
from ansible_collections.otto.cluster.plugins.module_utils.plan_files import in_use


class WithFiles:
    """An engine, and beside it the files of the node: what is observed has both, and both kinds of
    operations are carried out."""

    def __init__(self, engine: Engine, state: Path) -> None:
        """state: the state directory; the files lie in `files` below it."""
        self.engine = engine
        self.directory = state.absolute() / "files"

    def ask(self, references: Collection[str]) -> Mapping[str, RegistryImage]:
        return self.engine.ask(references)

    def image(self, reference: str) -> ObservedImage | None:
        return self.engine.image(reference)

    def image_ids(self) -> frozenset[str]:
        return self.engine.image_ids()

    def images_in_use(self) -> Mapping[str, frozenset[str]]:
        return self.engine.images_in_use()

    def observe(self, target: Target) -> Observed:
        names = tuple(sorted(self._there()))
        files = NodeFiles(str(self.directory), names)
        return replace(self.engine.observe(target), files=files)

    def execute(self, operation: Operation, progress: Progress | None = None) -> bool:
        if not isinstance(operation, PutFile):
            return self.engine.execute(operation, progress)
        try:
            self._put(operation)
        except OSError as error:
            raise OttoError(
                f"Could not {operation.line()}",
                cause=f"{self.directory}: {error.strerror or error}",
                next=typed("otto-run apply   (as root on the node; df -h {})", self.directory),
            ) from error
        return True

    def tidy(self, target: Target, observed: Observed) -> None:
        """Remove what neither the target nor any container needs. What cannot be removed now goes
        another time."""
        needed = in_use(target, observed)
        with contextlib.suppress(OSError), within(self.directory) as folder:
            if folder is None:
                return
            for name in folder.names():
                if name not in needed:
                    folder.remove_tree(name)

    def _there(self) -> list[str]:
        """Names of the files that have the mode and owner that their names tell."""
        try:
            with within(self.directory) as folder:
                if folder is None:
                    return []
                return [name for name in folder.names() if _is_right(name, folder.look(name))]
        except OSError as error:
            raise OttoError(
                f"Cannot read {self.directory}",
                cause=str(error.strerror),
                next=typed("ls -ld {}", self.directory),
            ) from error

    def _put(self, operation: PutFile) -> None:
        content = base64.b64decode(operation.content)
        if content_digest(content) != operation.name.partition("-")[0]:
            raise OSError(errno.ENODATA, "the target does not hold its content")
        owner = (int(operation.uid or -1), int(operation.gid or -1))
        with opened(self.directory, make=0o700) as folder:
            folder.replace(operation.name, content, operation.mode, owner)


def _is_right(name: str, found: os.stat_result | None) -> bool:
    parts: list[Any] = name.split("-")
    try:
        digest, mode, uid, gid = parts
        return (
            found is not None
            and stat.S_ISREG(found.st_mode)
            and bool(digest)
            and stat.S_IMODE(found.st_mode) == int(mode, 8)
            and uid in ("any", str(found.st_uid))
            and gid in ("any", str(found.st_gid))
        )
    except ValueError:
        return False
