# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan, carried out by an engine in memory: what it shows, where interruptions lead."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import Problems
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.options import parse_service
from ansible_collections.otto.cluster.plugins.module_utils.plan import (
    labels_for,
    plan,
    plan_absent,
    plan_container,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from .model_engine import Killed, ModelEngine

NGINX = ("sha256:" + "1" * 64, {"Env": ["PATH=/bin"], "Cmd": ["nginx"], "Labels": {"by": "x"}})
NGINX_2 = ("sha256:" + "2" * 64, {"Env": ["PATH=/bin:/opt"], "Cmd": ["nginx"]})
REDIS = (
    "sha256:" + "3" * 64,
    {"Cmd": ["redis"], "Volumes": {"/data": {}}, "User": "redis", "StopSignal": "SIGINT"},
)


def engine() -> ModelEngine:
    return ModelEngine({"nginx:alpine": NGINX, "redis:alpine": REDIS})


def spec(**options: Any) -> dict[str, Any]:
    problems = Problems()
    result = parse_service({"image": "nginx:alpine", **options}, ("services", "web"), problems)
    assert not problems, [str(problem) for problem in problems]
    return result


def target(**services: Any) -> Target:
    return Target("home", "n1", services)


def settled(node: ModelEngine, wanted: Target) -> None:
    again = plan(wanted, node.observe(), refresh=False)
    assert again.empty, again.lines()
    assert all(service.verdict == "up_to_date" for service in again.services)


def service_plan(node: ModelEngine, wanted: Target, name: str = "web", **options: Any) -> Any:
    found = plan(wanted, node.observe(), **options)
    return next(service for service in found.services if service.service == name)


# --- one pass, and the second finds nothing ------------------------------------------------------

MANY = {
    "nothing": {},
    "command": {"command": "nginx -g 'daemon off;'"},
    "entrypoint": {"entrypoint": ["/x"]},
    "no entrypoint": {"entrypoint": [], "command": "a"},
    "environment": {"environment": {"A": "1", "PATH": "/x"}},
    "ports": {"ports": ["8080:80", "127.0.0.1:53:53/udp", "[::1]:9:9",
              "7000-7002:7000-7002", "81"]},
    "limits": {"mem_limit": "64m", "cpus": "0.5", "pids_limit": "20", "cpu_shares": "512"},
    "volumes": {"volumes": ["/srv:/srv:ro,z", "data:/var/data", "/anon"]},
    "tmpfs": {"tmpfs": "/run:size=1m"},
    "networks": {"networks": {"front": {"aliases": ["www"]}, "back": None}},
    "host": {"network_mode": "host"},
    "health": {"healthcheck": {"test": "true", "interval": "1m30s", "retries": "2"}},
    "no health": {"healthcheck": {"disable": "true"}},
    "restart": {"restart": "on-failure:3"},
    "caps": {"cap_add": ["CAP_NET_ADMIN"], "security_opt": ["no-new-privileges:true"]},
    "logging": {"logging": {"driver": "json-file", "options": {"max-size": "1m"}}},
    "others": {"hostname": "h", "user": "1000", "working_dir": "/", "stop_grace_period": "90s",
               "dns": "1.1.1.1", "extra_hosts": {"a": "10.0.0.1"}, "init": "true",
               "ulimits": {"nofile": "1024"}, "shm_size": "128m", "tty": "true"},
    "volume of the image": {"image": "redis:alpine"},
}  # fmt: skip


@pytest.mark.parametrize("options", MANY.values(), ids=MANY)
def test_one_pass_is_enough(options: dict[str, Any]) -> None:
    """What a plan creates, the next plan finds as it must be."""
    node = engine()
    wanted = target(web=spec(**options))
    if "networks" in options:
        wanted = Target(
            "home", "n1", wanted.services, {k: {"name": f"home_{k}"} for k in ("front", "back")}
        )
    _, errors = node.carry_out(wanted)
    assert not errors
    settled(node, wanted)


def pairs() -> st.SearchStrategy[dict[str, Any]]:
    merged: dict[str, Any] = {}
    for options in MANY.values():
        merged.update({k: v for k, v in options.items() if k not in ("image", "networks")})
    names = st.lists(st.sampled_from(sorted(set(merged) - {"network_mode"})), max_size=5)
    return names.map(lambda keys: {key: merged[key] for key in keys})


@settings(max_examples=150, deadline=None)
@given(pairs(), pairs(), st.sampled_from(["nginx:alpine", "redis:alpine"]))
def test_from_any_spec_to_any_other(first: Any, second: Any, image: str) -> None:
    """From one spec to another in one pass; exactly one container is left, and it runs."""
    node = engine()
    node.carry_out(target(web=spec(**first)))
    wanted = target(web=spec(**{**second, "image": image}))
    _, errors = node.carry_out(wanted)
    assert not errors
    settled(node, wanted)
    assert list(node.containers) == ["web"]
    assert node.containers["web"]["State"] == "running"


# --- interruptions -------------------------------------------------------------------------------


def started(**options: Any) -> tuple[ModelEngine, Target]:
    node = engine()
    before = target(web=spec(ports=["80:80"], environment={"V": "1"}, **options))
    node.carry_out(before)
    return node, before


def outcome(node: ModelEngine, wanted: Target, kill_at: int) -> bool:
    """Carry out, killed before operation number `kill_at`; True if it came to its end."""
    node.budget = kill_at
    try:
        node.carry_out(wanted)
    except Killed:
        return False
    finally:
        node.budget = None
    return True


@pytest.mark.parametrize("then", ["same", "reverted", "changed"])
@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad"])
@pytest.mark.parametrize("kill_at", range(18))
def test_a_replacement_may_be_killed_anywhere(kill_at: int, bad: bool, then: str) -> None:
    """Between any two operations, also of the undoing: the next pass ends with one that serves."""
    node, before = started()
    after = target(
        web=spec(ports=["80:80"], environment={"V": "2"}, command="bad" if bad else "good")
    )
    node.bad_commands = {"bad"}
    outcome(node, after, kill_at)
    wanted = {"same": after, "reverted": before}.get(then)
    if wanted is None:
        wanted = target(web=spec(ports=["80:80"], environment={"V": "3"}))
    node.carry_out(wanted)
    running = [n for n, c in node.containers.items() if c["State"] == "running"]
    assert running == ["web"]
    env = node.containers["web"]["Config"]["Env"]
    if wanted is after and bad:
        assert "V=1" in env
        assert sorted(node.containers) == ["web", "web.otto-failed"]
        held = plan(wanted, node.observe(), retry_failed=False)
        assert held.empty
        assert held.services[0].error is not None
        assert held.services[0].error.next == "docker logs web.otto-failed"
    else:
        assert list(node.containers) == ["web"]
        settled(node, wanted)


@pytest.mark.parametrize("first", range(9))
@pytest.mark.parametrize("second", range(9))
def test_killed_twice(first: int, second: int) -> None:
    """Going on with what was interrupted may be interrupted too."""
    node, _ = started()
    after = target(web=spec(ports=["80:80"], environment={"V": "2"}))
    outcome(node, after, first)
    outcome(node, after, second)
    node.carry_out(after)
    assert list(node.containers) == ["web"]
    settled(node, after)


@pytest.mark.parametrize("kill_at", range(18))
def test_an_agent_brings_the_old_one_back_without_trying_again(kill_at: int) -> None:
    """After a failed change, a sweep leaves the old container serving, wherever it was cut off."""
    node, _ = started()
    node.bad_commands = {"bad"}
    after = target(web=spec(ports=["80:80"], command="bad"))
    outcome(node, after, kill_at)
    for _ in range(2):
        node.carry_out(after, retry_failed=False)
    running = [n for n, c in node.containers.items() if c["State"] == "running"]
    assert running == ["web"]
    assert "V=1" in node.containers["web"]["Config"]["Env"]


def test_the_old_one_serves_until_the_new_one_is_made() -> None:
    """Nothing is stopped before pull and create are done."""
    node, _ = started()
    start = len(node.log)
    node.carry_out(target(web=spec(ports=["80:80"])))
    assert node.log[start:] == [
        "create container web.otto-new from nginx:alpine",
        "stop container web",
        "rename container web to web.otto-old",
        "rename container web.otto-new to web",
        "start container web",
        "see that container web stays up",
        "remove container web.otto-old",
    ]


def test_data_of_an_anonymous_volume_outlive_a_replacement() -> None:
    """redis keeps /data when its environment changes."""
    node = engine()
    node.carry_out(target(web=spec(image="redis:alpine")))
    before = node.containers["web"]["Mounts"][0]["Name"]
    wanted = target(web=spec(image="redis:alpine", environment={"A": "1"}))
    node.carry_out(wanted)
    assert node.containers["web"]["Mounts"][0]["Name"] == before
    settled(node, wanted)


# --- what a plan says ----------------------------------------------------------------------------


def said(node: ModelEngine, wanted: Target, **options: Any) -> tuple[str, list[str]]:
    found = service_plan(node, wanted, **options)
    return found.verdict, [change.line() for change in found.changes]


def test_removed_key_is_a_change_of_the_file() -> None:
    node, before = started(labels={"team": "blue"})
    after = target(web=spec(ports=["80:80"], environment={"V": "1"}))
    expected = ("recreate", ["labels.team: removed (was blue)"])
    assert said(node, after, previous=before) == expected
    assert said(node, after) == expected


def test_live_edit_is_drift() -> None:
    node, before = started(mem_limit="64m")
    node.containers["web"]["HostConfig"]["Memory"] = 128 * 1024**2
    assert said(node, before) == ("update", ["mem_limit: 128m -> 64m [drift]"])
    node.carry_out(before)
    settled(node, before)


def test_new_content_under_the_same_reference() -> None:
    node, before = started()
    node.images["nginx:alpine"] = NGINX_2
    line = "image: nginx:alpine (111111111111) -> nginx:alpine (222222222222) [image]"
    assert said(node, before) == ("recreate", [line])


@pytest.mark.parametrize(
    ("restart", "state", "code", "verdict"),
    [
        ("always", "exited", 0, "start"),
        ("unless-stopped", "exited", 143, "start"),
        ("no", "exited", 1, "up_to_date"),
        ("on-failure", "exited", 0, "up_to_date"),
        ("on-failure", "exited", 1, "start"),
        ("no", "created", 0, "start"),
        ("always", "restarting", 1, "up_to_date"),
        ("always", "paused", 0, "recreate"),
        ("always", "dead", 0, "recreate"),
    ],
)
def test_one_that_does_not_run(restart: str, state: str, code: int, verdict: str) -> None:
    node, before = started(restart=restart)
    node.containers["web"].update(State=state, ExitCode=code)
    assert service_plan(node, before).verdict == verdict
    _, errors = node.carry_out(before)
    assert not errors
    settled(node, before)


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ({}, {"restart": "always"}, "update"),
        ({}, {"mem_limit": "64m"}, "update"),
        ({"mem_limit": "64m"}, {}, "recreate"),  # the engine takes 0 for "leave it"
        ({"pids_limit": "5"}, {}, "update"),
        ({"cpus": "1"}, {"cpus": "2", "environment": {"A": "1"}}, "recreate"),
        ({}, {"networks": {"b": None, "default": None}}, "update"),
        ({"networks": ["b"]}, {"networks": {"b": {"aliases": ["x"]}}}, "update"),
        ({"networks": ["b"]}, {"network_mode": "host"}, "recreate"),
    ],
)
def test_in_place_where_the_engine_can(old: Any, new: Any, verdict: str) -> None:
    networks = {"b": {"name": "home_b"}}
    node = engine()
    node.carry_out(Target("home", "n1", {"web": spec(**old)}, networks))
    wanted = Target("home", "n1", {"web": spec(**new)}, networks)
    kept = node.containers["web"]["Id"]
    whole, errors = node.carry_out(wanted)
    assert not errors
    assert whole.services[0].verdict == verdict
    assert (node.containers["web"]["Id"] == kept) == (verdict == "update")
    assert plan(wanted, node.observe()).services[0].verdict == "up_to_date"


