# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in a directory that another user owns, opened by root without being led elsewhere.

The state directory of a node belongs to the agent's user `otto`, and applies work in it as root.
Whoever takes over that user can put anything there: links, pipes, devices, directories. So all that
is done there goes through `Folder`: by name beneath an open directory, never by path; no link is
followed; what is opened is a plain file of the directory's owner or of root, told before it is
opened and again afterwards; no call waits for a pipe; nothing larger than its limit is read.

Everything raises OSError; `Foreign` where something else than a plain file stands at a name.
Needs the standard library alone: `otto-run push` sends this text to nodes that have no Otto yet.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

UNFINISHED = ".otto-part"
"""How the name of a file ends that is being written: `target.json.k3x9.otto-part`."""

_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASS = os.O_PATH  # to go through a directory takes no right to list it
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_LINKS = 40
_ENTRIES = 100_000
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


class Foreign(OSError):
    """What stands at a name is not what Otto put there; `strerror` says what it is, and where."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(errno.EPERM, f"{path} is {kind}, which Otto does not use: remove it")


class Folder:
    """An open directory. path: for messages only. Use it in a `with`, or call `close`."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor = descriptor
        self.path = path

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.descriptor)

    # ---- looking

    def names(self) -> list[str]:
        return sorted(os.listdir(self.descriptor))

    def look(self, name: str) -> os.stat_result | None:
        """What stands at a name, a link for itself; None where nothing does."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def has_file(self, name: str) -> bool:
        """Whether there is a plain file that `read` would open."""
        found = self.look(name)
        return found is not None and not self._foreign(found)

    # ---- files

    def read(self, name: str, limit: int) -> bytes:
        """All of a file. Raises OSError (EFBIG) where it is larger than `limit` bytes."""
        descriptor = self.open(name, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            raise OSError(errno.EFBIG, f"{self.path / name} is larger than {limit} bytes")
        return content

    def tail(self, name: str, size: int) -> bytes:
        """The last `size` bytes of a file, or fewer."""
        descriptor = self.open(name, os.O_RDONLY)
        try:
            return os.pread(descriptor, size, max(0, os.fstat(descriptor).st_size - size))
        finally:
            os.close(descriptor)

    def replace(
        self, name: str, content: bytes, mode: int, owner: tuple[int, int] | None = None
    ) -> None:
        """Put a whole file at a name. A power cut at any point leaves the old content or the new.

        owner: user and group, -1 for "leave it"; left out, they are the directory's.
        """
        part = f"{name}.{secrets.token_hex(6)}{UNFINISHED}"
        descriptor = os.open(
            part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=self.descriptor
        )
        try:
            with os.fdopen(descriptor, "wb") as stream:
                # Before there is anything to read in it.
                self._own(descriptor, mode, owner)
                stream.write(content)
                stream.flush()
                os.fsync(descriptor)
            self.rename(part, name)
        except BaseException:
            self.remove(part)
            raise
        self.sync()

    def append(self, name: str, line: bytes, mode: int) -> None:
        """Add a line to a file, which is made where there is none; after one that was torn, on a
        line of its own."""
        descriptor = self.open_or_make(name, os.O_RDWR | os.O_APPEND, mode)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def open_or_make(self, name: str, flags: int, mode: int) -> int:
        """The descriptor of a file, which is made where there is none. It gets the directory's
        owner, and `mode`, where it is ours or was made by root."""
        while True:
            try:
                descriptor = os.open(
                    name, flags | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=self.descriptor
                )
            except FileExistsError:
                try:
                    descriptor = self.open(name, flags)
                except FileNotFoundError:
                    continue  # removed in between
            try:
                if os.geteuid() in (0, os.fstat(descriptor).st_uid):
                    self._own(descriptor, mode)
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor

    def rename(self, name: str, to: str) -> None:
        """Raises Foreign where a directory stands at `to`."""
        try:
            os.replace(name, to, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        except IsADirectoryError:
            raise Foreign(self.path / to, "a directory") from None

    def remove(self, name: str) -> None:
        """Take away what stands at a name, which may be anything but a directory, or nothing."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        os.fsync(self.descriptor)

    # ---- directories

    def folder(self, name: str, make: int | None = None) -> Folder:
        """A directory in this one; make: the mode of one that is to be made where there is none."""
        return self._enter(name, make, os.O_RDONLY)

    def _enter(self, name: str, make: int | None, flags: int) -> Folder:
        while True:
            try:
                descriptor = os.open(name, flags | _DIRECTORY, dir_fd=self.descriptor)
            except FileNotFoundError:
                if make is None:
                    raise
                self._make(name, make)
            except OSError as error:
                found = self.look(name) if error.errno in (errno.ENOTDIR, errno.ELOOP) else None
                if found is not None:
                    raise Foreign(self.path / name, _kind(found)) from None
                raise
            else:
                return Folder(descriptor, self.path / name)

    def remove_tree(self, name: str) -> None:
        """Take away what stands at a name, with all that lies beneath it.

        What lies deep is first moved up: a tree of any depth takes two descriptors and no stack.
        """
        found = self.look(name)
        if found is None:
            return
        if not stat.S_ISDIR(found.st_mode):
            self.remove(name)
            return
        with self.folder(name) as top:
            left = _ENTRIES
            while True:
                names = top.names()
                for each in names:
                    top._take_apart(each)
                left -= len(names)
                if not names:
                    break
                if left < 0:
                    raise OSError(errno.EBUSY, f"{top.path} is filled again while it is emptied")
        os.rmdir(name, dir_fd=self.descriptor)

    def _take_apart(self, name: str) -> None:
        """A file goes; of a directory the entries come here, then it goes."""
        found = self.look(name)
        if found is None:
            return
        if not stat.S_ISDIR(found.st_mode):
            self.remove(name)
            return
        with self.folder(name) as inner:
            for each in inner.names():
                os.rename(
                    each,
                    secrets.token_hex(8),
                    src_dir_fd=inner.descriptor,
                    dst_dir_fd=self.descriptor,
                )
        os.rmdir(name, dir_fd=self.descriptor)

    def _make(self, name: str, mode: int) -> None:
        try:
            os.mkdir(name, mode, dir_fd=self.descriptor)
        except FileExistsError:
            return
        if os.geteuid() == 0:
            owner = os.fstat(self.descriptor)
            with self.folder(name) as made:
                os.fchown(made.descriptor, owner.st_uid, owner.st_gid)

    # ---- what may be opened

    def open(self, name: str, flags: int) -> int:
        """The descriptor of a file that is there."""
        # First looked at: to open a device or a pipe may do something already.
        found = self.look(name)
        if found is not None:
            self._check(name, found)
        try:
            descriptor = os.open(name, flags | _FILE, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Foreign(self.path / name, "a symbolic link") from None
            raise
        try:
            self._check(name, os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check(self, name: str, found: os.stat_result) -> None:
        kind = self._foreign(found)
        if kind:
            raise Foreign(self.path / name, kind)

    def _foreign(self, found: os.stat_result) -> str:
        """Why this is not to be opened; "" where it may be."""
        if not stat.S_ISREG(found.st_mode):
            return _kind(found)
        folder = os.fstat(self.descriptor)
        if folder.st_uid == os.geteuid() and not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return ""  # nobody else puts names there
        if found.st_uid not in (folder.st_uid, 0, os.geteuid()):
            return f"a file of user {found.st_uid}"
        if found.st_uid != folder.st_uid and found.st_nlink > 1:
            return "a second name of a file that lies elsewhere"
        return ""

    def _own(self, descriptor: int, mode: int, owner: tuple[int, int] | None = None) -> None:
        if owner is None and os.geteuid() == 0:
            folder = os.fstat(self.descriptor)
            owner = (folder.st_uid, folder.st_gid)
        if owner not in (None, (-1, -1)):  # the agent may not even say "leave it"
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)


def opened(path: Path, make: int | None = None) -> Folder:
    """The directory at a path. make: the mode of those that are to be made where there are none.

    For root, a link on the way is followed only where nobody but root could have put it: so the
    state directory may lie on another disk, and `otto` cannot lead it elsewhere.
    """
    whole = Path(os.path.abspath(path))  # Path.absolute leaves the dots in it
    rest = list(reversed(whole.parts[1:]))
    links = 0
    here = Folder(os.open("/", _PASS | _DIRECTORY), Path("/"))
    try:
        while rest:
            name = rest.pop()
            try:
                inner = here._enter(name, make, _PASS)
            except Foreign:
                where = _link_of_root(here, name)
                links += 1
                if where is None or links > _LINKS:
                    raise
                rest += reversed(where.parts)  # "/" is the first part of what begins with it
                inner = here._enter(".", None, _PASS)
            here.close()
            here = inner
        return Folder(os.open(".", _DIRECTORY, dir_fd=here.descriptor), whole)
    finally:
        here.close()


@contextlib.contextmanager
def within(path: Path, make: int | None = None) -> Iterator[Folder | None]:
    """`opened` for a `with`; None where the directory does not exist and is not to be made."""
    try:
        folder = opened(path, make)
    except FileNotFoundError:
        yield None
        return
    with folder:
        yield folder


def tidy(folder: Folder) -> None:
    """Remove what writers left that were killed in the middle, here and one level below. Only under
    the node's lock."""
    _tidy(folder)
    for name in folder.names():
        with contextlib.suppress(OSError), folder.folder(name) as inner:
            _tidy(inner)


def _tidy(folder: Folder) -> None:
    for name in folder.names():
        if name.endswith(UNFINISHED):
            with contextlib.suppress(OSError):
                folder.remove(name)


def _link_of_root(folder: Folder, name: str) -> Path | None:
    """Where a link leads that may be followed; None for any other one, and for what is none."""
    found = os.fstat(folder.descriptor)
    others = found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if os.geteuid() == 0 and others:
        return None
    try:
        return Path(os.readlink(name, dir_fd=folder.descriptor))
    except OSError:
        return None


def _kind(found: os.stat_result) -> str:
    return next((text for test, text in _KINDS if test(found.st_mode)), "a device")
