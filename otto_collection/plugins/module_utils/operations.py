# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs: everything that Otto may do to a node, as plain values.

`engine.py` carries them out, `plan.py` makes them, everyone else shows them. An operation says
itself as one line, says what takes it back, and turns to JSON without ever carrying a secret.

`container` is the name that a container has when the operation starts; `id`, where it is not empty,
is that of a container that stood there when the plan was made, and is what the engine is to be
asked for: a person may have put another container under that name since.

Every operation may be carried out twice: removing what is gone, starting what runs, stopping what
stands, renaming to the name that it has, connecting what is connected are done, not failed. So is
renaming what is not there (it is only ever met while undoing).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

_SECRET_FREE = ("body", "config", "settings", "previous")
"""Fields with engine documents: never shown, never sent (a create body carries the environment)."""


@dataclass(frozen=True)
class Operation:
    """Base of all operations; `op` is its name in JSON."""

    op: ClassVar[str] = ""

    def line(self) -> str:
        """What it does, as a person says it: `create container web from nginx:alpine`."""
        raise NotImplementedError

    def undo(self) -> tuple[Operation, ...]:
        """What takes it back, in order; empty where nothing can or need be done."""
        return ()

    def to_json(self) -> dict[str, Any]:
        """{"op", "line", and the fields that carry no engine document}."""
        value: dict[str, Any] = {"op": self.op, "line": self.line()}
        for item in fields(self):
            if item.name not in _SECRET_FREE:
                value[item.name] = getattr(self, item.name)
        return value


@dataclass(frozen=True)
class PullImage(Operation):
    """Fetch an image. `always`: it may lie there already, only newer content counts as a change."""

    op: ClassVar[str] = "pull"
    reference: str
    always: bool = False

    def line(self) -> str:
        newer = " if there is a newer one" if self.always else ""
        return f"pull image {self.reference}{newer}"


@dataclass(frozen=True)
class CreateNetwork(Operation):
    """`body`: what POST /networks/create takes ("Name" in it)."""

    op: ClassVar[str] = "create_network"
    name: str
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def line(self) -> str:
        return f"create network {self.name}"

    def undo(self) -> tuple[Operation, ...]:
        return (RemoveNetwork(self.name),)


@dataclass(frozen=True)
class RemoveNetwork(Operation):
    op: ClassVar[str] = "remove_network"
    name: str

    def line(self) -> str:
        return f"remove network {self.name}"


@dataclass(frozen=True)
class CreateVolume(Operation):
    """`body`: what POST /volumes/create takes ("Name" in it)."""

    op: ClassVar[str] = "create_volume"
    name: str
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def line(self) -> str:
        return f"create volume {self.name}"


@dataclass(frozen=True)
class RemoveVolume(Operation):
    """The data in it are gone with it."""

    op: ClassVar[str] = "remove_volume"
    name: str

    def line(self) -> str:
        return f"remove volume {self.name}"


@dataclass(frozen=True)
class Create(Operation):
    """Create a container, not started.

    body: what POST /containers/create?name=<container> takes; it may name one network at the most
    (engines before API 1.44 take no more), the others follow as Connect.
    replaces: name of the container whose place it is going to take; "" for one that replaces none.
    """

    op: ClassVar[str] = "create"
    container: str
    image: str
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    replaces: str = ""

    def line(self) -> str:
        return f"create container {self.container} from {self.image}"

    def undo(self) -> tuple[Operation, ...]:
        # One that replaces none stays: it is what the file asks for, and it holds the logs.
        return (Remove(self.container, force=True, volumes=True),) if self.replaces else ()


@dataclass(frozen=True)
class Start(Operation):
    op: ClassVar[str] = "start"
    container: str
    id: str = ""

    def line(self) -> str:
        return f"start container {self.container}"

    def undo(self) -> tuple[Operation, ...]:
        return (Stop(self.container, self.id),)


@dataclass(frozen=True)
class Stop(Operation):
    """`grace`: seconds until the engine kills it (its StopTimeout); the call may last as long."""

    op: ClassVar[str] = "stop"
    container: str
    id: str = ""
    grace: int = 10

    def line(self) -> str:
        return f"stop container {self.container}"

    def undo(self) -> tuple[Operation, ...]:
        return (Start(self.container, self.id),)


@dataclass(frozen=True)
class Rename(Operation):
    """`failed`: name that it gets instead of its earlier one when this is undone."""

    op: ClassVar[str] = "rename"
    container: str
    to: str
    id: str = ""
    failed: str = ""

    def line(self) -> str:
        return f"rename container {self.container} to {self.to}"

    def undo(self) -> tuple[Operation, ...]:
        back = Rename(self.to, self.failed or self.container, self.id)
        if self.failed:
            return (Remove(self.failed, force=True, volumes=True), back)
        return (back,)


@dataclass(frozen=True)
class Remove(Operation):
    """force: even if it runs. volumes: also the anonymous volumes that were made for it alone."""

    op: ClassVar[str] = "remove"
    container: str
    id: str = ""
    force: bool = False
    volumes: bool = False

    def line(self) -> str:
        return f"remove container {self.container}"


@dataclass(frozen=True)
class Update(Operation):
    """Change a container in place. settings, previous: what POST /containers/<id>/update takes."""

    op: ClassVar[str] = "update"
    container: str
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    previous: Mapping[str, Any] = field(default_factory=dict, repr=False)
    id: str = ""

    def line(self) -> str:
        return "update container {} ({})".format(self.container, ", ".join(sorted(self.settings)))

    def undo(self) -> tuple[Operation, ...]:
        return (Update(self.container, self.previous, self.settings, self.id),)


@dataclass(frozen=True)
class Connect(Operation):
    """`config`: EndpointConfig of POST /networks/<network>/connect."""

    op: ClassVar[str] = "connect"
    container: str
    network: str
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    id: str = ""

    def line(self) -> str:
        return f"connect container {self.container} to network {self.network}"

    def undo(self) -> tuple[Operation, ...]:
        return (Disconnect(self.container, self.network, self.config, self.id),)


@dataclass(frozen=True)
class Disconnect(Operation):
    """`config`: the EndpointConfig that it had, so that it can be connected again."""

    op: ClassVar[str] = "disconnect"
    container: str
    network: str
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    id: str = ""

    def line(self) -> str:
        return f"disconnect container {self.container} from network {self.network}"

    def undo(self) -> tuple[Operation, ...]:
        return (Connect(self.container, self.network, self.config, self.id),)


@dataclass(frozen=True)
class Await(Operation):
    """The gate: fails unless the container proves to serve.

    healthcheck: it must become healthy within `timeout` seconds (unhealthy or ended is a failure).
    Else it must stay running for `settle` seconds, its RestartCount unmoved.
    may_exit: to have ended with exit code 0 is as good (it runs once).
    """

    op: ClassVar[str] = "await"
    container: str
    healthcheck: bool = False
    settle: float = 2.0
    timeout: float = 60.0
    may_exit: bool = False
    id: str = ""

    def line(self) -> str:
        if self.healthcheck:
            return f"wait until container {self.container} is healthy (at most {self.timeout:.0f}s)"
        return f"see that container {self.container} stays up"
