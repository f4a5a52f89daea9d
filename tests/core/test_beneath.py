# SPDX-License-Identifier: GPL-3.0-or-later
"""Root works in a directory that somebody else owns, and is not led out of it."""

from __future__ import annotations

import ast
import base64
import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import beneath, image_memory
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.image_memory import Keeper, Memory
from ansible_collections.otto.cluster.plugins.module_utils.journal import NAME as JOURNAL
from ansible_collections.otto.cluster.plugins.module_utils.journal import Journal
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    Observed,
    Target,
    content_digest,
)
from ansible_collections.otto.cluster.plugins.module_utils.node_files import WithFiles
from ansible_collections.otto.cluster.plugins.module_utils.operations import PutFile, Start
from ansible_collections.otto.cluster.plugins.module_utils.revisions import Revisions
from ansible_collections.otto.cluster.plugins.module_utils.state import TargetStore

from otto_run import push

from ..conftest import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which takes root")
OTTO = 4711
CANARY = "canary-of-root-8c1f"
OLD = Target("shop", "rpi-01", {"web": {"image": "nginx:1"}})
NEW = Target("shop", "rpi-01", {"web": {"image": "nginx:2"}})
CONTENT = b"s3cret"
FILE = f"{content_digest(CONTENT)}-444-any-any"
IMAGE = "sha256:" + "a" * 64


class Place:
    """A state directory that belongs to another user, and files of root beside it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "otto"
        self.outside = folder / "root"
        self.outside.mkdir(mode=0o700)
        self.canary = self.outside / "canary"
        self.canary.write_text(CANARY)
        self.canary.chmod(0o600)
        self.seen = self._look()
        work(self.state)
        for path in (self.state, *self.state.rglob("*")):
            os.lchown(path, OTTO, OTTO)

    def _look(self) -> object:
        return [
            (str(path), path.read_bytes() if path.is_file() else b"", found.st_mode, found.st_uid)
            for path in sorted((self.outside, *self.outside.rglob("*")))
            for found in [path.lstat()]
        ]

    def check(self, told: str) -> None:
        """Nothing outside is another than before, and its content stands nowhere."""
        assert self._look() == self.seen
        assert CANARY not in told
        for path in self.state.rglob("*"):
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_ino != self.canary.stat().st_ino:
                with path.open("rb") as stream:
                    assert CANARY.encode() not in stream.read(1 << 20), path


def link(place: Place, path: Path) -> None:
    path.symlink_to(place.canary)


def dangling(place: Place, path: Path) -> None:
    path.symlink_to(place.outside / "not-there")


def link_to_directory(place: Place, path: Path) -> None:
    path.symlink_to(place.outside)


def second_name(place: Place, path: Path) -> None:
    os.link(place.canary, path)


def pipe(_place: Place, path: Path) -> None:
    os.mkfifo(path)
    os.chown(path, OTTO, OTTO)


def listener(_place: Place, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


def directory(_place: Place, path: Path) -> None:
    path.mkdir()
    (path / "x").write_text("x")
    for each in (path, path / "x"):
        os.chown(each, OTTO, OTTO)


def device(_place: Place, path: Path) -> None:
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero has no end


def huge(_place: Place, path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)
    os.chown(path, OTTO, OTTO)


TRICKS = (link, dangling, link_to_directory, second_name, pipe, listener, directory, device, huge)
KEPT = (
    "target.json",
    "target.json.good",
    "target.json.bad",
    "lock",
    JOURNAL,
    JOURNAL + ".1",
    "images.json",
    "pushed",
    f"pushed/{IMAGE[7:]}",
    "revisions",
    "revisions/index.json",
    f"revisions/{OLD.revision}.json",
    f"revisions/{NEW.revision}.json",
    "files",
    f"files/{FILE}",
)
"""Every name that the node's side uses in the state directory."""


class NoEngine:
    """An engine that has one image and uses it."""

    def ask(self, _references: object) -> dict[str, Any]:
        return {}

    def image(self, _reference: str) -> None:
        return None

    def image_ids(self) -> frozenset[str]:
        return frozenset()

    def images_in_use(self) -> dict[str, frozenset[str]]:
        return {"shop": frozenset({IMAGE})}

    def execute(self, _operation: object, _progress: object = None) -> bool:
        return False

    def observe(self, _target: Target) -> Observed:
        return Observed()


