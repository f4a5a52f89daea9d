# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's owner allows, and what is refused with which words."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import (
    cluster_tables,
    policy_file,
    policy_objects,
)
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    LABEL_CLUSTER,
    Policy,
    Target,
)
from ansible_collections.otto.cluster.plugins.module_utils.option_table import OPTIONS
from ansible_collections.otto.cluster.plugins.module_utils.plan import plan, plan_container
from ansible_collections.otto.cluster.plugins.module_utils.policy import (
    KEYS,
    clean,
    parse,
    places,
    refusal,
    refusal_of_container,
)
from ansible_collections.otto.cluster.plugins.module_utils.policy_needs import needs_of

from .test_plan import engine, spec, target

NOTHING = parse({"allow": None})
OURS = {LABEL_CLUSTER: "home"}


def seen(policy: Policy, wanted: Target) -> Policy:
    """The policy of a node where nothing is a link, but for those that it knows of already."""
    here = {path: clean(path) for path in places(policy, wanted)}
    return replace(policy, real={**here, **policy.real})


def says_of(policy: Policy, wanted: Target, service: str = "web") -> str:
    """The message of the refusal, without its beginning; "" where the service may run."""
    found = refusal(seen(policy, wanted), wanted, service)
    return found.message.partition("policy: ")[2] if found else ""


def says(policy: Policy, declared: Any = None, **options: Any) -> str:
    networks = {name: {"name": name} for name in options.get("networks", ())}
    return says_of(policy, Target("home", "n1", {"web": spec(**options)}, networks, declared or {}))


POWERS: list[tuple[dict[str, Any], str, str]] = [
    ({"privileged": "true"}, "privileged", "privileged"),
    ({"post_start": [{"command": "x", "privileged": "true"}]}, "privileged", "privileged"),
    ({"pre_stop": [{"command": "x", "privileged": "true"}]}, "privileged", "privileged"),
    ({"network_mode": "host"}, "network_mode: host", "host_network"),
    ({"pid": "host"}, "pid: host", "host_pid"),
    ({"ipc": "host"}, "ipc: host", "host_ipc"),
    ({"uts": "host"}, "uts: host", "host_uts"),
    ({"userns_mode": "host"}, "userns_mode: host", "host_userns"),
    ({"cgroup": "host"}, "cgroup: host", "host_cgroup"),
    ({"cgroup_parent": "/system.slice"}, "cgroup_parent", "host_cgroup"),
    ({"cap_add": ["SYS_ADMIN", "CHOWN"]}, "cap_add: SYS_ADMIN", "cap_add"),
    ({"cap_add": ["all"]}, "cap_add: ALL", "cap_add"),
    ({"devices": ["/dev/sda:/dev/sda"]}, "devices of the node", "devices"),
    ({"device_cgroup_rules": ["b 8:* rmw"]}, "devices of the node", "devices"),
    ({"gpus": "all"}, "devices of the node", "devices"),
    ({"security_opt": ["seccomp=unconfined"]}, "security_opt: seccomp=unconfined", "security_opt"),
    ({"security_opt": ["apparmor=no-new-privileges"]}, "security_opt: apparmor", "security_opt"),
    ({"security_opt": ["systempaths=unconfined"]}, "security_opt: systempaths", "security_opt"),
    ({"security_opt": ["no-new-privileges:false"]}, "security_opt: no-new", "security_opt"),
    ({"runtime": "runc"}, "another runtime", "runtime"),
    ({"annotations": {"org.systemd.property.X": "y"}}, "annotations", "annotations"),
    ({"sysctls": {"kernel.core_pattern": "|/x", "net.core.somaxconn": "9"}},
     "sysctls: kernel.core_pattern", "sysctls"),
    ({"sysctls": {"net/../kernel/core_pattern": "|/x"}}, "sysctls: net/..", "sysctls"),
    ({"ulimits": {"rtprio": "99", "nofile": "9"}}, "ulimits: rtprio", "priority"),
    ({"ulimits": {"nice": "40"}}, "ulimits: nice", "priority"),
    ({"oom_score_adj": "-1000"}, "oom_score_adj below 0", "priority"),
    ({"oom_kill_disable": "true"}, "oom_kill_disable", "priority"),
    ({"cpu_rt_runtime": "950000"}, "real-time CPU", "priority"),
    ({"cpu_rt_period": "950000"}, "real-time CPU", "priority"),
    ({"storage_opt": {"dm.x": "1"}}, "storage_opt: dm.x", "storage_opt"),
    ({"logging": {"driver": "syslog", "options": {"syslog-address": "unixgram:///dev/log"}}},
     "the log driver syslog", "logging"),
    ({"logging": {"driver": "fluentd"}}, "the log driver fluentd", "logging"),
    ({"logging": {"driver": "gelf"}}, "the log driver gelf", "logging"),
    ({"logging": {"driver": "a-plugin:latest"}}, "the log driver a-plugin", "logging"),
    ({"logging": {"driver": "json-file", "options": {"path": "/x"}}},
     "the log options path", "logging"),
    ({"logging": {"options": {"fluentd-address": "unix:///x"}}},
     "the log options fluentd-address", "logging"),
    ({"networks": {"n": {"driver_opts": {"a": "b"}}}}, "driver_opts on network n",
     "network_driver"),
    ({"volumes": [{"type": "volume", "source": None, "target": "/a"},
                  "/a/b:/c:rshared"]}, "propagation: rshared of a mount", "propagation"),
    ({"volumes": ["/a/b:/c:ro,shared"]}, "propagation: shared of a mount", "propagation"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "what", "key"), POWERS, ids=[repr(p[0]) for p in POWERS])
