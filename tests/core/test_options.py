# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option: what may be written, what it becomes, what is refused, how the engine shows it."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import Problems
from ansible_collections.otto.cluster.plugins.module_utils.model import Engine
from ansible_collections.otto.cluster.plugins.module_utils.option_refused import (
    BEFORE,
    REFUSED,
)
from ansible_collections.otto.cluster.plugins.module_utils.option_table import OPTIONS
from ansible_collections.otto.cluster.plugins.module_utils.options import (
    create_payload,
    differences,
    parse_service,
    service_schema,
    unknown_to,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT

KEYS = [
    "annotations",
    "attach",
    "build",
    "blkio_config",
    "cpu_count",
    "cpu_percent",
    "cpu_shares",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_runtime",
    "cpu_rt_period",
    "cpus",
    "cpuset",
    "cap_add",
    "cap_drop",
    "cgroup",
    "cgroup_parent",
    "command",
    "configs",
    "container_name",
    "credential_spec",
    "depends_on",
    "deploy",
    "develop",
    "device_cgroup_rules",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extends",
    "external_links",
    "extra_hosts",
    "gpus",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "ipc",
    "isolation",
    "labels",
    "label_file",
    "links",
    "logging",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "models",
    "network_mode",
    "networks",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "platform",
    "ports",
    "post_start",
    "pre_start",
    "pre_stop",
    "privileged",
    "profiles",
    "provider",
    "pull_policy",
    "read_only",
    "restart",
    "runtime",
    "scale",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "use_api_socket",
    "user",
    "userns_mode",
    "uts",
    "volumes",
    "volumes_from",
    "working_dir",
]
"""The compose-spec's keys of a service."""
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


def after(condition: str = "service_started", **more: Any) -> Any:
    return {"condition": condition, "required": True, "restart": False, **more}


def request(**more: Any) -> Any:
    return {"driver": "", "count": -1, "device_ids": [], "capabilities": ["gpu"], "options": {},
            **more}  # fmt: skip


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
    ("volumes", ["/a:/b:cached,ro"], [mount("bind", "/a", "/b", True)]),
    ("tmpfs", "/run:size=1m", {"/run": "size=1m"}),
    ("networks", ["a", "b"], {"a": {}, "b": {}}),
    ("networks", {"a": {"aliases": ["y", "x"], "ipv4_address": "10.0.0.2"}, "b": None},
     {"a": {"aliases": ["x", "y"], "ipv4_address": "10.0.0.2"}, "b": {}}),
    ("network_mode", "host", "host"),
    ("network_mode", "service:vpn", "service:vpn"),
    ("ipc", "container:x", "container:x"),
    ("pid", "service:a", "service:a"),
    ("networks", {"a": {"priority": "5", "driver_opts": {"x": 1}, "link_local_ips": ["fe80::1"]}},
     {"a": {"priority": 5, "driver_opts": {"x": "1"}, "link_local_ips": ["fe80::1"]}}),
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
    ("depends_on", {"b": {"condition": "service_healthy", "required": "no"}, "a": None},
     {"a": after(), "b": after("service_healthy", required=False)}),
    ("depends_on", ["b", "a"], {"a": after(), "b": after()}),
    ("pull_policy", "always", "always"),
    ("pull_policy", "if_not_present", "missing"),
    ("pull_policy", "newer", "newer"),
    ("pull_policy", "weekly", "weekly"),
    ("pull_policy", "every_1h30m", "every_90m"),
    ("pull_policy", "every_1w2d", "every_216h"),
    ("post_start", [{"command": "sh -c 'a b'", "user": "root", "environment": ["A=b"]}],
     [{"command": ["sh", "-c", "a b"], "user": "root", "environment": {"A": "b"}}]),
    ("pre_stop", [{"command": ["a"], "privileged": "yes", "working_dir": "/x"}],
     [{"command": ["a"], "privileged": True, "working_dir": "/x"}]),
    ("secrets", ["b", {"source": "a", "target": "x/y", "uid": "5", "mode": "0440"}],
     [{"source": "b", "target": "/run/secrets/b", "mode": 0o444},
      {"source": "a", "target": "/run/secrets/x/y", "uid": "5", "mode": 0o440}]),
    ("configs", ["b", {"source": "a", "target": "/etc/a", "mode": "0o600"}],
     [{"source": "b", "target": "/b", "mode": 0o444},
      {"source": "a", "target": "/etc/a", "mode": 0o600}]),
    ("annotations", ["a.b=c", "d"], {"a.b": "c", "d": ""}),
    ("attach", "no", None),
    ("blkio_config",
     {"weight": "300", "device_read_bps": [{"path": "/dev/sda", "rate": "1mb"}],
      "weight_device": []},
     {"weight": 300, "device_read_bps": {"/dev/sda": 1048576}}),
    ("cgroup_parent", "m-executor", "m-executor"),
    ("cpu_period", "50ms", 50000),
    ("cpu_quota", "20000", 20000),
    ("cpu_rt_period", "1400us", 1400),
    ("cpu_rt_runtime", 950000, 950000),
    ("device_cgroup_rules", ["c  188:* mwr", "a 7:* r"], ["a 7:* r", "c 188:* rwm"]),
    ("dns_opt", ["use-vc", "ndots:2"], ["ndots:2", "use-vc"]),
    ("expose", ["3000", "8000-8001", "53/udp", 3000],
     ["3000/tcp", "53/udp", "8000/tcp", "8001/tcp"]),
    ("links", ["db", "db:database"], ["db:database", "db:db"]),
    ("mac_address", "02-42-AC-11-65-43", "02:42:ac:11:65:43"),
    ("mem_swappiness", "0", 0),
    ("oom_kill_disable", "yes", True),
    ("oom_score_adj", "-500", -500),
    ("platform", "linux/arm64/v8", "linux/arm64/v8"),
    ("runtime", "runsc", "runsc"),
    ("storage_opt", {"size": "1G"}, {"size": "1G"}),
    ("uts", "host", "host"),
    ("volumes_from", ["a:ro", "container:b"], ["a:ro", "container:b:rw"]),
    ("gpus", "all", [request()]),
    ("gpus", [{"driver": "nvidia", "device_ids": ["1", "0"]}],
     [request(driver="nvidia", count=0, device_ids=["0", "1"])]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "raw", "canonical"), GOOD)
