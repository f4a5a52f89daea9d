# SPDX-License-Identifier: GPL-3.0-or-later
"""The agents of local nodes: child processes of the control plane, started again when they end.

Processes and not threads, so that otto_run and otto_agent stay strangers and the death of one is
not that of the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster import Mqtt
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.plugin_utils.access import access
from ansible_collections.otto.cluster.plugins.plugin_utils.credentials import write_private

from otto_run.paths import StatePaths

_QUICK = 10.0  # an agent that lives shorter than this many seconds waits before the next start
_LONGEST = 60.0


@dataclass
class _Child:
    node: str
    config: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    again: float = 0.0
    pause: float = 1.0


class LocalAgents:
    """Supervises one child per local node. `say` gets a line when one ends."""

    def __init__(
        self,
        nodes: Iterable[Any],
        mqtt: Mqtt | None,
        paths: StatePaths,
        say: Callable[[str], None],
    ) -> None:
        self._say = say
        self._children = [_Child(node.id, *self._configure(node, mqtt, paths)) for node in nodes]

    @staticmethod
    def _configure(node: Any, mqtt: Mqtt | None, paths: StatePaths) -> tuple[Path, Path]:
        """Write agent.json (0600: it holds the node's password); return it and the log."""
        directory = Path(node.state_dir or paths.node(node.id)).absolute()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = directory / "agent.json"
        document: dict[str, Any] = {
            "cluster": paths.cluster,
            "node": node.id,
            "docker_url": node.docker_url,
            "state_dir": str(directory),
        }
        if mqtt is not None:  # without a broker the agent heals in silence
            document["mqtt"] = access(mqtt, paths.root, paths.cluster, node.id).to_json()
        write_private(config, json.dumps(document, indent=2).encode() + b"\n")
        return config, directory / "agent.log"

    def start(self) -> None:
        for child in self._children:
            self._spawn(child)

    def _spawn(self, child: _Child) -> None:
        environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with child.log.open("ab") as log:
            try:
                child.process = subprocess.Popen(
                    [
                        # -P: what lies where otto-run is typed is not imported.
                        *(sys.executable, "-P", "-m", "otto_agent", "--until-eof"),
                        *("--config", str(child.config)),
                    ],
                    # Nothing is ever written there: it ends when we do, however we do.
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environ,
                    # Python looks for modules where it is started: not where `up` was typed.
                    cwd=child.config.parent,
                    # Ctrl-C on the terminal is for us; we end our children in order.
                    start_new_session=True,
                )
            except OSError as error:
                raise OttoError(
                    f"The agent of {child.node} cannot be started", cause=str(error)
                ) from error
        child.began = time.monotonic()

    @property
    def pids(self) -> list[int]:
        return [child.process.pid for child in self._children if child.process is not None]

    def tend(self) -> None:
        """Start again what has ended. To be called now and then."""
        now = time.monotonic()
        for child in self._children:
            if child.process is None:
                if now >= child.again:
                    self._spawn(child)
                continue
            code = child.process.poll()
            if code is None:
                continue
            child.pause = min(_LONGEST, child.pause * 2) if now - child.began < _QUICK else 1.0
            child.process = None
            child.again = now + child.pause
            self._say(
                f"{child.node}: the agent ended with code {code}; it starts again in"
                f" {child.pause:.0f} s (see {child.log})"
            )

    def stop(self, grace: float = 5.0) -> None:
        """SIGTERM to all, SIGKILL to who does not hear it."""
        alive = [child.process for child in self._children if child.process is not None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + grace
        for process in alive:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in self._children:
            child.process = None
