# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to a broker by somebody who means it ill: connections of every kind."""

from __future__ import annotations

import socket
import ssl
import struct

from ansible_collections.otto.cluster.plugins.module_utils import tls
from ansible_collections.otto.cluster.plugins.plugin_utils import accounts
from ansible_collections.otto.cluster.plugins.plugin_utils.access import access

from tests.security.conftest import CLUSTER, Site


def raw(site: Site) -> socket.socket:
    """TCP, and not a word."""
    return socket.create_connection((site.mqtt.host, site.mqtt.port), 10)


def half_a_hello(site: Site) -> socket.socket:
    made = raw(site)
    made.sendall(hello(site)[:-20])
    return made


def stalled(site: Site) -> socket.socket:
    """A whole ClientHello, then nothing: TLS that never comes about."""
    made = raw(site)
    made.sendall(hello(site))
    return made


def silent(site: Site) -> ssl.SSLSocket:
    """TLS, but no CONNECT."""
    context = tls.context(site.pki.trusted())
    return context.wrap_socket(raw(site), server_hostname=site.mqtt.host)


def hello(site: Site) -> bytes:
    """The ClientHello of an agent."""
    sent = ssl.MemoryBIO()
    context = tls.context(site.pki.trusted())
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=site.mqtt.host)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError("a handshake without a server")


def logged_in(site: Site, name: str, client_id: str, keepalive: int = 60) -> ssl.SSLSocket:
    """A member that does by hand what it likes."""
    made = silent(site)
    mine = access(site.mqtt, site.state, CLUSTER, name)
    made.sendall(connect(client_id, accounts.user(CLUSTER, name), mine.password or "", keepalive))
    assert made.recv(4) == b"\x20\x02\x00\x00"
    return made


def connect(client_id: str, username: str, password: str, keepalive: int = 60) -> bytes:
    words = [client_id, username, password]
    body = b"\x00\x04MQTT\x04\xc2" + struct.pack("!H", keepalive)
    return packet(0x10, body + b"".join(map(text, words)))


def publish(
    topic: str, payload: bytes, qos: int = 0, retain: bool = False, number: int = 1
) -> bytes:
    head = text(topic) + (struct.pack("!H", number) if qos else b"")
    return packet(0x30 | qos << 1 | retain, head + payload)


def subscribe(*filters: str) -> bytes:
    return packet(0x82, b"\x00\x01" + b"".join(text(one) + b"\x01" for one in filters))


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + length(len(body)) + body


def length(number: int) -> bytes:
    """As MQTT writes it: seven bits a byte."""
    found = bytearray()
    while number > 127:
        found.append(number % 128 | 128)
        number //= 128
    return bytes([*found, number])


def text(value: str) -> bytes:
    return struct.pack("!H", len(value)) + value.encode()


def ends(connection: socket.socket, seconds: float = 10) -> bool:
    """Whether the broker ends it within that time, after what it has said till then."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