def test_a_power_is_refused_unless_its_service_has_it(
    options: dict[str, Any], what: str, key: str
) -> None:
    assert says(NOTHING, **options).startswith(what)
    mounts = {"mounts": ["/a"]}
    for allowed in (True, ["web", "db"]):
        assert says(parse({"allow": {key: allowed, **mounts}}), **options) == ""
    for refused in (False, ["db"]):
        assert says(parse({"allow": {key: refused}}), **options).startswith(what)
    others = {one: True for one in KEYS if one not in (key, "mounts")}
    assert says(parse({"allow": {**others, **mounts}}), **options).startswith(what)


def test_every_option_declares_what_it_needs() -> None:
    """An option, or a key of a volume or network, that declares nothing would be refused."""
    assert [name for name, option in OPTIONS.items() if option.needs is None] == []
    told = {key for option in OPTIONS.values() if option.needs for key in option.needs.keys}
    tables = (
        (policy_objects.VOLUME, cluster_tables.VOLUME),
        (policy_objects.NETWORK, cluster_tables.NETWORK),
    )
    for declared, rows in tables:
        assert set(declared) == {row.key.replace("driver_opts", "options") for row in rows}
        told.update(key for needs in declared.values() for key in needs.keys)
    assert told == set(KEYS), "each key of a policy is of use, and there is no other"


def test_what_declares_nothing_is_refused() -> None:
    everything = parse({"allow": {key: True for key in KEYS if key != "mounts"}})
    unknown: dict[str, Any] = {**spec(), "teleport": "yes"}
    wanted = Target("home", "n1", {"web": unknown})
    assert says_of(everything, wanted) == "teleport, of which is not known what it can do"
    found = refusal(everything, wanted, "web")
    assert found is not None
    assert found.next == "take it out of otto.yaml"
    assert needs_of("deploy") is None, "no key of a spec: it is spread over others"
    for kind in ("volumes", "networks"):
        odd = {"x": {"name": "home_x", "external": False, "teleport": "yes"}}
        uses = {"volumes": ["x:/a"]} if kind == "volumes" else {"networks": ["x"]}
        wanted = Target("home", "n1", {"web": spec(**uses)}, **{kind: odd})
        assert says_of(everything, wanted).startswith(f"teleport of {kind[:-1]} home_x")


def test_all_that_is_refused_is_told_at_once() -> None:
    found = refusal(NOTHING, target(web=spec(pid="host", cap_add=["SYS_ADMIN"])), "web")
    assert found is not None
    assert found.message.endswith("policy: pid: host, cap_add: SYS_ADMIN")
    assert found.next.endswith("under allow: host_pid: [web], cap_add: [web]")


def test_what_has_no_power_runs_under_any_policy() -> None:
    harmless: dict[str, Any] = {
        "ports": ["80:80"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "volumes": ["data:/data", "/anonymous", {"type": "tmpfs", "target": "/t"}],
        "tmpfs": ["/tmp:size=1m,mode=1777,noexec"],
        "ipc": "private",
        "cgroup": "private",
        "cap_add": ["CHOWN", "NET_BIND_SERVICE"],
        "sysctls": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "9"},
        "ulimits": {"nofile": "9", "memlock": "-1"},
        "privileged": "false",
        "oom_score_adj": "100",
        "logging": {"driver": "journald", "options": {"tag": "x"}},
        "deploy": {"replicas": 1, "update_config": {"order": "stop-first"}},
        "working_dir": "/process",
    }
    assert says(NOTHING, {"data": {"name": "home_data"}}, **harmless) == ""
    for driver in ("json-file", "local", "none"):
        assert says(NOTHING, logging={"driver": driver}) == ""
    assert says(Policy(problem="broken"), {"data": {"name": "home_data"}}, **harmless) == ""


