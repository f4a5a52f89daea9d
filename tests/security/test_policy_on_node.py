# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose owner has a policy: plan, apply and agent refuse in the same words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import LabHost, wait_for
from tests.e2e.conftest import Folder

POLICY = "/etc/otto/policy.yaml"
REFUSED = "pol-web is refused by this node's policy: pid: host"


@pytest.fixture
def owned(
    tmp_path_factory: pytest.TempPathFactory, lab_hosts: dict[str, LabHost]
) -> Iterator[tuple[Folder, LabHost]]:
    folder = Folder(tmp_path_factory.mktemp("policy"), "policy")
    folder.document["nodes"] = folder.document["nodes"][:1]
    del folder.document["mqtt"]
    folder.document["services"] = {
        "pol-web": {"image": "nginx:alpine", "node": "all"},
        "pol-db": {"image": "redis:alpine", "node": "all"},
    }
    folder.write()
    host = lab_hosts["rpi-01"]
    folder.ok("otto-run", "apply", "--accept-new-host-keys")
    try:
        yield folder, host
    finally:
        host.run(f"rm -f {POLICY}")
        folder.run("otto-run", "down", "--yes")


def test_refused_wherever_it_is_asked_for_and_left_running(owned: tuple[Folder, LabHost]) -> None:
    folder, host = owned
    web, db = host.container_id("pol-web"), host.container_id("pol-db")
    host.run(f"printf 'allow:\\n  mounts: [/srv]\\n' > {POLICY}")
    services = folder.document["services"]
    services["pol-web"]["pid"] = "host"
    services["pol-db"]["environment"] = {"A": "1"}
    folder.write()
    for command in (["plan"], ["apply", "--check"], ["apply"]):
        done = folder.run("otto-run", *command)
        assert REFUSED in done.stdout, command
        assert "on the node: sudoedit /etc/otto/policy.yaml; there, under allow:" in done.stdout
        assert done.returncode == (1 if command == ["apply"] else done.returncode)
    assert host.container_id("pol-web") == web
    assert host.container_id("pol-db") not in ("", db), "the others come to their target"
    wait_for(
        lambda: REFUSED in host.run("journalctl -u otto-agent -o cat --no-pager"),
        seconds=20,
        what="the agent's word",
    )
    assert host.run("docker inspect -f {{.HostConfig.PidMode}} pol-web") == ""

    host.run(f"printf 'allow: [' > {POLICY}")
    done = folder.run("otto-run", "apply")
    assert done.returncode == 1
    assert "cannot be used, so it allows nothing: it is no YAML in line 1" in done.stdout
    host.run(f"printf 'allow:\\n  host_pid: [pol-web]\\n' > {POLICY}")
    folder.ok("otto-run", "apply")
    assert host.run("docker inspect -f {{.HostConfig.PidMode}} pol-web") == "host"

    folder.ok("otto-run", "down", "--yes")
    assert host.run(f"cat {POLICY}"), "the owner's file is not Otto's"
