# SPDX-License-Identifier: GPL-3.0-or-later
"""The target files survive a cut at every byte, and the lock holds one at a time and names who."""

from __future__ import annotations

import errno
import itertools
import json
import multiprocessing
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import beneath, image_memory
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.journal import Journal
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.revisions import Revisions
from ansible_collections.otto.cluster.plugins.module_utils.state import BrokenTarget, TargetStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TEXT = st.text(max_size=12)
TARGETS = st.builds(
    Target,
    cluster=st.text(min_size=1, max_size=12),
    node=st.text(min_size=1, max_size=12),
    services=st.dictionaries(TEXT, st.dictionaries(TEXT, TEXT | st.lists(TEXT), max_size=3)),
)
OLD = Target("shop", "rpi-01", {"web": {"image": "nginx:1"}})
NEW = Target("shop", "rpi-01", {"web": {"image": "nginx:2", "environment": {"ÄÖ": "\udcff"}}})
EACH_EXAMPLE_ITS_OWN = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def store(tmp_path: Path) -> TargetStore:
    return TargetStore(tmp_path / "otto")


def test_a_node_without_files_has_no_target(store: TargetStore) -> None:
    """Nothing was ever written: None, and looking creates nothing."""
    assert store.read() is None
    assert not store.directory.exists()


@given(target=TARGETS)
@EACH_EXAMPLE_ITS_OWN
def test_what_is_written_is_read(tmp_path: Path, target: Target) -> None:
    """Any target comes back equal, with the same revision."""
    store = TargetStore(tmp_path / "otto")
    store.write(target)
    found = store.read()
    assert found is not None
    assert found.revision == target.revision


def test_a_file_cut_at_every_byte_gives_the_last_good_target(store: TargetStore) -> None:
    """Fault 8: a target.json of any length but its full one is not taken, nor for an empty one."""
    store.settle(OLD)
    store.write(NEW)
    whole = store.current_path.read_bytes()
    for length in range(len(whole) - 1):  # without the last byte, the newline, it is still whole
        store.current_path.write_bytes(whole[:length])
        loaded = store.load()
        assert loaded.source == "good"
        assert loaded.target == OLD
        assert str(store.current_path) in loaded.problem
        assert store.bad_path.read_bytes() == whole[:length]
    store.current_path.unlink()
    assert store.load().source == "good"


@given(where=st.integers(min_value=0), flip=st.integers(min_value=1, max_value=255))
@EACH_EXAMPLE_ITS_OWN
def test_a_changed_byte_never_changes_the_target(tmp_path: Path, where: int, flip: int) -> None:
    """Fault 9: bit rot is caught by the checksum even where the JSON stays valid."""
    store = TargetStore(tmp_path / "otto")
    store.settle(OLD)
    store.write(NEW)
    raw = bytearray(store.current_path.read_bytes())
    raw[where % len(raw)] ^= flip
    store.current_path.write_bytes(raw)
    found = store.read()
    assert found is not None
    assert found.revision in (OLD.revision, NEW.revision)


