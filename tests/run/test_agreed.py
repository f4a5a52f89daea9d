# SPDX-License-Identifier: GPL-3.0-or-later
"""History, rollback and saved plans on two real hosts, told in order: each test stands on the one
before."""

from __future__ import annotations

import json
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import LAB_HOSTS, LAB_STATE, LabHost
from tests.run.conftest import Typed, free_port

pytestmark = pytest.mark.lab
NODES = ("rpi-01", "rpi-02")
SECRET = f"tr0ub4dor-{uuid.uuid4().hex[:8]}"  # of this run: hosts remember earlier ones


class Story:
    """A folder with an otto.yaml for two hosts."""

    def __init__(self, folder: Path, hosts: dict[str, LabHost]) -> None:
        self.typed = Typed(folder)
        self.port = free_port()
        self.hosts = {name: hosts[name] for name in NODES}
        self.more: dict[str, Any] = {}
        self.web: dict[str, Any] = {
            "image": "busybox:latest",
            "node": "all",
            "command": ["sh", "-c", "trap exit TERM; while :; do sleep 0.2; done"],
            "environment": {"MODE": "one", "DB_PASSWORD": SECRET},
        }

    def write(self, **web: Any) -> None:
        self.web = {**self.web, **web}
        document = {
            "cluster": {"name": "agreed", "known_hosts": str(LAB_STATE / "known_hosts")},
            "mqtt": {"host": "10.77.0.1", "port": self.port},
            "nodes": [
                {
                    "id": name,
                    "host": LAB_HOSTS[name],
                    "user": "pi",
                    "identity_file": str(LAB_STATE / "id_ed25519"),
                }
                for name in NODES
            ],
            "services": {"agreed-web": self.web, **self.more},
        }
        (self.typed.folder / "otto.yaml").write_text(yaml.safe_dump(document))

    def ok(self, *arguments: str) -> dict[str, Any]:
        """The JSON of a command that has to end well."""
        done = self.typed(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def refused(self, *arguments: str) -> dict[str, str]:
        """`node: service` -> cause, of a command that touched nothing."""
        before = self.seen()
        done = self.typed(*arguments, "--json")
        assert done.returncode == 1, done.stdout + done.stderr
        assert self.seen() == before
        assert done.stdout, done.stderr
        document = json.loads(done.stdout)
        assert document["refused"]
        return {
            "{node}: {service}".format(**each): each["message"] + "; " + each["cause"]
            for each in document["failures"]
        }

    def seen(self) -> dict[str, str]:
        """What runs on each host, and since when; and the target files."""
        return {
            name: host.run(
                "docker ps -aq --no-trunc --filter label=io.otto.cluster=agreed | sort |"
                " xargs -r docker inspect -f '{{.Id}} {{.State.StartedAt}}';"
                " sha256sum /var/lib/otto/target.json"
            )
            for name, host in self.hosts.items()
        }

    def modes(self) -> list[str]:
        return [
            host.run("docker exec agreed-web sh -c 'echo $MODE'") for host in self.hosts.values()
        ]


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, lab_hosts: dict[str, LabHost]
) -> Iterator[Story]:
    made = Story(tmp_path_factory.mktemp("agreed"), lab_hosts)
    yield made
    made.typed("down", "--yes", "--volumes")


def logins(host: LabHost) -> int:
    """How often somebody was let in by SSH so far."""
    return int(host.run("sudo journalctl -u ssh --no-pager | grep -c 'Accepted publickey' || true"))


def test_one_connection_serves_all_of_an_apply(story: Story) -> None:
    """It is opened while Ansible starts, and Ansible finds it where it looks for its own."""
    story.write(environment={"MODE": "one", "DB_PASSWORD": SECRET})
    before = {name: logins(host) for name, host in story.hosts.items()}
    again = {name: logins(host) for name, host in story.hosts.items()}
    own = {name: again[name] - before[name] for name in before}
    story.ok("apply", "--yes")
    after = {name: logins(host) for name, host in story.hosts.items()}
    assert after == {name: again[name] + own[name] + 1 for name in after}


def test_apply_with_check_is_a_plan(story: Story) -> None:
    story.write(environment={"MODE": "never", "DB_PASSWORD": SECRET})
    before = story.seen()
    for more in (["--yes"], []):
        looked = story.typed("apply", "--check", *more)
        assert looked.returncode == 0, looked.stderr
        assert "environment.MODE: one -> never" in looked.stdout
    assert story.seen() == before


