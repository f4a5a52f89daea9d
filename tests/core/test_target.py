# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a cluster each node is told."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster import (
    Cluster,
    Node,
    Service,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_text
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    Observed,
    ObservedObject,
    Target,
)
from ansible_collections.otto.cluster.plugins.module_utils.operations import CreateNetwork
from ansible_collections.otto.cluster.plugins.module_utils.plan_objects import objects
from ansible_collections.otto.cluster.plugins.module_utils.target import targets

HEAD = """
cluster: {name: home}
nodes: [{id: a, host: 10.0.0.1, user: pi}, {id: b, host: 10.0.0.2, user: pi}]
"""


def target_of(node: str, text: str) -> Target:
    found = load_text(HEAD + text, "otto.yaml", environ={}, vault=lambda _: "s3cret")
    return targets(found)[node]


def networks_of(service: str, text: str) -> Any:
    return target_of("a", text).services[service].get("networks")


def test_only_what_the_node_runs() -> None:
    """A node hears of its own services, networks and volumes, and of no others."""
    text = """
services:
  web: {image: nginx, node: a, volumes: ["data:/data"], networks: [front]}
  db: {image: redis, node: b, volumes: ["other:/data"]}
volumes: {data: , other: , unused: }
networks: {front: , unused: }
"""
    a, b = target_of("a", text), target_of("b", text)
    assert (set(a.services), set(a.volumes), set(a.networks)) == ({"web"}, {"data"}, {"front"})
    assert (set(b.services), set(b.volumes), set(b.networks)) == ({"db"}, {"other"}, {"default"})


def test_node_that_runs_nothing_has_a_target() -> None:
    """Else what ran there before would stay."""
    found = target_of("b", "services: {web: {image: nginx, node: a}}")
    assert found == Target("home", "b")


def test_default_network_with_alias() -> None:
    """Without a word on networks, services of a node find each other by name."""
    text = "services: {web: {image: nginx, node: a}}"
    assert networks_of("web", text) == {"default": {"aliases": ["web"]}}
    assert target_of("a", text).networks == {"default": {"name": "home_default", "external": False}}


def test_alias_on_named_networks() -> None:
    text = """
services:
  web: {image: nginx, node: a, networks: {front: {aliases: [www]}, back: }}
networks: {front: , back: }
"""
    assert networks_of("web", text) == {
        "front": {"aliases": ["web", "www"]},
        "back": {"aliases": ["web"]},
    }


def test_network_mode_joins_nothing() -> None:
    text = "services: {web: {image: nginx, node: a, network_mode: host}}"
    assert networks_of("web", text) is None
    assert target_of("a", text).networks == {}


def test_engine_names() -> None:
    """Keys get the cluster's name before them, unless the file says a name or external."""
    text = """
services:
  web: {image: nginx, node: a, volumes: ["v1:/1", "v2:/2", "v3:/3", "v4:/4", "/5"]}
volumes:
  v1: {driver: local, driver_opts: {type: nfs}, labels: {team: blue}}
  v2: {name: mine}
  v3: {external: true}
  v4: {external: true, name: theirs}
networks:
  default: {name: lan, internal: true, ipam: {config: [{subnet: 172.28.0.0/16}]}}
"""
    found = target_of("a", text)
    assert found.volumes == {
        "v1": {
            "name": "home_v1",
            "external": False,
            "driver": "local",
            "options": {"type": "nfs"},
            "labels": {"team": "blue"},
        },
        "v2": {"name": "mine", "external": False},
        "v3": {"name": "v3", "external": True},
        "v4": {"name": "theirs", "external": True},
    }
    assert found.networks == {
        "default": {
            "name": "lan",
            "external": False,
            "internal": True,
            "ipam": [{"subnet": "172.28.0.0/16"}],
        }
    }


def test_sensitive_variables_travel_along() -> None:
    text = """
services:
  web:
    image: nginx
    node: a
    environment: {A: b, PW: !vault $ANSIBLE_VAULT;1.1;AES256}
"""
    assert target_of("a", text).sensitive == {"web": ("PW",)}


def test_target_survives_json() -> None:
    """What is written to a node's disk reads back as it was, order of the file or not."""
    one = target_of("a", "services: {x1: {image: n, node: a}, y1: {image: n, node: a}}")
    two = target_of("a", "services: {y1: {node: a, image: n}, x1: {image: n, node: a}}")
    assert Target.from_json(one.to_json()).to_json() == one.to_json()
    assert one.revision == two.revision


def test_contents_travel_once_to_the_nodes_that_use_them() -> None:
    """Two services, one content: one file, its digest in both specs; the other node has none."""
    web: Any = {"image": "nginx", "secrets": [{"source": "key", "target": "/run/secrets/key"}]}
    app: Any = {
        "image": "nginx",
        "configs": [{"source": "copy", "target": "/etc/key", "mode": 0o400}],
    }
    home = Cluster(
        name="home",
        nodes=(Node("a", "10.0.0.1"), Node("b", "10.0.0.2")),
        services=(
            Service("web", web, ("a",)),
            Service("app", app, ("a",)),
            Service("plain", {"image": "nginx"}, ("b",)),
        ),
        secrets={"key": b"\x00s3cret", "unused": b"other"},
        configs={"copy": b"\x00s3cret"},
    )
    a, b = targets(home)["a"], targets(home)["b"]
    digest = hashlib.sha256(b"\x00s3cret").hexdigest()[:16]
    assert {key: base64.b64decode(text) for key, text in a.files.items()} == {digest: b"\x00s3cret"}
    assert a.services["web"]["secrets"] == [{**web["secrets"][0], "digest": digest}]
    assert a.services["app"]["configs"] == [{**app["configs"][0], "digest": digest}]
    assert (b.files, "files" in b.to_json()) == ({}, False)
    assert Target.from_json(a.to_json()) == a
    assert "s3cret" not in repr(home) + repr(a)
    other = dataclasses.replace(home, configs={"copy": b"new"})
    assert targets(other)["a"].revision != a.revision


def test_subnets_in_the_engines_words() -> None:
    """ipam reaches the engine, and a network that has another subnet is told, not changed."""
    text = """
services: {web: {image: nginx, node: a}}
networks:
  default:
    internal: true
    ipam: {config: [{subnet: 172.28.0.0/16, gateway: 172.28.0.1, aux_addresses: {nas: 172.28.0.9}}]}
"""
    target = target_of("a", text)
    before = objects(target, Observed(), None).before
    assert isinstance(before[0], CreateNetwork)
    config = {
        "Subnet": "172.28.0.0/16",
        "Gateway": "172.28.0.1",
        "AuxiliaryAddresses": {"nas": "172.28.0.9"},
    }
    assert before[0].body["IPAM"] == {"Driver": "default", "Config": [config]}
    for inspect, wrong in (
        ({"IPAM": {"Config": [config]}, "Internal": True}, 0),
        ({"IPAM": {"Config": [{"Subnet": "10.9.0.0/16"}]}, "Internal": True}, 1),
        ({"IPAM": {"Config": [config]}, "Internal": False}, 1),
    ):
        there = {"home_default": ObservedObject("home_default", {}, inspect)}
        troubles = objects(target, Observed(networks=there), None).troubles
        assert len(troubles) == wrong