def steps(state: Path, target: Target) -> Iterator[Callable[[], object]]:
    """All that an apply, a rollback and a push do in the state directory, one after the other."""
    store, kept = TargetStore(state), Revisions(state)
    engine: Any = NoEngine()
    files = WithFiles(engine, state)
    journal = Journal(state, "apply", target.revision)
    keeper = Keeper(engine, state, target)
    yield store.load
    yield store.good
    yield store.holder
    yield store.tidy
    yield journal.interrupted
    yield lambda: journal.step("web", Start("web"))
    yield lambda: journal.end("done")
    yield lambda: store.write(target)
    yield lambda: kept.begin(target)
    yield lambda: kept.settle("done", ["web: create"], {"nginx:1": IMAGE})
    yield lambda: kept.read(target.revision)
    yield lambda: kept.is_last(target)
    yield lambda: files.execute(
        PutFile(FILE, "s", content=base64.b64encode(CONTENT).decode(), mode=0o444)
    )
    yield lambda: files.observe(target)
    yield lambda: note(state)
    yield lambda: keeper.end({}, reached=True, keep=3)
    yield lambda: image_memory.write(state, Memory({}, {IMAGE: ("nginx:1",)}, ((IMAGE,),)))
    yield lambda: image_memory.read(state)
    yield lambda: files.tidy(Target("", ""), Observed())
    yield lambda: store.settle(target)


def note(state: Path) -> None:
    with beneath.opened(state / "pushed", make=0o750) as notes:
        notes.replace(IMAGE[7:], b"nginx:1", 0o640)


def work(state: Path, target: Target = OLD) -> str:
    """Do it all as an apply does; the errors that it tells."""
    told = []

    def attempt(step: Callable[[], object]) -> None:
        try:
            step()
        except (OttoError, OSError) as error:
            told.append(f"{error} {getattr(error, 'cause', '')}")

    def locked() -> None:
        with TargetStore(state).lock(0, "apply", told.append):
            pass

    attempt(locked)
    for step in steps(state, target):
        attempt(step)
    return "\n".join(told)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    tmp_path.chmod(0o755)
    return Place(tmp_path)


def test_without_a_trick_nothing_is_told(place: Place) -> None:
    """The work of the tests below is done where nobody hinders it, and every name is used."""
    assert work(place.state, NEW) == ""
    made = {str(path.relative_to(place.state)) for path in place.state.rglob("*")}
    seldom = {"target.json.bad", JOURNAL + ".1", f"pushed/{IMAGE[7:]}", f"files/{FILE}"}
    assert set(KEPT) - seldom <= made
    place.check("")


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.__name__)
@pytest.mark.parametrize("name", KEPT)
def test_what_stands_at_a_name_leads_root_nowhere(
    place: Place, name: str, trick: Callable[[Place, Path], None]
) -> None:
    """Nothing outside is read, changed, given away or waited for; no error but one that says so."""
    path = place.state / name
    subprocess.run(["rm", "-rf", path], check=True)
    if not path.parent.is_dir():
        path.parent.mkdir()
        os.chown(path.parent, OTTO, OTTO)
    trick(place, path)
    told = work(place.state, NEW)
    place.check(told)
    # Healed, or told by name: never passed over.
    if name in ("target.json", "images.json") and trick is not directory:
        assert stat.S_ISREG(path.lstat().st_mode)
        assert path.stat().st_uid == OTTO
    if name == "lock" or (name in ("revisions", "files") and trick is not directory):
        assert trick is huge or str(path) in told


@pytest.mark.parametrize("trick", [link_to_directory, pipe, device], ids=lambda one: one.__name__)
def test_the_state_directory_itself_is_not_led_elsewhere(
    tmp_path: Path, trick: Callable[[Place, Path], None]
) -> None:
    """A directory on the way that belongs to another user may have been put there by them."""
    place = Place(tmp_path)
    theirs = tmp_path / "home"
    theirs.mkdir()
    os.chown(theirs, OTTO, OTTO)
    trick(place, theirs / "otto")
    told = work(theirs / "otto")
    assert str(theirs / "otto") in told
    place.check(told)


def test_a_link_of_roots_own_is_followed(tmp_path: Path) -> None:
    """The state directory may lie on another disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "otto").symlink_to("disk")
    assert work(tmp_path / "otto") == ""
    assert (tmp_path / "disk" / "target.json").is_file()


def test_a_lock_that_is_held_for_ever_is_waited_for_no_longer_than_told(place: Place) -> None:
    """Who holds it may write a page in it: one line of it is shown."""
    held = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import fcntl, sys\n"
            "f = open(sys.argv[1], 'r+')\n"
            "fcntl.flock(f, fcntl.LOCK_EX)\n"
            "f.write('\\x1b[31m' + 'x' * 10000); f.flush()\n"
            "print(flush=True); sys.stdin.read()",
            str(place.state / "lock"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert held.stdout is not None
        held.stdout.readline()
        store = TargetStore(place.state)
        with (
            pytest.raises(OttoError, match="worked on by somebody else") as caught,
            store.lock(0.2, "apply"),
        ):
            pass
        assert len(caught.value.cause) < 600
        assert "\x1b" not in caught.value.cause
    finally:
        held.kill()
        held.communicate()


def test_a_tree_is_removed_however_deep_and_whatever_hangs_in_it(place: Place) -> None:
    """Deeper than any stack, with links to root's files: the tree goes and they stay."""
    top = place.state / "revisions"
    with contextlib.chdir(top):
        for _ in range(1500):
            os.mkdir("d")
            os.symlink(place.outside, "link")
            os.chdir("d")
        os.link(place.canary, "second")
    Revisions(place.state).clear()
    assert not top.exists()
    place.check("")


