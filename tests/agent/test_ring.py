# SPDX-License-Identifier: GPL-3.0-or-later
"""The ring on disks that are full, read-only, gone or lie; and in which order it goes out."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from otto_agent import messages, replay
from otto_agent.replay import Replay
from otto_agent.ring import START, Ring

Alarms = list[tuple[str, str]]


def put(ring: Ring, kinds: str, first: int = 1, boot: str = "b") -> None:
    """A sample for each letter: m is metrics, e is an event."""
    for seq, kind in enumerate(kinds, first):
        name = {"m": messages.METRICS, "e": messages.EVENT}[kind]
        ring.put(boot, seq, name, b'{"seq":%d}' % seq)


def numbers(ring: Ring) -> list[int]:
    return [sample.seq for sample in ring.after(START, 100_000)]


@pytest.fixture
def alarms() -> Alarms:
    return []


@pytest.fixture
def make(tmp_path: Path, alarms: Alarms) -> Iterator[Callable[..., Ring]]:
    """Rings on one file, one after the other."""
    made: list[Ring] = []

    def one(path: Path = tmp_path / "ring.db", **bounds: int) -> Ring:
        for ring in made:
            ring.close()
        made.append(Ring(path, lambda *alarm: alarms.append(alarm), **bounds))
        made[-1].open()
        return made[-1]

    yield one
    for ring in made:
        ring.close()


def test_what_was_stored_leaves_and_the_rest_outlives_the_process(
    make: Callable[..., Ring],
) -> None:
    ring = make()
    put(ring, "mmemm")
    ring.release({"b": [(2, 3)], "another": [(1, 9)]})
    assert numbers(ring) == [1, 4, 5] and len(ring) == 3
    assert ring.holds("b", 1) and not ring.holds("b", 2)
    again = make()
    assert [(one.boot, one.seq, one.kind, one.payload) for one in again.after(START, 2)] == [
        ("b", 1, "metrics", b'{"seq":1}'),
        ("b", 4, "metrics", b'{"seq":4}'),
    ]
    put(again, "e", boot="c")
    newest = again.after(0, 9)
    assert [(one.boot, one.place) for one in newest] == [("c", 1)], "places begin with the process"
    assert 0 <= (newest[0].age() or 0) < 60


@pytest.mark.parametrize(
    ("kinds", "left", "gaps"),
    [
        ("mmmm", [1, 2, 3, 4], []),
        ("mmmmmm", [3, 4, 5, 6], [("b", 1, 2)]),  # the oldest metrics
        ("emmmmm", [1, 4, 5, 6], [("b", 2, 3)]),  # before any event
        ("memememe", [2, 4, 6, 8], [("b", n, n) for n in (1, 3, 5, 7)]),
        ("eeeeee", [3, 4, 5, 6], [("b", 1, 2)]),  # no metrics left: the oldest events
    ],
)
def test_an_overflow_is_counted(
    make: Callable[..., Ring], kinds: str, left: list[int], gaps: list[tuple[str, int, int]]
) -> None:
    ring = make(rows=4)
    put(ring, kinds)
    assert (numbers(ring), ring.gaps()) == (left, gaps)
    again = make(rows=4)
    assert again.gaps() == gaps, "gaps outlive the process, too"
    again.noted([("b", 1, 1), ("c", 1, 9)])
    assert [gap for gap in again.gaps() if gap[1] == 1] == []


def test_gaps_are_joined_over_what_was_stored(make: Callable[..., Ring]) -> None:
    """Else a year of overflows beside single stored numbers would be a gap for each of them."""
    ring = make(rows=4)
    put(ring, "mm")
    ring.release({"b": [(2, 2)]})
    put(ring, "mmmmm", first=3)
    assert ring.gaps() == [("b", 1, 3)] and numbers(ring) == [4, 5, 6, 7]


def test_the_file_has_a_limit(make: Callable[..., Ring], tmp_path: Path) -> None:
    ring = make(rows=1000, size=200_000)
    noise = random.Random(1)
    for seq in range(1, 1001):
        ring.put("b", seq, messages.METRICS, noise.randbytes(1000))
    held = numbers(ring)
    assert 100 < len(held) < 200 and held[-1] == 1000
    assert ring.gaps() == [("b", 1, held[0] - 1)]
    ring.close()
    assert (tmp_path / "ring.db").stat().st_size < 300_000


KILLED = """
import os, signal, sys
from pathlib import Path
from otto_agent.ring import Ring
ring = Ring(Path(sys.argv[1]))
for seq in range(1, 501):
    ring.put("b", seq, "metrics", b"{}")
    print(seq, flush=True)
    if seq == 400:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_loses_nothing(make: Callable[..., Ring], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "ring.db")],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / '.links'}"},
        capture_output=True,
    )
    assert done.returncode == -9 and done.stdout.split()[-1] == b"400", done.stderr
    assert numbers(make()) == list(range(1, 401))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "ring", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def hurry(ring: Ring) -> None:
    """As if the pause before the next try at the disk were over."""
    ring._tries = type(ring._tries)(first=0.0, most=0.0)


