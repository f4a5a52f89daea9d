# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan, carried out by an engine in memory: what it shows, where interruptions lead."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import Problems
from ansible_collections.otto.cluster.plugins.module_utils.model import Target, content_digest
from ansible_collections.otto.cluster.plugins.module_utils.option_table import OPTIONS
from ansible_collections.otto.cluster.plugins.module_utils.options import parse_service
from ansible_collections.otto.cluster.plugins.module_utils.plan import (
    labels_for,
    plan,
    plan_absent,
    plan_container,
)
from ansible_collections.otto.cluster.plugins.module_utils.plan_before import believable
from hypothesis import given, settings
from hypothesis import strategies as st

from .model_engine import Failed, Killed, ModelEngine

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


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=5,
)
WHOLE = [spec(**options) for options in MANY.values()]


@settings(max_examples=150, deadline=None)
@given(
    of=st.sampled_from(WHOLE),
    key=st.sampled_from(sorted(OPTIONS)) | st.text(max_size=5),
    value=ANY,
    networks=st.dictionaries(
        st.sampled_from(["default", "front"]),
        st.dictionaries(st.sampled_from(["name", "external"]), ANY, max_size=2),
        max_size=1,
    ),
)
def test_whatever_the_agent_wrote_as_the_target_before_ends_no_plan(
    of: dict[str, Any], key: str, value: Any, networks: dict[str, Any]
) -> None:
    """A value of another type than a parser makes is as if that service had not been there."""
    node = engine()
    node.carry_out(target(web=spec()))
    before = Target("home", "n1", {"web": {**of, key: value}}, networks)
    plan(target(web=spec(user="1000")), node.observe(), previous=believable(before)).lines()


@pytest.mark.parametrize("options", MANY.values(), ids=MANY)
def test_what_a_file_described_is_believed(options: dict[str, Any]) -> None:
    wanted = target(web=spec(**options))
    assert believable(wanted) == wanted


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
    line = "image: nginx:alpine (sha256:111111111111 -> sha256:222222222222) [image]"
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


def test_a_secret_that_leaves_the_file_is_not_shown_on_its_way_out() -> None:
    """Nor is one that somebody gave a container by hand, as far as its name tells."""
    node = engine()
    kept = {"web": spec(environment={"PW": "hunter2", "MODE": "one"})}
    node.carry_out(Target("home", "n1", kept, sensitive={"web": ("PW",)}))
    node.containers["web"]["Config"]["Env"].append("API_TOKEN=swordfish")
    found = plan(target(web=spec()), node.observe())
    assert {c.line() for c in found.services[0].changes} == {
        "environment.PW: removed (was (hidden))",
        "environment.MODE: removed (was one)",
        "environment.API_TOKEN: removed (was (hidden)) [drift]",
    }


# --- others' containers, orphans, networks -------------------------------------------------------


def test_a_foreign_container_is_never_touched() -> None:
    node, _ = started()
    node.containers["web"]["Config"]["Labels"] = {}
    whole, errors = node.carry_out(target(web=spec(), other=spec()))
    assert errors == {"web": "container web exists and is not Otto's"}
    assert whole.services[1].error.next == "otto-run adopt n1 web --as web"
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


# --- start-first ---------------------------------------------------------------------------------

QUIET = {"volumes": ["/srv:/srv:ro"], "networks": {"default": {"aliases": ["www"]}, "back": None}}
"""A service that may run twice for a moment."""
BACK = {"back": {"name": "home_back"}}


def canonical(**options: Any) -> dict[str, Any]:
    """A spec with options that are written in another shape than they have."""
    as_it_is = {k: options.pop(k) for k in ("replicas", "update_order") if k in options}
    return {**spec(**options), **as_it_is}


def quiet(**options: Any) -> Target:
    return Target("home", "n1", {"web": spec(**{**QUIET, **options})}, BACK)