def test_secrets_are_in_no_line_label_or_json() -> None:
    """Only the create body has them, which is never shown."""
    node = engine()
    wanted = Target(
        "home", "n1", {"web": spec(environment={"PW": "hunter2"})}, sensitive={"web": ("PW",)}
    )
    first = plan(wanted, node.observe())
    node.carry_out(wanted)
    after = Target(
        "home", "n1", {"web": spec(environment={"PW": "swordfish"})}, sensitive={"web": ("PW",)}
    )
    second = plan(after, node.observe())
    assert [c.line() for c in second.services[0].changes] == [
        "environment.PW: (hidden) -> (hidden)"
    ]
    for found in (first, second):
        text = json.dumps(found.to_json()) + "\n".join(found.lines()) + repr(found.services)
        assert "hunter2" not in text
        assert "swordfish" not in text
    assert "hunter2" not in json.dumps(labels_for(wanted, "web"))
    node.containers["web"]["Config"]["Env"] = ["PATH=/bin", "PW=live"]
    drift = plan(wanted, node.observe(), previous=wanted).services[0].changes
    assert [c.line() for c in drift] == ["environment.PW: (hidden) -> (hidden) [drift]"]


# --- others' containers, orphans, networks -------------------------------------------------------


def test_a_foreign_container_is_never_touched() -> None:
    node, _ = started()
    node.containers["web"]["Config"]["Labels"] = {}
    whole, errors = node.carry_out(target(web=spec(), other=spec()))
    assert errors == {"web": "container web exists and is not Otto's"}
    assert whole.services[1].error.next == "docker rm -f web"
    assert sorted(node.containers) == ["other", "web"]
    assert not [line for line in node.log[4:] if line.endswith("container web")]


