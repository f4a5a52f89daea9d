# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run push` to real hosts with both engines: layers sent and saved, nothing left behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.otto.cluster.plugins.module_utils.cluster import DOCKER_URL

from otto_run.processes import descendants
from otto_run.push import Image, Line, saved
from otto_run.session import opened
from tests.conftest import LAB_HOSTS, LAB_STATE, LabHost, wait_for

from .conftest import OTTO_RUN, Typed

NODES = ("rpi-01", "rpi-02")
BASE = "busybox:latest"
MIB = 1 << 20
HALF = "ls -d /var/lib/docker/tmp/docker-import-* 2>/dev/null || true"
"""Where an engine keeps what it takes in until it has all of it."""


def docker(*words: str, **how: Any) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=120, **how)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def build(reference: str, size: int, folder: Path) -> None:
    """busybox and one layer of `size` bytes that nothing compresses."""
    (folder / "blob").write_bytes(os.urandom(size))
    container = docker("create", BASE)
    try:
        docker("cp", str(folder / "blob"), f"{container}:/blob")
        docker("commit", container, reference)
    finally:
        docker("rm", container)


@pytest.fixture
def reference(lab_hosts: dict[str, LabHost]) -> Iterator[str]:
    name = f"otto-test-{uuid.uuid4().hex[:8]}:1"
    yield name
    subprocess.run(["docker", "rmi", "-f", name], capture_output=True, timeout=60)
    for node in NODES:
        lab_hosts[node].run(
            f"docker rmi -f {name}; grep -l {name} /var/lib/otto/pushed/* | xargs -r rm",
            check=False,
        )


@pytest.fixture
def written(typed: Typed, reference: str) -> Typed:
    document = {
        "cluster": {"name": "push", "known_hosts": str(LAB_STATE / "known_hosts")},
        "nodes": [
            {"id": node, "host": LAB_HOSTS[node], "user": "pi",
             "identity_file": str(LAB_STATE / "id_ed25519")}
            for node in NODES
        ],
        "services": {"shop": {"image": reference, "node": list(NODES)}},
    }  # fmt: skip
    (typed.folder / "otto.yaml").write_text(yaml.safe_dump(document))
    return typed


def test_only_missing_layers_are_sent(
    written: Typed, reference: str, lab_hosts: dict[str, LabHost], tmp_path: Path
) -> None:
    """One node has the lower layers and gets the rest, the other one gets all; then nothing."""
    build(reference, 2 * MIB, tmp_path)
    wanted = docker("image", "inspect", "-f", "{{.Id}}", reference)
    with_base, without = NODES
    lab_hosts[with_base].run(f"docker pull -q {BASE}")
    lab_hosts[without].run(f"docker rmi -f {BASE}", check=False)
    done = written("push", reference, "--json")
    assert done.returncode == 0, done.stderr
    found = {one["node"]: one for one in json.loads(done.stdout)["nodes"]}
    assert {one["id"] for one in found.values()} == {wanted}
    assert 2 * MIB < found[with_base]["sent"] < 2 * MIB + 20_000
    assert (found[with_base]["layers_sent"], found[without]["layers_sent"]) == (1, 2)
    assert found[without]["saved"] == 0
    assert found[with_base]["saved"] + found[with_base]["sent"] == found[without]["sent"]
    for node in NODES:
        size = lab_hosts[node].run(f"docker run --rm {reference} wc -c /blob")
        assert size.split() == [str(2 * MIB), "/blob"]
        assert reference in lab_hosts[node].run(f"cat /var/lib/otto/pushed/{wanted[7:]}")
    again = written("push", reference)
    assert again.stdout.splitlines() == [
        f"{node}: has {reference} already ({wanted[:19]})" for node in NODES
    ]


