# SPDX-License-Identifier: GPL-3.0-or-later
"""Who types: as the kernel knows them, and what their environment says."""

from __future__ import annotations

import os
import pwd
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from otto_run.render import clean

_NOBODY = 2**32 - 1


@dataclass(frozen=True)
class Actor:
    """login: who logged in, which sudo and su do not change; "" where nobody did (cron, a service).
    user: whose rights the run has. sudo_user, ssh_client: what the environment says, "" where it
    says nothing."""

    login: str
    user: str
    uid: int
    host: str
    sudo_user: str = ""
    ssh_client: str = ""

    def __str__(self) -> str:
        """`ann@laptop`, `root (ann)@laptop`"""
        behind = next((name for name in (self.login, self.sudo_user) if name), self.user)
        name = self.user if behind == self.user else f"{self.user} ({behind})"
        return f"{name}@{self.host}"

    def to_json(self) -> dict[str, str | int]:
        return asdict(self)


def actor() -> Actor:
    uid = os.getuid()
    return Actor(
        login=_login(),
        user=_name(uid),
        uid=uid,
        host=clean(socket.gethostname(), 100),
        sudo_user=clean(os.environ.get("SUDO_USER", ""), 100),
        ssh_client=clean(os.environ.get("SSH_CLIENT", "").partition(" ")[0], 100),
    )


def _login() -> str:
    try:
        uid = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        return ""
    return "" if uid == _NOBODY else _name(uid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
