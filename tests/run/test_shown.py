# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads: plans, states, failures. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otto_run import failures, hostkeys, plans, render, runner, status, telling
from otto_run.runner import Outcome, TaskFailed
from otto_run.store import NodeRecord


@dataclass(frozen=True)
class Node:
    id: str
    host: str = "10.0.0.1"
    user: str | None = "pi"
    port: int = 22
    identity_file: str | None = None
    jump: str | None = None
    through: None = None
    become: bool = True
    is_local: bool = False
    given_keys: bool = False


def test_a_plan_as_lines() -> None:
    plan = {
        "before": [{"op": "create_volume", "line": "create volume home_data"}],
        "services": [
            {"service": "same", "verdict": "up_to_date", "changes": [], "operations": []},
            {
                "service": "web",
                "verdict": "recreate",
                "changes": [
                    {"key": "environment.MODE", "old": "dark", "new": "light", "why": "file"},
                    {"key": "labels.team", "old": "blue", "new": None, "why": "drift"},
                ],
                "pulls": [{"line": "pull image nginx:alpine"}],
                "operations": [{"line": "create container web.otto-new"}],
            },
        ],
        "after": [{"op": "remove_network", "line": "remove network home_old"}],
    }
    found = plans.read("rpi-01", {"changed": True, "plan": plan})
    assert found.lines == (
        "+ create volume home_data",
        "± web: recreate",
        "    environment.MODE: dark -> light",
        "    labels.team: removed (was blue) [drift]",
        "    pull image nginx:alpine",
        "- remove network home_old",
    )
    assert plans.read("rpi-01", {"changed": False, "plan": plan}).empty


@pytest.mark.parametrize("result", [{}, {"changed": True}, {"changed": True, "plan": [1]}])
def test_a_result_without_a_plan_is_no_crash(result: dict[str, Any]) -> None:
    assert plans.read("rpi-01", result).empty


@pytest.mark.parametrize(
    ("entry", "spec", "ok"),
    [
        ({"state": "running", "health": "", "error": None}, {}, True),
        ({"state": "running", "health": "starting", "error": None}, {}, True),
        ({"state": "running", "health": "unhealthy", "error": None}, {}, False),
        ({"state": "running", "health": "", "error": {"message": "x"}}, {}, False),
        ({"state": "exited", "health": "", "error": None}, {}, False),
        ({"state": "exited", "health": "", "error": None}, {"restart": "no"}, True),
        ({}, {}, False),
    ],
)
def test_when_a_service_counts_as_well(
    entry: dict[str, Any], spec: dict[str, Any], ok: bool
) -> None:
    record = NodeRecord("rpi-01", report={"services": {"web": entry}})
    (node,) = status.assess(
        [Node("rpi-01")], {"rpi-01": {"web": spec}}, {"rpi-01": record}, now=1000
    )
    assert node.ok_count == int(ok)


def outcome(result: dict[str, Any], *, unreachable: bool = False, **more: Any) -> Outcome:
    failed = TaskFailed("rpi-01", "Some task", "some.action", unreachable, result)
    name = frozenset(["rpi-01"])
    return Outcome(
        code=2,
        nodes=name,
        changed=frozenset(),
        failed=frozenset() if unreachable else name,
        unreachable=name if unreachable else frozenset(),
        failures={"rpi-01": failed},
        results=more.get("results", {}),
        agents={},
        seconds=1.0,
    )


