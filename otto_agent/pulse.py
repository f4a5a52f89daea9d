# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the heal loop moves: what the watchdog is fed from.

A sign of life is a step that is done: a request that Docker answered, a line of a pull, a look of a
gate. A request under way vouches for itself until it has to give up by its own limit; one that
overruns its limit is a hang, however well the others beside it go on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

IDLE = 30.0  # seconds without a request that may pass without a sign
MARGIN = 75.0  # seconds that a request may overrun its limit: connecting has one of its own (60 s)


class Pulse:
    """May be used from any thread. Times are seconds, monotonic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[object, float] = {}
        self._sign = time.monotonic()

    def beat(self) -> None:
        """A step is done."""
        self._sign = time.monotonic()

    @contextlib.contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Something is waited for that gives up by itself after so long."""
        mine = object()
        with self._lock:
            self._under_way[mine] = time.monotonic() + seconds + MARGIN
        try:
            yield
        finally:
            self.beat()
            with self._lock:
                del self._under_way[mine]

    @property
    def busy(self) -> bool:
        """Whether something is waited for."""
        return bool(self._under_way)

    def alive(self, now: float) -> bool:
        with self._lock:
            limits = list(self._under_way.values())
        if limits:
            return now < min(limits)
        return now - self._sign < IDLE