JUNK: tuple[Any, ...] = (
    *(None, 7, -1.5, "text", "../../etc", [], {}, [[]], {"a": []}, [None], [{}]),
    *(float("nan"), 10**400, "\udcff", {"revision": []}, {"revision": "../x"}),
)


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:20])
def test_wrong_types_never_end_an_apply(place: Place, junk: Any) -> None:
    """All that the agent may write is data: each place of each document may hold anything."""
    revision = NEW.revision
    index = {"revision": revision, "time": junk, "result": junk, "changes": junk, "images": junk}
    step = {"event": "step", "n": junk, "operation": junk}
    documents = {
        JOURNAL: [{"event": "begin", "holder": junk, "revision": junk}, step, {"time": junk}],
        "revisions/index.json": [junk, index, {**index, "images": {"a": junk}}],
        "images.json": {"format": 1, "asked": {"a": junk}, "brought": {"b": junk}, "used": junk},
    }
    for name, document in documents.items():
        rows = document if name == JOURNAL else [document]
        text = "\n".join(json.dumps(row) for row in rows)
        (place.state / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert work(place.state, NEW) == ""
    assert all(isinstance(one["revision"], str) for one in Revisions(place.state).index())


# ---- no other way to the disk

NODE_SIDE = (
    "carry_out edge image_memory journal node_files plan_files policy_file reconcile revisions"
    " state target_arguments target_main target_work"
)
OPENS = frozenset(
    {
        *("open", "fdopen", "rename", "renames", "link", "symlink", "unlink", "remove", "rmdir"),
        *("removedirs", "mkdir", "makedirs", "chmod", "lchmod", "chown", "lchown", "fchmod"),
        *("fchown", "mkfifo", "mknod", "truncate", "utime", "read_text", "read_bytes", "touch"),
        *("write_text", "write_bytes", "symlink_to", "hardlink_to", "iterdir", "glob", "rglob"),
        *("scandir", "listdir"),
    }
)
ROOTS_OWN = {
    # /etc/otto/policy.yaml: root's word, in a directory of root, checked when it is open.
    ("policy_file", "open"),
    ("policy_file", "fdopen"),
    # What is mounted, as the kernel tells it.
    ("policy_file", "read_text"),
    # The directory itself, by its descriptor, where a full disk takes no lock file.
    ("state", "open"),
}


@pytest.mark.parametrize("room", NODE_SIDE.split())
def test_the_node_reaches_its_state_through_one_room(room: str) -> None:
    """Nothing that root runs there opens, makes, renames, gives away or removes by a path."""
    path = ROOT / "otto_collection/plugins/module_utils" / f"{room}.py"
    tree = ast.parse(path.read_text())
    through = {"folder", "above", "notes", "inner", "engine"}
    found = set()
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name, owner = "", ""
        if isinstance(call.func, ast.Name):
            name = call.func.id if call.func.id == "open" else ""
        elif isinstance(call.func, ast.Attribute):
            name = call.func.attr
            owner = call.func.value.id if isinstance(call.func.value, ast.Name) else ""
        path_replace = name == "replace" and len(call.args) == 1 and owner != "dataclasses"
        if owner not in through and (name in OPENS or path_replace):
            found.add((room, name))
    imported = {
        alias.name
        for each in ast.walk(tree)
        if isinstance(each, ast.Import)
        for alias in each.names
    }
    assert not imported & {"shutil", "tempfile", "sqlite3"}
    assert found <= ROOTS_OWN, "go through beneath.Folder"


def test_push_writes_through_the_same_room() -> None:
    """What is sent to a node is that room's own text, and the program opens nothing itself."""
    program = push._NODE
    own = program[len(Path(beneath.__file__).read_text()) :]
    assert program.startswith(Path(beneath.__file__).read_text())
    assert "open(" not in own
    assert "makedirs" not in own
    compile(program, "node", "exec")
