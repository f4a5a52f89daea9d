# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on a node: asking registries, fetching, removing, and what a refusal means.

The engine does the asking, so its mirrors and its trust count; a login goes with the one request.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible_collections.otto.cluster.plugins.module_utils.image_names import HUB, registry_of
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    ObservedImage,
    RegistryImage,
)
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    PullImage,
    RemoveImage,
    TagImage,
)
from ansible_collections.otto.cluster.plugins.module_utils.plan_images import (
    platform,
)
from ansible_collections.otto.cluster.plugins.module_utils.sdk import docker_module
from ansible_collections.otto.cluster.plugins.module_utils.transport import (
    EngineError,
    Transport,
    root_of,
)
from ansible_collections.otto.cluster.plugins.module_utils.wire import FAILURES

from .errors import typed

Progress = Callable[[str], None]

PULL_SILENCE = 300.0
"""Seconds without a byte that moves after which a pull is given up: an SD card that writes a big
layer takes its time."""
ASK_PATIENCE = 30.0
"""Seconds that a registry may take to say what it has."""
_ASK_AT_ONCE = 8


def image(engine: Transport, reference: str) -> ObservedImage | None:
    """See `DockerEngine.image`."""
    document = engine.find(_path(reference))
    if document is None:
        return None
    return ObservedImage(
        id=document["Id"],
        architecture=document.get("Architecture", ""),
        config=document.get("Config") or document.get("ContainerConfig") or {},
        variant=document.get("Variant") or "",
        digests=tuple(name.partition("@")[2] for name in document.get("RepoDigests") or ()),
    )


def remove_image(engine: Transport, operation: RemoveImage, _progress: Progress) -> bool:
    """See `RemoveImage`. Returns whether it was there and is gone."""
    document = engine.find(_path(operation.image))
    if document is None:
        return False
    names = [name for name in document.get("RepoTags") or () if name != "<none>:<none>"]
    if not set(names) <= {_familiar(reference) for reference in operation.references}:
        return False
    # Name by name: one with several is not removed by its id, and the last name takes it along.
    for reference in [*names, operation.image]:
        try:
            engine.call("DELETE", "/images/{}".format(quote(reference, safe="/:@")))
        except EngineError as error:
            if error.status not in (404, 409):  # gone already; in use since we looked
                raise
    return engine.find(_path(operation.image)) is None


def tag_image(engine: Transport, operation: TagImage, _progress: Progress) -> bool:
    """See `TagImage`."""
    repository, _, tag = _familiar(operation.reference).rpartition(":")
    engine.call(
        "POST",
        "/images/{}/tag".format(quote(operation.image, safe=":")),
        params={"repo": repository, "tag": tag},
    )
    return True


def _familiar(reference: str) -> str:
    """A reference as the engine lists it: `nginx:latest` for `docker.io/library/nginx`."""
    name = reference.partition("@")[0]
    for prefix in (f"index.{HUB}/", f"{HUB}/", "library/"):
        name = name[len(prefix) :] if name.startswith(prefix) else name
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def pull(engine: Transport, operation: PullImage, progress: Progress) -> bool:
    """See `PullImage`. Returns whether the node has other content now."""
    reference = operation.reference
    path = _path(reference)
    before = engine.find(path)
    if before is not None and not operation.always:
        return False
    repository, tag = _repository(reference)
    response = None
    headers, trouble = _login(engine, reference)
    try:
        response = engine.call(
            "POST",
            "/images/create",
            params={"fromImage": repository, "tag": tag or "latest"},
            headers=headers,
            timeout=PULL_SILENCE,
            stream=True,
        )
        _follow(engine, response, reference, progress)
    except EngineError as error:
        error.cause, error.next = _explained(engine, reference, error.cause + trouble)
        raise
    finally:
        if response is not None:
            response.close()
    after = engine.find(path)
    if after is None:
        raise EngineError(
            f"Docker pulled {reference} and does not have it",
            cause="the image was removed while it was pulled",
            next=typed("docker pull {}", reference),
        )
    return before is None or before["Id"] != after["Id"]


def _follow(engine: Transport, response: Any, reference: str, progress: Progress) -> None:
    """Read the pull's own account: an error stands in the stream, after a 200."""
    layers: dict[str, bool] = {}
    told = (0.0, "")
    moves = _Moves()
    try:
        for line in _lines(engine, response):
            event = json.loads(line)
            moves.see(event)
            if "error" in event:
                text = " ".join(str(event["error"]).split())
                raise EngineError("Docker cannot pull", cause=text)
            status = event.get("status", "")
            if event.get("id") and not status.startswith("Pulling from"):
                layers[event["id"]] = status in ("Pull complete", "Already exists")
            text = f"{reference}: {sum(layers.values())} of {len(layers)} layers"
            if layers and text != told[1] and time.monotonic() - told[0] >= 1:
                told = (time.monotonic(), text)
                progress(text)
    except FAILURES as error:
        root = root_of(error)
        raise EngineError(
            "Docker cannot pull",
            cause=f"the engine broke off, or said nothing for {PULL_SILENCE:g} s: {root}",
        ) from error


