# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's docker-registry on the lab's gateway: where the hosts pull their images from."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from lab import engine, processes
from lab.engine import docker
from lab.plan import REGISTRY, SERVICE_IMAGES, STATE, Image
from lab.shell import LabError, say, wait_for

_DAEMON = "registry"
_DOOR = "registry-door"
_DOOR_ADDRESS = "127.0.0.1:5051"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def start() -> None:
    if processes.alive(_DAEMON) is None:
        _serve(_DAEMON, REGISTRY)
        say(f"registry: http://{REGISTRY}")


def stop() -> None:
    for name in (_DOOR, _DAEMON):
        if processes.stop(name):
            say(f"{name}: stopped")


def publish() -> None:
    """Push the service images that the registry does not have yet, as library/<name>."""
    absent = [image for image in SERVICE_IMAGES if _published_id(image) != _local_id(image)]
    if not absent:
        return
    # Every engine trusts plain HTTP on loopback, also one that the lab did not start:
    # a second process over the same storage is the door for pushing, open only now.
    _serve(_DOOR, _DOOR_ADDRESS)
    try:
        for image in absent:
            pushed = f"{_DOOR_ADDRESS}/library/{image.tag}"
            docker("tag", image.tag, pushed)
            docker("push", "--quiet", pushed, timeout=300)
            docker("rmi", "--no-prune", pushed)
            say(f"registry: {image.tag} pushed")
    finally:
        processes.stop(_DOOR)
    if not engine.pulls_from_lab():
        say("engine: not started by the lab, so it has the images but cannot pull them by digest")
        return
    for image in absent:
        # Gives the engine the digest under the image's own name, as any pull would.
        docker("pull", "--quiet", image.tag, timeout=300)


def _serve(name: str, address: str) -> None:
    config = STATE / f"{name}.yml"
    # JSON is YAML: no writer of our own is needed.
    config.write_text(
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "warn"},
                "storage": {
                    "filesystem": {"rootdirectory": str(STATE / "registry")},
                    "delete": {"enabled": True},
                },
                "http": {"addr": address},
            }
        )
    )
    processes.start(name, ["docker-registry", "serve", str(config)])

    def missing() -> str | None:
        if processes.alive(name) is None:
            raise LabError(
                f"the registry on {address} ended at once:\n{processes.last_words(name)}",
                "see what else listens there: ss -ltnp",
            )
        return None if _get(address, "/v2/") is not None else "no answer"

    wait_for(f"the registry on {address}", missing, 20, every=0.1)


def _published_id(image: Image) -> str | None:
    name, _, tag = image.tag.partition(":")
    manifest = _get(REGISTRY, f"/v2/library/{name}/manifests/{tag}")
    return None if manifest is None else json.loads(manifest)["config"]["digest"]


def _local_id(image: Image) -> str:
    return docker("image", "inspect", "--format", "{{.Id}}", image.tag)


def _get(address: str, path: str) -> bytes | None:
    """The body, or None when nothing is there (no listener yet, or 404)."""
    request = urllib.request.Request(f"http://{address}{path}", headers={"Accept": _MANIFEST})
    # The lab's network is never reached through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise LabError(f"the registry answered {error.code} to {path}") from None
    except (urllib.error.URLError, ConnectionError):
        return None
