# SPDX-License-Identifier: GPL-3.0-or-later
"""Start-first, replicas, hooks, depends_on and new networks on a real engine, each once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.model import ObservedContainer, Target
from ansible_collections.otto.cluster.plugins.module_utils.operations import Exec
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import Report, reconcile

from ..conftest import wait_for
from .conftest import IMAGE
from .test_reconcile import ENDS, STAYS, Cut, CutOff


def of(cluster: str, networks: Any = None, **services: Any) -> Target:
    """Services with names that nobody else uses: `web` becomes `<cluster>-web`."""
    specs: dict[str, Any] = {}
    for name, more in services.items():
        specs[f"{cluster}-{name}"] = {"image": IMAGE, "command": STAYS, **more}
    return Target(cluster, "here", specs, networks or {})


def found(engine: DockerEngine, cluster: str) -> dict[str, ObservedContainer]:
    """name without the cluster -> container"""
    there = engine.observe(Target(cluster, "here")).containers
    return {container.name[len(cluster) + 1 :]: container for container in there}


def errors(report: Report) -> dict[str, str]:
    return {error["service"].rpartition("-")[2]: error["cause"] for error in report.errors}


@pytest.mark.parametrize("cut", [2, 4, 7, 8])
def test_start_first_cut_off(engine: DockerEngine, cluster: str, cut: int) -> None:
    """Before it is started, proved, connected again, and between the renames: the next run ends it,
    and until then somebody serves under the service's name."""
    name, network = f"{cluster}-web", f"{cluster}_default"
    reconcile(engine, of(cluster, web={}))
    new = of(cluster, web={"environment": {"NEW": "1"}})
    with pytest.raises(CutOff):
        reconcile(Cut(engine, cut), new)
    aliases = [
        set(container.inspect["NetworkSettings"]["Networks"][network]["Aliases"] or ())
        for container in found(engine, cluster).values()
        if container.state == "running"
        and network in container.inspect["NetworkSettings"]["Networks"]
    ]
    assert [names for names in aliases if name in names]
    report = reconcile(engine, new)
    assert not report.errors
    there = found(engine, cluster)
    assert set(there) == {"web"}
    assert "NEW=1" in there["web"].inspect["Config"]["Env"]
    assert not reconcile(engine, new).changed


def test_replicas_come_and_go(engine: DockerEngine, cluster: str) -> None:
    """1 -> 3 -> 1: who runs goes on running, under its other name."""
    reconcile(engine, of(cluster, web={}))
    first = found(engine, cluster)["web"]
    for count, names in ((3, {"web-1", "web-2", "web-3"}), (1, {"web"})):
        report = reconcile(engine, of(cluster, web={"replicas": count}))
        assert not report.errors
        there = found(engine, cluster)
        assert set(there) == names
        kept = next(c for c in there.values() if c.id == first.id)
        assert kept.inspect["State"]["StartedAt"] == first.inspect["State"]["StartedAt"]
        assert not reconcile(engine, of(cluster, web={"replicas": count})).changed


def test_hooks(engine: DockerEngine, cluster: str) -> None:
    """They run in the container; what a failing one wrote is in the error, and nothing is lost."""

    def hooked(version: str, post: str, pre: str = "exit 7") -> Target:
        hooks = {
            "post_start": [{"command": ["sh", "-c", post], "environment": {"WHO": "otto"}}],
            "pre_stop": [{"command": ["sh", "-c", pre]}],
        }
        return of(cluster, web={"environment": {"V": version}, **hooks})

    told: list[str] = []
    good = hooked("1", 'echo "$WHO was here" > /proc/1/fd/1')
    assert not reconcile(engine, good).errors
    before = found(engine, cluster)
    assert set(before) == {"web"}
    assert "otto was here" in engine.logs(before["web"].id)
    bad = reconcile(engine, hooked("2", "echo no such table; echo sorry >&2; exit 3"))
    # The two streams come by pipes of their own, so the engine may hear the second one first.
    said = errors(bad)["web"].partition("it ended with exit code 3 (")[2].partition(")")[0]
    assert sorted(said.split(" | ")) == ["no such table", "sorry"]
    assert found(engine, cluster)["web"].id == before["web"].id
    again = reconcile(engine, hooked("3", "true"), progress=told.append)
    assert not again.errors
    assert [line for line in told if "pre_stop" in line and "exit code 7" in line]
    assert set(found(engine, cluster)) == {"web"}


