# SPDX-License-Identifier: GPL-3.0-or-later
"""The MQTT broker: where it is, and one of our own where nobody else runs it.

The rule: when `mqtt.host` is an address of this machine and nothing answers there, `otto-run up`
is the broker. It binds that one address and no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.otto.cluster.plugins.module_utils import tls
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.otto.cluster.plugins.module_utils.cluster import Cluster, Mqtt
    from ansible_collections.otto.cluster.plugins.plugin_utils.access import Access
    from ansible_collections.otto.cluster.plugins.plugin_utils.credentials import (
        Account,
        Credentials,
    )
    from ansible_collections.otto.cluster.plugins.plugin_utils.pki import Pair

    from otto_run.broker_doors import Door
    from otto_run.broker_guard import GuardedBroker

log = logging.getLogger(__name__)

_START = 10.0  # seconds for the embedded broker to come up, and to go down


def addresses(host: str) -> list[str]:
    """What a host name means, IPv4 first. Raises OttoError."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise OttoError(
            f"mqtt.host {host} has no address",
            cause=error.strerror or str(error),
            next="write the control machine's address under mqtt.host in otto.yaml",
        ) from error
    return list(dict.fromkeys(str(item[4][0]) for item in sorted(found, key=lambda i: i[0])))


def is_here(address: str) -> bool:
    """Whether an address belongs to this machine: only then may it be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def answers(host: str, port: int, timeout: float = 2.0) -> bool:
    """Whether something takes a TCP connection there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout):
        return True
    return False


def handshake(access: Access) -> tls.Trouble | None:
    """What is wrong with the broker's TLS, seen from here; None where all is well, or there is to
    be none. Raises OSError when it is not reached at all."""
    if not access.ca:
        return None
    with socket.create_connection((access.host, access.port), 5) as raw:
        try:
            with tls.greeting(access.ca):
                tls.context(access.ca).wrap_socket(raw, server_hostname=access.host).close()
        except ssl.SSLError as error:
            return tls.trouble(error)
    return None


def local_address(host: str) -> str | None:
    """The address to bind when `host` is this machine, else None."""
    return next((address for address in addresses(host) if is_here(address)), None)


