# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one service needs: its spec and the containers that are there give operations. Pure.

A replacement keeps the old container until the new one has proved itself:

    create <name>.otto-new · stop old · rename old to <name>.otto-old · rename new to <name> ·
    start · await · remove old

It may be interrupted between any two of them, and so may its undoing. What is found then is told by
name and label: which container is the one to keep (*current*) and which the one to come (*fresh*).
Steps that are behind are kept as `resumed`, so that a failure later still leads back.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .model import (
    LABEL_CLUSTER,
    LABEL_REVISION,
    LABEL_SERVICE,
    LABEL_SPEC,
    Change,
    Observed,
    ObservedContainer,
    Spec,
    canonical_json,
    digest,
)
from .operations import (
    Await,
    Connect,
    Create,
    Disconnect,
    Operation,
    PullImage,
    Remove,
    Rename,
    Start,
    Stop,
    Update,
)
from .option_engine import ANONYMOUS, DEFAULT_RESTART, effective_health, endpoint
from .options import OPTIONS, create_payload, differences

NEW, OLD, FAILED = ".otto-new", ".otto-old", ".otto-failed"
SUFFIXES = (NEW, OLD, FAILED)
HIDDEN = "(hidden)"
SETTLE = 2.0
"""Seconds that a container without a healthcheck has to stay up to count as serving."""

_SECOND = 10**9


@dataclass(frozen=True)
class Trouble:
    """Why something cannot be done: what, why, and the next command to type. service: "" = node."""

    message: str
    cause: str = ""
    next: str = ""
    service: str = ""

    def to_json(self) -> dict[str, str]:
        return {
            "service": self.service,
            "message": self.message,
            "cause": self.cause,
            "next": self.next,
        }


@dataclass(frozen=True)
class ServicePlan:
    """What one service needs.

    verdict: up_to_date | create | update | recreate | start | stop | remove.
    pulls: to be done first; afterwards observe again and plan this service again
    (`services={name}`, with `blocked={name: why}` if a pull failed), then carry out `operations`.
    operations: in order. resumed: those that an interrupted run has carried out already; they are
    only there to be undone with the rest.
    after: services whose plans are to be carried out before this one's (depends_on).
    error: why the service cannot be brought to its target; the operations are still to be done
    (they put back what serves).
    """

    service: str
    verdict: str
    changes: tuple[Change, ...] = ()
    operations: tuple[Operation, ...] = ()
    pulls: tuple[PullImage, ...] = ()
    resumed: tuple[Operation, ...] = ()
    after: tuple[str, ...] = ()
    error: Trouble | None = None

    def undo(self, index: int) -> tuple[Operation, ...]:
        """What to carry out when `operations[index]` has failed, in order.

        Empty when nothing is to be undone: a created or started container stays as it is (it is
        what the file asks for), and a failure while tidying up takes back no good replacement.
        An undo that fails in its turn is reported, and the next ones are still carried out.
        """
        failed = self.operations[index]
        if self.verdict not in ("recreate", "update") or isinstance(failed, Remove):
            return ()
        done = [*self.resumed, *self.operations[:index]]
        if not isinstance(failed, Rename):
            # It may have been done in part, or its answer lost. Not so a rename, and what stands
            # under that name may be someone else's.
            done.append(failed)
        return tuple(step for operation in reversed(done) for step in operation.undo())

    def lines(self) -> tuple[str, ...]:
        """One head line, then the changes and the operations, indented; () if there is nothing."""
        if not (self.operations or self.pulls or self.changes or self.error):
            return ()
        result = [f"{self.service}: {self.verdict.replace('_', ' ')}"]
        result += [f"  ~ {change.line()}" for change in self.changes]
        result += [f"  > {step.line()}" for step in (*self.pulls, *self.operations)]
        if self.error is not None:
            result.append(f"  ! {self.error.message}")
            result += [f"    {text}" for text in (self.error.cause, self.error.next) if text]
        return tuple(result)

    def to_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "verdict": self.verdict,
            "changes": [
                {"key": c.key, "old": c.old, "new": c.new, "why": c.why} for c in self.changes
            ],
            "pulls": [step.to_json() for step in self.pulls],
            "operations": [step.to_json() for step in self.operations],
            "after": list(self.after),
            "error": self.error.to_json() if self.error is not None else None,
        }


@dataclass(frozen=True)
class Wanted:
    """A service as it must be. spec: resolved (networks and volumes have their engine names).

    cluster: None for a container that belongs to none. previous: resolved spec of the target before
    this apply; None where there is none. running: False for a container that is to stand still.
    others: names of all services of the target.
    """

    service: str
    name: str
    spec: Spec
    labels: Mapping[str, str]
    cluster: str | None
    sensitive: tuple[str, ...] = ()
    previous: Spec | None = None
    running: bool = True
    others: tuple[str, ...] = ()


