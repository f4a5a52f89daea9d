# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that somebody started by hand: taken over on a real engine, and written down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.otto.cluster.plugins.module_utils.as_service import left, service_of
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_text
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    LABEL_ADOPTED,
    ObservedContainer,
    Target,
)
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    Create,
    Operation,
    Remove,
    Start,
)
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import apply, reconcile
from ansible_collections.otto.cluster.plugins.module_utils.state import TargetStore
from ansible_collections.otto.cluster.plugins.module_utils.target import targets

from .conftest import IMAGE, URL

STAYS = ["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"]
HEALTH = {"test": ["CMD", "true"], "interval": 100_000_000, "timeout": 10**9, "retries": 3}


@pytest.fixture
def by_hand(engine: DockerEngine, cluster: str) -> Iterator[ObservedContainer]:
    """A container as `docker run` makes it, with an anonymous volume and a file in it."""
    name = f"{cluster}-hand"
    body = {
        "Image": IMAGE,
        "Cmd": ["sh", "-c", "echo kept > /data/file; trap exit TERM; while :; do sleep 0.1; done"],
        "Env": ["MODE=hand"],
        "HostConfig": {"Mounts": [{"Type": "volume", "Target": "/data"}], "NetworkMode": "none"},
    }
    engine.execute(Create(name, IMAGE, body))
    engine.execute(Start(name))
    found = look(engine, name)
    assert found is not None
    yield found
    engine.execute(Remove(name, "", force=True, volumes=True))


def look(engine: DockerEngine, name: str) -> ObservedContainer | None:
    return engine.inspect(name)


def target(cluster: str, **more: Any) -> Target:
    spec = {
        "image": IMAGE,
        "command": STAYS,
        "container_name": f"{cluster}-web",
        "network_mode": "none",
        "healthcheck": HEALTH,
        "volumes": [{"type": "volume", "source": None, "target": "/data", "read_only": False}],
        **more,
    }
    return Target(cluster, "here", {"web": spec})


@pytest.fixture
def looking(by_hand: ObservedContainer) -> Iterator[DockerEngine]:
    """An engine that was told of the container."""
    with DockerEngine(URL) as engine:
        engine.also = (by_hand.name,)
        yield engine


def test_taken_over_with_its_data(
    looking: DockerEngine, by_hand: ObservedContainer, cluster: str, tmp_path: Path
) -> None:
    """The plan shows what differs; afterwards one container is there, Otto's, with the old data."""
    store, wanted, names = TargetStore(tmp_path), target(cluster), {by_hand.name: "web"}
    shown = apply(looking, store, wanted, check=True, adopt=names)
    keys = {change["key"] for change in shown.plan["services"][0]["changes"]}
    assert {"container", "container_name", "environment.MODE", "command"} <= keys
    assert shown.plan["services"][0]["verdict"] == "recreate"

    report = apply(looking, store, wanted, adopt=names)
    assert not report.errors
    (found,) = looking.observe(wanted).containers
    assert found.name == f"{cluster}-web"
    assert found.labels[LABEL_ADOPTED] == by_hand.id
    assert look(looking, by_hand.name) is None
    before, after = (c.inspect["Mounts"][0]["Name"] for c in (by_hand, found))
    assert before == after
    # From here on it is like any other: nobody has to be told again.
    with DockerEngine(URL) as plain:
        assert not reconcile(plain, wanted, previous=wanted).changed


def test_put_back_when_the_new_one_does_not_come_up(
    looking: DockerEngine, by_hand: ObservedContainer, cluster: str, tmp_path: Path
) -> None:
    wanted = target(cluster, command=["sh", "-c", "exit 3"])
    report = apply(looking, TargetStore(tmp_path), wanted, adopt={by_hand.name: "web"})
    assert "did not come up" in report.errors[0]["message"]
    back = look(looking, by_hand.name)
    assert back is not None
    assert (back.id, back.state) == (by_hand.id, "running")


class Cut(BaseException):
    pass


class Dying(DockerEngine):
    """An engine whose process ends before operation `at`, as far as the node can tell."""

    at = 0

    def execute(self, operation: Operation, progress: Any = None) -> bool:
        self.at -= 1
        if self.at == 0:
            raise Cut
        return super().execute(operation, progress)