def test_start_first_step_by_step() -> None:
    """The new one has no alias before it has proved itself; the old one stops after that."""
    node = engine()
    node.carry_out(quiet())
    start = len(node.log)
    whole, errors = node.carry_out(quiet(environment={"V": "2"}))
    assert not errors
    assert whole.services[0].cost == "replace without downtime"
    assert node.log[start:] == [
        "create container web.otto-new from nginx:alpine",
        "connect container web.otto-new to network home_default",
        "start container web.otto-new",
        "see that container web.otto-new stays up",
        "disconnect container web.otto-new from network home_back",
        "connect container web.otto-new to network home_back",
        "disconnect container web.otto-new from network home_default",
        "connect container web.otto-new to network home_default",
        "see that container web.otto-new stays up",
        "stop container web",
        "rename container web to web.otto-old",
        "rename container web.otto-new to web",
        "remove container web.otto-old",
    ]


@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad"])
@pytest.mark.parametrize("kill_at", range(22))
def test_start_first_may_be_killed_anywhere(kill_at: int, bad: bool) -> None:
    """At every moment a proved container answers under the service's name; a bad one never does."""
    node = engine()
    node.carry_out(quiet(environment={"V": "1"}))
    old = node.containers["web"]["Id"]
    after = quiet(environment={"V": "2"}, command="bad" if bad else "good")
    node.bad_commands = {"bad"}
    node.found = {"web": [], "www": []}
    outcome(node, after, kill_at)
    assert outcome(node, after, 99)
    assert all(node.found["web"])
    assert all(node.found["www"])
    if bad:
        assert sorted(node.containers) == ["web", "web.otto-failed"]
        assert node.containers["web"]["Id"] == old
        assert not [line for line in node.log if line == "stop container web"]
        assert plan(after, node.observe(), retry_failed=False).empty
    else:
        assert list(node.containers) == ["web"]
        assert node.containers["web"]["Id"] != old
        settled(node, after)