def hide(spec: Spec, sensitive: tuple[str, ...]) -> dict[str, Any]:
    """The spec with `sha256:<12 hex>` for each sensitive environment value."""
    result = dict(spec)
    if "environment" in result:
        result["environment"] = {
            key: _hash(value) if key in sensitive else value
            for key, value in result["environment"].items()
        }
    return result


def _hash(value: str) -> str:
    text = value.encode("utf-8", "surrogatepass")
    return value if _hashed(value) else "sha256:" + hashlib.sha256(text).hexdigest()[:12]


def _hashed(value: str) -> bool:
    head, _, rest = value.partition(":")
    return head == "sha256" and len(rest) == 12 and set(rest) <= set("0123456789abcdef")


def own_labels(
    cluster: str | None, service: str, spec: Spec, sensitive: tuple[str, ...] = ()
) -> dict[str, str]:
    """The io.otto.* labels of a container. spec: resolved."""
    labels = {
        LABEL_SERVICE: service,
        LABEL_REVISION: digest(spec),
        LABEL_SPEC: canonical_json(hide(spec, sensitive)),
    }
    return {LABEL_CLUSTER: cluster, **labels} if cluster is not None else labels


def create_body(wanted: Wanted) -> dict[str, Any]:
    """Body of POST /containers/create: the spec's payload and Otto's labels."""
    body = create_payload(wanted.spec)
    body["Labels"] = {**body.get("Labels", {}), **wanted.labels}
    return body


# --- comparing -----------------------------------------------------------------------------------


def compare(
    wanted: Wanted, container: ObservedContainer, observed: Observed
) -> dict[str, list[Change]]:
    """option -> its changes; empty for a container that is as it must be."""
    own_image = observed.images.get(container.image_id)
    config = own_image.config if own_image is not None else None
    applied = container.applied
    hidden = hide(wanted.spec, wanted.sensitive)
    before = wanted.previous if wanted.previous is not None else applied
    before = hide(before, wanted.sensitive) if before is not None else None
    found: dict[str, list[Change]] = {}
    if config is None and applied is not None:
        # Only the label can tell then; it has digests for the sensitive values.
        wanted_spec: Spec = hidden
    else:
        wanted_spec = wanted.spec
    delta = differences(wanted_spec, container.inspect, config, observed.engine, applied)
    for name, keys in delta.items():
        side = OPTIONS[name].side
        now = side.expected(hidden, config or {}, observed.engine)
        then = side.expected(before, config or {}, observed.engine) if before is not None else {}
        for key, (old, new) in keys.items():
            drift = before is not None and then.get(key) == now.get(key)
            if name == "environment" and key in wanted.sensitive:
                old, new = (HIDDEN if text is not None else None for text in (old, new))
            label = f"{name}.{key}" if key else name
            found.setdefault(name, []).append(Change(label, old, new, "drift" if drift else "file"))
    local = observed.images.get(wanted.spec["image"])
    if "image" not in found and local is not None and local.id != container.image_id:
        old, new = (f"{wanted.spec['image']} ({_short(i)})" for i in (container.image_id, local.id))
        found["image"] = [Change("image", old, new, "image")]
    for network, end in (
        (container.inspect.get("NetworkSettings") or {}).get("Networks") or {}
    ).items():
        known = observed.networks.get(network)
        ids = ((end or {}).get("NetworkID"), known.inspect.get("Id") if known is not None else None)
        if all(ids) and ids[0] != ids[1]:
            # Removed and made anew under the same name: the container cannot start on it again.
            change = Change(
                f"networks.{network}", "a network that is gone", "the one there is", "drift"
            )
            found.setdefault("network_mode", []).append(change)
    return found


def _short(image_id: str) -> str:
    return image_id.partition(":")[2][:12] or image_id[:12]


def _flat(changes: Mapping[str, list[Change]]) -> tuple[Change, ...]:
    return tuple(change for name in changes for change in changes[name])


# --- planning ------------------------------------------------------------------------------------