def test_orphans_go_and_networks_after_them() -> None:
    node = engine()
    networks = {"b": {"name": "home_b"}}
    node.carry_out(Target("home", "n1", {"a": spec(), "old": spec(networks=["b"])}, networks))
    node.carry_out(target(a=spec()))
    assert list(node.containers) == ["a"]
    assert list(node.networks) == ["home_default"]


def test_container_name_moves() -> None:
    node, _ = started()
    wanted = target(web=spec(ports=["80:80"], container_name="front"))
    _, errors = node.carry_out(wanted)
    assert not errors
    assert list(node.containers) == ["front"]
    settled(node, wanted)


def test_a_renamed_service_takes_over_its_container_name() -> None:
    node = engine()
    node.carry_out(target(a=spec(container_name="web", ports=["80:80"])))
    wanted = target(b=spec(container_name="web", ports=["80:80"]))
    _, errors = node.carry_out(wanted)
    assert not errors
    assert list(node.containers) == ["web"]
    settled(node, wanted)


def test_down_removes_all_but_the_volumes() -> None:
    node = engine()
    wanted = Target(
        "home", "n1", {"web": spec(volumes=["d:/d"])}, volumes={"d": {"name": "home_d"}}
    )
    node.carry_out(wanted)
    for volumes, left in ((False, ["home_d"]), (True, [])):
        down = plan_absent("home", node.observe(), volumes)
        for step in [s for p in down.services for s in p.operations] + list(down.after):
            node.execute(step)
        assert (list(node.containers), list(node.networks), list(node.volumes)) == ([], [], left)


