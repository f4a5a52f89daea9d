# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent on the machine's real Docker: what leaves its target comes back."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Ear, Node, Process, eventually

from otto_agent.agent import Agent
from otto_agent.config import Config

SLEEPER = {"image": "busybox:latest", "command": ["sleep", "100000"], "stop_signal": "SIGKILL"}


@pytest.fixture
def agent(config: Config) -> Iterator[Callable[..., Agent]]:
    started: list[Agent] = []

    def start(**changes: Any) -> Agent:
        one = Agent(dataclasses.replace(config, **changes))
        one.start()
        started.append(one)
        return one

    yield start
    for one in started:
        one.stop()


def settled(ear: Ear, *services: str) -> dict[str, Any]:
    """A report in which these services run without an error."""
    return ear.wait(
        "report",
        lambda report: all(
            report["services"].get(name, {}).get("state") == "running"
            and report["services"][name]["error"] is None
            for name in services
        ),
    )


def kill(node: Node) -> None:
    node.get("web").kill()


def crash(node: Node) -> None:
    os.kill(node.get("web").attrs["State"]["Pid"], 9)


def remove(node: Node) -> None:
    node.get("web").remove(force=True)


def stop(node: Node) -> None:
    node.get("web").stop(timeout=0)


def pause(node: Node) -> None:
    node.get("web").pause()


def rename(node: Node) -> None:
    node.get("web").rename(node.name("elsewhere"))


@pytest.mark.parametrize("harm", [kill, remove, stop, pause, rename, crash])
def test_a_container_comes_back(
    node: Node, ear: Ear, agent: Callable[..., Agent], harm: Callable[[Node], None]
) -> None:
    """Within ten seconds, and nobody else is touched."""
    node.aim({"web": SLEEPER, "other": SLEEPER})
    agent()
    settled(ear, "web", "other")
    other = node.get("other")
    said = ear.of("event")[-1]["seq"]
    harm(node)
    eventually(lambda: node.runs("web"), 10)
    # Docker's own restart policy mends a crash; it is told all the same.
    kind = "died" if harm is crash else "healed"
    ear.wait("event", lambda e: (e["kind"], e["service"]) == (kind, "web") and e["seq"] > said)
    eventually(lambda: ear.of("report")[-1]["services"]["web"]["state"] == "running")
    again = node.get("other")
    assert again.attrs["State"]["StartedAt"] == other.attrs["State"]["StartedAt"]
    seqs = [payload["seq"] for kind, payload, _ in ear.heard if "seq" in payload]
    assert seqs == sorted(set(seqs)), "numbers rise by the order of arrival, each once"
    assert all(m.qos == 1 for _, _, m in ear.heard)


def test_without_a_broker_it_heals_in_silence(node: Node, agent: Callable[..., Agent]) -> None:
    node.aim({"web": SLEEPER})
    agent(mqtt=None)
    eventually(lambda: node.runs("web"), 10)
    first = node.get("web").id
    remove(node)
    eventually(lambda: node.runs("web", other_than=first), 10)


def test_removed_again_and_again(node: Node, ear: Ear, agent: Callable[..., Agent]) -> None:
    """Whoever removes a container is no crash: it comes back at once, every time."""
    node.aim({"web": SLEEPER})
    agent()
    settled(ear, "web")
    for _ in range(4):
        old = node.get("web")
        old.remove(force=True)
        new = eventually(lambda old=old: node.runs("web", other_than=old.id), 6)
        ear.wait("report", lambda r, new=new: r["services"]["web"]["container_id"] == new.id)


def test_live_alteration_is_mended(node: Node, ear: Ear, agent: Callable[..., Agent]) -> None:
    """`docker update` is drift: changed back in place, the container goes on running."""
    node.aim({"web": {**SLEEPER, "mem_limit": 64 << 20}})
    agent()
    settled(ear, "web")
    before = node.get("web")
    before.update(mem_limit=128 << 20, memswap_limit=256 << 20)

    def mended() -> bool:
        container = node.get("web")
        return container is not None and container.attrs["HostConfig"]["Memory"] == 64 << 20

    eventually(mended, 10)
    assert node.get("web").id == before.id
    healed = ear.wait("event", lambda e: e["kind"] == "healed" and "mem_limit" in e["text"])
    assert "drift" in healed["text"]


