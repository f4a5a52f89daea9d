# SPDX-License-Identifier: GPL-3.0-or-later
"""Hears what the agents say, and hands it to the store in batches.

paho's network thread only parses and queues; a thread of our own writes. An exception in a paho
callback would end its thread while `is_connected()` stays true, so every callback is wrapped.
"""

from __future__ import annotations

import collections
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

from otto_run.messages import Message, Refused, parse, topic_filter
from otto_run.store import Store

if TYPE_CHECKING:
    import paho.mqtt.client as mqtt

log = logging.getLogger(__name__)

_QUEUE = 10_000
_BATCH = 500
_PAUSE = 0.2  # seconds in which messages gather to one transaction
_PRUNE = 600.0


class Listener:
    """Subscribes to one cluster. `told` is called with every stored message, in the writer thread.

    broker: `Mqtt` of the cluster (host, port, username, password, keepalive).
    """

    def __init__(
        self,
        broker: Any,
        cluster: str,
        nodes: Collection[str],
        store: Path,
        told: Callable[[Message], None] = lambda _: None,
    ) -> None:
        self._broker = broker
        self._cluster = cluster
        self._nodes = frozenset(nodes)
        self._store = store
        self._told = told
        self._queue: queue.Queue[Message] = queue.Queue(_QUEUE)
        self._ended = threading.Event()
        self._subscribed = threading.Event()
        self._client: mqtt.Client | None = None
        self._writer = threading.Thread(target=self._write, name="listener", daemon=True)
        self._failure: Exception | None = None
        self._refusal = ""
        self.refused: collections.Counter[str] = collections.Counter()
        """reasons of refused messages, at most 100 different ones"""
        self.lost = 0
        """messages thrown away because the store was slower than the network"""

    def start(self, timeout: float = 10.0) -> None:
        """Connect and subscribe. Raises OttoError when that does not come about in time."""
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            # Two clients with one id would take the connection from each other for ever.
            client_id=f"otto-run-{self._cluster}-{secrets.token_hex(4)}",
            protocol=mqtt.MQTTv311,
        )
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._broker.password or None)
        client.reconnect_delay_set(1, 15)
        client.on_connect = _guarded(self._on_connect)
        client.on_subscribe = _guarded(lambda *_: self._subscribed.set())
        client.on_disconnect = _guarded(lambda *_: self._subscribed.clear())
        client.on_message = _guarded(self._on_message)
        self._client = client
        where = f"{self._broker.host}:{self._broker.port}"
        try:
            client.connect(self._broker.host, self._broker.port, keepalive=20)
        except OSError as error:
            raise OttoError(
                f"Cannot reach the MQTT broker at {where}",
                cause=error.strerror or str(error),
                next="otto-run doctor",
            ) from error
        self._writer.start()
        client.loop_start()
        if not self._subscribed.wait(timeout):
            refusal = self._refusal
            self.stop()
            raise OttoError(
                f"The MQTT broker at {where} does not let otto-run in",
                cause=refusal or f"no answer within {timeout:g} s",
                next="see mqtt.username and mqtt.password in otto.yaml"
                if refusal
                else "otto-run doctor",
            )

    @property
    def connected(self) -> bool:
        """Whether the subscription stands."""
        return self._subscribed.is_set()

    def check(self) -> None:
        """Raises OttoError when a thread of the listener has died."""
        if self._failure is not None:
            raise OttoError(
                "What the agents say cannot be stored",
                cause=str(self._failure),
                next=f"df -h {self._store.parent}",
            )

    def stop(self) -> None:
        """Disconnect and store what is queued."""
        self._subscribed.clear()
        if self._client is not None:
            self._client.on_disconnect = None
            self._client.disconnect()
            # loop_stop() waits without a limit, and a stalled broker makes that long.
            closing = threading.Thread(target=self._client.loop_stop, daemon=True)
            closing.start()
            closing.join(3)
        self._ended.set()
        if self._writer.is_alive():
            self._writer.join(5)

    # ---- in paho's thread

    def _on_connect(
        self, client: mqtt.Client, _data: object, _flags: object, reason: Any, _properties: object
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            return
        self._refusal = ""
        client.subscribe(topic_filter(self._cluster), qos=1)

    def _on_message(self, _client: object, _data: object, raw: mqtt.MQTTMessage) -> None:
        try:
            message = parse(raw.topic, bytes(raw.payload), raw.retain, self._cluster, self._nodes)
        except Refused as reason:
            if str(reason) in self.refused or len(self.refused) < 100:
                self.refused[str(reason)] += 1
            return
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self.lost += 1

    # ---- in our own thread

    def _write(self) -> None:
        try:
            with Store(self._store) as store:
                pruned = 0.0
                while not (self._ended.is_set() and self._queue.empty()):
                    batch = self._gather()
                    if batch:
                        store.add(batch, time.time())
                        for message in batch:
                            self._told(message)
                    if time.monotonic() - pruned > _PRUNE:
                        store.prune(time.time())
                        pruned = time.monotonic()
        except Exception as error:
            self._failure = error

    def _gather(self) -> list[Message]:
        try:
            batch = [self._queue.get(timeout=_PAUSE)]
        except queue.Empty:
            return []
        deadline = time.monotonic() + (0 if self._ended.is_set() else _PAUSE / 2)
        while len(batch) < _BATCH:
            with suppress(queue.Empty):
                batch.append(self._queue.get(timeout=max(0.0, deadline - time.monotonic())))
                continue
            break
        return batch


def _guarded(callback: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception:
            log.exception("a callback of the listener failed")

    return call
