# SPDX-License-Identifier: GPL-3.0-or-later
"""All the compose files at once, through `stacks:`, on two hosts with an old and a new engine."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.caller import Caller
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
from ansible_collections.otto.cluster.plugins.module_utils.policy import FILE
from ansible_collections.otto.cluster.plugins.module_utils.target import targets

from tests import compose
from tests.conftest import LAB_STATE, LabHost

pytestmark = [pytest.mark.lab, pytest.mark.slow]

BIN = Path(sys.executable).parent
NAMES = ("rpi-01", "rpi-02")


@pytest.fixture
def folder(tmp_path: Path, lab_hosts: dict[str, LabHost]) -> Iterator[Path]:
    names = list(NAMES)
    nodes = "\n".join(
        f"  - {{id: {name}, host: {lab_hosts[name].address}, user: pi, "
        f"identity_file: {LAB_STATE / 'id_ed25519'}}}"
        for name in names
    )
    text = compose.otto_yaml(nodes, tmp_path, names)
    known = LAB_STATE / "known_hosts"
    text = text.replace("name: compose-files", f"name: compose-files, known_hosts: {known}")
    (tmp_path / "otto.yaml").write_text(text)
    yield tmp_path
    otto_run(tmp_path, "down", "--yes", "--volumes")
    for name in names:
        lab_hosts[name].run(f"rm -f {FILE}")


def otto_run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "otto-run", *words],
        cwd=folder,
        env={
            **os.environ,
            "OTTO_STATE": str(folder / "state"),
            "NO_COLOR": "1",
            "OTTO_ALLOW_FILES_FROM": str(compose.HERE),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )


def containers(host: LabHost) -> list[dict[str, Any]]:
    """Name, state and health of what the cluster has on a host."""
    found = json.loads(
        host.run(
            "docker inspect $(docker ps -aq --filter label=io.otto.cluster=compose-files) || true"
        )
    )
    return [
        {
            "service": one["Config"]["Labels"]["io.otto.service"],
            "state": one["State"]["Status"],
            "exit": one["State"]["ExitCode"],
            "health": one["State"].get("Health", {}).get("Status", "healthy"),
        }
        for one in found
    ]


def put(host: LabHost, policy: str) -> None:
    content = base64.b64encode(policy.encode()).decode()
    host.run(f"echo {content} | base64 -d | install -D -m 644 /dev/stdin {FILE}")


def test_all_of_them_come_up_and_stay_as_they_are(
    folder: Path, lab_hosts: dict[str, LabHost]
) -> None:
    """One apply under `policy init`: every service runs and is healthy, a migration has ended; then
    nothing to do. With a line less, who needs it is refused."""
    policies = {name: otto_run(folder, "policy", "init", name).stdout for name in NAMES}
    # It reads the whole node, and Docker 20.10 would leave writable what is mounted below.
    policies["rpi-01"] = policies["rpi-01"].replace("- {path: /, read_only: true}", "- /")
    for name in NAMES:
        put(lab_hosts[name], policies[name])
    done = otto_run(folder, "apply", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    caller = Caller(folders=(str(compose.HERE),))
    wanted = targets(load_file(str(folder / "otto.yaml"), environ={}, caller=caller))
    for name in NAMES:
        found = containers(lab_hosts[name])
        assert {one["service"] for one in found} == set(wanted[name].services)
        for one in found:
            ended = wanted[name].services[one["service"]].get("restart") == "no"
            state = ("exited", 0) if ended else ("running", 0)
            assert ((one["state"], one["exit"]), one["health"]) == (state, "healthy"), one
    again = otto_run(folder, "plan", "--exit-code")
    assert again.returncode == 0, again.stdout + again.stderr
    put(lab_hosts["rpi-01"], policies["rpi-01"].replace(", traefik]", "]"))
    less = otto_run(folder, "plan", "--limit", "rpi-01")
    assert "traefik is refused by this node's policy: /var/run/docker.sock" in less.stdout
    assert less.stdout.count("refused by this node's policy") == 1
