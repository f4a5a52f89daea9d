# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Mosquitto has to know of a cluster: its password file and its ACL. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping

from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import CONTROL
from ansible_collections.otto.cluster.plugins.plugin_utils import accounts

# Mosquitto's own default, 2.0 as 2.1. The passwords are 32 random bytes, which no number of rounds
# makes harder to guess; and it computes this in the one thread that serves everybody.
_ROUNDS = 101


def password_file(cluster: str, passwords: Mapping[str, str]) -> str:
    """passwords: node id or `otto-run` -> its password. The same ones give the same text."""
    return "".join(
        f"{name}:{_hashed(name, password)}\n"
        for name, password in sorted(
            (accounts.user(cluster, node), password) for node, password in passwords.items()
        )
    )


def _hashed(name: str, password: str) -> str:
    """PBKDF2-HMAC-SHA512, as `mosquitto_passwd` writes it."""
    # A salt has to differ, not to be unknown. Made of the password, it lets a second apply see that
    # nothing has changed.
    salt = hashlib.sha256(f"{name}:{password}".encode()).digest()[:12]
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS, 64)
    return f"$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def acl_file(cluster: str, nodes: Iterable[str]) -> str:
    """One block for each user; what stands in none is forbidden."""
    blocks = []
    for node in (CONTROL, *sorted(nodes)):
        lines = [f"user {accounts.user(cluster, node)}"]
        lines += [f"topic write {topic}" for topic in accounts.writes(cluster, node)]
        lines += [f"topic read {topic}" for topic in accounts.reads(cluster, node)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)
