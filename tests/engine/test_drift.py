# SPDX-License-Identifier: GPL-3.0-or-later
"""Live edits on both engine versions: each is found as drift, and mended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.model import ObservedContainer, Target
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    Connect,
    Create,
    CreateNetwork,
    Disconnect,
    Remove,
    Rename,
    Start,
    Stop,
    Update,
)
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import reconcile

from .conftest import sweep

CLUSTER = "drifting"
OTHER = f"{CLUSTER}_other"
STAYS = ["sh", "-c", "trap exit TERM; while :; do sleep 0.2; done"]
Edit = Callable[[DockerEngine, ObservedContainer], None]


def _update(**settings: Any) -> Edit:
    return lambda engine, c: _do(engine, Update(c.name, settings, id=c.id))


def _do(engine: DockerEngine, *operations: Any) -> None:
    for operation in operations:
        engine.execute(operation)


def _by_hand(engine: DockerEngine, container: ObservedContainer) -> None:
    """Made anew as `docker run` would, with another variable and Otto's own labels."""
    document = container.inspect
    body = {
        "Image": container.image,
        "Cmd": STAYS,
        "Labels": dict(container.labels),
        "Env": [*document["Config"]["Env"], "BY=hand"],
        "HostConfig": document["HostConfig"],
    }
    _do(engine, Remove(container.name, container.id, force=True))
    _do(engine, Create(container.name, container.image, body), Start(container.name))


NETWORK = f"{CLUSTER}_default"
EDITS: dict[str, tuple[Edit, str, str]] = {
    # what is done by hand, the verdict, and how the change begins
    "cpus": (_update(NanoCpus=200_000_000), "update", "cpus: 0.2 -> 0.5"),
    "memory": (_update(Memory=96 << 20, MemorySwap=192 << 20), "update", "mem_limit: 96m -> 64m"),
    "restart": (
        _update(RestartPolicy={"Name": "no"}), "update", "restart: no -> unless-stopped"
    ),
    "disconnect": (
        lambda engine, c: _do(engine, Disconnect(c.name, NETWORK, id=c.id)),
        "update", f"networks.{NETWORK}: added",
    ),
    "connect": (
        lambda engine, c: _do(engine, Connect(c.name, OTHER, id=c.id)),
        "update", f"networks.{OTHER}: removed",
    ),
    "stop": (
        lambda engine, c: _do(engine, Stop(c.name, c.id, 1)), "start", "state: exited -> running"
    ),
    "rename": (
        lambda engine, c: _do(engine, Rename(c.name, "byhand", c.id)),
        "update", "container_name: byhand -> drift-rename",
    ),
    "remove": (
        lambda engine, c: _do(engine, Remove(c.name, c.id, force=True)), "create", ""
    ),
    "env": (_by_hand, "recreate", "environment.BY: removed (was hand)"),
}  # fmt: skip
UNTOUCHED = "untouched"


@pytest.mark.parametrize("host", ["rpi-01", "rpi-02"])
def test_each_live_edit_is_found_and_mended(
    engine_of: Callable[[str], DockerEngine], host: str
) -> None:
    """One look finds all of them, each told as drift; one pass mends them; the next is empty."""
    engine = engine_of(host)
    sweep(engine, CLUSTER)
    engine.execute(CreateNetwork(OTHER, {"Labels": {}}))
    web: dict[str, Any] = {
        "image": "busybox:latest",
        "command": STAYS,
        "cpus": 0.5,
        "mem_limit": 64 << 20,
    }
    target = Target(CLUSTER, "here", {f"drift-{name}": web for name in (*EDITS, UNTOUCHED)})
    try:
        report = reconcile(engine, target)
        assert not report.errors
        assert not reconcile(engine, target, previous=target).changed
        there = {c.name: c for c in engine.observe(target).containers}
        for name, (edit, _, _) in EDITS.items():
            edit(engine, there[f"drift-{name}"])

        report = reconcile(engine, target, previous=target)
        assert not report.errors
        for name, (_, verdict, line) in EDITS.items():
            service = report.services[f"drift-{name}"]
            assert (name, service["verdict"]) == (name, verdict)
            told = [change for change in service["changes"] if change.startswith(line)]
            assert told or not line, (name, service["changes"])
            assert all(change.endswith("[drift]") for change in service["changes"])
            assert service["state"] == "running"
        again = reconcile(engine, target, previous=target)
        assert not again.changed
        assert {s["verdict"] for s in again.services.values()} == {"up_to_date"}
        after = {c.name: c.id for c in engine.observe(target).containers}
        kept = {name for name, c in there.items() if after.get(name) == c.id}
        assert kept == set(there) - {"drift-remove", "drift-env"}
    finally:
        sweep(engine, CLUSTER)
        engine.call("DELETE", f"/networks/{OTHER}")
