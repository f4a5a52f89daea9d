# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole reconcile on a real engine: what it reaches, what it leaves, what it says."""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    ObservedContainer,
    Target,
    content_digest,
)
from ansible_collections.otto.cluster.plugins.module_utils.node_files import WithFiles
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    Create,
    Operation,
    Remove,
    Start,
    Stop,
    Update,
)
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import (
    Report,
    apply,
    reconcile,
    remove,
)
from ansible_collections.otto.cluster.plugins.module_utils.state import TargetStore

from .conftest import IMAGE

STAYS = ["sh", "-c", "trap exit TERM; while :; do sleep 0.2; done"]
ENDS = ["sh", "-c", "echo cannot bind; exit 3"]


def spec(cluster: str, service: str, **more: Any) -> dict[str, Any]:
    """A small service whose container has a name that nobody else uses."""
    return {
        "image": IMAGE,
        "command": STAYS,
        "container_name": f"{cluster}-{service}",
        "network_mode": "none",
        **more,
    }


def of(cluster: str, **services: dict[str, Any]) -> Target:
    specs = {name: spec(cluster, name, **more) for name, more in services.items()}
    return Target(cluster, "here", specs)


def containers(engine: DockerEngine, cluster: str) -> dict[str, ObservedContainer]:
    """name without the cluster -> container"""
    found = engine.observe(Target(cluster, "here")).containers
    return {container.name[len(cluster) + 1 :]: container for container in found}


def verdicts(report: Report) -> dict[str, str]:
    return {name: service["verdict"] for name, service in report.services.items()}


def test_create_then_nothing_then_update_then_remove(engine: DockerEngine, cluster: str) -> None:
    """Check mode foretells each step and changes nothing; the step itself is needed once."""
    first = of(cluster, web={}, db={"volumes": [], "environment": {"A": "1"}})
    second = of(cluster, web={"environment": {"B": "2"}})
    for target, expected in (
        (first, {"web": "create", "db": "create"}),
        (second, {"web": "recreate", "db": "remove"}),
    ):
        before = containers(engine, cluster)
        foretold = reconcile(engine, target, check=True)
        assert foretold.changed
        assert verdicts(foretold) == expected
        after_check = containers(engine, cluster)
        assert {n: c.id for n, c in before.items()} == {n: c.id for n, c in after_check.items()}

        done = reconcile(engine, target)
        assert done.changed
        assert not done.errors
        assert done.plan["services"] == foretold.plan["services"]
        found = containers(engine, cluster)
        for name in target.services:
            assert done.services[name]["state"] == "running"
            assert done.services[name]["container_id"] == found[name].id
        assert set(found) == set(target.services)

        again = reconcile(engine, target)
        assert not again.changed
        assert not again.plan["services"][0]["operations"]
        assert set(verdicts(again).values()) == {"up_to_date"}


def test_networks_and_volumes_come_and_go(engine: DockerEngine, cluster: str) -> None:
    """Services find each other by name; `remove` takes the networks, and the data only if told."""
    name = f"{cluster}_default"
    services = {
        "web": {
            **spec(cluster, "web", networks={"default": {}}),
            "healthcheck": {
                "test": ["CMD-SHELL", "ping -c1 -w1 db"],
                "interval": 200_000_000,
                "timeout": 2_000_000_000,
                "retries": 5,
            },
            "depends_on": ["db"],
        },
        "db": spec(
            cluster,
            "db",
            networks={"default": {}},
            volumes=[{"type": "volume", "source": "data", "target": "/d", "read_only": False}],
        ),
    }
    for one in services.values():
        del one["network_mode"]
    volume = f"{cluster}_data"
    target = Target(
        cluster,
        "here",
        services,
        {"default": {"name": name, "external": False}},
        {"data": {"name": volume, "external": False}},
    )
    report = reconcile(engine, target)
    assert not report.errors
    assert report.services["web"]["health"] == "healthy"
    assert not reconcile(engine, target).changed

    assert remove(engine, cluster, node="here", check=True).changed
    down = remove(engine, cluster, node="here")
    assert down.changed
    assert down.services["web"]["state"] == "absent"
    left = engine.observe(target)
    assert (left.containers, set(left.networks), set(left.volumes)) == ((), set(), {volume})
    assert remove(engine, cluster, True, node="here").changed
    assert not remove(engine, cluster, True, node="here").changed
    assert not engine.observe(target).volumes


