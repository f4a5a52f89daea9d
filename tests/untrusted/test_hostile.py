# SPDX-License-Identifier: GPL-3.0-or-later
"""Strangers' files under --untrusted: nothing read outside, nothing run, nothing written. Seen from
outside of the code: by Python's audit events, by strace, and by canaries."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.untrusted.hostile import CANARY, REFUSED, TAKEN, VARIABLE, Hostile, write_outside

BIN = Path(sys.executable).parent
OWN = (
    *(str(Path(path).resolve()) for path in (sys.prefix, sys.base_prefix, ROOT)),
    *("/dev/null", "/dev/shm", "/usr/lib", "/usr/share", "/etc/localtime", "/etc/ssl"),
)
"""Python's and Otto's own: what is read there, a file did not ask for."""
SSH = ("ssh", "ssh-keyscan")
KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIAkbhJ8pkp1mX87/IBFgzw4UlumxNTaFRgb2EncLUy/e"


def environment(folder: Path) -> dict[str, str]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {
        "PATH": f"{BIN}:/usr/bin:/bin:/usr/sbin",
        "HOME": str(home),
        "OTTO_STATE": str(folder / "state"),
        "PYTHONDONTWRITEBYTECODE": "1",
        VARIABLE: CANARY,
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the caller's known_hosts, and what nobody may see."""
    folder = tmp_path_factory.mktemp("strangers")
    write_outside(folder / "out")
    (folder / "known_hosts").write_text(f"[127.0.0.2]:9 ssh-ed25519 {KEY}\n")
    return folder


def typed(command: str, file: Path, place: Path) -> list[str]:
    return [command, "-f", file.name, "--untrusted", "--known-hosts", str(place / "known_hosts")]


