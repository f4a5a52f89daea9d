# SPDX-License-Identifier: GPL-3.0-or-later
"""Services, volumes and networks drawn from all that may be written: harmless values and others.

What is drawn is a target that a node with the directories /srv/allowed, /srv/readable and
/srv/other, a volume `vault` and a container `box` of others can be given.
"""

from __future__ import annotations

import random
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import Problems
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.options import parse_service

CLUSTER = "drawn"
IMAGE = "busybox:latest"
STAYS = ["sh", "-c", "trap exit TERM; sleep 600 & wait"]

HARMLESS: dict[str, list[Any]] = {
    "attach": ["false"],
    "blkio_config": [{"weight": "300"}],
    "cap_add": [["CHOWN"], ["NET_BIND_SERVICE", "SETUID"]],
    "cap_drop": [["ALL"], ["NET_RAW"]],
    "cgroup": ["private"],
    "cpu_period": ["50ms"],
    "cpu_quota": ["20ms"],
    "cpu_shares": ["512"],
    "cpus": ["0.5"],
    "cpuset": ["0"],
    "depends_on": [["s1"]],
    "deploy": [{"replicas": "1"}, {"resources": {"limits": {"memory": "64M"}}}],
    "dns": ["1.1.1.1"],
    "dns_opt": [["ndots:2"]],
    "dns_search": [["a.example"]],
    "domainname": ["a.example"],
    "environment": [{"A": "1"}],
    "expose": [["80"]],
    "extra_hosts": [{"a": "10.0.0.1"}, {"node": "host-gateway"}],
    "group_add": [["0"], ["999"]],
    "healthcheck": [{"test": "true", "interval": "500ms"}],
    "hostname": ["h"],
    "init": ["true"],
    "ipc": ["private", "shareable", "service:s1"],
    "labels": [{"traefik.enable": "true"}],
    "links": [["s1"]],
    "logging": [{"driver": "json-file", "options": {"max-size": "1m"}}, {"driver": "none"},
                {"driver": "local"}],
    "mac_address": ["02:42:AC:11:65:43"],
    "mem_limit": ["64m"],
    "mem_reservation": ["32m"],
    "mem_swappiness": ["10"],
    "network_mode": ["bridge", "none", "service:s1"],
    "networks": [["plain"], ["plain", "inner"], {"plain": {"aliases": ["x"]}}],
    "oom_score_adj": ["100"],
    "pid": ["service:s1"],
    "pids_limit": ["64"],
    "platform": ["linux/amd64"],
    "ports": [["127.0.0.1::80"], ["80"]],
    "post_start": [[{"command": "true", "user": "root"}]],
    "pre_stop": [[{"command": "true"}]],
    "privileged": ["false"],
    "pull_policy": ["never"],
    "read_only": ["true"],
    "restart": ["on-failure:3"],
    "scale": ["1"],
    "security_opt": [["no-new-privileges"]],
    "shm_size": ["32m"],
    "stdin_open": ["true"],
    "stop_grace_period": ["1s"],
    "stop_signal": ["SIGTERM"],
    "sysctls": [{"net.core.somaxconn": "1024"}, {"kernel.shmmax": "65536"}],
    "tmpfs": [["/t:size=1m"], ["/etc", "/root:mode=1777"], ["/sys:rw,exec"]],
    "tty": ["true"],
    "ulimits": [{"nofile": "1024"}, {"memlock": "-1"}],
    "user": ["65534:65534", "0"],
    "volumes": [
        ["/srv/allowed:/a"], ["/srv/readable:/a:ro"], ["/srv/allowed/deep:/a:ro,rslave"],
        ["plain:/a"], ["ram:/a"], ["share:/a"], ["inside:/a"], ["/anonymous"],
        ["plain:/etc:nocopy"],
        [{"type": "tmpfs", "target": "/dev/shm"}], ["/srv/allowed:/proc/acpi"], ["plain:/sys"],
    ],
    "volumes_from": [["s1"]],
    "working_dir": ["/tmp", "/sys"],
}  # fmt: skip

POWERFUL: dict[str, list[Any]] = {
    "annotations": [{"org.systemd.property.Description": "'x'"}],
    "cap_add": [["SYS_ADMIN"], ["SYS_PTRACE", "DAC_READ_SEARCH"], ["ALL"]],
    "cgroup": ["host"],
    "cgroup_parent": ["/", "/otto-drawn"],
    "cpu_rt_period": ["1000000"],
    "cpu_rt_runtime": ["950000"],
    "device_cgroup_rules": [["a *:* rwm"]],
    "devices": [["/dev/otto-canary-device"], ["/dev/fuse"]],
    "gpus": ["all"],
    "ipc": ["host", "container:box"],
    "logging": [
        {"driver": "syslog", "options": {"syslog-address": "unixgram:///run/otto-canary-log"}},
        {"driver": "gelf", "options": {"gelf-address": "udp://127.0.0.1:9"}},
    ],
    "network_mode": ["host", "container:box"],
    "networks": [["lan"], ["named"], ["routed"], ["theirs"], ["node"]],
    "oom_kill_disable": ["true"],
    "oom_score_adj": ["-900"],
    "pid": ["host", "container:box"],
    "post_start": [[{"command": "true", "privileged": "true"}]],
    "pre_stop": [[{"command": "true", "privileged": "true"}]],
    "privileged": ["true"],
    "runtime": ["io.containerd.runc.v2"],
    "security_opt": [["seccomp=unconfined"], ["systempaths=unconfined"], ["apparmor=unconfined"]],
    "storage_opt": [{"dm.basesize": "1G"}],
    "sysctls": [{"kernel.core_pattern": "|/x"}, {"vm.swappiness": "1"}],
    "tmpfs": [["/t:bind"], ["/t:rshared"], ["/t:remount,size=1m"]],
    "ulimits": [{"rtprio": "50"}, {"nice": "40"}],
    "userns_mode": ["host"],
    "uts": ["host"],
    "volumes": [
        ["/:/a:ro"], ["/etc:/a"], ["/root:/a:ro"], ["/srv/other:/a"], ["/srv/link:/a"],
        ["/srv/above:/a:ro"],
        ["/srv/allowed/link:/a"], ["/srv/readable:/a"], ["/run:/a"],
        ["/srv/allowed/../other:/a"], ["/proc/1/root/etc:/a"], ["/proc/self/root/etc:/a"],
        ["/dev/fd/../../1/root/etc:/a"], ["/var/run/docker.sock:/a"], ["/proc:/a"], ["/sys:/a"],
        ["/srv/readable:/a:ro,rshared", "ram:/a/over"], ["vault:/a"], ["vault2:/a"],
        *([f"{name}:/a"] for name in ("bind", "rbind", "spaced", "shouted", "relative", "dot",
                                      "layers", "proc", "sysfs", "cgroup2", "cgroup", "devtmpfs",
                                      "mqueue", "nfsbind", "remount", "plugin", "linked")),
    ],
    "volumes_from": [["container:box"], ["container:box:ro"]],
    "working_dir": ["/proc/self/fd/8", "/proc/1/root"],
}  # fmt: skip

