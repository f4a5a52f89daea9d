# SPDX-License-Identifier: GPL-3.0-or-later
"""A policy and what is there already: containers, volumes, networks, as real engines show them."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import policy_file
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.model import Policy, Target
from ansible_collections.otto.cluster.plugins.module_utils.operations import PullImage
from ansible_collections.otto.cluster.plugins.module_utils.plan import plan
from ansible_collections.otto.cluster.plugins.module_utils.policy import parse
from ansible_collections.otto.cluster.plugins.module_utils.policy_needs import asked_by_container
from ansible_collections.otto.cluster.plugins.modules import container

from .conftest import IMAGE, URL

STAYS = ["sh", "-c", "trap exit TERM; sleep 600 & wait"]
Owner = Callable[[Any], None]


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Owner:
    """Puts a policy in the place of the node's own; None for none."""

    def says(document: Any) -> None:
        policy = None if document is None else parse(document)
        monkeypatch.setattr(policy_file, "read", lambda: policy)

    return says


@pytest.fixture
def box() -> Iterator[str]:
    """A name; what is called so, or begins so, is removed afterwards."""
    name = f"policy-{uuid.uuid4().hex[:6]}"
    yield name
    for kind in ("container", "volume", "network"):
        listed = docker(kind, "ls", *(["-a"] if kind == "container" else []), "-q",
                        "--filter", f"name={name}")  # fmt: skip
        if listed:
            docker(kind, "rm", "-f" if kind != "network" else "--", *listed.split())


def docker(*words: str) -> str:
    return subprocess.run(
        ["docker", "-H", URL, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def ad_hoc(engine: DockerEngine, name: str, state: str, **options: Any) -> tuple[bool, str]:
    """Whether something changed, and the error; as the module does it."""
    params = {**dict.fromkeys(container.arguments()), "name": name, "state": state, **options}
    spec = container.spec_of(params) if options else {}
    report = container.work(engine, params, spec, check=False)
    return report.changed, " ".join(str(error["message"]) for error in report.errors)


def test_the_ad_hoc_module_asks_the_policy(engine: DockerEngine, box: str, owner: Owner) -> None:
    """Also where a container that is there is only to be started; it may always be stopped."""
    owner(None)
    options = {"image": IMAGE, "command": STAYS, "pid": "host", "network_mode": "none"}
    assert ad_hoc(engine, box, "started", **options) == (True, "")
    owner({"allow": None})
    refused = f"{box} is refused by this node's policy: pid: host"
    assert ad_hoc(engine, box, "restarted") == (False, refused)
    assert docker("inspect", "-f", "{{.State.Running}} {{.RestartCount}}", box) == "true 0"
    assert ad_hoc(engine, box, "stopped") == (True, "")
    assert ad_hoc(engine, box, "started") == (False, refused)
    assert ad_hoc(engine, box, "started", **options) == (False, refused)
    assert docker("inspect", "-f", "{{.State.Running}}", box) == "false"
    owner({"allow": {"host_pid": [box]}})
    assert ad_hoc(engine, box, "started") == (True, "")
    owner({"allow": None})
    assert ad_hoc(engine, box, "absent") == (True, "")


def refused(engine: DockerEngine, cluster: str, more: Any = None, **options: Any) -> str:
    spec = {"image": IMAGE, "command": STAYS, "network_mode": "none", **options}
    if "networks" in options:
        del spec["network_mode"]
    wanted = Target(cluster, "here", {"web": spec}, **(more or {}))
    error = plan(wanted, engine.observe(wanted)).services[0].error
    return error.message.partition("policy: ")[2] if error else ""


def test_others_are_looked_at_as_the_engine_shows_them(
    engine: DockerEngine, cluster: str, box: str, owner: Owner
) -> None:
    """A namespace over two others, by name and by the beginning of an id; volumes; networks."""
    docker("run", "-d", "--name", f"{box}-a", "--pid", "host", "--network", "host",
           "-v", "/etc:/x", IMAGE, *STAYS)  # fmt: skip
    docker("run", "-d", "--name", f"{box}-b", "--pid", f"container:{box}-a", "--network",
           f"container:{box}-a", "--volumes-from", f"{box}-a", IMAGE, *STAYS)  # fmt: skip
    docker("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/etc", f"{box}-v")
    docker("network", "create", "-o", f"com.docker.network.bridge.name={box[:15]}", f"{box}-n")
    owner({"allow": {"external": True, "volumes_from": True}})
    short = docker("inspect", "-f", "{{.Id}}", f"{box}-b")[:12]
    for name in (f"{box}-b", short):
        found = refused(engine, cluster, network_mode=f"container:{name}")
        assert found.startswith("network_mode: host")
        assert "pid: host" in refused(engine, cluster, pid=f"container:{name}")
        assert "the mount /etc" in refused(engine, cluster, pid=f"container:{name}")
        found = refused(engine, cluster, volumes_from=[f"container:{name}:rw"])
        assert found == "the mount /etc"
    mount = {"type": "volume", "source": "v", "target": "/a", "read_only": False}
    volume = {"volumes": {"v": {"name": f"{box}-v", "external": True}}}
    assert refused(engine, cluster, volume, volumes=[mount]) == "the mount /etc"
    network = {"networks": {"n": {"name": f"{box}-n", "external": True}}}
    found = refused(engine, cluster, network, networks={"n": {}})
    assert found == "a network with the option com.docker.network.bridge.name"
    owner({"allow": None})
    found = refused(engine, cluster, volume, volumes=[mount])
    assert found == f"the volume {box}-v, which is not this cluster's, the mount /etc"


@pytest.mark.parametrize("name", ["rpi-01", "rpi-02"])
def test_a_plain_container_has_nothing_of_the_node(
    name: str, engine_of: Callable[[str], DockerEngine]
) -> None:
    """Whatever an engine shows by itself: an unknown key of HostConfig would be refused."""
    engine = engine_of(name)
    engine.execute(PullImage("nginx:alpine"))
    made = engine.call(
        "POST",
        "/containers/create",
        params={"name": f"policy-{uuid.uuid4().hex[:6]}"},
        body={"Image": "nginx:alpine", "HostConfig": {"Privileged": False}},
    )
    try:
        shown = engine.call("GET", f"/containers/{made['Id']}/json")
        assert asked_by_container(Policy(), shown) == []
    finally:
        engine.call("DELETE", f"/containers/{made['Id']}", params={"v": 1})