def test_a_disk_that_takes_no_copy_keeps_nobody_from_the_good_target(
    store: TargetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worn SD card does both: it spoils a file, and goes read-only."""
    store.settle(OLD)
    store.current_path.write_bytes(b"spoilt")

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(beneath.Folder, "replace", read_only)
    loaded = store.load()
    assert (loaded.source, loaded.target) == ("good", OLD)


def test_both_files_broken_is_an_error_that_says_so(store: TargetStore) -> None:
    """Nothing readable is not "no services": it is an error with the next command."""
    store.settle(OLD)
    for path in (store.current_path, store.good_path):
        path.write_bytes(b"")
    with pytest.raises(BrokenTarget) as caught:
        store.read()
    assert "target.json.good" in caught.value.cause
    assert caught.value.next.startswith("otto-run apply")


def test_a_target_of_another_format_is_broken(store: TargetStore) -> None:
    """A file of a later Otto is refused, not half read."""
    store.write(OLD)
    envelope = json.loads(store.current_path.read_bytes())
    envelope["target"]["format"] = 99
    store.current_path.write_text(json.dumps(envelope))
    with pytest.raises(BrokenTarget):
        store.read()


def test_a_writer_killed_at_any_call_leaves_old_or_new(
    store: TargetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 13: whichever system call of a write is the last one: old or new target is read."""

    class PowerCut(BaseException):
        pass

    calls = 0
    last = 0
    for name in ("fsync", "replace", "fchmod", "open", "close"):
        real = getattr(os, name)

        def counted(*args: object, real: object = real, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == last:
                raise PowerCut
            return real(*args, **kwargs)  # type: ignore[operator]

        monkeypatch.setattr(os, name, counted)
    store.settle(OLD)
    seen = set()
    for last in range(1, 200):  # noqa: B007
        calls = 0
        try:
            store.settle(NEW)
        except PowerCut:
            finished = False
        else:
            finished = True
        calls = -1000
        loaded = store.load()
        assert loaded.source == "current"
        assert loaded.target in (OLD, NEW)
        assert store.good() in (OLD, NEW)
        seen.add((loaded.target == NEW, store.good() == NEW))
        if finished:
            break
        store.settle(OLD)
    assert finished
    assert {(False, False), (True, False), (True, True)} <= seen


class Writes:
    """What a writer asks of the disk, in order; and what a power cut may leave of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[str, str, bytes]] = []
        fsync, replace = os.fsync, os.replace

        def synced(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").resolve()
            if path.is_dir():
                self.steps.append(("names", "", b""))
            else:
                self.steps.append(("content", path.name, path.read_bytes()))
            fsync(descriptor)

        def renamed(source: str, to: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
            content = Path(f"/proc/self/fd/{src_dir_fd}/{source}").read_bytes()
            self.steps.append((f"rename {source}", to, content))
            replace(source, to, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "replace", renamed)

    def cut_after(self, count: int, before: dict[str, bytes]) -> Iterator[dict[str, bytes]]:
        """Every disk that `count` steps may leave: a name that was not synced is the old or the new
        one, a content that was not synced is any part of itself, or zeros."""
        sure: dict[str, list[bytes]] = {name: [content] for name, content in before.items()}
        maybe: dict[str, list[bytes]] = {}
        contents: set[str] = set()
        for kind, name, content in self.steps[:count]:
            if kind == "content":
                contents.add(name)
            elif kind == "names":
                sure.update(maybe)
                maybe = {}
            else:
                whole = kind.removeprefix("rename ") in contents
                torn = [b"", content[: len(content) // 2], b"\0" * len(content)]
                maybe[name] = [content] if whole else [content, *torn]
        names = sorted({*sure, *maybe})
        choices = [sure.get(name, []) + maybe.get(name, []) for name in names]
        for chosen in itertools.product(*choices):
            yield dict(zip(names, chosen, strict=True))


def test_a_power_cut_at_any_step_of_a_write_leaves_old_or_new(
    store: TargetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 13: what the disk has not confirmed may be missing or torn; the order of the writes
    makes that harmless. (A lab's host keeps its page cache when it is cut; this is the model.)"""
    store.settle(OLD)
    before = {path.name: path.read_bytes() for path in (store.current_path, store.good_path)}
    with monkeypatch.context() as patches:
        writes = Writes(patches)
        store.settle(NEW)
    assert [kind.split()[0] for kind, *_ in writes.steps] == ["content", "rename", "names"] * 2
    seen = set()
    for count in range(len(writes.steps) + 1):
        for image in writes.cut_after(count, before):
            for name, content in image.items():
                (store.directory / name).write_bytes(content)
            loaded = store.load()
            assert loaded.source == "current", (count, image)
            assert loaded.target in (OLD, NEW)
            seen.add((loaded.target == NEW, store.good() == NEW))
    assert seen == {(False, False), (True, False), (True, True)}


def test_what_a_killed_writer_left_is_tidied_up(store: TargetStore) -> None:
    """Half-written files are no targets, do not pile up, and nothing else goes with them."""
    store.settle(OLD)
    Revisions(store.directory).begin(OLD)
    for place in (store.directory, store.directory / "revisions"):
        (place / f"target.json.abc{beneath.UNFINISHED}").write_bytes(b"{")
    kept = {path for path in store.directory.rglob("*") if beneath.UNFINISHED not in path.name}
    store.tidy()
    assert set(store.directory.rglob("*")) == kept
    assert store.read() == OLD


@pytest.mark.parametrize(
    "junk",
    [b"", b"\xff\x00", b"7", b'{"a": 1}', b"[" * 100_000, b"[null]"],
    ids=["nothing", "bytes", "number", "object", "depth", "null"],
)
def test_junk_beside_the_target_is_no_obstacle(store: TargetStore, junk: bytes) -> None:
    """Fault 9: the journal, the index of revisions and the memory of images are records: a broken
    one counts as empty."""
    store.settle(OLD)
    Revisions(store.directory).begin(OLD)
    for name in ("journal.jsonl", "images.json", "revisions/index.json"):
        (store.directory / name).write_bytes(junk)
    Journal(store.directory).interrupted()
    image_memory.read(store.directory)
    revisions = Revisions(store.directory)
    assert revisions.index() == []
    revisions.begin(NEW)
    assert [entry["revision"] for entry in revisions.index()] == [NEW.revision]
    assert store.read() == OLD


def test_settling_the_same_target_writes_nothing(store: TargetStore) -> None:
    """An agent that sweeps for years does not wear out the SD card."""
    store.settle(OLD)
    before = [path.stat().st_mtime_ns for path in (store.current_path, store.good_path)]
    store.settle(OLD)
    assert before == [path.stat().st_mtime_ns for path in (store.current_path, store.good_path)]


def test_clear_forgets_both(store: TargetStore) -> None:
    """After `down` there is no target that could come back."""
    store.settle(OLD)
    store.clear()
    assert store.load().source == "none"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which takes root")
def test_files_written_by_root_belong_to_the_owner_of_the_directory(store: TargetStore) -> None:
    """The module runs as root and the agent as otto: both must be able to read and replace."""
    store.directory.mkdir()
    os.chown(store.directory, 4711, 4712)
    with store.lock(0, "test"):
        store.settle(OLD)
    for path, mode in (
        (store.current_path, 0o640),
        (store.good_path, 0o640),
        (store.lock_path, 0o660),
    ):
        state = path.stat()
        assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (4711, 4712, mode)


def _hold(directory: str, ready: object) -> None:
    with TargetStore(directory).lock(5, "apply by ann"):
        ready.set()  # type: ignore[attr-defined]
        signal.pause()


def test_a_held_lock_names_its_holder_and_is_freed_by_death(store: TargetStore) -> None:
    """Who waits reads pid and purpose; kill -9 of the holder frees it at once."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(str(store.directory), ready))
    process.start()
    try:
        assert ready.wait(20)
        told: list[str] = []
        with pytest.raises(OttoError) as caught, store.lock(0.15, "second", told.append):
            pass
        assert "apply by ann" in caught.value.cause
        assert f"pid {process.pid}," in caught.value.cause
        assert len(told) == 1
        assert "apply by ann" in told[0]
    finally:
        process.kill()
        process.join()
    with store.lock(5, "third"):
        assert "third" in store.holder()
    assert store.holder() == ""


def test_threads_of_one_process_take_turns(store: TargetStore) -> None:
    """The lock also holds between threads: eight increments with a gap in between all count."""
    counter = store.directory / "counter"
    store.directory.mkdir()
    counter.write_text("0")

    def work() -> None:
        with store.lock(20, "thread"):
            value = int(counter.read_text())
            threading.Event().wait(0.01)
            counter.write_text(str(value + 1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read_text() == "8"