@pytest.mark.parametrize("node", NODES)
def test_what_is_cut_off_is_never_loaded(
    node: str,
    written: Typed,
    reference: str,
    lab_hosts: dict[str, LabHost],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection ends in the middle of a layer: no image, and the engine keeps no half."""
    monkeypatch.setenv("OTTO_STATE", str(written.state))
    build(reference, 4 * MIB, tmp_path)
    host = lab_hosts[node]
    with (
        opened(written.folder / "otto.yaml", None, False, 0) as here,
        saved(reference, tmp_path, DOCKER_URL) as image,
    ):
        line = Line(here, here.nodes[node], reference)
        try:
            assert line.hear()["named"] == ""
            size, pieces = image.archive(0)
            whole = b"".join(chunk for piece in pieces for chunk in image.read(piece))
            line.say(iter([f"{size}\n".encode(), whole[: size - 2 * MIB]]))
            wait_for(lambda: host.run(HALF), seconds=20, what="the engine to take in layers")
        finally:
            line.end()
    for what in ("pgrep -f [d]ocker_url || true", HALF):
        wait_for(lambda: not host.run(what), seconds=20, what=f"the end of `{what}`")  # noqa: B023
    assert host.run(f"docker images -q {reference}") == ""


def test_ctrl_c_ends_every_child(
    written: Typed, reference: str, lab_hosts: dict[str, LabHost], tmp_path: Path
) -> None:
    """An engine that hangs: 130, the lock is free, and no ssh is left of it."""
    build(reference, 1000, tmp_path)
    host = lab_hosts[NODES[0]]
    engine = host.run("cat /run/docker.pid")
    host.run(f"kill -STOP {engine}")
    try:
        process = subprocess.Popen(
            [OTTO_RUN, "push", reference, "--node", NODES[0]],
            cwd=written.folder,
            env=written.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: host.run("pgrep -f [d]ocker_url || true"), seconds=30, what="the push")
        children = descendants(process.pid)
        assert children
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 130, errors
        assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
    finally:
        host.run(f"kill -CONT {engine}")
    assert written("push", reference, "--node", NODES[0]).returncode == 0


MISTAKES = [
    ("nope:1", "This machine's Docker has no image nope:1", 1),
    ("redis:alpine", "no service of otto.yaml uses redis:alpine", 2),
    ("redis@sha256:" + "a" * 64, "a digest is a registry's word", 2),
]


@pytest.mark.parametrize(("image", "said", "code"), MISTAKES)
def test_what_cannot_be_pushed_says_why(typed: Typed, image: str, said: str, code: int) -> None:
    (typed.folder / "otto.yaml").write_text(
        "cluster: {name: push}\nnodes: [{id: here, host: localhost}]\n"
        "services: {shop: {image: 'nope:1'}}\n"
    )
    done = typed("push", image)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "next" in done.stderr


def test_an_archive_without_layers_is_still_one(tmp_path: Path) -> None:
    """What is left out is only the content: the manifest names every layer, and comes last."""
    layers = {"a/layer.tar": b"x" * 700, "b/layer.tar": b"y" * 10}
    config = json.dumps({"rootfs": {"diff_ids": ["sha256:aa", "sha256:bb", "sha256:aa"]}}).encode()
    manifest = [{"Config": "c.json", "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"]}]
    with (tmp_path / "saved").open("w+b") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            contents = {**layers, "c.json": config, "manifest.json": json.dumps(manifest).encode()}
            for name, content in contents.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            link = tarfile.TarInfo("c/layer.tar")  # as `docker save` writes a layer twice
            link.type, link.linkname = tarfile.SYMTYPE, "../a/layer.tar"
            archive.addfile(link)
        file.seek(0)
        image = Image("shop:1", file)
        assert image.there([["sha256:bb"], ["sha256:aa", "sha256:cc"], []]) == 1
        assert image.there([["sha256:aa", "sha256:bb", "sha256:aa", "sha256:dd"]]) == 3
        for skip, names in ((0, ["0", "1", "2"]), (1, ["1", "2"]), (3, [])):
            size, pieces = image.archive(skip)
            raw = b"".join(chunk for piece in pieces for chunk in image.read(piece))
            assert len(raw) == size
            with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
                found = archive.getnames()
                assert found[1:-1] == [f"{name}/layer.tar" for name in names]
                assert found[-1] == "manifest.json"
                told = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
                assert len(told[0]["Layers"]) == 3
                assert told[0]["RepoTags"] == ["shop:1"]
                if "2" in names:
                    last = archive.extractfile("2/layer.tar")
                    assert last is not None
                    assert last.read() == layers["a/layer.tar"]
