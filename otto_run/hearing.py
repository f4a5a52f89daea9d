# SPDX-License-Identifier: GPL-3.0-or-later
"""What was heard and waits for the store: every node has a share of its own, and they take turns,
so that one that talks without end delays nobody but itself.

What goes beyond a share is not acked: its node keeps it, and says it again. It is counted, and the
node's events tell.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

from otto_run.messages import STATUS, Message, Refused
from otto_run.pace import Bucket

_MIB = 1 << 20
# In the long run. An agent says some ten messages a minute, at its fastest a hundred.
A_MINUTE = 600
_BYTES_A_SECOND = _MIB // 4
# At once: a full ring of an agent that was away (30,000 samples, 32 MiB), and some more.
_AT_ONCE = 40_000
_BYTES_AT_ONCE = 64 * _MIB
# A node that restarts again and again is told of by its broker; that is not held back by the rest.
_STATUS_A_SECOND = 1.0
_STATUS_AT_ONCE = 600

# Of one node, that wait for the store: an agent has a hundred samples without an ack at the most.
_SHARE = 200
_SHARE_BYTES = 4 * _MIB
_EACH = 100  # of one node in one batch, a tenth of a second
QUEUE = 2_000  # of all: then the network waits
_QUEUE_BYTES = 64 * _MIB
_TELL = 60.0  # seconds from one word about what was not taken to the next


class Meter:
    """Counts what each node says, and what of it is too much. Times are of a monotonic clock."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, bool], tuple[Bucket, Bucket]] = {}
        self._dropped: collections.Counter[str] = collections.Counter()
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def admits(self, node: str, kind: str, size: int, now: float) -> bool:
        """Whether a message is within what its node may say; one that is not is counted."""
        key = (node, kind == STATUS)
        if key not in self._buckets:
            number = (
                Bucket(_STATUS_A_SECOND, _STATUS_AT_ONCE, now)
                if kind == STATUS
                else Bucket(A_MINUTE / 60, _AT_ONCE, now)
            )
            self._buckets[key] = number, Bucket(_BYTES_A_SECOND, _BYTES_AT_ONCE, now)
        number, size_of_all = self._buckets[key]
        if number.take(1, now) and size_of_all.take(size, now):
            return True
        self.drop(node)
        return False

    def drop(self, node: str) -> None:
        with self._lock:
            self._dropped[node] += 1

    def told(self, now: float) -> list[Message]:
        """What is to be told of messages that were not taken: once a minute for each node."""
        with self._lock:
            due = [node for node in self._dropped if now - self._told.get(node, -_TELL) >= _TELL]
            counts = {node: self._dropped.pop(node) for node in due}
            self._told.update(dict.fromkeys(due, now))
        return [
            Message(
                node,
                "quota",
                {
                    "text": f"{count} of its messages were not taken in: it says more than"
                    f" {A_MINUTE} a minute, or more than can be stored"
                },
            )
            for node, count in counts.items()
        ]


class Turns:
    """A queue with a lane for each node. put in one thread, take in another."""

    def __init__(self) -> None:
        self._lanes: dict[str, collections.deque[tuple[Message, int]]] = {}
        self._bytes: collections.Counter[str] = collections.Counter()
        self._number = self._size = 0
        self._changed = threading.Condition()

    def put(self, message: Message, size: int, ended: Callable[[], bool]) -> bool:
        """Queue it. Waits while the store is behind with all of them; False where only this node's
        lane is full, or `ended` says so meanwhile."""
        with self._changed:
            while self._number >= QUEUE or self._size > _QUEUE_BYTES:
                if ended():
                    return False
                self._changed.wait(0.5)
            if self._full(message.node):
                return False
            lane = self._lanes.setdefault(message.node, collections.deque())
            lane.append((message, size))
            self._bytes[message.node] += size
            self._size += size
            self._number += 1
            self._changed.notify_all()
        return True

    def full(self, node: str) -> bool:
        """Whether a node has its share in the queue: not worth looking at what it says now."""
        with self._changed:
            return self._full(node)

    def _full(self, node: str) -> bool:
        return len(self._lanes.get(node, ())) >= _SHARE or self._bytes[node] > _SHARE_BYTES

    def take(self, most: int, wait: float, gather: float) -> list[Message]:
        """Up to `most` messages, one of each node in turn: waits for the first one for `wait`
        seconds, and then for more of them for `gather` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._number, wait):
                return []
            self._changed.wait_for(lambda: self._number >= most, gather)
            taken: list[Message] = []
            for _ in range(_EACH):
                for node in list(self._lanes)[: most - len(taken)]:
                    taken.append(self._next(node))
            self._changed.notify_all()
        return taken

    def _next(self, node: str) -> Message:
        lane = self._lanes.pop(node)
        message, size = lane.popleft()
        self._number -= 1
        self._size -= size
        self._bytes[node] -= size
        if lane:
            self._lanes[node] = lane  # behind all others, also for the next batch
        else:
            del self._bytes[node]
        return message

    @property
    def empty(self) -> bool:
        return not self._number


class Refusals:
    """Why messages were not believed, and how many for each reason: at most a hundred reasons."""

    def __init__(self) -> None:
        self._counted: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def add(self, reason: Refused) -> None:
        text = str(reason)
        with self._lock:
            known = text in self._counted or len(self._counted) < 100
            self._counted[text if known else "other reasons"] += 1

    def take(self) -> collections.Counter[str]:
        """Those since the last call."""
        with self._lock:
            taken, self._counted = self._counted, collections.Counter()
        return taken