@pytest.mark.parametrize(
    ("options", "cost"),
    [
        ({}, "replace without downtime"),
        ({"ports": ["81"]}, "replace without downtime"),
        ({"update_order": "stop-first"}, "replace with a stop"),
        ({"ports": ["80:80"]}, "replace with a stop"),
        ({"network_mode": "host"}, "replace with a stop"),
        ({"container_name": "xx"}, "replace with a stop"),
        ({"volumes": ["d:/d"]}, "replace with a stop"),
        ({"volumes": ["d:/d"], "update_order": "start-first"}, "replace without downtime"),
        ({"volumes": ["d:/d:ro"]}, "replace without downtime"),
        ({"image": "redis:alpine"}, "replace with a stop"),
        ({"image": "redis:alpine", "tmpfs": "/data"}, "replace without downtime"),
        ({"devices": ["/dev/null"]}, "replace with a stop"),
        ({"restart": "no"}, "replace with a stop"),
        ({"networks": {"default": {"ipv4_address": "10.0.0.5"}}}, "replace with a stop"),
    ],
)
def test_what_a_replacement_costs(options: dict[str, Any], cost: str) -> None:
    node = engine()
    node.carry_out(target(web=canonical(**options)))
    changed = target(web=canonical(**{**options, "user": "7"}))
    found = service_plan(node, changed)
    assert found.cost == found.to_json()["cost"] == cost
    assert found.lines()[0] == f"web: recreate ({cost})"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"update_order": "start-first", "ports": ["80:80"]}, "cannot be updated start-first"),
        ({"update_order": "start-first", "network_mode": "host"}, "cannot be updated start-first"),
        ({"replicas": 2, "ports": ["80:80"]}, "cannot have 2 replicas"),
        ({"replicas": 2, "container_name": "xx"}, "cannot have 2 replicas"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_made(options: Any, message: str) -> None:
    node = engine()
    _, errors = node.carry_out(target(web=canonical(**options)))
    assert message in errors["web"]
    assert not node.containers


# --- replicas ------------------------------------------------------------------------------------


def scaled(count: int, **options: Any) -> Target:
    return target(web=canonical(replicas=count, **options))


def test_scaling_keeps_what_can_be_kept() -> None:
    """1 -> 3 -> 2 -> 1 -> 0 -> 1: names follow, and who runs goes on running."""
    node = engine()
    node.carry_out(scaled(1))
    first = node.containers["web"]["Id"]
    names = {3: ["web-1", "web-2", "web-3"], 2: ["web-1", "web-2"], 1: ["web"], 0: []}
    for count in (3, 2, 1, 0, 1):
        _, errors = node.carry_out(scaled(count))
        assert not errors
        assert sorted(node.containers) == names[count]
        if count and first:
            ids = {c["Id"]: c["StartedAt"] for c in node.containers.values()}
            assert first in ids
        first = first if count else ""
        assert all(c["State"] == "running" for c in node.containers.values())
        settled(node, scaled(count))


def test_replicas_are_replaced_one_after_another() -> None:
    """A bad version stops at the first one; a good one takes them all, and never stops two."""
    node = engine()
    node.carry_out(scaled(3))
    ids = {name: c["Id"] for name, c in node.containers.items()}
    node.bad_commands = {"bad"}
    whole, errors = node.carry_out(scaled(3, command="bad"))
    assert set(errors) == {"web"}
    assert whole.services[0].verdict == "recreate"
    kept = {n: c["Id"] for n, c in node.containers.items() if not n.endswith(".otto-failed")}
    assert kept == ids
    assert len(node.containers) == 4
    held = plan(scaled(3, command="bad"), node.observe(), retry_failed=False)
    assert held.empty
    assert held.services[0].error.next == "docker logs web-1.otto-failed"
    start = len(node.log)
    _, errors = node.carry_out(scaled(3, command="good", update_order="stop-first"))
    assert not errors
    stops = [line for line in node.log[start:] if "stop container" in line or "remove" in line]
    assert [line for line in stops if line.startswith("stop")] == [
        "stop container web-1", "stop container web-2", "stop container web-3"
    ]  # fmt: skip
    settled(node, scaled(3, command="good", update_order="stop-first"))


def test_a_sick_replica_keeps_the_others_from_nothing() -> None:
    """One that cannot be started does not hinder the next one from being mended."""
    node = engine()
    node.carry_out(scaled(3))
    for name in ("web-1", "web-3"):
        node.containers[name].update(State="exited", ExitCode=1)
    node.containers["web-1"]["Config"]["Cmd"] = ["nginx"]
    found = service_plan(node, scaled(3))
    errors: dict[str, str] = {}
    failing = found.operations[0]
    real = node.execute

    def execute(step: Any) -> None:
        if step == failing:
            raise Failed("no")
        real(step)

    node.execute = execute  # type: ignore[method-assign]
    node.carry_out_service(found, errors)
    assert errors == {"web": "no"}
    assert node.containers["web-3"]["State"] == "running"


# --- depends_on ----------------------------------------------------------------------------------


def depending(**how: Any) -> dict[str, Any]:
    return spec(depends_on={"db": {"condition": "service_started", **how}})


def test_a_dependant_waits_for_the_condition() -> None:
    node = engine()
    node.carry_out(
        target(web=depending(condition="service_healthy"),
               job=spec(restart="no"),
               late=spec(depends_on={"job": {"condition": "service_completed_successfully"}}),
               db=spec())
    )  # fmt: skip
    order = [line for line in node.log if " web" in line or "late" in line]
    assert node.log.index("see that container db stays up") < node.log.index(
        "create container web from nginx:alpine"
    )
    assert order[0].startswith("create container late")
    wait = node.log.index("wait until container job has done its work")
    assert wait < node.log.index("create container late from nginx:alpine")


@pytest.mark.parametrize(
    ("how", "started"),
    [
        ({"condition": "service_healthy"}, False),
        ({"condition": "service_completed_successfully"}, False),
        ({"condition": "service_healthy", "required": False}, True),
        ({"condition": "service_started"}, True),
    ],
)
def test_when_the_dependency_fails(how: Any, started: bool) -> None:
    """Who needs it is not started anew, and says so; who runs already goes on running."""
    node = engine()
    node.bad_commands = {"bad"}
    both = target(web=depending(**how), db=spec(command="bad"))
    _, errors = node.carry_out(both)
    assert ("web" in node.containers) == started
    assert set(errors) == ({"db"} if started else {"db", "web"})

    node = engine()
    node.bad_commands = {"bad"}
    node.carry_out(target(web=depending(**how), db=spec()))
    old = node.containers["web"]["Id"]
    changed = {**depending(**how), "user": "7"}
    node.carry_out(target(web=changed, db=spec(command="bad")))
    assert node.containers["web"]["State"] == "running"
    assert (node.containers["web"]["Id"] == old) != started


@pytest.mark.parametrize("kill_at", range(24))
def test_restart_with_the_dependency(kill_at: int) -> None:
    """`restart: true`: started anew once after the replacement, also after an interruption."""
    node = engine()
    node.carry_out(target(web=depending(restart=True), db=spec()))
    wanted = target(web=depending(restart=True), db=spec(user="7"))
    outcome(node, wanted, kill_at)
    node.carry_out(wanted)
    assert node.containers["web"]["StartedAt"] > node.containers["db"]["Created"]
    settled(node, wanted)


def test_a_dependency_of_tomorrow_restarts_nobody() -> None:
    """The clock was ahead when it was created, and was set back since."""
    node = engine()
    wanted = target(web=depending(restart=True), db=spec())
    node.carry_out(wanted)
    node.containers["db"]["Created"] = "2036-01-01T00:00:00.000000001Z"
    assert service_plan(node, wanted, "web").verdict == "start"
    assert plan(wanted, replace(node.observe(), now="2026-06-01T00:00:00.999999999")).empty


def test_a_failed_job_is_tried_again_only_where_somebody_waits_for_it() -> None:
    node = engine()
    waits = {"job": {"condition": "service_completed_successfully"}}
    for others, verdict in (({}, "up_to_date"), ({"web": spec(depends_on=waits)}, "start")):
        wanted = target(job=spec(restart="no"), **others)
        node.carry_out(wanted)
        node.containers["job"].update(State="exited", ExitCode=1)
        assert service_plan(node, wanted, "job").verdict == verdict


def test_down_goes_in_reverse_order() -> None:
    """Who depends is stopped first: told by the labels, the file has forgotten them."""
    node = engine()
    node.carry_out(target(a=spec(depends_on=["b"]), b=spec(depends_on=["c"]), c=spec()))
    down = plan_absent("home", node.observe())
    assert [(p.service, p.after) for p in down.services] == [
        ("a", ()), ("b", ("a",)), ("c", ("b",))
    ]  # fmt: skip
    orphan = plan(target(b=spec()), node.observe()).services
    assert [(p.service, p.after) for p in orphan] == [("b", ()), ("c", ("b",)), ("a", ())]


# --- hooks ---------------------------------------------------------------------------------------


def hooked(post: str = "ok", pre: str = "ok", **options: Any) -> Target:
    web = {
        **spec(**options),
        "post_start": [{"command": ["sh", "-c", post]}],
        "pre_stop": [{"command": ["sh", "-c", pre], "environment": {"PW": "hunter2"}}],
    }
    return Target("home", "n1", {"web": web}, sensitive={"web": ("PW",)})


@pytest.mark.parametrize("kill_at", range(16))
def test_no_container_is_left_without_its_post_start(kill_at: int) -> None:
    node = engine()
    outcome(node, hooked(), kill_at)
    node.carry_out(hooked())
    assert list(node.containers) == ["web"]
    assert "post_start" in node.containers["web"]["Hooks"]
    settled(node, hooked())
    outcome(node, hooked(user="7"), kill_at)
    node.carry_out(hooked(user="7"))
    assert list(node.containers) == ["web"]
    assert "post_start" in node.containers["web"]["Hooks"]
    settled(node, hooked(user="7"))


def test_hooks_that_fail() -> None:
    """post_start fails the update, pre_stop only is told; no command stands in a line."""
    node = engine()
    node.carry_out(hooked())
    old = node.containers["web"]["Id"]
    node.bad_hooks = {"bad"}
    whole, errors = node.carry_out(hooked(post="bad"))
    assert not errors  # nothing to do: hooks are no part of a container
    _, errors = node.carry_out(hooked(post="bad", user="7"))
    assert errors == {"web": "exit code 1"}
    assert node.containers["web"]["Id"] == old
    whole, errors = node.carry_out(hooked(pre="bad", user="7"))
    assert not errors
    assert node.containers["web"]["Id"] != old
    text = json.dumps(whole.to_json()) + json.dumps(node.containers["web"]["Config"]["Labels"])
    assert "hunter2" not in text
    assert '"sh"' not in json.dumps(whole.to_json())
    down = plan_absent("home", node.observe()).services[0]
    assert [step.line() for step in down.operations] == [
        "run pre_stop command 1 in container web",
        "stop container web",
        "remove container web",
    ]


# --- all of it together --------------------------------------------------------------------------


def anything() -> st.SearchStrategy[dict[str, Any]]:
    """What a whole node may be asked to be: two services that depend on each other or not."""
    own = st.fixed_dictionaries(
        {},
        optional={
            "replicas": st.integers(0, 3),
            "update_order": st.sampled_from(["stop-first", "start-first"]),
            "post_start": st.just([{"command": ["true"]}]),
            "pre_stop": st.just([{"command": ["true"]}]),
            "environment": st.fixed_dictionaries({"V": st.sampled_from("123")}),
            "mem_limit": st.sampled_from([2**26, 2**27]),
            "restart": st.sampled_from(["always", "no"]),
            "networks": st.sampled_from(
                [{"default": {}}, {"back": {"aliases": ["www"]}, "default": {}}]
            ),
        },
    )
    link = st.fixed_dictionaries(
        {
            "condition": st.sampled_from(
                ["service_started", "service_healthy", "service_completed_successfully"]
            ),
            "required": st.booleans(),
            "restart": st.booleans(),
        }
    )
    return st.fixed_dictionaries(
        {"db": own, "web": own}, optional={"link": link, "without": st.sampled_from(["db", "web"])}
    )


def made_of(drawn: dict[str, Any]) -> Target:
    services = {
        name: {"image": image, **drawn[name]}
        for name, image in (("db", "redis:alpine"), ("web", "nginx:alpine"))
        if name != drawn.get("without")
    }
    if "link" in drawn and "web" in services:
        link = dict(drawn["link"])
        if drawn["db"].get("restart") != "no" and "completed" in link["condition"]:
            link["condition"] = "service_healthy"  # one that never ends is never done
        services["web"]["depends_on"] = {"db": link}
    return Target("home", "n1", services, BACK)


def stands(node: ModelEngine, wanted: Target) -> None:
    """Each container that is asked for, no other, and nothing to do any more."""
    names = set()
    for name, one in wanted.services.items():
        count = one.get("replicas", 1)
        names |= {name} if count == 1 else {f"{name}-{n}" for n in range(1, count + 1)}
    assert set(node.containers) == names
    settled(node, wanted)


@settings(max_examples=400)
@given(anything(), anything())
def test_any_node_becomes_any_other_in_one_pass(first: Any, second: Any) -> None:
    """400 pairs of targets with replicas, orders, hooks and depends_on: one pass, then nothing."""
    node = engine()
    for drawn in (first, second):
        wanted = made_of(drawn)
        _, errors = node.carry_out(wanted)
        assert not errors
        stands(node, wanted)


@settings(max_examples=400)
@given(anything(), anything(), anything(), st.integers(0, 40))
def test_killed_anywhere_on_the_way(first: Any, second: Any, third: Any, kill_at: int) -> None:
    """400 times killed after some prefix of the operations: the next pass converges, to the same
    target or to another one, with no orphan and no duplicate."""
    node = engine()
    node.carry_out(made_of(first))
    outcome(node, made_of(second), kill_at)
    for drawn in (second, third):
        wanted = made_of(drawn)
        outcome(node, wanted, kill_at // 2)
        _, errors = node.carry_out(wanted)
        assert not errors
        stands(node, wanted)


# --- secrets and configs -------------------------------------------------------------------------


def with_secret(content: bytes, **more: Any) -> Target:
    name = content_digest(content)
    entry = {"source": "pw", "target": "/run/secrets/pw", "mode": 0o444, "digest": name, **more}
    files = {name: base64.b64encode(content).decode()}
    return Target("home", "n1", {"web": {**spec(), "secrets": [entry]}}, files=files)


def test_a_secret_is_a_file_that_is_mounted() -> None:
    """Written before the container is made; other content, or another mode, is another one."""
    node = engine()
    first = with_secret(b"hunter2")
    found = plan(first, node.observe())
    assert [step.line() for step in found.before if step.op == "put_file"] == [
        "write the file of pw"
    ]
    text = json.dumps(found.to_json()) + repr(found) + "".join(found.lines())
    node.carry_out(first)
    settled(node, first)
    text += json.dumps(node.containers)
    for secret in (b"hunter2", b"swordfish"):
        assert secret.decode() not in text
        assert base64.b64encode(secret).decode() not in text
    told: list[str] = []
    for wanted in (with_secret(b"swordfish"), with_secret(b"swordfish", mode=0o400, uid="7")):
        changes = service_plan(node, wanted).changes
        assert [change.key for change in changes] == ["secrets./run/secrets/pw"]
        told.append(changes[0].line())
        node.carry_out(wanted)
        settled(node, wanted)
    before, after = (content_digest(text)[:8] for text in (b"hunter2", b"swordfish"))
    place = "secrets./run/secrets/pw"
    assert told == [
        f"{place}: content {before} mode 444 -> content {after} mode 444",
        f"{place}: content {after} mode 444 -> content {after} mode 400 owner 7:any",
    ]
    gone = service_plan(node, target(web=spec())).changes
    assert [change.line().partition(": ")[0] for change in gone] == ["secrets./run/secrets/pw"]
    assert [name.split("-", 1)[1] for name in node.files] == ["444-any-any"] * 2 + ["400-7-any"]


def test_a_network_of_another_shape_is_made_anew_where_nobody_else_is_on_it() -> None:
    """Its containers stay and are connected again; a stranger on it, or a volume, is told."""
    node = engine()

    def shaped(**more: Any) -> Target:
        volume = {"name": "home_d", **({"options": {"o": "x"}} if more.get("volume") else {})}
        network = {"name": "home_b", **({"internal": True} if more.get("network") else {})}
        web = spec(networks={"b": {"aliases": ["www"]}}, volumes=["d:/d"])
        return Target("home", "n1", {"web": web}, {"b": network}, {"d": volume})

    node.carry_out(shaped())
    kept = node.containers["web"]["Id"]
    wanted = shaped(network=True)
    found = plan(wanted, node.observe())
    assert found.lines()[:2] == (
        "> make network home_b anew and reconnect web",
        "    internal: false -> true",
    )
    node.carry_out(wanted)
    assert node.networks["home_b"]["Internal"] is True
    assert node.containers["web"]["Id"] == kept
    assert node.serving("www")
    settled(node, wanted)

    node.networks["home_b"]["Containers"] = {"f" * 64: {}}
    (trouble,) = plan(shaped(), node.observe()).troubles
    assert trouble.next.startswith("docker network rm home_b ")
    (trouble,) = plan(shaped(network=True, volume=True), node.observe()).troubles
    assert trouble.message == "volume home_d is not as the file says: options.o: added x"
    assert trouble.next.startswith("docker volume rm home_d ")


IPAM = {"subnet": "172.28.0.0/24", "gateway": "172.28.0.1"}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            {"ipam": [IPAM]},
            {"ipam": [{**IPAM, "gateway": "172.28.0.9"}]},
            "ipam: 172.28.0.0/24 gateway 172.28.0.1 -> 172.28.0.0/24 gateway 172.28.0.9",
        ),
        ({"ipam": [IPAM]}, {}, "ipam: removed (was 172.28.0.0/24 gateway 172.28.0.1)"),
        ({}, {"ipam": [IPAM]}, "ipam: 172.18.0.0/16 -> 172.28.0.0/24 gateway 172.28.0.1"),
        ({"labels": {"a": "1"}}, {"labels": {"b": "2"}}, "labels.a: removed (was 1), labels.b"),
        ({"driver_opts": {"mtu": "1400"}}, {}, "options.mtu: removed (was 1400)"),
        ({"ipam": [IPAM, {"subnet": "fd00::/64"}]}, {"ipam": [{"subnet": "fd00::/64"}, IPAM]}, ""),
    ],
)
def test_every_key_of_a_network_is_compared(before: Any, after: Any, told: str) -> None:
    """Also one that leaves the file, and one that the engine had filled in by itself."""
    node = engine()

    def shaped(value: Any) -> Target:
        networks = {"b": {"name": "home_b", **value}}
        return Target("home", "n1", {"web": spec(networks={"b": {}})}, networks)

    node.carry_out(shaped(before))
    node.networks["home_b"].setdefault("IPAM", {"Config": [{"Subnet": "172.18.0.0/16"}]})
    steps = plan(shaped(after), node.observe()).before
    assert [", ".join(step.changes)[: len(told)] for step in steps] == ([told] if told else [])
    node.carry_out(shaped(after))
    settled(node, shaped(after))