def test_new_target_is_taken_up_and_orphans_go(
    node: Node, ear: Ear, agent: Callable[..., Agent]
) -> None:
    """The file is replaced: no restart of the agent, an event, the node becomes it."""
    node.aim({"web": SLEEPER, "old": SLEEPER})
    agent()
    settled(ear, "web", "old")
    target = node.aim({"web": SLEEPER, "new": SLEEPER})
    eventually(lambda: node.runs("new") and node.get("old") is None, 10)
    ear.wait("event", lambda e: e["kind"] == "target" and target.revision in e["text"])
    ear.wait("report", lambda r: r["revision"] == target.revision and r["target"] == "current")
    assert node.store.good() == target, "what was reached is the last good target"


def test_waits_while_an_apply_holds_the_lock(
    node: Node, ear: Ear, agent: Callable[..., Agent]
) -> None:
    """Nothing is done, and nothing is called a death, until the lock is free."""
    node.aim({"web": SLEEPER})
    agent()
    settled(ear, "web")
    with node.store.lock(10, "apply by a test"):
        node.get("web").remove(force=True)
        threading.Event().wait(3)
        assert node.get("web") is None
    eventually(lambda: node.runs("web"), 5)
    assert not [e for e in ear.of("event") if e["kind"] == "died"]


def test_without_a_target_nothing_is_touched(
    node: Node, ear: Ear, agent: Callable[..., Agent]
) -> None:
    """Fault 10: neither before the first apply nor when the state directory is deleted; the report
    asks for a target."""
    node.aim({"web": SLEEPER})
    agent()
    settled(ear, "web")
    before = node.get("web")
    # At once: an agent that writes meanwhile would make a file in it anew.
    state = Path(node.config.state_dir)
    shutil.rmtree(state.rename(state.with_name("gone")), ignore_errors=True)
    report = ear.wait("report", lambda r: r["target"] == "none")
    ear.wait("event", lambda e: e["kind"] == "target" and "taken away" in e["text"])
    assert report["revision"] is None
    assert "No target" in report["errors"][0]["message"]
    before.kill()
    threading.Event().wait(2)
    assert node.get("web").status == "exited"
    node.aim({"web": SLEEPER})
    assert eventually(lambda: node.runs("web"), 10).id == before.id


@pytest.mark.parametrize("damage", [b"", b"\x00" * 99, b'{"sha256": "0", "target": {}}'])
def test_broken_target(node: Node, ear: Ear, agent: Callable[..., Agent], damage: bytes) -> None:
    """Fault 9: the last good one serves, with an alarm; it heals on; an apply mends it."""
    node.aim({"web": SLEEPER})
    agent()
    settled(ear, "web")
    eventually(lambda: node.store.good())
    before = node.get("web")
    node.store.current_path.write_bytes(damage)
    ear.wait("event", lambda e: e["kind"] == "target_broken")
    ear.wait("report", lambda r: r["target"] == "good")
    assert node.get("web").id == before.id
    before.remove(force=True)
    eventually(lambda: node.runs("web", other_than=before.id), 10)
    assert node.store.bad_path.read_bytes() == damage
    target = node.aim({"web": SLEEPER, "two": SLEEPER})
    ear.wait("report", lambda r: r["revision"] == target.revision and r["target"] == "current")


def test_target_and_copy_broken(node: Node, ear: Ear, agent: Callable[..., Agent]) -> None:
    """Then nothing is touched, and the alarm stands in the report."""
    node.aim({"web": SLEEPER})
    agent()
    settled(ear, "web")
    eventually(lambda: node.store.good())
    node.store.good_path.write_bytes(b"x")
    node.store.current_path.write_bytes(b"y")
    ear.wait("report", lambda r: r["target"] == "broken" and r["errors"])
    node.get("web").kill()
    threading.Event().wait(2)
    assert node.get("web").status == "exited"


