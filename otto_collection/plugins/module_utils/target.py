# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cluster -> one Target per node: all that the node must be, and nothing of the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster import (
    DEFAULT_NETWORK,
    Cluster,
    Service,
)
from ansible_collections.otto.cluster.plugins.module_utils.model import Spec, Target


def targets(cluster: Cluster) -> dict[str, Target]:
    """node id -> Target, for every node of the cluster, also for one that runs nothing.

    Networks and volumes are those that the node's services use, by their key in the file:
    {"name": engine name, "external": bool, "driver"?, "options"?, "labels"?}, networks also
    "internal"?, "attachable"?, "enable_ipv6"?, "ipam"? ([{"subnet", "gateway"?, "ip_range"?}]).
    """
    return {node.id: _target(cluster, node.id) for node in cluster.nodes}


def _target(cluster: Cluster, node: str) -> Target:
    services = sorted(
        (service for service in cluster.services if node in service.nodes),
        key=lambda service: service.name,
    )
    specs = {service.name: _joined(service) for service in services}
    networks = {key for spec in specs.values() for key in spec.get("networks", {})}
    volumes = {
        mount["source"]
        for spec in specs.values()
        for mount in spec.get("volumes", ())
        if mount["type"] == "volume" and mount["source"] is not None
    }
    return Target(
        cluster=cluster.name,
        node=node,
        services=specs,
        networks={
            key: _engine_object(cluster.name, key, cluster.networks) for key in sorted(networks)
        },
        volumes={
            key: _engine_object(cluster.name, key, cluster.volumes) for key in sorted(volumes)
        },
        sensitive={s.name: tuple(sorted(s.sensitive)) for s in services if s.sensitive},
    )


def _joined(service: Service) -> Spec:
    """The spec with its networks written out: services of a node find each other by name."""
    if "network_mode" in service.spec:
        return service.spec
    networks = {
        key: {**network, "aliases": sorted({service.name, *network.get("aliases", ())})}
        for key, network in service.spec.get("networks", {DEFAULT_NETWORK: {}}).items()
    }
    return {**service.spec, "networks": networks}


def _engine_object(
    cluster: str, key: str, declared: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    said = dict(declared.get(key, {}))
    external = said.pop("external", False)
    # What stands already has a name of its own: its key, unless the file says another.
    name = said.pop("name", key if external else f"{cluster}_{key}")
    if "driver_opts" in said:
        said["options"] = said.pop("driver_opts")
    return {"name": name, "external": external, **said}
