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

NOT_SENT = ("body", "config", "settings", "previous", "content")
"""Fields with engine documents and contents: never shown, never sent (a create body carries the
environment)."""


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
            if item.name not in NOT_SENT:
                value[item.name] = getattr(self, item.name)
        return value


@dataclass(frozen=True)
class PullImage(Operation):
    """Fetch an image. `always`: it may lie there already, only newer content counts as a change.

    digest: what the registry had under the name when it was asked; "" where it was not.
    """

    op: ClassVar[str] = "pull"
    reference: str
    always: bool = False
    digest: str = ""

    def line(self) -> str:
        newer = " if there is a newer one" if self.always and not self.digest else ""
        return f"pull image {self.reference}{newer}"


@dataclass(frozen=True)
class RemoveImage(Operation):
    """Remove an image under all its names. It stays where a name is not one of `references`
    (somebody else gave it) or a container uses it."""

    op: ClassVar[str] = "remove_image"
    image: str
    references: tuple[str, ...] = ()

    def line(self) -> str:
        names = ", ".join(self.references) or "without a name"
        return f"remove image {names} ({self.image[: len('sha256:') + 12]})"


@dataclass(frozen=True)
class TagImage(Operation):
    """Give a name back to an image that is on the node. before: id of the one that has it now."""

    op: ClassVar[str] = "tag_image"
    reference: str
    image: str
    before: str = ""

    def line(self) -> str:
        return f"tag image {self.image[: len('sha256:') + 12]} as {self.reference}"

    def undo(self) -> tuple[Operation, ...]:
        return (TagImage(self.reference, self.before, self.image),) if self.before else ()


@dataclass(frozen=True)
class PutFile(Operation):
    """Write a secret's or a config's content (base64) as a file of the node.

    name: of the file. source: key in otto.yaml. uid, gid: "" for whoever writes it.
    """

    op: ClassVar[str] = "put_file"
    name: str
    source: str
    mode: int = 0o444
    uid: str = ""
    gid: str = ""
    content: str = field(default="", repr=False)

    def line(self) -> str:
        return f"write the file of {self.source}"


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
class ReplaceNetwork(Operation):
    """Remove a network and make it anew, with the containers that are on it back on it.

    body, previous: what POST /networks/create takes, for the new one and the former one.
    containers: their names. config: container id -> EndpointConfig that it has. changes: what makes
    it another one, a line each.
    """

    op: ClassVar[str] = "replace_network"
    name: str
    containers: tuple[str, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    previous: Mapping[str, Any] = field(default_factory=dict, repr=False)
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    changes: tuple[str, ...] = ()

    def line(self) -> str:
        on_it = " and reconnect {}".format(", ".join(self.containers)) if self.containers else ""
        return f"make network {self.name} anew{on_it}"

    def undo(self) -> tuple[Operation, ...]:
        return (ReplaceNetwork(self.name, self.containers, self.previous, self.body, self.config),)


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
    """`failed`: name under which it is set aside, stopped, when this is undone: it is new, and is
    kept for its logs."""

    op: ClassVar[str] = "start"
    container: str
    id: str = ""
    failed: str = ""

    def line(self) -> str:
        return f"start container {self.container}"

    def undo(self) -> tuple[Operation, ...]:
        stop = Stop(self.container, self.id, None)
        if not self.failed:
            return (stop,)
        aside = Rename(self.container, self.failed, self.id)
        return (stop, Remove(self.failed, force=True, volumes=True), aside)


@dataclass(frozen=True)
class Stop(Operation):
    """`grace`: seconds until the engine kills it (its StopTimeout); the call may last as long. None
    where only the container knows."""

    op: ClassVar[str] = "stop"
    container: str
    id: str = ""
    grace: int | None = 10

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
    """`config`: EndpointConfig of POST /networks/<network>/connect.

    fresh: the container is new, and goes as a whole when the plan is undone.
    """

    op: ClassVar[str] = "connect"
    container: str
    network: str
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    id: str = ""
    fresh: bool = False

    def line(self) -> str:
        return f"connect container {self.container} to network {self.network}"

    def undo(self) -> tuple[Operation, ...]:
        return (
            () if self.fresh else (Disconnect(self.container, self.network, self.config, self.id),)
        )


@dataclass(frozen=True)
class Disconnect(Operation):
    """`config`: the EndpointConfig that it had, so that it can be connected again; fresh: as in
    Connect."""

    op: ClassVar[str] = "disconnect"
    container: str
    network: str
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    id: str = ""
    fresh: bool = False

    def line(self) -> str:
        return f"disconnect container {self.container} from network {self.network}"

    def undo(self) -> tuple[Operation, ...]:
        if self.fresh:
            return ()
        return (Connect(self.container, self.network, self.config, self.id),)


@dataclass(frozen=True)
class Await(Operation):
    """The gate: fails unless the container proves to serve.

    healthcheck: it must become healthy within `timeout` seconds (unhealthy or ended is a failure).
    Else it must stay running for `settle` seconds, its RestartCount unmoved.
    may_exit: to have ended with exit code 0 is as good (it runs once).
    completed: nothing but that is good: it has until `timeout` to end.
    required: False for one that is only waited for: that it does not come is told, no failure.
    standing: it may have run before this: how often it was restarted until now says nothing.
    """

    op: ClassVar[str] = "await"
    container: str
    healthcheck: bool = False
    settle: float = 2.0
    timeout: float = 60.0
    may_exit: bool = False
    id: str = ""
    completed: bool = False
    required: bool = True
    standing: bool = False

    def line(self) -> str:
        if self.completed:
            return f"wait until container {self.container} has done its work"
        if self.healthcheck:
            return f"wait until container {self.container} is healthy (at most {self.timeout:.0f}s)"
        return f"see that container {self.container} stays up"


@dataclass(frozen=True)
class Exec(Operation):
    """Run one command of a hook in a running container; an exit code other than 0 is a failure.

    hook: `post_start` or `pre_stop`. number: which one of them, from 1.
    body: what POST /containers/<id>/exec takes; it is not shown: commands hold secrets.
    required: False where its failure is told, and what follows is done all the same.
    """

    op: ClassVar[str] = "exec"
    container: str
    hook: str
    number: int = 1
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    id: str = ""
    required: bool = True

    def line(self) -> str:
        return f"run {self.hook} command {self.number} in container {self.container}"
