# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log: what is in it, who cannot wash it out, and how it is shown."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    OttoError,
    Problem,
)
from hypothesis import given
from hypothesis import strategies as st

from otto_run import audit, audit_file, audit_show, hostkeys
from otto_run.actor import Actor, actor
from otto_run.cli import app
from otto_run.exits import Code, Stop
from otto_run.session import Session
from otto_run.vault import Vault
from tests.conftest import wait_for
from tests.run.conftest import OTTO_RUN, Typed

CANARY = "c4nary-9f31ab"


# ---- the file


def test_lines_are_added_for_the_owner_alone(tmp_path: Path) -> None:
    for number in range(3):
        audit_file.append(tmp_path / "state", {"n": number})
    path = tmp_path / "state" / audit_file.NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"n": number} for number in range(3)
    ]


def test_a_line_that_a_power_cut_tore_costs_no_other(tmp_path: Path) -> None:
    audit_file.append(tmp_path, {"n": 1})
    with (tmp_path / audit_file.NAME).open("a") as stream:
        stream.write('{"n": 2, "ty')
    audit_file.append(tmp_path, {"n": 3})
    assert list(audit_file.entries(tmp_path)) == [{"n": 1}, {"n": 3}]


def test_only_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full file is kept whole under a number, and the last ones of them."""
    monkeypatch.setattr(audit_file, "FULL", 100)
    monkeypatch.setattr(audit_file, "OLDER", 3)
    for number in range(100):
        audit_file.append(tmp_path, {"n": number})
    kept = [entry["n"] for entry in audit_file.entries(tmp_path)]
    assert kept == list(range(kept[0], 100))
    assert len(kept) >= 3 * 12
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {audit_file.NAME, *(f"{audit_file.NAME}.{n}" for n in (1, 2, 3))}


def _write(directory: Path, who: int) -> None:
    audit_file.FULL = 2000
    for number in range(50):
        audit_file.append(directory, {"who": who, "n": number, "more": "x" * 100})


def test_writers_side_by_side_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the file is turned, too."""
    monkeypatch.setattr(audit_file, "OLDER", 30)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path, who)) for who in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = [(entry["who"], entry["n"]) for entry in audit_file.entries(tmp_path)]
    assert sorted(found) == [(who, number) for who in range(4) for number in range(50)]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("mine")
    (tmp_path / audit_file.NAME).symlink_to("other")
    with pytest.raises(OSError):
        audit_file.append(tmp_path, {"n": 1})
    assert (tmp_path / "other").read_text() == "mine"


# ---- one run