def test_a_failed_update_puts_the_old_container_back(engine: DockerEngine, cluster: str) -> None:
    """Fault 25: the old one runs again, the failed one is kept for its logs, the others went on."""
    reconcile(engine, of(cluster, web={}, db={}))
    before = containers(engine, cluster)
    broken = of(cluster, web={"command": ENDS}, db={"environment": {"NEW": "1"}})
    report = reconcile(engine, broken)
    (error,) = report.errors
    assert error["service"] == "web"
    assert error["message"] == f"Container {cluster}-web did not come up"
    assert "cannot bind" in error["cause"]
    assert error["cause"].endswith("; the earlier one was put back")
    assert error["next"] == f"docker logs {cluster}-web.otto-failed"
    assert "cannot bind" in engine.logs(f"{cluster}-web.otto-failed")
    after = containers(engine, cluster)
    assert after["web"].id == before["web"].id
    assert after["web"].state == "running"
    assert report.services["web"]["container_id"] == before["web"].id
    assert after["db"].id != before["db"].id
    assert report.services["db"]["error"] is None

    # An agent leaves it at that and goes on saying so; the next apply tries again.
    swept = reconcile(engine, broken, previous=broken, refresh=False, retry_failed=False)
    assert not swept.changed
    assert swept.services["web"]["error"] is not None
    assert containers(engine, cluster)["web"].id == before["web"].id
    mended = reconcile(engine, of(cluster, web={"environment": {"NEW": "1"}}, db={}))
    assert not mended.errors
    assert set(containers(engine, cluster)) == {"web", "db"}


def test_an_image_that_cannot_be_had_stops_only_its_service(
    engine: DockerEngine, cluster: str
) -> None:
    """Fault 25: the pull fails before anything is touched: the old container never stopped."""
    reconcile(engine, of(cluster, web={}))
    before = containers(engine, cluster)["web"]
    missing = "10.77.0.1:5000/library/busybox:none"
    report = reconcile(engine, of(cluster, web={"image": missing}, db={}))
    (error,) = report.errors
    assert error["service"] == "web"
    assert error["message"] == f"Could not pull image {missing}"
    assert "manifest unknown" in error["cause"]
    after = containers(engine, cluster)
    assert after["web"].inspect["State"]["StartedAt"] == before.inspect["State"]["StartedAt"]
    assert after["db"].state == "running"


def test_a_program_of_another_format_leaves_the_old_container(
    engine: DockerEngine, cluster: str, tmp_path: Path
) -> None:
    """Fault 25: the kernel cannot run what the new container starts with; the old one serves."""
    files = WithFiles(engine, tmp_path)
    reconcile(files, of(cluster, web={}))
    before = containers(engine, cluster)["web"]
    program = b"\x7fELF of no machine"
    digest = content_digest(program)
    config = {"source": "p", "target": "/program", "mode": 0o555, "digest": digest}
    services = of(cluster, web={"command": ["/program"], "configs": [config]}).services
    content = {digest: base64.b64encode(program).decode()}
    report = reconcile(files, Target(cluster, "here", services, files=content))
    (error,) = report.errors
    assert "exec format error" in error["cause"]
    after = containers(engine, cluster)["web"]
    assert (after.id, after.state) == (before.id, "running")


class CutOff(BaseException):
    """The process dies here: nothing is caught, nothing is undone."""


class Cut:
    """An engine whose user dies before the nth operation."""

    def __init__(self, engine: DockerEngine, after: int) -> None:
        self.engine = engine
        self.left = after
        self.observe = engine.observe

    def execute(self, operation: Operation, progress: Any = None) -> bool:
        if self.left == 0:
            raise CutOff
        self.left -= 1
        return self.engine.execute(operation, progress)


