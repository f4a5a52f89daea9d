# SPDX-License-Identifier: GPL-3.0-or-later
"""The MQTT broker: where it is, and one of our own where nobody else runs it.

The rule: when `mqtt.host` is an address of this machine and nothing answers there, `otto-run up`
is the broker. It binds that one address and no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import socket
import threading
from dataclasses import dataclass
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

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


def local_address(host: str) -> str | None:
    """The address to bind when `host` is this machine, else None."""
    return next((address for address in addresses(host) if is_here(address)), None)


def may_enter(username: str, password: str, given_name: str | None, given_word: str | None) -> bool:
    """Whether a client may connect. No username in otto.yaml: everybody may."""
    if not username:
        return True
    return hmac.compare_digest(
        username.encode(), (given_name or "").encode()
    ) & hmac.compare_digest(password.encode(), (given_word or "").encode())


class EmbeddedBroker:
    """amqtt in a thread with an event loop of its own. MQTT 3.1.1, retained messages in memory."""

    def __init__(self, address: str, port: int, username: str = "", password: str = "") -> None:
        self.address = address
        self.port = port
        self._username = username
        self._password = password
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="broker", daemon=True)

    def start(self) -> None:
        """Listen. Raises OttoError, for one when the port is taken."""
        self._thread.start()
        if not self._started.wait(_START):
            self._failure = self._failure or TimeoutError("it did not start in time")
        if self._failure is not None:
            raise OttoError(
                f"The MQTT broker cannot listen on {self.address}:{self.port}",
                cause=str(self._failure.__cause__ or self._failure),
                next=f"ss -ltnp sport = :{self.port}   (who has it), or another mqtt.port",
            )

    def stop(self) -> None:
        """End it; its clients see the connection close."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START)

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
        from amqtt.broker import Broker

        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        host = f"[{self.address}]" if ":" in self.address else self.address
        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{host}:{self.port}"}},
                "plugins": {
                    "otto_run.broker_auth.Credentials": {
                        "username": self._username,
                        "password": self._password,
                    }
                },
            }
        )
        await broker.start()
        self._started.set()
        await self._stop.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(broker.shutdown(), 3)


@dataclass(frozen=True)
class Place:
    """Where the broker is. embedded: it has to be ours; address: what to bind then."""

    host: str
    port: int
    embedded: bool
    address: str = ""


def find(mqtt: Any) -> Place:
    """Decide by the rule above. Raises OttoError when a broker elsewhere does not answer."""
    if answers(mqtt.host, mqtt.port):
        return Place(mqtt.host, mqtt.port, embedded=False)
    address = local_address(mqtt.host)
    if address is None:
        raise OttoError(
            f"No MQTT broker answers at {mqtt.host}:{mqtt.port}",
            cause=f"{mqtt.host} is no address of this machine, so otto-run cannot be the broker",
            next="start the broker there, or write this machine's address under mqtt.host",
        )
    return Place(mqtt.host, mqtt.port, embedded=True, address=address)
