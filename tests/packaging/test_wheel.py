# SPDX-License-Identifier: GPL-3.0-or-later
"""The wheel carries the collection to where Ansible finds it with no configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections/otto/cluster"
FILE = """\
plugin: otto.cluster.otto
cluster: {name: packtest}
mqtt: {host: 192.0.2.1}
nodes: [{id: box, host: 192.0.2.2, user: pi}]
services: [{name: web, image: 'nginx:alpine', node: box}]
"""


def build(kind: str, source: Path, folder: Path) -> Path:
    """What `python -m build` makes of a source tree: kind is --wheel or --sdist."""
    command = [sys.executable, "-m", "build", kind, "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("--wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def empty(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an otto.yaml and nothing else; beside it, the wheel as installed."""
    folder = tmp_path_factory.mktemp("empty")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    (folder / "work").mkdir()
    (folder / "work" / "otto.yaml").write_text(FILE)
    return folder / "work"


def run(folder: Path, *command: str) -> str:
    """Runs a command of this environment that sees the wheel's files first."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        "PYTHONPATH": str(folder.parent / "site"),
        "HOME": str(folder.parent),
        "OTTO_STATE": str(folder.parent / "state"),
    }
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [str(program), *command[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_file_of_the_collection_is_in_it_once(wheel: Path) -> None:
    """Real files: the links at the top of a checkout stay behind, and no cache comes along."""
    with zipfile.ZipFile(wheel) as archive:
        found = archive.namelist()
    assert len(found) == len(set(found))
    collection = ROOT / "otto_collection"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."],
        cwd=collection, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    expected = {name for name in listed if (collection / name).exists()}
    prefix = COLLECTION + "/"
    assert {name[len(prefix) :] for name in found if name.startswith(prefix)} == expected
    tops = {name.split("/")[0] for name in found}
    assert tops - {"ansible_collections", "otto_agent", "otto_run"} == {
        next(top for top in tops if top.endswith(".dist-info"))
    }


@pytest.mark.parametrize("playbook", ["site", "plan", "down"])
def test_its_playbooks_are_found_by_name(empty: Path, playbook: str) -> None:
    tasks = run(
        empty, "ansible-playbook", "-i", "otto.yaml", f"otto.cluster.{playbook}", "--list-tasks"
    )
    assert "Count the nodes" in tasks


def test_its_inventory_reads_otto_yaml(empty: Path) -> None:
    assert '"otto_cluster": "packtest"' in run(
        empty, "ansible-inventory", "-i", "otto.yaml", "--host", "box"
    )


@pytest.mark.parametrize(
    "module",
    [
        "agent",
        "container",
        "container_service",
        "first_plan",
        "image_prune",
        "node_info",
        "target",
    ],
)
def test_its_modules_are_documented(empty: Path, module: str) -> None:
    assert "OPTIONS" in run(empty, "ansible-doc", f"otto.cluster.{module}")


def test_without_a_node_the_run_fails_and_says_why(empty: Path) -> None:
    """Ansible itself skips a play without hosts and reports success."""
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [str(program), "-i", "localhost,", "otto.cluster.site"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(empty.parent / "site"), "HOME": str(empty.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "There is no node" in done.stdout + done.stderr


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """Hatch would follow .links and pack the collection there instead of where it stands."""
    archive = build("--sdist", ROOT, tmp_path / "sdist")
    shutil.unpack_archive(archive, tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    again = build("--wheel", source, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert sorted(one.namelist()) == sorted(two.namelist())
