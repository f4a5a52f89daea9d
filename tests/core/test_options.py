# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option: what may be written, what it becomes, what is refused, how the engine shows it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import Problems
from ansible_collections.otto.cluster.plugins.module_utils.model import Engine
from ansible_collections.otto.cluster.plugins.module_utils.options import (
    NOT_YET,
    OPTIONS,
    create_payload,
    differences,
    parse_service,
    service_schema,
)
from hypothesis import given
from hypothesis import strategies as st

ENGINE = Engine("20.10.24", "1.41")
ENVIRON = {"HOME": "/home/x"}


def parsed(name: str, raw: Any) -> tuple[Any, list[str]]:
    problems = Problems()
    service = {"image": "x", name: raw}
    if name == "memswap_limit":
        service["mem_limit"] = "1m"
    spec = parse_service(service, ("web",), problems, environ=ENVIRON)
    return spec.get(name), [str(problem) for problem in problems]


def port(target: int, published: int | None = None, ip: str = "", protocol: str = "tcp") -> Any:
    return {"target": target, "published": published, "host_ip": ip, "protocol": protocol}


def mount(kind: str, source: str | None, target: str, read_only: bool = False, **more: Any) -> Any:
    return {"type": kind, "source": source, "target": target, "read_only": read_only, **more}


GOOD = [
    ("image", "nginx:alpine", "nginx:alpine"),
    ("command", "redis-server --appendonly yes", ["redis-server", "--appendonly", "yes"]),
    ("command", "sh -c 'a b'", ["sh", "-c", "a b"]),
    ("command", ["a", 1, True], ["a", "1", "true"]),
    ("entrypoint", [], []),
    ("environment", {"A": "no", "N": "1.10", "E": "", "HOME": None, "GONE": None},
     {"A": "no", "N": "1.10", "E": "", "HOME": "/home/x"}),
    ("environment", ["A=b=c", "HOME", "GONE"], {"A": "b=c", "HOME": "/home/x"}),
    ("environment", {"T": True, "I": 3}, {"T": "true", "I": "3"}),
    ("ports", ["8080:80"], [port(80, 8080)]),
    ("ports", 8080, [port(8080)]),
    ("ports", ["22:22", "53:53/udp"], [port(22, 22), port(53, 53, protocol="udp")]),
    ("ports", ["127.0.0.1:1:2", "127.0.0.1::3"],
     [port(2, 1, "127.0.0.1"), port(3, None, "127.0.0.1")]),
    ("ports", ["[::1]:80:80"], [port(80, 80, "::1")]),
    ("ports", ["1-2:3-4"], [port(3, 1), port(4, 2)]),
    ("ports", [{"target": "80", "published": "8080", "host_ip": "::1", "protocol": "udp"}],
     [port(80, 8080, "::1", "udp")]),
    ("restart", "no", "no"),
    ("restart", False, "no"),
    ("restart", "on-failure:3", "on-failure:3"),
    ("labels", ["a=b", "c"], {"a": "b", "c": ""}),
    ("labels", {"a": None, "n": 1}, {"a": "", "n": "1"}),
    ("volumes", ["/srv/x/:/data:ro,Z"], [mount("bind", "/srv/x", "/data", True, selinux="Z")]),
    ("volumes", ["b:/b", "/a"], [mount("volume", None, "/a"), mount("volume", "b", "/b")]),
    ("volumes", [{"type": "tmpfs", "target": "/t", "tmpfs": {"size": "1m", "mode": "1777"}}],
     [mount("tmpfs", None, "/t", size=1048576, mode=0o1777)]),
    ("tmpfs", "/run:size=1m", {"/run": "size=1m"}),
    ("networks", ["a", "b"], {"a": {}, "b": {}}),
    ("networks", {"a": {"aliases": ["y", "x"], "ipv4_address": "10.0.0.2"}, "b": None},
     {"a": {"aliases": ["x", "y"], "ipv4_address": "10.0.0.2"}, "b": {}}),
    ("network_mode", "host", "host"),
    ("healthcheck", {"test": "curl {{ x }}", "interval": "1m30s", "retries": "3"},
     {"test": ["CMD-SHELL", "curl {{ x }}"], "interval": 90 * 10**9, "retries": 3}),
    ("healthcheck", {"disable": "true"}, {"test": ["NONE"]}),
    ("healthcheck", {"interval": "500ms"}, {"interval": 5 * 10**8}),
    ("mem_limit", "512m", 512 * 1024**2),
    ("mem_limit", "1.5gb", 1536 * 1024**2),
    ("mem_limit", 1024, 1024),
    ("memswap_limit", "-1", -1),
    ("cpus", "0.5", 0.5),
    ("cpuset", "0-2,4", "0-2,4"),
    ("pids_limit", "-1", -1),
    ("cap_add", ["CAP_NET_ADMIN", "sys_time"], ["NET_ADMIN", "SYS_TIME"]),
    ("security_opt", ["no-new-privileges", "apparmor:unconfined"],
     ["apparmor=unconfined", "no-new-privileges=true"]),
    ("privileged", "yes", True),
    ("stop_grace_period", "1m30s", 90 * 10**9),
    ("extra_hosts", {"a": "10.0.0.1"}, ["a:10.0.0.1"]),
    ("extra_hosts", ["b=::1", "h:host-gateway"], ["b:::1", "h:host-gateway"]),
    ("devices", ["/dev/x", "/dev/y:r"], ["/dev/x:/dev/x:rwm", "/dev/y:/dev/y:r"]),
    ("ulimits", {"nofile": "5", "nproc": {"soft": 1, "hard": 2}},
     {"nofile": {"soft": 5, "hard": 5}, "nproc": {"soft": 1, "hard": 2}}),
    ("logging", {"driver": "json-file", "options": {"max-file": 3}},
     {"driver": "json-file", "options": {"max-file": "3"}}),
    ("depends_on", {"b": {"condition": "service_healthy"}, "a": None}, ["a", "b"]),
    ("pull_policy", "always", "always"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "raw", "canonical"), GOOD)
