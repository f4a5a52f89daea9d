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

import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.beneath import Folder, opened, within
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.module_utils.journal import now
from ansible_collections.otto.cluster.plugins.module_utils.model import Target, digest
from ansible_collections.otto.cluster.plugins.module_utils.state import attempt, encode

KEEP = 10
_ENTRIES = 100
_INDEX = "index.json"
_MOST = 8 * 1024 * 1024
_RESULTS = ("begun", "done", "failed")
_TIME = re.compile(r"[0-9TZ:.+-]{1,40}")
IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")
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
        self._keep = keep

    def index(self) -> list[dict[str, Any]]:
        """What was given, oldest first, of what can be read; a file that cannot be is an empty one.

        The agent may write it too, so each entry is made anew of what has the right shape.
        """
        try:
            with within(self.directory) as folder:
                raw = folder.read(_INDEX, _MOST) if folder is not None else b"[]"
            found = json.loads(raw)
        except (OSError, ValueError, RecursionError):
            return []
        entries = map(_entry, found if isinstance(found, list) else [])
        return [entry for entry in entries if entry is not None]

    @property
    def last(self) -> str:
        """The name of what was given last; "" where nothing was."""
        entries = self.index()
        return given(entries[-1]) if entries else ""

    def images(self, name: str) -> dict[str, str]:
        """reference -> image id, of what was given under that name; {} where nobody knows."""
        found = [e for e in self.index() if name in (e["revision"], given(e)) and e.get("images")]
        return dict(found[-1]["images"]) if found else {}

    def read(self, name: str) -> Target:
        """A target that was given earlier. Raises OttoError where it is not kept any more."""
        matched = GIVEN.fullmatch(name)
        revision = matched[1] if matched else name
        there: list[str] = []
        found = None
        try:
            with within(self.directory) as folder:
                if folder is not None:
                    there = folder.names()
                    if matched:
                        found = attempt(folder, self.directory / _file(revision))
        except OSError as error:
            raise self._failed("read", error) from error
        if name != revision and not self.images(name):
            found = None  # another set of its images, and nobody knows which
        if found is not None and found.target is not None and found.target.revision == revision:
            return found.target
        kept = [one["revision"] for one in self.index() if _file(one["revision"]) in there]
        last = list(dict.fromkeys(reversed(kept)))
        broken = f"; its copy is broken: {found.problem}" if found and found.there else ""
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
        name = _file(target.revision)
        content = encode(target)
        try:
            with opened(self.directory, make=0o700) as folder:
                if attempt(folder, self.directory / name).raw != content:
                    folder.replace(name, content, 0o600)
                entries.append({"revision": target.revision, "time": now(), "result": "begun"})
                _write(folder, entries)
        except OSError as error:
            raise self._failed("write", error) from error

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
            with opened(self.directory) as folder:
                _write(folder, entries)
                self._prune(folder, [entry["revision"] for entry in entries])
        except OSError as error:
            raise self._failed("write", error) from error

    def is_last(self, target: Target) -> bool:
        """Whether the last thing that happened here was that this very target was reached."""
        entries = self.index()
        last = entries[-1] if entries else {}
        if (last.get("revision"), last.get("result")) != (target.revision, "done"):
            return False
        try:
            with within(self.directory) as folder:
                return folder is not None and folder.has_file(_file(target.revision))
        except OSError:
            return False

    def clear(self) -> None:
        """Forget them all: `down` leaves no secret of a target behind. Raises OttoError."""
        try:
            with within(self.directory.parent) as above:
                if above is not None:
                    above.remove_tree(self.directory.name)
        except OSError as error:
            raise self._failed("write", error) from error

    def _prune(self, folder: Folder, given: list[str]) -> None:
        last: Collection[str] = list(dict.fromkeys(reversed(given)))[: self._keep]
        for name in folder.names():
            revision, dot, end = name.partition(".")
            if REVISION.fullmatch(revision) and dot + end == ".json" and revision not in last:
                folder.remove(name)

    def _failed(self, doing: str, error: OSError) -> OttoError:
        return OttoError(
            f"Cannot {doing} the revisions in {self.directory}",
            cause=error.strerror or str(error),
            next=typed("df -h {}; ls -ld {}", self.directory.parent, self.directory),
        )


def _file(revision: str) -> str:
    return f"{revision}.json"


def _write(folder: Folder, entries: list[dict[str, Any]]) -> None:
    text = json.dumps(entries[-_ENTRIES:], separators=(",", ":")) + "\n"
    folder.replace(_INDEX, text.encode(), 0o600)


def _entry(found: Any) -> dict[str, Any] | None:
    """One entry of the index; None where it names no revision."""
    if not isinstance(found, dict) or not _is(found.get("revision"), REVISION):
        return None
    time, result, changes = (found.get(key) for key in ("time", "result", "changes"))
    entry: dict[str, Any] = {
        "revision": found["revision"],
        "time": time if _is(time, _TIME) else "",
        "result": result if result in _RESULTS else "begun",
    }
    if isinstance(changes, list):
        entry["changes"] = [text for text in changes if isinstance(text, str)]
    images = found.get("images")
    if isinstance(images, dict):
        entry["images"] = {name: one for name, one in images.items() if _is(one, IMAGE_ID)}
    return entry


def _is(value: Any, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
