# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a node: through which hosts SSH goes, and with which keys it trusts and logs in. Pure.

ProxyJump takes neither host keys nor identities for the host that it goes through. A node is
therefore jumped through by a ProxyCommand, which is an ssh of its own with that node's settings.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import replace

from ansible_collections.otto.cluster.plugins.module_utils.cluster import Node
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError


def trusting(files: Iterable[str]) -> str:
    """Paths as the value of UserKnownHostsFile: ssh splits it at blanks and expands % and ~."""
    words = (file.replace("%", "%%") for file in files)
    return " ".join(f'"{word}"' if set(word) & set(" \t") else word for word in words)


GIVEN_KEYS = (
    *("-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no"),
    *("-o", "GlobalKnownHostsFile=/dev/null"),
)
"""Where the file is a stranger's: no key counts but the caller's, none is written down, whatever
~/.ssh/config says."""
_HOP = re.compile(r"(?:(?P<user>.+)@)?(?P<host>\[[^\]]+\]|[^:]+)(?::(?P<port>[0-9]+))?")


def resolved(nodes: Iterable[Node]) -> dict[str, Node]:
    """Nodes by id, each with the node that it is reached through, if its `jump` is a node's id.

    Where the file is a stranger's, other jump hosts are taken as nodes too: ssh would trust them by
    files of its own.
    """
    by_id = {node.id: node for node in nodes}

    def whole(node: Node) -> Node:
        through = by_id.get(node.jump or "")
        if through is None and node.jump and node.given_keys:
            return replace(node, through=_hops(node.jump))
        return node if through is None else replace(node, through=whole(through))

    return {node.id: whole(node) for node in by_id.values()}


def _hops(jump: str) -> Node | None:
    """The last of some jump hosts, as a node that is reached through those before it."""
    last: Node | None = None
    for hop in jump.split(","):
        found = _HOP.fullmatch(hop)
        if found is None:
            raise OttoError(f"{jump} cannot be read as user@host:port", next="write jump so")
        host = found["host"].strip("[]")
        port = int(found["port"] or 22)
        before = None if last is None else last.id
        last = Node(hop, host, found["user"], port, jump=before, given_keys=True, through=last)
    return last


def way(node: Node) -> str:
    """`user@host:port` of every host on the way, the nearest first; "" where there is none."""
    if node.through is None:
        return node.jump or ""
    before = way(node.through)
    return f"{before},{_address(node.through)}" if before else _address(node.through)


def foreign_jump(node: Node) -> str:
    """The first host on the way if it is no node of the cluster, so that Otto has no key of it."""
    while node.through is not None:
        node = node.through
    return (node.jump or "").split(",")[0]


def proxy(node: Node, known_hosts: str) -> list[str]:
    """The options of ssh that lead through the jump host; none where there is none.

    known_hosts: the value of UserKnownHostsFile, as ssh reads it.
    """
    through = node.through
    if through is None:
        jump = (node.jump or "").replace("%", "%%")
        return ["-o", f"ProxyJump={jump}"] if jump else []
    # It may not ask: several of them would ask at one terminal.
    words = ["ssh", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={known_hosts}"]
    if through.given_keys:
        words += GIVEN_KEYS
    if through.identity_file:
        words += ["-i", through.identity_file]
    words += ["-p", str(through.port), *proxy(through, known_hosts)]
    # ssh puts in host and port for %h and %p; every other % has to survive that.
    words = [word.replace("%", "%%") for word in words]
    target = f"{through.user}@{through.host}" if through.user else through.host
    target = target.replace("%", "%%")
    return ["-o", "ProxyCommand=" + shlex.join(words) + f" -W '[%h]:%p' {shlex.quote(target)}"]


def _address(node: Node) -> str:
    host = f"[{node.host}]" if ":" in node.host else node.host
    user = f"{node.user}@" if node.user else ""
    return f"{user}{host}:{node.port}"