@pytest.mark.parametrize(
    ("text", "cause", "command"),
    [
        (
            "@@ REMOTE HOST IDENTIFICATION HAS CHANGED! @@",
            "another one",
            "ssh-keygen -R 10.0.0.1 -f ",
        ),
        ("Host key verification failed.", "is not known", "otto-run plan"),
        ("pi@10.0.0.1: Permission denied (publickey).", "nobody", "ssh-copy-id pi@10.0.0.1"),
        ("ssh: connect to host: Connection refused", "nothing listens", "on the node: "),
        ("ssh: connect to host: Connection timed out", "does not answer", "ssh "),
        ("something new", "something new", "ssh "),
    ],
)
def test_why_a_node_cannot_be_reached(
    text: str, cause: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The host itself is asked whether its key is another one; here it is.
    monkeypatch.setattr(hostkeys, "changed", lambda *_: True)
    found = failures.collect(
        outcome({"msg": text}, unreachable=True), {"rpi-01": Node("rpi-01")}, tmp_path / "known"
    )
    (failure,) = found
    assert failure.message == "cannot be reached"
    assert cause in failure.cause
    assert failure.next.startswith(command)


@pytest.mark.parametrize(
    "result",
    [
        {"msg": "x\n    cause     y\n    next\n    curl -s http://e | sudo sh"},
        {"msg": "x\n    cause     y\n\nnext      curl http://e | sudo sh   (safe)"},
        {"msg": "", "stderr": "boom\n    cause     a\n    next      curl http://e | sh"},
        {"msg": "x" + "\n" * 2600 + " next" + "\n" * 5200 + "curl\nz"},
        {"msg": "x", "next": "curl http://e | sh"},
    ],
)
def test_what_a_node_says_is_no_next_step(tmp_path: Path, result: dict[str, str]) -> None:
    """What to type next is read from its field, and there only what Otto knows."""
    said = runner.heard("otto.cluster.target", {**result, "failed": True, "of_node": True})
    nodes = {"rpi-01": Node("rpi-01")}
    (found,) = failures.collect(outcome(said), nodes, tmp_path)
    assert "curl" not in found.next


def test_a_node_that_says_its_key_has_changed_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session may say so; what the host shows is asked of the host."""
    monkeypatch.setattr(hostkeys, "changed", lambda *_: False)
    text = "REMOTE HOST IDENTIFICATION HAS CHANGED!"
    nodes = {"rpi-01": Node("rpi-01")}
    (found,) = failures.collect(outcome({"msg": text}, unreachable=True), nodes, tmp_path)
    assert "ssh-keygen" not in found.next


def test_failures_of_services_are_told_one_by_one(tmp_path: Path) -> None:
    hint = "docker pull web:1"
    error = {"service": "web", "message": "no image", "cause": "404\x1b[2J", "next": hint}
    result = {"report": {"errors": [error, {**error, "service": ""}]}}
    found = failures.collect(
        outcome({"msg": "page"}, results={"rpi-01": result}), {"rpi-01": Node("rpi-01")}, tmp_path
    )
    assert [failure.service for failure in found] == ["web", ""]
    assert str(found[0]) == (
        "rpi-01: web: no image\n    cause     404 [2J\n    next      "
        f"ssh -o UserKnownHostsFile={tmp_path} pi@10.0.0.1 'sudo docker pull web:1'"
    )


@pytest.mark.parametrize(
    ("result", "message", "next"),
    [
        ({"msg": "What\n    cause     x\n    next      do"}, "What", "do"),
        (
            {
                "msg": "What\n    cause  x",
                "cause": "why",
                "next": "otto-run apply",
                "of_node": True,
            },
            "What",
            "otto-run apply",
        ),
        ({"msg": "Missing sudo password"}, "pi may not use sudo", "on rpi-01: echo 'pi ALL"),
        ({"msg": "Odd"}, "failed at: Some task", "otto-run apply --limit rpi-01 -v"),
        ({}, "failed at: Some task", "otto-run apply --limit rpi-01 -v"),
    ],
)
def test_failures_of_tasks(result: dict[str, Any], message: str, next: str, tmp_path: Path) -> None:
    (failure,) = failures.collect(outcome(result), {"rpi-01": Node("rpi-01")}, tmp_path)
    assert failure.message.startswith(message)
    assert failure.next.startswith(next)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "never"), (0.4, "now"), (45, "45 s ago"), (600, "10 min ago"), (90000, "25 h ago")],
)
def test_age(seconds: float | None, text: str) -> None:
    assert render.age(seconds) == text


def test_a_table_is_aligned_and_cuts_nothing() -> None:
    shown = render.table(["node", "state"], [["é" * 3, "on\tgreen"], ["x" * 90, "off\tred"]])
    lines = shown.splitlines()
    assert [line.index(word) for line, word in zip(lines, ("STATE", "on", "off"), strict=True)] == [
        92,
        92,
        92,
    ]


@pytest.mark.parametrize(
    ("node", "said", "typed"),
    [
        (
            Node("a", port=2222),
            "docker logs web.otto-failed",
            "ssh -o UserKnownHostsFile=/k -p 2222 pi@10.0.0.1 'sudo docker logs web.otto-failed'",
        ),
        (
            Node("a", user="root", become=False, jump="me@gate"),
            "docker ps -a   (shows which there are)",
            "ssh -o UserKnownHostsFile=/k -o ProxyJump=me@gate root@10.0.0.1 'docker ps -a'"
            "   (shows which there are)",
        ),
        (Node("a", is_local=True), "docker logs web", "docker logs web"),
        (Node("a"), "check command and entrypoint", "check command and entrypoint"),
        (Node("a"), "otto-run apply   (writes it anew)", "otto-run apply   (writes it anew)"),
        (Node("a"), "", ""),
    ],
)
def test_what_to_type_next_is_typed_where_the_person_sits(
    node: Node, said: str, typed: str
) -> None:
    assert failures.from_here(node, said, Path("/k")) == typed


def test_what_several_nodes_say_is_told_once() -> None:
    held = [failures.Failure(node, "", "held back", "c failed", "otto-run apply") for node in "ab"]
    other = failures.Failure("c", "web", "sick")
    assert [each.node for each in failures.together([other, *held])] == ["c", "a, b"]


def test_what_a_registry_did_not_say_and_what_was_tidied_is_told() -> None:
    """Text of a node, cleaned; nothing where there is nothing to say."""
    note = {"message": "no word", "cause": "no route\x1b[2J", "next": "ping"}
    result = {
        "plan": {"notes": [note]},
        "report": {"pruned": ["remove image nginx:1 (sha256:ab)"]},
    }
    assert plans.asides("rpi-01", result) == [
        "rpi-01: no word\n    cause     no route [2J\n    next      ping",
        "rpi-01: removed image nginx:1 (sha256:ab), superseded",
    ]
    assert plans.asides("rpi-01", {"plan": {}}) == []


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("start container web", "at: start container web; this run"),
        ("", "before its first step; this run"),
    ],
)
def test_a_run_that_was_cut_off_is_told(at: str, says: str) -> None:
    before = {"holder": "apply of revision x", "revision": "x", "operation": at, "time": "12:00Z"}
    results = {"rpi-01": {"report": {"interrupted": before}}, "rpi-02": {"report": {}}}
    (line,) = telling.cut_off(outcome({}, results=results))
    assert line.startswith("rpi-01: apply of revision x was cut off (12:00Z) ")
    assert says in line


def test_drift_stands_apart() -> None:
    """A service that only drifted is in a section of its own; one that is both says which is."""
    moved = {"key": "labels.team", "old": "blue", "new": "red", "why": "drift"}
    mine = {"key": "image", "old": "a", "new": "b", "why": "file"}
    services = [
        {"service": "db", "verdict": "update", "changes": [moved], "cost": "in place"},
        {"service": "web", "verdict": "recreate", "changes": [mine, moved]},
    ]
    found = plans.read("rpi-01", {"changed": True, "plan": {"services": services}})
    assert plans.shown([found]) == (
        "rpi-01\n"
        "  ± web: recreate\n"
        "      image: a -> b\n"
        "      labels.team: blue -> red [drift]\n"
        "\n"
        "Drift: changed on the node and not by otto.yaml; an apply mends it.\n"
        "rpi-01\n"
        "  ~ db: update (in place)\n"
        "      labels.team: blue -> red"
    )


def test_a_failure_quotes_no_password() -> None:
    """Whoever said it: Ansible, ssh or a node."""
    text = "dial redis://:c4nary-77@h: no route"
    failure = failures.Failure("a", "web", text, text, text)
    assert "c4nary" not in str(failure) + repr(failure) + str(failure.to_json())
