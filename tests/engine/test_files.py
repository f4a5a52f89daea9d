# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets and configs on a real engine: files that a container reads and nothing else shows."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import beneath
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.model import Target, content_digest
from ansible_collections.otto.cluster.plugins.module_utils.node_files import WithFiles
from ansible_collections.otto.cluster.plugins.module_utils.operations import PutFile
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import apply
from ansible_collections.otto.cluster.plugins.module_utils.state import TargetStore

from .conftest import IMAGE


def test_a_file_whose_owner_nobody_names_is_written_without_asking_for_one(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent's unit forbids chown, and the agent finishes what an apply has begun."""
    monkeypatch.setattr(beneath.os, "fchown", None)
    monkeypatch.setattr(beneath.os, "geteuid", lambda: 4711)
    content = b"s3cret"
    name = f"{content_digest(content)}-444-any-any"
    put = PutFile(name, "s", content=base64.b64encode(content).decode())
    WithFiles(engine, tmp_path).execute(put)
    assert (tmp_path / "files" / name).read_bytes() == content


def of(cluster: str, content: bytes, **more: Any) -> Target:
    digest = content_digest(content)
    entry = {"source": "pw", "target": "/run/secrets/pw", "mode": 0o440, "digest": digest, **more}
    service = {
        "image": IMAGE,
        "container_name": f"{cluster}-web",
        "command": ["sh", "-c", "wc -c < /run/secrets/pw; trap exit TERM; sleep 600 & wait"],
        "network_mode": "none",
        "secrets": [entry],
    }
    files = {digest: base64.b64encode(content).decode()}
    return Target(cluster, "here", {"web": service}, files=files)


def test_a_secret_comes_changes_and_goes(
    engine: DockerEngine, cluster: str, tmp_path: Path
) -> None:
    """Read by the container, found in no inspect, journal or report; what nobody needs is gone."""
    store = TargetStore(tmp_path)
    name = f"{cluster}-web"
    shown = []
    for content in (b"hunter-two", b"sword-and-fish"):
        target = of(cluster, content)
        report = apply(engine, store, target)
        assert not report.errors
        assert not apply(engine, store, target).changed
        assert engine.logs(name).strip() == str(len(content))
        (file,) = (tmp_path / "files").iterdir()
        assert file.read_bytes() == content
        assert stat.S_IMODE(file.stat().st_mode) == 0o440
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        found = engine.inspect(name)
        assert found is not None
        shown += [json.dumps(found.inspect, default=str), json.dumps(report.to_json())]
    shown.append((tmp_path / "journal.jsonl").read_text())
    for secret in ("hunter-two", "sword-and-fish"):
        hidden = base64.b64encode(secret.encode()).decode()
        assert not [text for text in shown if secret in text or hidden in text]

    file.unlink()  # a live edit: written anew, and the container is left alone
    again = apply(engine, store, target)
    assert again.changed
    assert file.exists()
    assert again.services["web"]["container_id"] == found.id
    gone = apply(engine, store, Target(cluster, "here"))
    assert not gone.errors
    assert list((tmp_path / "files").iterdir()) == []
