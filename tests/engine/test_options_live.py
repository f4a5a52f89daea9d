# SPDX-License-Identifier: GPL-3.0-or-later
"""Every supported key on real engines, 20.10 and 26.1: asked for, done, seen, taken away again.

For each key: a check that shows what is to be done, the doing of it, the same again and a check
again, which find nothing; then the key is taken away, which is shown, done, and leaves nothing.
Keys that no container shows have to show nothing when they are taken away.

A container is started where running makes a difference; there, one without the key stands first,
which gets it. All rows of an engine run side by side.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, Problems
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    Create,
    CreateNetwork,
    PullImage,
    Remove,
    RemoveNetwork,
    RemoveVolume,
)
from ansible_collections.otto.cluster.plugins.module_utils.option_table import OPTIONS
from ansible_collections.otto.cluster.plugins.module_utils.options import parse_service
from ansible_collections.otto.cluster.plugins.module_utils.plan import (
    ServicePlan,
    plan,
    plan_container,
)
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import reconcile

from tests.conftest import LAB_STATE, LabHost, wait_for

HOSTS = {"20.10": "rpi-01", "26.1": "rpi-02"}
BASE: dict[str, Any] = {
    "image": "busybox:latest",
    "command": ["sh", "-c", "trap exit TERM; sleep 600 & wait"],
}
NETWORK, SOURCE = "otto-options", "otto-options-source"


@dataclass(frozen=True)
class Row:
    """value: as the file says it. shows: the options whose changes are shown; () for none.
    beside: keys that stand there all the time.
    start: the container runs. refused: engine -> what it answers, for what it cannot do. only_made:
    why its container is not started. cluster: it is a service of a cluster.
    """

    key: str
    value: Any
    shows: tuple[str, ...] | None = None
    beside: dict[str, Any] = field(default_factory=dict)
    start: bool = False
    refused: dict[str, str] = field(default_factory=dict)
    only_made: str = ""
    cluster: bool = False

    @property
    def shown(self) -> tuple[str, ...]:
        return (self.key,) if self.shows is None else self.shows


NO_QUOTA = "--storage-opt is supported only for overlay over xfs with 'pquota'"
ROWS = (
    Row("annotations", {"a.b": "c"}, refused={"20.10": "annotations needs API 1.43"}),
    Row("attach", False, shows=()),
    Row("blkio_config", {"weight": 300, "device_read_bps": [{"path": "/dev/vda", "rate": "1m"}]},
        only_made="the hosts have no block device"),
    Row("cap_add", ["NET_ADMIN", "SYS_TIME"]),
    Row("cap_drop", ["CAP_CHOWN", "all"]),
    Row("cgroup", "private"),
    Row("cgroup_parent", "/otto-options"),
    Row("command", "sleep 600"),
    Row("configs", ["x"], shows=()),
    Row("container_name", "otto-options-other", cluster=True,
        beside={"network_mode": "none"}),
    Row("cpu_period", "50ms"),
    Row("cpu_quota", "20ms", start=True),
    Row("cpu_rt_period", 1000000, only_made="the kernel has no real-time groups"),
    Row("cpu_rt_runtime", 950000, only_made="the kernel has no real-time groups"),
    Row("cpu_shares", 512, start=True),
    Row("cpus", "0.5", start=True),
    Row("cpuset", "0", start=True),
    Row("depends_on", ["db"], shows=()),
    Row("deploy", {"replicas": 1, "resources": {"limits": {"cpus": "0.5", "memory": "64M"}}},
        shows=("cpus", "mem_limit")),
    Row("device_cgroup_rules", ["c 1:3 mr", "c  1:5 r"]),
    Row("devices", ["/dev/null:/dev/nix:rw"]),
    Row("dns", ["10.0.0.2", "10.0.0.1"]),
    Row("dns_opt", ["ndots:2"]),
    Row("dns_search", ["a.example"]),
    Row("domainname", "a.example"),
    Row("entrypoint", ["sh"]),
    Row("environment", {"A": "1", "B": "no"}),
    Row("expose", ["3000-3001", "53/udp"]),
    Row("extra_hosts", {"a": "10.0.0.1", "b": "host-gateway"}),
    Row("gpus", "all", only_made="the hosts have no GPU"),
    Row("group_add", ["20", "5"]),
    Row("healthcheck", {"test": ["CMD", "true"], "interval": "500ms", "retries": 2}, start=True),
    Row("hostname", "here", start=True),
    Row("image", "busybox:otto-options"),
    Row("init", True),
    Row("ipc", "shareable"),
    Row("labels", {"team": "blue"}),
    Row("links", ["db:database"], shows=()),
    Row("logging", {"driver": "json-file", "options": {"max-size": "1m"}}),
    Row("mac_address", "02:42:AC:11:65:43", start=True),
    Row("mem_limit", "64m", start=True),
    Row("mem_reservation", "32m", start=True),
    Row("mem_swappiness", 10),
    Row("memswap_limit", "256m", beside={"mem_limit": "64m"}, start=True),
    Row("network_mode", "host", shows=("network_mode", "networks"), start=True),
    Row("networks", {NETWORK: {"aliases": ["b", "a"]}}, shows=("network_mode", "networks"),
        start=True),
    Row("oom_kill_disable", True, beside={"mem_limit": "64m"}),
    Row("oom_score_adj", 100),
    Row("pid", "host"),
    Row("pids_limit", 64, start=True),
    Row("platform", "linux/amd64", shows=()),
    Row("ports", ["127.0.0.1::80", "8400-8401:90-91/udp"], start=True),
    Row("post_start", [{"command": "true"}], shows=()),
    Row("pre_stop", [{"command": "true"}], shows=()),
    Row("privileged", True),
    Row("pull_policy", "never", shows=()),
    Row("read_only", True),
    Row("restart", "on-failure:3", start=True),
    Row("runtime", "io.containerd.runc.v2"),
    Row("scale", 1, shows=()),
    Row("secrets", ["x"], shows=()),
    Row("security_opt", ["no-new-privileges", "seccomp:unconfined"]),
    Row("shm_size", "32m"),
    Row("stdin_open", True),
    Row("stop_grace_period", "1m5s"),
    Row("stop_signal", "SIGUSR1"),
    Row("storage_opt", {"size": "1G"}, refused=dict.fromkeys(HOSTS, NO_QUOTA)),
    Row("sysctls", {"net.core.somaxconn": 1024}),
    Row("tmpfs", ["/run:size=1m"]),
    Row("tty", True),
    Row("ulimits", {"nofile": {"soft": 512, "hard": 1024}}),
    Row("user", "65534:65534"),
    Row("userns_mode", "host"),
    Row("uts", "host"),
    Row("volumes", ["/srv/otto-options:/a:ro", "otto-options:/b", "/c"], start=True),
    Row("volumes_from", [f"container:{SOURCE}:ro"]),
    Row("working_dir", "/tmp"),
)  # fmt: skip


@dataclass
class Result:
    """added: what the check showed first: the options that change, or that a container is made.
    removed: the options that change when the key is taken away.
    again, left: what the runs showed after which nothing should be left.
    error: why the engine or the plan would not."""

    added: set[str] = field(default_factory=set)
    again: list[str] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    left: list[str] = field(default_factory=list)
    error: str = ""


def planned(engine: DockerEngine, row: Row, spec: Any) -> ServicePlan:
    name = f"otto-options-{row.key.replace('_', '-')}"
    target = Target("otto-options" if row.cluster else "", "lab", {name: spec})
    observed = engine.observe(target)
    if row.cluster:
        return plan(target, observed, services={name}).services[0]
    state = "started" if row.start else "stopped"
    return plan_container(name, spec, observed, state=state).services[0]


def carried_out(engine: DockerEngine, row: Row, spec: Any) -> list[str]:
    made = planned(engine, row, spec)
    if made.error is not None:
        raise OttoError(made.error.message)
    for step in made.operations:
        engine.execute(step)
    return list(made.lines())


def options_of(made: ServicePlan) -> set[str]:
    return {change.key.partition(".")[0] for change in made.changes}


def spec_of(keys: dict[str, Any]) -> Any:
    problems = Problems()
    spec = parse_service(keys, ("web",), problems)
    assert not problems, "\n".join(map(str, problems))
    return spec


def tried(engine: DockerEngine, row: Row) -> Result:
    without = spec_of({**BASE, **row.beside})
    spec, result = spec_of({**BASE, **row.beside, row.key: row.value}), Result()
    try:
        if row.start:
            carried_out(engine, row, without)
        first = planned(engine, row, spec)
        result.added = options_of(first) if row.start else {first.verdict}
        carried_out(engine, row, spec)
        result.again += carried_out(engine, row, spec)
        result.again += planned(engine, row, spec).lines()
        result.removed = options_of(planned(engine, row, without))
        carried_out(engine, row, without)
        result.left += planned(engine, row, without).lines()
    except OttoError as error:
        result.error = str(error)
    clear(engine, f"otto-options-{row.key.replace('_', '-')}", str(row.value))
    return result


# --- the engines ---------------------------------------------------------------------------------

RELAY = """
import os, socket, sys, threading
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
server.listen(64)
def pump(a, b):
    try:
        while (data := a.recv(65536)):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass
