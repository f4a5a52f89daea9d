# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nouns of otto.yaml: Cluster, Node, Service, Mqtt, Update.

`cluster_file.py` makes them; `cluster_tables.py` says what may be written for them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import Path
from ansible_collections.otto.cluster.plugins.module_utils.model import Spec

LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "::1"))
DOCKER_URL = "unix:///var/run/docker.sock"
DEFAULT_NETWORK = "default"
KEEP_IMAGES = 3
KEEP_ALL = -1


PORT, TLS_PORT = 1883, 8883
SYSTEM_CA = "system"


@dataclass(frozen=True)
class Mqtt:
    """The broker, as the nodes reach it. keepalive in seconds.

    username, password: of a broker of one's own, for all; None: every node has an account.
    ca: file with the CA of a broker of one's own, SYSTEM_CA for what the clients' systems trust;
    None with tls: Otto's own CA. node: the node that the broker is installed on.
    """

    host: str
    port: int = TLS_PORT
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    keepalive: int = 30
    tls: bool = True
    ca: str | None = None
    node: str | None = None


@dataclass(frozen=True)
class Login:
    """What a registry wants to see."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Node:
    """A Docker host. Paths are absolute; python and state_dir are None where the file says none.

    jump: a node's id, or hosts as ProxyJump takes them. through: the node that `jump` names, once
    `ssh_way.resolved` has found it. given_keys: the file is a stranger's: host keys come from the
    caller's file alone, and none is ever written.
    """

    id: str
    host: str
    user: str | None = None
    port: int = 22
    identity_file: str | None = None
    jump: str | None = None
    python: str | None = None
    become: bool = False
    docker_url: str = DOCKER_URL
    labels: Mapping[str, str] = field(default_factory=dict)
    state_dir: str | None = None
    given_keys: bool = False
    through: Node | None = field(default=None, repr=False)

    @property
    def is_local(self) -> bool:
        return self.host.lower() in LOCAL_HOSTS or self.user is None

    @property
    def is_astray(self) -> bool:
        """Another host, but neither SSH nor an engine on TCP to reach it by."""
        return (
            self.host.lower() not in LOCAL_HOSTS
            and self.user is None
            and self.docker_url.startswith("unix:")
        )


@dataclass(frozen=True)
class Service:
    """What runs, and where.

    sensitive: names of environment variables that are never shown. alias: a further name by which
    others find it, "" for none: the one that its own compose file gives it. path: where it stands
    in what was read, for problems.
    """

    name: str
    spec: Spec
    nodes: tuple[str, ...]
    sensitive: frozenset[str] = frozenset()
    alias: str = ""
    path: Path = ()


@dataclass(frozen=True)
class Update:
    """How an update goes over the nodes.

    parallelism: nodes at once, 0 for all. delay: seconds between two batches. order: the default
    of every service's update_order, None where the file says none. max_failures: nodes that may
    fail before no further one is begun. canary: which nodes go first, ids in the order of the file,
    or how many of those that have something to change.
    """

    parallelism: int = 0
    delay: float = 0.0
    order: str | None = None
    max_failures: int = 0
    canary: int | tuple[str, ...] = 0

    @property
    def in_batches(self) -> bool:
        """Whether nodes wait for each other at all."""
        return bool(self.parallelism or self.canary)

    def batches(self, waiting: Collection[str], order: Sequence[str]) -> list[list[str]]:
        """The nodes that wait, in the batches that they are updated in.

        order: all nodes as the file names them.
        """
        left = [node for node in order if node in waiting]
        if isinstance(self.canary, int):
            first = left[: self.canary]
        else:
            first = [node for node in left if node in self.canary]
        rest = [node for node in left if node not in first]
        size = self.parallelism or len(rest) or 1
        found = [rest[start : start + size] for start in range(0, len(rest), size)]
        return [first, *found] if first else found


@dataclass(frozen=True)
class Cluster:
    """All of otto.yaml, checked.

    networks, volumes: key -> what the file says of it (NETWORK and VOLUME of cluster_tables).
    secrets, configs: key -> content. registries: host -> its login.
    keep_images: earlier sets of images that stay on a node, KEEP_ALL for every one.
    known_hosts: an absolute path, None for Otto's own. inventory: INVENTORY_KEYS as they stand.
    """

    name: str
    nodes: tuple[Node, ...]
    services: tuple[Service, ...] = ()
    mqtt: Mqtt | None = None
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    volumes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    configs: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    registries: Mapping[str, Login] = field(default_factory=dict)
    keep_images: int = KEEP_IMAGES
    update: Update = Update()
    known_hosts: str | None = None
    file: str = "otto.yaml"
    inventory: Mapping[str, Any] = field(default_factory=dict)


def engine_name(cluster: str, key: str, said: Mapping[str, Any]) -> str:
    """Name of a network or a volume in the engine."""
    # What stands already has a name of its own: its key, unless the file says another.
    return str(said.get("name") or (key if said.get("external") else f"{cluster}_{key}"))
