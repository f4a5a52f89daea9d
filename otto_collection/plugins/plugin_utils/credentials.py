# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The passwords that nodes and control plane show to the broker: made here, kept in one file.

`<state>/<cluster>/credentials.json`, 0600: node id, or `otto-run` -> its password, and for the time
of a rotation the one before.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed

_VERSION = 1


@dataclass(frozen=True)
class Account:
    """former: the password before, as long as its owner may not have been given the new one."""

    password: str = field(repr=False)
    former: str | None = field(default=None, repr=False)

    @property
    def passwords(self) -> tuple[str, ...]:
        """All that the broker accepts."""
        return (self.password,) if self.former is None else (self.password, self.former)


class Credentials:
    """The accounts of one cluster. Safe beside other processes: locked, replaced as a whole."""

    def __init__(self, directory: Path) -> None:
        """directory: the cluster's state; it has to be there."""
        self.path = directory / "credentials.json"
        self._lock = directory / "credentials.lock"

    def read(self) -> dict[str, Account]:
        """Every account there is. Raises OttoError for a file that cannot be used."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if document["version"] != _VERSION:
                raise ValueError("it is of another version of Otto")
            return {
                str(name): Account(str(entry["password"]), entry.get("former"))
                for name, entry in document["accounts"].items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OttoError(
                f"The broker's passwords in {self.path} cannot be read",
                cause=type(error).__name__ if isinstance(error, KeyError) else str(error),
                next=typed(
                    "restore {} from a backup; or remove it, then: otto-run apply"
                    "   (makes new ones)",
                    self.path,
                ),
            ) from error

    def account(self, name: str) -> Account:
        """The account of a node or of the control plane, made where there is none."""
        return self.accounts([name])[name]

    def accounts(self, names: Iterable[str]) -> dict[str, Account]:
        """Like account, of several."""
        wanted = list(names)
        found = self.read()
        if not set(wanted) <= found.keys():
            found = self._change(
                lambda all: all.update(
                    {name: Account(_password()) for name in wanted if name not in all}
                )
            )
        return {name: found[name] for name in wanted}

    def renew(self, names: Iterable[str]) -> list[str]:
        """New passwords; the former ones count until `settle`. One whose renewal is under way
        already keeps what it has: a rotation that was cut off is gone on with. Returns who got
        one instead of another."""
        wanted, renewed = list(names), []

        def change(all: dict[str, Account]) -> None:
            for name in wanted:
                known = all.get(name)
                if known is None:
                    all[name] = Account(_password())
                elif known.former is None:
                    all[name] = Account(_password(), known.password)
                    renewed.append(name)

        self._change(change)
        return renewed

    def take_back(self, names: Iterable[str]) -> None:
        """Nobody was given the new passwords: the former ones alone count again."""
        wanted = list(names)
        self._change(
            lambda all: all.update(
                {
                    name: Account(former)
                    for name in wanted
                    if name in all and (former := all[name].former) is not None
                }
            )
        )

    def settle(self, names: Iterable[str]) -> None:
        """They have their new passwords: the former ones count no longer."""
        wanted = list(names)
        self._change(
            lambda all: all.update(
                {name: Account(all[name].password) for name in wanted if name in all}
            )
        )

    def _change(self, change: Callable[[dict[str, Account]], Any]) -> dict[str, Account]:
        with _alone(self._lock):
            found = self.read()
            change(found)
            document = {
                "version": _VERSION,
                "accounts": {
                    name: {"password": account.password}
                    | ({"former": account.former} if account.former else {})
                    for name, account in sorted(found.items())
                },
            }
            write_private(self.path, json.dumps(document, indent=2).encode() + b"\n")
        return found


def _password() -> str:
    return secrets.token_urlsafe(32)


def write_private(path: Path, content: bytes) -> None:
    """Put a whole file in place, for its owner's eyes alone. Raises OttoError."""
    unfinished = path.with_name(path.name + ".new")
    try:
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise OttoError(
            f"Cannot write {path}",
            cause=error.strerror or str(error),
            next=typed("ls -ld {}", path.parent),
        ) from error


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OttoError(
            f"Cannot write {lock}",
            cause=error.strerror or str(error),
            next=typed("ls -ld {}", lock.parent),
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
