# SPDX-License-Identifier: GPL-3.0-or-later
"""How this program itself reaches a node by SSH: the same way as Ansible does, never asking."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.ssh_way import (
    GIVEN_KEYS,
    foreign_jump,
    proxy,
    trusting,
)

OWN_KNOWN_HOSTS = "~/.ssh/known_hosts"


def known_hosts_files(known_hosts: Path, node: Any) -> list[Path]:
    """Where host keys are trusted: the cluster's file, and the user's own.

    For a node of a stranger's file it is the one that the caller gave, and no other.
    """
    if node.given_keys:
        return [known_hosts]
    own = Path(OWN_KNOWN_HOSTS).expanduser()
    return list(dict.fromkeys([known_hosts, own, own.with_name("known_hosts2")]))


def options(node: Any, known_hosts: Path) -> list[str]:
    """Options of ssh for a node of the cluster."""
    files = trusting(map(str, known_hosts_files(known_hosts, node)))
    found = [
        *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
        *("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={files}"),
    ]
    if node.given_keys:
        found += GIVEN_KEYS
    if node.port:
        found += ["-p", str(node.port)]
    if node.identity_file:
        found += ["-i", str(Path(node.identity_file).expanduser())]
    return [*found, *proxy(node, files)]


def destination(node: Any) -> str:
    return f"{node.user}@{node.host}" if node.user else str(node.host)


def typed(node: Any, known_hosts: Path, command: str = "") -> str:
    """The ssh command as a person would type it, for a message."""
    parts = ["ssh"]
    trusted = trusting([str(known_hosts)])
    if known_hosts != Path(OWN_KNOWN_HOSTS).expanduser():
        parts += ["-o", f"UserKnownHostsFile={trusted}"]
    if node.port and int(node.port) != 22:
        parts += ["-p", str(node.port)]
    if node.identity_file:
        parts += ["-i", str(node.identity_file)]
    parts += proxy(node, trusted)
    parts.append(destination(node))
    return shlex.join([*parts, command] if command else parts)


def trust_jump(node: Any) -> str:
    """The command that makes a jump host known: for it SSH reads the user's own files alone."""
    first = foreign_jump(node).removeprefix("ssh://")
    return f"ssh {shlex.quote(f'ssh://{first}')} true   (for a jump host SSH reads ~/.ssh alone)"
