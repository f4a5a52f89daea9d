# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP to an engine: connections that are kept, one exchange on each at a time. Knows no Docker.

The standard library alone, for the agent: the Docker SDK with requests and urllib3 would keep 5 MB
more on every node, for ever. Modules go by `sdk.Sdk`, which is used in the same way.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

FAILURES = (OSError, ValueError, http.client.HTTPException)
"""What an exchange may raise."""
_KEPT = 10


class Answer(Protocol):
    """What came back: its status at once, its body read once. To be closed, unless `content` was
    asked for, which leaves the connection to others. All that reads may raise one of FAILURES."""

    @property
    def status_code(self) -> int: ...

    def content(self) -> bytes: ...

    def read(self, size: int) -> bytes:
        """The next bytes, at most so many; none at the end."""

    def iter_lines(self) -> Iterator[bytes]:
        """As they come, without their ends."""

    def interrupt(self) -> None:
        """From another thread: the one that reads is at the end; that one closes it."""

    def close(self) -> None: ...


class Carrier(Protocol):
    """A way to an engine. May be used by several threads at once."""

    def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None,
    ) -> Answer:
        """timeout: seconds without a byte, None for ever. Raises one of FAILURES."""

    def close(self) -> None: ...


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Answer:
    def __init__(
        self, wire: Wire, connection: http.client.HTTPConnection, raw: http.client.HTTPResponse
    ) -> None:
        self.status_code = raw.status
        self._raw = raw
        self._wire = wire
        self._connection = connection

    def content(self) -> bytes:
        body = self._raw.read()
        self._wire.free(self._connection, self._raw)
        return body

    def read(self, size: int) -> bytes:
        return self._raw.read1(size)

    def iter_lines(self) -> Iterator[bytes]:
        for line in self._raw:
            yield line.rstrip(b"\r\n")

    def interrupt(self) -> None:
        sock = self._connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._connection.close()


class Wire:
    """An address: `unix:///path` or `tcp://host:port`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._path = parts.path if parts.scheme == "unix" else ""
        self._host, self._port = parts.hostname or "", parts.port or 2375
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []

    def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None,
    ) -> Answer:
        given = {name: value for name, value in (params or {}).items() if value is not None}
        if given:
            path += "?" + urlencode(given)
        content = None
        fields = dict(headers or {})
        if body is not None:
            content = json.dumps(body).encode()
            fields["Content-Type"] = "application/json"
        connection = self._take(timeout)
        try:
            connection.request(method, path, content, fields)
            return _Answer(self, connection, connection.getresponse())
        except BaseException:
            connection.close()
            raise

    def free(self, connection: http.client.HTTPConnection, raw: http.client.HTTPResponse) -> None:
        """An answer was read to its end."""
        with self._lock:
            if not raw.will_close and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self, timeout: float | None) -> http.client.HTTPConnection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                break
            # What can be read before anything was asked is the end: the engine was restarted.
            if connection.sock and not select.select([connection.sock], [], [], 0)[0]:
                connection.sock.settimeout(timeout)
                return connection
            connection.close()
        if self._path:
            return UnixConnection(self._path, timeout)  # type: ignore[arg-type]
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)
