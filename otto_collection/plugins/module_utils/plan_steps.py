# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations that a container goes through: made, started, proved, connected. Pure."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import Any

from .model import LABEL_ADOPTED, Observed, ObservedContainer, Spec
from .operations import Await, Connect, Create, Disconnect, Exec, Operation, Start, Stop
from .option_sides_net import endpoint, in_order
from .option_sides_process import DEFAULT_RESTART, effective_health
from .option_sides_storage import ANONYMOUS
from .option_table import OPTIONS
from .plan_compare import hide, secret_names
from .plan_values import Wanted

SETTLE = 2.0
"""Seconds that a container without a healthcheck has to stay up before the one that it replaces is
given up."""
FRESH = 0.3
"""The same where there is nothing to put back: it is looked at once more when all is done."""

_SECOND = 10**9


class Steps:
    """What is done to the containers of one service."""

    def __init__(self, wanted: Wanted, observed: Observed) -> None:
        self.wanted = wanted
        self.observed = observed

    # A container that is made and started.

    def staged(self) -> Wanted:
        """The same without aliases: who is to prove itself first is not found under them yet."""
        spec = dict(self.wanted.spec)
        if "networks" in spec:
            spec["networks"] = {
                network: {key: value for key, value in given.items() if key != "aliases"}
                for network, given in spec["networks"].items()
            }
        return replace(self.wanted, spec=spec)

    def make(self, name: str, body: dict[str, Any], replaces: str = "") -> list[Operation]:
        spec = self.wanted.spec
        steps: list[Operation] = [Create(name, spec["image"], body, replaces)]
        for network in in_order(spec.get("networks", {}))[1:]:
            steps.append(Connect(name, network, endpoint(spec["networks"][network])))
        return steps

    def make_staged(self, name: str, body: dict[str, Any], replaces: str) -> list[Operation]:
        steps: list[Operation] = [Create(name, self.wanted.spec["image"], body, replaces)]
        networks = self.staged().spec.get("networks", {})
        for network in sorted(networks)[1:]:
            steps.append(Connect(name, network, endpoint(networks[network]), fresh=True))
        return steps

    def start(
        self, name: str, container_id: str, settle: float = SETTLE, failed: str = ""
    ) -> list[Operation]:
        if not self.wanted.running:
            return []
        return [Start(name, container_id, failed), *self.prove(name, container_id, settle)]

    def prove(self, name: str, container_id: str, settle: float = SETTLE) -> list[Operation]:
        """What follows on its start: its post_start commands, and the gate."""
        hooks = hook_steps("post_start", self.wanted.spec, name, container_id)
        return [*hooks, self.gate(name, container_id, settle)]

    def stop(self, container: ObservedContainer) -> list[Operation]:
        return stop_steps(container, self.wanted)

    def gate(self, name: str, container_id: str, settle: float) -> Await:
        spec = self.wanted.spec
        image = self.observed.images.get(spec["image"])
        health = effective_health(spec, image.config if image is not None else {})
        may_exit = spec.get("restart", DEFAULT_RESTART).startswith(("no", "on-failure"))
        if not health.get("Test") or health["Test"] == ["NONE"]:
            return Await(name, False, settle, 60.0, may_exit, container_id)
        interval = health.get("Interval") or 30 * _SECOND
        timeout = health.get("Timeout") or 30 * _SECOND
        rounds = (health.get("Retries") or 3) * (interval + timeout)
        longest = (health.get("StartPeriod", 0) + rounds) / _SECOND + 10
        return Await(name, True, settle, float(longest), may_exit, container_id)

    def reconnect(self, current: ObservedContainer) -> list[Operation]:
        name, spec = self.wanted.name, self.wanted.spec
        there = (current.inspect.get("NetworkSettings") or {}).get("Networks") or {}
        side = OPTIONS["networks"].side
        expected = side.expected(spec, {}, self.observed.engine)
        observed = side.observed(current.inspect)
        steps: list[Operation] = []

        def drop(network: str) -> Disconnect:
            had = there[network] or {}
            config = {
                k: had[k] for k in ("Aliases", "IPAMConfig", "Links", "DriverOpts") if had.get(k)
            }
            return Disconnect(name, network, config, current.id)

        for network in sorted(expected):
            if observed.get(network) != expected[network]:
                if network in observed:
                    steps.append(drop(network))
                config = endpoint(spec.get("networks", {}).get(network, {}))
                steps.append(Connect(name, network, config, current.id))
        # Only now: a container is never without a network in between.
        return steps + [drop(network) for network in sorted(set(observed) - set(expected))]

    def admit(self, name: str, there: ObservedContainer | None) -> list[Operation]:
        """Connect a staged container anew, with its aliases: from now on it has its share of what
        comes in. there: the container, where it is one that stands already."""
        spec = self.wanted.spec
        side = OPTIONS["networks"].side
        expected = side.expected(spec, {}, self.observed.engine)
        staged = side.expected(self.staged().spec, {}, self.observed.engine)
        observed = staged if there is None else side.observed(there.inspect)
        container_id = "" if there is None else there.id
        steps: list[Operation] = []
        for network in sorted(spec.get("networks", {})):
            if observed.get(network) == expected[network]:
                continue
            if network in observed:
                steps.append(Disconnect(name, network, {}, container_id, fresh=True))
            config = endpoint(spec["networks"][network])
            steps.append(Connect(name, network, config, container_id, fresh=True))
        if steps:
            steps.append(Await(name, False, FRESH, 60.0, False, container_id))
        return steps

    def carried(self, body: dict[str, Any], current: ObservedContainer) -> dict[str, Any]:
        """The body with the old container's anonymous volumes: their data outlive a replacement."""
        if current.by_hand:
            body["Labels"] = {**body.get("Labels", {}), LABEL_ADOPTED: current.id}
        image = self.observed.images.get(self.wanted.spec["image"])
        paths = {
            posixpath.normpath(p) for p in (image.config.get("Volumes") if image else {}) or ()
        }
        named = {volume["target"] for volume in self.wanted.spec.get("volumes", ())}
        free = paths - named - set(self.wanted.spec.get("tmpfs", ()))
        host = body.setdefault("HostConfig", {})
        mounts = [dict(mount) for mount in host.get("Mounts", ())]
        asked = {m["Target"]: m for m in mounts if m["Type"] == "volume" and "Source" not in m}
        for mount in current.inspect.get("Mounts") or ():
            if mount["Type"] != "volume" or not ANONYMOUS.fullmatch(mount.get("Name") or ""):
                continue
            if mount["Destination"] in asked:
                asked[mount["Destination"]]["Source"] = mount["Name"]
            elif mount["Destination"] in free:
                kept = {"Type": "volume", "Source": mount["Name"], "Target": mount["Destination"]}
                mounts.append(kept)
        if mounts:
            host["Mounts"] = mounts
        return body