class Here:
    """A watch, and what it said and wrote."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.said: list[str] = []
        self.file = directory / "otto.yaml"
        self.file.write_text("cluster: {name: home}\n")

    def watch(self) -> audit.Watch:
        return audit.Watch(self.directory / "state", "apply", self.file, self.said.append)

    def lines(self) -> list[dict[str, Any]]:
        return list(audit_file.entries(self.directory / "state"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    monkeypatch.setattr(sys, "argv", ["/x/otto-run", "apply", "--yes"])
    monkeypatch.chdir(tmp_path)
    return Here(tmp_path)


def test_a_run_is_noted_before_and_after(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ann\x1b[2J")
    monkeypatch.setenv("SSH_CLIENT", "10.0.0.9 51000 22")
    with here.watch() as watch:
        watch.begin("home", ["rpi-01", "rpi-02"])
        (begin,) = here.lines()
        watch.ran("otto.cluster.site", {"rpi-01": "changed", "rpi-02": "failed"})
        watch.ended(Code.FAILED)
    assert {key: begin[key] for key in ("v", "event", "command", "typed", "cwd", "cluster")} == {
        "v": 1,
        "event": "begin",
        "command": "apply",
        "typed": ["otto-run", "apply", "--yes"],
        "cwd": str(here.directory),
        "cluster": "home",
    }
    assert begin["nodes"] == ["rpi-01", "rpi-02"]
    digest = hashlib.sha256(here.file.read_bytes()).hexdigest()
    assert begin["file"] == {"path": str(here.file), "sha256": digest}
    who = begin["who"]
    assert (who["uid"], who["host"], who["ssh_client"]) == (
        os.getuid(),
        socket.gethostname(),
        "10.0.0.9",
    )
    assert who["sudo_user"] == "ann [2J"
    _, ran, end = here.lines()
    assert ran["nodes"] == {"rpi-01": "changed", "rpi-02": "failed"}
    assert (end["event"], end["result"], end["code"], end["why"]) == ("end", "failed", 1, "")
    assert begin["id"] == ran["id"] == end["id"]
    assert end["seconds"] >= 0


@pytest.mark.parametrize(
    ("error", "code", "result", "why"),
    [
        (Stop(Code.LOCKED, "Another otto-run: apply (pid 7, ann)\n  lock /x"), 4, "refused",
         "Another otto-run: apply (pid 7, ann)"),
        (Stop(Code.FAILED, "Nothing was done."), 1, "refused", "Nothing was done."),
        (ClusterFileError([Problem((), "x"), Problem((), "y")]), 2, "refused",
         "2 problems in the file"),
        (OttoError("It failed\x1b[31m", cause=f"a node said {CANARY}"), 1, "failed",
         "It failed [31m"),
        (OttoError(f"redis://:{CANARY}@h is away"), 1, "failed", "redis://:(hidden)@h is away"),
        (KeyboardInterrupt(), 130, "interrupted", ""),
        (click.Abort(), 130, "interrupted", ""),
        (BrokenPipeError(), 1, "failed", "who read the output is gone"),
        (ZeroDivisionError(CANARY), 1, "crashed", "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_how_it_ended_is_noted_in_ottos_own_words(
    here: Here, error: BaseException, code: int, result: str, why: str
) -> None:
    with pytest.raises(type(error)), here.watch() as watch:
        watch.begin("home", [])
        raise error
    end = here.lines()[-1]
    assert (end["event"], end["code"], end["result"], end["why"]) == ("end", code, result, why)
    assert CANARY not in json.dumps(here.lines())


def test_a_refusal_names_nodes_and_not_what_they_said(here: Here) -> None:
    with here.watch() as watch:
        watch.begin("home", [])
        watch.refuse("no node was touched, because of", ["rpi-02", "", "rpi-01", "rpi-02"])
        watch.ended(Code.FAILED)
    end = here.lines()[-1]
    assert end["result"] == "refused"
    assert end["why"] == "no node was touched, because of: rpi-01, rpi-02"


@pytest.mark.parametrize(
    "typed",
    [
        ["apply", "-f", f"https://ann:{CANARY}@h/otto.yaml"],
        ["push", "x", "--password", CANARY],
        ["apply", f"--token={CANARY}"],
        ["adopt", "n", f"DB_PASSWORD={CANARY}"],
    ],
)
def test_no_secret_that_was_typed_is_in_it(
    here: Here, monkeypatch: pytest.MonkeyPatch, typed: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["otto-run", *typed])
    with here.watch() as watch:
        watch.begin("home", [])
    assert CANARY not in json.dumps(here.lines())
    assert "(hidden)" in json.dumps(here.lines())


def test_a_line_is_bounded_whatever_was_typed(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["otto-run", *["x" * 100_000] * 1000])
    monkeypatch.setenv("SUDO_USER", "y" * 100_000)
    with here.watch() as watch:
        watch.begin("home", [])
    assert (here.directory / "state" / audit_file.NAME).stat().st_size < 50_000


def test_what_cannot_be_noted_is_not_done(here: Here) -> None:
    (here.directory / "state" / audit_file.NAME).mkdir(parents=True)
    with pytest.raises(Stop) as caught, here.watch() as watch:
        watch.begin("home", [])
        pytest.fail("it went on")
    assert caught.value.code == Code.FAILED
    for words in ("Nothing was done", str(here.directory / "state" / audit_file.NAME), "df -h"):
        assert words in caught.value.message


def test_an_end_that_cannot_be_noted_is_told(here: Here) -> None:
    with here.watch() as watch:
        watch.begin("home", [])
        path = here.directory / "state" / audit_file.NAME
        path.unlink()
        path.mkdir()
        assert watch.ended(Code.DONE) == Code.DONE
    assert here.said == [f"Not noted in the audit log {path}: Is a directory"]


def test_who_was_never_here_leaves_nothing_behind(here: Here) -> None:
    """A wrong file is noted where something was ever done from here."""
    for lines in (0, 1):
        with pytest.raises(Stop), here.watch():
            raise Stop(Code.USAGE, "no otto.yaml here")
        assert len(here.lines()) == lines
        (here.directory / "state").mkdir(exist_ok=True)
    (refused,) = here.lines()
    assert (refused["event"], refused["why"], refused["code"]) == (
        "refused",
        "no otto.yaml here",
        2,
    )
    assert refused["who"]["uid"] == os.getuid()


# ---- shown


def test_who_typed_is_told_apart_from_whose_rights_it_had() -> None:
    assert str(Actor("ann", "ann", 1000, "laptop")) == "ann@laptop"
    assert str(Actor("ann", "root", 0, "laptop")) == "root (ann)@laptop"
    assert str(Actor("", "root", 0, "laptop", sudo_user="ann")) == "root (ann)@laptop"
    assert str(Actor("", "root", 0, "laptop")) == "root@laptop"
    assert actor().uid == os.getuid()


def shown(directory: Path, capsys: pytest.CaptureFixture[str], **how: Any) -> str:
    asked = {"last": 20, "cluster": "", "as_json": False, **how}
    assert audit_show.show(directory, **asked) == Code.DONE
    return capsys.readouterr().out


def test_each_run_is_one_row(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    with here.watch() as watch:
        watch.begin("home", ["rpi-01", "rpi-02"])
        watch.ran("otto.cluster.site", {"rpi-01": "changed", "rpi-02": "unreachable"})
        watch.ended(Code.FAILED)
    with pytest.raises(Stop), here.watch():
        raise Stop(Code.USAGE, "no otto.yaml here")
    here.watch().begin("other", ["n1"])
    state = here.directory / "state"
    _, first, second, third = shown(state, capsys).splitlines()
    assert "otto-run apply --yes" in first
    assert first.endswith("rpi-02 unreachable, rpi-01 done")
    assert "refused: no otto.yaml here" in second
    assert "running" in third, "its process is this one"
    assert shown(state, capsys, cluster="home").count("\n") == 2
    assert shown(state, capsys, last=1).count("\n") == 2
    found = json.loads(shown(state, capsys, as_json=True))["runs"]
    assert [run["result"] for run in found] == ["failed", "refused", "running"]
    assert found[0]["nodes"] == {"rpi-01": "changed", "rpi-02": "unreachable"}
    assert (found[0]["code"], found[1]["why"]) == (1, "no otto.yaml here")


def test_nothing_is_shown_as_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(tmp_path / "none", capsys) == "Nothing was changed from here yet.\n"
    assert json.loads(shown(tmp_path, capsys, as_json=True)) == {"runs": []}


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                ("event", "id", "nodes", "who", "typed", "time", "pid", "started", "result", "why")
            ),
            st.sampled_from(("begin", "ran", "end", "refused", "x\x1b[2J\nrow"))
            | st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=5), inner, max_size=3)
                ),
                max_leaves=5,
            ),
        ),
        max_size=6,
    )
)
def test_a_file_that_somebody_wrote_into_is_shown_line_by_line(
    entries: list[dict[str, Any]],
) -> None:
    """Nothing of it raises, moves a cursor or makes a row of its own."""
    found = audit_show.runs(entries)
    json.dumps([run.to_json() for run in found])
    for row in audit_show._rows(found):
        for cell in row:
            assert cell.partition("\t")[0].isprintable()


# ---- typed

OTTO_YAML = """
cluster: {name: home}
nodes:
  - {id: rpi-01, host: 127.0.0.2, user: pi, port: %d}
  - {id: rpi-02, host: 127.0.0.3, user: pi, port: %d}