def test_what_is_written_becomes_its_canonical_shape(name: str, raw: Any, canonical: Any) -> None:
    assert parsed(name, raw) == (canonical, [])


BAD = [
    ("image", "a b", "such as nginx:alpine"),
    ("command", "a 'b", "No closing quotation"),
    ("command", [], "is empty"),
    ("environment", {"A": ["x"]}, "web.environment.A"),
    ("environment", "A=b", "a mapping, or a list"),
    ("ports", ["80800:80"], "1 to 65535"),
    ("ports", ["80:80/xyz"], "tcp, udp or sctp"),
    ("ports", ["1-3:80"], "ranges of different length"),
    ("ports", ["8080:80", "8080:81"], "twice"),
    ("ports", ["300.0.0.1:80:80"], "no valid host address"),
    ("ports", [{"published": "80"}], "has no target"),
    ("restart", "alway", "nearest   always"),
    ("labels", {"io.otto.cluster": "x"}, "Otto's own label"),
    ("volumes", ["./data:/data"], "paths are on the node"),
    ("volumes", ["~/data:/data"], "paths are on the node"),
    ("volumes", ["data:relative"], "no path in the container"),
    ("volumes", ["/a:/x", "/b:/x"], "path that is taken"),
    ("volumes", ["a:/x:rx"], "unknown mode"),
    ("networks", {"a": {"alias": "x"}}, "nearest   aliases"),
    ("network_mode", "service:db", "not supported yet"),
    ("healthcheck", {"test": ["curl"]}, "begins with CMD"),
    ("healthcheck", {"interval": "30"}, "write 30s for seconds"),
    ("mem_limit", "lots", "such as 512m"),
    ("cpus", "0", "out of range"),
    ("cap_add", ["NET-ADMIN"], "is no capability"),
    ("security_opt", ["seccomp=/x.json"], "not supported yet"),
    ("privileged", "maybe", "true or false"),
    ("devices", ["null"], "is no device"),
    ("build", ".", "build is not supported yet"),
    ("enviroment", {}, "nearest   environment"),
]


@pytest.mark.parametrize(("name", "raw", "says"), BAD)
def test_what_is_wrong_is_said(name: str, raw: Any, says: str) -> None:
    _, problems = parsed(name, raw)
    assert says in "\n".join(problems)


def test_all_problems_come_at_once() -> None:
    problems = Problems()
    parse_service({"ports": ["x", "y"], "restart": "z", "imgae": "a"}, ("web",), problems)
    assert len(problems) == 5


def test_image_is_needed() -> None:
    problems = Problems()
    parse_service({}, ("web",), problems)
    assert "has no image" in str(next(iter(problems)))


def test_every_key_is_either_done_or_said_not_to_be() -> None:
    assert not set(OPTIONS) & NOT_YET
    assert set(service_schema()["properties"]) == set(OPTIONS)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(OPTIONS)), junk, max_size=6))
def test_no_input_raises(raw: dict[str, Any]) -> None:
    """Whatever is written gives a spec or problems; a spec without problems has a create body."""
    problems = Problems()
    spec = parse_service(raw, ("web",), problems)
    if not problems:
        create_payload(spec)


# --- what a container shows ----------------------------------------------------------------------

IMAGE = {"Env": ["A=1"], "Cmd": ["run"], "Labels": {"by": "x"}, "Volumes": {"/data/": {}},
         "Healthcheck": {"Test": ["CMD", "true"], "Interval": 7 * 10**9}}  # fmt: skip
ANON = "ab" * 32
ID = "0123456789ab" + "c" * 52


