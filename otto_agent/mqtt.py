# SPDX-License-Identifier: GPL-3.0-or-later
"""The line to the broker: keeps itself up for ever and never blocks anyone.

One thread owns the client and its socket; everybody else only fills the ring. Each connection gets
a fresh client, so that nothing of a broken one lives on, and a will of its own, which carries the
number of the connection that it ends. What a broken one had not brought home is in the ring still.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import json
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ansible_collections.otto.cluster.plugins.module_utils import tls

from otto_agent import __version__, messages
from otto_agent.backoff import Backoff, jittered
from otto_agent.config import Config

if TYPE_CHECKING:
    from otto_agent.replay import Replay
    from otto_agent.ring import Ring
    from otto_agent.ring_file import Sample

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 4.0  # seconds for TCP; shorter than what stop() may take
ANSWER_TIMEOUT = 10.0  # seconds for the broker's answer to CONNECT
WINDOW = 100  # messages that paho holds at the most, until the broker confirms them
LIVE = 0.25  # seconds after which a sample says how old it is
RIVAL_PAUSE = 300.0  # seconds that the weaker of two agents with one id stays away


class _LostError(Exception):
    """The connection ended, or never came to be."""


class _RivalError(Exception):
    """Another agent speaks for this node, and this one gives way."""


class Silence:
    """What stands in a Link's place where no broker is named: nobody is told anything."""

    backlog = 0

    def start(self) -> None: ...

    def watch(self) -> None: ...

    def put(self, kind: str, seq: int, payload: dict[str, Any]) -> None: ...

    def report(self, payload: dict[str, Any]) -> None: ...

    def stop(self, timeout: float = 5.0) -> None: ...


class Link:
    """Publishes for one node what is in its ring, and its newest report.

    All are called from the network thread. connected: after each birth; it may `report`.
    alarm: with a text when a person should know (another agent has this node's id). look: the
    control plane wants to know how the node stands now.
    """

    def __init__(
        self,
        config: Config,
        boot: str,
        ring: Ring,
        connected: Callable[[], None] = lambda: None,
        alarm: Callable[[str], None] = lambda _: None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self.ring = ring
        self.conn = 0
        if config.mqtt is None:
            raise ValueError("there is no broker to be linked to")
        self.broker = config.mqtt
        self._config = config
        self._boot = boot
        self._connected = connected
        self._alarm = alarm
        self._look = look
        # Only the newest report counts, and nothing is lost with an older one.
        self._reports: collections.deque[bytes] = collections.deque(maxlen=1)
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._thread: threading.Thread | None = None
        self._listen, self._wake = socket.socketpair()
        self._listen.setblocking(False)
        self._wake.setblocking(False)
        self._seen: dict[str, int] = {}  # connections of other boots that spoke for this node
        self._deadline = 0.0

    @property
    def up(self) -> bool:
        """Whether the broker has accepted us and the connection stands, as far as is known."""
        return self._up.is_set()

    @property
    def backlog(self) -> int:
        """Samples that no listener has stored."""
        return len(self.ring)

    def start(self) -> None:
        self.ring.open()
        self._begin()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name="otto-mqtt", daemon=True)
        self._thread.start()

    def watch(self) -> None:
        """Start the network thread again if it died. To be called now and then."""
        if self._thread is not None and not self._thread.is_alive() and not self._stopping.is_set():
            log.error("the MQTT thread died; it is started again")
            self._begin()

    def put(self, kind: str, seq: int, payload: dict[str, Any]) -> None:
        """Take a sample; never waits, never fails because of the broker."""
        self.ring.put(self._boot, seq, kind, messages.encode(payload))
        self._rouse()

    def report(self, payload: dict[str, Any]) -> None:
        """Publish a report in place of any older one."""
        self._reports.append(messages.encode(payload))
        self._rouse()

    def stop(self, timeout: float = 5.0) -> None:
        """Say offline and leave, within `timeout` seconds whatever the broker does."""
        self._deadline = time.monotonic() + timeout * 0.8
        self._stopping.set()
        self._rouse()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                log.warning("the broker did not answer in time; left without saying offline")
        self.ring.close()

    def _rouse(self) -> None:
        # Full: it is roused already. Closed: the thread has ended.
        with contextlib.suppress(OSError):
            self._wake.send(b".")

    # ---- the network thread

    def _run(self) -> None:
        backoff = Backoff(first=1.0, most=30.0, stable=10.0)
        where = f"{self.broker.host}:{self.broker.port}"
        told = ""
        while not self._stopping.is_set():
            pause = 0.0
            try:
                _Session(self).serve()
            except _RivalError as error:
                pause = RIVAL_PAUSE
                log.error("%s", error)
            except (OSError, _LostError) as error:
                text = tls.line(error)
                if text != told or self._up.is_set():
                    log.warning("broker %s: %s; trying again until it is back", where, text)
                    if tls.trouble(error):
                        self._alarm(f"broker {where}: {text}")
                told = text
            except Exception:
                # Whatever it is, the node has to be heard of again.
                log.exception("broker %s: the connection failed in an unforeseen way", where)
            finally:
                self._up.clear()
            backoff = backoff.failed(time.monotonic())
            self._stopping.wait(jittered(pause or backoff.delay))


