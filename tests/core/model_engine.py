# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine in memory that carries out operations as Docker does, as far as the plan can tell."""

from __future__ import annotations

import itertools
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils import operations as op
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    Engine,
    NodeFiles,
    Observed,
    ObservedContainer,
    ObservedImage,
    ObservedObject,
    Target,
)
from ansible_collections.otto.cluster.plugins.module_utils.plan import Plan, ServicePlan, plan


class Killed(Exception):
    """The process that carries out the plan has ended here."""


class Failed(Exception):
    """The engine says no."""


class ModelEngine:
    """images: reference -> (id, Config). registry: what a pull brings. bad: image ids that never
    come up. A budget counts the operations left until `Killed`."""

    def __init__(self, images: dict[str, tuple[str, dict[str, Any]]]) -> None:
        self.images = dict(images)
        self.by_id = dict(images.values())
        self.registry: dict[str, tuple[str, dict[str, Any]]] = dict(images)
        self.containers: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.bad_commands: set[str] = set()
        self.files: list[str] = []
        self.budget: int | None = None
        self.log: list[str] = []
        self.found: dict[str, list[bool]] = {}
        """alias -> after each operation, whether a proved container was found under it."""
        self.bad_hooks: set[str] = set()
        self._clock = itertools.count(1)
        self._ids = (
            f"{n:064x}" for n in itertools.count(0xABC0000000000000000000000000000000000000000)
        )

    # what is seen

    def observe(self) -> Observed:
        return Observed(
            tuple(self._observed(name) for name in sorted(self.containers)),
            {
                **{ref: ObservedImage(i, "amd64", c) for ref, (i, c) in self.images.items()},
                **{i: ObservedImage(i, "amd64", c) for i, c in self.by_id.items()},
            },
            {n: ObservedObject(n, b.get("Labels", {}), b) for n, b in self.networks.items()},
            {n: ObservedObject(n, b.get("Labels", {}), b) for n, b in self.volumes.items()},
            Engine("20.10.24", "1.41", "amd64", "1"),
            files=NodeFiles(names=tuple(self.files)),
        )

    def _observed(self, name: str) -> ObservedContainer:
        c = self.containers[name]
        return ObservedContainer(
            id=c["Id"],
            name=name,
            state=c["State"],
            exit_code=c["ExitCode"],
            health=None,
            image=c["Config"]["Image"],
            image_id=c["Image"],
            labels=c["Config"]["Labels"],
            inspect={**c, "State": {"Status": c["State"], "StartedAt": c["StartedAt"]}},
        )

    # what is done

    def execute(self, operation: op.Operation) -> None:
        if self.budget is not None:
            if self.budget == 0:
                raise Killed
            self.budget -= 1
        self.log.append(operation.line())
        getattr(self, "_" + operation.op)(operation)
        for alias, seen in self.found.items():
            seen.append(any(c["Proved"] for c in self.serving(alias)))

    def serving(self, alias: str) -> list[dict[str, Any]]:
        """Containers that answer under an alias on some network."""
        return [
            c
            for c in self.containers.values()
            if c["State"] == "running"
            and any(
                alias in (end["Aliases"] or ()) for end in c["NetworkSettings"]["Networks"].values()
            )
        ]

    def _now(self) -> str:
        return f"2026-01-01T00:00:00.{next(self._clock):09d}Z"

    def _find(self, operation: Any) -> str | None:
        if operation.id:
            return next((n for n, c in self.containers.items() if c["Id"] == operation.id), None)
        return operation.container if operation.container in self.containers else None

    def _need(self, operation: Any) -> dict[str, Any]:
        name = self._find(operation)
        if name is None:
            raise Failed(f"no such container: {operation.container}")
        return self.containers[name]

    def _pull(self, operation: op.PullImage) -> None:
        if operation.reference not in self.registry:
            raise Failed("not found")
        self.images[operation.reference] = self.registry[operation.reference]
        image_id, config = self.registry[operation.reference]
        self.by_id[image_id] = config

    def _put_file(self, operation: op.PutFile) -> None:
        self.files.append(operation.name)

    def _create_network(self, operation: op.CreateNetwork) -> None:
        if operation.name in self.networks:
            raise Failed("network exists")
        self.networks[operation.name] = {**operation.body, "Id": next(self._ids)}

    def _replace_network(self, operation: op.ReplaceNetwork) -> None:
        self.networks[operation.name] = {**operation.body, "Id": next(self._ids)}
        for container in self.containers.values():
            if container["Id"] in operation.config:
                self._join(container, operation.name, operation.config[container["Id"]])

    def _remove_network(self, operation: op.RemoveNetwork) -> None:
        for c in self.containers.values():
            if operation.name in c["NetworkSettings"]["Networks"]:
                raise Failed("network has active endpoints")
        self.networks.pop(operation.name, None)

    def _create_volume(self, operation: op.CreateVolume) -> None:
        self.volumes[operation.name] = dict(operation.body)

    def _remove_volume(self, operation: op.RemoveVolume) -> None:
        self.volumes.pop(operation.name, None)

    def _create(self, operation: op.Create) -> None:
        body = operation.body
        if operation.container in self.containers:
            raise Failed("name is taken")
        if body["Image"] not in self.images:
            raise Failed("no such image")
        image_id, image = self.images[body["Image"]]
        cid = next(self._ids)
        host = dict(body.get("HostConfig", {}))
        host.setdefault("NetworkMode", "default")
        for key in ("NetworkMode", "IpcMode", "PidMode"):
            kind, _, whose = host.get(key, "").partition(":")
            if kind == "container":  # the engine keeps the id
                if whose not in self.containers:
                    raise Failed(f"no such container: {whose}")
                host[key] = f"container:{self.containers[whose]['Id']}"
        host.setdefault("IpcMode", "private")
        host.setdefault("ShmSize", 67108864)
        host.setdefault("LogConfig", {"Type": "json-file", "Config": {}})
        host.setdefault("PidsLimit", None)
        if host.get("Memory") and not host.get("MemorySwap"):
            host["MemorySwap"] = 2 * host["Memory"]
        env = {**_pairs(image.get("Env")), **_pairs(body.get("Env"))}
        entrypoint = body.get("Entrypoint", image.get("Entrypoint"))
        cmd = body.get("Cmd") or (None if body.get("Entrypoint") else image.get("Cmd"))
        mounts = []
        for bind in host.get("Binds") or ():
            source, target, mode = bind.split(":")
            mounts.append(
                {"Type": "bind", "Source": source, "Destination": target, "Mode": mode,
                 "RW": "ro" not in mode.split(","), "Propagation": "rprivate"}
            )  # fmt: skip
        for m in host.get("Mounts") or ():
            name = m.get("Source") or next(self._ids)
            mounts.append(
                {"Type": m["Type"], "Name": name, "Source": name, "Destination": m["Target"],
                 "RW": not m.get("ReadOnly"), "Mode": "" if m["Type"] == "bind" else "z"}
            )  # fmt: skip
        for path in image.get("Volumes") or {}:
            if path not in [m["Destination"] for m in mounts]:
                mounts.append(
                    {"Type": "volume", "Name": next(self._ids), "Destination": path, "RW": True}
                )
        self.containers[operation.container] = {
            "Id": cid,
            "Image": image_id,
            "State": "created",
            "ExitCode": 0,
            "RestartCount": 0,
            "Created": self._now(),
            "StartedAt": "",
            "Proved": False,
            "HostConfig": host,
            "Mounts": mounts,
            "Config": {
                **{k: v for k, v in body.items() if k not in ("HostConfig", "NetworkingConfig")},
                "Image": body["Image"],
                "Hostname": body.get("Hostname", cid[:12]),
                "Env": [f"{k}={v}" for k, v in env.items()],
                "Cmd": cmd,
                "Entrypoint": None if entrypoint == [""] else entrypoint,
                "User": body.get("User", image.get("User", "")),
                "WorkingDir": body.get("WorkingDir", image.get("WorkingDir", "")),
                "Labels": {**(image.get("Labels") or {}), **body.get("Labels", {})},
                "Healthcheck": body.get("Healthcheck", image.get("Healthcheck")),
                "StopSignal": body.get("StopSignal", image.get("StopSignal")),
            },
            "NetworkSettings": {"Networks": {}},
        }
        ends = body.get("NetworkingConfig", {}).get("EndpointsConfig", {})
        assert len(ends) <= 1, "engines before API 1.44 take one network at creation"
        mode = "bridge" if host["NetworkMode"] == "default" else host["NetworkMode"]
        if not mode.startswith("container:"):
            self._join(self.containers[operation.container], mode, ends.get(mode, {}))

    def _join(self, container: dict[str, Any], network: str, config: Any) -> None:
        builtin = network in ("bridge", "host", "none")
        if network not in self.networks and not builtin:
            raise Failed(f"network {network} not found")
        aliases = None if builtin else [*config.get("Aliases", ()), container["Id"][:12]]
        container["NetworkSettings"]["Networks"][network] = {
            "Aliases": aliases,
            "IPAMConfig": config.get("IPAMConfig"),
            "Links": config.get("Links"),
            "NetworkID": self.networks.get(network, {}).get("Id", ""),
        }

    def _start(self, operation: op.Start) -> None:
        container = self._need(operation)
        for other in self.containers.values():
            if other is not container and other["State"] == "running":
                ports = container["HostConfig"].get("PortBindings") or {}
                if ports and ports == other["HostConfig"].get("PortBindings"):
                    raise Failed("port is already allocated")
        if container["State"] != "running":
            container["State"], container["StartedAt"] = "running", self._now()

    def _exec(self, operation: op.Exec) -> None:
        container = self._need(operation)
        if container["State"] != "running":
            raise Failed("container is not running")
        if set(operation.body["Cmd"]) & self.bad_hooks and operation.required:
            raise Failed("exit code 1")
        container.setdefault("Hooks", []).append(operation.hook)

    def _stop(self, operation: op.Stop) -> None:
        container = self._need(operation)
        if container["State"] != "created":
            container["State"], container["ExitCode"] = "exited", 143
            container["Proved"] = False

    def _rename(self, operation: op.Rename) -> None:
        name = self._find(operation)
        if name is None or name == operation.to:
            return
        if operation.to in self.containers:
            raise Failed("name is taken")
        self.containers[operation.to] = self.containers.pop(name)

    def _remove(self, operation: op.Remove) -> None:
        name = self._find(operation)
        if name is not None:
            del self.containers[name]

    def _update(self, operation: op.Update) -> None:
        self._need(operation)["HostConfig"].update(operation.settings)

    def _connect(self, operation: op.Connect) -> None:
        self._join(self._need(operation), operation.network, operation.config)

    def _disconnect(self, operation: op.Disconnect) -> None:
        self._need(operation)["NetworkSettings"]["Networks"].pop(operation.network, None)

    def _await(self, operation: op.Await) -> None:
        try:
            container = self._need(operation)
        except Failed:
            if operation.required:
                raise
            return
        words = set(container["Config"]["Cmd"] or ())
        if operation.completed and container["State"] == "running" and not words & {"bad"}:
            container["State"] = "exited"  # its work is done by now
        elif container["State"] != "running" or words & self.bad_commands:
            if not (operation.completed or operation.may_exit) or container["ExitCode"] != 0:
                container["State"], container["ExitCode"] = "exited", 1
                container["Proved"] = False
                if operation.required:
                    raise Failed("did not come up")
            return
        container["Proved"] = True

    # carrying out a plan as docs say

    def carry_out(self, target: Target, **options: Any) -> tuple[Plan, dict[str, str]]:
        """One pass. Returns the plan and what failed, by service."""
        whole = plan(target, self.observe(), **options)
        errors: dict[str, str] = {}
        for step in whole.before:
            self.execute(step)
        for service in whole.services:
            if service.pulls:
                blocked = {}
                try:
                    for step in service.pulls:
                        self.execute(step)
                except Failed as error:
                    blocked = {service.service: str(error)}
                service = plan(
                    target, self.observe(),
                    **{**options, "services": {service.service}, "blocked": blocked},
                ).services[0]  # fmt: skip
            if service.error is not None:
                errors[service.service] = service.error.message
            if errors.keys() & set(service.needs):
                errors[service.service] = "what it needs has failed"
                continue
            self.carry_out_service(service, errors)
        for step in whole.after:
            self.execute(step)
        return whole, errors

    def carry_out_service(self, service: ServicePlan, errors: dict[str, str]) -> None:
        failed: set[str] = set()
        for part, indices in service.runs():
            for index in () if part.is_held_up(failed) else indices:
                try:
                    self.execute(service.operations[index])
                except Failed as error:
                    errors[service.service] = str(error)
                    failed.add(part.verdict)
                    for back in service.undo(index):
                        self.execute(back)
                    break


def _pairs(lines: Any) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in lines or ())
