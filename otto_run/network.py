# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps an MQTT client of paho connected, in a thread of its own.

paho's own thread waits with select(), which ends at 1,024 open files: a control plane that is the
broker of a thousand nodes has more, and would never hear of them again after a lost connection.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.otto.cluster.plugins.module_utils import tls

if TYPE_CHECKING:
    import paho.mqtt.client as mqtt

log = logging.getLogger(__name__)

_DELAYS = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between attempts
_TICK = 1.0


class Network:
    """For a client that has connected once. The callbacks are called in this thread; publishing is
    safe from any."""

    def __init__(self, client: mqtt.Client) -> None:
        self._client = client
        self._ending = threading.Event()
        self._deadline = float("inf")
        self._listen, self._wake = socket.socketpair()
        self._listen.setblocking(False)
        self._wake.setblocking(False)
        # With this, paho leaves all writing to this thread.
        client.on_socket_register_write = lambda *_: self._rouse()
        self._thread = threading.Thread(target=self._run, name="listener-network", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Say goodbye and end, within `timeout` seconds whatever the broker does."""
        self._deadline = time.monotonic() + timeout
        self._ending.set()
        self._client.disconnect()
        self._rouse()
        if self._thread.is_alive():
            self._thread.join(timeout + _TICK)
        self._listen.close()
        self._wake.close()

    def _rouse(self) -> None:
        with contextlib.suppress(OSError):  # full: it is roused already
            self._wake.send(b".")

    def _run(self) -> None:
        tries = 0
        while True:
            with contextlib.suppress(OSError):
                if self._serve():
                    tries = 0
            if self._ending.wait(_DELAYS[min(tries, len(_DELAYS) - 1)]):
                return
            tries += 1
            try:
                self._client.reconnect()
            except (OSError, ValueError) as error:
                log.debug("the broker is not back: %s", error)

    def _serve(self) -> bool:
        """Until the connection ends, or it is time to go. Returns whether there was one."""
        client = self._client
        there = False
        with selectors.DefaultSelector() as selector:
            selector.register(self._listen, selectors.EVENT_READ)
            watched: Any = None
            while (sock := client.socket()) is not None and time.monotonic() < self._deadline:
                there = there or client.is_connected()
                if watched is None:
                    watched = selector.register(sock, selectors.EVENT_READ)
                write = selectors.EVENT_WRITE if client.want_write() else 0
                selector.modify(sock, selectors.EVENT_READ | write)
                for key, mask in selector.select(_TICK):
                    if key.fileobj is self._listen:
                        self._hush()
                        continue
                    if mask & selectors.EVENT_READ:
                        client.loop_read()
                        while tls.holds_back(client.socket()):
                            client.loop_read()
                    if mask & selectors.EVENT_WRITE:
                        client.loop_write()
                client.loop_misc()
        return there

    def _hush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._listen.recv(4096):
                pass
