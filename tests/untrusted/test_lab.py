# SPDX-License-Identifier: GPL-3.0-or-later
"""A stranger's file on a real host, as CI would plan and apply it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LAB_STATE, LabHost

BIN = Path(sys.executable).parent

FILE = """
cluster: {name: stranger}
nodes: [{id: rpi-01, host: %s, user: pi}]
secrets: {motd: {file: motd.txt}}
services:
  calm:
    image: ${IMAGE}
    command: ["sleep", "inf"]
    labels: {jinja: "{{ lookup('pipe', 'touch ran') }}"}
    secrets: [motd]
"""


@pytest.mark.hostile
def test_plan_and_apply_of_a_strangers_file(tmp_path: Path, lab_hosts: dict[str, LabHost]) -> None:
    """With a key, a variable and host keys of the caller's it is applied like any other."""
    host = lab_hosts["rpi-01"]
    (tmp_path / "otto.yaml").write_text(FILE % host.address)
    (tmp_path / "motd.txt").write_text("Good morning to you all\n")
    known = (LAB_STATE / "known_hosts").read_bytes()
    given = ["--known-hosts", str(LAB_STATE / "known_hosts")]
    given += ["--identity-file", str(LAB_STATE / "id_ed25519")]

    def otto_run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "otto-run", *words],
            cwd=tmp_path,
            env={**os.environ, "OTTO_STATE": str(tmp_path / "state"), "IMAGE": "nginx:alpine"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    try:
        withheld = otto_run("plan", "--untrusted", *given)
        assert withheld.returncode == 2
        assert "--var IMAGE" in withheld.stderr
        doctor = otto_run("doctor", "--untrusted", *given, "--var", "IMAGE")
        assert f"known from {LAB_STATE}" in doctor.stdout, doctor.stdout + doctor.stderr
        plan = otto_run("plan", "--untrusted", "--exit-code", *given, "--var", "IMAGE")
        assert plan.returncode == 3, plan.stdout + plan.stderr
        apply = otto_run("apply", "--untrusted", "--yes", *given, "--var", "IMAGE")
        assert apply.returncode == 0, apply.stdout + apply.stderr
        assert "lookup" in host.run("docker inspect calm")
        assert not list(tmp_path.rglob("ran"))
        assert (LAB_STATE / "known_hosts").read_bytes() == known
    finally:
        down = tmp_path / "down.yaml"
        key = f"identity_file: {LAB_STATE}/id_ed25519"
        text = (tmp_path / "otto.yaml").read_text().replace("user: pi", f"user: pi, {key}")
        known_hosts = f"known_hosts: {LAB_STATE}/known_hosts"
        down.write_text(text.replace("name: stranger", f"name: stranger, {known_hosts}"))
        otto_run("down", "-f", "down.yaml", "--yes", "--volumes")