def test_a_replace_cut_off_anywhere_is_finished_by_the_next_run(
    engine: DockerEngine, cluster: str
) -> None:
    """After each of its operations: the next reconcile reaches the target and leaves no rest."""
    old, new = of(cluster, web={}), of(cluster, web={"environment": {"NEW": "1"}})
    cuts = 0
    while True:
        reconcile(engine, old)
        try:
            reconcile(Cut(engine, cuts), new)
        except CutOff:
            cuts += 1
        else:
            break
        report = reconcile(engine, new)
        assert not report.errors
        (found,) = containers(engine, cluster).items()
        assert found[0] == "web"
        assert found[1].state == "running"
        assert "NEW=1" in found[1].inspect["Config"]["Env"]
    assert cuts == 7


def test_drift_is_mended(engine: DockerEngine, cluster: str) -> None:
    """Stopped, changed by hand, removed: each is brought back."""
    target = of(cluster, web={"mem_limit": 64 << 20}, db={}, job={})
    reconcile(engine, target)
    engine.execute(Update(f"{cluster}-web", {"Memory": 96 << 20, "MemorySwap": 192 << 20}))
    engine.execute(Stop(f"{cluster}-db"))
    engine.execute(Remove(f"{cluster}-job", force=True))
    report = reconcile(engine, target, previous=target)
    assert not report.errors
    assert verdicts(report) == {"web": "update", "db": "start", "job": "create"}
    assert report.services["web"]["changes"] == ["mem_limit: 96m -> 64m [drift]"]
    assert {c.state for c in containers(engine, cluster).values()} == {"running"}


def test_a_foreign_container_is_not_touched(engine: DockerEngine, cluster: str) -> None:
    """A name that is taken is said, in check mode too, and the stranger goes on running."""
    name = f"{cluster}-web"
    body = {"Image": IMAGE, "Cmd": STAYS, "HostConfig": {"NetworkMode": "none"}}
    engine.execute(Create(name, IMAGE, body))
    try:
        engine.execute(Start(name))
        for check in (True, False):
            report = reconcile(engine, of(cluster, web={}, db={}), check=check)
            (error,) = report.errors
            assert error["message"] == f"container {name} exists and is not Otto's"
        found = engine.inspect(name)
        assert found is not None
        assert found.state == "running"
        assert set(containers(engine, cluster)) == {"db"}
    finally:
        engine.execute(Remove(name, force=True))


def test_order_of_depends_on(cluster: str, engine: DockerEngine) -> None:
    """A service starts after those that it depends on; the others do not wait for it."""
    order: list[str] = []

    class Recorder:
        observe = engine.observe

        def execute(self, operation: Operation, progress: Any = None) -> bool:
            if isinstance(operation, Start):
                order.append(operation.container[len(cluster) + 1 :])
            return engine.execute(operation, progress)

    target = of(cluster, a={"depends_on": ["b"]}, b={"depends_on": ["c"]}, c={}, d={})
    reconcile(Recorder(), target)
    assert sorted(order) == ["a", "b", "c", "d"]
    assert order.index("c") < order.index("b") < order.index("a")
    assert order.index("d") < order.index("b")


def test_a_fault_of_ours_is_told_and_concerns_one_service(
    cluster: str, engine: DockerEngine
) -> None:
    """An unforeseen exception becomes an error of that service, without a traceback."""

    class Faulty:
        observe = engine.observe

        def execute(self, operation: Operation, progress: Any = None) -> bool:
            if isinstance(operation, Create) and operation.container.endswith("web"):
                raise KeyError("surprise")
            return engine.execute(operation, progress)

    report = reconcile(Faulty(), of(cluster, web={}, db={}))
    (error,) = report.errors
    assert error["service"] == "web"
    assert "KeyError: 'surprise'" in error["cause"]
    assert report.services["db"]["state"] == "running"


def test_the_run_that_ended_is_quoted_and_not_the_one_that_began(
    engine: DockerEngine, cluster: str
) -> None:
    """Docker has started it again before it is looked at; what it says now is no cause."""
    script = "[ -e /ran ] && echo here again && exec sleep 60; touch /ran; echo no port; exit 1"
    report = reconcile(engine, of(cluster, web={"command": ["sh", "-c", script]}))
    (error,) = report.errors
    assert "it ends and is started again and again (no port)" in error["cause"]
    assert "here again" in engine.logs(f"{cluster}-web")


