# SPDX-License-Identifier: GPL-3.0-or-later
"""A door to the lab's registry that is slow, or lets nothing through any more: a thin line.

Runs in a test, or as a program on a host (Python and nothing else):

    python3 slow_registry.py 127.0.0.1 5999 10.77.0.1 5000 20000
"""

from __future__ import annotations

import socket
import sys
import threading
import time

REGISTRY = ("10.77.0.1", 5000)
SLICE = 0.25  # seconds between two portions


class SlowRegistry:
    """Docker trusts registries on loopback without TLS: an image behind it is `<door>/library/…`.

    rate: bytes a second that come from the registry, over all connections; 0 stalls it.
    """

    def __init__(
        self,
        rate: int,
        address: tuple[str, int] = ("127.0.0.1", 0),
        registry: tuple[str, int] = REGISTRY,
    ) -> None:
        self.rate = rate
        self.passed = 0
        self._registry = registry
        self._turn = threading.Lock()
        self._server = socket.create_server(address)
        self.door = "{}:{}".format(*self._server.getsockname())
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(self._registry)
            threading.Thread(target=self._copy, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._copy, args=(far, near, True), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        try:
            while True:
                data = source.recv(max(1024, int(self.rate * SLICE)) if slow else 65536)
                if not data:
                    break
                if slow:
                    self._wait(len(data))
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for each in (source, sink):
                each.close()

    def _wait(self, count: int) -> None:
        with self._turn:
            while not self.rate:
                time.sleep(SLICE)
            time.sleep(count / self.rate)
            self.passed += count


if __name__ == "__main__":
    near, port, far, far_port, rate = sys.argv[1:]
    SlowRegistry(int(rate), (near, int(port)), (far, int(far_port)))
    threading.Event().wait()
