# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run import`: a compose file as services of otto.yaml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Cluster
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_text
from ansible_collections.otto.cluster.plugins.module_utils.source import env_file
from ansible_collections.otto.cluster.plugins.module_utils.target import targets

from otto_run import importer
from tests import compose

HEAD = "cluster: {name: home}\nnodes: [{id: n1, host: 10.0.0.1, user: pi}]\n"


def told(cluster: Cluster, prefix: str = "") -> dict[str, Any]:
    """What each service comes to, but for the names that belong to a stack or to otto.yaml."""
    target = targets(cluster)["n1"]
    found = {}
    for name, spec in target.services.items():
        networks = {target.networks[key]["name"] for key in spec.get("networks", ())}
        volumes = [
            {**m, "source": target.volumes[m["source"]]["name"]}
            if m["type"] == "volume" and m["source"]
            else m
            for m in spec.get("volumes", ())
        ]
        files = [
            {key: entry[key] for key in ("target", "mode", "digest")}
            for kind in ("secrets", "configs")
            for entry in spec.get(kind, ())
        ]
        found[name.removeprefix(prefix) if name != prefix[:-1] else name] = {
            **spec,
            "depends_on": sorted(n.removeprefix(prefix) for n in spec.get("depends_on", ())),
            "links": sorted(line.removeprefix(prefix) for line in spec.get("links", ())),
            "networks": networks - {"home_default", f"{prefix[:-1]}_default"},
            "volumes": volumes,
            "secrets": files,
            "configs": [],
        }
    return found


@pytest.mark.parametrize("name", compose.FILES)
def test_import_means_what_the_stack_means(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All the files: what is printed parses, and the services are the same ones."""
    monkeypatch.chdir(compose.HERE)
    file = compose.FILES[name].relative_to(compose.HERE)
    environ: dict[str, str] = {}
    for path in (Path(name, ".env"), Path("shop/database/.env")):
        environ |= env_file(path.read_bytes(), str(path)) if path.exists() else {}
    printed = importer.imported(file, node="n1", name=None)
    imported = load_text(HEAD + printed.text, "otto.yaml", environ={**environ, **printed.secrets})
    stack = load_text(HEAD + f"stacks: [{{compose: {file}, node: n1}}]\n", "otto.yaml", environ={})
    first = stack.services[0]
    project = first.name.removesuffix(f"-{first.alias}")
    assert told(imported) == told(stack, project + "-")


def test_what_cannot_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otto refuses `build`: a comment says what to do, and the rest is there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app").mkdir()
    (tmp_path / "app/compose.yaml").write_text("""
services:
  web:
    build: .
    env_file: [web.env]
    volumes: ["./here:/data"]
    environment: {TEXT: "$$HOME ${TAG:-x}"}
secrets: {key: {external: true}}
""")
    (tmp_path / "app/here").mkdir()
    (tmp_path / "app/here/file").touch()
    (tmp_path / "app/web.env").write_text("A=1\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "otto-run", "import", "app/compose.yaml", "--name", "shop"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "# build is not done" in done.stdout
    assert "./here is /srv/shop/here of the node" in done.stdout
    assert "# Variables, for .env beside otto.yaml: TAG" in done.stdout
    web = load_text(HEAD + done.stdout, "otto.yaml", environ={}).services[0]
    assert web.spec["image"] == "shop-web:latest"
    assert web.spec["environment"] == {"A": "1", "TEXT": "$HOME x"}


def test_a_broken_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        [Path(sys.executable).parent / "otto-run", "import", "nowhere.yaml"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "nowhere.yaml" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr
