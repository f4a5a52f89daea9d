# SPDX-License-Identifier: GPL-3.0-or-later
"""The role `broker` on a host: a Mosquitto that Otto runs, from nothing to nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.conftest import LabHost, wait_for
from tests.e2e.conftest import Folder

DB = "/var/lib/otto-broker/mosquitto.db"
NODES = ("rpi-01", "rpi-02")


@dataclass
class Story:
    folder: Folder
    host: LabHost
    shown: str = ""

    @property
    def passwords(self) -> list[str]:
        state = self.folder.path / "state" / self.folder.cluster / "credentials.json"
        return [entry["password"] for entry in json.loads(state.read_text())["accounts"].values()]

    def started(self) -> str:
        return self.host.run("systemctl show otto-broker --property=ActiveEnterTimestampMonotonic")

    def online(self) -> bool:
        """Both agents, as the broker holds it retained."""
        done = self.folder.run("otto-run", "status", "--json")
        nodes = json.loads(done.stdout)["nodes"] if done.stdout else []
        return [node["state"] for node in nodes] == ["online"] * 2


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, lab_hosts: dict[str, LabHost]
) -> Iterator[Story]:
    folder = Folder(tmp_path_factory.mktemp("broker"), "mosquitto")
    folder.document["mqtt"] = {"node": "rpi-01"}
    folder.document["nodes"] = folder.document["nodes"][:2]
    folder.write()
    made = Story(folder, lab_hosts["rpi-01"])
    # As loud as can be, with differences: nothing of it may hold a password.
    folder.env["ANSIBLE_DIFF_ALWAYS"] = "1"
    done = folder.run("otto-run", "up", "--once", "--yes", "-vvvv", timeout=400)
    made.shown = done.stdout + done.stderr
    assert done.returncode == 0, made.shown[-4000:]
    yield made
    folder.run("otto-run", "down", "--yes")


def test_agents_report_through_it(story: Story) -> None:
    wait_for(story.online, seconds=20, what="both agents online")
    listens = story.host.run("ss -Hltn | awk '{print $4}'")
    assert ":8883" in listens
    assert ":1883" not in listens, "the service that came with the package"


def test_no_password_is_shown(story: Story) -> None:
    assert "PLAY RECAP" in story.shown
    assert len(story.passwords) == 3
    for password in story.passwords:
        assert password not in story.shown
    assert "BEGIN PRIVATE KEY" not in story.shown
    for mode in (
        story.host.run("stat -c %a /etc/otto-broker/passwords"),
        story.host.run("stat -c %a /etc/otto-broker/broker.key"),
    ):
        assert mode == "640"
    assert story.host.run("stat -c %a /etc/otto/agent.json") == "600"


def test_a_second_apply_changes_nothing(story: Story) -> None:
    before = story.started()
    assert "Nothing to do" in story.folder.ok("otto-run", "apply")
    assert story.started() == before


def test_plain_ansible_finds_nothing_to_do_either(story: Story) -> None:
    said = story.folder.ok("ansible-playbook", "-i", "otto.yaml", "otto.cluster.site")
    counts = [line.split("changed=")[1].split()[0] for line in said.splitlines() if "ok=" in line]
    assert set(counts) == {"0"}


def test_new_passwords_are_read_again_without_a_restart(story: Story) -> None:
    before, former = story.started(), story.passwords
    story.folder.ok("otto-run", "rotate")
    assert not set(former) & set(story.passwords)
    assert story.started() == before
    wait_for(story.online, seconds=20, what="both agents online")


def test_a_new_ca_too(story: Story) -> None:
    before = story.started()
    ca = story.folder.path / "state/mosquitto/pki/ca.crt"
    former = ca.read_text()
    story.folder.ok("otto-run", "rotate", "--ca")
    assert ca.read_text() != former
    assert former not in story.host.run("cat /etc/otto/agent.json").replace("\\n", "\n")
    assert story.started() == before
    wait_for(story.online, seconds=20, what="both agents online")


def test_a_rotation_with_a_node_away_is_gone_on_with(story: Story) -> None:
    """The others have theirs; the one that is away is told, and gets it the next time."""
    nodes = story.folder.document["nodes"]
    nodes[1]["port"] = 1
    story.folder.write()
    done = story.folder.run("otto-run", "rotate")
    assert done.returncode == 1
    assert "New passwords: rpi-01, otto-run" in done.stdout
    assert "after: otto-run rotate" in done.stdout
    del nodes[1]["port"]
    story.folder.write()
    story.folder.ok("otto-run", "rotate", "rpi-02")
    wait_for(story.online, seconds=30, what="both agents online")


def test_a_broker_that_is_away_hinders_no_node(story: Story) -> None:
    """Nobody gets a password that it does not know, and the other node gets its containers."""
    nodes, former = story.folder.document["nodes"], story.passwords
    nodes[0]["port"] = 1
    story.folder.document["services"] = {
        "there": {"image": "busybox:latest", "node": "rpi-02", "command": ["sleep", "900"]}
    }
    story.folder.write()
    rotated = story.folder.run("otto-run", "rotate")
    assert rotated.returncode == 1
    assert "Nothing was changed: the broker on rpi-01" in rotated.stdout
    assert story.passwords == former
    applied = json.loads(story.folder.run("otto-run", "apply", "--json").stdout)
    assert (applied["changed"], applied["unreachable"]) == (["rpi-02"], ["rpi-01"])
    assert [failure["node"] for failure in applied["failures"]] == ["rpi-01"]
    del nodes[0]["port"]
    story.folder.document["services"] = {}
    story.folder.write()
    assert story.online()
    story.folder.ok("otto-run", "apply", "--yes")


def test_a_broker_that_lacks_something_is_in_the_plan(story: Story) -> None:
    before = story.started()
    story.host.run("echo >> /etc/otto-broker/acl")
    done = story.folder.run("otto-run", "plan", "--exit-code")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "* broker: acl" in done.stdout
    story.folder.ok("otto-run", "apply")
    assert "Nothing to do" in story.folder.ok("otto-run", "plan", "--exit-code")
    assert story.started() == before


def test_a_broker_that_cannot_run_is_told_and_hinders_no_container(story: Story) -> None:
    story.host.run("systemctl stop otto-broker; systemctl mask --runtime --now otto-broker")
    story.host.run("mount -t tmpfs -o ro none /etc/otto-broker")
    try:
        done = story.folder.run("otto-run", "apply", "--json")
    finally:
        story.host.run("umount /etc/otto-broker; systemctl unmask --runtime otto-broker")
    assert done.returncode == 1
    (failure,) = json.loads(done.stdout)["failures"]
    assert failure["node"] == "rpi-01"
    assert "The broker does not run" in failure["cause"]
    story.folder.ok("otto-run", "apply")
    wait_for(story.online, seconds=30, what="both agents online")


def test_a_broken_database_is_set_aside(story: Story) -> None:
    """Fault 19: the broker comes back, and the nodes say again what was retained."""
    story.host.run(
        f"systemctl stop otto-broker; head -c 500 /dev/urandom > {DB};"
        f" chown mosquitto {DB}; systemctl start --no-block otto-broker"
    )
    wait_for(
        lambda: story.host.run("systemctl is-active otto-broker", check=False) == "active",
        seconds=20,
        what="the broker",
    )
    assert story.host.run(f"stat -c %s {DB}.bad") == "500"
    wait_for(story.online, seconds=60, what="both agents to say it again")


def test_a_broker_that_is_killed_keeps_what_it_held(story: Story) -> None:
    before = story.host.run(f"stat -c %Y {DB}.bad")
    story.host.run("systemctl kill --signal=KILL otto-broker")
    wait_for(story.online, seconds=60, what="both agents online")
    assert story.host.run(f"stat -c %Y {DB}.bad") == before, "nothing was set aside"


def test_down_leaves_nothing_of_it(story: Story) -> None:
    story.folder.ok("otto-run", "down", "--yes")
    found = story.host.run("ls -d /etc/otto-broker /var/lib/otto-broker 2>/dev/null", check=False)
    assert found == ""
    assert story.host.run("systemctl is-active otto-broker", check=False) != "active"
