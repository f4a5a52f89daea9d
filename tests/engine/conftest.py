# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Docker engine for the tests: the lab's outer one, and a cluster of one's own on it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    Remove,
    RemoveNetwork,
    RemoveVolume,
)

URL = os.environ.get("OTTO_TEST_DOCKER", "unix:///var/run/docker.sock")
IMAGE = "busybox:latest"


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    """The outer engine; a missing one is an error that says so, not a skip."""
    with DockerEngine(URL) as engine:
        assert IMAGE in engine.observe(Target("t", "t", {"t": {"image": IMAGE}})).images, (
            f"{URL} has no {IMAGE}: make lab"
        )
        yield engine


@pytest.fixture
def cluster(engine: DockerEngine) -> Iterator[str]:
    """A cluster name that nobody else uses; all that carries it is removed afterwards."""
    name = f"t{uuid.uuid4().hex[:8]}"
    yield name
    left = engine.observe(Target(name, "here"))
    for container in left.containers:
        engine.execute(Remove(container.name, container.id, force=True, volumes=True))
    for network in left.networks:
        engine.execute(RemoveNetwork(network))
    for volume in left.volumes:
        engine.execute(RemoveVolume(volume))