def test_missing_external_network_blocks_only_its_users() -> None:
    node = engine()
    wanted = Target(
        "home", "n1",
        {"a": spec(networks=["ext"]), "b": spec()},
        {"ext": {"name": "lan", "external": True}},
    )  # fmt: skip
    _, errors = node.carry_out(wanted)
    assert errors == {"a": "network lan is external and is not on this node"}
    assert list(node.containers) == ["b"]


def test_failed_pull_leaves_the_old_one_serving() -> None:
    node, _ = started()
    _, errors = node.carry_out(target(web=spec(image="nope:1")))
    assert errors == {"web": "not found"}
    assert list(node.containers) == ["web"]
    assert node.containers["web"]["State"] == "running"


def test_pull_always_is_no_change_when_nothing_is_newer() -> None:
    node = engine()
    wanted = target(web=spec(pull_policy="always"))
    node.carry_out(wanted)
    again = plan(wanted, node.observe())
    assert again.empty
    assert again.services[0].pulls
    node.registry["nginx:alpine"] = NGINX_2
    node.carry_out(wanted)
    assert node.containers["web"]["Image"] == NGINX_2[0]


def test_services_come_after_what_they_depend_on() -> None:
    found = plan(target(a=spec(depends_on=["c"]), b=spec(), c=spec()), engine().observe())
    assert [s.service for s in found.services] == ["c", "a", "b"]
    assert [s.after for s in found.services] == [(), ("c",), ()]


def test_one_container_alone() -> None:
    """Ad hoc: created, changed, stopped, restarted, removed; no cluster label."""
    node = engine()

    def run(state: str, **options: Any) -> str:
        found = plan_container("x", spec(**options), node.observe(), state=state).services[0]
        errors: dict[str, str] = {}
        node.carry_out_service(found, errors)
        assert not errors
        return found.verdict

    assert [run("started"), run("started")] == ["create", "up_to_date"]
    assert "io.otto.cluster" not in node.containers["x"]["Config"]["Labels"]
    assert plan(target(), node.observe()).empty
    assert [run("started", user="1"), run("restarted", user="1")] == ["recreate", "start"]
    assert [run("stopped", user="1"), run("stopped", user="1")] == ["stop", "up_to_date"]
    assert node.containers["x"]["State"] == "exited"
    assert [run("absent"), run("absent")] == ["remove", "up_to_date"]


def test_the_model_refuses_what_docker_refuses() -> None:
    """Else the tests above would show nothing."""
    node, _ = started()
    errors: dict[str, str] = {}
    node.carry_out_service(service_plan(node, target(w2=spec(ports=["80:80"])), "w2"), errors)
    assert errors == {"w2": "port is already allocated"}
