# SPDX-License-Identifier: GPL-3.0-or-later
"""amqtt 0.12 as a broker that strangers may knock at: who may come in, and say and hear what.

amqtt asks its plugins late or not at all: a CONNECT takes over the session of its client id before
the password is looked at, what is retained for others is sent to whoever connects, a last will
goes out unasked, and nothing bounds a packet or a silence. Each of these is closed here, by
overriding the method that has the hole; so amqtt is pinned to the versions whose methods these are.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from amqtt.broker import Broker
from amqtt.contexts import Action
from amqtt.errors import MQTTError
from amqtt.mqtt.connack import IDENTIFIER_REJECTED, NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import CONTROL
from ansible_collections.otto.cluster.plugins.plugin_utils import accounts

if TYPE_CHECKING:
    from amqtt.session import Session

LARGEST = 1 << 20  # bytes of a packet: a report of hundreds of services is a tenth of it
FIRST_WORDS = 10.0  # seconds that a stranger may take for its handshake, and for its CONNECT
SILENCE = 300  # seconds of keepalive for a client that names none


class Door(Protocol):
    """Who is let in, and what for."""

    def admits(self, username: str, password: str) -> bool: ...
    def owns_id(self, username: str, client_id: str) -> bool: ...
    def may_write(self, username: str, topic: str) -> bool: ...
    def may_read(self, username: str, topic: str) -> bool:
        """topic: also a filter; all that it matches has to be allowed."""
        ...

    @property
    def most(self) -> int:
        """Connections at a time."""
        ...


@dataclass(frozen=True)
class Shared:
    """One user name and password for all, as `mqtt` in otto.yaml says: no limits among them."""

    username: str
    password: str = field(repr=False)
    most: int = 2000

    def admits(self, username: str, password: str) -> bool:
        return _same(self.username, username) & _same(self.password, password)

    def owns_id(self, username: str, client_id: str) -> bool:  # noqa: ARG002
        return True

    def may_write(self, username: str, topic: str) -> bool:  # noqa: ARG002
        return True

    def may_read(self, username: str, topic: str) -> bool:  # noqa: ARG002
        return True


@dataclass(frozen=True)
class Members:
    """Every node under its own name, and the control plane.

    passwords: all that count now for a node id or `otto-run`; asked at every connection.
    """

    cluster: str
    nodes: Collection[str]
    passwords: Callable[[str], Collection[str]]

    @property
    def most(self) -> int:
        # Half-open connections of a partition count until their keepalive has passed.
        return 100 + 3 * len(self.nodes)

    def admits(self, username: str, password: str) -> bool:
        member = self._member(username)
        if member is None:
            return False
        return any(_same(known, password) for known in self.passwords(member))

    def owns_id(self, username: str, client_id: str) -> bool:
        member = self._member(username)
        return member is not None and accounts.owns_id(self.cluster, member, client_id)

    def may_write(self, username: str, topic: str) -> bool:
        member = self._member(username)
        return member is not None and accounts.within(topic, accounts.writes(self.cluster, member))

    def may_read(self, username: str, topic: str) -> bool:
        member = self._member(username)
        return member is not None and accounts.within(topic, accounts.reads(self.cluster, member))

    def _member(self, username: str) -> str | None:
        cluster, slash, member = username.partition("/")
        if cluster == self.cluster and slash and (member == CONTROL or member in self.nodes):
            return member
        return None


def _same(known: str, given: str) -> bool:
    return hmac.compare_digest(known.encode(), given.encode("utf-8", "surrogatepass"))


class GuardedBroker(Broker):  # type: ignore[misc]  # amqtt is not typed for strict mypy
    """Listens on one address. tls: the server's context, None for connections in clear."""

    def __init__(self, bind: str, door: Door, tls: ssl.SSLContext | None) -> None:
        listener = {"type": "tcp", "bind": bind, "max_connections": door.most}
        super().__init__({"listeners": {"default": listener}, "plugins": {}})
        self._door = door
        self._tls = tls

    async def _create_server_instance(
        self, listener_name: str, _type: Any, address: str | None, port: int, _ssl: Any
    ) -> asyncio.Server:
        return await asyncio.start_server(
            partial(self.stream_connected, listener_name=listener_name),
            address,
            port,
            reuse_address=True,
            backlog=1024,
            ssl=self._tls,
            ssl_handshake_timeout=FIRST_WORDS if self._tls else None,
        )

    async def shutdown(self) -> None:
        # First, or clients would be back before the last one is sent away.
        for server in self._servers.values():
            server.instance.close()
        await super().shutdown()

    async def _client_connected(self, listener_name: str, reader: Any, writer: Any) -> None:
        # A reset connection is no fault of the broker.
        with contextlib.suppress(OSError):
            await super()._client_connected(listener_name, _Bounded(reader), writer)

    async def _initialize_client_session(
        self, reader: Any, writer: Any, remote_address: str, remote_port: int
    ) -> tuple[Any, Session]:
        """Nothing of others is touched before the client has shown who it is."""
        try:
            async with asyncio.timeout(FIRST_WORDS):
                handler, session = await _Handler.init_from_connect(
                    reader, writer, self.plugins_manager, self._loop
                )
        except MQTTError:
            await writer.close()
            raise
        except (
            Exception
        ) as error:  # whatever a stranger sends, the count of connections stays right
            await _gone(writer)
            raise MQTTError(f"no CONNECT from {remote_address}:{remote_port}: {error!r}") from error
        refusal = self._refusal(session)
        if refusal is not None:
            with contextlib.suppress(OSError):
                await ConnackPacket.build(0, refusal).to_stream(writer)
            await _gone(writer)
            raise MQTTError(f"refused {session.client_id} of {session.username}")
        # What a session keeps while its client is away has no bound in amqtt, and Otto's clients
        # keep it themselves: there are clean sessions only.
        session.clean_session = True
        session.parent = 0
        session.keep_alive = int(1.5 * (session.keep_alive or SILENCE))
        await self._end_former(session.client_id or "")
        return handler, session

    def _refusal(self, session: Session) -> int | None:
        """A return code of CONNACK, None for one who is welcome."""
        name, door = session.username or "", self._door
        if not door.admits(name, session.password or ""):
            return int(NOT_AUTHORIZED)
        if not session.client_id or not door.owns_id(name, session.client_id):
            return int(IDENTIFIER_REJECTED)
        if session.will_flag and not self._may_publish(session, session.will_topic or ""):
            return int(NOT_AUTHORIZED)
        return None

    async def _end_former(self, client_id: str) -> None:
        """End the connection that has this id; amqtt would leave it open, forgotten."""
        former, handler = self._sessions.pop(client_id, (None, None))
        if former is not None:
            await self._del_all_subscriptions(former)
            former.clear_queues()
        if handler is not None:
            await handler.handle_connection_closed()

    def _may_publish(self, session: Session, topic: str) -> bool:
        wild = not topic or topic.startswith("$") or "+" in topic or "#" in topic
        return not wild and self._door.may_write(session.username or "", topic)

    async def _authenticate(self, session: Session, _listener: Any) -> bool:
        return self._refusal(session) is None

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        if action is Action.PUBLISH:
            return self._may_publish(session, topic)
        return self._door.may_read(session.username or "", topic)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        topic_filter, qos = subscription
        # On connect, amqtt asks for everybody's subscriptions.
        if not any(own is session for own, _ in self._subscriptions.get(topic_filter, ())):
            return
        handler = self._get_handler(session)
        told = [
            handler.mqtt_publish(one.topic, one.data, min(qos, one.qos or qos), retain=True)
            for topic, one in list(self._retained_messages.items())
            if handler is not None
            and self._matches(topic, topic_filter)
            and self._door.may_read(session.username or "", topic)
        ]
        await asyncio.gather(*told, return_exceptions=True)


