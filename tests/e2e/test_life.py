# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a cluster on real hosts, told in order: each test stands on the one before."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request

import pytest

from tests.conftest import ROOT, LabHost, wait_for
from tests.e2e.conftest import Folder

pytestmark = [pytest.mark.lab, pytest.mark.slow]

NGINX_HEALTH = {
    "test": ["CMD-SHELL", "curl -fs http://localhost/ || exit 1"],
    "interval": "1s",
    "timeout": "2s",
    "retries": 3,
}


def page(host: LabHost, port: int) -> str:
    with urllib.request.urlopen(f"http://{host.address}:{port}/", timeout=5) as answer:
        return str(answer.read().decode())


def test_first_apply_takes_a_bare_host_to_serving(
    folder: Folder, lab_hosts: dict[str, LabHost]
) -> None:
    """rpi-03 has neither Docker nor Otto: one apply and it serves, with no pip on it."""
    subprocess.run(
        [sys.executable, "-m", "lab", "up", "--fresh", *lab_hosts],
        cwd=ROOT,
        check=True,
        timeout=300,
    )
    bare = lab_hosts["rpi-03"]
    assert bare.run("command -v docker || echo none") == "none"
    folder.document["services"] = {
        "web": {
            "image": "nginx:alpine",
            "node": "all",
            "ports": ["8088:80"],
            "environment": {"MODE": "dark", "ZONE": "north"},
            "labels": {"team": "blue"},
            "healthcheck": NGINX_HEALTH,
        },
        "cache": {
            "image": "redis:alpine",
            "node": "rpi-02",
            "command": "redis-server --appendonly yes",
            "volumes": ["cache-data:/data"],
            "mem_limit": "64m",
        },
        "spare": {"image": "redis:alpine", "node": "rpi-02"},
    }
    folder.document["volumes"] = {"cache-data": {}}
    folder.write()
    out = folder.ok("otto-run", "apply", "--yes", timeout=400)
    assert re.search(r"rpi-03.*1/1", out), out
    for host in lab_hosts.values():
        assert "nginx" in page(host, 8088).lower()
        assert host.run("systemctl is-active otto-agent") == "active"
    assert bare.run("python3 -m pip --version 2>/dev/null || echo none") == "none"


def test_second_apply_does_nothing(folder: Folder, lab_hosts: dict[str, LabHost]) -> None:
    """Nothing to do: said so, exit code 0, and every container keeps its id."""
    before = {name: host.run("docker ps -q --no-trunc | sort") for name, host in lab_hosts.items()}
    assert "nothing to do" in folder.ok("otto-run", "apply", "--yes").lower()
    assert "nothing to do" in folder.ok("otto-run", "plan", "--exit-code").lower()
    after = {name: host.run("docker ps -q --no-trunc | sort") for name, host in lab_hosts.items()}
    assert after == before


def test_plain_ansible_finds_the_same_state(folder: Folder) -> None:
    """`ansible-playbook site.yml` in a folder made by `init --ansible`: changed=0 on every host."""
    assert folder.file.exists(), "the story has to be told from its start"
    folder.ok("otto-run", "init", "--ansible")
    recap = folder.ok("ansible-playbook", "site.yml")
    assert len(re.findall(r"rpi-0\d +: ok=\d+ +changed=0 +unreachable=0 +failed=0", recap)) == 3


def test_plan_names_exactly_what_changed(folder: Folder, lab_hosts: dict[str, LabHost]) -> None:
    """One value changed, one key removed, one service removed: three things, others untouched."""
    web = folder.document["services"]["web"]
    web["node"] = "rpi-01"
    folder.document["services"]["web-2"] = {**web, "node": "rpi-02", "ports": ["8089:80"]}
    folder.document["services"]["web-3"] = {**web, "node": "rpi-03", "ports": ["8089:80"]}
    folder.write()
    folder.ok("otto-run", "apply", "--yes")
    before = {name: host.run("docker ps -q --no-trunc | sort") for name, host in lab_hosts.items()}

    web["environment"] = {"MODE": "light", "ZONE": "north"}
    third = dict(folder.document["services"]["web-3"])
    del third["labels"]
    folder.document["services"]["web-3"] = third
    del folder.document["services"]["spare"]
    folder.write()
    plan = folder.run("otto-run", "plan", "--exit-code")
    assert plan.returncode == 3, plan.stdout + plan.stderr
    assert "environment.MODE: dark -> light" in plan.stdout
    assert "labels.team: removed (was blue)" in plan.stdout
    assert "spare" in plan.stdout
    for untouched in ("cache", "web-2", "ZONE"):
        assert untouched not in plan.stdout

    folder.ok("otto-run", "apply", "--yes")
    ids = {name: host.run("docker ps -q --no-trunc | sort") for name, host in lab_hosts.items()}
    kept = {name: set(ids[name].split()) & set(before[name].split()) for name in ids}
    assert len(kept["rpi-02"]) == 2, "cache and web-2 keep their ids"
    assert lab_hosts["rpi-02"].container_id("spare") == ""
    assert "nothing to do" in folder.ok("otto-run", "plan").lower()


def test_agent_heals_without_the_control_plane(lab_hosts: dict[str, LabHost]) -> None:
    """No otto-run anywhere: a removed container is back within ten seconds."""
    host = lab_hosts["rpi-01"]
    old = host.container_id("web")
    host.run("docker rm -f web")
    new = wait_for(lambda: host.container_id("web"), seconds=10, what="web to come back")
    assert new != old