def test_what_is_written_becomes_its_canonical_shape(name: str, raw: Any, canonical: Any) -> None:
    assert parsed(name, raw) == (canonical, [])


BAD = [
    ("image", "a b", "such as nginx:alpine"),
    ("command", "a 'b", "No closing quotation"),
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
    (
        "volumes",
        [{"type": "volume", "source": "a", "target": "/x", "volume": {"subpath": "y"}}],
        "a volume of its own",
    ),
    ("secrets", [["a"]], "web.secrets[0]"),
    ("networks", {"a": {"alias": "x"}}, "nearest   aliases"),
    ("network_mode", "service:", "service:NAME"),
    ("network_mode", "hots", "bridge or host or none"),
    ("pid", "private", "host or service:NAME"),
    ("networks", {"a": {"mac_address": "02:42:ac:11:65:43"}}, "mac_address: of the service"),
    ("networks", {"a": {"link_local_ips": ["x"]}}, "an IP address"),
    ("healthcheck", {"test": ["curl"]}, "begins with CMD"),
    ("healthcheck", {"interval": "30"}, "write 30s for seconds"),
    ("mem_limit", "lots", "such as 512m"),
    ("cap_add", ["NET-ADMIN"], "is no capability"),
    ("security_opt", ["seccomp=/x.json"], "not supported yet"),
    ("privileged", "maybe", "true or false"),
    ("devices", ["null"], "is no device"),
    ("build", ".", "builds no images on a node"),
    ("env_file", "x", "write environment: here"),
    ("pull_policy", "sometimes", "always or missing"),
    ("pull_policy", "every_5", "write 5s for seconds"),
    ("pull_policy", "build", "otto-run push"),
    ("pre_stop", [{"user": "x"}], "has no command"),
    ("secrets", ["a", "a"], "path that is taken"),
    ("secrets", [{"source": "a", "uid": "root"}], "a number"),
    ("gpus", "some", "all, or a list"),
    ("gpus", [{"count": 1, "device_ids": ["0"]}], "keep one of them"),
    ("blkio_config", {"weight": 5000}, "10 to 1000"),
    ("blkio_config", {"device_read_bps": [{"path": "/dev/sda"}]}, "has no rate"),
    ("cpu_period", "5", "1000 to 1000000"),
    ("device_cgroup_rules", ["c 188 rwm"], "such as c 188:* rmw"),
    ("expose", ["80:80"], "8000-8010"),
    ("links", ["a:b:c"], "SERVICE:ALIAS"),
    ("mac_address", "02:42:ac:11", "no MAC address"),
    ("mac_address", "01:42:ac:11:65:43", "address of a group"),
    ("oom_score_adj", 2000, "-1000 to 1000"),
    ("platform", "arm 64", "such as linux/arm64"),
    ("volumes_from", ["a:rx"], "container:NAME:ro"),
    ("depends_on", {"b": {"condition": "service_up"}}, "service_healthy"),
    ("enviroment", {}, "nearest   environment"),
]


