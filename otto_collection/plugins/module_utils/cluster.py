# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nouns of otto.yaml: Cluster, Node, Service, Mqtt.

`cluster_file.py` makes them; `cluster_tables.py` says what may be written for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.model import Spec

LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "::1"))
DOCKER_URL = "unix:///var/run/docker.sock"
DEFAULT_NETWORK = "default"


@dataclass(frozen=True)
class Mqtt:
    """The broker, as the nodes reach it. keepalive in seconds."""

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    keepalive: int = 30


@dataclass(frozen=True)
class Node:
    """A Docker host. Paths are absolute; python and state_dir are None where the file says none."""

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
    """What runs, and where. sensitive: names of environment variables that are never shown."""

    name: str
    spec: Spec
    nodes: tuple[str, ...]
    sensitive: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Cluster:
    """All of otto.yaml, checked.

    networks, volumes: key -> what the file says of it (NETWORK and VOLUME of cluster_tables).
    known_hosts: an absolute path, None for Otto's own. inventory: INVENTORY_KEYS as they stand.
    """

    name: str
    nodes: tuple[Node, ...]
    services: tuple[Service, ...] = ()
    mqtt: Mqtt | None = None
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    volumes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    known_hosts: str | None = None
    file: str = "otto.yaml"
    inventory: Mapping[str, Any] = field(default_factory=dict)
