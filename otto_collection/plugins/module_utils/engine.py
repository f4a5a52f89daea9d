# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Otto does with Docker: it observes a node and carries out operations.

Only this file and its rooms (`transport`, `engine_images`, `engine_gate`, `engine_exec`) talk to
an engine.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from ansible_collections.otto.cluster.plugins.module_utils import policy_file
from ansible_collections.otto.cluster.plugins.module_utils.engine_exec import run as run_command
from ansible_collections.otto.cluster.plugins.module_utils.engine_gate import POLL, wait_for
from ansible_collections.otto.cluster.plugins.module_utils.engine_images import (
    ask,
    image,
    pull,
    remove_image,
    tag_image,
)
from ansible_collections.otto.cluster.plugins.module_utils.engine_networks import (
    replace as replace_network,
)
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    LABEL_ADOPTED,
    LABEL_CLUSTER,
    Engine,
    Observed,
    ObservedContainer,
    ObservedImage,
    ObservedObject,
    Policy,
    RegistryImage,
    Target,
)
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    Await,
    Connect,
    Create,
    CreateNetwork,
    CreateVolume,
    Disconnect,
    Exec,
    Operation,
    PullImage,
    Remove,
    RemoveImage,
    RemoveNetwork,
    RemoveVolume,
    Rename,
    ReplaceNetwork,
    Start,
    Stop,
    TagImage,
    Update,
)
from ansible_collections.otto.cluster.plugins.module_utils.option_engine import (
    api_at_least,
    joined,
)
from ansible_collections.otto.cluster.plugins.module_utils.plan_values import (
    SUFFIXES,
    replica_names,
)
from ansible_collections.otto.cluster.plugins.module_utils.policy_containers import others_of
from ansible_collections.otto.cluster.plugins.module_utils.policy_needs import containers_joined
from ansible_collections.otto.cluster.plugins.module_utils.transport import EngineError, Transport

Progress = Callable[[str], None]
Document = Mapping[str, Any]

_KERNEL_NEEDS = {
    "mem_limit": "MemoryLimit",
    "mem_reservation": "MemoryLimit",
    "memswap_limit": "SwapLimit",
    "cpus": "CpuCfsQuota",
    "cpu_shares": "CPUShares",
    "cpuset": "CPUSet",
    "pids_limit": "PidsLimit",
}
"""Option -> what GET /info says is false where the kernel cannot do it and the engine drops it."""