@pytest.mark.parametrize("at", range(2, 7))
def test_cut_off_while_taking_over(
    engine: DockerEngine, by_hand: ObservedContainer, cluster: str, tmp_path: Path, at: int
) -> None:
    """The agent, which was told of no permission, goes on with what was begun."""
    wanted, store = target(cluster), TargetStore(tmp_path)
    with Dying(URL) as dying:
        dying.also, dying.at = (by_hand.name,), at
        with pytest.raises(Cut):
            apply(dying, store, wanted, adopt={by_hand.name: "web"})
    report = reconcile(engine, wanted, previous=None, refresh=False, retry_failed=False)
    assert not report.errors, report.errors
    assert [c.name for c in engine.observe(wanted).containers] == [f"{cluster}-web"]
    assert look(engine, by_hand.name) is None


def test_who_cannot_be_taken_over(
    looking: DockerEngine, by_hand: ObservedContainer, cluster: str, tmp_path: Path
) -> None:
    """Told before anything is touched: not there, no such service, another cluster's."""
    store = TargetStore(tmp_path)
    cases: tuple[tuple[dict[str, str], str], ...] = (
        ({f"{cluster}-none": "web"}, "There is no container"),
        ({by_hand.name: "db"}, "has no service db"),
    )
    for names, says in cases:
        with pytest.raises(OttoError, match=says):
            apply(looking, store, target(cluster), adopt=names)
    assert not tmp_path.joinpath("target.json").exists()
    apply(looking, store, target(cluster))
    with pytest.raises(OttoError, match="has a container already"):
        apply(looking, store, target(cluster), adopt={by_hand.name: "web"})
    clash = target(cluster, container_name=by_hand.name)
    (error,) = reconcile(looking, clash, check=True).errors
    assert error["next"] == f"otto-run adopt here {by_hand.name} --as web"


BODIES: dict[str, dict[str, Any]] = {
    "plain": {"HostConfig": {}},
    "much": {
        "Cmd": ["sh", "-c", "echo $HOME; sleep 600"],
        "Env": ["MODE=a$b", "DB_PASSWORD=tr0ub4dor$"],
        "Labels": {"team": "blue", "com.docker.compose.project": "x"},
        "User": "1000",
        "WorkingDir": "/tmp",
        "Hostname": "kitchen",
        "Tty": True,
        "StopSignal": "SIGUSR1",
        "StopTimeout": 3,
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 2_500_000_000, "Retries": 4},
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "HostConfig": {
            "PortBindings": {
                "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18765"}],
                "53/udp": [{"HostIp": "", "HostPort": "18766"}],
            },
            "Binds": ["/tmp:/host:ro"],
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
            "Memory": 64 << 20,
            "MemorySwap": 128 << 20,
            "NanoCpus": 500_000_000,
            "PidsLimit": 100,
            "CapAdd": ["NET_ADMIN"],
            "CapDrop": ["MKNOD"],
            "ReadonlyRootfs": True,
            "Tmpfs": {"/run": "size=1m"},
            "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
            "Sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"},
            "ExtraHosts": ["nas:10.0.0.9"],
            "Dns": ["10.0.0.1"],
            "ShmSize": 32 << 20,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
            "Init": True,
        },
    },
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_what_is_written_down_is_what_runs(
    engine: DockerEngine, cluster: str, body: dict[str, Any]
) -> None:
    """Read back as a file, the service leaves nothing to change but whose container it is."""
    name = f"{cluster}-hand"
    engine.execute(Create(name, IMAGE, {"Image": IMAGE, **body}))
    try:
        with DockerEngine(URL) as looking:
            looking.also = (name,)
            observed = looking.observe(Target(cluster, "here"))
            (container,) = observed.containers
            image = observed.images[container.image_id]
            found = service_of(container.inspect, image.config)
            told = left(found, container.inspect, image.config, observed.engine)
            compose = [f"labels.{key}" for key in body.get("Labels", {}) if "compose" in key]
            assert [line.split(":")[0] for line in told] == compose
            text = yaml.safe_dump(
                {
                    "cluster": {"name": cluster},
                    "nodes": [{"id": "here", "host": "localhost"}],
                    "services": {"web": {"node": "here", **found.shown()}},
                }
            )
            assert "tr0ub4dor" not in text
            environ = {"DB_PASSWORD": "tr0ub4dor$"}
            wanted = targets(load_text(text.encode(), "otto.yaml", environ=environ))["here"]
            report = reconcile(looking, replace(wanted), check=True, adopt={name: "web"})
            (service,) = report.plan["services"]
            keys = [change["key"] for change in service["changes"]]
            assert sorted(keys) == sorted([*compose, "container", "container_name"])
    finally:
        engine.execute(Remove(name, "", force=True, volumes=True))