def test_a_volume_keeps_its_labels_and_says_so() -> None:
    """The engine gives a volume labels once, and its data are no price for others."""
    node = engine()

    def labelled(**labels: str) -> Target:
        volumes = {"d": {"name": "home_d", "labels": labels}}
        return Target("home", "n1", {"web": spec(volumes=["d:/d"])}, {}, volumes)

    node.carry_out(labelled(keep="yes"))
    found = plan(labelled(keep="no"), node.observe())
    assert (found.empty, found.troubles) == (True, ())
    (note,) = found.notes
    assert note.message == "volume home_d is not as the file says: labels.keep: yes -> no"
    assert plan(labelled(keep="yes"), node.observe()).notes == ()


def test_a_share_of_another_password_is_told_without_it() -> None:
    node = engine()

    def share(password: str) -> Target:
        options = {"type": "cifs", "o": f"username=ann,password={password},vers=3.0"}
        volumes = {"d": {"name": "home_d", "driver_opts": options}}
        return Target("home", "n1", {"web": spec(volumes=["d:/d"])}, {}, volumes)

    node.carry_out(share("hunter2"))
    node.volumes["home_d"]["Options"] = node.volumes["home_d"]["DriverOpts"]
    (trouble,) = plan(share("swordfish"), node.observe()).troubles
    assert "options.o: username=ann,password=(hidden" in trouble.message
    assert not {"hunter2", "swordfish"} & set(re.split("[=, ]", trouble.message))
    assert plan(share("hunter2"), node.observe()).troubles == ()
