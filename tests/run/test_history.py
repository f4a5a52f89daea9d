# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a rollback goes, what a saved plan is refused for, and how both are told. Pure but for
the files."""

from __future__ import annotations

import json
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.plan_document import digest_of

from otto_run import history, saved
from otto_run.exits import Stop
from otto_run.store import ApplyNode, ApplyRecord, Store
from otto_run.store_tables import STEPS

NODES = ["rpi-01", "rpi-02"]


def made(*rows: str) -> list[ApplyRecord]:
    """Applies from `kind result first second`; A! is a revision that failed, - a node left out."""
    found = []
    for number, row in enumerate(rows, 1):
        kind, result, *revisions = row.split()
        back = int(kind[8:]) if kind.startswith("rollback") else None
        nodes = {
            node: ApplyNode(
                revision.rstrip("!") * 16, "failed" if revision.endswith("!") else "done"
            )
            for node, revision in zip(NODES, revisions, strict=True)
            if revision != "-"
        }
        found.append(ApplyRecord(number, 1000.0, kind[:8], "otto.yaml", result, back, nodes))
    return found


@pytest.mark.parametrize(
    ("applies", "number", "revisions"),
    [
        # The last one was good: back to the one before.
        (("apply done a a", "apply done b b"), 1, "aa"),
        # An apply that changed nothing is no step on the way back.
        (("apply done a a", "apply done b b", "apply done b b"), 1, "aa"),
        # The last one failed: back to the last good one, which was reached.
        (("apply done a a", "apply done b b", "apply failed c! c"), 2, "bb"),
        (("apply done a a", "apply failed b! b!", "apply failed c! c!"), 1, "aa"),
        # One that was cut off says nothing of its nodes.
        (("apply done a a", "apply done b b", "apply begun - -"), 1, "aa"),
        # An apply of one node leaves the other as it was.
        (("apply done a b", "apply done c -", "apply done - d"), 2, "cb"),
        # A second rollback goes further back, not forward again.
        (("apply done a a", "apply done b b", "apply done c c", "rollback2 done b b"), 1, "aa"),
        (
            ("apply done a a", "apply done b b", "rollback1 done a a", "apply done c c"),
            1,
            "aa",
        ),
    ],
)
def test_rollback_without_a_number(applies: tuple[str, ...], number: int, revisions: str) -> None:
    goal = history.goal(made(*applies), "", NODES)
    assert goal.number == number
    assert dict(goal.revisions) == {
        node: letter * 16 for node, letter in zip(NODES, revisions, strict=True)
    }


@pytest.mark.parametrize(
    ("which", "number", "revisions"),
    [
        ("1", 1, {"rpi-01": "a" * 16}),
        ("2", 2, {"rpi-01": "b" * 16, "rpi-02": "b" * 16}),
        ("bbbbbbb", None, {"rpi-01": "b" * 16, "rpi-02": "b" * 16}),
        ("a" * 16, None, {"rpi-01": "a" * 16}),
    ],
)
def test_rollback_to_what_is_named(
    which: str, number: int | None, revisions: dict[str, str]
) -> None:
    goal = history.goal(made("apply done a -", "apply done b b", "apply done c c"), which, NODES)
    assert goal.number == number
    assert goal.revisions == revisions
    assert goal.without == (("rpi-02",) if which == "1" else ())


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("9", "there is no apply 9"),
        ("fffffff", "no apply from here gave"),
        ("f" * 16, "no apply from here gave"),
        ("yesterday", "neither the number of an apply nor a revision"),
        ("", "no earlier good apply"),
    ],
)
def test_a_rollback_to_nowhere_says_so(which: str, says: str) -> None:
    with pytest.raises(Stop) as caught:
        history.goal(made("apply done a a"), which, NODES)
    assert says in caught.value.message
    assert "otto-run history" in caught.value.message


def test_the_same_file_with_other_images_is_another_place_to_go_back_to() -> None:
    first, second = (f"{'a' * 16}+{images * 6}" for images in "12")
    applies = [
        ApplyRecord(n, 1000.0, "apply", "otto.yaml", "done", None, {"rpi-01": ApplyNode(g, "done")})
        for n, g in enumerate((first, second), 1)
    ]
    assert history.goal(applies, "", ["rpi-01"]).revisions == {"rpi-01": first}
    assert history.goal(applies, first, ["rpi-01"]).revisions == {"rpi-01": first}
    assert history.goal(applies, "a" * 16, ["rpi-01"]).revisions == {"rpi-01": second}


def test_what_was_typed_in_full_is_no_beginning() -> None:
    plain, more = "a" * 16, "a" * 16 + "+111111"
    applies = [
        ApplyRecord(n, 1000.0, "apply", "otto.yaml", "done", None, {"rpi-01": ApplyNode(g, "done")})
        for n, g in enumerate((plain, more), 1)
    ]
    assert history.goal(applies, plain, ["rpi-01"]).revisions == {"rpi-01": plain}


def test_a_beginning_of_several_revisions_is_none() -> None:
    applies = [
        ApplyRecord(n, 1000.0, "apply", "otto.yaml", "done", None, {"rpi-01": ApplyNode(g, "done")})
        for n, g in enumerate(("1234567" + "a" * 9, "1234567" + "b" * 9), 1)
    ]
    with pytest.raises(Stop, match="several revisions of rpi-01: 1234567aaaaaaaaa, 1234567bbb"):
        history.goal(applies, "1234567", ["rpi-01"])


def test_a_node_may_know_a_revision_that_was_not_given_from_here() -> None:
    goal = history.goal(made("apply done a a"), "f" * 16, ["rpi-02"])
    assert goal.revisions == {"rpi-02": "f" * 16}


def test_the_store_keeps_applies_and_an_older_store_gets_the_tables(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "store.db") as older:
        older.executescript(STEPS[0] + "PRAGMA user_version=1")
    with Store(tmp_path / "store.db") as store:
        first = store.begin_apply("apply", "/x/otto.yaml", 1000.0)
        second = store.begin_apply("rollback", "/x/otto.yaml", 1001.0, first, actor="ann@laptop")
        nodes = {"rpi-01": ApplyNode("a" * 16, "done", ("web: image",))}
        store.end_apply(second, "done", nodes)
        assert store.applies() == [
            ApplyRecord(first, 1000.0, "apply", "/x/otto.yaml", "begun"),
            ApplyRecord(
                second, 1001.0, "rollback", "/x/otto.yaml", "done", first, nodes, "ann@laptop"
            ),
        ]
        store_applies = store.applies()
        shown = history.shown(store_applies, None)
    assert [line.split()[-1] for line in shown.splitlines()] == ["CHANGED", "-", "image"]
    assert "no end" in shown
    assert "rollback to 1  ann@laptop" in shown
    assert [each["actor"] for each in history.as_json(store_applies)] == ["", "ann@laptop"]


def test_a_store_of_before_the_actors_is_kept(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "store.db") as older:
        older.executescript("".join(STEPS[:3]) + "PRAGMA user_version=3;")
        older.execute("INSERT INTO applies (time, kind, file) VALUES (1.0, 'apply', 'x')")
    with Store(tmp_path / "store.db") as store:
        (record,) = store.applies()
    assert (record.kind, record.actor) == ("apply", "")
    assert history.shown([record], None).splitlines()[1].split()[4] == "-"


# ---- saved plans


def plan(*services: dict[str, Any]) -> dict[str, Any]:
    return {"before": [], "services": list(services), "after": [], "troubles": [], "empty": False}


def web(verdict: str, *changes: tuple[str, str | None, str | None, str]) -> dict[str, Any]:
    return {
        "service": "web",
        "verdict": verdict,
        "changes": [dict(zip(("key", "old", "new", "why"), c, strict=True)) for c in changes],
        "pulls": [],
        "operations": [{"op": "x", "line": verdict}] if verdict != "up_to_date" else [],
        "error": None,
    }


MODE = ("environment.MODE", "dark", "light", "file")
TARGET = Target("home", "rpi-01", {"web": {"image": "nginx", "environment": {"P": "tr0ub4dor"}}})
RESULT = {
    "changed": True,
    "plan": plan(web("recreate", MODE)),
    "plan_digest": digest_of(plan(web("recreate", MODE))),
}


@pytest.fixture
def kept(tmp_path: Path) -> saved.SavedPlan:
    node = saved.node_of(TARGET, RESULT, ["install Docker"])
    made = saved.SavedPlan(tmp_path / "plan.json", "home", 1000.0, {"rpi-01": node})
    saved.write(made)
    return saved.read(made.path)


def test_a_saved_plan_is_for_its_owner_and_holds_no_secret(kept: saved.SavedPlan) -> None:
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    assert "tr0ub4dor" not in kept.path.read_text()
    assert saved.file_moved(kept, {"rpi-01": TARGET}, "home") == []
    assert saved.node_moved(kept, "rpi-01", RESULT, ["install Docker"]) == []
    assert [path.name for path in kept.path.parent.iterdir()] == ["plan.json"]


@pytest.mark.parametrize(
    ("target", "service", "says"),
    [
        (None, "", "no longer in the file"),
        (Target("home", "rpi-01", {"web": {"image": "nginx:2"}}), "web", "has changed since"),
        (Target("home", "rpi-01", {**TARGET.services, "db": {"image": "x"}}), "db", "has changed"),
        (Target("home", "rpi-01", TARGET.services, {}, {"d": {"name": "d"}}), "", "volumes"),
    ],
)
def test_refused_because_the_file_moved(
    kept: saved.SavedPlan, target: Target | None, service: str, says: str
) -> None:
    (failure,) = saved.file_moved(kept, {"rpi-01": target} if target else {}, "home")
    assert (failure.node, failure.service) == ("rpi-01", service)
    assert says in failure.message
    assert failure.next == f"otto-run plan --out {kept.path}"


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (
            plan(web("recreate", MODE, ("labels.team", "blue", "red", "drift"))),
            ["now also: labels.team: blue -> red [drift]"],
        ),
        (plan(), ["nothing to do any more; the saved plan: recreate"]),
        (plan(web("up_to_date")), ["nothing to do any more; the saved plan: recreate"]),
        (
            plan(web("create", MODE)),
            ["now create; the saved plan: recreate"],
        ),
        (
            plan(web("recreate", ("environment.MODE", "blue", "light", "file"))),
            [
                "now also: environment.MODE: blue -> light",
                "no longer: environment.MODE: dark -> light",
            ],
        ),
        (
            {
                **plan(web("recreate", MODE)),
                "after": [{"op": "remove_network", "line": "remove network x"}],
            },
            None,
        ),
    ],
)
def test_refused_because_the_node_moved(
    kept: saved.SavedPlan, now: dict[str, Any], says: list[str] | None
) -> None:
    found = saved.node_moved(kept, "rpi-01", {"plan": now, "plan_digest": digest_of(now)}, None)
    if says is None:
        assert [(f.service, f.cause) for f in found] == [("", "now also: remove network x")]
        return
    assert {failure.service for failure in found} == {"web"}
    assert [failure.cause for failure in found] == says


@pytest.mark.parametrize(
    "text", ["", "[]", "nodes: []", json.dumps({"otto": "plan", "format": 99, "nodes": {}})]
)
def test_what_is_no_saved_plan_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(Stop, match="there is no saved plan"):
        saved.read(path)
    path.write_text(text)
    with pytest.raises(Stop, match="no plan that this otto-run has saved"):
        saved.read(path)
