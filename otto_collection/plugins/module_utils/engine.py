# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only file that talks to Docker: it observes a node and carries out operations.

The SDK gives the transport, the registry credentials and the streams; requests and answers are the
Engine API's own documents (v1.41 and later), so a new option needs nothing here.
Whatever the engine refuses leaves this file as an `OttoError` with cause and next command.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import quote

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    LABEL_CLUSTER,
    Engine,
    Observed,
    ObservedContainer,
    ObservedImage,
    ObservedObject,
    Target,
)
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    Await,
    Connect,
    Create,
    CreateNetwork,
    CreateVolume,
    Disconnect,
    Operation,
    PullImage,
    Remove,
    RemoveNetwork,
    RemoveVolume,
    Rename,
    Start,
    Stop,
    Update,
)
from ansible_collections.otto.cluster.plugins.module_utils.plan_service import SUFFIXES
from ansible_collections.otto.cluster.plugins.module_utils.sdk import docker_module

Progress = Callable[[str], None]
Document = Mapping[str, Any]

POLL = 0.2
"""Seconds between two looks at a container that is waited for."""
PULL_SILENCE = 300.0
"""Seconds without a word from the engine after which a pull is given up."""

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

_EVENTS = {
    "type": ["container", "network", "volume", "daemon"],
    # Named one by one, because every health check makes three exec_* events.
    "event": [
        *("create", "start", "restart", "die", "oom", "kill", "stop", "pause", "unpause"),
        *("rename", "update", "destroy", "health_status"),
        *("connect", "disconnect", "remove", "reload"),
    ],
}


class EngineError(OttoError):
    """The engine said no. `status`: its HTTP status; 0 when it said nothing at all."""

    status: int = 0
    detail: str = ""


