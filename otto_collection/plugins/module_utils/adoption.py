# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking over a container that somebody started by hand: who may be taken, and for which service.

A container that may be taken is shown to the plan as one of the service's own, `by_hand`. As its
labels cannot be changed, it is always replaced; the new one carries its id as `io.otto.adopted`. So
the permission outlives a run that is cut off: who goes on finds the id, with no need to be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    LABEL_ADOPTED,
    LABEL_CLUSTER,
    LABEL_SERVICE,
    Observed,
    ObservedContainer,
    Target,
)
from ansible_collections.otto.cluster.plugins.module_utils.plan_values import SUFFIXES


def adopted(
    observed: Observed, target: Target, permitted: Mapping[str, str] | None = None
) -> Observed:
    """The node with those containers shown as Otto's that it may take over.

    permitted: name of a container -> service that it is for.
    """
    services = {
        container.labels[LABEL_ADOPTED]: container.service
        for container in observed.containers
        if container.cluster == target.cluster and container.labels.get(LABEL_ADOPTED)
    }
    names = permitted or {}
    found = []
    for container in observed.containers:
        service = names.get(container.name) or services.get(container.id)
        if service in target.services and container.cluster is None:
            labels = {LABEL_CLUSTER: target.cluster, LABEL_SERVICE: str(service)}
            container = replace(container, by_hand=True, labels={**container.labels, **labels})
        found.append(container)
    return replace(observed, containers=tuple(found))


def check_permitted(observed: Observed, target: Target, permitted: Mapping[str, str]) -> None:
    """Raises OttoError for a container that cannot be taken over, before anything is touched."""
    there = {container.name: container for container in observed.containers}
    for name, service in permitted.items():
        container = there.get(name)
        if container is None:
            raise OttoError(
                f"There is no container {name} on this node",
                next="docker ps -a   (on the node: shows which there are)",
            )
        if service not in target.services:
            raise OttoError(
                f"This node has no service {service} that {name} could become",
                next=typed(
                    "otto-run adopt {} {}   (shows what to write into otto.yaml)", target.node, name
                ),
            )
        _check_owner(container, target, service)
        for other in observed.containers:
            own = (other.cluster, other.service) == (target.cluster, service)
            begun = other.labels.get(LABEL_ADOPTED) == container.id
            if own and not begun and not other.name.endswith(SUFFIXES):
                raise OttoError(
                    f"Service {service} has a container already: {other.name}",
                    cause=f"{name} would be removed for it, and not taken over",
                    next=typed("otto-run adopt {} {} --as <another service>", target.node, name),
                )


def _check_owner(container: ObservedContainer, target: Target, service: str) -> None:
    if container.cluster == target.cluster and container.service == service:
        raise OttoError(
            f"Container {container.name} is Otto's already: it is that of service {service}",
            next="otto-run apply",
        )
    if container.cluster is not None:
        raise OttoError(
            f"Container {container.name} belongs to service {container.service} of cluster"
            f" {container.cluster}",
            cause="who made it would make it anew",
            next="remove the service from the otto.yaml of that cluster first",
        )
