# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a node's target on disk, and the node's lock.

Two files, each with a checksum inside and each replaced whole by rename:

- `target.json`: what the node is to become. Written *before* anything is executed, so that an
  interrupted run is finished by the agent.
- `target.json.good`: the last target that the node reached (`settle`). It is the `previous` of the
  next reconcile, and it serves when `target.json` cannot be read.

A power cut at any point leaves the old or the new target. A missing or broken file is never an
empty target: that would mean "remove everything".
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.beneath import (
    Folder,
    opened,
    tidy,
    within,
)
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.module_utils.model import Target, canonical_json

_POLL = 0.1  # seconds between two looks at a lock that somebody else holds
_MOST = 64 * 1024 * 1024
"""Bytes of a target file that are read: its contents of secrets and configs have limits of their
own, so a larger one is none."""
_HOLDER = 300


class BrokenTarget(OttoError):
    """Neither target.json nor its last good copy can be read, and at least one is there."""


@dataclass(frozen=True)
class Loaded:
    """What `TargetStore.load` found.

    source: "current", "good" (target.json was broken or gone) or "none" (nothing was ever written).
    problem: why target.json did not serve; empty when it did.
    """

    target: Target | None
    source: str
    problem: str = ""


class TargetStore:
    """The target files and the lock in one directory (`/var/lib/otto` on a node)."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.current_path = self.directory / "target.json"
        self.good_path = self.directory / "target.json.good"
        self.bad_path = self.directory / "target.json.bad"
        self.lock_path = self.directory / "lock"
        self.unwritable = ""
        """Why the directory could not be written when the lock was taken last; "" if it could."""

    # ---- reading

    def read(self) -> Target | None:
        """The target of this node; None when there is none. See `load` for what is raised."""
        return self.load().target

    def load(self) -> Loaded:
        """The target, and which file it came from.

        Raises BrokenTarget only if no file can be read but at least one is there; OttoError when
        the directory may not be read.
        """
        current = self._attempt(self.current_path)
        if current.target is not None:
            return Loaded(current.target, "current")
        good = self._attempt(self.good_path)
        if current.raw is not None:
            self._set_aside(current.raw)
        if good.target is not None:
            return Loaded(good.target, "good", current.problem)
        if not current.there and not good.there:
            return Loaded(None, "none")
        problems = [part.problem for part in (current, good) if part.there]
        raise BrokenTarget(
            "The target of this node cannot be read, so nothing is changed on it",
            cause="; ".join(problems),
            next="otto-run apply   (writes it anew)",
        )

    def good(self) -> Target | None:
        """The last target that this node reached; None when it reached none or the copy is broken.

        It only tells what an apply changes (`previous`), so a broken copy costs no more than that.
        """
        return self._attempt(self.good_path).target

    def _attempt(self, path: Path) -> Attempt:
        try:
            with within(self.directory) as folder:
                return attempt(folder, path)
        except OSError as error:
            raise _unreadable(path, error) from error

    # ---- writing; call under the lock

    def write(self, target: Target) -> None:
        """Make this the target: afterwards the agent works towards it. Raises OttoError."""
        self._replace(self.current_path, encode(target))

    def settle(self, target: Target) -> None:
        """Write a target that the node has reached: as the current one and as the good one."""
        text = encode(target)
        for path in (self.current_path, self.good_path):
            # An agent that sweeps every minute must not wear out an SD card with equal writes.
            if self._attempt(path).raw != text:
                self._replace(path, text)

    def clear(self) -> None:
        """Forget the target. The good copy goes first: left alone, it would be taken up again."""
        try:
            with within(self.directory) as folder:
                if folder is not None:
                    folder.remove_tree(self.good_path.name)
                    folder.remove_tree(self.current_path.name)
                    folder.sync()
        except OSError as error:
            raise self._failed("remove the target from", error) from error

    def tidy(self) -> None:
        """Remove what writers left that were killed in the middle."""
        with contextlib.suppress(OSError), within(self.directory) as folder:
            if folder is not None:
                tidy(folder)

    def _replace(self, path: Path, content: bytes) -> None:
        try:
            with opened(self.directory, make=0o750) as folder:
                folder.replace(path.name, content, 0o640)
        except OSError as error:
            raise self._failed(f"write {path.name} in", error) from error

    def _set_aside(self, raw: bytes) -> None:
        """Keep a copy of a broken target.json for whoever looks for the cause.

        A copy, not a rename: a reader without the lock must not move away what a writer has just
        put there. A disk that does not take it keeps nobody from working with the good target.
        """
        with contextlib.suppress(OttoError):
            if self._attempt(self.bad_path).raw != raw:
                self._replace(self.bad_path, raw)

    def _failed(self, doing: str, error: OSError) -> OttoError:
        return OttoError(
            f"Cannot {doing} {self.directory}",
            cause=error.strerror or str(error),
            next=typed("df -h {0}; ls -ld {0}", self.directory),
        )

    # ---- the lock

    @contextlib.contextmanager
    def lock(
        self,
        timeout: float,
        holder: str,
        waiting: Callable[[str], None] | None = None,
    ) -> Iterator[None]:
        """Hold the node: one reconcile at a time. Freed by the kernel when the holder dies.

        timeout: seconds to wait; 0 tries once. holder: what the others read, e.g. "apply by ann".
        waiting: called once with the holder's line when the lock is not free at once.
        A disk that is full or read-only keeps nobody from working: `unwritable` tells of it.
        Raises OttoError that names the holder after the timeout.
        """
        try:
            with opened(self.directory, make=0o750) as folder:
                descriptor, problem = self._open_lock(folder)
        except OSError as error:
            raise self._failed("open the lock in", error) from error
        try:
            self._acquire(descriptor, timeout, waiting)
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            text = f"pid {os.getpid()}, {holder}, since {since}"
            try:
                self._name_holder(descriptor, text)
            except OSError as error:
                problem = problem or error
            self.unwritable = ""
            if problem is not None:
                self.unwritable = f"Cannot write in {self.directory} ({problem.strerror})"
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def holder(self) -> str:
        """The line of who holds the lock; empty when it says nothing."""
        try:
            with within(self.directory) as folder:
                raw = folder.tail(self.lock_path.name, _HOLDER) if folder is not None else b""
        except OSError:
            return ""
        return "".join(c for c in raw.decode("utf-8", "replace") if c.isprintable())

    def _open_lock(self, folder: Folder) -> tuple[int, OSError | None]:
        """What is locked, and why it cannot be written, if so."""
        name = self.lock_path.name
        try:
            return folder.open_or_make(name, os.O_RDWR, 0o660), None
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
                raise
            # Nobody can make the file now, so all of us lock the directory where there is none.
            if folder.look(name) is None:
                return os.open(".", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder.descriptor), error
            return folder.open(name, os.O_RDONLY), error

    @staticmethod
    def _name_holder(descriptor: int, text: str) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode("utf-8"), 0)

    def _acquire(
        self, descriptor: int, timeout: float, waiting: Callable[[str], None] | None
    ) -> None:
        deadline = time.monotonic() + timeout
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise self._failed("lock", error) from error
            if waiting is not None and not told:
                waiting(self.holder())
                told = True
            if time.monotonic() >= deadline:
                raise OttoError(
                    "This node is being worked on by somebody else",
                    cause="the lock {} is held by: {}".format(
                        self.lock_path, self.holder() or "(no name)"
                    ),
                    next=typed("wait for it and try again; who it is: fuser -v {}", self.lock_path),
                )
            time.sleep(min(_POLL, max(0.0, deadline - time.monotonic())))


# ---- one file


@dataclass(frozen=True)
class Attempt:
    """One file that was read: raw is None where there is none, target where it cannot be used.

    there: something stands at the name, be it a file or not.
    """

    target: Target | None = None
    raw: bytes | None = None
    problem: str = ""
    there: bool = True


def encode(target: Target) -> bytes:
    """The target with its checksum, as it is written."""
    document = target.to_json()
    return (canonical_json({"sha256": _checksum(document), "target": document}) + "\n").encode(
        "utf-8", "surrogatepass"
    )


def _checksum(document: Any) -> str:
    return hashlib.sha256(canonical_json(document).encode("utf-8", "surrogatepass")).hexdigest()


def attempt(folder: Folder | None, path: Path) -> Attempt:
    """One target file in a folder; path: the same, for messages. Raises OttoError where there is
    one that may not be read."""
    try:
        if folder is None:
            raise FileNotFoundError
        raw = folder.read(path.name, _MOST)
    except FileNotFoundError:
        return Attempt(problem=f"{path} is missing", there=False)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EIO):
            # Not "broken": a file that may not be read is no reason to fall back to an older one.
            raise _unreadable(path, error) from error
        return Attempt(problem=error.strerror or str(error))
    try:
        envelope: dict[str, Any] = json.loads(raw.decode("utf-8", "surrogatepass"))
        if not isinstance(envelope, dict) or "target" not in envelope:
            raise ValueError("it is no target file")
        if envelope.get("sha256") != _checksum(envelope["target"]):
            raise ValueError("its checksum does not fit")
        return Attempt(target=Target.from_json(envelope["target"]), raw=raw)
    except (ValueError, RecursionError) as error:
        return Attempt(raw=raw, problem=f"{path}: {error} ({len(raw)} bytes)")


def _unreadable(path: Path, error: OSError) -> OttoError:
    return OttoError(
        "Cannot read the target of this node",
        cause=f"{path}: {error.strerror or error}",
        next=typed("ls -l {}   (it must belong to the owner of {})", path, path.parent),
    )