@pytest.mark.usefixtures("control_plane")
def test_status_follows_the_agent(folder: Folder, lab_hosts: dict[str, LabHost]) -> None:
    """Stopped: offline. Killed: offline, by the last will. Started again: online."""
    host = lab_hosts["rpi-02"]

    def state_is(state: str) -> bool:
        return bool(folder.status()["rpi-02"]["state"] == state)

    host.run("systemctl stop otto-agent")
    wait_for(lambda: state_is("offline"), seconds=15, what="offline after stop", every=0.3)
    host.run("systemctl start otto-agent")
    wait_for(lambda: state_is("online"), seconds=30, what="online after start", every=0.3)
    host.run("systemctl kill --signal=KILL otto-agent && systemctl stop otto-agent")
    wait_for(lambda: state_is("offline"), seconds=15, what="offline by the last will", every=0.3)
    host.run("systemctl start otto-agent")
    wait_for(lambda: state_is("online"), seconds=30, what="online once more", every=0.3)
    wait_for(
        lambda: "cpu_percent" in str(folder.status()["rpi-02"]["metrics"]),
        seconds=30,
        what="a sample with a rate, which is the second one",
        every=0.3,
    )


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"image": "nginx:no-such-tag"}, "no-such-tag"),
        ({"healthcheck": {**NGINX_HEALTH, "test": ["CMD", "false"]}}, "unhealthy"),
        ({"command": ["/no/such/program"]}, "no such file"),
    ],
    ids=["missing image", "failing healthcheck", "broken command"],
)
def test_failed_update_keeps_the_old_container(
    folder: Folder, lab_hosts: dict[str, LabHost], change: dict[str, object], cause: str
) -> None:
    """The old container serves on, exit code 1, and the message says what to type next."""
    host = lab_hosts["rpi-01"]
    good = folder.document["services"]["web"]
    old = host.container_id("web")
    folder.document["services"]["web"] = {**good, **change}
    folder.write()
    done = folder.run("otto-run", "apply", "--yes")
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert host.container_id("web") == old
    assert "nginx" in page(host, 8088).lower()
    assert "rpi-01" in said and "web" in said and cause in said.lower(), said
    assert "Traceback" not in said
    folder.document["services"]["web"] = good
    folder.write()
    folder.ok("otto-run", "apply", "--yes")
    assert host.container_id("web") == old
    leftovers = host.run("docker ps -a --format '{{.Names}}' | grep otto- || true")
    assert leftovers == ""


def test_an_unreachable_node_does_not_hold_up_the_others(
    folder: Folder, lab_hosts: dict[str, LabHost]
) -> None:
    """A host that is off: named with its cause, exit code 1; the change reaches the others."""
    folder.document["nodes"].append({**folder.document["nodes"][0], "id": "gone", "port": 2299})
    folder.document["services"]["extra"] = {"image": "redis:alpine", "node": "rpi-02"}
    folder.write()
    done = folder.run("otto-run", "apply", "--yes", "--accept-new-host-keys")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "gone" in done.stdout + done.stderr
    assert lab_hosts["rpi-02"].container_id("extra")
    folder.document["nodes"].pop()
    del folder.document["services"]["extra"]
    folder.write()


def test_a_second_apply_is_told_who_holds_the_lock(folder: Folder) -> None:
    """Exit code 4 while another apply runs."""
    first = subprocess.Popen(
        ["otto-run", "apply", "--yes"],
        cwd=folder.path,
        env=folder.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lock = folder.path / "state" / folder.cluster / "lock"
    wait_for(lambda: lock.exists() and lock.read_text(), seconds=10, what="the lock")
    second = folder.run("otto-run", "apply", "--yes")
    out, _ = first.communicate(timeout=120)
    assert first.returncode == 0, out
    assert second.returncode == 4, second.stdout + second.stderr
    assert str(first.pid) in second.stdout + second.stderr


def test_ad_hoc_container(folder: Folder, lab_hosts: dict[str, LabHost]) -> None:
    """`ansible rpi-01 -m otto.container -a ...` from the checkout: changed, then not; no orphan."""
    command = (
        "ansible",
        "rpi-01",
        "-i",
        str(folder.file),
        "-m",
        "otto.container",
        "-a",
        "name=hello image=nginx:alpine ports=8090:80",
    )
    env = {**folder.env}
    try:
        for expected in ("CHANGED", "SUCCESS"):
            done = subprocess.run(
                command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert expected in done.stdout
        assert "nginx" in page(lab_hosts["rpi-01"], 8090).lower()
        folder.ok("otto-run", "apply", "--yes")
        assert lab_hosts["rpi-01"].container_id("hello"), "an apply takes no ad hoc container away"
    finally:
        lab_hosts["rpi-01"].run("docker rm -f hello")


def test_down_takes_away_what_otto_made(folder: Folder, lab_hosts: dict[str, LabHost]) -> None:
    """Containers, networks, agent: gone. Volumes only with the flag."""
    folder.ok("otto-run", "down", "--yes")
    for host in lab_hosts.values():
        assert host.run("docker ps -aq --filter label=io.otto.cluster=e2e") == ""
        assert host.run("docker network ls -q --filter label=io.otto.cluster=e2e") == ""
        assert host.run("ls -d /opt/otto /etc/otto 2>/dev/null || echo none") == "none"
    assert "cache-data" in lab_hosts["rpi-02"].run("docker volume ls -q")
    folder.ok("otto-run", "down", "--yes", "--volumes")
    assert "e2e_cache-data" not in lab_hosts["rpi-02"].run("docker volume ls -q")