def container(config: Any = None, host: Any = None, **rest: Any) -> dict[str, Any]:
    """What an engine shows of a container that was made of nothing but its image."""
    return {
        "Id": ID,
        "Config": {"Image": "x", "Hostname": ID[:12], "Env": ["A=1"], "Cmd": ["run"],
                   "Labels": {"by": "x", "io.otto.service": "web"},
                   "Healthcheck": IMAGE["Healthcheck"], **(config or {})},
        "HostConfig": {"NetworkMode": "default", "IpcMode": "private", "ShmSize": 67108864,
                       "CgroupnsMode": "host", "LogConfig": {"Type": "journald", "Config": {}},
                       "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
                       **(host or {})},
        "Mounts": [{"Type": "volume", "Name": ANON, "Destination": "/data", "RW": True}],
        "NetworkSettings": {"Networks": {"bridge": {"Aliases": None, "IPAMConfig": None}}},
        **rest,
    }  # fmt: skip


NO_CHANGE = [
    ("the image's and the engine's own", {}, container()),
    ("pids null, 0 and -1", {}, container(host={"PidsLimit": -1})),
    ("swap that a limit brings", {"mem_limit": 64},
     container(host={"Memory": 64, "MemorySwap": 128})),
    ("swap without kernel support", {"mem_limit": 64},
     container(host={"Memory": 64, "MemorySwap": -1})),
    ("CAP_ of newer engines", {"cap_add": ["NET_ADMIN"]},
     container(host={"CapAdd": ["CAP_NET_ADMIN"]})),
    ("label=disable", {"privileged": True},
     container(host={"Privileged": True, "SecurityOpt": ["label=disable"]})),
    ("log options of the daemon", {"logging": {"driver": "local", "options": {}}},
     container(host={"LogConfig": {"Type": "local", "Config": {"max-size": "9m"}}})),
    ("health inherited in part", {"healthcheck": {"retries": 2}},
     container({"Healthcheck": {"Test": ["CMD", "true"], "Interval": 7 * 10**9, "Retries": 2}})),
    ("start_interval on an old engine", {"healthcheck": {"start_interval": 10**9}}, container()),
    ("short id among the aliases", {"networks": {"n": {"aliases": ["web"]}}},
     container(host={"NetworkMode": "n"},
               NetworkSettings={"Networks": {"n": {"Aliases": ["web", ID[:12]]}}})),
    ("node's name on its network", {"network_mode": "host"},
     container({"Hostname": "node1"}, {"NetworkMode": "host"},
               NetworkSettings={"Networks": {"host": {}}})),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "inspect"), [row[1:] for row in NO_CHANGE], ids=[r[0] for r in NO_CHANGE]
)
def test_what_image_and_engine_add_is_no_change(spec: Any, inspect: Any) -> None:
    assert differences({"image": "x", **spec}, inspect, IMAGE, ENGINE, {"image": "x", **spec}) == {}


CHANGE = [
    ("env", container({"Env": ["A=2"]}), {"environment": {"A": ("2", "1")}}),
    ("label", container({"Labels": {}}), {"labels": {"by": (None, "x")}}),
    ("command", container({"Cmd": None}), {"command": {"": (None, "run")}}),
    ("port", container(host={"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}),
     {"ports": {"80/tcp": ("8080", None)}}),
    ("volume", container(Mounts=[]), {"volumes": {"/data": (None, "volume (anonymous)")}}),
    ("restart", container(host={"RestartPolicy": {"Name": "no"}}),
     {"restart": {"": ("no", "unless-stopped")}}),
    ("cpus", container(host={"NanoCpus": 5 * 10**8}), {"cpus": {"": ("0.5", None)}}),
    ("privileged", container(host={"Privileged": True}), {"privileged": {"": ("true", "false")}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("inspect", "delta"), [row[1:] for row in CHANGE], ids=[r[0] for r in CHANGE]
)
def test_an_option_that_the_spec_does_not_name_is_compared(inspect: Any, delta: Any) -> None:
    assert differences({"image": "x"}, inspect, IMAGE, ENGINE, {"image": "x"}) == delta


def test_removed_key_that_the_engine_has_a_default_for() -> None:
    """Only the last-applied spec tells that the value was the file's."""
    before = {"image": "x", "shm_size": 128 * 1024**2}
    inspect = container(host={"ShmSize": 128 * 1024**2})
    delta = differences({"image": "x"}, inspect, IMAGE, ENGINE, before)
    assert delta == {"shm_size": {"": ("128m", None)}}


def test_a_limit_that_the_engine_discards_is_no_change() -> None:
    engine = Engine("20.10.24", "1.41", without=("mem_limit",))
    spec = {"image": "x", "mem_limit": 64}
    assert differences(spec, container(), IMAGE, engine, spec) == {}


def test_an_image_that_is_gone_is_compared_by_the_label() -> None:
    spec = {"image": "x", "environment": {"B": "1"}}
    assert differences(spec, container(), None, ENGINE, spec) == {}
    assert set(differences(spec, container(), None, ENGINE, {"image": "x"})) == {"environment"}
