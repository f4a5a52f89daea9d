# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node remembers: the journal of what was done, and the targets that it was given."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import journal as journal_room
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.journal import (
    Interrupted,
    Journal,
    entries,
)
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.operations import Create, Start
from ansible_collections.otto.cluster.plugins.module_utils.revisions import Revisions

CREATE = Create("web", "nginx", {"Env": ["PASSWORD=tr0ub4dor"]})
START = Start("web")


def target(number: int) -> Target:
    return Target("shop", "rpi-01", {"web": {"image": f"nginx:{number}"}})


def run(directory: Path, *steps: str) -> Journal:
    """A run of `apply` that gets as far as told: `create`, `create.`, `start`, `start.`, `end`."""
    made = Journal(directory, "apply", "abc")
    numbers: dict[str, int] = {}
    for step in steps:
        name = step.rstrip(".")
        if step == "end":
            made.end("done")
        elif step.endswith("."):
            made.done(numbers[name])
        else:
            numbers[name] = made.step("web", CREATE if name == "create" else START)
    return made


@pytest.mark.parametrize(
    ("steps", "at"),
    [
        ((), None),
        (("create", "create.", "end"), None),
        (("create",), CREATE.line()),
        (("create", "create."), CREATE.line()),
        (("create", "create.", "start"), START.line()),
        (("create", "start", "start."), CREATE.line()),
        (("create", "create.", "start", "start."), START.line()),
    ],
)
def test_a_run_without_an_end_says_where_it_was_cut(
    tmp_path: Path, steps: tuple[str, ...], at: str | None
) -> None:
    run(tmp_path, "create", "create.", "end")
    run(tmp_path, *steps)
    found = Journal(tmp_path).interrupted()
    assert (found.operation if found else None) == at
    if found:
        assert (found.holder, found.revision) == ("apply", "abc")


def test_a_journal_cut_at_every_byte_can_be_read_and_gone_on_with(tmp_path: Path) -> None:
    """kill -9 and power cuts tear the last line: what stands before it counts, and the next line
    begins on a line of its own."""
    run(tmp_path, "create", "create.", "start")
    path = tmp_path / journal_room.NAME
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        found = Journal(tmp_path).interrupted()
        assert isinstance(found, Interrupted)
        assert found.operation in ("", CREATE.line(), START.line())
        run(tmp_path, "create", "create.", "end")
        assert Journal(tmp_path).interrupted() is None
        # The former run's first line is never lost; of the torn line nothing is taken for whole.
        assert [e["event"] for e in entries(path)][-4:] == ["begin", "step", "done", "end"]


def test_a_journal_holds_no_secret_and_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_room, "MOST", 1000)
    for _ in range(20):
        run(tmp_path, "create", "create.", "end")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["journal.jsonl", "journal.jsonl.1"]
    for path in tmp_path.iterdir():
        assert path.stat().st_size < 2000
        assert b"tr0ub4dor" not in path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_run_with_nothing_to_do_writes_nothing(tmp_path: Path) -> None:
    Journal(tmp_path, "agent").end("done")
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / journal_room.NAME).mkdir()
    told: list[str] = []
    made = Journal(tmp_path, "agent", tell=told.append)
    made.done(made.step("web", START))
    made.end("done")
    assert len(told) == 1
    assert "journal.jsonl cannot be written" in told[0]


def test_the_last_revisions_are_kept_and_the_index_says_what_came_of_them(tmp_path: Path) -> None:
    kept = Revisions(tmp_path, keep=3)
    for number in range(5):
        kept.begin(target(number))
        kept.settle("failed" if number == 3 else "done", [f"web: image {number}"])
    assert [entry["result"] for entry in kept.index()] == ["done"] * 3 + ["failed", "done"]
    assert kept.read(target(2).revision) == target(2)
    files = [path for path in (tmp_path / "revisions").glob("*.json") if path.stem != "index"]
    assert len(files) == 3
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(OttoError) as caught:
        kept.read(target(0).revision)
    assert target(0).revision in caught.value.message
    assert target(4).revision in caught.value.cause
    assert kept.is_last(target(4))
    assert not kept.is_last(target(3))


def test_one_target_with_two_sets_of_images_was_given_twice(tmp_path: Path) -> None:
    """A tag moves while the file stays: each set has a name, the bare revision is the last one."""
    kept = Revisions(tmp_path)
    names = []
    for number in (1, 2):
        kept.begin(target(1))
        kept.settle("done", [], {"nginx:1": "sha256:" + str(number) * 64})
        names.append(kept.last)
    revision = target(1).revision
    assert [name.partition("+")[0] for name in names] == [revision] * 2
    assert kept.images(names[0]) == {"nginx:1": "sha256:" + "1" * 64}
    assert kept.images(revision) == kept.images(names[1]) == {"nginx:1": "sha256:" + "2" * 64}
    assert kept.read(names[0]) == kept.read(revision) == target(1)
    with pytest.raises(OttoError, match=r"does not keep revision \w+\+123456"):
        kept.read(revision + "+123456")


@pytest.mark.parametrize("name", ["../target", "x" * 16, "", "0123456789abcdef"])
def test_what_is_no_kept_revision_is_an_error_and_no_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "target.json").write_text("{}")
    with pytest.raises(OttoError, match="does not keep"):
        Revisions(tmp_path).read(name)


def test_a_broken_copy_is_not_gone_back_to(tmp_path: Path) -> None:
    kept = Revisions(tmp_path)
    kept.begin(target(1))
    kept.settle("done", [])
    path = tmp_path / "revisions" / f"{target(1).revision}.json"
    path.write_text(path.read_text().replace("nginx:1", "nginx:9"))
    with pytest.raises(OttoError) as caught:
        kept.read(target(1).revision)
    assert "checksum" in caught.value.cause
    kept.begin(target(1))  # given again, it is whole again
    assert kept.read(target(1).revision) == target(1)
    (tmp_path / "revisions" / "index.json").write_text("[")
    assert kept.index() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which takes root")
def test_what_root_keeps_belongs_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    """The module writes as root; the agent, as otto, has to go on with the same files."""
    os.chown(tmp_path, 4711, 4712)
    run(tmp_path, "create")
    Revisions(tmp_path).begin(target(1))
    for path in tmp_path.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (4711, 4712), path
    assert json.loads((tmp_path / "journal.jsonl").read_text().splitlines()[0])["event"] == "begin"