def test_a_full_disk_holds_nobody_up(
    make: Callable[..., Ring], small_disk: Path, alarms: Alarms
) -> None:
    """Fault 11: samples wait in memory, one alarm; freed, all of them are in the file."""
    ring = make(small_disk / "ring.db", waiting=20)
    put(ring, "mm")
    (small_disk / "fat").write_bytes(b"x" * 10)
    with pytest.raises(OSError, match="No space"), (small_disk / "fat").open("ab") as fat:
        while True:
            fat.write(b"x" * 1024)
            fat.flush()
    hurry(ring)
    put(ring, "e", first=3)
    noise = random.Random(1)
    for seq in range(4, 101):
        ring.put("b", seq, messages.METRICS, noise.randbytes(3000))
    assert [kind for kind, _ in alarms] == [messages.NODE]
    assert "full" in alarms[0][1] and "memory" in alarms[0][1]
    lost = ring.gaps()
    assert lost and numbers(ring)[-1] == 100
    (small_disk / "fat").unlink()
    put(ring, "m", first=101)
    assert len(alarms) == 1
    gone = {number for _, first, last in lost for number in range(first, last + 1)}
    again = make(small_disk / "ring.db")
    assert numbers(again) == [number for number in range(1, 102) if number not in gone]
    assert 3 not in gone, "events outlive metrics"
    assert again.gaps() == lost


def test_a_read_only_disk(make: Callable[..., Ring], small_disk: Path, alarms: Alarms) -> None:
    """Fault 12: as a full one, also for a ring that finds it so."""
    ring = make(small_disk / "ring.db")
    put(ring, "m")
    ring.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ring = make(small_disk / "ring.db")
    hurry(ring)
    put(ring, "me", first=2)
    assert [kind for kind, _ in alarms] == [messages.NODE]
    assert numbers(ring)[-2:] == [2, 3]
    for seq in range(100, 200):
        put(ring, "m", first=seq)
        ring.release({"b": [(seq, seq)]})
    assert ring._released == {}, "what was never in the file"
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    put(ring, "m", first=4)
    assert numbers(ring) == [1, 2, 3, 4] and len(alarms) == 1


def test_a_file_that_was_removed(make: Callable[..., Ring], tmp_path: Path, alarms: Alarms) -> None:
    """Fault 10: nothing is written to a file that nobody will find; what was in it is counted."""
    ring = make(tmp_path / "state" / "ring.db")
    put(ring, "mmm")
    for file in (tmp_path / "state").iterdir():
        file.unlink()
    (tmp_path / "state").rmdir()
    put(ring, "m", first=4)
    assert [kind for kind, _ in alarms] == [messages.RING_LOST]
    assert ring.gaps() == [("b", 1, 3)]
    again = make(tmp_path / "state" / "ring.db")
    assert numbers(again) == [4] and again.gaps() == [("b", 1, 3)]


def damage(path: Path, chance: random.Random) -> str:
    """Random bytes at a random place, or an end that is missing."""
    data = bytearray(path.read_bytes())
    if chance.random() < 0.15:
        path.write_bytes(data[: chance.randrange(len(data))])
        return "cut"
    count = chance.choice([1, 4, 100, 2000])
    # Half of them where the structure stands: the first pages.
    at = chance.randrange(100 if chance.random() < 0.3 else len(data))
    data[at : at + count] = chance.randbytes(count)
    path.write_bytes(data)
    return f"{count} bytes at {at}"