services:
  web: {image: "nginx:alpine", node: rpi-01}
"""
CHANGES = {
    "apply": ["--yes"],
    "up": ["--once", "--yes"],
    "down": ["--yes"],
    "rollback": ["--yes"],
    "adopt": ["rpi-01", "web"],
    "push": ["x"],
    "prune": [],
    "rotate": [],
}
LOOKS = {
    *("init", "plan", "history", "audit", "status", "events", "doctor", "import", "schema"),
    "policy",
    *("completion", "version"),
}


def test_every_command_says_whether_it_changes_something() -> None:
    assert set(app.commands) == set(CHANGES) | LOOKS


@pytest.fixture
def folder(typed: Typed) -> Typed:
    (typed.folder / "otto.yaml").write_text(OTTO_YAML % (9, 9))
    return typed


@pytest.mark.parametrize("command", CHANGES)
def test_a_command_that_changes_something_is_noted_or_not_done(folder: Typed, command: str) -> None:
    (folder.state / audit_file.NAME).mkdir(parents=True)
    done = folder(command, *CHANGES[command])
    assert done.returncode == 1, done.stderr
    assert "Nothing was done: it cannot be noted in the audit log" in done.stderr


def test_a_host_key_that_is_trusted_is_noted_or_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a command that changes no node: what SSH believes from now on has been changed."""
    key = hostkeys.HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43)
    monkeypatch.setattr(hostkeys, "scan", lambda *_: [key])
    monkeypatch.setenv("OTTO_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "otto.yaml").write_text(OTTO_YAML % (9, 9))
    here = Session.open(tmp_path / "otto.yaml", Vault(), 0)
    log = tmp_path / "state" / audit_file.NAME
    log.mkdir(parents=True)
    with pytest.raises(Stop, match="it cannot be noted in the audit log"):
        here.trust([], accept=True)
    assert not here.known_hosts.exists()
    log.rmdir()
    here.trust([], accept=True)
    assert key.blob in here.known_hosts.read_text()
    (run,) = audit_show.runs(audit_file.entries(tmp_path / "state"))
    assert run.result == "done"
    assert run.nodes == dict.fromkeys(here.nodes, f"trusted {key.fingerprint}")


@pytest.mark.parametrize("arguments", [["plan"], ["apply", "--check"], ["prune", "--check"]])
def test_a_command_that_only_looks_is_not(folder: Typed, arguments: list[str]) -> None:
    """It gets as far as a node that there is not."""
    (folder.state / audit_file.NAME).mkdir(parents=True)
    done = folder(*arguments, "--limit", "rpi-07")
    assert "rpi-07 is no node" in done.stderr
    assert "audit log" not in done.stderr


def found(folder: Typed) -> list[dict[str, Any]]:
    done = folder("audit", "--json")
    assert done.returncode == 0, done.stderr
    runs: list[dict[str, Any]] = json.loads(done.stdout)["runs"]
    return runs


def test_what_was_typed_is_found_again(folder: Typed) -> None:
    """A node that is away, a wrong file, a node that there is not: each with what was asked for."""
    assert folder("apply", "--limit", "rpi-01", "--yes").returncode != 0
    assert folder("down", "--yes", "--limit", "rpi-07").returncode == 2
    (folder.folder / "otto.yaml").write_text("cluster: [")
    assert folder("apply", "--yes").returncode == 2
    away, unknown, wrong = found(folder)
    assert away["nodes"] == {"rpi-01": "unreachable"}
    assert away["result"] == "failed"
    assert unknown["result"] == "refused"
    assert "rpi-07 is no node of otto.yaml" in unknown["why"]
    assert (wrong["result"], wrong["code"]) == ("refused", 2)
    assert "audit.jsonl" in {path.name for path in folder.state.iterdir()}


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_a_run_that_was_killed_has_no_end(typed: Typed, mute: int) -> None:
    (typed.folder / "otto.yaml").write_text(OTTO_YAML % (mute, mute))
    process = subprocess.Popen(
        [OTTO_RUN, "apply", "--yes", "--limit", "rpi-01", "--accept-new-host-keys"],
        cwd=typed.folder,
        env=typed.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for((typed.state / audit_file.NAME).exists, seconds=30, what="the begin line")
        wait_for(
            lambda: [run["result"] for run in found(typed)] == ["running"],
            seconds=10,
            what="a run that runs",
        )
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    (run,) = found(typed)
    assert run["result"] == "no end"
    assert run["nodes"] == {"rpi-01": ""}
    assert "no end" in typed("audit").stdout
