# SPDX-License-Identifier: GPL-3.0-or-later
"""What root runs on a node is what the control machine made, or it is not run."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import trusted
from ansible_collections.otto.cluster.plugins.modules import agent
from ansible_collections.otto.cluster.plugins.plugin_utils import bundle, in_place

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which takes root")
CORE = "ansible_collections/otto/cluster/plugins/module_utils"
SOURCE = f"{CORE}/target_main.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bundle.Bundle:
    return bundle.current(tmp_path_factory.mktemp("bundles"))


def arguments(made: bundle.Bundle, packed: bytes | None = None) -> dict[str, str]:
    packed = made.packed() if packed is None else packed
    return {
        "version": made.version,
        "sha256": made.sha256,
        "bundle": base64.b64encode(packed).decode(),
        "packed_sha256": hashlib.sha256(packed).hexdigest(),
    }


@pytest.fixture(scope="module")
def unpacked(made: bundle.Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(agent, "OPT", tmp_path_factory.mktemp("opt"))
        patches.setattr(trusted, "distrusted", lambda _path: "")  # /tmp is everybody's
        agent.unpack(arguments(made), sys.executable)
        return agent.OPT / made.version


@pytest.fixture
def installed(unpacked: Path, roots_own: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle as it lies on a node."""
    monkeypatch.setattr(in_place, "CURRENT", roots_own / "current")
    shutil.copytree(unpacked, roots_own / unpacked.name)
    (roots_own / "current").symlink_to(unpacked.name)
    return roots_own / unpacked.name


def start(made: bundle.Bundle) -> subprocess.CompletedProcess[str]:
    """What the control machine has run on a node; its input is no document, which is an error of
    the program itself. This Python need not lie where a node's has to: see security/test_python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_place, "guard", lambda _python: "")
        command = in_place.command(sys.executable, made.version, made.sha256)
    return subprocess.run(["sh", "-c", command], input="?", capture_output=True, text=True)


def write(path: Path, text: str) -> None:
    path.write_text(text)


def spoil_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def compiled(folder: Path) -> Path:
    return next((folder / CORE / "__pycache__").glob("target_main.*.pyc"))


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "source": lambda at, ran: write(at / SOURCE, f"open({str(ran)!r}, 'w')"),
    "a bit of a source": lambda at, _: spoil_byte(at / SOURCE),
    "a bit of what is compiled": lambda at, _: spoil_byte(compiled(at)),
    "cut short": lambda at, _: os.truncate(at / SOURCE, 100),
    "empty": lambda at, _: os.truncate(at / SOURCE, 0),
    "missing": lambda at, _: (at / SOURCE).unlink(),
    "one more": lambda at, ran: write(at / "json.py", f"open({str(ran)!r}, 'w')"),
    "one more compiled": lambda at, _: (at / "json.pyc").write_bytes(compiled(at).read_bytes()),
    "a link": lambda at, _: (at / "more").symlink_to("/tmp"),
    "a pipe": lambda at, _: os.mkfifo(at / "more"),
    "owner of a file": lambda at, _: os.chown(at / SOURCE, 4711, 4711),
    "owner of a directory": lambda at, _: os.chown(at / "otto_agent", 4711, 4711),
    "owner of it all": lambda at, _: os.chown(at, 4711, 4711),
    "mode of a file": lambda at, _: (at / SOURCE).chmod(0o664),
    "mode of a directory": lambda at, _: (at / "otto_agent").chmod(0o777),
    "mode of it all": lambda at, _: at.chmod(0o775),
    "mode above it": lambda at, _: at.parent.chmod(0o777),
    "manifest": lambda at, _: spoil_byte(at / trusted.MANIFEST),
    "no manifest": lambda at, _: (at / trusted.MANIFEST).unlink(),
    "record of what is compiled": lambda at, _: spoil_byte(at / trusted.COMPILED),
    "another Python": lambda at, _: write(at / trusted.COMPILED, "cpython-35\n"),
}


def test_what_was_installed_is_run(made: bundle.Bundle, installed: Path) -> None:
    """Nothing is altered, and the program of the bundle answers; it leaves nothing behind."""
    before = sorted(installed.rglob("*"))
    assert trusted.altered(str(installed), made.sha256) == ""
    done = start(made)
    assert "json.decoder.JSONDecodeError" in done.stderr
    assert done.returncode == 1
    assert sorted(installed.rglob("*")) == before
    assert trusted.altered(str(installed), "0" * 64) == f"{installed} holds another bundle"


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_another_thing_is_not_run(
    made: bundle.Bundle, installed: Path, change: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    """The call ends before anything of the bundle was loaded, and says why."""
    ran = tmp_path / "ran"
    change(installed, ran)
    done = start(made)
    assert done.returncode == in_place.OTHER_BUNDLE, done.stderr
    assert str(installed.parent) in done.stderr
    assert not ran.exists()


@pytest.mark.usefixtures("installed")
def test_neither_environment_nor_directory_bring_modules_in(
    made: bundle.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python takes nothing but its own library and the bundle, wherever the login begins."""
    ran = tmp_path / "ran"
    (tmp_path / "json.py").write_text(f"open({str(ran)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "json.py"))
    assert "JSONDecodeError" in start(made).stderr
    assert not ran.exists()


# ---- unpacking


def archive(*members: tuple[str, dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        for name, how in members:
            member = tarfile.TarInfo(name)
            for key, value in how.items():
                setattr(member, key, value)
            made.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name, how",
    [
        ("/etc/otto-was-here", {}),
        ("../otto-was-here", {}),
        ("a/../../otto-was-here", {}),
        ("a//b", {}),
        (".", {"type": tarfile.DIRTYPE}),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "/etc"}),
        ("second", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}),
        ("device", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),
        ("pipe", {"type": tarfile.FIFOTYPE}),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_an_archive_with_another_thing_than_files_is_refused(
    made: bundle.Bundle,
    roots_own: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    how: dict[str, Any],
) -> None:
    """Nothing is left of it, neither there nor elsewhere."""
    monkeypatch.setattr(agent, "OPT", roots_own / "otto")
    with pytest.raises(agent.Failed, match="no plain file"):
        agent.unpack(arguments(made, archive((name, how))), sys.executable)
    assert list((roots_own / "otto").iterdir()) == []
    assert sorted(path.name for path in roots_own.iterdir()) == ["otto"]
    assert not Path("/etc/otto-was-here").exists()


def test_what_arrived_is_compared_before_it_is_unpacked(
    made: bundle.Bundle, roots_own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "OPT", roots_own)
    params = arguments(made)
    params["bundle"] = base64.b64encode(made.packed()[:-3]).decode()
    with pytest.raises(agent.Failed, match="did not arrive as it was sent"):
        agent.unpack(params, sys.executable)
    # A whole archive, and another one than was asked for.
    with pytest.raises(agent.Failed, match="The bundle is broken"):
        agent.unpack({**arguments(made), "sha256": "0" * 64}, sys.executable)
    assert list(roots_own.iterdir()) == []


@pytest.mark.parametrize("mode, owner", [(0o775, 0), (0o755, 4711)])
def test_nothing_is_installed_where_others_may_write(
    made: bundle.Bundle, roots_own: Path, monkeypatch: pytest.MonkeyPatch, mode: int, owner: int
) -> None:
    monkeypatch.setattr(agent, "OPT", roots_own)
    roots_own.chmod(mode)
    os.chown(roots_own, owner, 0)
    with pytest.raises(agent.Failed, match=f"sudo chown root:root {roots_own}"):
        agent.unpack(arguments(made), sys.executable)
    assert list(roots_own.iterdir()) == []
