# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One Docker engine: its connection, one request, what a refusal means, its events.

Requests and answers are the Engine API's own documents (v1.41 and later), so a new option needs
nothing here. Modules carry them by the Docker SDK, the agent by a lighter way.
Whatever the engine refuses leaves this file as an `OttoError` with cause and next command.
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.module_utils.model import ObservedContainer
from ansible_collections.otto.cluster.plugins.module_utils.sdk import Sdk
from ansible_collections.otto.cluster.plugins.module_utils.wire import FAILURES, Answer, Carrier

if TYPE_CHECKING:
    from typing import Self

Document = Mapping[str, Any]

_EVENTS = {
    "type": ["container", "network", "volume", "daemon"],
    # Named one by one, because every health check makes three exec_* events.
    "event": [
        *("create", "start", "restart", "die", "oom", "kill", "stop", "pause", "unpause"),
        *("rename", "update", "destroy", "health_status"),
        *("connect", "disconnect", "remove", "reload"),
    ],
}

LATER = 200
"""Lines written after a moment that are looked through for the last ones before it."""


class EngineError(OttoError):
    """The engine said no. `status`: its HTTP status; 0 when it said nothing at all."""

    status: int = 0
    detail: str = ""


class Transport:
    """One Docker engine. May be used by several threads at once.

    docker_url: `unix:///path` or `tcp://host:port`; it is never taken from the environment or from
    the CLI's context. timeout: seconds that one answer may take; stops and pulls have their own.
    registries: host -> (user name, password), for what this object pulls and for nothing else.
    carrier: makes the way to that address. Raises OttoError when the engine does not answer.
    """

    def __init__(
        self,
        docker_url: str,
        timeout: float = 60,
        registries: Mapping[str, tuple[str, str]] | None = None,
        carrier: Callable[[str], Carrier] = Sdk,
    ) -> None:
        self.url = docker_url
        self.registries = dict(registries or {})
        self.timeout = timeout
        if not re.match(r"unix:///.|tcp://.", self.url):
            raise OttoError(
                "Docker's address is not one that Otto can use",
                cause=f"{self.url!r} is neither unix:///path nor tcp://host:port",
                next="set docker_url: unix:///var/run/docker.sock",
            )
        self._carrier = carrier(docker_url)
        self._info: Document = {}
        self._streams: list[Answer] = []
        self._closed = threading.Event()
        self.api_version = ""
        self.api_version = str(self.call("GET", "/version")["ApiVersion"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections; a thread that waits in `events` comes back."""
        self._closed.set()
        for stream in list(self._streams):
            stream.interrupt()
        self._carrier.close()

    # ---- one request

    def waiting(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        """Around all that waits for the engine, with the time after which it gives up by itself.

        Nothing here; who has a watchdog overrides it, and knows a long wait from a hang.
        """
        del seconds
        return contextlib.nullcontext()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Document | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> Any:
        """The engine's answer: its document, None where it gives none, the response for a stream.

        304 (already so) is an answer like any other. Raises EngineError.
        """
        limit = self.timeout if timeout is None else timeout
        version = f"/v{self.api_version}" if self.api_version else ""
        try:
            with self.waiting(limit):
                answer = self._carrier.exchange(
                    method,
                    version + path,
                    params=params,
                    body=body,
                    headers=headers,
                    timeout=limit,
                )
                if answer.status_code < 400 and stream:
                    return answer
                content = answer.content()
            if answer.status_code >= 400:
                raise self._refused(answer.status_code, content.decode("utf-8", "replace"))
            return json.loads(content) if content else None
        except FAILURES as error:
            raise self.silent(error, f"{method} {path}", limit) from error

    def _refused(self, status: int, text: str) -> EngineError:
        with contextlib.suppress(ValueError, AttributeError):
            text = json.loads(text).get("message", text)
        text = " ".join(str(text).split())
        error = EngineError("Docker refused", cause=text, next=_hint(text))
        error.status = status
        error.detail = text
        return error

    def silent(self, error: BaseException, doing: str, limit: float = 0.0) -> EngineError:
        """No answer: told apart by what the system said. limit: seconds that it was waited for, if
        not `timeout`."""
        root = root_of(error)
        cause = f"{self.url}: {root}"
        where = self.url[len("unix://") :] if self.url.startswith("unix://") else ""
        if isinstance(root, PermissionError):
            command = "sudo usermod -aG docker $(id -un)   (then log in again), or set become: true"
        elif "timed out" in str(root).lower():
            cause = f"{self.url}: no answer to `{doing}` in {limit or self.timeout:g} s"
            command = "systemctl status docker; journalctl -u docker -n 50"
        elif where:
            command = "systemctl status docker   (sudo systemctl enable --now docker starts it)"
        else:
            command = typed("docker -H {} version", self.url)
        return EngineError("Docker does not answer", cause=cause, next=command)

    # ---- reading one thing

    def inspect(self, container: str) -> ObservedContainer | None:
        """One container by id or name; None when there is none."""
        document = self.find("/containers/{}/json".format(quote(container, safe="")))
        if document is None or document["State"].get("Status") == "removing":
            return None
        state = document["State"]
        config = document["Config"]
        health = (state.get("Health") or {}).get("Status")
        return ObservedContainer(
            id=document["Id"],
            name=document["Name"].lstrip("/"),
            state=state["Status"],
            exit_code=state.get("ExitCode", 0),
            health=None if health in (None, "", "none") else health,
            image=config["Image"],
            image_id=document["Image"],
            labels=config.get("Labels") or {},
            inspect=document,
        )

    def find(self, path: str) -> Any:
        try:
            return self.call("GET", path)
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    def logs(self, container: str, lines: int = 20, until: float | None = None) -> str:
        """The last lines that a container wrote; what hinders reading them where they cannot be.

        until: epoch seconds of the engine's clock; what was written after it is left out.
        """
        path = "/containers/{}".format(quote(container, safe=""))
        asked: dict[str, Any] = {"stdout": 1, "stderr": 1, "tail": lines}
        if until is not None:
            # The engine takes the last lines first, and leaves out the later ones of these.
            asked.update(tail=lines + LATER, until=f"{until:.9f}")
        try:
            document = self.call("GET", path + "/json")
            answer = self.call("GET", path + "/logs", params=asked, stream=True)
            with self.waiting(self.timeout):
                raw = answer.content()
        except EngineError as error:
            return f"its log cannot be read: {error.cause}"
        except FAILURES as error:
            return f"its log cannot be read: {root_of(error)}"
        text = raw.decode("utf-8", "replace") if document["Config"]["Tty"] else joined(raw)
        return "".join(re.findall(r"[^\n]*\n|[^\n]+", text)[-lines:])

    # ---- events

    def events(self, since: float | None = None) -> Iterator[Document]:
        """The engine's events as its own documents, for ever, on a connection of their own.

        since: epoch seconds; events after it come first.
        Ends after `close`. Raises OttoError when the stream breaks: connect again, and then observe
        again, because what happened in between is lost.
        """
        answer = None
        try:
            answer = self._carrier.exchange(
                "GET",
                f"/v{self.api_version}/events",
                params={"since": since, "filters": json.dumps(_EVENTS)},
                timeout=None,
            )
            if answer.status_code >= 400:
                raise self._refused(answer.status_code, answer.content().decode("utf-8", "replace"))
            self._streams.append(answer)
            yield from (json.loads(line) for line in answer.iter_lines() if line)
        except FAILURES as error:
            if self._closed.is_set():
                return
            raise self.silent(error, "GET /events") from error
        finally:
            if answer is not None:
                answer.close()
                with contextlib.suppress(ValueError):
                    self._streams.remove(answer)
        if not self._closed.is_set():
            raise EngineError(
                "Docker's events ended",
                cause=f"{self.url} closed the stream (the engine is stopping?)",
                next="systemctl status docker",
            )


# ---- helpers


def joined(raw: bytes) -> str:
    """Both outputs, as they came: frames of kind (1 byte), three zeros, length (4 bytes), text."""
    found = b""
    while len(raw) >= 8:
        (length,) = struct.unpack(">4xL", raw[:8])
        found, raw = found + raw[8 : 8 + length], raw[8 + length :]
    return found.decode("utf-8", "replace")


def root_of(error: BaseException) -> BaseException:
    """The error that the others wrap: the standard library puts it into args and into causes."""
    seen: set[int] = set()
    queue: list[Any] = [error]
    last = error
    while queue:
        item = queue.pop(0)
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, OSError) and item.errno is not None:
            return item
        if "timed out" in str(item).lower():
            last = item
        queue.extend([*item.args, getattr(item, "reason", None), item.__cause__, item.__context__])
    return last


_HINTS = (
    (
        r"port is already allocated|address already in use",
        "ss -ltnp   (who has the port), docker ps --format '{{.Names}} {{.Ports}}'",
    ),
    (r"no space left on device", "df -h; docker system df; docker system prune"),
    (r"No such image", "docker images   (then: otto-run apply)"),
    (r"bind source path does not exist", "mkdir -p <that path> on the node"),
    (r"is already in use by container", "docker ps -a   (remove it or give it another name)"),
    (r"has active endpoints", "docker network inspect <network>"),
    (r"volume is in use", "docker ps -a --filter volume=<volume>"),
    (r"Pool overlaps", "docker network ls   (choose another subnet)"),
    (r"executable file not found", "check command and entrypoint of the service in otto.yaml"),
)


def _hint(text: str) -> str:
    for pattern, command in _HINTS:
        if re.search(pattern, text, re.IGNORECASE):
            return command
    return "journalctl -u docker -n 50"
