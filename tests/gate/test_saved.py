# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes into Ansible as a variable: from a saved plan, the store, a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otto_run import runner, saved
from otto_run.exits import Stop

EVIL = "{{ lookup('ansible.builtin.pipe', 'touch MARK') }}"
NODE: dict[str, Any] = {
    "revision": "0123456789abcdef",
    "services": {"web": "0123456789abcdef"},
    "digest": "0123456789abcdef",
    "changed": True,
    "plan": {"before": [], "services": [], "after": []},
    "steps": [],
}


def written(path: Path, **node: Any) -> Path:
    document = {"otto": "plan", "format": 1, "cluster": "c", "made": 1.0, "nodes": {}}
    document["nodes"] = {"rpi-01": {**NODE, **node}}
    path.write_text(json.dumps(document))
    return path


def test_an_honest_saved_plan_is_read(tmp_path: Path) -> None:
    """What the next test spoils is good before."""
    assert saved.read(written(tmp_path / "plan.json")).nodes["rpi-01"].digest == NODE["digest"]


@pytest.mark.parametrize(
    "node",
    [
        {"digest": EVIL},
        {"revision": EVIL},
        {"services": {"web": EVIL}},
        {"services": []},
        {"changed": "yes"},
        {"plan": {"services": "x"}},
        {"steps": "abc"},
        {"steps": [{}]},
    ],
)
def test_a_saved_plan_of_somebody_else_is_data(tmp_path: Path, node: dict[str, Any]) -> None:
    """A digest is hex, a list is a list; anything else is no plan that Otto has saved."""
    with pytest.raises(Stop, match="no plan that this otto-run has saved"):
        saved.read(written(tmp_path / "plan.json", **node))


def test_a_variable_is_no_template(tmp_path: Path) -> None:
    """Whatever stands in an extra variable reaches Ansible as it is; trusted, it would run."""
    mark = tmp_path / "ran-here"
    evil = EVIL.replace("MARK", str(mark))
    runner.write_variables(tmp_path, {"otto_expect": {"rpi-01": evil}, "otto_container": evil})
    told = {}
    for name, text in (
        ("marked", (tmp_path / "env/extravars").read_text()),
        ("trusted", json.dumps({"otto_expect": {"rpi-01": evil}, "otto_container": evil})),
    ):
        (tmp_path / f"{name}.yml").write_text(text)
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("ansible")), "localhost", "-m", "debug"),
                *("-i", "localhost,", "-c", "local", "-e", f"@{tmp_path / name}.yml"),
                *("-a", "msg={{ otto_expect['rpi-01'] }}/{{ otto_container }}"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
        told[name] = (done.stdout + done.stderr, mark.exists())
        mark.unlink(missing_ok=True)
    assert "lookup" in told["marked"][0] and not told["marked"][1]
    assert told["trusted"][1], "Ansible ran no template, so this test shows nothing"
