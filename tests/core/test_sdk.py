# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Docker SDK is taken, and what is said where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = """
from pathlib import Path
from ansible_collections.otto.cluster.plugins.module_utils.sdk import docker_module
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
try:
    print(docker_module(Path({bundle!r})).__file__)
except OttoError as error:
    print(error)
"""


def look(bundle: Path, *, installed: str = "") -> str:
    """What a Python without site-packages finds."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", CODE.format(bundle=str(bundle))],
        env={**os.environ, "PYTHONPATH": f"{ROOT / '.links'}:{installed}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def sdk(directory: Path, text: str = "APIClient = object\n") -> Path:
    (directory / "docker").mkdir(parents=True)
    (directory / "docker/__init__.py").write_text(text)
    (directory / "docker/errors.py").touch()
    return directory


def test_the_bundle_comes_before_what_is_installed(tmp_path: Path) -> None:
    """A node uses the SDK that was tested with this Otto; without a bundle, what there is."""
    bundle, installed = sdk(tmp_path / "bundle"), sdk(tmp_path / "installed")
    assert look(bundle, installed=str(installed)).startswith(str(bundle))
    assert look(tmp_path / "none", installed=str(installed)).startswith(str(installed))


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "is missing on this node"), ("Client = object\n", "is not the Docker SDK")],
)
def test_no_sdk(tmp_path: Path, text: str | None, says: str) -> None:
    """None, or something else of that name: said in words, with the command that helps."""
    installed = sdk(tmp_path / "installed", text) if text is not None else tmp_path
    page = look(tmp_path / "none", installed=str(installed))
    assert says in page
    assert "next" in page
    assert "apt-get install python3-docker" in page
    assert "Traceback" not in page
