# SPDX-License-Identifier: GPL-3.0-or-later
"""One plan, whoever asks: check mode, --diff, otto-run plan, the run itself, the agent."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.edge import diff_of
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.operations import Remove, Update
from ansible_collections.otto.cluster.plugins.module_utils.plan_document import digest_of
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import apply, reconcile
from ansible_collections.otto.cluster.plugins.module_utils.state import TargetStore

from otto_run import plans

from .conftest import IMAGE


def target(cluster: str, mode: str) -> Target:
    specs = {
        name: {
            "image": IMAGE,
            "command": ["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"],
            "container_name": f"{cluster}-{name}",
            "network_mode": "none",
            "environment": {"MODE": mode, "TOKEN": f"secret-{mode}"} if name == "web" else {},
            "cpu_shares": 512,
        }
        for name in ("web", "db", "gone")
    }
    return Target(cluster, "here", specs, sensitive=dict.fromkeys(specs, ("TOKEN",)))


def test_one_plan_for_all(engine: DockerEngine, cluster: str, tmp_path: Path) -> None:
    """A change of the file, a live edit, and a container removed by hand, all at once."""
    store = TargetStore(tmp_path)
    assert not apply(engine, store, target(cluster, "one")).errors
    engine.execute(Update(f"{cluster}-db", {"CpuShares": 77}))
    engine.execute(Remove(f"{cluster}-gone", force=True))
    wanted = target(cluster, "two")

    checked = apply(engine, store, wanted, check=True).plan
    agents = reconcile(
        engine, wanted, previous=store.good(), check=True, refresh=False, retry_failed=False
    ).plan
    assert agents == checked
    shown = plans.read("here", {"changed": True, "plan": checked})
    assert shown.document is checked
    assert shown.lines == (
        "± web: recreate (replace with a stop)",
        "    environment.MODE: one -> two",
        "    environment.TOKEN: (hidden) -> (hidden)",
    )
    assert shown.drift == (
        "~ db: update (in place)",
        "    cpu_shares: 77 -> 512",
        "+ gone: create",
        "    container: gone -> there",
    )
    diff = diff_of(checked)
    assert "  environment.MODE: one" in diff["before"]
    assert "  environment.MODE: two" in diff["after"]
    assert "secret-" not in str(diff)

    report = apply(engine, store, wanted, expect=digest_of(checked))
    assert not report.errors
    assert report.plan == checked
    assert apply(engine, store, wanted, check=True).plan["empty"]
