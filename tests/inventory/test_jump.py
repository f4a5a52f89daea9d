# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that is reached through two others of the file, with nothing prepared by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import LAB_HOSTS, LAB_STATE, ROOT, LabHost

pytestmark = pytest.mark.lab
BIN = Path(sys.executable).parent


def test_jumps_by_node_id_work_out_of_the_box(
    tmp_path: Path, lab_hosts: dict[str, LabHost]
) -> None:
    """Host keys and identities of the jump hosts are Otto's own, in otto-run and plain Ansible."""
    jumps = {"rpi-02": "rpi-01", "rpi-03": "rpi-02"}
    nodes = [
        {
            "id": name,
            "host": address,
            "user": "pi",
            "identity_file": str(LAB_STATE / "id_ed25519"),
            **({"jump": jumps[name]} if name in jumps else {}),
        }
        for name, address in LAB_HOSTS.items()
    ]
    document = {"cluster": {"name": "jump"}, "nodes": nodes, "services": []}
    (tmp_path / "otto.yaml").write_text(yaml.safe_dump(document))
    state = tmp_path / "a state 100%"

    def typed(*command: str) -> str:
        done = subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=tmp_path,
            env={
                **os.environ,
                "OTTO_STATE": str(state),
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
            },
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    said = typed("otto-run", "plan", "--limit", "rpi-03", "--accept-new-host-keys")
    assert [line.split()[0] for line in said.splitlines() if "SHA256:" in line] == list(LAB_HOSTS)
    known = (state / "jump" / "known_hosts").read_text()
    assert [line.split()[0] for line in known.splitlines()] == list(LAB_HOSTS.values())
    came_from = typed(
        *("ansible", "rpi-03", "-i", "otto.yaml", "-e", "ansible_become=false"),
        *("-m", "ansible.builtin.command", "-a", "printenv SSH_CONNECTION"),
    )
    assert lab_hosts["rpi-02"].address in came_from
