# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages on their way to the broker: bounded, in order, and safe to fill from any thread.

A message leaves when the broker has confirmed it, not when it was written to a socket. When there
is no room the oldest metrics go first, then the oldest events; a report is only ever replaced by a
newer one. What goes is counted.
"""

from __future__ import annotations

import collections
import threading
from dataclasses import dataclass

from otto_agent import messages


@dataclass(frozen=True)
class Message:
    """kind: as in the topic. payload: encoded."""

    kind: str
    payload: bytes


class Outbox:
    """limit: messages held at the most. window: sent and not yet confirmed at the most."""

    def __init__(self, limit: int = 100, window: int = 20) -> None:
        self._limit = limit
        self._window = window
        self._lock = threading.Lock()
        self._waiting: collections.deque[Message] = collections.deque()
        self._sent: dict[int, Message] = {}
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many metrics and events were thrown away since the start."""
        return self._dropped

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting) + len(self._sent)

    def put(self, message: Message) -> None:
        with self._lock:
            if message.kind == messages.REPORT:
                # Retained: only the newest one counts, and nothing is lost with an older one.
                self._remove_oldest(messages.REPORT)
            self._waiting.append(message)
            while len(self._waiting) + len(self._sent) > self._limit:
                removed = self._remove_oldest(messages.METRICS) or self._remove_oldest(
                    messages.EVENT
                )
                if not removed:
                    break
                self._dropped += 1

    def take(self) -> Message | None:
        """The next message to send, while the window has room for it."""
        with self._lock:
            if not self._waiting or len(self._sent) >= self._window:
                return None
            return self._waiting.popleft()

    def sent(self, mid: int, message: Message) -> None:
        """`message` was handed over under the number `mid` and waits for its confirmation."""
        with self._lock:
            self._sent[mid] = message

    def confirmed(self, mid: int) -> None:
        with self._lock:
            self._sent.pop(mid, None)

    def back(self) -> None:
        """The connection is gone: what was not confirmed is sent again, in its old order. The
        receiver may get it twice, and tells by (boot, seq)."""
        with self._lock:
            self._waiting.extendleft(reversed(list(self._sent.values())))
            self._sent.clear()

    def _remove_oldest(self, kind: str) -> bool:
        for message in self._waiting:
            if message.kind == kind:
                self._waiting.remove(message)
                return True
        return False