MOUNTS = parse({"allow": {"mounts": ["/srv", {"path": "/etc/ssl", "read_only": True}]}})


@pytest.mark.parametrize(
    ("mount", "answer"),
    [
        ("/srv:/a", ""),
        ("/srv/web/html:/a", ""),
        ("/etc/ssl/certs:/a:ro", ""),
        ("/etc/ssl:/a", "the mount /etc/ssl without :ro (of a volume: and without nocopy)"),
        ("/etc/ssl:/a:ro,z", "the mount /etc/ssl without :ro (of a volume: and without nocopy)"),
        ("/etc:/a:ro", "the mount /etc"),
        ("/srvx:/a", "the mount /srvx"),
        ("/:/a:ro", "/, which has the engine's socket, the mount /"),
        ("/run:/a", "/run, which has the engine's socket, the mount /run"),
        ("/run/docker.sock:/a:ro", "/run/docker.sock, which has the engine's socket"),
    ],
)
def test_mounts(mount: str, answer: str) -> None:
    assert says(MOUNTS, volumes=[mount]) == answer


def test_what_only_looks_as_if_it_were_read() -> None:
    """The engine makes a directory that is missing, and fills an empty volume from the image."""
    missing = replace(MOUNTS, absent=frozenset(["/etc/ssl/new"]))
    what = "the mount /etc/ssl/new, which is not there, and would be made"
    assert says(missing, volumes=["/etc/ssl/new:/a:ro"]) == what
    strict = {"type": "bind", "source": "/etc/ssl/new", "target": "/a", "read_only": "true",
              "bind": {"create_host_path": "false"}}  # fmt: skip
    assert says(missing, volumes=[strict]) == ""
    bound = {"v": {"name": "home_v", "options": {"o": "bind", "device": "/etc/ssl/private"}}}
    assert says(MOUNTS, bound, volumes=["v:/a:ro"]).startswith("the mount /etc/ssl/private without")
    assert says(MOUNTS, bound, volumes=["v:/a:ro,nocopy"]) == ""


def test_a_way_through_dots_or_links_is_seen() -> None:
    dots = spec()
    dots["volumes"] = [{"type": "bind", "source": "/srv/../etc", "target": "/a"}]
    assert "write it without .." in says_of(MOUNTS, target(web=dots))
    linked = replace(MOUNTS, real={"/srv/x": "/etc", "/var/run/docker.sock": "/run/docker.sock"})
    assert says(linked, volumes=["/srv/x:/a"]) == "the mount /srv/x (it leads to /etc)"
    assert "engine's socket" in says(linked, volumes=["/var/run/docker.sock:/a"])
    moved = replace(MOUNTS, real={"/srv": "/data/srv", "/srv/x": "/data/srv/x"})
    assert says(moved, volumes=["/srv/x:/a"]) == "", "a link of the owner's own"


def test_the_socket_is_its_own_permission() -> None:
    mount = ["/run/docker.sock:/run/docker.sock"]
    assert says(parse({"allow": {"mounts": ["/"]}}), volumes=mount)
    assert says(parse({"allow": {"docker_socket": ["web"]}}), volumes=mount) == ""
    assert says(parse({"allow": {"docker_socket": True}}), volumes=["/run:/a"]), "all of /run"


