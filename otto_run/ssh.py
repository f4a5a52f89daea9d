# SPDX-License-Identifier: GPL-3.0-or-later
"""How this program itself reaches a node by SSH: the same way as Ansible does, never asking."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster import Node

OWN_KNOWN_HOSTS = "~/.ssh/known_hosts"


def known_hosts_files(known_hosts: Path) -> list[Path]:
    """Where host keys are trusted: the cluster's file, and the user's own."""
    own = Path(OWN_KNOWN_HOSTS).expanduser()
    return list(dict.fromkeys([known_hosts, own, own.with_name("known_hosts2")]))


def quoted(paths: list[Path]) -> str:
    """Paths as the value of UserKnownHostsFile, which takes several."""
    return " ".join(f'"{path}"' for path in paths)


def resolved(nodes: Iterable[Node]) -> dict[str, Node]:
    """Nodes by id, each `jump` written out as SSH takes it: `user@host:port,...`, nearest first."""
    by_id = {node.id: node for node in nodes}
    return {node.id: replace(node, jump=_way(node, by_id) or None) for node in by_id.values()}


def _way(node: Node, by_id: Mapping[str, Node]) -> str:
    way: list[str] = []
    jump = node.jump
    while jump:
        through = by_id.get(jump)
        if through is None:  # not a node but an address, as SSH takes it
            way.insert(0, jump)
            break
        host = f"[{through.host}]" if ":" in through.host else through.host
        way.insert(0, f"{through.user}@{host}:{through.port}")
        jump = through.jump
    return ",".join(way)


def options(node: Any, known_hosts: Path) -> list[str]:
    """Options of ssh for a node of the cluster."""
    files = quoted(known_hosts_files(known_hosts))
    found = [
        *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
        *("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={files}"),
    ]
    if node.port:
        found += ["-p", str(node.port)]
    if node.identity_file:
        found += ["-i", str(Path(node.identity_file).expanduser())]
    if node.jump:
        found += ["-J", node.jump]
    return found


def destination(node: Any) -> str:
    return f"{node.user}@{node.host}" if node.user else str(node.host)


def typed(node: Any, known_hosts: Path, command: str = "") -> str:
    """The ssh command as a person would type it, for a message."""
    parts = ["ssh"]
    if known_hosts != Path(OWN_KNOWN_HOSTS).expanduser():
        parts += ["-o", f"UserKnownHostsFile={known_hosts}"]
    if node.port and int(node.port) != 22:
        parts += ["-p", str(node.port)]
    if node.identity_file:
        parts += ["-i", str(node.identity_file)]
    if node.jump:
        parts += ["-J", str(node.jump)]
    parts.append(destination(node))
    return shlex.join([*parts, command] if command else parts)


def trust_jump(node: Any) -> str:
    """The command that makes a jump host known: for it SSH reads the user's own files alone."""
    first = str(node.jump).split(",")[0].removeprefix("ssh://")
    return f"ssh ssh://{first} true   (for a jump host SSH reads ~/.ssh alone)"
