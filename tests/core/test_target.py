# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a cluster each node is told."""

from __future__ import annotations

from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_text
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
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