def test_conditions_of_depends_on(engine: DockerEngine, cluster: str) -> None:
    """A job is waited for to its end; who needs what fails is left as it is, and says so."""

    def target(job: list[str]) -> Target:
        needs = {"condition": "service_completed_successfully", "required": True, "restart": False}
        return of(
            cluster,
            job={"command": job, "restart": "no"},
            web={"environment": {"JOB": job[-1]}, "depends_on": {f"{cluster}-job": needs}},
        )

    report = reconcile(engine, target(["sh", "-c", "sleep 1; exit 0"]))
    assert not report.errors
    there = found(engine, cluster)
    ended = there["job"].inspect["State"]["FinishedAt"]
    assert there["web"].inspect["State"]["StartedAt"] > ended
    report = reconcile(engine, target(ENDS))
    assert errors(report)["web"] == f"it depends on {cluster}-job, which failed"
    assert found(engine, cluster)["web"].id == there["web"].id
    assert found(engine, cluster)["web"].state == "running"


def test_what_a_dependency_went_through_before_says_nothing(
    engine: DockerEngine, cluster: str
) -> None:
    """It crashed once, Docker started it again, and it is well: who depends on it is made."""
    loop = "while :; do [ -e /die ] && rm /die && exit 1; sleep 0.1; done"
    db = {
        "command": ["sh", "-c", loop],
        "healthcheck": {"test": ["CMD", "true"], "interval": 10**9},
    }
    needs = {"condition": "service_healthy", "required": True, "restart": False}
    once_more = ["sh", "-c", "[ -e /ran ] && exit 0; touch /ran; exit 1"]
    job = {"command": once_more, "restart": "on-failure:3"}
    done = {"condition": "service_completed_successfully", "required": True, "restart": False}
    assert "db" not in errors(reconcile(engine, of(cluster, db=db, job=job)))
    there = found(engine, cluster)["db"]
    engine.execute(Exec(there.name, "post_start", 1, {"Cmd": ["touch", "/die"]}, there.id))

    def restarted() -> bool:
        seen = found(engine, cluster)
        assert seen["db"].id == there.id
        once = all(container.inspect["RestartCount"] == 1 for container in seen.values())
        return once and seen["db"].health == "healthy" and seen["job"].state == "exited"

    wait_for(restarted, seconds=15, what="Docker to start both again")
    web = {"depends_on": {f"{cluster}-db": needs, f"{cluster}-job": done}}
    report = reconcile(engine, of(cluster, db=db, job=job, web=web))
    assert not report.errors
    assert found(engine, cluster)["web"].state == "running"


def test_what_a_hook_prints_of_a_secret_is_told_nobody(engine: DockerEngine, cluster: str) -> None:
    def target(version: str) -> Target:
        hook = {"command": ["sh", "-c", "echo $PASSWORD; exit 7"]}
        environment = {"PASSWORD": "tr0ub4dor", "V": version}
        made = of(cluster, web={"environment": environment, "pre_stop": [hook]})
        return replace(made, sensitive={f"{cluster}-web": ("PASSWORD",)})

    told: list[str] = []
    for version in "12":
        assert not reconcile(engine, target(version), progress=told.append).errors
    (line,) = [line for line in told if "exit code 7" in line]
    assert "(hidden)" in line
    assert "tr0ub4dor" not in line


def test_a_network_is_made_anew(engine: DockerEngine, cluster: str) -> None:
    """Its containers go on running and are on the new one under their names."""
    networks = [
        {"default": {"name": f"{cluster}_default", "external": False, "internal": internal}}
        for internal in (False, True)
    ]
    reconcile(engine, of(cluster, networks[0], web={}, db={}))
    before = found(engine, cluster)
    target = of(cluster, networks[1], web={}, db={})
    report = reconcile(engine, target)
    assert not report.errors
    assert [step["op"] for step in report.plan["before"]] == ["replace_network"]
    after = found(engine, cluster)
    assert {n: c.id for n, c in after.items()} == {n: c.id for n, c in before.items()}
    assert engine.observe(target).networks[f"{cluster}_default"].inspect["Internal"] is True
    assert not reconcile(engine, target).changed
