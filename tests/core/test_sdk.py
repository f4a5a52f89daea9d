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


def test_the_bundle_comes_before_what_is_installed(roots_own: Path, tmp_path: Path) -> None:
    """A node uses the SDK that was tested with this Otto; without a bundle, what there is."""
    bundle, installed = sdk(roots_own / "bundle"), sdk(tmp_path / "installed")
    assert look(bundle, installed=str(installed)).startswith(str(bundle))
    assert look(tmp_path / "none", installed=str(installed)).startswith(str(installed))


@pytest.mark.parametrize("of", ["bundle", "bundle/docker", "bundle/docker/errors.py"])
@pytest.mark.parametrize("trick", ["owner", "mode"])
def test_a_bundle_that_others_may_write_is_not_run_by_root(
    roots_own: Path, of: str, trick: str
) -> None:
    """A user of the node who may write one file of it would be root at the next ad-hoc command."""
    marker = roots_own / "ran"
    bundle = sdk(roots_own / "bundle", f"open({str(marker)!r}, 'w'); APIClient = object\n")
    if trick == "owner":
        os.chown(roots_own / of, 4711, 4711)
    else:
        (roots_own / of).chmod(0o775)
    said = look(bundle)
    assert "not root's alone, so nothing of it is run" in said
    assert str(roots_own / of) in said
    assert not marker.exists()


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