def test_back_and_further_back(story: Story) -> None:
    """Two more applies, and the way back: every node takes its own copy; history tells it all."""
    for mode in ("two", "three"):
        story.write(environment={"MODE": mode, "DB_PASSWORD": SECRET})
        story.ok("apply", "--yes")
    asked = story.typed("rollback")
    assert asked.returncode == 2, asked.stderr
    assert "environment.MODE: three -> two" in asked.stdout
    assert "otto-run rollback  --yes" not in asked.stderr
    assert story.modes() == ["three", "three"]

    back = story.typed("rollback", "--yes")
    assert back.returncode == 0, back.stdout + back.stderr
    assert "otto.yaml still says otherwise" in back.stderr
    assert story.modes() == ["two", "two"]
    story.ok("rollback", "--yes")
    assert story.modes() == ["one", "one"]
    story.ok("rollback", "3", "--yes", "--limit", "rpi-02")
    assert story.modes() == ["one", "three"]

    applies = story.ok("history")["applies"]
    assert [(each["number"], each["kind"], each["back_to"]) for each in applies] == [
        (1, "apply", None),
        (2, "apply", None),
        (3, "apply", None),
        (4, "rollback", 2),
        (5, "rollback", 1),
        (6, "rollback", 3),
    ]
    assert all(each["result"] == "done" for each in applies)
    first, fourth = applies[0]["nodes"]["rpi-01"], applies[3]["nodes"]["rpi-01"]
    assert fourth["changes"] == ["agreed-web: environment.MODE"]
    assert fourth["revision"] == applies[1]["nodes"]["rpi-01"]["revision"]
    host = story.hosts["rpi-01"]
    kept = host.run("stat -c '%a %n' /var/lib/otto/revisions/*.json")
    given, images = first["revision"].split("+")
    assert f"600 /var/lib/otto/revisions/{given}.json" in kept
    assert len(images) == 6


def test_a_node_that_keeps_it_no_more_is_told_before_any_is_touched(story: Story) -> None:
    revision = story.ok("history")["applies"][1]["nodes"]["rpi-02"]["revision"]
    story.hosts["rpi-02"].run(f"rm /var/lib/otto/revisions/{revision[:16]}.json")
    found = story.refused("rollback", "2", "--yes")
    assert list(found) == ["rpi-02: "]
    assert f"does not keep revision {revision}; it keeps the last 10" in found["rpi-02: "]


def test_a_saved_plan_is_done_exactly_so(story: Story) -> None:
    story.ok("apply", "--yes")
    story.write(environment={"MODE": "four", "DB_PASSWORD": SECRET + "!"})
    shown = story.typed("plan", "--out", "plan.json")
    assert shown.returncode == 0, shown.stderr
    assert "environment.MODE: three -> four" in shown.stdout
    assert "environment.DB_PASSWORD: (hidden) -> (hidden)" in shown.stdout
    path = story.typed.folder / "plan.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    story.ok("apply", "plan.json")
    assert story.modes() == ["four", "four"]
    # Once more is another thing: what it was for is done.
    again = story.refused("apply", "plan.json")
    assert "nothing to do any more" in again["rpi-01: agreed-web"]


def test_a_saved_plan_is_refused_when_the_world_moved(story: Story) -> None:
    story.write(labels={"team": "blue"})
    assert story.typed("plan", "--out", "plan.json").returncode == 0
    story.write(labels={"team": "red"})
    moved = story.refused("apply", "plan.json")
    assert set(moved) == {f"{node}: agreed-web" for node in NODES}
    assert "what the file says of it has changed" in moved["rpi-01: agreed-web"]

    story.write(labels={"team": "blue"})
    story.hosts["rpi-02"].run("systemctl stop otto-agent; docker update --cpu-shares 77 agreed-web")
    moved = story.refused("apply", "plan.json")
    assert set(moved) == {"rpi-02: ", "rpi-02: agreed-web"}, "one moved, and none is touched"
    assert "saved: nothing; now: agent: service: started" in moved["rpi-02: "]
    assert "now also: cpu_shares: removed (was 77) [drift]" in moved["rpi-02: agreed-web"]
    story.hosts["rpi-02"].run("systemctl start otto-agent")


