# SPDX-License-Identifier: GPL-3.0-or-later
"""Which samples of which life of an agent are stored, and which are gone: each number is one of the
two, once. Kept as ranges, so that it outlives the samples themselves and stays small."""

from __future__ import annotations

import sqlite3

from ansible_collections.otto.cluster.plugins.module_utils.ranges import Ranges

_Key = tuple[str, str]  # node, boot


class Numbers:
    """The numbers that one transaction is about; `save` writes them back."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._known: dict[_Key, tuple[Ranges, Ranges]] = {}

    def store(self, node: str, boot: str, number: int) -> bool:
        """A sample is to be stored. Returns whether it is new."""
        stored, gone = self._of(node, boot)
        if number in stored:
            return False
        stored.add(number, number)
        gone.remove(number, number)
        return True

    def lose(self, node: str, boot: str, first: int, last: int) -> int:
        """A node says that these are gone. Returns how many of them nobody knew of: what is stored
        is not lost, whatever its node has heard of it."""
        stored, gone = self._of(node, boot)
        count = 0
        for low, high in stored.missing(first, last):
            for part in gone.missing(low, high):
                count += part[1] - part[0] + 1
                gone.add(*part)
        return count

    def save(self, now: float) -> None:
        for (node, boot), pair in self._known.items():
            self._db.execute("DELETE FROM numbers WHERE node = ? AND boot = ?", (node, boot))
            self._db.executemany(
                "INSERT INTO numbers (node, boot, gone, first, last, seen)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (node, boot, is_gone, first, last, now)
                    for is_gone, ranges in enumerate(pair)
                    for first, last in ranges
                ],
            )

    def _of(self, node: str, boot: str) -> tuple[Ranges, Ranges]:
        if (node, boot) not in self._known:
            pair = (Ranges(), Ranges())
            for is_gone, first, last in self._db.execute(
                "SELECT gone, first, last FROM numbers WHERE node = ? AND boot = ?", (node, boot)
            ):
                pair[is_gone].add(first, last)
            self._known[node, boot] = pair
        return self._known[node, boot]
