# SPDX-License-Identifier: GPL-3.0-or-later
"""`python3 -m otto_agent --config /etc/otto/agent.json`: the agent as a process of systemd."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.masking import in_text

from otto_agent import __version__, config
from otto_agent.agent import Agent

log = logging.getLogger("otto_agent")


PATIENCE = 30  # seconds more for the first look, as long as it moves


class Notifier:
    """Speaks to systemd through NOTIFY_SOCKET; says nothing where there is none."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        limit = os.environ.pop("WATCHDOG_USEC", "")
        # Three times within the limit, as one of them may come late.
        self._every = int(limit) / 3e6 if limit.isdigit() else 10.0
        self._ready = False
        self._told = float("-inf")

    def tick(self, ready: bool) -> None:
        """The agent is well. ready: it has shown that it can do its work; until then systemd is
        asked for patience, because an engine that does not answer takes its time to say so."""
        now = time.monotonic()
        if now - self._told < self._every and ready == self._ready:
            return
        self._told = now
        if not ready:
            self._send(f"EXTEND_TIMEOUT_USEC={PATIENCE * 1_000_000}")
        else:
            self._send("WATCHDOG=1" if self._ready else "READY=1\nWATCHDOG=1")
        self._ready = ready

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)
        except OSError as error:
            log.warning("systemd cannot be told %r: %s", text, error)


class _Formatter(logging.Formatter):
    """Without what is written as a secret: a traceback may quote one."""

    def format(self, record: logging.LogRecord) -> str:
        return in_text(super().format(record))


class _JournalFormatter(_Formatter):
    """`<priority>message` for the journal, which has the time already. One entry is one line."""

    _PRIORITY = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))

    def format(self, record: logging.LogRecord) -> str:
        priority = next(value for level, value in self._PRIORITY if record.levelno >= level)
        text = super().format(record)
        return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


def _set_up_logging(verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get("JOURNAL_STREAM"):
        handler.setFormatter(_JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    log.setLevel(logging.DEBUG if verbose else logging.INFO)


def _wait_for_eof(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="otto_agent", description="Keeps this node at its target and reports over MQTT."
    )
    parser.add_argument("--config", type=Path, default=Path("/etc/otto/agent.json"))
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="end when standard input does: with the process that started this one",
    )
    parser.add_argument("--verbose", action="store_true", help="log every detail")
    parser.add_argument("--version", action="version", version=__version__)
    arguments = parser.parse_args()
    _set_up_logging(arguments.verbose)
    try:
        agent = Agent(config.load(arguments.config))
    except OttoError as error:
        log.error("%s", error)
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if arguments.until_eof:
        threading.Thread(target=_wait_for_eof, args=(stop,), daemon=True).start()
    notifier = Notifier()
    with contextlib.suppress(KeyboardInterrupt):
        agent.run(stop, notifier.tick)
    notifier.stopping()
    return 1 if agent.failed else 0


if __name__ == "__main__":
    sys.exit(main())
