# SPDX-License-Identifier: GPL-3.0-or-later
"""amqtt 0.12 as a broker that strangers may knock at: who may come in, and say and hear what.

amqtt asks its plugins late or not at all: a CONNECT takes over the session of its client id before
the password is looked at, what is retained for others is sent to whoever connects, a last will
goes out unasked, and nothing bounds what is retained, subscribed to or under way. Each of these is
closed here, by overriding the method that has the hole; so amqtt is pinned to the versions whose
methods these are.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from amqtt.broker import Broker
from amqtt.contexts import Action
from amqtt.errors import MQTTError
from amqtt.mqtt.connack import (
    IDENTIFIER_REJECTED,
    NOT_AUTHORIZED,
    SERVER_UNAVAILABLE,
    ConnackPacket,
)

from otto_run.broker_doors import Door
from otto_run.broker_entrance import Entrance
from otto_run.broker_flow import Handler, Inlet, Outlet
from otto_run.broker_lobby import Lobby

if TYPE_CHECKING:
    from amqtt.session import Session

SILENCE = 300  # seconds of keepalive for a client that names none
_WRONG = 0.5  # seconds until a client hears that it is refused: who guesses has to wait
_KEPT = 1024  # bytes that a retained message costs beside its topic and its text


class GuardedBroker(Broker):  # type: ignore[misc]  # amqtt is not typed for strict mypy
    """Listens on one address. tls: the server's context, None for connections in clear."""

    def __init__(self, bind: str, door: Door, tls: ssl.SSLContext | None) -> None:
        super().__init__({"listeners": {"default": {"type": "tcp", "bind": bind}}, "plugins": {}})
        self._door = door
        self._tls = tls
        self._lobby = Lobby(door.members)
        self._telling: set[asyncio.Task[None]] = set()
        self._kept: Counter[str] = Counter()  # user -> bytes of its retained messages
        self._keepers: dict[str, str] = {}  # topic of a retained message -> its user
        self.entrance: Entrance | None = None

    async def _create_server_instance(
        self, listener_name: str, _type: Any, address: str | None, port: int, _ssl: Any
    ) -> Entrance:
        serve = partial(self._attend, listener_name)
        self.entrance = Entrance(address or "", port, self._tls, self._lobby, serve)
        self.entrance.open()
        return self.entrance

    async def shutdown(self) -> None:
        # First, or clients would be back before the last one is sent away.
        if self.entrance is not None:
            self.entrance.close()
        for task in self._telling:
            task.cancel()
        await super().shutdown()

    # ---- coming in

    async def _attend(
        self,
        listener_name: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        logged_in: Callable[[], None],
    ) -> None:
        inlet = Inlet(reader, logged_in)
        await self._client_connected(listener_name, inlet, Outlet(writer))

    async def _initialize_client_session(
        self, reader: Inlet, writer: Outlet, remote_address: str, remote_port: int
    ) -> tuple[Handler, Session]:
        """Nothing of others is touched before the client has shown who it is."""
        handler, session = await Handler.init_from_connect(
            reader, writer, self.plugins_manager, self._loop
        )
        refusal = self._refusal(session)
        if refusal is not None:
            await asyncio.sleep(_WRONG)
            with contextlib.suppress(OSError):
                await ConnackPacket.build(0, refusal).to_stream(writer)
            await writer.close()
            raise MQTTError(f"refused {session.client_id} from {remote_address}:{remote_port}")
        reader.logged_in()
        handler.welcome(self._door.limits(session.username or ""), reader)
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
        others = sum(
            other.username == name
            and other.client_id != session.client_id
            and other.transitions.state != "disconnected"
            for other, _ in self._sessions.values()
        )
        return int(SERVER_UNAVAILABLE) if others >= door.limits(name).connections else None

    async def _end_former(self, client_id: str) -> None:
        """End the connection that has this id; amqtt would leave it open, forgotten."""
        former, handler = self._sessions.pop(client_id, (None, None))
        if former is not None:
            await self._del_all_subscriptions(former)
            former.clear_queues()
        if handler is not None:
            await handler.handle_connection_closed()

    async def _authenticate(self, session: Session, _listener: Any) -> bool:
        return self._refusal(session) is None

    # ---- saying

    def _may_publish(self, session: Session, topic: str) -> bool:
        wild = not topic or topic.startswith("$") or "+" in topic or "#" in topic
        return not wild and self._door.may_write(session.username or "", topic)

    async def _handle_message_delivery(
        self, client_session: Session, handler: Handler, wait_deliver: asyncio.Future[Any]
    ) -> bool:
        """A client's message goes to all who may hear it. What it may not say is dropped."""
        message = wait_deliver.result()
        if message is None:
            return True
        released = partial(handler.release, len(message.data))
        if not self._may_publish(client_session, message.topic):
            released()
            return True
        self._hand_out(message.topic, message.data, None, released)
        if message.publish_packet.retain_flag:
            await self.retain_message(client_session, message.topic, message.data, message.qos)
        return True

    async def _broadcast_message(
        self, _session: Session | None, topic: str, data: bytes, force_qos: int | None = None
    ) -> None:
        """A last will."""
        self._hand_out(topic, data, force_qos, lambda: None)

    def _hand_out(self, topic: str, data: bytes, qos: int | None, done: Callable[[], None]) -> None:
        """done: called when nobody is left to be told."""
        left = 1

        def one_less(task: asyncio.Task[None] | None = None) -> None:
            nonlocal left
            left -= 1
            if task is not None:
                self._telling.discard(task)
            if not left:
                done()

        for a_filter, hearers in self._subscriptions.items():
            if not self._matches(topic, a_filter):
                continue
            for session, granted in hearers:
                handler = self._get_handler(session)
                if handler is None or not self._door.may_read(session.username or "", topic):
                    continue
                wanted = granted if qos is None else qos
                task = asyncio.ensure_future(handler.tell(topic, data, wanted))
                left += 1
                self._telling.add(task)
                task.add_done_callback(one_less)
        one_less()

    async def retain_message(
        self,
        source_session: Session | None,
        topic_name: str | None,
        data: bytes | bytearray | None,
        qos: int | None = None,
    ) -> None:
        """What is more than its user may keep is not kept, nor is what stood there before."""
        if source_session is None or topic_name is None:
            return
        user, text = source_session.username or "", data or b""
        cost = _KEPT + len(topic_name) + len(text)
        before = self._retained_messages.get(topic_name)
        if before is not None:
            held = _KEPT + len(topic_name) + len(before.data)
            self._kept[self._keepers.pop(topic_name)] -= held
        if text and self._kept[user] + cost > self._door.limits(user).kept:
            text = b""
        if text:
            self._kept[user] += cost
            self._keepers[topic_name] = user
        await super().retain_message(source_session, topic_name, text, qos)

    # ---- hearing

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        if action == Action.PUBLISH:
            return self._may_publish(session, topic)
        return self._door.may_read(session.username or "", topic)

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        handler = self._get_handler(session)
        a_filter, qos = subscription
        if handler is None or not handler.may_have(a_filter):
            return 0x80
        granted = int(await super().add_subscription((a_filter, min(qos, 1)), session))
        if granted != 0x80:
            handler.filters.add(a_filter)
        return granted

    def _del_subscription(self, a_filter: str, session: Session) -> int:
        handler = self._get_handler(session)
        if handler is not None:
            handler.filters.discard(a_filter)
        return int(super()._del_subscription(a_filter, session))

    async def _handle_unsubscription(
        self, client_session: Session, handler: Handler, unsubscribe_waiter: asyncio.Future[Any]
    ) -> None:
        await super()._handle_unsubscription(client_session, handler, unsubscribe_waiter)
        for a_filter in unsubscribe_waiter.result().topics:
            # amqtt would keep every filter that anybody ever had.
            if a_filter in self._subscriptions and not self._subscriptions[a_filter]:
                del self._subscriptions[a_filter]

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        topic_filter, qos = subscription
        # On connect, amqtt asks for everybody's subscriptions.
        if not any(own is session for own, _ in self._subscriptions.get(topic_filter, ())):
            return
        handler = self._get_handler(session)
        told = [
            handler.tell(one.topic, one.data, min(qos, one.qos or qos), retain=True)
            for topic, one in list(self._retained_messages.items())
            if handler is not None
            and self._matches(topic, topic_filter)
            and self._door.may_read(session.username or "", topic)
        ]
        await asyncio.gather(*told)