def _lines(engine: Transport, response: Any) -> Iterator[bytes]:
    """What the engine says, line by line; each one is a sign that it is at work."""
    lines = response.iter_lines()
    while True:
        with engine.waiting(PULL_SILENCE):
            line = next(lines, None)
        if line is None:
            return
        if line.strip():
            yield line


class _Moves:
    """Tells a pull that is slow from one that only says that it is still there."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._moved = time.monotonic()

    def see(self, event: Mapping[str, Any]) -> None:
        """One entry of the pull's account. Raises EngineError when nothing moves any more."""
        status = str(event.get("status", ""))
        layer = str(event.get("id", ""))
        at = (status, (event.get("progressDetail") or {}).get("current"))
        now = time.monotonic()
        if not status.startswith(("Waiting", "Retrying")) and self._known.get(layer) != at:
            self._known[layer] = at
            self._moved = now
        elif now - self._moved > PULL_SILENCE:
            raise EngineError(
                "Docker cannot pull", cause=f"nothing has moved for {PULL_SILENCE:g} s ({status})"
            )


def ask(engine: Transport, references: Collection[str]) -> dict[str, RegistryImage]:
    """See `DockerEngine.ask`."""
    if not references:
        return {}
    with ThreadPoolExecutor(min(_ASK_AT_ONCE, len(references))) as pool:
        answers = {name: pool.submit(_ask_one, engine, name) for name in references}
        return {name: answer.result() for name, answer in answers.items()}


def _ask_one(engine: Transport, reference: str) -> RegistryImage:
    headers, trouble = _login(engine, reference)
    try:
        found = engine.call(
            "GET",
            "/distribution/{}/json".format(quote(reference, safe="/:@")),
            headers=headers,
            timeout=ASK_PATIENCE,
        )
    except EngineError as error:
        cause, command = _explained(engine, reference, error.cause + trouble)
        return RegistryImage(problem=cause, next=command)
    platforms = {
        platform(each.get("architecture") or "", each.get("variant") or "")
        for each in found.get("Platforms") or ()
        # Attestations stand in the list as platform unknown/unknown.
        if each.get("os") != "unknown"
    }
    return RegistryImage(found["Descriptor"]["digest"], tuple(sorted(platforms - {""})))


# ---- logins


def _login(engine: Transport, reference: str) -> tuple[dict[str, str], str]:
    """The header that logs in: with otto.yaml's login, else with what `docker login` left here. And
    why that cannot be used, to be told if it goes wrong without."""
    registry = registry_of(reference)
    if registry in engine.registries:
        username, password = engine.registries[registry]
        address = "https://index.docker.io/v1/" if registry == HUB else registry
        document = {"username": username, "password": password, "serveraddress": address}
        text = base64.urlsafe_b64encode(json.dumps(document).encode()).decode("ascii")
        return {"X-Registry-Auth": text}, ""
    if not _logins().is_file():
        return {}, ""
    auth = docker_module().auth  # the SDK knows how logins are kept, also by helper programs
    try:
        found = auth.resolve_authconfig(auth.load_config(), registry)
        text = auth.encode_header(found).decode("ascii") if found else ""
    except Exception as error:  # whatever may stand in that file, or its helper program says
        return {}, f" ({_logins()} cannot be used: {type(error).__name__}: {error})"
    return ({"X-Registry-Auth": text} if text else {}), ""


def _logins() -> Path:
    """Where `docker login` leaves them."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def _repository(reference: str) -> tuple[str, str]:
    """(name, tag or digest or nothing)"""
    name, at, digest = reference.partition("@")
    if at:
        return name, digest
    head, colon, tag = reference.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (reference, "")


def _path(reference: str) -> str:
    return "/images/{}/json".format(quote(reference, safe="/:@"))


# ---- what a refusal means


def _explained(engine: Transport, reference: str, text: str) -> tuple[str, str]:
    """(cause, next command) of a refusal; a login that was refused is told with its place."""
    registry = registry_of(reference)
    if not _DENIED.search(text):
        return text, _pull_hint(text, reference)
    if registry in engine.registries:
        user = engine.registries[registry][0]
        return (
            f"registry {registry} refuses the login of {user}, or {user} may not read it: {text}",
            typed("correct registries.{} in otto.yaml, then: otto-run apply", registry),
        )
    return (
        f"registry {registry} wants a login, or has no such image: {text}",
        "check the image's name; if it is private, add its registry to otto.yaml under registries,"
        " then: otto-run apply",
    )


_DENIED = re.compile(
    r"access denied|access to the resource is denied|unauthorized|authentication required"
    r"|no basic auth|incorrect username or password|401 Unauthorized|403 Forbidden",
    re.IGNORECASE,
)
_PULL_HINTS = (
    (r"no matching manifest", "choose an image that is built for this node's architecture"),
    (
        r"manifest .*(unknown|not found)|manifest unknown|not found: manifest",
        "check the tag of %s in otto.yaml",
    ),
    (
        r"toomanyrequests|rate limit",
        "wait: the registry limits pulls   (a login under registries in otto.yaml may have more)",
    ),
    (r"no space left", "df -h; docker system df; docker system prune"),
)


def _pull_hint(text: str, reference: str) -> str:
    for pattern, command in _PULL_HINTS:
        if re.search(pattern, text, re.IGNORECASE):
            return command % reference if "%s" in command else command
    return typed("docker pull {}", reference)