def test_target_of_another_node(node: Node, ear: Ear, agent: Callable[..., Agent]) -> None:
    """A directory copied from another node is not obeyed."""
    node.aim({"web": SLEEPER})
    agent(node="n2")
    ear.wait("report", lambda r: r["target"] == "broken" and "n1" in r["errors"][0]["cause"])
    assert node.get("web") is None


def test_what_cannot_start_is_tried_less_and_less(
    node: Node, ear: Ear, agent: Callable[..., Agent], caplog: pytest.LogCaptureFixture
) -> None:
    """Its own tries make events, and they must not make the next try; others are still served."""
    caplog.set_level("INFO")
    node.aim({"web": SLEEPER, "bad": {**SLEEPER, "command": ["/not/there"]}})
    agent()
    report = ear.wait("report", lambda r: r["services"].get("bad", {}).get("retry_in", 0) > 3)
    assert "/not/there" in report["services"]["bad"]["error"]["cause"]
    old = node.get("web")
    old.remove(force=True)
    eventually(lambda: node.runs("web", other_than=old.id), 6)
    tries = caplog.text.count(f"start container {node.name('bad')}")
    assert 2 <= tries <= 5, caplog.text
    assert len([e for e in ear.of("event") if e["kind"] == "failed"]) <= 2
    ear.wait("report", lambda r: r["services"]["bad"].get("backoff", 0) >= 3)
    said = ear.wait("event", lambda e: e["kind"] == "backoff")
    assert "bad failed 3 times in a row" in said["text"] and "next try in 4 s" in said["text"]
    node.aim({"web": SLEEPER, "bad": SLEEPER})
    eventually(lambda: node.runs("bad"), 6, "another target is another try, at once")


def test_a_crash_loop_is_told_as_such(node: Node, ear: Ear, agent: Callable[..., Agent]) -> None:
    """Docker starts it again and again: from the third time on it is one backoff, said with how
    often, and not an event each time. The container stays the same, others are left alone."""
    node.aim({"web": {**SLEEPER, "command": ["sh", "-c", "sleep 3; exit 7"]}, "other": SLEEPER})
    agent()
    settled(ear, "web", "other")
    first, other = node.get("web").id, node.get("other").attrs["State"]["StartedAt"]
    said = ear.wait("event", lambda e: e["kind"] == "backoff", 40)
    assert said["service"] == "web"
    assert "3 times in a row, last with exit code 7; Docker starts it again" in said["text"]
    report = ear.wait("report", lambda r: r["services"]["web"].get("backoff", 0) >= 3)
    assert "backoff" not in report["services"]["other"]
    eventually(lambda: node.get("web").attrs["RestartCount"] >= 4, 40)
    assert len([e for e in ear.of("event") if e["kind"] == "died"]) == 2
    assert node.get("web").id == first
    assert node.get("other").attrs["State"]["StartedAt"] == other


def test_an_update_that_fails_is_not_repeated(
    node: Node, ear: Ear, agent: Callable[..., Agent]
) -> None:
    """The agent finishes what an interrupted apply began; what fails stays at its earlier spec."""
    node.aim({"web": SLEEPER})
    agent()
    settled(ear, "web")
    eventually(lambda: node.store.good())
    before = node.get("web")
    bad = {**SLEEPER, "command": ["sh", "-c", "exit 4"]}
    node.aim({"web": bad})
    ear.wait("event", lambda e: e["kind"] == "failed" and e["service"] == "web")
    eventually(lambda: node.runs("web"), 20)
    assert node.get("web").id == before.id
    threading.Event().wait(5)
    failures = [e for e in ear.of("event") if e["kind"] == "failed"]
    # The attempt, and from then on that it is left alone until the next apply.
    assert len(failures) == 2 and "otto-failed" in failures[1]["text"], failures
    started = node.get("web").attrs["State"]["StartedAt"]
    threading.Event().wait(3)
    assert node.get("web").attrs["State"]["StartedAt"] == started