VOLUMES: list[tuple[dict[str, Any], str]] = [
    # harmless
    ({}, ""),
    ({"options": {"size": "1g"}}, ""),
    ({"driver": "local"}, ""),
    ({"options": {"type": "nfs", "device": "/export"}}, ""),
    ({"options": {"type": "nfs", "device": ":/x", "o": "addr=10.0.0.2,rw,nfsvers=4"}}, ""),
    ({"options": {"type": "nfs4", "device": ":/x", "o": "addr=nas,soft"}}, ""),
    ({"options": {"type": "cifs", "device": "//nas/x", "o": "username=a,password=b"}}, ""),
    ({"options": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000"}}, ""),
    ({"options": {"type": "none", "o": "bind", "device": "/srv/x"}}, ""),
    ({"options": {"type": "none", "o": "rbind,rw,nosuid", "device": "/srv"}}, ""),
    # a directory of the node, whatever the type says
    ({"options": {"type": "none", "o": "bind", "device": "/etc"}}, "the mount /etc"),
    ({"options": {"type": "nfs", "o": "ro,bind", "device": "/etc"}}, "the mount /etc"),
    ({"options": {"type": "cifs", "o": "rbind", "device": "/etc"}}, "the mount /etc"),
    ({"options": {"o": "noexec,bind", "device": "/"}}, "/, which has the engine's socket"),
    ({"options": {"o": "bind", "device": "/srv/../etc"}}, "the mount /srv/../etc: write it"),
    ({"options": {"o": "bind", "device": "/run/docker.sock"}}, "/run/docker.sock, which has"),
    ({"options": {"o": "bind", "device": "//run/docker.sock"}}, "//run/docker.sock, which"),
    # where the engine's own directory is the beginning of the path
    ({"options": {"type": "none", "o": "bind", "device": "etc"}}, "a volume that binds etc"),
    ({"options": {"type": "none", "o": "bind", "device": "."}}, "a volume that binds ."),
    ({"options": {"type": "none", "o": "bind"}}, "a volume that binds nothing"),
    ({"options": {"type": "none", "o": "bind", "device": " /etc"}}, "a volume that binds  /etc"),
    # other words, orders, cases and spaces
    ({"options": {"type": "nfs", "o": "addr=10.0.0.2,BIND", "device": "/etc"}},
     "a volume with o: addr"),
    ({"options": {"type": "nfs", "o": "rw, bind", "device": "/etc"}}, "a volume with o: rw"),
    ({"options": {"type": "none", "o": "bind ", "device": "/srv"}}, "a volume with o: bind"),
    ({"options": {"type": "none", "o": "bind,x=/etc", "device": "/srv"}}, "a volume with o: bind"),
    ({"options": {"type": "none", "o": "remount,bind", "device": "/srv"}}, "a volume with o: rem"),
    ({"options": {"type": "tmpfs", "o": "remount", "device": "tmpfs"}}, "a volume with o: remount"),
    ({"options": {"type": "tmpfs", "o": "move", "device": "/etc"}}, "a volume with o: move"),
    ({"options": {"type": "none", "o": "bind,rshared", "device": "/srv"}}, "a volume with o: bind"),
    # file systems of the kernel
    ({"options": {"type": "overlay", "o": "lowerdir=/etc", "device": "overlay"}},
     "a volume of type overlay"),
    ({"options": {"type": "overlay", "o": "lowerdir=etc:root,upperdir=u,workdir=w", "device": "x"}},
     "a volume of type overlay"),
    *(({"options": {"type": kind, "device": kind}}, f"a volume of type {kind}")
      for kind in ("proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "devpts", "mqueue", "debugfs",
                   "securityfs", "tracefs", "bpf", "configfs", "fuse", "NFS", "nfs ", "tmpfs,x")),
    ({"options": {"type": "ext4", "device": "/dev/sda1"}}, "a volume of type ext4 (/dev/sda1)"),
    ({"options": {"device": "/dev/sda1"}}, "a volume of type none (/dev/sda1)"),
    ({"options": {"type": "none", "device": "/etc", "o": "ro"}}, "a volume of type none (/etc)"),
    # other drivers, other options
    ({"driver": "rexray"}, "the volume driver rexray"),
    ({"driver": "Local"}, "the volume driver Local"),
    ({"driver": "local", "options": {"mountpoint": "/etc"}}, "a volume with the option mountpoint"),
    ({"driver": "vieux/sshfs:latest", "options": {"device": "/etc", "o": "bind"}},
     "the volume driver vieux/sshfs:latest"),
]  # fmt: skip


@pytest.mark.parametrize(("volume", "what"), VOLUMES, ids=[repr(row[0]) for row in VOLUMES])
def test_a_named_volume(volume: dict[str, Any], what: str) -> None:
    """As the file declares it, and as it lies there already, whatever the file says then."""
    declared = {"data": {"name": "home_data", **volume}}
    plain = {"data": {"name": "home_data"}}
    there = {"Driver": "local", "Labels": OURS}
    there.update({"Driver": volume["driver"]} if "driver" in volume else {})
    there["Options"] = volume.get("options")
    for found in (
        says(MOUNTS, declared, volumes=["data:/a"]),
        says(replace(MOUNTS, volumes={"home_data": there}), plain, volumes=["data:/a"]),
    ):
        assert found.startswith(what) if what else found == ""
    if "volume" in what:
        allowed = replace(MOUNTS, allow={"volume_driver": True, "docker_socket": False})
        assert "driver" not in says(allowed, declared, volumes=["data:/a"])


def test_a_volume_or_network_of_others_is_its_own_permission() -> None:
    """Also where the file says it as its own: what is there is not made again."""
    theirs = {"Driver": "local", "Labels": None, "Options": None}
    bridge = {"Driver": "bridge", "Labels": {LABEL_CLUSTER: "other"}, "Options": {}}
    node = replace(NOTHING, volumes={"vault": theirs}, networks={"vault": bridge})
    allowed = replace(node, allow={"external": frozenset(["web"])})
    for external in (True, False):
        thing = {"v": {"name": "vault", "external": external}}
        volume = Target("home", "n1", {"web": spec(volumes=["v:/a"])}, volumes=thing)
        network = Target("home", "n1", {"web": spec(networks=["v"])}, networks=thing)
        for wanted in (volume, network):
            assert "vault, which is not this cluster's" in says_of(node, wanted)
            assert says_of(allowed, wanted) == ""
    assert "not this cluster's" in says_of(NOTHING, Target("", "", {"web": spec(volumes=["v:/a"])}))


NETWORKS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"driver": "bridge", "internal": True, "enable_ipv6": True, "labels": {"a": "b"}}, ""),
    ({"options": {"com.docker.network.driver.mtu": "1400"}}, ""),
    ({"driver": "macvlan", "options": {"parent": "eth0"}}, "the network driver macvlan"),
    ({"driver": "ipvlan"}, "the network driver ipvlan"),
    ({"driver": "overlay"}, "the network driver overlay"),
    ({"driver": "weave"}, "the network driver weave"),
    ({"driver": "host"}, "a network of the driver host"),
    ({"options": {"com.docker.network.bridge.name": "br-lan"}}, "a network with the option"),
    ({"ipam": [{"subnet": "192.168.1.0/24"}]}, "the subnet 192.168.1.0/24"),
]


