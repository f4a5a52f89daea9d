# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's events: a reason to look. They bring speed, not truth: what to do is seen by looking."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.model import LABEL_CLUSTER, LABEL_SERVICE
from ansible_collections.otto.cluster.plugins.module_utils.wire import Wire

from otto_agent.backoff import Backoff, jittered

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Death:
    """A container of ours ended, for whatever reason. at: seconds, monotonic, when it was heard."""

    service: str
    container_id: str
    exit_code: str
    at: float


class Watcher(threading.Thread):
    """Follows the events of one engine for ever; connects again whenever the stream breaks.

    look: called when something happened, and after each connection (what happened before it is
    not known). died: called for each container of the cluster that ended.
    """

    def __init__(
        self,
        docker_url: str,
        cluster: str,
        stop: threading.Event,
        look: Callable[[], None],
        died: Callable[[Death], None],
    ) -> None:
        super().__init__(name="otto-events", daemon=True)
        self._url = docker_url
        self._cluster = cluster
        self._stopping = stop
        self._look = look
        self._died = died
        self._engine: DockerEngine | None = None

    def run(self) -> None:
        backoff = Backoff(first=0.5, most=15.0, stable=10.0)
        while not self._stopping.is_set():
            try:
                self._follow()
            except OttoError as error:
                # Told to people by the healer, which meets the same silence.
                log.debug("events: %s", error)
            except Exception:
                log.exception("the event stream failed in an unforeseen way")
            finally:
                self.end()
            backoff = backoff.failed(time.monotonic())
            self._stopping.wait(jittered(backoff.delay))

    def end(self) -> None:
        """Break the stream; also called from outside, to stop."""
        engine = self._engine
        if engine is not None:
            engine.close()

    def _follow(self) -> None:
        self._engine = engine = DockerEngine(self._url, carrier=Wire)
        # The engine keeps what happens from here on until the stream stands, so nothing is missed
        # between this look and the first event.
        since = int(time.time())
        self._look()
        for event in engine.events(since=since):
            if self._stopping.is_set():
                return
            self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        actor = event.get("Actor") or {}
        attributes = actor.get("Attributes") or {}
        if event.get("Type") == "container":
            if attributes.get(LABEL_CLUSTER) != self._cluster:
                return
            if event.get("Action") == "die":
                self._died(
                    Death(
                        str(attributes.get(LABEL_SERVICE) or attributes.get("name", "")),
                        str(actor.get("ID", "")),
                        str(attributes.get("exitCode", "?")),
                        time.monotonic(),
                    )
                )
        # Networks and volumes carry no labels in their events; a look is cheap.
        self._look()