def test_a_fault_of_ours_is_told(node: Node, ear: Ear, agent: Callable[..., Agent]) -> None:
    """A target that it cannot understand is not worked on in silence: told once, no state is
    claimed; and it goes on when the target is a good one."""
    node.aim({"web": SLEEPER})
    agent(sweep_interval=1.0)
    settled(ear, "web")
    before = node.get("web").id
    node.aim({"web": {**SLEEPER, "stop_grace_period": "1s"}})  # a text, where it has to be a number
    ear.wait("event", lambda e: e["kind"] == "node" and "unforeseen" in e["text"])
    report = ear.wait("report", lambda r: r["errors"] and "unforeseen" in r["errors"][0]["message"])
    assert report["services"]["web"]["state"] is None
    target = node.aim({"web": SLEEPER})
    ear.wait("report", lambda r: r["revision"] == target.revision and not r["errors"])
    assert len([e for e in ear.of("event") if "unforeseen" in e["text"]]) == 1
    assert node.get("web").id == before


def test_quiet_when_nothing_happens(node: Node, ear: Ear, agent: Callable[..., Agent]) -> None:
    """Own work makes events, too; they must not keep the loop busy or the broker loaded."""
    node.aim({"web": SLEEPER})
    agent(metrics_interval=600.0)
    settled(ear, "web")
    threading.Event().wait(1)
    heard = len(ear.heard)
    threading.Event().wait(4)
    assert len(ear.heard) == heard, ear.heard[heard:]


class Door:
    """A socket in front of dockerd that can be shut: a dockerd that is stopped and started."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._server: socket.socket | None = None
        self._open: list[socket.socket] = []

    def open(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen(64)
        threading.Thread(target=self._serve, args=(self._server,), daemon=True).start()

    def shut(self) -> None:
        assert self._server is not None
        self._server.close()
        self.path.unlink()
        for sock in self._open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._open.clear()

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect("/var/run/docker.sock")
            self._open += [near, far]
            for one, two in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, two), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


def test_docker_gone_and_back(
    node: Node, ear: Ear, agent: Callable[..., Agent], tmp_path: Path
) -> None:
    """Told once; nothing is claimed meanwhile; what happened meanwhile is mended on return."""
    door = Door(tmp_path / "docker.sock")
    door.open()
    node.aim({"web": SLEEPER})
    agent(docker_url=f"unix://{door.path}")
    settled(ear, "web")
    door.shut()
    node.get("web").remove(force=True)
    ear.wait("event", lambda e: e["kind"] == "docker_gone", 90)
    report = ear.wait("report", lambda r: r["errors"] and r["services"]["web"]["state"] is None)
    assert "Docker" in report["errors"][0]["message"]
    threading.Event().wait(3)
    door.open()
    ear.wait("event", lambda e: e["kind"] == "docker_back", 30)
    eventually(lambda: node.runs("web"), 10)
    assert len([e for e in ear.of("event") if e["kind"] == "docker_gone"]) == 1


def test_as_a_process_of_systemd(node: Node, ear: Ear, process: Process, tmp_path: Path) -> None:
    """READY once, then WATCHDOG, STOPPING at the end; metrics come by the interval."""
    node.aim({"web": SLEEPER})
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(10)
        running = process.start(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="3000000")
        said = [sock.recv(99).decode() for _ in range(4)]
        # Whoever's Docker is slow to answer at the start asks for patience first.
        said = [word for word in said if "EXTEND_TIMEOUT" not in word]
        assert said[:3] == ["READY=1\nWATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
        settled(ear, "web")
        sample = ear.wait(
            "metrics", lambda m: "cpu_percent" in m["containers"].get(node.name("web"), {})
        )
        web = sample["containers"][node.name("web")]
        assert web["state"] == "running" and web["memory_bytes"] > 0
        host = sample["host"]
        for key in ("cpu_percent", "memory_total_bytes", "disk_free_bytes", "uptime_seconds"):
            assert host[key] >= 0, key
        running.terminate()
        assert running.wait(6) == 0
        while said[-1] != "STOPPING=1":
            said.append(sock.recv(99).decode())
