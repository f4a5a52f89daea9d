# SPDX-License-Identifier: GPL-3.0-or-later
"""The same doors with the gate taken out: what test_hostile looks for is then seen.

A test that passes with and without the gate would show nothing.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT, LabHost
from tests.gate.hostile import answer, honest, hostile
from tests.gate.test_hostile import COMMANDS, ESCAPE, KINDS, Doors, knock, other_was_told

pytestmark = [pytest.mark.lab, pytest.mark.hostile]

OFF = {
    "otto_collection/plugins/plugin_utils/node_call.py": """
def _as_it_is(self, answer):
    return dict(answer)
def _as_text(self, text):
    return json.loads(text)
import json
NodeAction.passed = _as_it_is
NodeAction.passed_text = _as_text
NodeAction.gate = _as_text
""",
    "otto_collection/plugins/plugin_utils/gate/answers.py": """
def read(module, answer):
    return dict(answer), 0
def parsed(module, text):
    return json.loads(text), 0
def said(shape, text):
    return json.loads(text)
""",
    "otto_collection/plugins/plugin_utils/gate/hints.py": """
def allowed(text):
    return text
""",
    "otto_collection/plugins/plugin_utils/gate/words.py": """
def one_line(text, limit):
    return text
def lines(text, limit):
    return text
""",
    "otto_collection/plugins/action/target.py": """
def _whole(answer, arguments):
    return answer
""",
}


@pytest.fixture(scope="module")
def open_doors(
    tmp_path_factory: pytest.TempPathFactory, lab_hosts: dict[str, LabHost]
) -> Iterator[Doors]:
    """A copy of Otto whose gate lets everything through."""
    tree = tmp_path_factory.mktemp("without")
    for name in ("otto_collection", "otto_run", "otto_agent", ".links"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True)
    found = Doors(tmp_path_factory.mktemp("doors"), lab_hosts, tree)
    assert found.typed("otto-run", "apply", "--yes").returncode == 0
    assert found.typed("otto-run", "plan", "--out", "plan.json").returncode == 0
    for name, text in OFF.items():
        with (tree / name).open("a") as file:
            file.write(text)
    with hostile(found.liar):
        yield found
        honest(found.liar)
    Doors(found.folder, lab_hosts).typed("otto-run", "down", "--yes", "--volumes")


@pytest.mark.parametrize("door", sorted(COMMANDS))
def test_without_the_gate_a_liar_is_seen(open_doors: Doors, door: str) -> None:
    """At each door, at least one kind of answer does what test_hostile forbids."""
    before = open_doors.outside()
    seen = []
    for kind in KINDS:
        done = knock(open_doors, door, kind)
        told = done.stdout + done.stderr
        if (
            open_doors.marker.exists()
            or open_doors.outside() != before
            or ESCAPE.search(told)
            or "Traceback" in told
            or "Otto itself failed" in told
            or re.search(r"\bevil\b|10\.77\.0\.66", told)
            or not other_was_told(door, done)
        ):
            seen.append(kind)
        open_doors.marker.unlink(missing_ok=True)
        if seen:
            break
    assert seen


@pytest.mark.parametrize(
    ("door", "said"),
    [
        (("otto-run", "doctor"), {"python": [3, 13], "sudo": 1}),
        (("otto-run", "push", "busybox:latest"), {"named": 1, "layers": 3}),
    ],
)
def test_without_the_gate_a_program_is_seen(
    open_doors: Doors, door: tuple[str, ...], said: object
) -> None:
    """The programs of doctor and push, too."""
    answer(open_doors.liar, json.dumps(said))
    done = open_doors.typed(*door)
    assert "Otto itself failed" in done.stdout + done.stderr
