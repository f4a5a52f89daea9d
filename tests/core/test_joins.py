# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that use another's namespace, mounts or name: found again, and made anew with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.plan import plan

from tests.core.model_engine import ModelEngine
from tests.core.test_plan import engine, service_plan, settled, spec, target

KEYS = ("network_mode", "ipc", "pid")


def joined(key: str, **options: Any) -> Target:
    return target(vpn=spec(**options), app=spec(**{key: "service:vpn"}))


def running(wanted: Target) -> ModelEngine:
    node = engine()
    _, errors = node.carry_out(wanted)
    assert not errors
    settled(node, wanted)
    return node


@pytest.mark.parametrize("key", KEYS)
def test_a_new_container_of_the_one_is_a_new_one_of_the_other(key: str) -> None:
    """In the same pass: the engine keeps ids, and the old one's namespace is gone."""
    node = running(joined(key))
    first = node.containers["app"]["Id"]
    wanted = joined(key, environment={"A": "1"})
    whole, errors = node.carry_out(wanted)
    assert not errors
    assert [one.verdict for one in whole.services] == ["recreate", "recreate"]
    assert [c.key for c in whole.services[1].changes] == [key]
    assert node.containers["app"]["Id"] != first
    settled(node, wanted)


@pytest.mark.parametrize("key", KEYS)
def test_one_whose_namespace_is_gone_is_made_anew(key: str) -> None:
    wanted = joined(key)
    node = running(wanted)
    node.containers["app"]["HostConfig"][
        {"network_mode": "NetworkMode", "ipc": "IpcMode", "pid": "PidMode"}[key]
    ] = "container:" + "f" * 64
    found = service_plan(node, wanted, "app")
    assert found.verdict == "recreate"
    assert [change.line() for change in found.changes] == [
        f"{key}: container:{'f' * 12} (gone) -> container:vpn [drift]"
    ]


def test_one_that_was_started_before_the_other_is_made_anew() -> None:
    wanted = joined("network_mode")
    node = running(wanted)
    seen = node.observe()
    times = {"vpn": "2026-01-01T00:00:01.5Z", "app": "2026-01-01T00:00:01.123456789Z"}
    for container in seen.containers:
        container.inspect["State"] = {"StartedAt": times[container.name]}  # type: ignore[index]
    found = plan(wanted, seen).services
    assert [one.verdict for one in found] == ["up_to_date", "recreate"]
    # The node's clock was ahead when the one was started, and is right again: no drift for years.
    assert plan(wanted, replace(seen, now="2026-01-01T00:00:01.400000000")).empty
    times["app"] = "2026-01-01T00:00:01.50001Z"
    for container in seen.containers:
        container.inspect["State"] = {"StartedAt": times[container.name]}  # type: ignore[index]
    assert plan(wanted, seen).empty


def test_links_are_names_on_the_networks() -> None:
    wanted = target(db=spec(container_name="base"), app=spec(links=["db:database"]))
    node = running(wanted)
    assert node.containers["app"]["NetworkSettings"]["Networks"]["home_default"]["Links"] == [
        "base:database"
    ]
    without = target(db=spec(container_name="base"), app=spec())
    found = service_plan(node, without, "app")
    assert found.verdict == "update"
    node.carry_out(without)
    settled(node, without)


def test_mounts_are_of_the_container_of_that_service() -> None:
    wanted = target(db=spec(container_name="base"), app=spec(volumes_from=["db:ro"]))
    node = running(wanted)
    assert node.containers["app"]["HostConfig"]["VolumesFrom"] == ["base:ro"]
