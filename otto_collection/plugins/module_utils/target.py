# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cluster -> one Target per node: all that the node must be, and nothing of the others. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster import (
    DEFAULT_NETWORK,
    Cluster,
    Service,
    engine_name,
)
from ansible_collections.otto.cluster.plugins.module_utils.image_names import registry_of
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    Spec,
    Target,
    content_digest,
)


def targets(cluster: Cluster) -> dict[str, Target]:
    """node id -> Target, for every node of the cluster, also for one that runs nothing.

    Networks and volumes are those that the node's services use, by their key in the file:
    {"name": engine name, "external": bool, "driver"?, "options"?, "labels"?}, networks also
    "internal"?, "attachable"?, "enable_ipv6"?, "ipam"? ([{"subnet", "gateway"?,
    "ip_range"?, "aux_addresses"?}]).
    The contents of the secrets and configs that they use stand in `files`, each once.
    """
    return {node.id: _target(cluster, node.id) for node in cluster.nodes}


def logins(cluster: Cluster, node: str) -> dict[str, dict[str, str]]:
    """host -> {"username", "password"} of the registries that this node's images come from."""
    hosts = {
        registry_of(str(service.spec["image"]))
        for service in cluster.services
        if node in service.nodes
    }
    return {
        host: {"username": login.username, "password": login.password}
        for host, login in sorted(cluster.registries.items())
        if host in hosts
    }


def _target(cluster: Cluster, node: str) -> Target:
    services = sorted(
        (service for service in cluster.services if node in service.nodes),
        key=lambda service: service.name,
    )
    files: dict[str, str] = {}
    specs = {
        service.name: _filled(cluster, _ordered(cluster, _joined(service)), files)
        for service in services
    }
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
        files=files,
    )


def _joined(service: Service) -> Spec:
    """The spec with its networks written out: services of a node find each other by name."""
    if "network_mode" in service.spec:
        return service.spec
    names = {service.name, service.alias} - {""}
    networks = {
        key: {**network, "aliases": sorted(names | set(network.get("aliases", ())))}
        for key, network in service.spec.get("networks", {DEFAULT_NETWORK: {}}).items()
    }
    return {**service.spec, "networks": networks}


def _ordered(cluster: Cluster, spec: Spec) -> Spec:
    """The spec with the cluster's order of updates, where the service names none of its own.

    As a default, start-first is what the plan does anyhow where two containers may run side by
    side; elsewhere it would be an order that cannot be carried out, or two that write one volume.
    """
    order = cluster.update.order
    return {"update_order": order, **spec} if order == "stop-first" else spec


def _filled(cluster: Cluster, spec: Spec, files: dict[str, str]) -> Spec:
    """The spec with the digest of each of its secrets and configs, whose contents go to `files`."""
    filled = dict(spec)
    for kind, contents in (("secrets", cluster.secrets), ("configs", cluster.configs)):
        if kind not in spec:
            continue
        filled[kind] = []
        for entry in spec[kind]:
            content = contents[entry["source"]]
            digest = content_digest(content)
            files[digest] = base64.b64encode(content).decode("ascii")
            filled[kind].append({**entry, "digest": digest})
    return filled


def _engine_object(
    cluster: str, key: str, declared: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    said = dict(declared.get(key, {}))
    name = engine_name(cluster, key, said)
    external = said.pop("external", False)
    said.pop("name", None)
    if "driver_opts" in said:
        said["options"] = said.pop("driver_opts")
    return {"name": name, "external": external, **said}