@pytest.mark.parametrize(("name", "raw", "says"), BAD)
def test_what_is_wrong_is_said(name: str, raw: Any, says: str) -> None:
    _, problems = parsed(name, raw)
    assert says in "\n".join(problems)


SPREAD = [
    ({"scale": "3"}, {"replicas": 3}),
    ({"deploy": {"replicas": 2, "mode": "replicated",
                 "update_config": {"order": "start-first", "failure_action": "rollback"}}},
     {"replicas": 2, "update_order": "start-first"}),
    ({"deploy": {"resources": {
        "limits": {"cpus": "0.5", "memory": "64M", "pids": 9},
        "reservations": {"cpus": "0.25", "memory": "32M",
                         "devices": [{"capabilities": ["gpu"], "count": "all"}]}}}},
     {"cpus": 0.5, "mem_limit": 64 * 1024**2, "pids_limit": 9, "cpu_shares": 256,
      "mem_reservation": 32 * 1024**2, "gpus": [request()]}),
    ({"deploy": {"restart_policy": {"condition": "on-failure", "max_attempts": "3"}}},
     {"restart": "on-failure:3"}),
    ({"deploy": {"restart_policy": {"condition": "none"}}}, {"restart": "no"}),
    ({"deploy": {"restart_policy": {}}}, {"restart": "always"}),
    ({"cpus": "0.5", "scale": 2, "deploy": {"replicas": "2",
                                            "resources": {"limits": {"cpus": 0.50}}}},
     {"cpus": 0.5, "replicas": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "spec"), SPREAD)
def test_scale_and_deploy_become_the_options_that_they_mean(raw: Any, spec: Any) -> None:
    problems = Problems()
    assert parse_service({"image": "x", **raw}, ("web",), problems) == {"image": "x", **spec}
    assert not problems


def test_who_uses_another_comes_after_it() -> None:
    raw = {"network_mode": "service:vpn", "pid": "container:x", "volumes_from": ["data:ro"],
           "depends_on": {"vpn": {"condition": "service_healthy"}}}  # fmt: skip
    spec = parse_service({"image": "x", **raw}, ("web",), Problems())
    assert spec["depends_on"] == {"data": after(), "vpn": after("service_healthy")}
    spec = parse_service({"image": "x", "links": ["db:database"]}, ("web",), Problems())
    assert spec["depends_on"] == {"db": after()}


CLASH = [
    ({"cpus": 1, "deploy": {"resources": {"limits": {"cpus": 2}}}},
     "web.deploy.resources.limits.cpus", "differs from cpus"),
    ({"mem_limit": "1g", "deploy": {"resources": {"limits": {"memory": "2g"}}}},
     "web.deploy.resources.limits.memory", '2g'),
    ({"scale": 2, "deploy": {"replicas": 3}}, "web.deploy.replicas", "differs from scale"),
    ({"restart": "always", "deploy": {"restart_policy": {"condition": "none"}}},
     "web.deploy.restart_policy", "differs from restart"),
    ({"scale": 2, "container_name": "abc"}, "web.container_name", "one container"),
    ({"scale": 2, "ports": ["8080:80", "9:9/udp"]}, "web.ports", "8080"),
    ({"cpus": 1, "cpu_quota": "50ms"}, "web.cpu_quota", "cpus"),
    ({"network_mode": "service:vpn", "ports": ["1:1"]}, "web.ports", "write it at vpn"),
    ({"volumes": ["/a:/run/secrets/x"], "secrets": ["x"]}, "web.secrets", "one of volumes"),
    ({"tmpfs": "/x", "configs": ["x"]}, "web.configs", "one of tmpfs"),
    ({"network_mode": "host", "links": ["db"]}, "web.links", "networks"),
    ({"deploy": {"resources": {"limits": {"cpus": 1}}}, "cpu_period": "50ms"},
     "web.cpu_period", "cpus"),
    ({"deploy": {"mode": "global"}}, "web.deploy.mode", "node: all"),
    ({"deploy": {"placement": {"constraints": []}}}, "web.deploy.placement", "node: says where"),
    ({"deploy": {"update_config": {"parallelism": 2}}}, "web.deploy.update_config.parallelism",
     "update: at the top"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "where", "says"), CLASH)
def test_options_that_do_not_go_together_are_one_problem(raw: Any, where: str, says: str) -> None:
    problems = Problems()
    parse_service({"image": "x", **raw}, ("web",), problems)
    assert len(problems) == 1
    page = str(next(iter(problems)))
    assert page.startswith(where)
    assert says in page


def test_all_problems_come_at_once() -> None:
    problems = Problems()
    parse_service({"ports": ["x", "y"], "restart": "z", "imgae": "a"}, ("web",), problems)
    assert len(problems) == 5


def test_image_is_needed() -> None:
    problems = Problems()
    parse_service({}, ("web",), problems)
    assert "has no image" in str(next(iter(problems)))


def test_every_key_is_either_done_or_said_not_to_be() -> None:
    assert len(OPTIONS) + len(REFUSED) + len(BEFORE) == len(KEYS)
    assert set(service_schema()["properties"]) == {*OPTIONS, *REFUSED, *BEFORE} == set(KEYS)


def test_the_reference_has_a_row_for_every_key() -> None:
    """docs/compose.md is written by docs/generate.py; a row and the code must not part."""
    text = (ROOT / "docs" / "compose.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE))
    assert set(rows) == set(KEYS)
    said = {**dict.fromkeys(OPTIONS, "yes"), **dict.fromkeys(BEFORE, "yes, here")}
    assert rows == {**said, **dict.fromkeys(REFUSED, "no")}
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    assert generate["compose_keys"]() in text, "python docs/generate.py"


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


KNOWING = Engine("26.1", "1.45", cgroup_version="1",
                 defaults={"logging": "journald", "runtime": "runc", "cgroup": "host"})  # fmt: skip
HAND = [
    ("hostname", container({"Hostname": "other"}), {"hostname": {"": ("other", None)}}),
    ("ipc", container(host={"IpcMode": "host"}), {"ipc": {"": ("host", None)}}),
    ("cgroup", container(host={"CgroupnsMode": "private"}),
     {"cgroup": {"": ("private", "host")}}),
    ("logging", container(host={"LogConfig": {"Type": "none"}}),
     {"logging": {"driver": ("none", "journald")}}),
    ("runtime", container(host={"Runtime": "runsc"}), {"runtime": {"": ("runsc", "runc")}}),
    ("security_opt", container(host={"SecurityOpt": ["seccomp=unconfined"]}),
     {"security_opt": {"seccomp=unconfined": ("set", None)}}),
    ("memswap_limit", container(host={"MemorySwap": 300 * 1024**2}),
     {"memswap_limit": {"": ("300m", None)}}),
    ("expose", container({"ExposedPorts": {"81/tcp": {}}}),
     {"expose": {"81/tcp": ("exposed", None)}}),
]  # fmt: skip


@pytest.mark.parametrize(("inspect", "delta"), [r[1:] for r in HAND], ids=[r[0] for r in HAND])
def test_what_someone_made_by_hand_is_told_from_the_engines_defaults(
    inspect: Any, delta: Any
) -> None:
    inspect["HostConfig"].setdefault("Runtime", "runc")
    assert differences({"image": "x"}, inspect, IMAGE, KNOWING, {"image": "x"}) == delta
    assert differences({"image": "x"}, container(host={"Runtime": "runc"}), IMAGE, KNOWING) == {}


def test_what_the_kernel_could_not_do_is_no_change() -> None:
    """The engine left it out when it made the container; nothing else tells."""
    spec = {"image": "x", "blkio_config": {"weight": 300}, "mem_swappiness": 10}
    assert differences(spec, container(), IMAGE, ENGINE, spec) == {}
    other = {**spec, "mem_swappiness": 20}
    assert set(differences(other, container(), IMAGE, ENGINE, spec)) == {"mem_swappiness"}


def test_what_an_engine_has_never_heard_of_is_said() -> None:
    spec = {"image": "x", "annotations": {"a": "b"}}
    assert unknown_to(spec, Engine("26.1", "1.45")) == []
    assert unknown_to(spec, ENGINE) == [
        "annotations needs API 1.43, and Docker 20.10.24 has 1.41"
    ]  # fmt: skip


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
    engine = Engine("20.10.24", "1.41", without=("memswap_limit",))
    inspect = container(host={"Memory": 64, "MemorySwap": -1})
    assert differences(spec, inspect, IMAGE, engine, spec) == {}


def test_an_image_that_is_gone_is_compared_by_the_label() -> None:
    spec = {"image": "x", "environment": {"B": "1"}}
    assert differences(spec, container(), None, ENGINE, spec) == {}
    assert set(differences(spec, container(), None, ENGINE, {"image": "x"})) == {"environment"}


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        *(
            (name, "")
            for name in ("user", "platform", "restart", "dns", "network_mode", "hostname")
        ),
        *((name, "0") for name in ("cpus", "cpu_shares", "shm_size", "memswap_limit")),
        ("cpus", 0),
        ("command", ""),
        ("command", []),
    ],
)
def test_what_a_variable_leaves_empty_is_not_set(name: str, raw: Any) -> None:
    """As in compose: `${ARGS:-}`, and 0 for no limit."""
    problems = Problems()
    assert parse_service({"image": "x", name: raw}, ("web",), problems) == {"image": "x"}
    assert not problems