class _Handler(BrokerProtocolHandler):  # type: ignore[misc]
    """Ends a connection whose keepalive has passed; amqtt would wait on, and no will be told."""

    async def stop(self) -> None:
        # In Python 3.11 a cancellation is lost when a packet comes in the same moment, and amqtt
        # would wait for its reader for ever.
        if self.reader is not None:
            self.reader.over = True
        await super().stop()

    def handle_read_timeout(self) -> None:
        if self._reader_task is not None:
            self._reader_task.cancel()


class _Bounded:
    """A reader that counts along where packets end, and takes none larger than LARGEST.

    amqtt believes the length that a packet's header names, and reads on.
    """

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._header: list[int] = []
        self._left = 0
        self.over = False

    async def read(self, n: int = -1) -> bytes:
        if self.over:
            raise ConnectionError("the connection is being closed")
        if not 0 <= n <= (self._left or 1):
            # Not MQTTError: amqtt would go on reading in the midst of a packet.
            raise ConnectionError("a malformed packet")
        data: bytes = await self._reader.read(n)
        if self._left:
            self._left -= len(data)
        elif data:
            self._count(data[0])
        return data

    def _count(self, byte: int) -> None:
        self._header.append(byte)
        if len(self._header) == 1 or byte & 0x80:
            return
        lengths = self._header[1:]
        self._left = sum((value & 0x7F) << (7 * place) for place, value in enumerate(lengths))
        self._header = []
        if self._left > LARGEST:
            raise ConnectionError(f"a packet of {self._left} bytes")

    def feed_eof(self) -> None:
        self._reader.feed_eof()


async def _gone(writer: Any) -> None:
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        async with asyncio.timeout(2):
            await writer.close()
