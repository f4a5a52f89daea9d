# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may say and hear what at the broker. Pure: the embedded broker asks it, Mosquitto's files are
written from it.

A user is `<cluster>/<node>`, the control plane is `<cluster>/otto-run`.
"""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import CONTROL

ROOT = "otto/v1"
NODE_WRITES = ("status", "report", "metrics", "event")
# Its own status too: so an agent finds a late will, or another agent of its name.
NODE_READS = ("status", "ack", "cmd")
CONTROL_WRITES = ("ack", "cmd")


def user(cluster: str, node: str = CONTROL) -> str:
    return f"{cluster}/{node}"


def writes(cluster: str, node: str) -> tuple[str, ...]:
    """Topics, with + for any node, that this user may publish to."""
    if node == CONTROL:
        return tuple(f"{ROOT}/{cluster}/+/{kind}" for kind in CONTROL_WRITES)
    return tuple(f"{ROOT}/{cluster}/{node}/{kind}" for kind in NODE_WRITES)


def reads(cluster: str, node: str) -> tuple[str, ...]:
    """Topic filters of what this user may hear."""
    if node == CONTROL:
        return (f"{ROOT}/{cluster}/#",)
    return tuple(f"{ROOT}/{cluster}/{node}/{kind}" for kind in NODE_READS)


def owns_id(cluster: str, node: str, client_id: str) -> bool:
    """Whether this user may connect by that id: two with one id take the connection from each
    other, so nobody may have somebody else's."""
    if node == CONTROL:
        return client_id.startswith(f"otto-run-{cluster}-")
    return client_id == f"otto-{cluster}-{node}"


def within(asked: str, granted: Iterable[str]) -> bool:
    """Whether a topic or a filter lies as a whole within one of the filters granted."""
    return any(_covers(one.split("/"), asked.split("/")) for one in granted)


def _covers(granted: list[str], asked: list[str]) -> bool:
    for index, level in enumerate(granted):
        if level == "#":
            return True
        # "+" grants any one level, "#" in what is asked is more than one.
        if index >= len(asked) or asked[index] == "#" or level not in ("+", asked[index]):
            return False
    return len(granted) == len(asked)
