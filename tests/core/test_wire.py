# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ways to an engine: connections that are kept, that have ended, that are interrupted."""

from __future__ import annotations

import http.server
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.sdk import Sdk
from ansible_collections.otto.cluster.plugins.module_utils.transport import root_of
from ansible_collections.otto.cluster.plugins.module_utils.wire import FAILURES, Carrier, Wire


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.connections.add(self.connection.fileno())  # type: ignore[attr-defined]
        if self.path == "/slow":
            time.sleep(1.0)
        self.send_response(200)
        if self.path == "/events":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"6\r\n{one}\n\r\n")
            self.server.ended.wait(20)  # type: ignore[attr-defined]
            return
        body = f"{self.command} {self.path}".encode()
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/last":
            self.close_connection = True  # and no word of it, as a server that is killed
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None: ...


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)
        self.connections: set[int] = set()
        self.ended = threading.Event()


@pytest.fixture(params=[Wire, Sdk])
def wire(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Carrier]:
    server = Server(str(tmp_path / "s"))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    one: Carrier = request.param(f"unix://{tmp_path}/s")
    yield one
    one.close()
    server.ended.set()
    server.shutdown()
    server.server_close()


def get(wire: Carrier, path: str, **params: object) -> bytes:
    return wire.exchange("GET", path, params=params, timeout=5).content()


def test_parameters(wire: Carrier) -> None:
    """What is not set is left out."""
    assert get(wire, "/a", since=None, filters='{"a b"}') == b"GET /a?filters=%7B%22a+b%22%7D"


def test_a_kept_connection_that_has_ended_is_not_used(wire: Carrier) -> None:
    """The engine was restarted: the next request goes over a new one, and no one is repeated."""
    assert get(wire, "/last") == b"GET /last"
    time.sleep(0.1)  # the end of the connection is on its way
    assert get(wire, "/b") == b"GET /b"


def test_silence_ends(wire: Carrier) -> None:
    with pytest.raises(FAILURES) as raised:
        wire.exchange("GET", "/slow", timeout=0.1)
    assert "timed out" in str(root_of(raised.value))


def test_a_stream_is_interrupted_from_outside(wire: Carrier) -> None:
    answer = wire.exchange("GET", "/events", timeout=None)
    lines: list[bytes] = []

    def read() -> None:
        try:
            lines.extend(answer.iter_lines())
        except FAILURES:
            lines.append(b"broken")

    reader = threading.Thread(target=read)
    reader.start()
    answer.interrupt()
    reader.join(5)
    assert not reader.is_alive()
    answer.close()


@pytest.mark.parametrize("kind", [Wire, Sdk])
def test_nobody_there(kind: Callable[[str], Carrier], tmp_path: Path) -> None:
    with pytest.raises(FAILURES) as raised:
        kind(f"unix://{tmp_path}/none").exchange("GET", "/", timeout=1)
    assert isinstance(root_of(raised.value), FileNotFoundError)


def test_a_body_in_pieces(wire: Carrier) -> None:
    answer = wire.exchange("GET", "/pieces", timeout=5)
    read = b""
    while piece := answer.read(4):
        assert len(piece) <= 4
        read += piece
    answer.close()
    assert read == b"GET /pieces"