class DockerEngine(Transport):
    """An engine that can be observed and told what to do. May be used by several threads at once.

    See `Transport` for the arguments and errors.
    """

    also: Collection[str] = ()
    """Names of further containers to look at: those that are to be taken over."""
    remember_paths = False
    """Whether the agent may believe later what root sees now of where mounts lead."""

    # ---- observing

    def observe(self, target: Target) -> Observed:
        """Everything about this node that concerns this target. Changes nothing.

        Cost: one list each of containers, networks and volumes, then one inspect for each container
        and image that matters. What vanishes in between is left out.
        """
        containers = tuple(self._containers(target))
        references = {str(spec["image"]) for spec in target.services.values() if "image" in spec}
        images = {}
        for reference in sorted(references | {item.image_id for item in containers}):
            found = self.image(reference)
            if found is not None:
                images[reference] = found
        volumes = self.call("GET", "/volumes")["Volumes"] or ()
        networks = self.call("GET", "/networks")
        return Observed(
            containers=containers,
            images=images,
            networks=self._networks(target, networks),
            volumes=_objects(volumes, target.volumes, target.cluster),
            engine=self.describe(),
            policy=self._policy(target, volumes, networks),
            now=time.strftime("%Y-%m-%dT%H:%M:%S.999999999", time.gmtime()),
        )

    def ask(self, references: Collection[str]) -> dict[str, RegistryImage]:
        """What the registries have under these names now, asked side by side; nothing is pulled."""
        return ask(self, references)

    def image(self, reference: str) -> ObservedImage | None:
        """One image by name or id; None when it is not on the node."""
        return image(self, reference)

    def image_ids(self) -> frozenset[str]:
        """The ids of all images on the node."""
        return frozenset(row["Id"] for row in self.call("GET", "/images/json"))

    def images_in_use(self) -> dict[str, frozenset[str]]:
        """cluster -> ids of the images of its containers; "" for containers of no cluster."""
        found: dict[str, set[str]] = {}
        for row in self.call("GET", "/containers/json", params={"all": 1}):
            cluster = (row.get("Labels") or {}).get(LABEL_CLUSTER, "")
            found.setdefault(cluster, set()).add(row["ImageID"])
        return {cluster: frozenset(ids) for cluster, ids in found.items()}

    def _policy(
        self, target: Target, volumes: Collection[Document], networks: Collection[Document]
    ) -> Policy | None:
        """What the node's owner allows, and what there is to be judged by it."""
        policy = policy_file.read()
        if policy is None:
            return None
        containers: dict[str, Document] = {}
        asked = containers_joined(target)
        while asked:
            found = self.find("/containers/{}/json".format(quote(name := asked.pop(), safe="")))
            if found is not None:
                containers.update({name: found, found["Id"]: found})
                asked |= others_of(found) - set(containers)
        policy = replace(
            policy,
            volumes={volume["Name"]: volume for volume in volumes},
            networks={network["Name"]: network for network in networks},
            containers=containers,
        )
        return policy_file.look(
            policy, target, remember=self.remember_paths, recursive=self._reads_only()
        )

    def _reads_only(self) -> bool:
        """Whether a read-only mount is so with all that is mounted below it (Docker 25, and a
        kernel that can)."""
        engine = self.describe()
        found = re.match(r"(\d+)\.(\d+)", str(self._info.get("KernelVersion") or ""))
        kernel = (int(found[1]), int(found[2])) if found else (0, 0)
        return api_at_least(engine, 1, 44) and kernel >= (5, 12)

    def _networks(
        self, target: Target, networks: Collection[Document]
    ) -> dict[str, ObservedObject]:
        found = _objects(networks, target.networks, target.cluster)
        for name, network in found.items():
            if network.labels.get(LABEL_CLUSTER) == target.cluster:
                # Only this tells who is on it.
                document = self.find("/networks/{}".format(quote(network.inspect["Id"], safe="")))
                found[name] = replace(network, inspect=document or network.inspect)
        return found

    def describe(self) -> Engine:
        """What the engine says of itself."""
        version = self.call("GET", "/version")
        if not self._info:  # slow on small boards, and it does not change while we are connected
            self._info = self.call("GET", "/info")
        return Engine(
            version=version["Version"],
            api_version=self.api_version,
            architecture=version.get("Arch", ""),
            cgroup_version=str(self._info.get("CgroupVersion", "1")),
            without=tuple(
                option for option, key in _KERNEL_NEEDS.items() if self._info.get(key) is False
            ),
            defaults=_defaults(self._info),
            machine=str(self._info.get("Architecture") or ""),
        )

    def _containers(self, target: Target) -> Iterator[ObservedContainer]:
        wanted: set[str] = set()
        for service, spec in target.services.items():
            for name in replica_names(str(spec.get("container_name") or service), spec):
                wanted.update([name], (name + suffix for suffix in SUFFIXES))
            wanted.update(joined(spec))
        wanted.update(self.also)
        rows = self.call("GET", "/containers/json", params={"all": 1})
        mine = [row for row in rows if _labels(row).get(LABEL_CLUSTER) == target.cluster]
        adopted = {_labels(row).get(LABEL_ADOPTED) for row in mine}
        for row in rows:
            names = {name.rsplit("/", 1)[-1] for name in row.get("Names") or ()}
            if row in mine or names & wanted or row["Id"] in adopted:
                container = self.inspect(row["Id"])
                if container is not None:
                    yield container

    # ---- carrying out

    def execute(self, operation: Operation, progress: Progress | None = None) -> bool:
        """Carry out one operation. Returns whether the engine had to change anything.

        progress: called with lines about a long operation (pulling, waiting).
        Raises OttoError with the operation's line in its message.
        """
        try:
            method = self._DISPATCH[type(operation)]
        except KeyError:
            raise TypeError(f"no way to carry out {type(operation).__name__!r}") from None
        try:
            return method(self, operation, progress or _quiet)
        except EngineError as error:
            message = f"Could not {operation.line()}"
            if isinstance(operation, PullImage):
                message = f"Could not pull image {operation.reference}"
            if isinstance(operation, Await):
                what = "did not do its work" if operation.completed else "did not come up"
                message = f"Container {operation.container} {what}"
            if isinstance(operation, (Await, Exec)) and not operation.required:
                (progress or _quiet)(f"{message}: {error.cause}")
                return False
            failed = EngineError(message, cause=error.cause, next=error.next)
            failed.status = error.status
            failed.detail = error.detail
            raise failed from error

    def _create_network(self, operation: CreateNetwork, _progress: Progress) -> bool:
        body = {"CheckDuplicate": True, **operation.body, "Name": operation.name}
        try:
            self.call("POST", "/networks/create", body=body)
        except EngineError as error:
            found = self.find("/networks/{}".format(quote(operation.name, safe="")))
            labels = body.get("Labels") or {}
            if found is not None and (found.get("Labels") or {}) == labels:
                return False  # another run made it between our look and now
            raise error
        return True

    def _remove_network(self, operation: RemoveNetwork, _progress: Progress) -> bool:
        return self._unless_gone("DELETE", "/networks/{}".format(quote(operation.name, safe="")))

    def _create_volume(self, operation: CreateVolume, _progress: Progress) -> bool:
        self.call("POST", "/volumes/create", body={**operation.body, "Name": operation.name})
        return True

    def _remove_volume(self, operation: RemoveVolume, _progress: Progress) -> bool:
        return self._unless_gone("DELETE", "/volumes/{}".format(quote(operation.name, safe="")))

    def _create(self, operation: Create, _progress: Progress) -> bool:
        try:
            self.call(
                "POST",
                "/containers/create",
                params={"name": operation.container},
                body=operation.body,
            )
            return True
        except EngineError as error:
            if error.status not in (0, 409):
                raise
            # No answer in time, or the name is taken: the engine may have made it all the same,
            # now or in a run that was cut off. Names are ours and the labels say which spec it is.
            found = self.inspect(operation.container)
            labels = operation.body.get("Labels") or {}
            if (
                found is None
                or found.state != "created"
                or not labels.items() <= dict(found.labels).items()
            ):
                raise
            return error.status == 0

    def _start(self, operation: Start, _progress: Progress) -> bool:
        try:
            response = self.call("POST", _path(operation, "/start"), stream=True)
            response.close()
        except EngineError:
            found = self.inspect(operation.id or operation.container)
            if found is None or found.state != "paused":
                raise
            self.call("POST", f"/containers/{found.id}/unpause")
            return True
        return bool(response.status_code != 304)

    def _stop(self, operation: Stop, _progress: Progress) -> bool:
        # The engine answers when the container has ended, at the latest after its grace period.
        grace = operation.grace
        if grace is None:
            found = self.inspect(operation.id or operation.container)
            grace = found.grace if found is not None else 0
        return self._unless_gone("POST", _path(operation, "/stop"), timeout=grace + self.timeout)

    def _rename(self, operation: Rename, _progress: Progress) -> bool:
        try:
            return self._unless_gone(
                "POST", _path(operation, "/rename"), params={"name": operation.to}
            )
        except EngineError:
            found = self.inspect(operation.id or operation.container)
            if found is not None and found.name == operation.to:
                return False
            raise

    def _remove(self, operation: Remove, _progress: Progress) -> bool:
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                return self._unless_gone(
                    "DELETE",
                    _path(operation),
                    params={"force": int(operation.force), "v": int(operation.volumes)},
                )
            except EngineError as error:
                # Somebody else (or an earlier run) is removing it: done when it is gone.
                if "already in progress" not in error.detail or time.monotonic() > deadline:
                    raise
                time.sleep(POLL)

    def _update(self, operation: Update, _progress: Progress) -> bool:
        self.call("POST", _path(operation, "/update"), body=operation.settings)
        return True

    def _connect_network(self, operation: Connect, _progress: Progress) -> bool:
        reference = operation.id or operation.container
        try:
            self.call(
                "POST",
                "/networks/{}/connect".format(quote(operation.network, safe="")),
                body={"Container": reference, "EndpointConfig": dict(operation.config)},
            )
        except EngineError:
            if self._is_connected(reference, operation.network):
                return False
            raise
        return True

    def _disconnect_network(self, operation: Disconnect, _progress: Progress) -> bool:
        reference = operation.id or operation.container
        try:
            return self._unless_gone(
                "POST",
                "/networks/{}/disconnect".format(quote(operation.network, safe="")),
                body={"Container": reference, "Force": False},
            )
        except EngineError:
            if not self._is_connected(reference, operation.network):
                return False
            raise

    def _is_connected(self, container: str, network: str) -> bool:
        found = self.inspect(container)
        return found is not None and network in (
            found.inspect.get("NetworkSettings", {}).get("Networks") or {}
        )

    def _unless_gone(self, method: str, path: str, **how: Any) -> bool:
        """Ask; that it is not there any more is as good as done."""
        try:
            self.call(method, path, **how)
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    _DISPATCH: Mapping[type, Callable[[DockerEngine, Any, Progress], bool]] = {
        PullImage: pull,
        RemoveImage: remove_image,
        TagImage: tag_image,
        CreateNetwork: _create_network,
        RemoveNetwork: _remove_network,
        CreateVolume: _create_volume,
        RemoveVolume: _remove_volume,
        Create: _create,
        Start: _start,
        Stop: _stop,
        Rename: _rename,
        Remove: _remove,
        Update: _update,
        Connect: _connect_network,
        Disconnect: _disconnect_network,
        Await: wait_for,
        Exec: run_command,
        ReplaceNetwork: replace_network,
    }


# ---- helpers


def _defaults(info: Document) -> dict[str, str]:
    """What the engine gives to a container that does not say otherwise, by option."""
    found = {
        "logging": info.get("LoggingDriver"),
        "runtime": info.get("DefaultRuntime"),
        "cgroup": "private" if "name=cgroupns" in (info.get("SecurityOptions") or ()) else "host",
    }
    return {option: str(value) for option, value in found.items() if value}


def _labels(row: Document) -> Mapping[str, str]:
    return row.get("Labels") or {}


def _quiet(_text: str) -> None:
    pass


def _path(operation: Any, action: str = "") -> str:
    return "/containers/{}{}".format(quote(operation.id or operation.container, safe=""), action)


def _objects(
    documents: Iterable[Document], wanted: Mapping[str, Mapping[str, Any]], cluster: str
) -> dict[str, ObservedObject]:
    names = {str(value.get("name", key)) for key, value in wanted.items()}
    found = {}
    for document in documents:
        labels = document.get("Labels") or {}
        if document["Name"] in names or labels.get(LABEL_CLUSTER) == cluster:
            found[document["Name"]] = ObservedObject(document["Name"], labels, document)
    return found