@pytest.mark.parametrize(("network", "what"), NETWORKS, ids=[repr(row[0]) for row in NETWORKS])
def test_a_network(network: dict[str, Any], what: str) -> None:
    """Also the one that a service joins without a word; and neither is made for who may not."""
    for key, options in (("lan", {"networks": ["lan"]}), ("default", {})):
        declared = {key: {"name": f"home_{key}", "external": False, **network}}
        wanted = Target("home", "n1", {"web": spec(**options)}, declared)
        assert says_of(NOTHING, wanted).startswith(what)
        assert bool(says_of(NOTHING, wanted)) == bool(what)
        observed = replace(engine().observe(), policy=seen(NOTHING, wanted))
        assert bool(plan(wanted, observed).before) != bool(what)
    there = {"Driver": network.get("driver"), "Options": network.get("options"), "Labels": OURS}
    if set(network) & {"driver", "options"}:
        node = replace(NOTHING, networks={"home_lan": there})
        plain = {"lan": {"name": "home_lan", "external": False}}
        wanted = Target("home", "n1", {"web": spec(networks=["lan"])}, plain)
        assert says_of(node, wanted).startswith(what)


def test_the_host_network_by_another_name() -> None:
    for name in ("lan", "default"):
        external = {name: {"name": "host", "external": True}}
        wanted = Target("home", "n1", {"web": spec(networks=[name])}, external)
        assert says_of(parse({"allow": {"external": True}}), wanted) == "the network host"
        assert says_of(parse({"allow": {"host_network": True}}), wanted) == ""


@pytest.mark.parametrize("name", ["0a1b2c3d4e5f", "0a1b", "0a1b2c3d4e5f" * 5])
def test_the_host_network_by_its_id(name: str) -> None:
    """The engine takes the beginning of an id for a name."""
    host = {"Name": "host", "Id": "0a1b2c3d4e5f" * 5 + "0000", "Driver": "host", "Options": {}}
    wanted = Target(
        "home", "n1", {"web": spec(networks=["lan"])}, {"lan": {"name": name, "external": True}}
    )
    node = replace(parse({"allow": {"external": True}}), networks={"host": host})
    assert says_of(node, wanted) == "the network host"


def container(name: str, **host: Any) -> dict[str, Any]:
    """A container as the engine shows it."""
    mounts = host.pop("Mounts", [])
    networks = host.pop("Networks", {"bridge": {}})
    return {
        "Id": f"id-of-{name}",
        "Name": f"/{name}",
        "HostConfig": {"NetworkMode": "bridge", "IpcMode": "private", "Runtime": "runc", **host},
        "NetworkSettings": {"Networks": networks},
        "Mounts": mounts,
    }


def on_node(policy: Policy, *containers: dict[str, Any]) -> Policy:
    by = {c["Name"].lstrip("/"): c for c in containers} | {c["Id"]: c for c in containers}
    return replace(policy, containers=by)


