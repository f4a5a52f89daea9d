# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's engine: what it saw serves the metrics too, and its requests are signs of life."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.model import Observed, Target
from ansible_collections.otto.cluster.plugins.module_utils.wire import Wire

from otto_agent.metrics import Container
from otto_agent.pulse import Pulse


@dataclass(frozen=True)
class View:
    """What the last look at Docker showed, for the metrics."""

    containers: tuple[Container, ...] = ()
    docker_root: Path = Path("/var/lib/docker")


class LookingEngine(DockerEngine):
    """view: of the last look. A request that hangs is one to the pulse, too."""

    def __init__(self, docker_url: str, pulse: Pulse) -> None:
        self.view = View()
        self._pulse = pulse
        super().__init__(docker_url, carrier=Wire)

    def waiting(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        return self._pulse.waiting(seconds)

    def observe(self, target: Target) -> Observed:
        observed = super().observe(target)
        self.view = View(
            tuple(
                Container.from_inspect(item.inspect)
                for item in observed.containers
                if item.cluster == target.cluster
            ),
            Path(str(self._info.get("DockerRootDir") or View.docker_root)),
        )
        return observed
