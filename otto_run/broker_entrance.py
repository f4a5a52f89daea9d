# SPDX-License-Identifier: GPL-3.0-or-later
"""Where connections come in at the embedded broker: counted before anything is done for them, and
looked at by nobody until they have said a whole word.

asyncio's own server makes 300 KiB of TLS for a connection that is silent, accepts as many as there
are files, and writes a traceback for each one that there is no file for.
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable

from otto_run.broker_lobby import Guest, Lobby, Stage

log = logging.getLogger(__name__)

LOGIN = 5.0  # seconds for the first word, and as many from there to the login
_BACKLOG = 1024
_BUFFER = 32 * 1024  # bytes, for what was read and is not used yet
_HELLO = 16 * 1024  # bytes of a ClientHello: more do not fit into one record
_HANDSHAKE = 22  # the type of a TLS record
_BREATH = 32  # connections that are accepted in one go
_SHORT = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_ADDRESSES = 50  # that are counted by name

# Bytes of a buffer that every TLS connection has for good: 256 KiB, made for one that downloads.
asyncio.sslproto.SSLProtocol.max_size = _BUFFER

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Callable[[], None]], Awaitable[None]]


class Entrance:
    """Listens on one address. serve: called with each connection whose TLS stands, and with what it
    has to call when the client has logged in; it returns when the connection is over."""

    def __init__(
        self, address: str, port: int, tls: ssl.SSLContext | None, lobby: Lobby, serve: Serve
    ) -> None:
        self._tls = tls
        self._lobby = lobby
        self._serve = serve
        self._due: dict[Guest, asyncio.Task[None]] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._turned_away: Counter[str] = Counter()
        family, kind, protocol, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self._listening = socket.socket(family, kind, protocol)
        try:
            self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                self._listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._listening.setblocking(False)
            self._listening.bind(where)
            self._listening.listen(_BACKLOG)
        except OSError:
            self._listening.close()
            raise

    def open(self) -> None:
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Nobody comes in any more, and who has not logged in goes."""
        if self._accepting is not None:
            self._accepting.cancel()
        for guest, task in self._due.items():
            if not guest.member:
                task.cancel()

    async def wait_closed(self) -> None:
        """Until everybody has gone; members are sent away by the broker."""
        rest = [task for task in (self._accepting, *self._due.values()) if task is not None]
        await asyncio.gather(*rest, return_exceptions=True)
        self._listening.close()

    def turned_away(self) -> Counter[str]:
        """address -> connections that were ended before they had logged in, since the last call.
        May be called from any thread."""
        told, self._turned_away = self._turned_away, Counter()
        return told

    # ---- accepting

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        count = 0
        while True:
            try:
                connection, peer = await loop.sock_accept(self._listening)
            except OSError as error:
                await self._short(error)
                continue
            self._receive(connection, peer[0])
            count += 1
            if count % _BREATH == 0:
                await asyncio.sleep(0)

    async def _short(self, error: OSError) -> None:
        """No file is left, or the connection has gone already."""
        if error.errno not in _SHORT:
            await asyncio.sleep(0)
            return
        victim = self._lobby.crowded()
        if victim is not None:
            self._send_away(victim)
        # The kernel keeps those who wait for us. Without a victim only time helps.
        await asyncio.sleep(0.01 if victim is not None else 0.25)

    def _receive(self, connection: socket.socket, address: str) -> None:
        guest, victim = self._lobby.enter(address)
        if victim is not None:
            self._send_away(victim)
        if guest is None:
            self._count(address)
            connection.close()
            return
        task = asyncio.create_task(self._attend(guest, connection))
        self._due[guest] = task
        task.add_done_callback(lambda _: self._forget(guest, connection))

    def _send_away(self, guest: Guest) -> None:
        self._lobby.leave(guest)
        self._count(guest.home)
        if (task := self._due.get(guest)) is not None:
            task.cancel()

    def _count(self, address: str) -> None:
        counted = self._turned_away
        counted[address if address in counted or len(counted) < _ADDRESSES else "others"] += 1

    def _forget(self, guest: Guest, connection: socket.socket) -> None:
        self._lobby.leave(guest)
        del self._due[guest]
        if guest.stage is Stage.SILENT:  # later, its transport closes it
            connection.close()

    # ---- one connection

    async def _attend(self, guest: Guest, connection: socket.socket) -> None:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(LOGIN):
                await self._first_word(connection)
            async with asyncio.timeout(LOGIN) as patience:

                def logged_in() -> None:
                    self._lobby.log_in(guest)
                    patience.reschedule(None)

                guest.stage = Stage.SHAKING
                reader, writer = await self._streams(connection)
                guest.stage = Stage.ASKING
                await self._serve(reader, writer, logged_in)
        except TimeoutError:
            self._count(guest.home)
        except Exception as error:  # whatever a stranger sends is no fault of the broker
            log.debug("a connection from %s: %r", guest.home, error)
        finally:
            if writer is not None:
                writer.transport.abort()

    async def _streams(
        self, connection: socket.socket
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_BUFFER)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=self._tls,
            ssl_handshake_timeout=LOGIN if self._tls else None,
            ssl_shutdown_timeout=1.0 if self._tls else None,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _first_word(self, connection: socket.socket) -> None:
        """Wait for a byte, with TLS for a whole ClientHello; all of it is left to be read."""
        if self._tls is None:
            await _holds(connection, 1)
            return
        head = await _holds(connection, 5)
        length = int.from_bytes(head[3:5])
        # What is no TLS is told so by TLS.
        if head[0] == _HANDSHAKE and length <= _HELLO:
            await _holds(connection, 5 + length)


async def _holds(connection: socket.socket, size: int) -> bytes:
    """Wait until so many bytes have come. Returns the first five at most. Raises ConnectionError
    when the other side has ended first."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    # The kernel wakes us for all of them, and not for each one that somebody sends by itself.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
    loop.add_reader(connection, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    found = connection.recv(size, socket.MSG_PEEK)
    if len(found) < size:
        raise ConnectionError("it ended before it had said a word")
    return found[:5]