def test_a_secret_in_a_log_is_hidden(engine: DockerEngine, cluster: str, tmp_path: Path) -> None:
    """What a container prints of a sensitive variable, a secret or a config is not in the report,
    line by line: a log has no more than some of them."""
    command = ["sh", "-c", 'echo "password is $PASSWORD"; cat /run/conf; echo; exit 1']
    text = b"battery staple\nok"
    name = content_digest(text)
    config = {"source": "c", "target": "/run/conf", "mode": 0o444, "digest": name}
    web = {
        "command": command,
        "environment": {"PASSWORD": "tr0ub4dor\ncorrect horse"},
        "configs": [config],
    }
    target = Target(
        cluster,
        "here",
        of(cluster, web=web).services,
        sensitive={"web": ("PASSWORD",)},
        files={name: base64.b64encode(text).decode()},
    )
    report = reconcile(WithFiles(engine, tmp_path), target)
    assert "password is (hidden) | (hidden) | (hidden) | ok" in report.errors[0]["cause"]
    for secret in ("tr0ub4dor", "correct horse", "battery staple"):
        assert secret not in str(report.to_json())


def test_apply_writes_first_and_settles_what_was_reached(
    engine: DockerEngine, cluster: str, tmp_path: Path
) -> None:
    """The agent sees the new target from the first operation on; good is what was reached."""
    store = TargetStore(tmp_path)
    first, second = of(cluster, web={}), of(cluster, web={"command": ENDS})
    assert reconcile(engine, first, check=True).changed
    assert apply(engine, store, first, check=True).changed
    assert list(tmp_path.iterdir()) == []
    assert not apply(engine, store, first).errors
    assert (store.read(), store.good()) == (first, first)

    class Looking:
        observe = engine.observe
        seen: Target | None = None

        def execute(self, operation: Operation, progress: Any = None) -> bool:
            self.seen = self.seen or store.read()
            assert "apply" in store.holder()
            return engine.execute(operation, progress)

    looking = Looking()
    assert apply(looking, store, second).errors
    assert looking.seen == second
    assert (store.read(), store.good()) == (second, first)


def test_two_applies_take_turns(cluster: str, engine: DockerEngine, tmp_path: Path) -> None:
    """The second waits for the first; with no time to wait it names who holds the lock."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow:
        observe = engine.observe
        images_in_use = engine.images_in_use

        def execute(self, operation: Operation, progress: Any = None) -> bool:
            inside.set()
            assert go_on.wait(20)
            return engine.execute(operation, progress)

    target = of(cluster, web={})
    store = TargetStore(tmp_path)
    slow = threading.Thread(target=lambda: apply(Slow(), store, target, holder="first apply"))
    slow.start()
    try:
        assert inside.wait(20)
        with pytest.raises(OttoError) as caught:
            apply(engine, store, target, lock_timeout=0)
        assert "first apply" in caught.value.cause
    finally:
        go_on.set()
        slow.join(30)
    assert not apply(engine, store, target).changed


def test_a_check_asks_once_for_all_and_once_for_each(
    cluster: str, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three lists, one inspect of each container and of their one image, and nothing twice."""
    target = of(cluster, **{f"s{i}": {} for i in range(5)})
    assert not reconcile(engine, target).errors
    engine.describe()  # version and info of the engine are asked once in its life
    asked: list[str] = []
    call = engine.call

    def counted(method: str, path: str, **more: Any) -> Any:
        asked.append(f"{method} {path}")
        return call(method, path, **more)

    monkeypatch.setattr(engine, "call", counted)
    assert not reconcile(engine, target, check=True).changed
    assert all(one.startswith("GET ") for one in asked)
    assert len(asked) == len(set(asked)), asked
    inspected = [one for one in asked if one.startswith("GET /containers/") and "/json" in one]
    assert len([one for one in inspected if one != "GET /containers/json"]) == 5
    assert len(asked) <= 5 + 8, asked