def serve():
    while True:
        client, _ = server.accept()
        engine = socket.socket(socket.AF_UNIX)
        engine.connect("/var/run/docker.sock")
        threading.Thread(target=pump, args=(client, engine), daemon=True).start()
        threading.Thread(target=pump, args=(engine, client), daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
os.unlink(sys.argv[1])
"""
"""The engine's socket is root's and SSH comes as another user: root passes the bytes on, until the
session ends."""


@contextlib.contextmanager
def engine_of(host: LabHost, local: Path) -> Iterator[DockerEngine]:
    """The host's engine over SSH."""
    far = f"/run/otto-options-{uuid.uuid4().hex[:8]}.sock"
    options = {
        "UserKnownHostsFile": LAB_STATE / "known_hosts",
        "BatchMode": "yes",
        "ControlPath": "none",
        "ExitOnForwardFailure": "yes",
        "ConnectTimeout": 10,
    }
    command = ["ssh", "-i", str(LAB_STATE / "id_ed25519"), "-L", f"{local}:{far}"]
    command += [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    command += [f"pi@{host.address}", f"sudo python3 -c {shlex.quote(RELAY)} {far}"]
    session = subprocess.Popen(command, stdin=subprocess.PIPE)

    def connected() -> DockerEngine | None:
        assert session.poll() is None, f"ssh to {host.name} ended"
        with contextlib.suppress(OttoError):
            return DockerEngine(f"unix://{local}")
        return None

    try:
        with wait_for(connected, seconds=15, what=f"{host.name}'s engine over SSH") as engine:
            yield engine
    finally:
        assert session.stdin is not None
        session.stdin.close()
        session.wait(10)


def clear(engine: DockerEngine, *names: str) -> None:
    """Removes these containers and what their replacement left; without names, all of this file."""
    for row in engine.call("GET", "/containers/json", params={"all": 1}):
        name = row["Names"][0].lstrip("/")
        if name.partition(".otto-")[0] in names or (not names and name.startswith("otto-options")):
            engine.execute(Remove(name, row["Id"], force=True, volumes=True))


def volumes(engine: DockerEngine) -> set[str]:
    return {volume["Name"] for volume in engine.call("GET", "/volumes")["Volumes"] or ()}


@contextlib.contextmanager
def furnished(engine: DockerEngine) -> Iterator[None]:
    """What rows name: a second tag, a network, a container with mounts. And nothing is left."""
    clear(engine)
    before = volumes(engine)
    engine.execute(PullImage(BASE["image"]))
    tag = {"repo": "busybox", "tag": "otto-options"}
    engine.call("POST", f"/images/{BASE['image']}/tag", params=tag)
    engine.execute(RemoveNetwork(NETWORK))
    engine.execute(CreateNetwork(NETWORK, {}))
    mounts = {"Binds": ["/srv/otto-options:/bind"]}
    body = {"Image": BASE["image"], "Volumes": {"/anonymous": {}}, "HostConfig": mounts}
    engine.execute(Create(SOURCE, BASE["image"], body))
    try:
        yield
    finally:
        clear(engine)
        engine.execute(RemoveNetwork(NETWORK))
        for name in volumes(engine) - before:  # anonymous ones outlive the key that made them
            engine.execute(RemoveVolume(name))
        engine.call("DELETE", "/images/busybox:otto-options")


@pytest.fixture(scope="module")
def engines(
    lab_hosts: dict[str, LabHost], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, DockerEngine]]:
    directory = tmp_path_factory.mktemp("engines")
    with contextlib.ExitStack() as stack:
        found = {}
        for version, host in HOSTS.items():
            one = stack.enter_context(engine_of(lab_hosts[host], directory / f"{version}.sock"))
            assert one.describe().version.startswith(version)
            stack.enter_context(furnished(one))
            found[version] = one
        yield found


@pytest.fixture(scope="module")
def results(engines: dict[str, DockerEngine]) -> dict[tuple[str, str], Result]:
    """(engine version, key) -> what its runs showed."""

    def all_rows(version: str) -> dict[tuple[str, str], Result]:
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda row: tried(engines[version], row), ROWS)
            return {(version, row.key): one for row, one in zip(ROWS, found, strict=True)}

    with ThreadPoolExecutor(len(engines)) as pool:
        return {key: one for part in pool.map(all_rows, engines) for key, one in part.items()}


