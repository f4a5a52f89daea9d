# SPDX-License-Identifier: GPL-3.0-or-later
"""Hears what the agents say, hands it to the store in batches, and acks what is stored.

The network's thread only parses and queues; a thread of our own writes. When the store is behind
with what all say, the network waits; what one node says beyond its share is not taken in. What a
broker drops, and what is not taken, has no ack and comes again. An exception in a paho callback
would end its thread while `is_connected()` stays true, so every callback is wrapped.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.otto.cluster.plugins.module_utils import tls
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed

from otto_run import messages
from otto_run.hearing import Meter, Refusals, Turns
from otto_run.messages import Message, Refused, parse
from otto_run.network import Network
from otto_run.store import Store

if TYPE_CHECKING:
    import paho.mqtt.client as mqtt

log = logging.getLogger(__name__)

_BATCH = 500
_PAUSE = 0.2  # seconds in which messages gather to one transaction
_PRUNE = 600.0


class Listener:
    """Subscribes to one cluster. `told` is called with every stored message, in the writer thread.

    broker: `Access` of the control plane (host, port, username, password, keepalive, ca).
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
        self._meter = Meter()
        self._turns = Turns()
        self._ended = threading.Event()
        self._subscribed = threading.Event()
        self._client: mqtt.Client | None = None
        self._network: Network | None = None
        self._writer = threading.Thread(target=self._write, name="listener", daemon=True)
        self._failure: Exception | None = None
        self._refusal = ""
        self.refusals = Refusals()
        self._id = secrets.token_hex(4)

    def start(self, timeout: float = 10.0) -> None:
        """Connect and subscribe. Raises OttoError when that does not come about in time."""
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            # Two clients with one id would take the connection from each other for ever.
            client_id=f"otto-run-{self._cluster}-{self._id}",
            protocol=mqtt.MQTTv311,
        )
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._broker.password or None)
        if self._broker.ca:
            client.tls_set_context(tls.context(self._broker.ca))
        # Acks for a broker that does not take them; a lost one only costs a repetition.
        client.max_queued_messages_set(1000)
        # An ack does not wait for the broker's word about the ones before it: in a flood that comes
        # late.
        client.max_inflight_messages_set(1000)
        client.on_connect = _guarded(self._on_connect)
        client.on_subscribe = _guarded(self._on_subscribe)
        client.on_disconnect = _guarded(lambda *_: self._subscribed.clear())
        client.on_message = _guarded(self._on_message)
        self._client = client
        where = f"{self._broker.host}:{self._broker.port}"
        try:
            with tls.greeting(self._broker.ca):
                client.connect(self._broker.host, self._broker.port, keepalive=20)
        except OSError as error:
            why = tls.trouble(error)
            raise OttoError(
                f"Cannot reach the MQTT broker at {where}",
                cause=why.cause if why else error.strerror or str(error),
                next=why.next if why else "otto-run doctor",
            ) from error
        self._writer.start()
        self._network = Network(client)
        self._network.start()
        if not self._subscribed.wait(timeout):
            refusal = self._refusal
            self.stop()
            raise OttoError(
                f"The MQTT broker at {where} does not let otto-run in",
                cause=refusal or f"no answer within {timeout:g} s",
                next="see mqtt.username and mqtt.password in otto.yaml; or, where it names none:"
                " otto-run apply   (gives a broker on a node Otto's account)"
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
                next=typed("df -h {}", self._store.parent),
            )

    def look(self) -> None:
        """Have every agent look at its Docker now and report."""
        for node in self._nodes:
            self._say(node, "cmd", messages.look())

    def stop(self) -> None:
        """Disconnect and store what is queued."""
        self._subscribed.clear()
        if self._client is not None and self._network is not None:
            self._client.on_disconnect = None
            self._network.stop(3)
        self._ended.set()
        if self._writer.is_alive():
            self._writer.join(5)

    # ---- in the network's thread

    def _on_connect(
        self, client: mqtt.Client, _data: object, _flags: object, reason: Any, _properties: object
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            return
        self._refusal = ""
        client.subscribe([(filter, 1) for filter in messages.topic_filters(self._cluster)])

    def _on_subscribe(
        self, _client: object, _data: object, _mid: int, reasons: list[Any], _properties: object
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._refusal = f"the subscription was refused: {refused[0]}"
            return
        self._subscribed.set()
        for node in self._nodes:
            self._say(node, "ack", messages.hello(self._id))

    def _on_message(self, _client: object, _data: object, raw: mqtt.MQTTMessage) -> None:
        size = len(raw.payload)
        sender, kind = messages.sender(raw.topic, self._cluster, self._nodes)
        # Before it is looked at: a broker drops what others say while we are slow.
        if sender and kind != messages.STATUS and self._turns.full(sender):
            self._meter.drop(sender)
            return
        if sender and not self._meter.admits(sender, kind, size, time.monotonic()):
            return
        try:
            message = parse(raw.topic, bytes(raw.payload), raw.retain, self._cluster, self._nodes)
        except Refused as reason:
            self.refusals.add(reason)
            if reason.instead is None:
                return
            message = reason.instead
        if not self._turns.put(message, size, self._over):
            self._meter.drop(message.node)

    def _over(self) -> bool:
        return self._ended.is_set() or self._failure is not None

    def _say(self, node: str, kind: str, payload: bytes) -> None:
        if self._client is not None:
            topic = messages.topic(self._cluster, node, kind)
            self._client.publish(topic, payload, qos=1)

    # ---- in our own thread

    def _write(self) -> None:
        try:
            with Store(self._store) as store:
                pruned = 0.0
                while not (self._ended.is_set() and self._turns.empty):
                    gather = 0.0 if self._ended.is_set() else _PAUSE / 2
                    batch = self._turns.take(_BATCH, _PAUSE, gather)
                    batch += self._meter.told(time.monotonic())
                    if batch:
                        batch += store.add(batch, time.time())
                        for node, ack in messages.acks(self._id, batch).items():
                            self._say(node, "ack", ack)
                        for message in batch:
                            self._told(message)
                    if time.monotonic() - pruned > _PRUNE:
                        store.prune(time.time())
                        pruned = time.monotonic()
        except Exception as error:
            self._failure = error


def _guarded(callback: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception:
            log.exception("a callback of the listener failed")

    return call