class _Planner:
    """One service's plan in the making: what is there, sorted by what it is for."""

    def __init__(self, wanted: Wanted, observed: Observed) -> None:
        self.wanted = wanted
        self.observed = observed
        self.names = {container.name: container for container in observed.containers}
        self.mine = [c for c in observed.containers if self._is_mine(c)]
        self.resumed: list[Operation] = []
        self.first: list[Operation] = []
        """Leftovers that are in the way."""
        self.last: list[Operation] = []
        """Leftovers that may go once all is well."""

    def _is_mine(self, container: ObservedContainer) -> bool:
        wanted = self.wanted
        if container.cluster != wanted.cluster or container.service is None:
            return False
        if container.service == wanted.service:
            return True
        # A service that is no more in the file leaves its container's name to its successor.
        return container.name == wanted.name and container.service not in wanted.others

    def find(self, suffix: str = "") -> ObservedContainer | None:
        name = self.wanted.name + suffix
        return next((c for c in self.mine if c.name == name), None)

    def clash(self) -> Trouble | None:
        for suffix in ("", *SUFFIXES):
            other = self.names.get(self.wanted.name + suffix)
            if other is None or other in self.mine:
                continue
            whose = "is not Otto's"
            if other.cluster is not None and other.cluster != self.wanted.cluster:
                whose = f"belongs to cluster {other.cluster}"
            elif other.service is not None:
                whose = f"belongs to service {other.service}"
            return Trouble(
                f"container {other.name} exists and {whose}",
                "Otto touches no container that it has not made for this service: remove it,"
                " rename the service, or set container_name",
                f"docker rm -f {other.name}",
                self.wanted.service,
            )
        return None

    def plan(self, refresh: bool, retry_failed: bool, blocked: str | None) -> ServicePlan:
        wanted, name = self.wanted, self.wanted.name
        trouble = self.clash()
        if trouble is not None:
            return ServicePlan(wanted.service, "up_to_date", error=trouble)
        main, old, new, failed = (self.find(s) for s in ("", OLD, NEW, FAILED))
        strays = [c for c in self.mine if c not in (main, old, new, failed)]
        current = main
        if main is not None and main.state in ("dead", "removing"):
            self.first.append(Remove(name, main.id, force=True))
            main = current = None
        if main is not None and old is not None:
            if not compare(wanted, main, self.observed):
                return self._finish(main, old, new, failed)
            if _serves(main):
                self.first.append(Remove(old.name, old.id, force=True))
            else:
                self.first.append(Remove(name, main.id, force=True))
                current = old
        elif main is None:
            current = old
            plain = [c for c in strays if not c.name.endswith(SUFFIXES)]
            if current is None and plain:  # container_name has changed
                current = plain[0]
                strays.remove(current)
        if failed is not None:
            self.last.append(Remove(failed.name, failed.id, force=True, volumes=True))
        self.last += [Remove(c.name, c.id, force=True) for c in strays]

        if current is None:
            if new is not None:
                self.first.append(Remove(new.name, new.id, force=True, volumes=True))
            return self._gated(self._create(), None, failed, refresh, retry_failed, blocked)
        changes = compare(wanted, current, self.observed)
        if current.state == "paused":
            state = Change("state", "paused", "running", "drift")
            changes = {**changes, "state": [state]}
        moved = current.name not in (name, name + OLD)
        if moved:
            change = Change("container_name", current.name, name, "file")
            changes = {**changes, "container_name": [change]}
        if not changes or self._in_place(changes, current):
            if new is not None:
                self.first.append(Remove(new.name, new.id, force=True, volumes=True))
            return replace(self._keep(current, changes), pulls=self._refresh(refresh))
        result = self._replace(current, new, changes)
        return self._gated(result, current, failed, refresh, retry_failed, blocked)

    # The pieces.

    def _refresh(self, refresh: bool) -> tuple[PullImage, ...]:
        image = self.wanted.spec["image"]
        if refresh and self.wanted.spec.get("pull_policy") == "always":
            return (PullImage(image, always=image in self.observed.images),)
        return ()

    def _gated(
        self,
        result: ServicePlan,
        current: ObservedContainer | None,
        failed: ObservedContainer | None,
        refresh: bool,
        retry_failed: bool,
        blocked: str | None,
    ) -> ServicePlan:
        """The plan that makes a container, or why not, with what puts the old one back."""
        wanted = self.wanted
        image = wanted.spec["image"]
        pulls = self._refresh(refresh)
        trouble: Trouble | None = None
        if blocked is not None:
            trouble = Trouble(blocked, service=wanted.service)
        elif not retry_failed and failed is not None and current is not None:
            if failed.labels.get(LABEL_REVISION) == wanted.labels[LABEL_REVISION]:
                trouble = Trouble(
                    f"{wanted.service} did not come up with this change; the old container serves",
                    f"what failed is kept as {failed.name}",
                    f"docker logs {failed.name}",
                    wanted.service,
                )
        elif image not in self.observed.images and wanted.spec.get("pull_policy") == "never":
            trouble = Trouble(
                f"image {image} is not on the node, and pull_policy is never",
                next=f"docker pull {image}",
                service=wanted.service,
            )
        if trouble is not None:
            steps = self._put_back(current) if current is not None else []
            return replace(result, operations=tuple(steps), resumed=(), error=trouble)
        if image not in self.observed.images:
            pulls = (PullImage(image),)
        return replace(result, pulls=pulls)

    def _put_back(self, current: ObservedContainer) -> list[Operation]:
        steps: list[Operation] = []
        if current.name == self.wanted.name + OLD:
            steps += [step for step in self.first if _names(step) == self.wanted.name]
            steps.append(Rename(current.name, self.wanted.name, current.id))
        if self.wanted.running and _must_start(self.wanted.spec, current):
            target = self.wanted.name if steps else current.name
            steps.append(Start(target, current.id))
        return steps

    def _create(self) -> ServicePlan:
        wanted = self.wanted
        steps = [*self.first, *self._make(wanted.name, create_body(wanted), "")]
        steps += self._start(wanted.name, "")
        verdict = "recreate" if any(_names(s) == wanted.name for s in self.first) else "create"
        return ServicePlan(wanted.service, verdict, operations=(*steps, *self.last))

    def _make(self, name: str, body: dict[str, Any], replaces: str) -> list[Operation]:
        spec = self.wanted.spec
        steps: list[Operation] = [Create(name, spec["image"], body, replaces)]
        for network in sorted(spec.get("networks", {}))[1:]:
            steps.append(Connect(name, network, endpoint(spec["networks"][network])))
        return steps

    def _start(self, name: str, container_id: str) -> list[Operation]:
        if not self.wanted.running:
            return []
        return [Start(name, container_id), self._await(name, container_id)]

    def _await(self, name: str, container_id: str) -> Await:
        spec = self.wanted.spec
        image = self.observed.images.get(spec["image"])
        health = effective_health(spec, image.config if image is not None else {})
        may_exit = spec.get("restart", DEFAULT_RESTART).startswith(("no", "on-failure"))
        if not health.get("Test") or health["Test"] == ["NONE"]:
            return Await(name, False, SETTLE, 60.0, may_exit, container_id)
        interval = health.get("Interval") or 30 * _SECOND
        timeout = health.get("Timeout") or 30 * _SECOND
        rounds = (health.get("Retries") or 3) * (interval + timeout)
        longest = (health.get("StartPeriod", 0) + rounds) / _SECOND + 10
        return Await(name, True, SETTLE, float(longest), may_exit, container_id)

    def _finish(
        self,
        main: ObservedContainer,
        old: ObservedContainer,
        new: ObservedContainer | None,
        failed: ObservedContainer | None,
    ) -> ServicePlan:
        """The new one stands in its place already; it is seen to serve, then the old one goes."""
        name = self.wanted.name
        steps: list[Operation] = []
        if self.wanted.running:
            # Also one that runs: it may have been started and not yet have proved itself.
            steps += self._start(name, main.id)[0 if main.state != "running" else 1 :]
        steps.append(Remove(old.name, old.id, force=True))
        steps += [Remove(c.name, c.id, force=True, volumes=True) for c in (new, failed) if c]
        back: tuple[Operation, ...] = (
            Stop(name, old.id),
            Rename(name, old.name, old.id),
            Rename(name + NEW, name, main.id, name + FAILED),
        )
        return ServicePlan(self.wanted.service, "recreate", (), tuple(steps), (), back)

    def _in_place(self, changes: Mapping[str, list[Change]], current: ObservedContainer) -> bool:
        if "network_mode" in changes or (current.state != "running" and "networks" in changes):
            return False
        for name in changes:
            if name == "networks":
                mode = self.wanted.spec.get("network_mode", "bridge")
                if mode != "bridge":
                    return False
                continue
            update = OPTIONS[name].side.update if name in OPTIONS else None
            if update is None or update(self.wanted.spec) is None:
                return False
        return True

    def _keep(self, current: ObservedContainer, changes: Mapping[str, list[Change]]) -> ServicePlan:
        """The container stays: put in its place, changed where it stands, started."""
        wanted, spec = self.wanted, self.wanted.spec
        steps = list(self.first)
        verdict = "up_to_date"
        if current.name != wanted.name:
            steps.append(Rename(current.name, wanted.name, current.id))
            verdict = "start"
        settings: dict[str, Any] = {}
        for name in changes:
            if name == "networks":
                steps += self._reconnect(current)
            else:
                update = OPTIONS[name].side.update
                settings.update((update(spec) if update is not None else None) or {})
        if settings:
            host = current.inspect.get("HostConfig") or {}
            before = {key: host.get(key) for key in settings if host.get(key) is not None}
            steps.append(Update(wanted.name, settings, before, current.id))
        if changes:
            verdict = "update"
        flat = _flat(changes)
        if wanted.running and _must_start(spec, current):
            steps += self._start(wanted.name, current.id)
            flat = (*flat, Change("state", current.state, "running", "drift"))
            verdict = "update" if changes else "start"
        elif not wanted.running and current.state in ("running", "restarting"):
            steps.append(Stop(wanted.name, current.id, _grace(current)))
            verdict = "update" if changes else "stop"
        return ServicePlan(wanted.service, verdict, flat, (*steps, *self.last))

    def _reconnect(self, current: ObservedContainer) -> list[Operation]:
        name, spec = self.wanted.name, self.wanted.spec
        there = (current.inspect.get("NetworkSettings") or {}).get("Networks") or {}
        side = OPTIONS["networks"].side
        expected = side.expected(spec, {}, self.observed.engine)
        observed = side.observed(current.inspect)
        steps: list[Operation] = []

        def drop(network: str) -> Disconnect:
            had = there[network] or {}
            config = {k: had[k] for k in ("Aliases", "IPAMConfig") if had.get(k)}
            return Disconnect(name, network, config, current.id)

        for network in sorted(expected):
            if observed.get(network) != expected[network]:
                if network in observed:
                    steps.append(drop(network))
                config = endpoint(spec.get("networks", {}).get(network, {}))
                steps.append(Connect(name, network, config, current.id))
        # Only now: a container is never without a network in between.
        return steps + [drop(network) for network in sorted(set(observed) - set(expected))]

    def _replace(
        self,
        current: ObservedContainer,
        new: ObservedContainer | None,
        changes: Mapping[str, list[Change]],
    ) -> ServicePlan:
        wanted, name = self.wanted, self.wanted.name
        steps = list(self.first)
        resumed: list[Operation] = []
        new_id = ""
        if new is not None and new.state == "created" and not compare(wanted, new, self.observed):
            new_id = new.id
            resumed.append(Create(new.name, wanted.spec["image"], {}, name))
        else:
            if new is not None:
                steps.append(Remove(new.name, new.id, force=True, volumes=True))
            body = self._carried(create_body(wanted), current)
            steps += self._make(name + NEW, body, name)
        if current.state in ("running", "restarting", "paused"):
            steps.append(Stop(current.name, current.id, _grace(current)))
        elif wanted.running and _must_start(wanted.spec, current):
            resumed.append(Stop(current.name, current.id))
        if current.name == name + OLD:
            resumed.append(Rename(name, current.name, current.id))
        else:
            steps.append(Rename(current.name, name + OLD, current.id))
        steps.append(Rename(name + NEW, name, new_id, name + FAILED))
        steps += self._start(name, new_id)
        steps.append(Remove(name + OLD, current.id, force=True))
        steps += self.last
        return ServicePlan(
            wanted.service, "recreate", _flat(changes), tuple(steps), resumed=tuple(resumed)
        )

    def _carried(self, body: dict[str, Any], current: ObservedContainer) -> dict[str, Any]:
        """The body with the old container's anonymous volumes: their data outlive a replacement."""
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


def _names(step: Operation) -> str:
    return str(getattr(step, "container", ""))


def _grace(container: ObservedContainer) -> int:
    return int((container.inspect.get("Config") or {}).get("StopTimeout") or 10)


def _serves(container: ObservedContainer) -> bool:
    return container.state == "running" and container.health in (None, "healthy")


def _must_start(spec: Spec, container: ObservedContainer) -> bool:
    """Whether a container that stands still is to run. What the engine restarts is left to it."""
    if container.state == "created":
        return True
    if container.state != "exited":
        return False
    policy, _, count = spec.get("restart", DEFAULT_RESTART).partition(":")
    if policy == "no":
        return False  # it has run its once
    if policy == "on-failure":
        tried = int(container.inspect.get("RestartCount") or 0)
        return container.exit_code != 0 and not (count and tried >= int(count))
    return True


def plan_service(
    wanted: Wanted,
    observed: Observed,
    *,
    refresh: bool = True,
    retry_failed: bool = True,
    blocked: str | None = None,
) -> ServicePlan:
    """The plan of one service; see `plan.plan` for the arguments."""
    return _Planner(wanted, observed).plan(refresh, retry_failed, blocked)
