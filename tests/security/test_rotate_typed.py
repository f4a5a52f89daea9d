# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run rotate` as typed, where no node has to be reached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from otto_run import lock
from tests.run.conftest import Typed


@pytest.fixture
def typed(tmp_path: Path) -> Typed:
    return Typed(tmp_path)


def file(typed: Typed, **mqtt: Any) -> None:
    document = {
        "cluster": {"name": "rot"},
        "nodes": [{"id": "here", "host": "localhost"}],
        "services": [],
        "mqtt": {"host": "127.0.0.1", **mqtt},
    }
    (typed.folder / "otto.yaml").write_text(yaml.safe_dump(document))


def accounts(typed: Typed) -> dict[str, dict[str, str]]:
    text = (typed.state / "rot" / "credentials.json").read_text()
    found: dict[str, dict[str, str]] = json.loads(text)["accounts"]
    return found


def test_all_get_new_ones_and_a_named_one_alone(typed: Typed) -> None:
    file(typed)
    assert "New passwords: here, otto-run" in typed("rotate").stdout
    first = accounts(typed)
    assert "New passwords: here\n" in typed("rotate", "here").stdout
    second = accounts(typed)
    assert first["otto-run"] == second["otto-run"]
    assert first["here"] != second["here"]
    assert all("former" not in entry for entry in second.values())


def test_what_a_running_up_uses_stays(typed: Typed) -> None:
    file(typed)
    typed("rotate")
    before = accounts(typed)
    with lock.hold(typed.state / "rot" / "up.lock", "a test"):
        done = typed("rotate")
        assert done.returncode == 0
        assert "Unchanged: here, otto-run; `otto-run up` is using them" in done.stdout
        assert accounts(typed) == before
        assert typed("rotate", "--ca").returncode == 4


def test_a_new_ca(typed: Typed) -> None:
    file(typed)
    assert typed("rotate", "--ca").returncode == 0
    ca = typed.state / "rot" / "pki" / "ca.crt"
    first = ca.read_text()
    assert str(ca) in typed("rotate", "--ca").stdout
    assert ca.read_text() != first
    assert sorted(p.name for p in ca.parent.iterdir()) == ["ca.crt", "ca.key", "lock"]


@pytest.mark.parametrize(
    ("mqtt", "arguments", "words"),
    [
        ({"username": "u", "password": "p"}, [], "is an account of a broker of your own"),
        ({"tls": "off"}, ["--ca"], "there is none to renew"),
        ({"tls": {"ca": "system"}}, ["--ca"], "there is none to renew"),
        ({}, ["--ca", "here"], "--ca is for all nodes"),
        ({}, ["her"], "nearest   here"),
    ],
)
def test_wrong_usage(typed: Typed, mqtt: dict[str, Any], arguments: list[str], words: str) -> None:
    file(typed, **mqtt)
    done = typed("rotate", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (typed.state / "rot" / "credentials.json").exists()