class EmbeddedBroker:
    """amqtt in a thread with an event loop of its own. MQTT 3.1.1, retained messages in memory."""

    def __init__(
        self, address: str, port: int, door: Door, certificate: Pair | None = None
    ) -> None:
        """certificate: what it shows; None for connections in clear."""
        self.address = address
        self.port = port
        self.door = door
        self._certificate = certificate
        self._tls: ssl.SSLContext | None = None
        self._shown = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._broker: GuardedBroker | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="broker", daemon=True)

    def start(self) -> None:
        """Listen. Raises OttoError, for one when the port is taken."""
        # A place for each member, and one for each that waits to log in.
        _many_files(2 * self.door.members)
        if self._certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
            self._show(self._certificate)
        self._thread.start()
        if not self._started.wait(_START):
            self._failure = self._failure or TimeoutError("it did not start in time")
        if self._failure is not None:
            raise OttoError(
                f"The MQTT broker cannot listen on {self.address}:{self.port}",
                cause=str(self._failure.__cause__ or self._failure),
                next=typed("ss -ltnp sport = :{}   (who has it), or another mqtt.port", self.port),
            )

    def check(self) -> None:
        """To be called now and then: shows a certificate that was made anew (`otto-run rotate`) to
        connections from now on. Raises OttoError when the broker has ended."""
        if not self.alive:
            raise OttoError("The MQTT broker has ended by itself", next="otto-run up")
        if self._certificate is not None:
            self._show(self._certificate)

    def _show(self, certificate: Pair) -> None:
        try:
            written = certificate.certificate.stat().st_mtime_ns
            if self._tls is not None and written != self._shown:
                self._tls.load_cert_chain(certificate.certificate, certificate.key)
                self._shown = written
        except OSError as error:
            raise OttoError(
                f"The MQTT broker cannot show the certificate {certificate.certificate}",
                cause=str(error),
                next=typed(
                    "rm {}, then: otto-run up   (makes another one)", certificate.certificate
                ),
            ) from error

    def stop(self) -> None:
        """End it; its clients see the connection close."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START)

    def turned_away(self) -> Counter[str]:
        """address -> connections that were ended before they had logged in, since the last call."""
        entrance = self._broker.entrance if self._broker is not None else None
        return entrance.turned_away() if entrance is not None else Counter()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _work(self) -> None:
        # amqtt logs every lost connection as an error with its traceback.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # told by start()
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        from otto_run.broker_guard import GuardedBroker

        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        host = f"[{self.address}]" if ":" in self.address else self.address
        # asyncio writes a traceback for each connection that is lost in a moment of its own.
        self._loop.set_exception_handler(lambda _, context: log.debug("%s", context))
        self._broker = broker = GuardedBroker(f"{host}:{self.port}", self.door, self._tls)
        await broker.start()
        self._started.set()
        await self._stop.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(broker.shutdown(), 3)


def _many_files(connections: int) -> None:
    """A thousand nodes are more connections than a process may have by default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 512
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Passwords:
    """What `credentials.json` says now, read again when it has changed."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._known: dict[str, Account] = {}
        self._seen: tuple[int, int] | None = None

    def __call__(self, name: str) -> tuple[str, ...]:
        # A file that cannot be read is no reason to send away who was known a moment ago.
        with contextlib.suppress(OSError, OttoError):
            found = self._credentials.path.stat()
            if (found.st_ino, found.st_mtime_ns) != self._seen:
                self._known = self._credentials.read()
                self._seen = (found.st_ino, found.st_mtime_ns)
        return self._known[name].passwords if name in self._known else ()


def own(cluster: Cluster, directory: Path, place: Place) -> EmbeddedBroker:
    """The broker of a cluster, with its nodes' accounts and a certificate. directory: its state."""
    from ansible_collections.otto.cluster.plugins.plugin_utils.credentials import Credentials
    from ansible_collections.otto.cluster.plugins.plugin_utils.pki import Pki

    from otto_run.broker_doors import Members, Shared

    mqtt = cluster.mqtt
    if mqtt is None:
        raise ValueError("the cluster names no broker")
    door: Door
    if mqtt.username is not None:
        door = Shared(mqtt.username, mqtt.password or "", len(cluster.nodes) + 1)
    else:
        nodes = frozenset(node.id for node in cluster.nodes)
        door = Members(cluster.name, nodes, _Passwords(Credentials(directory)))
    certificate = Pki(directory).broker(mqtt.host) if mqtt.tls else None
    return EmbeddedBroker(place.address, place.port, door, certificate)


@dataclass(frozen=True)
class Place:
    """Where the broker is. embedded: it has to be ours; address: what to bind then."""

    host: str
    port: int
    embedded: bool
    address: str = ""


def find(mqtt: Mqtt) -> Place | None:
    """Decide by the rule above; None for one on a node that apply has still to install. Raises
    OttoError when a broker elsewhere does not answer."""
    if answers(mqtt.host, mqtt.port):
        return Place(mqtt.host, mqtt.port, embedded=False)
    if mqtt.node is not None:
        return None
    address = local_address(mqtt.host)
    if address is None:
        raise OttoError(
            f"No MQTT broker answers at {mqtt.host}:{mqtt.port}",
            cause=f"{mqtt.host} is no address of this machine, so otto-run cannot be the broker",
            next="start the broker there, or write this machine's address under mqtt.host",
        )
    if mqtt.ca is not None:
        raise OttoError(
            f"No MQTT broker answers at {mqtt.host}:{mqtt.port}",
            cause="mqtt.tls names a CA of your own, of which otto-run has no certificate",
            next="start your broker, or remove mqtt.tls: then Otto makes a CA",
        )
    return Place(mqtt.host, mqtt.port, embedded=True, address=address)