# --- what is to be -------------------------------------------------------------------------------


def test_every_supported_key_has_a_row() -> None:
    assert sorted(row.key for row in ROWS) == sorted(OPTIONS)


@pytest.mark.parametrize("version", HOSTS)
@pytest.mark.parametrize("row", ROWS, ids=[row.key for row in ROWS])
def test_a_key_is_done_once_and_taken_away(
    version: str, row: Row, results: dict[tuple[str, str], Result]
) -> None:
    result = results[version, row.key]
    if version in row.refused:
        assert row.refused[version] in result.error
        return
    assert result.error == ""
    assert result.again == []
    assert result.left == []
    assert result.added == (set(row.shown) if row.start else {"create"})
    assert result.removed == set(row.shown)


@pytest.mark.parametrize("version", HOSTS)
def test_services_that_use_another(version: str, engines: dict[str, DockerEngine]) -> None:
    """One with the network of another, one with a name for it and its mounts; then
    the other gets a new container, and then it is restarted by hand."""
    engine = engines[version]
    cluster = f"otto-options-{uuid.uuid4().hex[:6]}"
    names = {key: f"{cluster}-{key}" for key in ("vpn", "app", "web")}

    def target(**more: Any) -> Target:
        keys: dict[str, dict[str, Any]] = {
            "vpn": {"volumes": ["/srv/otto-options:/shared"], **more},
            "app": {"network_mode": "service:vpn"},
            "web": {"links": ["vpn:gate"], "volumes_from": ["vpn:ro"]},
        }
        specs = {k: spec_of({**BASE, "container_name": names[k], **v}) for k, v in keys.items()}
        return Target(cluster, "lab", specs)

    def applied(wanted: Target) -> dict[str, str]:
        report = reconcile(engine, wanted)
        assert not report.errors
        again = reconcile(engine, wanted, check=True)
        assert not again.changed, again.plan
        return {name: one["verdict"] for name, one in report.services.items()}

    def inside(service: str, *command: str) -> str:
        body = {"AttachStdout": True, "Tty": True, "Cmd": list(command)}
        made = engine.call("POST", f"/containers/{names[service]}/exec", body=body)
        start = {"Tty": True, "Detach": False}
        answer = engine.call("POST", f"/exec/{made['Id']}/start", body=start, stream=True)
        return str(answer.content(), "utf-8")

    try:
        assert applied(target()) == dict.fromkeys(names, "create")
        address = inside("vpn", "hostname", "-i").split()[0]
        assert inside("app", "hostname", "-i").split()[0] == address
        assert address in inside("web", "nslookup", "gate")
        assert "/shared" in inside("web", "mount")
        assert applied(target(environment={"A": "1"})) == {
            "vpn": "recreate", "app": "recreate", "web": "up_to_date"
        }  # fmt: skip
        engine.call("POST", f"/containers/{names['vpn']}/restart", params={"t": 1})
        assert applied(target(environment={"A": "1"}))["app"] == "recreate"
        assert inside("app", "hostname", "-i").split()[0] in inside("vpn", "hostname", "-i")
    finally:
        clear(engine, *names.values())
        engine.execute(RemoveNetwork(f"{cluster}_default"))


def test_numbers(
    results: dict[tuple[str, str], Result], capsys: pytest.CaptureFixture[str]
) -> None:
    """For the log: how many keys, and on which engine."""
    with capsys.disabled():
        for version in HOSTS:
            mine = [(r, results[version, r.key]) for r in ROWS if version not in r.refused]
            shown = [(row, one) for row, one in mine if row.shown]
            same = sum(not (one.again or one.error) for _, one in mine)
            gone = sum(one.removed == set(row.shown) and not one.left for row, one in shown)
            print(
                f"\nDocker {version}: {len(ROWS)} keys, {len(ROWS) - len(mine)} that it refuses; "
                f"{len(mine)} run, {same} idempotent; {len(shown)} that a container shows, "
                f"{gone} shown and gone when taken away; "
                f"{sum(bool(row.only_made) for row, _ in mine)} made but not started"
            )
    assert len(results) == len(HOSTS) * len(ROWS)