BIND = {"Type": "bind", "Source": "/etc", "Destination": "/x", "RW": True}
JOINED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    # option, what the other has as the file says it, and as it is there, the answer
    ("network_mode", {"network_mode": "host"}, {"NetworkMode": "host"}, "network_mode: host"),
    ("ipc", {"ipc": "host"}, {"IpcMode": "host"}, "ipc: host"),
    ("pid", {"pid": "host"}, {"PidMode": "host"}, "pid: host"),
    ("pid", {"privileged": "true"}, {"Privileged": True}, "privileged"),
    ("pid", {"volumes": ["/etc:/x"]}, {"Mounts": [BIND]}, "the mount /etc"),
    ("pid", {"cap_add": ["SYS_ADMIN"]}, {"CapAdd": ["CAP_SYS_ADMIN"]}, "cap_add: SYS_ADMIN"),
    ("volumes_from", {"volumes": ["/etc:/x"]}, {"Mounts": [BIND]}, "the mount /etc"),
    ("network_mode", {"pid": "host"}, {"PidMode": "host"}, ""),
    ("ipc", {"network_mode": "host"}, {"NetworkMode": "host"}, ""),
    ("volumes_from", {"privileged": "true"}, {"Privileged": True}, ""),
]


@pytest.mark.parametrize(("option", "options", "host", "answer"), JOINED)
def test_what_another_container_has_comes_with_it(
    option: str, options: dict[str, Any], host: dict[str, Any], answer: str
) -> None:
    """By the service's name, by its container's, over a third one, and of a container of others;
    as the file says it, and as it still runs."""
    others = parse({"allow": {"external": True, "volumes_from": True}})

    def join(kind: str, name: str) -> dict[str, Any]:
        service = kind == "service" and option == "volumes_from"
        whose = name if service else f"{kind}:{name}"
        return {option: [whose] if option == "volumes_from" else whose}

    told = []
    for kind, name in (("service", "x"), ("container", "box")):
        x = spec(container_name="box", **options)
        plain = spec(container_name="box")
        web, over = spec(**join(kind, name)), spec(**join("service", "y"))
        now = container("box", **host)
        told += [
            says_of(others, target(web=web, x=x)),
            says_of(others, target(web=over, y=web, x=x)),
            says_of(on_node(others, now), target(web=web, x=plain)),
        ]
    foreign = target(web=spec(**join("container", "box")))
    told.append(says_of(on_node(others, container("box", **host)), foreign))
    third = {"network_mode": "NetworkMode", "ipc": "IpcMode", "pid": "PidMode"}.get(option)
    if third:
        over = container("mid", **{third: "container:id-of-box"})
        node = on_node(others, over, container("box", **host))
        told.append(says_of(node, target(web=spec(**join("container", "mid")))))
    assert set(told) == {answer}
    key = "volumes_from" if option == "volumes_from" else "external"
    alone = says_of(replace(on_node(NOTHING, container("box"))), foreign)
    assert alone == f"{option} of box, a container that is not the cluster's"
    assert says_of(on_node(parse({"allow": {key: ["web"]}}), container("box")), foreign) == ""


def test_services_that_join_in_a_circle_are_judged_too() -> None:
    wanted = target(web=spec(pid="service:db"), db=spec(pid="service:web", privileged="true"))
    assert says_of(NOTHING, wanted) == "privileged"


@pytest.mark.parametrize(
    ("host", "what"),
    [
        ({}, ""),
        ({"Privileged": True, "SecurityOpt": ["label=disable"], "MaskedPaths": None}, "privileged"),
        ({"MaskedPaths": [], "ReadonlyPaths": []}, "security_opt: systempaths=unconfined"),
        ({"Runtime": "kata"}, "another runtime"),
        ({"Teleport": True}, "Teleport, of which is not known what it can do"),
        ({"Teleport": False, "ConsoleSize": [0, 0], "ShmSize": 67108864}, ""),
        ({"Mounts": [BIND]}, "the mount /etc"),
        ({"Mounts": [{"Type": "npipe", "Source": "x"}]}, "a mount of type npipe"),
        ({"Mounts": [{**BIND, "Propagation": "rshared"}]}, "propagation: rshared"),
        ({"Mounts": [{**BIND, "Source": "/var/lib/otto/files/ab-444-any-any"}]}, ""),
        ({"Mounts": [{**BIND, "Source": "/var/lib/otto/files/../target.json"}]}, "the mount /var"),
        ({"LogConfig": {"Type": "syslog", "Config": {}}}, "the log driver syslog"),
        ({"Ulimits": [{"Name": "rtprio", "Soft": 9, "Hard": 9}]}, "ulimits: rtprio"),
    ],
)
def test_a_container_that_is_started_as_it_is(host: dict[str, Any], what: str) -> None:
    """Ad hoc, without a description: what it has is what the engine shows of it."""
    wanted = Target("", "here", {"box": {}})
    node = on_node(NOTHING, container("box", **host))
    found = refusal_of_container(seen(node, wanted), "box")
    message = found.message.partition("policy: ")[2] if found else ""
    assert message.startswith(what)
    assert bool(message) == bool(what)


