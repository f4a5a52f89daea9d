# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent of one node: the heal loop, the events, the line to the broker, and the numbers.

Nothing here is global and no signal is handled, so that the control plane can run one agent for
each of its local nodes as a thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from otto_agent import memory, messages
from otto_agent.alarms import Alarms
from otto_agent.config import Config
from otto_agent.heal import Healer
from otto_agent.metrics import Reader
from otto_agent.mqtt import Link, Silence
from otto_agent.watch import Watcher

log = logging.getLogger(__name__)

STOP_TIMEOUT = 5.0  # seconds until run() has returned after the stop
SETTLED = 30.0  # seconds after which all has run once and what only the start needed may go


class Agent:
    """start() and stop() for a thread of its own, or run() in the caller's."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.boot = os.urandom(8).hex()
        self._lock = threading.RLock()  # an alarm of the ring comes while it takes a sample
        self._seq = 0
        self._last_report: Mapping[str, Any] | None = None
        self._thread: threading.Thread | None = None
        self._own_stop = threading.Event()
        self._ended = threading.Event()
        self._reader = Reader()
        self._metrics_at = 0.0
        self._alarms = Alarms()
        self._give_back_at = time.monotonic() + SETTLED
        self._link: Link | Silence = Silence()
        if config.mqtt is not None:
            self._link = self._linked(config)
        self._healer = Healer(config, self, self._ended)
        self._healing: threading.Thread | None = None
        self._watcher: Watcher | None = None

    def _linked(self, config: Config) -> Link:
        # Here and not above: an agent that heals in silence needs no SQLite.
        from otto_agent.ring import Ring

        ring = Ring(config.state_dir / "ring.db", self.event)
        return Link(config, self.boot, ring, self._connected, self._alarm, self._look)

    # ---- life

    def start(self) -> None:
        """Run in a thread until stop()."""
        self._thread = threading.Thread(
            target=self.run, args=(self._own_stop,), name="otto-agent", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Say offline and end, within STOP_TIMEOUT. An operation that is under way (a pull) ends by
        itself; nothing is begun after it."""
        self._own_stop.set()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT + 1.0)

    def run(
        self, stop: threading.Event, tick: Callable[[bool], None] = lambda _ready: None
    ) -> None:
        """Keep the node at its target until `stop` is set, or until nothing can be done from in
        here (`failed`): whoever starts it again mends that.

        tick: called about once a second as long as the agent is well (for a watchdog), with whether
        it has looked at the node once.
        """
        log.info("agent of node %s, cluster %s, boot %s", *self._names(), self.boot)
        self._link.start()
        try:
            while not stop.is_set() and not self.failed:
                self._keep_threads()
                if time.monotonic() >= self._metrics_at:
                    self._measure()
                if self._healer.alive(time.monotonic()):
                    tick(self._healer.looked)
                if time.monotonic() >= self._give_back_at:
                    self._give_back_at = float("inf")
                    memory.give_back()
                stop.wait(min(1.0, max(0.0, self._metrics_at - time.monotonic())))
        finally:
            self._end()

    @property
    def failed(self) -> bool:
        """Whether its state directory is gone, and only the start of its unit can make it anew."""
        return self._healer.homeless

    def _names(self) -> tuple[str, str]:
        return self.config.node, self.config.cluster

    def _keep_threads(self) -> None:
        """Start what does not run: at first everything, later what died although it must not."""
        self._link.watch()
        if self._healing is None or not self._healing.is_alive():
            if self._healing is not None:
                log.error("the heal loop died; it is started again")
            self._healing = threading.Thread(target=self._healer.run, name="otto-heal", daemon=True)
            self._healing.start()
        if self._watcher is None or not self._watcher.is_alive():
            if self._watcher is not None:
                log.error("the event watcher died; it is started again")
            self._watcher = Watcher(
                self.config.docker_url,
                self.config.cluster,
                self._ended,
                self._healer.wake,
                self._healer.died,
            )
            self._watcher.start()

    def _end(self) -> None:
        begun = time.monotonic()
        self._ended.set()
        self._healer.wake()
        if self._watcher is not None:
            self._watcher.end()
        # Short, so that what the last round has to say still goes out before "offline".
        if self._healing is not None:
            self._healing.join(1.0)
        self._link.stop(STOP_TIMEOUT - (time.monotonic() - begun) - 0.3)
        log.info("agent of node %s, cluster %s ended", *self._names())

    # ---- saying

    def report(self, body: Mapping[str, Any]) -> None:
        self._last_report = body
        self._link.report(messages.report(body, self.boot, time.time()))

    def event(self, kind: str, text: str, service: str = "") -> None:
        self._number(
            messages.EVENT,
            lambda seq, now: messages.event(kind, text, self.boot, seq, now, service),
        )

    def _number(self, kind: str, build: Callable[[int, float], dict[str, Any]]) -> None:
        # Numbered and kept in one step: the order of arrival is that of the numbers.
        with self._lock:
            self._seq += 1
            seq = self._seq
            self._link.put(kind, seq, build(seq, time.time()))

    def _connected(self) -> None:
        """The broker may have lost what it retained: say it again."""
        if self._last_report is not None:
            self.report(self._last_report)

    def _look(self) -> None:
        self._healer.sweep()

    def _alarm(self, text: str) -> None:
        log.error("%s", text)
        self.event(messages.NODE, text)

    def _measure(self) -> None:
        interval = self.config.metrics_interval
        first = not self._metrics_at
        self._metrics_at = time.monotonic() + interval
        view = self._healer.view
        host = self._reader.host(view.docker_root, self.config.state_dir)
        containers = self._reader.containers(view.containers)
        self._number(
            messages.METRICS,
            lambda seq, now: messages.metrics(
                host, containers, self.boot, seq, now, interval, self._link.backlog
            ),
        )
        self._alarms, alarms = self._alarms.look(
            host, time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
        )
        for alarm in alarms:
            log.warning("%s", alarm.text)
            self.event(alarm.kind, alarm.text)
        if first and self._reader.memory_cgroup_missing():
            self._alarm(
                "the kernel does not count the memory of containers, so it is not reported and "
                "memory limits do not hold; add cgroup_enable=memory to the kernel's command line "
                "(Raspberry Pi: /boot/firmware/cmdline.txt) and reboot"
            )
