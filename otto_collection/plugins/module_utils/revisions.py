# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The targets that a node was given, so that it can go back to one without being sent it again.

`revisions/<revision>.json` is a target as `target.json` holds it, 0600; the last KEEP are kept.
`revisions/index.json` says when each was given and what came of it: [{"revision", "time" (UTC),
"result": "begun" | "done" | "failed", "changes": [text], "images"?: {reference: image id}}], oldest
first, never a value of the file.

A tag moves: the same target may run other images another time. What a node was *given* is therefore
named `<revision>+<6 hex>`, the latter of its images; the revision alone is the last of that name.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils import disk
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.journal import now
from ansible_collections.otto.cluster.plugins.module_utils.model import Target, digest
from ansible_collections.otto.cluster.plugins.module_utils.state import attempt, encode

KEEP = 10
_ENTRIES = 100
REVISION = re.compile(r"[0-9a-f]{16}")
GIVEN = re.compile(r"([0-9a-f]{16})(?:\+[0-9a-f]{6})?")


def given(entry: Mapping[str, Any]) -> str:
    """The name of what an entry of the index gave."""
    images = entry.get("images")
    return str(entry["revision"]) + (f"+{digest(images)[:6]}" if images else "")


class Revisions:
    """The revisions in a state directory. Write under the node's lock."""

    def __init__(self, directory: Path, keep: int = KEEP) -> None:
        self.directory = directory / "revisions"
        self._index = self.directory / "index.json"
        self._keep = keep

    def index(self) -> list[dict[str, Any]]:
        """What was given, oldest first; one that cannot be read is an empty one."""
        try:
            found = json.loads(self._index.read_bytes())
        except (OSError, ValueError, RecursionError):
            return []
        entries = found if isinstance(found, list) else []
        return [entry for entry in entries if isinstance(entry, dict) and "revision" in entry]

    @property
    def last(self) -> str:
        """The name of what was given last; "" where nothing was."""
        entries = self.index()
        return given(entries[-1]) if entries else ""

    def images(self, name: str) -> dict[str, str]:
        """reference -> image id, of what was given under that name; {} where nobody knows."""
        found = [e for e in self.index() if name in (e["revision"], given(e)) and e.get("images")]
        return {str(key): str(value) for key, value in found[-1]["images"].items()} if found else {}

    def read(self, name: str) -> Target:
        """A target that was given earlier. Raises OttoError where it is not kept any more."""
        matched = GIVEN.fullmatch(name)
        revision = matched[1] if matched else name
        found = attempt(self.directory / f"{revision}.json") if matched else None
        if name != revision and not self.images(name):
            found = None  # another set of its images, and nobody knows which
        if found is not None and found.target is not None and found.target.revision == revision:
            return found.target
        kept = [entry["revision"] for entry in self.index() if self._file(entry).is_file()]
        last = list(dict.fromkeys(reversed(kept)))
        broken = f"; its copy is broken: {found.problem}" if found and found.raw is not None else ""
        raise OttoError(
            f"This node does not keep revision {name}",
            cause=(
                f"it keeps the last {self._keep}: {', '.join(last)}" if last else "it keeps none"
            )
            + broken,
            next="put otto.yaml back as it was then, and: otto-run apply",
        )

    def begin(self, target: Target) -> None:
        """Keep a target that is about to be reached for. Raises OttoError."""
        entries = self.index()
        path = self.directory / f"{target.revision}.json"
        content = encode(target)
        try:
            disk.make_directory(self.directory, 0o700)
            if attempt(path).raw != content:
                disk.replace_file(path, content, 0o600)
            entries.append({"revision": target.revision, "time": now(), "result": "begun"})
            self._write(entries)
        except OSError as error:
            raise self._failed(error) from error

    def settle(
        self, result: str, changes: Iterable[str], images: Mapping[str, str] | None = None
    ) -> None:
        """Say what came of the one that was begun last, and drop what is too old."""
        entries = self.index()
        if not entries:
            return
        entries[-1].update(result=result, changes=list(changes))
        if images:
            entries[-1]["images"] = dict(images)
        try:
            self._write(entries)
            self._prune([entry["revision"] for entry in entries])
        except OSError as error:
            raise self._failed(error) from error

    def is_last(self, target: Target) -> bool:
        """Whether the last thing that happened here was that this very target was reached."""
        entries = self.index()
        last = entries[-1] if entries else {}
        return (last.get("revision"), last.get("result")) == (
            target.revision,
            "done",
        ) and self._file(last).is_file()

    def clear(self) -> None:
        """Forget them all: `down` leaves no secret of a target behind. Raises OttoError."""
        try:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(str(self.directory))
        except OSError as error:
            raise self._failed(error) from error

    def _file(self, entry: dict[str, Any]) -> Path:
        return self.directory / "{}.json".format(entry["revision"])

    def _write(self, entries: list[dict[str, Any]]) -> None:
        text = json.dumps(entries[-_ENTRIES:], separators=(",", ":")) + "\n"
        disk.replace_file(self._index, text.encode(), 0o600)

    def _prune(self, given: list[str]) -> None:
        last: Collection[str] = list(dict.fromkeys(reversed(given)))[: self._keep]
        for path in self.directory.glob("*.json"):
            if REVISION.fullmatch(path.stem) and path.stem not in last:
                path.unlink()

    def _failed(self, error: OSError) -> OttoError:
        return OttoError(
            f"Cannot write the revisions in {self.directory}",
            cause=error.strerror or str(error),
            next=f"df -h {self.directory.parent}; ls -ld {self.directory}",
        )
