# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of one scope -> Service: where they run, their spec, what of it is secret.

A scope is otto.yaml itself, or a stack: a compose file of its own, whose names are its own too. In
the cluster a stack's things have its name before theirs; `Names` says how.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.assembly import Scope
from ansible_collections.otto.cluster.plugins.module_utils.cluster import (
    DEFAULT_NETWORK,
    Node,
    Service,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_rows import (
    read_labels,
)
from ansible_collections.otto.cluster.plugins.module_utils.errors import Problems, nearest
from ansible_collections.otto.cluster.plugins.module_utils.known_secrets import sensitive_names
from ansible_collections.otto.cluster.plugins.module_utils.option_text import At, plain
from ansible_collections.otto.cluster.plugins.module_utils.options import parse_service
from ansible_collections.otto.cluster.plugins.module_utils.pieces import Places

OTTOS_KEYS = ("name", "node")
"""Keys of a service of otto.yaml that are no service's in compose."""


def read_services(
    scope: Scope,
    entries: Mapping[str, Mapping[str, Any]],
    placement: Sequence[str] | None,
    nodes: Placement,
    places: Places,
    problems: Problems,
) -> dict[str, Service]:
    """name in its file -> service, under the names of its file still.

    placement: where a stack's services run; None for otto.yaml, whose services say it themselves.
    """
    found: dict[str, Service] = {}
    for name, entry in entries.items():
        at = At((*scope.path, "services", name), problems, scope.environ)
        own = () if scope.stack else OTTOS_KEYS
        where = nodes.of(entry.get("node"), at) if placement is None else tuple(placement)
        spec = parse_service(
            {key: value for key, value in entry.items() if key not in own},
            at.path,
            problems,
            environ=scope.environ,
            also=own,
        )
        sensitive = sensitive_names(spec) | _sensitive(entry, at, places)
        found[name] = Service(name, spec, where, sensitive, path=at.path)
    return {name: _settled(service, scope, found) for name, service in found.items()}


def _sensitive(entry: Mapping[str, Any], at: At, places: Places) -> frozenset[str]:
    """Names of the variables that are secret; a secret anywhere else cannot be kept."""
    depth = len(at.path)
    sensitive: set[str] = set()
    environment = entry.get("environment")
    for path in sorted((p for p in places.secrets if p[:depth] == at.path), key=str):
        if len(path) < depth + 2 or path[depth] != "environment":
            At(path, at.problems).problem(
                "cannot be kept secret: the engine shows it to whoever asks",
                expected="!vault only under environment",
                hint="as a file: top-level secrets",
            )
            continue
        sensitive.add(_variable(environment, path[depth + 1]))
    where = at.path if environment is None else (*at.path, "environment")
    if isinstance(environment, Mapping):
        keys: Collection[str | int] = environment.keys()
    else:
        keys = range(len(environment)) if isinstance(environment, list) else ()
    for key in keys:
        if places.find((*where, key)).file.encrypted:
            sensitive.add(_variable(environment, key))
    return frozenset(sensitive)


def _variable(environment: Any, key: str | int) -> str:
    """Where variables stand as a list, one is known by its place in it."""
    if isinstance(key, int) and isinstance(environment, list):
        return str(environment[key]).partition("=")[0]
    return str(key)


def _settled(service: Service, scope: Scope, all_of: Mapping[str, Service]) -> Service:
    """What the other services of the file say of it."""
    spec = dict(service.spec)
    waits = spec.get("depends_on", {})
    gone = [
        name
        for name, how in waits.items()
        if not how["required"]
        and (name in scope.resting or (scope.complete and name not in all_of))
    ]
    if gone:
        spec["depends_on"] = {name: how for name, how in waits.items() if name not in gone}
    # What is awaited to its end has one: to start it again would be no end.
    if "restart" not in spec and any(
        other.spec.get("depends_on", {}).get(service.name, {}).get("condition")
        == "service_completed_successfully"
        for other in all_of.values()
    ):
        spec["restart"] = "no"
    return replace(service, spec=spec)


class Placement:
    """Ids of the nodes that something runs on. known: every node of the file could be read."""

    def __init__(self, nodes: Sequence[Node], *, known: bool) -> None:
        self._nodes = nodes
        self._known = known

    def of(self, raw: Any, at: At) -> tuple[str, ...]:
        """raw: what stands under `node` at a service or a stack; in the order of the file."""
        if raw is None:
            ids = [node.id for node in self._nodes]
            if len(ids) != 1 and self._known and ids:
                at.problem(
                    "has no node",
                    expected=f"node: {ids[0]}, a list of ids, labels, or all",
                )
            return tuple(ids)
        return self.named(raw, at.sub("node"))

    def named(self, raw: Any, where: At) -> tuple[str, ...]:
        """Nodes that are named by id, in a list, by labels, or as all; in the order of the file."""
        ids = [node.id for node in self._nodes]
        if raw == "all":
            return tuple(ids)
        if isinstance(raw, Mapping):
            return self._labelled(raw, where)
        if isinstance(raw, list) and not raw:
            where.problem("names no node", found=raw, expected="an id, or remove the service")
        named: list[str] = []
        for index, item in enumerate(raw if isinstance(raw, list) else [raw]):
            one = where.sub(index) if isinstance(raw, list) else where
            value = plain(item)
            if value is None:
                one.problem("is no node", found=item, expected="the id of a node")
            elif value in named:
                one.problem("is named twice", found=value)
            elif value in ids:
                named.append(value)
            elif self._known:
                hint = "node: all stands alone" if value == "all" else ""
                one.problem(
                    "is no node of this file",
                    found=value,
                    expected="one of " + ", ".join(ids[:12]) + (", ..." if len(ids) > 12 else ""),
                    nearest=nearest(value, ids),
                    hint=hint,
                )
        return tuple(node for node in ids if node in named)

    def _labelled(self, raw: Mapping[str, Any], where: At) -> tuple[str, ...]:
        wanted = read_labels(raw, where)
        chosen = [n.id for n in self._nodes if wanted.items() <= n.labels.items()]
        if not wanted:
            where.problem("names no label", found=raw, expected="label: value, or all")
        elif not chosen and self._known:
            shown = ", ".join(f"{key}: {value}" for key, value in wanted.items())
            labels = {f"{k}: {v}" for n in self._nodes for k, v in n.labels.items()}
            where.problem(
                "fits no node",
                found=shown,
                expected="labels of a node",
                nearest=nearest(shown, sorted(labels)),
            )
        return tuple(chosen)


@dataclass(frozen=True)
class Names:
    """What a stack's things are called in the cluster.

    shared: networks, volumes -> engine name -> key of otto.yaml. What a stack calls external and
    otto.yaml defines is that one.
    """

    stack: str
    shared: Mapping[str, Mapping[str, str]]

    def service(self, name: str) -> str:
        """`<stack>-<service>`; the stack's own name where the service bears it."""
        return name if name == self.stack else f"{self.stack}-{name}"

    def key(self, kind: str, key: str, said: Mapping[str, Any]) -> str:
        """Key of a network, volume, secret or config in the cluster."""
        if said.get("external"):
            shared = self.shared.get(kind, {}).get(said.get("name", key))
            if shared is not None:
                return shared
        return f"{self.stack}_{key}"

    def declared(self, key: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """What the file says of a network or volume, with the engine name that compose gives."""
        usual = key if said.get("external") else f"{self.stack}_{key}"
        return {**said, "name": said.get("name", usual)}

    def _reference(self, line: str) -> str:
        """`service:alias` or `service:mode`; what names a container stays."""
        name, _, rest = line.partition(":")
        return line if name == "container" else f"{self.service(name)}:{rest}"

    def renamed(
        self, service: Service, objects: Mapping[str, Mapping[str, Mapping[str, Any]]]
    ) -> Service:
        """The service under the cluster's names. objects: kind -> key -> what the file says."""

        def key(kind: str, name: str) -> str:
            return self.key(kind, name, objects[kind].get(name, {}))

        spec = dict(service.spec)
        if "network_mode" not in spec:
            networks = spec.get("networks", {DEFAULT_NETWORK: {}})
            spec["networks"] = {key("networks", one): how for one, how in networks.items()}
        if "volumes" in spec:
            spec["volumes"] = [
                {**mount, "source": key("volumes", mount["source"])}
                if mount["type"] == "volume" and mount["source"] is not None
                else mount
                for mount in spec["volumes"]
            ]
        for kind in ("secrets", "configs"):
            if kind in spec:
                spec[kind] = [{**e, "source": key(kind, e["source"])} for e in spec[kind]]
        if "depends_on" in spec:
            waits = spec["depends_on"].items()
            spec["depends_on"] = {self.service(name): how for name, how in waits}
        for option in ("links", "volumes_from"):
            if option in spec:
                spec[option] = sorted(self._reference(line) for line in spec[option])
        for mode in ("network_mode", "ipc", "pid"):
            kind, colon, other = str(spec.get(mode, "")).partition(":")
            if kind == "service" and colon:
                spec[mode] = f"service:{self.service(other)}"
        return replace(service, spec=spec, name=self.service(service.name), alias=service.name)
