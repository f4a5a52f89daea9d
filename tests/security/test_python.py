# SPDX-License-Identifier: GPL-3.0-or-later
"""`python:` of a node: root runs nothing there that a service could have put in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_text
from ansible_collections.otto.cluster.plugins.module_utils.errors import ClusterFileError
from ansible_collections.otto.cluster.plugins.plugin_utils import interpreter

from otto_run import push

# ---- in the file

FILE = """\
cluster: {name: c}
nodes: [{id: a, host: HOST, user: pi, python: "PYTHON"}]
services: {web: {image: nginx, node: a}}
"""


def python_of(path: str, host: str = "10.0.0.1") -> str | None:
    text = FILE.replace("HOST", host).replace("PYTHON", path)
    return load_text(text, "otto.yaml", environ={}).nodes[0].python


@pytest.mark.parametrize(
    "path",
    [
        *("/usr/bin/python3", "/usr/bin/python3.13", "/usr/local/bin/python3", "/bin/python3"),
        *("/opt/python", "/opt/venv/bin/python3", "/opt/a/.venv/bin/python", "/opt/a..b/python"),
    ],
)
def test_a_path_where_root_has_its_programs_is_taken(path: str) -> None:
    assert python_of(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("/home/pi/venv/bin/python", "/var/lib/docker/volumes/x/_data/python", "/tmp/python"),
        *("/usr/../home/pi/python", "/opt/./../tmp/python", "/usr/bin/..", "/usr", "/usr/", "/"),
        *("//usr/bin/python3", "/usr//bin/python3", "/usrx/python", "/opt/a b/python"),
        *("/usr/bin/python3;id", "/usr/bin/python3 -c x", "/opt/$$(id)/python", "/opt/`id`"),
        *("/opt/{{ x }}/python", "/opt/pythön", "python3", "usr/bin/python"),
    ],
)
def test_another_path_is_an_error_of_the_file(path: str) -> None:
    """With what is expected instead; a node that is this machine is no matter of root."""
    with pytest.raises(ClusterFileError) as caught:
        python_of(path)
    assert "nodes.a.python" in str(caught.value)
    if path.startswith("/"):
        assert "beneath /usr, /bin or /opt" in str(caught.value)
        assert python_of(path, "localhost") is not None


# ---- on the node, by its shell

SHELLS = [
    ["dash"],
    ["bash", "--posix"],
    *([["busybox", "sh"]] if shutil.which("busybox") else []),
]


class Place:
    """A directory of root's own in /opt; what it is asked to run leaves a mark."""

    def __init__(self, top: Path, elsewhere: Path) -> None:
        self.top = top
        self.elsewhere = elsewhere
        self.ran = elsewhere / "ran"
        self.python = self.program(top / "env/bin/python")

    def program(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {self.ran}\necho it-ran\n")
        path.chmod(0o755)
        return path

    def link(self, to: Path | str) -> Path:
        self.python.unlink()
        self.python.symlink_to(to)
        return self.python

    def start(self, shell: list[str], path: Path | None = None) -> subprocess.CompletedProcess[str]:
        name = str(path or self.python)
        words = interpreter.guarded(name, [name])
        return subprocess.run([*shell, *words[1:]], capture_output=True, text=True)


@pytest.fixture
def place(roots_own: Path, tmp_path: Path) -> Place:
    return Place(roots_own, tmp_path)


def engine(place: Place) -> Path:
    """What a container engine keeps in a directory of /opt; all in it belongs to root."""
    volume = place.program(place.top / "data/volumes/x/_data/python")
    (place.top / "data/volumes/metadata.db").touch()
    return volume


def circle(place: Place) -> Path:
    (place.top / "env/bin/other").symlink_to("python")
    return place.link("other")


def own(path: Path, uid: int = 4711) -> None:
    os.chown(path, uid, uid, follow_symlinks=False)


def package(place: Place) -> Path:
    path = place.top / "env/lib/python3/site-packages/x.py"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


REFUSED: dict[str, tuple[str, Callable[[Place], object]]] = {
    "another's file": ("others", lambda p: own(p.python)),
    "another's directory": ("others", lambda p: own(p.python.parent)),
    "another's directory above": ("others", lambda p: own(p.top)),
    "a file that a group may write": ("others", lambda p: p.python.chmod(0o775)),
    "a file that all may write": ("others", lambda p: p.python.chmod(0o757)),
    "a directory that all may write": ("others", lambda p: p.python.parent.chmod(0o777)),
    "a sticky one": ("others", lambda p: p.top.chmod(0o1777)),
    "a link to /tmp": ("others", lambda p: p.link(p.program(p.elsewhere / "python"))),
    "a link through another's": (
        "others",
        lambda p: (p.link("../../theirs/python"), p.program(p.top / "theirs/python"),
                   own(p.top / "theirs")),
    ),
    "a volume": ("engine", lambda p: p.link(engine(p))),
    "a volume by a relative link": (
        "engine",
        lambda p: (engine(p), p.link("../../data/volumes/x/_data/python")),
    ),
    "elsewhere": ("outside", lambda p: p.link("/etc/passwd")),
    "nowhere": ("missing", lambda p: p.link(p.top / "not-there")),
    "nothing": ("missing", lambda p: p.python.unlink()),
    "a circle": ("missing", circle),
    "a directory": ("missing", lambda p: p.link(p.top)),
    "no program": ("missing", lambda p: p.python.chmod(0o644)),
    "a package of another's": ("others", lambda p: own(package(p))),
    "a package that all may write": ("others", lambda p: package(p).chmod(0o666)),
    "packages that all may add to": ("others", lambda p: package(p).parent.chmod(0o777)),
}  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which takes root")
@pytest.mark.parametrize("kind, spoil", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_what_another_could_have_put_there_is_refused_and_not_run(
    place: Place, shell: list[str], kind: str, spoil: Callable[[Place], object]
) -> None:
    spoil(place)
    done = place.start(shell)
    assert done.returncode == interpreter.REFUSED, done
    assert done.stdout.startswith(f"otto-python:{kind}:/")
    assert not place.ran.exists()
    error = interpreter.refusal(str(place.python), done.stdout)
    assert str(place.python) in error.message
    assert error.cause
    assert error.next


@pytest.mark.skipif(os.geteuid() != 0, reason="the directory has to be root's")
@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_what_is_roots_alone_is_run_with_its_input(place: Place, shell: list[str]) -> None:
    """A program, a link to one, and what root has made with venv."""
    assert place.start(shell).stdout == "it-ran\n"
    other = place.program(place.top / "other/bin/python")
    place.link("../../other/bin/../bin/python")
    assert place.start(shell).stdout == "it-ran\n"
    assert other.exists()
    subprocess.run(
        ["/usr/bin/python3", "-m", "venv", "--without-pip", place.top / "venv"], check=True
    )
    name = str(place.top / "venv/bin/python3")
    words = interpreter.guarded(name, [name, "-"])
    done = subprocess.run(
        [*shell, *words[1:]], input="import sys; print(sys.prefix)", capture_output=True, text=True
    )
    assert done.stdout.strip() == str(place.top / "venv")


def test_the_systems_own_costs_nothing() -> None:
    assert interpreter.guard("/usr/bin/python3") == ""
    assert interpreter.guarded("/usr/bin/python3", ["a"]) == ["a"]


def test_what_a_node_says_of_it_is_a_nodes_word() -> None:
    """No escapes, no end; what to type is quoted and never theirs."""
    said = "otto-python:others:/opt/\x1b[31mx';reboot;'" + "y" * 5000 + "\n"
    error = interpreter.refusal("/opt/python", said)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 2000
    assert "';reboot;'" not in error.next.replace("'\"'\"'", "")
    assert interpreter.refusal("/opt/python", "otto-python:what:ever").cause


def test_the_program_of_a_push_is_guarded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs by sudo: the guard stands before it, within the same sudo."""
    seen: list[list[str]] = []
    monkeypatch.setattr(push.subprocess, "Popen", lambda words, **_: seen.append(words))
    monkeypatch.setattr(push.ssh, "options", lambda *_: [])

    class Node:
        is_local, become, python = False, True, "/opt/py/bin/python"
        docker_url, state_dir, user, host, id = "unix:///x", "", "pi", "h", "a"

    class Here:
        known_hosts = None

    push.Line(Here(), Node(), "x:1")  # type: ignore[arg-type]
    remote = seen[0][-1]
    assert remote.startswith("sudo -n sh -c ")
    assert remote.index("otto-python:") < remote.index(" sh /opt/py/bin/python -")