def test_what_no_line_allows_says_so() -> None:
    everything = parse({"allow": {key: True for key in KEYS if key != "mounts"}})
    for options, what in (
        ({"working_dir": "/proc/self/fd/8"}, "working_dir /proc/self/fd/8"),
        ({"working_dir": "//proc//1/root"}, "working_dir //proc//1/root"),
        ({"post_start": [{"command": "x", "working_dir": "/x/../proc"}]}, "working_dir /x/../proc"),
        ({"tmpfs": ["/a:bind"]}, "tmpfs /a with bind"),
        ({"tmpfs": ["/a:size=1m,shared"]}, "tmpfs /a with shared"),
    ):
        assert says(everything, **options) == what
    file = {**spec(), "secrets": [{"digest": "ab", "gid": "0/../../../../etc/shadow"}]}
    assert says_of(everything, target(web=file)).startswith("a file with gid")
    subpath = {**spec(), "volumes": [{"type": "volume", "target": "/a", "subpath": "../.."}]}
    assert says_of(everything, target(web=subpath)) == "a mount of type volume with subpath"


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (None, "a mapping with one key, allow"),
        ([], "a mapping with one key, allow"),
        ({"allow": {}, "deny": {}}, "a mapping with one key, allow"),
        ({"allow": ["privileged"]}, "allow: has to be a mapping"),
        ({"allow": {"priviledged": True}}, "allow.priviledged: is no key, perhaps privileged"),
        ({"allow": {"cap_add": "web"}}, "allow.cap_add: true, false, or a list of services"),
        ({"allow": {"mounts": "/srv"}}, "allow.mounts: a list of absolute paths"),
        ({"allow": {"mounts": ["srv"]}}, "allow.mounts: a list of absolute paths"),
        ({"allow": {"mounts": ["/srv/../etc"]}}, "allow.mounts: a list of absolute paths"),
        ({"allow": {"mounts": [{"path": "/a", "ro": True}]}}, "allow.mounts: a list"),
    ],
)
def test_a_policy_that_is_wrong_allows_nothing(document: Any, problem: str) -> None:
    policy = parse(document)
    assert problem in policy.problem
    found = refusal(policy, target(web=spec(privileged="true")), "web")
    assert found is not None
    assert policy.problem in found.cause
    assert "sudoedit /etc/otto/policy.yaml" in found.next


def test_the_plan_refuses_that_service_alone_and_leaves_it_running() -> None:
    """Same words in plan, apply and agent: they plan in one room. Others come to their target."""
    node = engine()
    node.carry_out(target(web=spec(), db=spec()))
    kept = node.containers["web"]["Id"]
    wanted = target(web=spec(privileged="true"), db=spec(environment={"A": "1"}))
    found = plan(wanted, replace(node.observe(), policy=NOTHING))
    web, db = (next(s for s in found.services if s.service == name) for name in ("web", "db"))
    assert web.operations == ()
    assert web.error is not None
    assert web.error.service == "web"
    assert web.error.message == "web is refused by this node's policy: privileged"
    assert web.error.next.endswith("under allow: privileged: [web]")
    assert db.operations
    assert node.containers["web"]["Id"] == kept
    assert not [s for s in found.services if s.verdict == "remove"]


def test_a_container_by_hand_is_under_it_too() -> None:
    observed = replace(engine().observe(), policy=NOTHING)
    (one,) = plan_container("web", spec(pid="host"), observed).services
    assert one.error is not None
    assert plan_container("web", spec(), observed).services[0].error is None