ELSEWHERE = {
    "image": "always busybox",
    "command": "always the one that stays",
    "entrypoint": "always the image's",
    "container_name": "the draw names them itself",
    "secrets": "contents are the control machine's",
    "configs": "contents are the control machine's",
    "memswap_limit": "needs mem_limit beside it, and gives nothing else",
}
"""Options that are not drawn, and why."""


def _local(**options: str) -> dict[str, Any]:
    return {"options": options}


VOLUMES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ram": _local(type="tmpfs", device="tmpfs", o="size=1m"),
    "share": _local(type="nfs", device=":/x", o="addr=127.0.0.9,soft,timeo=1,retrans=1,retry=0"),
    "inside": _local(type="none", device="/srv/allowed", o="bind"),
    "vault": {"external": True, "name": "vault"},
    "vault2": {"name": "vault"},
    "bind": _local(type="none", device="/etc", o="bind"),
    "rbind": _local(device="/root", o="rw,rbind"),
    "spaced": _local(type="none", device="/etc", o="rw, bind"),
    "shouted": _local(type="none", device="/etc", o="BIND"),
    "relative": _local(type="none", device="etc", o="bind"),
    "dot": _local(type="none", device=".", o="bind"),
    "layers": _local(type="overlay", device="overlay", o="lowerdir=/etc:/root"),
    "proc": _local(type="proc", device="proc"),
    "sysfs": _local(type="sysfs", device="sysfs"),
    "cgroup2": _local(type="cgroup2", device="cgroup2"),
    "cgroup": _local(type="cgroup", device="cgroup", o="pids"),
    "devtmpfs": _local(type="devtmpfs", device="udev"),
    "mqueue": _local(type="mqueue", device="mqueue"),
    "nfsbind": _local(type="nfs", device="/etc", o="ro,bind"),
    "remount": _local(type="none", device="/etc", o="remount,bind"),
    "plugin": {"driver": "vieux/sshfs"},
    "linked": _local(type="none", device="/srv/allowed/link", o="bind"),
}
NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "inner": {"internal": True},
    "lan": {"driver": "macvlan", "options": {"parent": "eth0"}},
    "named": {"options": {"com.docker.network.bridge.name": "ottocanbr0"}},
    "routed": {"ipam": [{"subnet": "198.51.100.0/24"}]},
    "theirs": {"name": "theirs", "external": True},
    "node": {"name": "host", "external": True},
}


def declared(kind: dict[str, dict[str, Any]], used: set[str]) -> dict[str, dict[str, Any]]:
    return {
        key: {"name": f"{CLUSTER}_{key}", "external": False, **kind[key]}
        for key in sorted(used & set(kind))
    }


def target_of(services: dict[str, dict[str, Any]]) -> Target:
    """Services as they may be written -> a target, with what they use."""
    specs = {}
    for name, options in services.items():
        problems = Problems()
        raw = {"image": IMAGE, "command": STAYS, **options}
        specs[name] = parse_service(raw, ("services", name), problems)
        assert not problems, [str(problem) for problem in problems]
    volumes = {m["source"] for s in specs.values() for m in s.get("volumes", ()) if m["source"]}
    networks = {key for spec in specs.values() for key in spec.get("networks", ())}
    return Target(CLUSTER, "n1", specs, declared(NETWORKS, networks), declared(VOLUMES, volumes))


def drawn(chance: random.Random, count: int, powerful: float = 0.15) -> Target:
    """A target of `count` services. powerful: how often a value that is no harmless one."""
    services: dict[str, dict[str, Any]] = {}
    while len(services) < count:
        name = f"s{len(services) + 1}"
        options: dict[str, Any] = {}
        for _ in range(chance.randint(1, 5)):
            table = POWERFUL if chance.random() < powerful else HARMLESS
            key = chance.choice(sorted(table))
            options[key] = chance.choice(table[key])
        if name == "s1":  # nobody joins itself
            options = {k: v for k, v in options.items() if "s1" not in str(v)}
        try:
            target_of({**services, name: options})
        except AssertionError:
            continue  # options that do not go together
        services[name] = options
    return target_of(services)
