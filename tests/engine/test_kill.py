# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 between every pair of operations, on a real engine: the next run converges.

A child process carries out an apply with an engine that ends the process at a chosen operation:
before it is carried out, or after it and before anybody heard so. Then a fresh run goes on from
what is there: an apply, or the agent, which has nothing but the state directory.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.journal import Journal, entries
from ansible_collections.otto.cluster.plugins.module_utils.model import ObservedContainer, Target
from ansible_collections.otto.cluster.plugins.module_utils.operations import Operation, Remove
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import (
    Report,
    apply,
    reconcile,
)
from ansible_collections.otto.cluster.plugins.module_utils.state import TargetStore

from .conftest import IMAGE, URL

STAYS = ["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"]
QUICK = {"test": ["CMD", "true"], "interval": 100_000_000, "timeout": 2_000_000_000, "retries": 9}
"""A healthcheck that says soon that all is well: a container without one is watched for 2 s."""
AT_ONCE = 4
# Threads start them here, which a plain fork does not take well; the server has imported all.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload([__name__])
SHORT = 30.0  # seconds in which the old or the new container has to run again


class Dying(DockerEngine):
    """An engine whose process is killed with SIGKILL at operation `at`: before or after it."""

    at = 0
    after = False
    count = 0

    def execute(self, operation: Operation, progress: Any = None) -> bool:
        self.count += 1
        if self.count == self.at and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        changed = super().execute(operation, progress)
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return changed


@dataclass(frozen=True)
class Case:
    """What a run is killed in: from one spec to another; None for no such service."""

    before: dict[str, Any] | None
    after: dict[str, Any] | None

    def targets(self, cluster: str) -> tuple[Target, Target]:
        first, second = (
            Target(cluster, "here", {"web": _spec(cluster, spec)} if spec is not None else {})
            for spec in (self.before, self.after)
        )
        return first, second


def _spec(cluster: str, more: dict[str, Any]) -> dict[str, Any]:
    return {
        "image": IMAGE,
        "command": STAYS,
        "container_name": f"{cluster}-web",
        "network_mode": "none",
        "healthcheck": QUICK,
        **more,
    }


CASES = {
    "create": Case(None, {}),
    "replace stop-first": Case({}, {"environment": {"MODE": "new"}, "update_order": "stop-first"}),
    "replace start-first": Case(
        {}, {"environment": {"MODE": "new"}, "update_order": "start-first"}
    ),
    "update in place": Case({}, {"mem_limit": 64 << 20, "cpu_shares": 512}),
    "remove": Case({}, None),
}


def _ended(directory: Path, count: int) -> NoReturn:
    """Beside the state directory, because forkserver sometimes loses what a process ended with."""
    directory.with_suffix(".ended").write_text(str(count))
    os._exit(0)


def _work(directory: Path, target: Target, at: int, after: bool) -> None:
    with Dying(URL) as engine:
        engine.at, engine.after = at, after
        report = apply(engine, TargetStore(directory), target)
        _ended(directory, engine.count if not report.errors else 101)


def killed(
    directory: Path, target: Target, at: int, after: bool = False, *, agent: bool = False
) -> int:
    """Apply, or mend as the agent does, in a process of its own; returns how many operations it
    began, or -9 if it was killed."""
    work = _agents_work if agent else _work
    process = CHILDREN.Process(target=work, args=(directory, target, at, after))
    process.start()
    process.join(60)
    assert process.exitcode is not None, "the run hangs"
    ended = directory.with_suffix(".ended")
    if ended.exists():
        count = int(ended.read_text())
        ended.unlink()
        return count
    assert process.exitcode in (-signal.SIGKILL, 255), "it ended by itself, and badly"
    return -signal.SIGKILL


def by_apply(engine: DockerEngine, directory: Path, target: Target) -> Report:
    return apply(engine, TargetStore(directory), target)


def by_agent(engine: DockerEngine, directory: Path, _target: Target) -> Report:
    """As the agent does: from the state directory, under the lock, no pull and no second try."""
    store = TargetStore(directory)
    with store.lock(10, "agent"):
        target = store.read()
        assert target is not None
        return reconcile(
            engine,
            target,
            previous=store.good(),
            refresh=False,
            retry_failed=False,
            journal=Journal(directory, "agent", target.revision),
        )


