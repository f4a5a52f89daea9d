# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's owner allows, and what is refused with which words."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import policy_file
from ansible_collections.otto.cluster.plugins.module_utils.model import Policy, Target
from ansible_collections.otto.cluster.plugins.module_utils.plan import plan, plan_container
from ansible_collections.otto.cluster.plugins.module_utils.policy import KEYS, parse, refusal

from .test_plan import engine, spec, target

NOTHING = parse({"allow": None})


def says(policy: Policy, declared: Any = None, **options: Any) -> str:
    """The message of the refusal, without its beginning; "" where the service may run."""
    found = refusal(policy, "web", spec(**options), declared)
    return found.message.partition("policy: ")[2] if found else ""


POWERS: list[tuple[dict[str, Any], str, str]] = [
    ({"privileged": "true"}, "privileged", "privileged"),
    ({"post_start": [{"command": "x", "privileged": "true"}]}, "privileged", "privileged"),
    ({"network_mode": "host"}, "network_mode: host", "host_network"),
    ({"pid": "host"}, "pid: host", "host_pid"),
    ({"ipc": "host"}, "ipc: host", "host_ipc"),
    ({"uts": "host"}, "uts: host", "host_uts"),
    ({"userns_mode": "host"}, "userns_mode: host", "host_userns"),
    ({"cgroup": "host"}, "cgroup: host", "host_cgroup"),
    ({"cgroup_parent": "/system.slice"}, "cgroup: host", "host_cgroup"),
    ({"cap_add": ["SYS_ADMIN"]}, "cap_add", "cap_add"),
    ({"devices": ["/dev/sda:/dev/sda"]}, "devices of the node", "devices"),
    ({"device_cgroup_rules": ["b 8:* rmw"]}, "devices of the node", "devices"),
    ({"gpus": "all"}, "devices of the node", "devices"),
    ({"security_opt": ["seccomp=unconfined"]}, "security_opt", "security_opt"),
    ({"runtime": "weak"}, "another runtime", "runtime"),
    ({"volumes_from": ["container:other"]}, "the mounts of a container", "volumes_from"),
]


@pytest.mark.parametrize(("options", "what", "key"), POWERS, ids=[repr(p[0]) for p in POWERS])
def test_a_power_is_refused_unless_its_service_has_it(
    options: dict[str, Any], what: str, key: str
) -> None:
    assert says(NOTHING, **options).startswith(what)
    for allowed in (True, ["web", "db"]):
        assert says(parse({"allow": {key: allowed}}), **options) == ""
    for refused in (False, ["db"]):
        assert says(parse({"allow": {key: refused}}), **options).startswith(what)
    others = {one: True for one in KEYS if one not in (key, "mounts")}
    assert says(parse({"allow": others}), **options).startswith(what)


def test_what_has_no_power_runs_under_any_policy() -> None:
    harmless: dict[str, Any] = {
        "ports": ["80:80"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "volumes": ["data:/data", "/anonymous"],
        "tmpfs": ["/tmp"],
        "ipc": "private",
        "cgroup": "private",
    }
    assert says(NOTHING, {"data": {"name": "home_data"}}, **harmless) == ""
    assert says(Policy(problem="broken"), **harmless) == ""


MOUNTS = parse({"allow": {"mounts": ["/srv", {"path": "/etc/ssl", "read_only": True}]}})


@pytest.mark.parametrize(
    ("mount", "answer"),
    [
        ("/srv:/a", ""),
        ("/srv/web/html:/a", ""),
        ("/etc/ssl/certs:/a:ro", ""),
        ("/etc/ssl:/a", "the mount /etc/ssl without :ro"),
        ("/etc:/a:ro", "the mount /etc"),
        ("/srvx:/a", "the mount /srvx"),
        ("/:/a:ro", "/, which has the engine's socket"),
        ("/run:/a", "/run, which has the engine's socket"),
        ("/run/docker.sock:/a:ro", "/run/docker.sock, which has the engine's socket"),
    ],
)
def test_mounts(mount: str, answer: str) -> None:
    assert says(MOUNTS, volumes=[mount]) == answer


def test_a_way_through_dots_or_links_is_seen() -> None:
    dots = spec()
    dots["volumes"] = [{"type": "bind", "source": "/srv/../etc", "target": "/a"}]
    found = refusal(MOUNTS, "web", dots)
    assert found is not None and "write it without .." in found.message
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


@pytest.mark.parametrize(
    "options",
    [
        {"type": "none", "o": "bind", "device": "/etc"},
        {"type": "nfs", "o": "ro,bind", "device": "/etc"},
        {"type": "cifs", "o": "rbind", "device": "/etc"},
        {"type": "overlay", "o": "lowerdir=/etc", "device": "overlay"},
        {"type": "overlay", "o": "lowerdir=/srv/a:/etc,upperdir=/srv/u", "device": "overlay"},
    ],
)
def test_a_named_volume_that_is_a_directory_of_the_node_is_a_mount(options: Any) -> None:
    """As the file declares it, or as it lies there already: then the file may call it external."""
    declared = {"data": {"name": "home_data", "options": options}}
    assert says(MOUNTS, declared, volumes=["data:/a"]) == "the mount /etc"
    there = replace(MOUNTS, volumes={"home_data": options})
    external = {"data": {"name": "home_data", "external": True}}
    assert says(there, external, volumes=["data:/a"]) == "the mount /etc"
    nfs = {"data": {"name": "home_data", "options": {"type": "nfs", "device": "/export"}}}
    assert says(MOUNTS, nfs, volumes=["data:/a"]) == ""


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
    found = refusal(policy, "web", spec(privileged="true"))
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
        web = spec(volumes=[f"{file.parent}/link:/a"])
        return policy_file.read(Target("home", "n1", {"web": web}), {}, file)

    def test_without_it_everything_is_allowed(self, tmp_path: Path) -> None:
        assert self.read(tmp_path / "policy.yaml") is None

    def test_what_stands_in_it_counts_and_links_are_followed(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("/etc")
        (tmp_path / "policy.yaml").write_text(f"allow:\n  mounts: [{tmp_path}]\n")
        policy = self.read(tmp_path / "policy.yaml")
        assert policy is not None
        assert policy.problem == ""
        assert says(policy, volumes=[f"{tmp_path}/link:/a"]).endswith("(it leads to /etc)")

    def test_what_cannot_be_seen_is_refused_unless_root_has_seen_it(self, tmp_path: Path) -> None:
        """The agent may not look everywhere; the engine follows every link."""
        shut, file = tmp_path / "shut", tmp_path / "policy.yaml"
        shut.mkdir(mode=0o700)
        (shut / "link").symlink_to("/etc")
        file.write_text(f"allow:\n  mounts: [{shut}]\n")
        web = spec(volumes=[f"{shut}/link:/a", f"{shut}/data:/b"])
        wanted = Target("home", "n1", {"web": web})

        def as_agent() -> Policy:
            os.seteuid(65534)
            try:
                found = policy_file.read(wanted, {}, file)
            finally:
                os.seteuid(0)
            assert found is not None
            return found

        for path in (tmp_path, *tmp_path.parents):  # up to `shut` it may look
            if path.stat().st_mode & 0o011 != 0o011:
                path.chmod(path.stat().st_mode | 0o011)
        assert says(as_agent(), volumes=[f"{shut}/data:/b"]).endswith("/data")
        policy_file.read(wanted, {}, file, remember=True)
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
