# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container reaches of its node under a policy: nothing that the policy does not name.

Canaries are planted on real hosts; a probe inside every container looks for them. Without the
policy the same probe finds them, each by its own service.
"""

from __future__ import annotations

import io
import json
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.model import Target

from tests import drawn
from tests.conftest import LAB_STATE, ROOT, LabHost

HERE = Path(__file__).parent / "reach"
HOSTS = {"20.10": "rpi-01", "26.1": "rpi-02"}
READABLE = [{"path": path, "read_only": True} for path in ("/srv/readable", "/srv/above")]
POLICY = {"allow": {"mounts": ["/srv/allowed", *READABLE]}}
DRAWN = 320

CANARIES: dict[str, dict[str, Any]] = {
    "etc": {"volumes": ["/etc:/a"]},
    "root": {"volumes": ["/root:/a:ro"]},
    "other": {"volumes": ["/srv/other:/a"]},
    "vault": {"volumes": ["vault:/a"]},
    "device": {"devices": ["/dev/otto-canary-device"]},
    "cgroup": {"volumes": ["cgroup:/a"]},
    "process": {"pid": "host"},
    "socket": {"network_mode": "host"},
    "interface": {"volumes": ["sysfs:/a"]},
    "hostname": {"uts": "host"},
    "engine": {"volumes": ["/var/run/docker.sock:/a"]},
    "sysctl": {"security_opt": ["systempaths=unconfined"]},
    "shm": {"ipc": "host"},
    "capabilities": {"cap_add": ["SYS_PTRACE"]},
    "seccomp": {"security_opt": ["seccomp=unconfined"]},
    "node: route": {"networks": ["routed"]},
    "node: bridge": {"networks": ["named"]},
    "node: wrote": {"volumes": ["/srv/readable:/a"]},
    "node: mount": {"volumes": ["/srv/readable:/a:ro,rshared", "ram:/a/over"]},
    "node: log": {
        "logging": {
            "driver": "syslog", "options": {"syslog-address": "unixgram:///run/otto-canary-log"},
        },
        "command": ["sh", "-c", "trap exit TERM; echo here; sleep 600 & wait"],
    },
}  # fmt: skip
"""Canary -> a service that reaches it where no policy stands in the way. The hosts themselves may
not give `oom_score_adj` below 0, nor `ulimits: rtprio`: no container has them there."""
BYPASSES: dict[str, dict[str, Any]] = {
    "etc by a relative overlay": {"volumes": ["layers:/a"]},
    "etc by a bind of nfs": {"volumes": ["nfsbind:/a"]},
    "etc by a volume": {"volumes": ["bind:/a"]},
    "etc by a link": {"volumes": ["/srv/allowed/link:/a"]},
    "etc by the processes of another": {"pid": "container:box"},
    "etc by the mounts of another": {"volumes_from": ["container:box"]},
    "process by a volume": {"volumes": ["proc:/a"]},
}
"""Another way to a canary, which is the first word."""


ON_OLD_ENGINES: dict[str, dict[str, Any]] = {"node: wrote below": {"volumes": ["/srv/above:/a:ro"]}}
"""A read-only mount that leaves writable what is mounted below it."""


class Node:
    """A lab host with the core, and with canaries."""

    def __init__(self, host: LabHost) -> None:
        self.host = host
        if "busybox" not in host.run("docker image ls -q --filter reference=busybox:latest; echo"):
            image = subprocess.run(["docker", "save", drawn.IMAGE], capture_output=True, check=True)
            self._with_input("docker load", image.stdout)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            core = "ansible_collections/otto/cluster/plugins/module_utils"
            archive.add(ROOT / "otto_collection/plugins/module_utils", core)
            archive.add(HERE / "on_node.py", "on_node.py")
        self._with_input(
            "mkdir -p /tmp/otto-reach && tar -xz -C /tmp/otto-reach", packed.getvalue()
        )
        host.run((HERE / "plant.sh").read_text())

    def _with_input(self, command: str, content: bytes, timeout: float = 120) -> str:
        done = subprocess.run(
            [
                *("ssh", "-i", str(LAB_STATE / "id_ed25519"), "-o", "BatchMode=yes"),
                *("-o", f"UserKnownHostsFile={LAB_STATE / 'known_hosts'}"),
                *(f"pi@{self.host.address}", f"sudo sh -c '{command}'"),
            ],
            input=content,
            capture_output=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        return done.stdout.decode()

    def carry_out(self, targets: list[Target], policy: Any, timeout: float = 120) -> list[Any]:
        asked = {
            "policy": policy,
            "targets": [target.to_json() for target in targets],
            "probe": (HERE / "probe.sh").read_text(),
        }
        said = self._with_input(
            "cd /tmp/otto-reach && PYTHONPATH=. python3 on_node.py",
            json.dumps(asked).encode(),
            timeout,
        )
        return [json.loads(line) for line in said.splitlines()]


@pytest.fixture(scope="module", params=HOSTS.values(), ids=HOSTS)
def node(request: pytest.FixtureRequest, lab_hosts: dict[str, LabHost]) -> Iterator[Node]:
    host = lab_hosts[request.param]
    try:
        yield Node(host)
    finally:
        host.run((HERE / "uproot.sh").read_text())


def by_row(rows: dict[str, dict[str, Any]]) -> Target:
    return drawn.target_of({f"s{n}": options for n, options in enumerate(rows.values())})


def found_by(rows: dict[str, dict[str, Any]], answer: Any) -> dict[str, set[str]]:
    """Row -> what its service reached, and what happened to the node."""
    node = {f"node: {what}" for what in answer["node"]}
    return {row: {*answer["services"][f"s{n}"]["reached"], *node} for n, row in enumerate(rows)}


def check_probe(node: Node, rows: dict[str, dict[str, Any]]) -> None:
    """Each canary is found by its service; under the policy none of these services runs."""
    wanted = by_row(rows)
    (lifted,) = node.carry_out([wanted], None)
    (under,) = node.carry_out([wanted], POLICY)
    reached = found_by(rows, lifted)
    missed = {
        row for row in rows if row.partition(" by ")[0].removesuffix(" below") not in reached[row]
    }
    errors = {row: lifted["services"][f"s{n}"]["error"] for n, row in enumerate(rows)}
    assert not missed, {row: errors[row] for row in missed}
    assert under["node"] == []
    assert {name for name, each in under["services"].items() if each["ran"]} == set()
    assert all(each["refused"] for each in under["services"].values()), under


def judge(answers: list[Any], targets: list[Target]) -> tuple[int, int]:
    """How many ran, and how many were refused; fails where one reached anything."""
    ran = refused = 0
    for answer, target in zip(answers, targets, strict=True):
        assert answer["node"] == [], target.to_json()
        for name, each in answer["services"].items():
            assert each["reached"] == [], (name, target.to_json())
            ran += each["ran"]
            refused += each["refused"]
    return ran, refused


FEW = ("etc", "process", "etc by a relative overlay", "node: wrote below")


@pytest.mark.parametrize("node", ["rpi-01"], indirect=True)
def test_a_few_reach_nothing(node: Node) -> None:
    """What is reached without a policy is not under it, and harmless services run."""
    check_probe(node, {row: {**CANARIES, **BYPASSES, **ON_OLD_ENGINES}[row] for row in FEW})
    harmless = drawn.drawn(random.Random(0), 3, powerful=0)
    ran, _ = judge(node.carry_out([harmless], POLICY), [harmless])
    assert ran == 3


@pytest.mark.hostile
def test_every_canary_is_reached_without_a_policy_and_none_under_it(node: Node) -> None:
    old = ON_OLD_ENGINES if node.host.name == HOSTS["20.10"] else {}
    check_probe(node, {**CANARIES, **BYPASSES, **old})


@pytest.mark.hostile
def test_drawn_services_reach_nothing(node: Node) -> None:
    """Many of them, of all that may be written: who is not refused runs, and finds nothing."""
    first = 1000 if node.host.name == HOSTS["20.10"] else 2000
    targets = [drawn.drawn(random.Random(first + n), 8) for n in range(DRAWN // 8)]
    ran, refused = judge(node.carry_out(targets, POLICY, timeout=3600), targets)
    print(f"{DRAWN} drawn, {ran} ran, {refused} refused")
    assert ran > DRAWN / 4
    assert refused > DRAWN / 8