def _agents_work(directory: Path, target: Target, at: int, after: bool) -> None:
    with Dying(URL) as engine:
        engine.at, engine.after = at, after
        by_agent(engine, directory, target)
        _ended(directory, engine.count)


def seen(engine: DockerEngine, cluster: str) -> tuple[ObservedContainer, ...]:
    return engine.observe(Target(cluster, "here")).containers


def clean(engine: DockerEngine, cluster: str) -> None:
    for container in seen(engine, cluster):
        engine.execute(Remove(container.name, container.id, force=True, volumes=True))


def points(
    engine: DockerEngine, directory: Path, cluster: str, case: Case
) -> Iterable[tuple[int, bool]]:
    """Every place between two operations: before each one, and after the last."""
    first, second = case.targets(cluster)
    assert killed(directory, first, 0) < 100
    count = killed(directory, second, 0)
    assert 0 < count < 100
    clean(engine, cluster)
    return [(number, False) for number in range(1, count + 1)] + [(count, True)]


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_killed_between_any_two_operations(
    engine: DockerEngine, cluster: str, tmp_path: Path, case: Case
) -> None:
    """Faults 2, 4: it converges, with no duplicate and no orphan; old or new serves in 30 s."""
    found = points(engine, tmp_path / "count", cluster, case)

    def one(number: int, after: bool, go_on: Callable[..., Report]) -> str:
        """What is wrong, "" for nothing."""
        own = f"{cluster}{number}{'x' if after else ''}{go_on.__name__[3:]}"
        directory = tmp_path / own
        first, second = case.targets(own)
        place = f"killed {'after' if after else 'before'} operation {number}, then {go_on.__name__}"
        try:
            assert killed(directory, first, 0) < 100
            assert killed(directory, second, number, after) == -signal.SIGKILL
            cut = Journal(directory).interrupted()
            steps = list(entries(directory / "journal.jsonl"))
            begun = [e["operation"]["line"] for e in steps if e["event"] == "step"]
            assert cut is not None
            assert (cut.revision, cut.operation) == (second.revision, begun[-1])
            began = time.monotonic()
            report = go_on(engine, directory, second)
            assert not report.errors, report.errors
            assert report.interrupted == cut
            assert Journal(directory).interrupted() is None
            left = seen(engine, own)
            names = [f"{own}-web"] if case.after is not None else []
            assert [container.name for container in left] == names, "an orphan or a duplicate"
            while not all(c.state == "running" and c.health == "healthy" for c in left):
                assert time.monotonic() - began < SHORT, "it does not serve in time"
                left = seen(engine, own)
            again = reconcile(engine, second, previous=second, check=True)
            assert not again.changed, again.plan
            return ""
        except AssertionError as error:
            return f"{place}: {error}"
        finally:
            clean(engine, own)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [
            pool.submit(one, number, after, go_on)
            for number, after in found
            for go_on in (by_apply, by_agent)
        ]
        wrong = [run.result() for run in runs]
    print(f"{len(found)} places, each gone on with by an apply and by the agent")
    assert not any(wrong), "\n".join(filter(None, wrong))


def test_the_agent_killed_between_any_two_operations(
    engine: DockerEngine, cluster: str, tmp_path: Path
) -> None:
    """Faults 2, 4: it mends a live edit by a replacement, is killed in it and started again."""
    case = CASES["replace stop-first"]
    found = points(engine, tmp_path / "count", cluster, case)

    def one(number: int, after: bool) -> str:
        own = f"{cluster}{number}{'x' if after else ''}"
        directory = tmp_path / own
        first, second = case.targets(own)
        try:
            assert killed(directory, first, 0) < 100
            TargetStore(directory).settle(second)
            assert killed(directory, second, number, after, agent=True) == -signal.SIGKILL
            began = time.monotonic()
            report = by_agent(engine, directory, second)
            assert not report.errors, report.errors
            assert report.interrupted is not None
            assert report.interrupted.holder == "agent"
            (left,) = seen(engine, own)
            assert (left.name, left.state) == (f"{own}-web", "running")
            assert time.monotonic() - began < SHORT
            return ""
        except AssertionError as error:
            return f"killed {'after' if after else 'before'} operation {number}: {error}"
        finally:
            clean(engine, own)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = list(pool.map(lambda place: one(*place), found))
    assert not any(wrong), "\n".join(filter(None, wrong))
