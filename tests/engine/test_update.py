# SPDX-License-Identifier: GPL-3.0-or-later
"""An update while it is asked for: how many requests fail, before, during and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import Report, reconcile

from ..conftest import LAB_HOSTS, wait_for
from .conftest import sweep

CLUSTER = "underload"
PORT = 18080
SECOND = 10**9
# Each request is told; curl tries the next address where one refuses, as most clients do.
ASKS = (
    "while :; do curl -s -o /dev/null -m 5 {url} && echo good || echo failed $?; done & "
    "while :; do curl -s -o /dev/null -m 5 {url} && echo good || echo failed $?; done"
)
HEALTH = {
    "test": ["CMD-SHELL", "curl -sf -o /dev/null http://127.0.0.1/"],
    "interval": SECOND // 2,
    "timeout": 2 * SECOND,
    "retries": 3,
}
FAILS = ["sh", "-c", "echo cannot bind; exit 3"]


class Load:
    """A cluster of `web` and of a client that asks for it all the time."""

    def __init__(self, engine: DockerEngine, url: str, **web: Any) -> None:
        self.engine = engine
        self.web = {"image": "nginx:alpine", "healthcheck": HEALTH, **web}
        client = {"image": "nginx:alpine", "command": ["sh", "-c", ASKS.format(url=url)]}
        self.client = {**client, "stop_grace_period": 10**9}

    def reconcile(self, **web: Any) -> Report:
        services = {"web": {**self.web, **web}}
        return reconcile(self.engine, Target(CLUSTER, "here", services | {"client": self.client}))

    def counts(self) -> tuple[int, int]:
        """(requests, those that failed) since the beginning"""
        lines = self.engine.logs("client", 1_000_000).split("\n")[:-1]
        return len(lines), sum(line != "good" for line in lines)

    def failures(self) -> list[str]:
        """How each one that failed did: curl's exit codes."""
        lines = self.engine.logs("client", 1_000_000).split("\n")[:-1]
        return [line for line in lines if line != "good"]

    def more(self, requests: int) -> tuple[int, int]:
        """The counts of so many requests more."""
        total, failed = self.counts()
        wait_for(
            lambda: self.counts()[0] >= total + requests, seconds=60, what="requests", every=0.3
        )
        after = self.counts()
        return after[0] - total, after[1] - failed

    def during(self, **web: Any) -> tuple[Report, tuple[int, int]]:
        """The counts while it is updated; what was asked for last is waited for."""
        total, failed = self.counts()
        report = self.reconcile(**web)
        self.more(10)
        after = self.counts()
        return report, (after[0] - total, after[1] - failed)


@pytest.fixture
def node(
    request: pytest.FixtureRequest, engine_of: Callable[[str], DockerEngine]
) -> Iterator[tuple[str, DockerEngine]]:
    engine = engine_of(request.param)
    sweep(engine, CLUSTER)
    yield request.param, engine
    sweep(engine, CLUSTER)


def tell(what: str, **phases: tuple[int, int]) -> None:
    told = ", ".join(f"{name} {bad} of {all_}" for name, (all_, bad) in phases.items())
    print(f"{what}: failed {told}")


@pytest.mark.parametrize("node", ["rpi-01", "rpi-02"], indirect=True)
def test_start_first(node: tuple[str, DockerEngine]) -> None:
    """Asked by its name in the network: no request fails, whether the new one is good or not."""
    name, engine = node
    load = Load(engine, "http://web/")
    assert not load.reconcile().errors
    load.more(20)
    load.during()  # what was asked before there was anyone is not counted
    before = load.more(100)
    first = load.engine.inspect("web")
    report, good = load.during(environment={"VERSION": "2"})
    assert not report.errors
    between = load.more(50)
    second = load.engine.inspect("web")
    report, bad = load.during(environment={"VERSION": "3"}, command=FAILS)
    after = load.more(50)
    third = load.engine.inspect("web")
    tell(f"{name} start-first", before=before, good=good, between=between, bad=bad, after=after)

    (plan,) = (s for s in report.plan["services"] if s["service"] == "web")
    assert plan["cost"] == "replace without downtime"
    (error,) = report.errors
    assert error["cause"].endswith("; the earlier one goes on serving")
    assert error["next"] == "docker logs web.otto-failed"
    assert "cannot bind" in engine.logs("web.otto-failed")
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.id != second.id == third.id
    assert second.inspect["State"]["StartedAt"] == third.inspect["State"]["StartedAt"]
    assert [bad for _, bad in (before, good, between, bad, after)] == [0] * 5, load.failures()


@pytest.mark.parametrize("node", ["rpi-01"], indirect=True)
def test_stop_first(node: tuple[str, DockerEngine]) -> None:
    """Asked at its published port: some fail while it is down, none afterwards, and the old
    container is back where the new one is bad."""
    name, engine = node
    port = {"target": 80, "published": PORT, "host_ip": "", "protocol": "tcp"}
    load = Load(engine, f"http://{LAB_HOSTS[name]}:{PORT}/", ports=[port])
    assert not load.reconcile().errors
    load.more(20)
    before = load.more(100)
    report, good = load.during(environment={"VERSION": "2"})
    assert not report.errors
    between = load.more(50)
    second = load.engine.inspect("web")
    report, bad = load.during(environment={"VERSION": "3"}, command=FAILS)
    after = load.more(50)
    third = load.engine.inspect("web")
    tell(f"{name} stop-first", before=before, good=good, between=between, bad=bad, after=after)

    (plan,) = (s for s in report.plan["services"] if s["service"] == "web")
    assert plan["cost"] == "replace with a stop"
    (error,) = report.errors
    assert error["cause"].endswith("; the earlier one was put back")
    assert second is not None
    assert third is not None
    assert (second.id, third.state) == (third.id, "running")
    assert [bad for _, bad in (before, between, after)] == [0] * 3
