# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is let in at the embedded broker, for what, and how much of the broker is theirs."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Protocol

from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import CONTROL
from ansible_collections.otto.cluster.plugins.plugin_utils import accounts

_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """How much of the broker one user may take. What goes beyond waits, unread, in its own
    connection.

    connections: at a time. said, said_bytes: messages of each of its connections that not everybody
    has heard yet. heard, heard_bytes: messages on their way to one of them; one that takes them no
    faster is sent away. pace: packets a second in the long run, None for any number. kept: bytes of
    its retained messages.
    """

    connections: int
    said: int
    said_bytes: int
    heard: int
    heard_bytes: int
    pace: float | None
    kept: int


# An agent has at most 100 samples under way without an ack, in batches of a fifth of a second.
_NODE = Limits(1, 32, 2 * _MIB, 200, 8 * _MIB, 500, 2 * _MIB)
# Hears all nodes and answers them; only its owner has its password.
_CONTROL = Limits(16, 20_000, 32 * _MIB, 60_000, 256 * _MIB, None, 64 * _MIB)


class Door(Protocol):
    """Who is let in, and what for."""

    def admits(self, username: str, password: str) -> bool: ...
    def owns_id(self, username: str, client_id: str) -> bool: ...
    def may_write(self, username: str, topic: str) -> bool: ...
    def may_read(self, username: str, topic: str) -> bool:
        """topic: also a filter; all that it matches has to be allowed."""
        ...

    def limits(self, username: str) -> Limits: ...

    @property
    def members(self) -> int:
        """How many clients are expected, the control plane among them."""
        ...


@dataclass(frozen=True)
class Shared:
    """One user name and password for all, as `mqtt` in otto.yaml says: no limits among them."""

    username: str
    password: str = field(repr=False)
    members: int = 100
    most: int = 2000
    """connections at a time"""

    def admits(self, username: str, password: str) -> bool:
        return _same(self.username, username) & _same(self.password, password)

    def owns_id(self, username: str, client_id: str) -> bool:  # noqa: ARG002
        return True

    def may_write(self, username: str, topic: str) -> bool:  # noqa: ARG002
        return True

    def may_read(self, username: str, topic: str) -> bool:  # noqa: ARG002
        return True

    def limits(self, username: str) -> Limits:  # noqa: ARG002
        return replace(_CONTROL, connections=self.most)


@dataclass(frozen=True)
class Members:
    """Every node under its own name, and the control plane.

    passwords: all that count now for a node id or `otto-run`; asked at every connection.
    """

    cluster: str
    nodes: Collection[str]
    passwords: Callable[[str], Collection[str]]

    @property
    def members(self) -> int:
        return len(self.nodes) + 1

    def admits(self, username: str, password: str) -> bool:
        member = self._member(username)
        if member is None:
            return False
        return any(_same(known, password) for known in self.passwords(member))

    def owns_id(self, username: str, client_id: str) -> bool:
        member = self._member(username)
        return member is not None and accounts.owns_id(self.cluster, member, client_id)

    def may_write(self, username: str, topic: str) -> bool:
        member = self._member(username)
        return member is not None and accounts.within(topic, accounts.writes(self.cluster, member))

    def may_read(self, username: str, topic: str) -> bool:
        member = self._member(username)
        return member is not None and accounts.within(topic, accounts.reads(self.cluster, member))

    def limits(self, username: str) -> Limits:
        return _CONTROL if self._member(username) == CONTROL else _NODE

    def _member(self, username: str) -> str | None:
        cluster, slash, member = username.partition("/")
        if cluster == self.cluster and slash and (member == CONTROL or member in self.nodes):
            return member
        return None


def _same(known: str, given: str) -> bool:
    return hmac.compare_digest(known.encode(), given.encode("utf-8", "surrogatepass"))