def _guarded(callback: Callable[..., None]) -> Callable[..., None]:
    """A callback that raises would end the network loop while the connection looks alive."""

    @functools.wraps(callback)
    def guarded(*arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception:
            log.exception("the MQTT callback %s failed", callback.__name__)

    return guarded


class _Session:
    """One connection, from CONNECT to its end."""

    def __init__(self, link: Link) -> None:
        # Here and not above: the agent's pure parts are imported where there is no paho.
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        self._link = link
        self._config = config = link._config
        link.conn += 1
        self._conn = link.conn
        self._accepted = False
        self._ended = ""
        self._rival = ""
        self._said_offline = False
        self._unconfirmed: set[int] = set()
        self._replay: Replay | None = None  # once accepted
        five = link.broker.protocol == "5"
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=messages.client_id(config.cluster, config.node),
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT
        if link.broker.username:
            client.username_pw_set(link.broker.username, link.broker.password)
        if link.broker.ca:
            client.tls_set_context(tls.context(link.broker.ca))
        client.will_set(self._topic(messages.STATUS), self._status("offline"), 1, True)
        client.on_connect = _guarded(self._on_connect)
        client.on_disconnect = _guarded(self._on_disconnect)
        client.on_publish = _guarded(self._on_publish)
        client.on_message = _guarded(self._on_message)

    def _topic(self, kind: str) -> str:
        return messages.topic(self._config.cluster, self._config.node, kind)

    def _status(self, state: str) -> bytes:
        return messages.encode(
            messages.status(state, self._link._boot, self._conn, __version__, time.time())
        )

    def serve(self) -> None:
        """Connect and publish until told to stop. Raises _LostError or OSError when it ends."""
        link, client, broker = self._link, self._client, self._link.broker
        with tls.greeting(broker.ca):
            client.connect(broker.host, broker.port, broker.keepalive)
        started = time.monotonic()
        tick = max(0.5, min(5.0, broker.keepalive / 4))
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(link._listen, selectors.EVENT_READ)
                watched: Any = None
                while not self._done():
                    sock = client.socket()
                    if self._rival:
                        raise _RivalError(self._rival)
                    if self._ended or sock is None:
                        raise _LostError(self._ended or "the connection was lost")
                    if not self._accepted and time.monotonic() - started > ANSWER_TIMEOUT:
                        raise _LostError("no answer to CONNECT")
                    self._pump()
                    wanted = selectors.EVENT_READ | (
                        selectors.EVENT_WRITE if client.want_write() else 0
                    )
                    if watched is None:
                        selector.register(sock, wanted)
                    elif watched != wanted:
                        selector.modify(sock, wanted)
                    watched = wanted
                    for key, mask in selector.select(tick if self._accepted else 1.0):
                        if key.fileobj is link._listen:
                            self._hush()
                            continue
                        if mask & selectors.EVENT_READ:
                            client.loop_read()
                            while tls.holds_back(client.socket()):
                                client.loop_read()
                        if mask & selectors.EVENT_WRITE:
                            client.loop_write()
                    client.loop_misc()
        finally:
            self._close()

    def _done(self) -> bool:
        """Whether all is said. Once told to stop: what is new, then offline, then its receipt."""
        link = self._link
        if not link._stopping.is_set():
            return False
        if self._replay is None or time.monotonic() > link._deadline:
            return True
        if self._unconfirmed or link._reports or not self._replay.live_is_out:
            return False
        if self._said_offline:
            return True
        self._said_offline = True
        self._publish(messages.STATUS, self._status("offline"))
        return False

    def _close(self) -> None:
        client = self._client
        if self._said_offline and not self._unconfirmed:
            client.disconnect()
        sock = client.socket()
        if sock is not None:
            # Without DISCONNECT the broker sends the will, which is what is wanted then.
            sock.close()

    def _hush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._link._listen.recv(4096):
                pass

    def _pump(self) -> None:
        """Hand paho what it has room for: the report, new samples, then the backlog."""
        link, replay = self._link, self._replay
        if replay is None or self._said_offline:
            return
        with contextlib.suppress(IndexError):
            self._publish(messages.REPORT, link._reports.popleft())
        for sample in replay.live(self._room):
            self._send(sample)
        if link._stopping.is_set():
            return
        gaps, samples = replay.backlog(self._room, time.monotonic())
        for gap in gaps:
            self._publish(messages.EVENT, messages.encode(messages.gap(*gap, time.time())))
        for sample in samples:
            self._send(sample)

    @property
    def _room(self) -> int:
        return WINDOW - len(self._unconfirmed)

    def _send(self, sample: Sample) -> None:
        age = sample.age()
        live = age is not None and age < LIVE
        self._publish(sample.kind, sample.payload if live else messages.aged(sample.payload, age))

    def _publish(self, kind: str, payload: bytes) -> None:
        info = self._client.publish(
            self._topic(kind), payload, qos=1, retain=kind in messages.RETAINED
        )
        self._unconfirmed.add(info.mid)
        if info.rc:
            self._ended = self._ended or f"publishing failed: {info.rc.name}"

    # ---- callbacks, all in the network thread

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _props: Any) -> None:
        if reason.is_failure:
            self._ended = f"refused: {reason}; next: otto-run apply (brings this node's password)"
            return
        from otto_agent.replay import Replay

        self._accepted = True
        log.info("connected to the broker %s:%d", self._link.broker.host, self._link.broker.port)
        # Status before the birth, to see what it replaces. A broker may refuse it to a node that
        # may only write; then a late will stays until the next connection, and nothing is acked.
        read = (messages.STATUS, messages.ACK, messages.CMD)
        self._client.subscribe([(self._topic(kind), 1) for kind in read])
        self._publish(messages.STATUS, self._status("online"))
        self._replay = Replay(self._link.ring, time.monotonic())
        self._link._up.set()
        self._link._connected()

    def _on_disconnect(
        self, _client: Any, _data: Any, _flags: Any, reason: Any, _props: Any
    ) -> None:
        self._ended = self._ended or f"the connection was lost: {reason}"

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _props: Any) -> None:
        if reason.is_failure:
            log.warning("the broker refused a message: %s", reason)
        self._unconfirmed.discard(mid)

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        # By topic: amqtt 0.12 sends a new connection what is retained for anybody's subscription.
        hearers = {
            self._topic(messages.STATUS): self._on_status,
            self._topic(messages.ACK): self._on_ack,
            self._topic(messages.CMD): self._on_cmd,
        }
        if message.topic in hearers:
            try:
                hearers[message.topic](message)
            except ValueError as error:
                log.warning("not understood, on %s: %s", message.topic, error)

    def _on_cmd(self, message: Any) -> None:
        if messages.read_cmd(message.payload) == "look" and not message.retain:
            self._link._look()

    def _on_ack(self, message: Any) -> None:
        ack = messages.read_ack(message.payload)
        self._link.ring.release(ack.stored)
        self._link.ring.noted(ack.gaps)
        if self._replay is not None:
            self._replay.heard(time.monotonic(), ack.hello)

    def _on_status(self, message: Any) -> None:
        """What the broker holds as our status, if it was not said by this connection: the late
        will of an earlier one, or the word of another agent that has our id."""
        try:
            status = json.loads(message.payload)
            boot, conn = str(status["boot"]), int(status["conn"])
        except (ValueError, KeyError, TypeError):
            boot, conn = "", 0
        link = self._link
        if (boot, conn) == (link._boot, self._conn) or link._stopping.is_set():
            return
        if boot != link._boot and conn > link._seen.setdefault(boot, conn):
            # A dead agent makes no new connections: this one lives, and each of us takes the
            # connection from the other. The same one of the two gives way every time.
            link._seen[boot] = conn
            text = (
                f"another agent runs as node {self._config.node} of cluster "
                f"{self._config.cluster} (boot {boot}; this one is {link._boot})"
            )
            link._alarm(text)
            if link._boot > boot:
                self._rival = text + f"; this one stays away for {RIVAL_PAUSE:.0f} s"
                return
        if not message.retain:
            # A retained one is older than our birth. A live one has just overwritten it.
            self._publish(messages.STATUS, self._status("online"))
