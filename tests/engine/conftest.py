# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Docker engine for the tests: the lab's outer one, and a cluster of one's own on it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    Remove,
    RemoveNetwork,
    RemoveVolume,
)

from ..conftest import LAB_STATE, LabHost, wait_for

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
    sweep(engine, name)


def sweep(engine: DockerEngine, cluster: str) -> None:
    """Remove all that carries the cluster's label."""
    left = engine.observe(Target(cluster, "here"))
    for container in left.containers:
        engine.execute(Remove(container.name, container.id, force=True, volumes=True))
    for network in left.networks:
        engine.execute(RemoveNetwork(network))
    for volume in left.volumes:
        engine.execute(RemoveVolume(volume))


@pytest.fixture(scope="session")
def engine_of(
    lab_hosts: dict[str, LabHost], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], DockerEngine]]:
    """The engine of one of the lab's hosts, over a socket that SSH forwards."""
    with contextlib.ExitStack() as stack:
        engines: dict[str, DockerEngine] = {}

        def connect(name: str) -> DockerEngine:
            if name not in engines:
                engines[name] = stack.enter_context(_forwarded(lab_hosts[name], tmp_path_factory))
            return engines[name]

        yield connect


@contextlib.contextmanager
def _forwarded(host: LabHost, directory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    # sshd opens the socket as the user who logs in, and pi is not in the docker group.
    host.run("chmod o+rw /var/run/docker.sock")
    local: Path = directory.mktemp("socket") / "s"
    tunnel = subprocess.Popen(
        [
            *("ssh", "-N", "-L", f"{local}:/var/run/docker.sock"),
            *("-i", str(LAB_STATE / "id_ed25519"), "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={LAB_STATE / 'known_hosts'}", "-o", "ControlPath=none"),
            f"pi@{host.address}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(local.exists, seconds=20, what=f"the socket of {host.name}")
        with DockerEngine(f"unix://{local}") as engine:
            yield engine
    finally:
        tunnel.terminate()
        tunnel.wait(10)
        host.run("chmod o-rw /var/run/docker.sock")