def hook_steps(
    hook: str, spec: Spec, name: str, container_id: str, *, required: bool = True
) -> list[Operation]:
    """One operation for each command of `post_start` or `pre_stop`."""
    steps: list[Operation] = []
    for number, command in enumerate(spec.get(hook, ()), 1):
        body: dict[str, Any] = {"Cmd": list(command["command"])}
        for key, engine_key in (("user", "User"), ("working_dir", "WorkingDir")):
            if command.get(key):
                body[engine_key] = command[key]
        if command.get("privileged"):
            body["Privileged"] = True
        environment = command.get("environment") or {}
        if environment:
            body["Env"] = [f"{key}={value}" for key, value in sorted(environment.items())]
        steps.append(Exec(name, hook, number, body, container_id, required))
    return steps


def stop_steps(container: ObservedContainer, wanted: Wanted | None = None) -> list[Operation]:
    """Its own pre_stop commands (those that it was made with), then the stop."""
    applied: Spec = container.applied or {}
    secret = secret_names(wanted, applied) if wanted is not None else ()
    if wanted is not None and (
        hide(wanted.spec, secret).get("pre_stop") == hide(applied, secret).get("pre_stop")
    ):
        applied = wanted.spec  # the same, with the values that the label only has digests of
    hooks: list[Operation] = []
    if container.state == "running":
        hooks = hook_steps("pre_stop", applied, container.name, container.id, required=False)
    return [*hooks, Stop(container.name, container.id, container.grace)]