def watched(cases: list[Hostile], command: str, place: Path) -> dict[str, Any]:
    """name -> what otto-run did with the file, all of them in one process."""
    jobs = []
    for case in cases:
        folder = place / command / case.name
        # One is beside the folder `out` as `../out`, and the other is not.
        file = case.write(folder, place / "out")
        (folder.parent / "out").exists() or (folder.parent / "out").symlink_to(place / "out")
        jobs.append({"folder": str(folder), "arguments": typed(command, file, place)})
    done = subprocess.run(
        [sys.executable, "-m", "tests.untrusted.watched"],
        cwd=ROOT,
        env=environment(place),
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {case.name: one for case, one in zip(cases, found, strict=True)}


def may_be_opened(path: str, folder: Path, place: Path) -> bool:
    real = os.path.realpath(path)
    allowed = (folder, place / "state", place / "known_hosts", place / "home", *OWN)
    return any(real == str(one) or real.startswith(f"{one}/") for one in allowed)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def refused(place: Path) -> dict[str, Any]:
    return watched(list(REFUSED), "doctor", place)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_hostile_file_is_refused(case: Hostile, refused: dict[str, Any], place: Path) -> None:
    """It says why, and has opened nothing outside, run nothing, and shown nothing of the canary."""
    found = refused[case.name]
    assert found["code"] == 2, found["said"]
    assert case.says in found["said"]
    assert "Traceback" not in found["said"]
    folder = place / "doctor" / case.name
    outside = [path for path in found["opened"] if not may_be_opened(path, folder, place)]
    assert outside == []
    assert found["ran"] == []
    assert CANARY not in found["said"].replace(f"{CANARY}_KEY", "")


def test_there_are_enough_of_them() -> None:
    """The issue asks for forty; names are their own."""
    names = [case.name for case in (*REFUSED, *TAKEN)]
    assert len(names) == len(set(names)) >= 40


@pytest.mark.usefixtures("refused")
def test_nothing_outside_was_touched(place: Path) -> None:
    """After all of them: what lies outside is as it was, no key was written, no command ran."""
    fresh = place / "fresh"
    write_outside(fresh)
    assert tree(place / "out") == tree(fresh)
    assert (place / "known_hosts").read_text().count("\n") == 1
    assert tree(place / "home") == {}


def test_what_is_taken_does_no_harm(place: Path) -> None:
    """`doctor` of a file with templates as text: only SSH runs, and a template stays text."""
    for name, found in watched(list(TAKEN), "doctor", place).items():
        assert found["code"] == 1, found["said"]  # nobody is there at 127.0.0.2:9
        assert {words[0] for words in found["ran"]} <= set(SSH), name
        assert not any("{{" in word for words in found["ran"] for word in words), name
        folder = place / "doctor" / name
        outside = [p for p in found["opened"] if not may_be_opened(p, folder, place)]
        assert outside == [], name
    assert not (place / "out" / "ran").exists()


def test_the_oracle_sees_what_an_own_file_does(place: Path) -> None:
    """Without --untrusted and with its folder allowed the same file is read: the test can fail."""
    case = next(case for case in REFUSED if case.name == "secret-absolute")
    folder = place / "own" / case.name
    file = case.write(folder, place / "out")
    job = {"folder": str(folder), "arguments": ["doctor", "-f", file.name]}
    allowed = {**job, "arguments": [*job["arguments"], "--allow-files-from", str(place / "out")]}
    done = subprocess.run(
        [sys.executable, "-m", "tests.untrusted.watched"],
        cwd=ROOT,
        env=environment(place),
        input=json.dumps([job, allowed]),
        capture_output=True,
        text=True,
        timeout=120,
    )
    without, with_folder = json.loads(done.stdout)
    assert without["code"] == 2
    assert f"--allow-files-from {place / 'out'}" in without["said"]
    assert with_folder["code"] == 1
    # openat names the last part alone.
    assert str(folder / "secret.txt") in with_folder["opened"]
    assert str(folder / "secret.txt") not in without["opened"]


# ---- the whole of it, with Ansible, under strace


_EXEC = re.compile(r'execve\("([^"]+)", \[(.*)\]')
_OPEN = re.compile(r'open(?:at)?2?\([^"]*"([^"]+)".*\) = \d+<([^>]*)>')


@pytest.mark.hostile
@pytest.mark.parametrize("command", ["plan", "apply"])
@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case.name)
def test_plan_and_apply_run_nothing_of_a_file(
    case: Hostile, command: str, place: Path, tmp_path: Path
) -> None:
    """Every program and every file of the whole process tree, Ansible's too, seen by the kernel."""
    folder = tmp_path / "repo"
    file = case.write(folder, place / "out")
    trace = tmp_path / "trace"
    done = subprocess.run(
        ["strace", "-f", "-y", "-s", "4096", "-e", "trace=execve,open,openat", "-o", str(trace),
         str(BIN / "otto-run"), *typed(command, file, place)],
        cwd=folder, env=environment(place), capture_output=True, text=True, timeout=300,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot be reached" in done.stdout + done.stderr
    text = trace.read_text(errors="replace")
    ran = _EXEC.findall(text)
    assert not any("touch" in words.split(",")[0] for _, words in ran)
    assert not (place / "out" / "ran").exists()
    opened = {found[1] for found in _OPEN.findall(text)}
    assert not any(path.startswith(str(place / "out")) for path in opened)
    assert CANARY not in done.stdout + done.stderr


def test_the_inventory_plugin_refuses_them_too(place: Path) -> None:
    """Ansible with the variables that otto-run sets: the same rules in its own process."""
    sources: list[str] = []
    for case in REFUSED:
        file = case.write(place / "ansible" / case.name, place / "out")
        sources += ["-i", str(file)]
    (place / "ansible" / "out").symlink_to(place / "out")
    good = TAKEN[-1].write(place / "ansible" / "good", place / "out")
    done = subprocess.run(
        [BIN / "ansible-inventory", *sources, "-i", str(good), "--list"],
        cwd=place,
        env={
            **environment(place),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_INVENTORY_ENABLED": "otto.cluster.otto",
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "False",
            "OTTO_UNTRUSTED": "1",
            "OTTO_KNOWN_HOSTS": str(place / "known_hosts"),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    hosts = json.loads(done.stdout)["_meta"]["hostvars"]
    assert list(hosts) == ["a"], done.stderr  # the good one's
    said = str(hosts["a"]["ansible_ssh_common_args"])
    assert "GlobalKnownHostsFile=/dev/null" in said
    assert ".ssh/known_hosts" not in said
    for case in REFUSED:
        assert case.says.split("\n")[0] in done.stderr, case.name
    assert CANARY not in (done.stdout + done.stderr).replace(f"{CANARY}_KEY", "")
    assert not (place / "out" / "ran").exists()


@pytest.mark.hostile
def test_strace_is_there() -> None:
    """The kernel's word is wanted, not left out."""
    assert shutil.which("strace"), "apt-get install strace"