class DockerEngine:
    """One Docker engine. May be used by several threads at once.

    docker_url: `unix:///path` or `tcp://host:port`; it is never taken from the environment or from
    the CLI's context. timeout: seconds that one answer may take; stops and pulls have their own.
    Raises OttoError when the SDK is missing or the engine does not answer.
    """

    def __init__(self, docker_url: str, timeout: float = 60) -> None:
        self.url = docker_url
        self.timeout = timeout
        self._docker = docker_module()
        self._client = self._connect()
        self._info: Document = {}
        self._streams: list[Any] = []
        self._closed = threading.Event()

    def _connect(self) -> Any:
        if not re.match(r"unix:///.|tcp://.", self.url):
            raise OttoError(
                "Docker's address is not one that Otto can use",
                cause=f"{self.url!r} is neither unix:///path nor tcp://host:port",
                next="set docker_url: unix:///var/run/docker.sock",
            )

        class Client(self._docker.APIClient):  # type: ignore[misc, name-defined]
            # No engine is behind a proxy: requests would look for one, and for a .netrc, each time.
            trust_env = _AlwaysFalse()

        try:
            return Client(base_url=self.url, version="auto", timeout=self.timeout, max_pool_size=32)
        except (self._docker.errors.DockerException, OSError, ValueError) as error:
            raise self._silent(error, "connect") from error

    def __enter__(self) -> DockerEngine:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections; a thread that waits in `events` comes back."""
        self._closed.set()
        for stream in list(self._streams):
            stream.close()
        self._client.close()

    # ---- one request

    def _call(
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
        client = self._client
        try:
            response = client.request(
                method,
                f"{client.base_url}/v{client.api_version}{path}",
                params=params,
                json=body,
                headers=headers,
                timeout=self.timeout if timeout is None else timeout,
                stream=stream,
            )
            if response.status_code >= 400:
                raise self._refused(response)
            if stream:
                return response
            return response.json() if response.content else None
        except (OSError, ValueError) as error:  # requests' own errors are OSErrors
            raise self._silent(error, f"{method} {path}") from error

    def _refused(self, response: Any) -> EngineError:
        text = response.text
        with contextlib.suppress(ValueError, AttributeError):
            text = json.loads(text).get("message", text)
        text = " ".join(str(text).split())
        error = EngineError("Docker refused", cause=text, next=_hint(text))
        error.status = response.status_code
        error.detail = text
        return error

    def _silent(self, error: BaseException, doing: str) -> EngineError:
        """No answer: told apart by what the system said."""
        root = _root(error)
        cause = f"{self.url}: {root}"
        where = self.url[len("unix://") :] if self.url.startswith("unix://") else ""
        if isinstance(root, PermissionError):
            command = "sudo usermod -aG docker $(id -un)   (then log in again), or set become: true"
        elif "timed out" in str(root).lower():
            cause = f"{self.url}: no answer to `{doing}` in {self.timeout:g} s"
            command = "systemctl status docker; journalctl -u docker -n 50"
        elif where:
            command = "systemctl status docker   (sudo systemctl enable --now docker starts it)"
        else:
            command = f"docker -H {self.url} version"
        return EngineError("Docker does not answer", cause=cause, next=command)

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
            document = self._find("/images/{}/json".format(quote(reference, safe="/:@")))
            if document is not None:
                images[reference] = ObservedImage(
                    id=document["Id"],
                    architecture=document.get("Architecture", ""),
                    config=document.get("Config") or document.get("ContainerConfig") or {},
                )
        return Observed(
            containers=containers,
            images=images,
            networks=_objects(self._call("GET", "/networks"), target.networks, target.cluster),
            volumes=_objects(
                self._call("GET", "/volumes")["Volumes"] or (), target.volumes, target.cluster
            ),
            engine=self.describe(),
        )

    def describe(self) -> Engine:
        """What the engine says of itself."""
        version = self._call("GET", "/version")
        if not self._info:  # slow on small boards, and it does not change while we are connected
            self._info = self._call("GET", "/info")
        return Engine(
            version=version["Version"],
            api_version=self._client.api_version,
            architecture=version.get("Arch", ""),
            cgroup_version=str(self._info.get("CgroupVersion", "1")),
            without=tuple(
                option for option, key in _KERNEL_NEEDS.items() if self._info.get(key) is False
            ),
        )

    def _containers(self, target: Target) -> Iterator[ObservedContainer]:
        wanted: set[str] = set()
        for service, spec in target.services.items():
            name = str(spec.get("container_name") or service)
            wanted.update([name], (name + suffix for suffix in SUFFIXES))
        for row in self._call("GET", "/containers/json", params={"all": 1}):
            labels = row.get("Labels") or {}
            names = {name.rsplit("/", 1)[-1] for name in row.get("Names") or ()}
            if labels.get(LABEL_CLUSTER) == target.cluster or names & wanted:
                container = self.inspect(row["Id"])
                if container is not None:
                    yield container

    def inspect(self, container: str) -> ObservedContainer | None:
        """One container by id or name; None when there is none."""
        document = self._find("/containers/{}/json".format(quote(container, safe="")))
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

    def _find(self, path: str) -> Any:
        try:
            return self._call("GET", path)
        except EngineError as error:
            if error.status == 404:
                return None
            raise

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
            if isinstance(operation, Await):
                message = f"Container {operation.container} did not come up"
            failed = EngineError(message, cause=error.cause, next=error.next)
            failed.status = error.status
            failed.detail = error.detail
            raise failed from error

    def _pull(self, operation: PullImage, progress: Progress) -> bool:
        docker = self._docker
        reference = operation.reference
        path = "/images/{}/json".format(quote(reference, safe="/:@"))
        before = self._find(path)
        if before is not None and not operation.always:
            return False
        repository, tag = docker.utils.parse_repository_tag(reference)
        headers = {}
        with contextlib.suppress(docker.errors.InvalidRepository):
            registry, _name = docker.auth.resolve_repository_name(repository)
            credentials = docker.auth.get_config_header(self._client, registry)
            if credentials:
                headers["X-Registry-Auth"] = credentials
        response = None
        try:
            response = self._call(
                "POST",
                "/images/create",
                params={"fromImage": repository, "tag": tag or "latest"},
                headers=headers,
                timeout=PULL_SILENCE,
                stream=True,
            )
            self._follow_pull(response, reference, progress)
        except EngineError as error:
            error.next = _pull_hint(error.cause, reference)
            raise
        finally:
            if response is not None:
                response.close()
        after = self._find(path)
        if after is None:
            raise EngineError(
                f"Docker pulled {reference} and does not have it",
                cause="the image was removed while it was pulled",
                next=f"docker pull {reference}",
            )
        return before is None or before["Id"] != after["Id"]

    def _follow_pull(self, response: Any, reference: str, progress: Progress) -> None:
        """Read the pull's own account: an error stands in the stream, after a 200."""
        layers: dict[str, bool] = {}
        told = (0.0, "")
        try:
            for line in response.iter_lines():
                if not line.strip():
                    continue
                event = json.loads(line)
                if "error" in event:
                    text = " ".join(str(event["error"]).split())
                    raise EngineError(
                        "Docker cannot pull", cause=text, next=_pull_hint(text, reference)
                    )
                status = event.get("status", "")
                if event.get("id") and not status.startswith("Pulling from"):
                    layers[event["id"]] = status in ("Pull complete", "Already exists")
                text = f"{reference}: {sum(layers.values())} of {len(layers)} layers"
                if layers and text != told[1] and time.monotonic() - told[0] >= 1:
                    told = (time.monotonic(), text)
                    progress(text)
        except (OSError, ValueError) as error:
            root = _root(error)
            raise EngineError(
                "Docker cannot pull",
                cause=f"the engine broke off, or said nothing for {PULL_SILENCE:g} s: {root}",
                next=f"docker pull {reference}",
            ) from error

    def _create_network(self, operation: CreateNetwork, _progress: Progress) -> bool:
        body = {"CheckDuplicate": True, **operation.body, "Name": operation.name}
        try:
            self._call("POST", "/networks/create", body=body)
        except EngineError as error:
            found = self._find("/networks/{}".format(quote(operation.name, safe="")))
            labels = body.get("Labels") or {}
            if found is not None and (found.get("Labels") or {}) == labels:
                return False  # another run made it between our look and now
            raise error
        return True

    def _remove_network(self, operation: RemoveNetwork, _progress: Progress) -> bool:
        return self._unless_gone("DELETE", "/networks/{}".format(quote(operation.name, safe="")))

    def _create_volume(self, operation: CreateVolume, _progress: Progress) -> bool:
        self._call("POST", "/volumes/create", body={**operation.body, "Name": operation.name})
        return True

    def _remove_volume(self, operation: RemoveVolume, _progress: Progress) -> bool:
        return self._unless_gone("DELETE", "/volumes/{}".format(quote(operation.name, safe="")))

    def _create(self, operation: Create, _progress: Progress) -> bool:
        try:
            self._call(
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
        found = self.inspect(operation.id or operation.container)
        if found is not None and found.state == "paused":
            self._call("POST", f"/containers/{found.id}/unpause")
            return True
        self._call("POST", _path(operation, "/start"))
        return found is None or found.state != "running"

    def _stop(self, operation: Stop, _progress: Progress) -> bool:
        # The engine answers when the container has ended, at the latest after its grace period.
        return self._unless_gone(
            "POST", _path(operation, "/stop"), timeout=operation.grace + self.timeout
        )

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
        self._call("POST", _path(operation, "/update"), body=operation.settings)
        return True

    def _connect_network(self, operation: Connect, _progress: Progress) -> bool:
        reference = operation.id or operation.container
        try:
            self._call(
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
            self._call(method, path, **how)
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    # ---- the health gate

    def _await(self, operation: Await, progress: Progress) -> bool:
        """See `Await`. The state is polled: an event can be missed, a state cannot."""
        begun = time.monotonic()
        told = begun
        while True:
            found = self.inspect(operation.id or operation.container)
            if found is None:
                raise EngineError(
                    "",
                    cause="it was removed while it was waited for",
                    next="docker events --since 10m --until 0m --filter container="
                    + operation.container,
                )
            self._fail_if_down(found)
            waited = time.monotonic() - begun
            if found.state == "exited":
                if operation.may_exit:
                    return False
                self._give_up(found, "it ended by itself with exit code 0")
            if operation.healthcheck and found.health is not None:
                if found.health == "healthy":
                    return False
                if waited >= operation.timeout:
                    self._give_up(found, f"it was not healthy within {operation.timeout:.0f} s")
            elif waited >= operation.settle and found.state == "running":
                return False
            elif waited >= max(operation.settle, operation.timeout):
                self._give_up(found, f"it is {found.state}")
            if time.monotonic() - told >= 5:
                told = time.monotonic()
                state = found.health or found.state
                progress(f"{operation.container}: {state} for {waited:.0f} s")
            time.sleep(POLL)

    def _fail_if_down(self, found: ObservedContainer) -> None:
        restarts = found.inspect.get("RestartCount", 0)
        state = found.inspect["State"]
        if restarts or found.state == "restarting":
            # While it runs again, the engine shows 0 instead of the exit code that it ended with.
            code = "" if found.state == "running" else f" with exit code {found.exit_code}"
            self._give_up(found, f"it ends{code} and is started again and again")
        if found.state == "dead" or (found.state == "exited" and found.exit_code != 0):
            why = f"it ended with exit code {found.exit_code}"
            if state.get("OOMKilled"):
                why += " (killed: out of memory)"
            self._give_up(
                found, why + (": {}".format(state["Error"]) if state.get("Error") else "")
            )
        if found.state == "created":
            self._give_up(found, "it was never started: %s" % (state.get("Error") or "no error"))
        if found.health == "unhealthy":
            self._give_up(found, "it is unhealthy")

    def _give_up(self, found: ObservedContainer, why: str) -> NoReturn:
        health = (found.inspect["State"].get("Health") or {}).get("Log") or []
        said = ""
        if found.state == "running" and health:
            last = health[-1]
            said = "health check exit code {}: {}".format(
                last.get("ExitCode"), last.get("Output", "")
            )
        else:
            said = self.logs(found.id, lines=5)
        said = " | ".join(line.strip() for line in said.splitlines() if line.strip())
        if len(said) > 600:
            said = "..." + said[-600:]
        raise EngineError(
            "",
            cause=why + (f" ({said})" if said else " (it wrote nothing)"),
            next=f"docker logs {found.name}",
        )

    def logs(self, container: str, lines: int = 20) -> str:
        """The last lines that a container wrote; what hinders reading them where they cannot be."""
        try:
            raw = self._client.logs(container, stdout=True, stderr=True, tail=lines)
        except (self._docker.errors.DockerException, OSError) as error:
            return f"its log cannot be read: {_root(error)}"
        return bytes(raw).decode("utf-8", "replace")

    # ---- events

    def events(self, since: float | None = None) -> Iterator[Document]:
        """The engine's events as its own documents, for ever, on a connection of their own.

        since: epoch seconds; events after it come first.
        Ends after `close`. Raises OttoError when the stream breaks: connect again, and then observe
        again, because what happened in between is lost.
        """
        client = self._connect()
        try:
            stream = client.events(since=since, filters=_EVENTS, decode=True)
            self._streams.append(stream)
            try:
                yield from stream
            finally:
                self._streams.remove(stream)
                stream.close()
        except (self._docker.errors.DockerException, OSError, ValueError) as error:
            if self._closed.is_set():
                return
            raise self._silent(error, "GET /events") from error
        finally:
            client.close()
        if not self._closed.is_set():
            raise EngineError(
                "Docker's events ended",
                cause=f"{self.url} closed the stream (the engine is stopping?)",
                next="systemctl status docker",
            )

    _DISPATCH: Mapping[type, Callable[[DockerEngine, Any, Progress], bool]] = {
        PullImage: _pull,
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
        Await: _await,
    }


# ---- helpers


class _AlwaysFalse:
    """An attribute that stays False whatever a base class assigns to it."""

    def __get__(self, _instance: object, _owner: object = None) -> bool:
        return False

    def __set__(self, _instance: object, _value: object) -> None:
        pass


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


def _root(error: BaseException) -> BaseException:
    """The error that the others wrap: requests and the SDK put it into args and into causes."""
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


_PULL_HINTS = (
    (r"no matching manifest", "choose an image that is built for this node's architecture"),
    (
        r"manifest .*(unknown|not found)|manifest unknown|not found: manifest",
        "check the tag of %s in otto.yaml",
    ),
    (
        r"access denied|unauthorized|authentication required|no basic auth",
        "check the name %s; if it is private: docker login",
    ),
    (r"toomanyrequests|rate limit", "docker login   (or wait: the registry limits pulls)"),
    (r"no space left", "df -h; docker system df; docker system prune"),
)


def _pull_hint(text: str, reference: str) -> str:
    for pattern, command in _PULL_HINTS:
        if re.search(pattern, text, re.IGNORECASE):
            return command % reference if "%s" in command else command
    return f"docker pull {reference}"
