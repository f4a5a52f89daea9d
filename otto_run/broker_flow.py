# SPDX-License-Identifier: GPL-3.0-or-later
"""One client's connection at the embedded broker, bounded in what it makes the broker hold.

amqtt makes a task of each packet and an entry of each message, as fast as they come, and waits for
ever for a client that does not read. Here a client that has enough under way is not read from until
some of it is done, and one that does not take what it is sent is sent away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from amqtt.adapters import StreamWriterAdapter
from amqtt.mqtt.packet import PUBLISH
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.session import IncomingApplicationMessage

from otto_run.pace import Bucket

if TYPE_CHECKING:
    from otto_run.broker_doors import Limits

log = logging.getLogger(__name__)

LARGEST = 1 << 20  # bytes of a message: a report of hundreds of services is a tenth of it
_SMALL = 16 * 1024  # bytes of every other packet, and of what a stranger sends
_WHOLE = 60.0  # seconds that a packet may take from its first byte to its last
_SLOW = 10.0  # seconds that a client may take to read one packet
_GOODBYE = 2.0  # seconds to close a connection in good order
_ANSWERS = 16  # packets for a client, and requests of it, that wait for their turn
_FILTERS = 64  # that one client is subscribed to
_UNIT = 16 * 1024  # bytes that count as one packet more in a client's pace


class Inlet:
    """What a client says: the reader that amqtt asks. It counts along where packets end, takes none
    that is too large, and waits between two for `gate` (given the size of the one before).

    amqtt believes the length that a packet's header names, and reads on.
    """

    def __init__(self, reader: asyncio.StreamReader, logged_in: Callable[[], None]) -> None:
        """logged_in: to be called when its client has shown who it is."""
        self.logged_in = logged_in
        self._reader = reader
        self._header: list[int] = []
        self._left = 0
        self._size = 0
        self._until = 0.0
        self.gate: Callable[[int], Awaitable[None]] | None = None
        self.over = False

    async def read(self, n: int = -1) -> bytes:
        first = not self._header and not self._left
        if first and self.gate is not None:
            await self.gate(self._size)
        if self.over:
            raise ConnectionError("the connection is being closed")
        if not 0 <= n <= (self._left or 1):
            # Not MQTTError: amqtt would go on reading in the midst of a packet.
            raise ConnectionError("a malformed packet")
        try:
            async with asyncio.timeout_at(None if first else self._until):
                data = await self._reader.readexactly(n)
        except TimeoutError:
            raise ConnectionError("a packet that does not end") from None
        if self._left:
            self._left -= len(data)
        elif data:
            if first:
                self._until = asyncio.get_running_loop().time() + _WHOLE
            self._count(data[0])
        return data

    def _count(self, byte: int) -> None:
        self._header.append(byte)
        if len(self._header) == 1 or byte & 0x80:
            return
        kind, *lengths = self._header
        self._left = sum((value & 0x7F) << (7 * place) for place, value in enumerate(lengths))
        self._size = self._left
        self._header = []
        message = kind >> 4 == PUBLISH and self.gate is not None
        if self._left > (LARGEST if message else _SMALL):
            raise ConnectionError(f"a packet of {self._left} bytes")

    def feed_eof(self) -> None:
        self._reader.feed_eof()


class Outlet(StreamWriterAdapter):  # type: ignore[misc]  # amqtt is not typed for strict mypy
    """What a client is told. amqtt would wait for ever to close one that does not read."""

    async def close(self) -> None:
        with contextlib.suppress(OSError):  # also TimeoutError
            async with asyncio.timeout(_GOODBYE):
                await super().close()
        self._writer.transport.abort()


class Handler(BrokerProtocolHandler):  # type: ignore[misc]
    """amqtt's side of one connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits: Limits | None = None
        self._pace: Bucket | None = None
        self._said = self._said_bytes = 0
        self._heard = self._heard_bytes = 0
        self._answering = 0
        self._room = asyncio.Event()
        self._over = False
        self.filters: set[str] = set()

    def welcome(self, limits: Limits, inlet: Inlet) -> None:
        """It has logged in."""
        self._limits = limits
        if limits.pace is not None:
            self._pace = Bucket(limits.pace, limits.pace, self._loop.time())
        inlet.gate = self._gate

    # ---- what it says

    async def _gate(self, size: int) -> None:
        """Wait until there is room for another packet, and let the others have their turn."""
        await asyncio.sleep(0)
        while self._full() and not self._over:
            self._room.clear()
            await self._room.wait()
        if self._pace is not None:
            wait = self._pace.owe(1 + size // _UNIT, self._loop.time())
            if wait > 0:
                await asyncio.sleep(wait)

    def _full(self) -> bool:
        limits = self._limits
        assert limits is not None
        asked = self._pending_subscriptions.qsize() + self._pending_unsubscriptions.qsize()
        return (
            self._said >= limits.said
            or self._said_bytes >= limits.said_bytes
            or self._answering + asked >= _ANSWERS
        )

    async def handle_publish(self, packet: Any) -> None:
        session, variable = self.session, packet.variable_header
        if session is None or variable is None or packet.topic_name is None or packet.data is None:
            return
        if packet.qos > 1:  # what amqtt keeps of it until a PUBREL comes has no bound
            await self.handle_connection_closed()
            return
        message = IncomingApplicationMessage(
            variable.packet_id, packet.topic_name, packet.qos, packet.data, packet.retain_flag
        )
        message.publish_packet = packet
        self._said += 1
        self._said_bytes += len(packet.data)
        session.delivered_message_queue.put_nowait(message)
        if packet.qos == 1:
            await self._send_packet(PubackPacket.build(variable.packet_id))

    def release(self, size: int) -> None:
        """Everybody has heard a message that it said, or nobody may."""
        self._said -= 1
        self._said_bytes -= size
        self._room.set()

    async def get_next_pending_subscription(self) -> Any:
        found = await super().get_next_pending_subscription()
        self._room.set()
        return found

    async def get_next_pending_unsubscription(self) -> Any:
        found = await super().get_next_pending_unsubscription()
        self._room.set()
        return found

    def may_have(self, a_filter: str) -> bool:
        """Whether it may be subscribed to one more."""
        return a_filter in self.filters or len(self.filters) < _FILTERS

    # ---- what it hears

    async def tell(self, topic: str, data: bytes, qos: int, retain: bool = False) -> None:
        """Send it a message; returns when it has it, or is known not to take it."""
        limits = self._limits
        if limits is None or self._over:
            return
        if self._heard >= limits.heard or self._heard_bytes + len(data) > limits.heard_bytes:
            await self.handle_connection_closed()
            return
        self._heard += 1
        self._heard_bytes += len(data)
        try:
            await self.mqtt_publish(topic, data, min(qos, 1), retain)
        except Exception as error:  # one who cannot be told has gone, or is not worth waiting for
            log.debug("a message to %s: %r", self.session, error)
        finally:
            self._heard -= 1
            self._heard_bytes -= len(data)
            self._room.set()

    async def _send_packet(self, packet: Any) -> None:
        if self.writer is None:
            return
        answer = not isinstance(packet, PublishPacket)
        self._answering += answer
        try:
            async with asyncio.timeout(_SLOW), self._write_lock:
                await packet.to_stream(self.writer)
        except OSError:  # also TimeoutError: it does not read
            await self.handle_connection_closed()
        finally:
            self._answering -= answer
            self._room.set()

    # ---- its end

    async def stop(self) -> None:
        # In Python 3.11 a cancellation is lost when a packet comes in the same moment, and amqtt
        # would wait for its reader for ever.
        self._over = True
        self._room.set()
        if self.reader is not None:
            self.reader.over = True
        await super().stop()

    def handle_read_timeout(self) -> None:
        """Its keepalive has passed; amqtt would wait on, and no will be told."""
        if self._reader_task is not None:
            self._reader_task.cancel()