@pytest.mark.parametrize("seed", range(60))
def test_random_bytes_in_the_file(make: Callable[..., Ring], alarms: Alarms, seed: int) -> None:
    """Fault 9: whatever stands in the file, every sample that comes out is one that went in, new
    ones are kept, and what is known to be gone is counted; told, and set aside as `.bad`."""
    chance = random.Random(seed)
    ring = make()
    put(ring, "meme" * 50)
    running = seed % 2 == 0
    if not running:
        ring.close()
    damage(ring.path, chance)
    if not running:
        ring = make()
    put(ring, "m" * 5, first=201)
    found = ring.after(START, 1000)
    put(ring, "m" * 5, first=206)
    found = ring.after(START, 1000)
    assert all(one.payload == b'{"seq":%d}' % one.seq for one in found)
    assert {one.seq for one in found} >= set(range(206, 211))
    if running:
        gone = {n for _, first, last in ring.gaps() for n in range(first, last + 1)}
        assert gone | {one.seq for one in found} == set(range(1, 211))
    if alarms:
        assert [kind for kind, _ in alarms] == [messages.RING_LOST]
        assert ring.path.with_name("ring.db.bad").exists()
    again = make()
    assert {one.seq for one in again.after(START, 1000)} >= set(range(206, 211))


# ---- what goes out in which order


def taken(replayed: Replay, now: float, room: int = 1000) -> list[int]:
    return [sample.seq for sample in replayed.backlog(room, now)[1]]


def test_new_samples_go_out_beside_the_backlog(make: Callable[..., Ring]) -> None:
    """At most a hundred of the backlog wait for a listener's word; new ones do not wait."""
    ring = make()
    put(ring, "m" * 250)
    line = Replay(ring, now=0)
    assert taken(line, 1) == list(range(1, 101))
    assert taken(line, 2) == []
    put(ring, "m", first=251)
    assert not line.live_is_out
    assert [one.seq for one in line.live(10)] == [251]
    assert line.live_is_out and line.live(10) == []
    ring.release({"b": [(1, 50), (251, 251)]})
    line.heard(3, hello=False)
    assert taken(line, 3) == list(range(101, 151))


def test_the_backlog_waits_for_a_listener(make: Callable[..., Ring]) -> None:
    """No word for ten seconds: nobody listens. A hello, or the next word, and it begins again."""
    ring = make()
    put(ring, "m" * 150)
    line = Replay(ring, now=0)
    taken(line, 0)
    assert taken(line, replay.PATIENCE + 1) == []
    ring.release({"b": [(1, 100)]})
    assert taken(line, replay.PATIENCE + 2) == []
    line.heard(30, hello=True)
    assert taken(line, 30) == list(range(101, 151))
    line.heard(31, hello=True)
    assert taken(line, 31) == list(range(101, 151)), "another listener knows nothing of them"


def test_what_a_listener_passed_over_is_sent_again(make: Callable[..., Ring]) -> None:
    """A broker may drop a message silently; only what has waited for long is sent once more."""
    ring = make()
    line = Replay(ring, now=0)
    assert taken(line, 0) == []
    put(ring, "mmm")
    line.live(10)
    ring.release({"b": [(1, 1), (3, 3)]})
    line.heard(replay.LOOK + 1, hello=False)
    assert taken(line, replay.LOOK + 1) == [], "it may be on its way still"
    line.heard(2 * replay.LOOK + 2, hello=False)
    assert taken(line, 2 * replay.LOOK + 2) == [2]


def test_gaps_go_out_first(make: Callable[..., Ring]) -> None:
    ring = make(rows=4)
    put(ring, "mmmmmm")
    line = Replay(ring, now=0)
    gaps, samples = line.backlog(2, 0)
    assert gaps == [("b", 1, 2)] and [one.seq for one in samples] == [3]
    ring.noted(gaps)
    line.heard(1, hello=False)
    assert line.backlog(10, 1)[0] == []
