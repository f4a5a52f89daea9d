# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's installation on a real host: once, again, a broken one, and away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import LAB_HOSTS, LAB_STATE, LabHost

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.lab, pytest.mark.slow]
NODE = "rpi-03"
PASSWORD = "never-shown-4711"
FILE = f"""\
plugin: otto.cluster.otto
cluster: {{name: packtest, known_hosts: {LAB_STATE}/known_hosts}}
mqtt: {{host: 10.77.0.1, port: 18831, username: u, password: {PASSWORD}}}
nodes:
  - {{id: {NODE}, host: {LAB_HOSTS[NODE]}, user: pi, identity_file: {LAB_STATE}/id_ed25519}}
services: []
"""
Playbook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def playbook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playbook]:
    """Runs one of the collection's playbooks; `agent=` is a folder with another otto_agent."""
    folder = tmp_path_factory.mktemp("install")
    (folder / "otto.yaml").write_text(FILE)
    (folder / "other.otto.yaml").write_text(FILE.replace("name: packtest", "name: other"))
    # A copy: who edits the tree during the test makes another bundle.
    site, skip = folder / "site", shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "otto_agent", site / "otto_agent", ignore=skip)
    shutil.copytree(
        ROOT / "otto_collection", site / "ansible_collections" / "otto" / "cluster", ignore=skip
    )

    def run(
        name: str, *options: str, agent: Path | None = None, file: str = "otto.yaml"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                Path(sys.executable).with_name("ansible-playbook"),
                *("-i", file, f"otto.cluster.{name}", *options),
            ],
            cwd=folder,
            env={
                **os.environ,
                "OTTO_STATE": str(folder / "state"),
                "PYTHONPATH": f"{agent}:{site}" if agent else str(site),
                "ANSIBLE_COLLECTIONS_PATH": str(site),
                "ANSIBLE_PIPELINING": "true",
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    yield run
    run("down", "-e", "otto_volumes=true")


def recap(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What Ansible counted for the node."""
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{NODE} ")]
    counts = dict(word.split("=") for word in line.split(":")[1].split())
    return {key: counts[key] for key in ("ok", "changed", "failed", "skipped")}


@pytest.fixture
def host(lab_hosts: dict[str, LabHost]) -> LabHost:
    return lab_hosts[NODE]


def test_a_node_gets_its_agent_and_then_nothing(playbook: Playbook, host: LabHost) -> None:
    first = playbook("site")
    assert first.returncode == 0, first.stdout
    assert host.run("systemctl is-active otto-agent") == "active"
    assert host.run("stat -c '%a %U' /etc/otto/agent.json /var/lib/otto").split("\n") == [
        "600 otto",
        "750 otto",
    ]
    pid = host.run("systemctl show otto-agent -p MainPID --value")
    again = playbook("site")
    assert recap(again) == {"ok": "2", "changed": "0", "failed": "0", "skipped": "1"}, again.stdout
    assert host.run("systemctl show otto-agent -p MainPID --value") == pid


@pytest.mark.parametrize("name", ["site", "plan", "down"])
def test_another_cluster_gets_no_hold_of_the_node(
    playbook: Playbook, host: LabHost, name: str
) -> None:
    """Apply, plan and down of another cluster say whose the host is, and touch nothing."""
    pid = host.run("systemctl show otto-agent -p MainPID --value")
    done = playbook(name, file="other.otto.yaml")
    assert done.returncode == 2, done.stdout
    assert "belongs to the cluster packtest" in done.stdout + done.stderr
    assert host.run("systemctl show otto-agent -p MainPID --value") == pid


def test_a_broken_agent_is_taken_back(playbook: Playbook, host: LabHost, tmp_path: Path) -> None:
    """It loads but does not come up: the former version runs, and its cause is told."""
    before = host.run("readlink /opt/otto/current")
    shutil.copytree(
        ROOT / "otto_agent", tmp_path / "otto_agent", ignore=shutil.ignore_patterns("__pycache__")
    )
    main = tmp_path / "otto_agent" / "__main__.py"
    text = main.read_text()
    assert "    sys.exit(main())" in text
    main.write_text(text.replace("    sys.exit(main())", "    sys.exit('no agent today')"))
    done = playbook("site", "-vvv", "--diff", agent=tmp_path)
    assert done.returncode == 2
    assert "did not come up" in done.stdout + done.stderr
    assert "no agent today" in done.stdout + done.stderr
    assert f"Agent {before} is put back and runs" in done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert host.run("readlink /opt/otto/current") == before
    assert host.run("systemctl is-active otto-agent") == "active"


def test_down_leaves_docker_and_nothing_of_otto(playbook: Playbook, host: LabHost) -> None:
    assert playbook("down").returncode == 0
    left = host.run(
        "ls -d /opt/otto /etc/otto /var/lib/otto /etc/systemd/system/otto-agent.service; id otto",
        check=False,
    )
    assert left == ""
    assert host.run("systemctl is-active docker") == "active"
    assert recap(playbook("down"))["changed"] == "0"