@pytest.mark.skipif(os.geteuid() != 0, reason="a file that is not root's is not believed")
class TestFile:
    def read(self, file: Path) -> Policy | None:
        policy = policy_file.read(file)
        web = spec(volumes=[f"{file.parent}/link:/a"])
        return policy and policy_file.look(policy, target(web=web), file)

    def test_without_it_everything_is_allowed(self, tmp_path: Path) -> None:
        assert self.read(tmp_path / "policy.yaml") is None

    def test_what_stands_in_it_counts_and_links_are_followed(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("/etc")
        (tmp_path / "policy.yaml").write_text(f"allow:\n  mounts: [{tmp_path}]\n")
        policy = self.read(tmp_path / "policy.yaml")
        assert policy is not None
        assert policy.problem == ""
        assert says(policy, volumes=[f"{tmp_path}/link:/a"]).endswith("(it leads to /etc)")

    def test_a_link_of_the_kernel_is_not_believed(self, tmp_path: Path) -> None:
        """/proc/<pid>/root says /, and leads into the tree of that process."""
        (tmp_path / "in").symlink_to("/proc/self/root/srv")
        (tmp_path / "round").symlink_to("round")
        (tmp_path / "real").mkdir()
        (tmp_path / "plain").symlink_to("real/../real")
        for path in ("/proc/self/root/srv", "/proc/1/cwd/x", "/dev/fd/0/x", "/proc/self/fd/0"):
            assert policy_file.real_path(path) is None, path
        assert policy_file.real_path(f"{tmp_path}/in/x") is None
        assert policy_file.real_path(f"{tmp_path}/round") is None
        assert policy_file.real_path(f"/{tmp_path}//plain/./new") == f"{tmp_path}/real/new"
        assert policy_file.real_path("/proc/cpuinfo") == "/proc/cpuinfo"

    def test_a_mount_below_a_read_only_one_is_writable(self, tmp_path: Path) -> None:
        """On an engine whose read-only mounts do not reach below themselves; the agent is told."""
        file = tmp_path / "policy.yaml"
        file.write_text("allow:\n  mounts: [{path: /, read_only: true}]\n  docker_socket: true\n")
        wanted = target(web=spec(volumes=["/:/a:ro", "/proc/cpuinfo:/b:ro"]))

        def found(recursive: bool) -> str:
            policy = policy_file.read(file)
            assert policy is not None
            policy = policy_file.look(policy, wanted, file, remember=True, recursive=recursive)
            trouble = refusal(policy, wanted, "web")
            return trouble.message.partition("policy: ")[2] if trouble else ""

        what = "the mount /, of which this engine leaves writable what is mounted below it"
        assert found(recursive=False) == what
        assert found(recursive=True) == ""
        for path in (tmp_path, *tmp_path.parents):
            path.chmod(path.stat().st_mode | 0o011)
        os.seteuid(65534)
        try:
            assert found(recursive=False) == what
            file_of_agent = policy_file.look(policy_file.read(file) or NOTHING, wanted, file)
            assert file_of_agent.leaky >= {"/"}
            assert "/proc/cpuinfo" not in file_of_agent.leaky
        finally:
            os.seteuid(0)

    def test_what_cannot_be_seen_is_refused_unless_root_has_seen_it(self, tmp_path: Path) -> None:
        """The agent may not look everywhere; the engine follows every link."""
        shut, file = tmp_path / "shut", tmp_path / "policy.yaml"
        shut.mkdir(mode=0o700)
        (shut / "link").symlink_to("/etc")
        file.write_text(f"allow:\n  mounts: [{shut}]\n")
        web = spec(volumes=[f"{shut}/link:/a", f"{shut}/data:/b"])
        wanted = target(web=web)

        def as_agent() -> Policy:
            os.seteuid(65534)
            try:
                found = policy_file.read(file)
                assert found is not None
                return policy_file.look(found, wanted, file)
            finally:
                os.seteuid(0)

        for path in (tmp_path, *tmp_path.parents):  # up to `shut` it may look
            if path.stat().st_mode & 0o011 != 0o011:
                path.chmod(path.stat().st_mode | 0o011)
        assert says(as_agent(), volumes=[f"{shut}/data:/b"]).endswith("/data")
        policy_file.look(policy_file.read(file) or NOTHING, wanted, file, remember=True)
        assert says(as_agent(), volumes=[f"{shut}/data:/b"]) == ""
        assert says(as_agent(), volumes=[f"{shut}/link:/a"]).endswith("(it leads to /etc)")

    @pytest.mark.parametrize("text", ["allow: [", "allow: !!python/name:os.system", "\x00", "9"])
    def test_what_is_no_policy_is_one_that_allows_nothing(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "policy.yaml").write_text(text)
        policy = self.read(tmp_path / "policy.yaml")
        assert policy is not None
        assert policy.problem
        assert "\n" not in policy.problem

    def test_one_that_others_may_write_is_not_believed(self, tmp_path: Path) -> None:
        file = tmp_path / "policy.yaml"
        file.write_text("allow: {privileged: true}\n")
        file.chmod(0o666)
        policy = self.read(file)
        assert policy is not None
        assert "others than root may write it" in policy.problem
        assert says(policy, privileged="true") == "privileged"