def test_no_entrypoint_runs_the_images_command() -> None:
    image = {**IMAGE, "Entrypoint": ["/docker-entrypoint.sh"], "Cmd": ["nginx"]}
    spec = {"image": "x", "entrypoint": []}
    assert create_payload(spec)["Entrypoint"] == []
    inspect = container(config={"Entrypoint": None, "Cmd": ["nginx"]})
    assert differences(spec, inspect, image, ENGINE, spec) == {}


def test_a_directory_is_compared_as_the_engine_cleans_it() -> None:
    spec = {"image": "x", "working_dir": "/app/"}
    assert differences(spec, container(config={"WorkingDir": "/app"}), IMAGE, ENGINE, spec) == {}
    there = container(config={"WorkingDir": "/srv"})
    image = {**IMAGE, "WorkingDir": "/srv/"}
    assert differences({"image": "x"}, there, image, ENGINE, {"image": "x"}) == {}


def test_a_mac_address_stands_where_old_and_new_engines_look() -> None:
    spec = {"image": "x", "mac_address": "02:42:ac:11:65:43", "networks": {"n": {}}}
    payload = create_payload(spec)
    assert payload["MacAddress"] == spec["mac_address"]
    endpoint = payload["NetworkingConfig"]["EndpointsConfig"]["n"]
    assert endpoint["MacAddress"] == spec["mac_address"]
    newest = replace(ENGINE, api_version="1.52")
    seen = container(host={"NetworkMode": "n"})
    seen["NetworkSettings"] = {"Networks": {"n": {}}}
    assert differences(spec, seen, IMAGE, newest, spec) == {}
    assert set(differences(spec, seen, IMAGE, replace(ENGINE, api_version="1.45"), spec)) == {
        "mac_address"
    }


def test_open_paths_are_what_they_stand_for() -> None:
    spec = {"image": "x", "security_opt": ["no-new-privileges=true", "systempaths=unconfined"]}
    host = create_payload(spec)["HostConfig"]
    assert host["SecurityOpt"] == ["no-new-privileges=true"]
    assert host["MaskedPaths"] == host["ReadonlyPaths"] == []
    assert differences(spec, container(host=host), IMAGE, ENGINE, spec) == {}
    kept = container(host={**host, "MaskedPaths": ["/proc/kcore"], "ReadonlyPaths": ["/proc/sys"]})
    assert set(differences(spec, kept, IMAGE, ENGINE, spec)) == {"security_opt"}