def test_a_plan_holds_what_comes_before_the_containers(story: Story) -> None:
    """With nothing to do for a container, a changed agent is something to do."""
    story.ok("apply", "--yes")
    port, story.port = story.port, free_port()
    story.write()
    shown = story.typed("plan", "--exit-code", "--out", "plan.json")
    assert shown.returncode == 3, shown.stdout + shown.stderr
    assert shown.stdout.count("* agent: /etc/otto/agent.json: changed") == 2
    assert "agreed-web" not in shown.stdout
    story.port = port
    story.write()
    moved = story.refused("apply", "plan.json")
    assert "saved: agent: /etc/otto/agent.json: changed" in moved["rpi-01: "]
    assert "now: nothing" in moved["rpi-01: "]


def test_a_container_started_by_hand_becomes_a_service(story: Story) -> None:
    """Printed as a service, put into the file, refused without permission, taken over with it."""
    host = story.hosts["rpi-01"]
    host.run(
        "docker run -d --name agreed-hand -e MODE=hand -e API_KEY=sesame --stop-signal KILL"
        " -p 18797:80 busybox:latest sleep 900"
    )
    printed = story.typed("adopt", "rpi-01", "agreed-hand")
    assert printed.returncode == 0, printed.stderr
    assert "sesame" not in printed.stdout + printed.stderr
    assert "API_KEY sounds secret" in printed.stderr
    story.more = yaml.safe_load(printed.stdout)["services"]
    story.write()
    (story.typed.folder / ".env").write_text("API_KEY=sesame\n")

    clash = story.typed("apply", "--yes", "--json")
    assert clash.returncode == 1
    (failure,) = json.loads(clash.stdout)["failures"]
    assert failure["next"] == "otto-run adopt rpi-01 agreed-hand --as agreed-hand"
    by_hand = host.container_id("agreed-hand")
    assert by_hand

    shown = story.typed("adopt", "rpi-01", "agreed-hand")
    assert shown.returncode == 2
    changes = [line.strip() for line in shown.stdout.splitlines() if line.startswith("    ")]
    assert changes == ["container: started by hand -> Otto's"]
    assert host.container_id("agreed-hand") == by_hand
    story.ok("adopt", "rpi-01", "agreed-hand", "--yes")
    assert host.container_id("agreed-hand") not in ("", by_hand)
    assert story.ok("apply", "--yes")["changed"] == []


def test_no_secret_stands_where_it_should_not(story: Story) -> None:
    """In plan.json, the store, the runs' artifacts, and on the node in journal and index."""
    for path in story.typed.folder.rglob("*"):
        if path.is_file() and path.name != "otto.yaml":
            assert SECRET.encode() not in path.read_bytes(), path
    # In two halves: sudo writes the command itself to the journal.
    halves = f'"{SECRET[:9]}""{SECRET[9:]}"'
    for host in story.hosts.values():
        found = host.run(
            f"grep -rl {halves} /var/lib/otto /var/log/journal /run/log 2>/dev/null; true"
        ).splitlines()
        assert found, "the target itself has to hold it"
        for name in found:
            plain = Path(name)
            assert plain.name.startswith("target.json") or plain.parent.name == "revisions", name
            assert plain.name != "index.json"


def test_whoever_reads_the_journal_sees_every_step(story: Story) -> None:
    lines = story.hosts["rpi-01"].run("cat /var/lib/otto/journal.jsonl").splitlines()
    entries = [json.loads(line) for line in lines]
    assert entries[0]["event"] == "begin"
    assert entries[0]["holder"].startswith("apply of revision ")
    assert [e["event"] for e in entries].count("begin") == [e["event"] for e in entries].count(
        "end"
    )
    steps = [e["operation"]["line"] for e in entries if e["event"] == "step"]
    assert "create container agreed-web from busybox:latest" in steps


def test_after_down_nobody_keeps_anything(story: Story) -> None:
    """Told before anything is installed."""
    assert story.typed("down", "--yes").returncode == 0
    done = story.typed("rollback", "1", "--yes", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["refused"]
    assert {each["cause"] for each in document["failures"]} == {
        "it has no agent: it is new, or was taken down"
    }
    for host in story.hosts.values():
        assert host.run("ls /opt/otto", check=False) == ""
