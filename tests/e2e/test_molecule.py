# SPDX-License-Identifier: GPL-3.0-or-later
"""`molecule test`, typed exactly so from the checkout."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.conftest import ROOT
from tests.e2e.conftest import BIN


@pytest.mark.lab
@pytest.mark.slow
def test_molecule_runs_the_full_sequence() -> None:
    """Every step of the default scenario, on hosts of its own."""
    done = subprocess.run(
        ["molecule", "test"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-8000:]
    for step in ("create", "converge", "idempotence", "side_effect", "verify", "destroy"):
        assert f"default > {step}: Executed: Successful" in said, said[-8000:]
