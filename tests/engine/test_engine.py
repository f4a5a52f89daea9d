# SPDX-License-Identifier: GPL-3.0-or-later
"""Each operation on a real engine: carried out once, then again, and what it says on failure."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.engine import (
    DockerEngine,
    EngineError,
)
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.operations import (
    Await,
    Connect,
    Create,
    CreateNetwork,
    CreateVolume,
    Disconnect,
    PullImage,
    Remove,
    RemoveNetwork,
    RemoveVolume,
    Rename,
    Start,
    Stop,
    Update,
)

from ..conftest import wait_for
from .conftest import IMAGE, URL

SECOND = 1_000_000_000


def body(
    cluster: str, command: str = "trap exit TERM; while :; do sleep 1; done", **more: Any
) -> Any:
    return {
        "Image": IMAGE,
        "Cmd": ["sh", "-c", command],
        "Labels": {"io.otto.cluster": cluster, "io.otto.service": "web"},
        **more,
    }


def test_a_container_from_create_to_remove(engine: DockerEngine, cluster: str) -> None:
    """Every step changes something once; repeated, it is done and changes nothing."""
    name = f"{cluster}-web"
    target = Target(cluster, "here", {})
    assert engine.execute(Create(name, IMAGE, body(cluster)))
    assert not engine.execute(Create(name, IMAGE, body(cluster)))  # as after a lost answer
    assert engine.execute(Start(name))
    assert not engine.execute(Start(name))
    (found,) = engine.observe(target).containers
    assert (found.name, found.state, found.health, found.service) == (name, "running", None, "web")
    assert engine.execute(Rename(name, name + "-2", found.id))
    assert not engine.execute(Rename(name, name + "-2", found.id))
    assert not engine.execute(Rename(name, name + "-2"))
    assert engine.execute(Stop(name + "-2", found.id))
    assert engine.observe(target).containers[0].state == "exited"
    assert engine.execute(Remove(name + "-2", volumes=True))
    assert not engine.execute(Remove(name + "-2", volumes=True))
    assert not engine.execute(Stop(name + "-2", found.id))
    assert engine.observe(target).containers == ()


def test_a_name_that_somebody_else_has_is_an_error(engine: DockerEngine, cluster: str) -> None:
    """Another container under the same name is never taken for the one that was to be made."""
    name = f"{cluster}-web"
    engine.execute(Create(name, IMAGE, body(cluster)))
    other = body(cluster)
    other["Labels"]["io.otto.service"] = "other"
    with pytest.raises(OttoError, match=f"Could not create container {name}") as caught:
        engine.execute(Create(name, IMAGE, other))
    assert "already in use" in caught.value.cause
    assert caught.value.next.startswith("docker ps -a")


def test_networks_and_volumes(engine: DockerEngine, cluster: str) -> None:
    """Made, joined, left and removed; each step twice; what is in use says so."""
    network, volume, name = f"{cluster}_net", f"{cluster}_data", f"{cluster}-web"
    labels = {"io.otto.cluster": cluster}
    create_network = CreateNetwork(network, {"Driver": "bridge", "Labels": labels})
    assert engine.execute(create_network)
    assert not engine.execute(create_network)
    engine.execute(CreateVolume(volume, {"Labels": labels}))
    engine.execute(Create(name, IMAGE, body(cluster, HostConfig={"Binds": [f"{volume}:/data"]})))
    engine.execute(Start(name))  # what is only created may be connected again without a word
    assert engine.execute(Connect(name, network, {"Aliases": ["web"]}))
    assert not engine.execute(Connect(name, network, {"Aliases": ["web"]}))
    observed = engine.observe(Target(cluster, "here"))
    assert set(observed.networks) == {network}
    assert set(observed.volumes) == {volume}
    networks = observed.containers[0].inspect["NetworkSettings"]["Networks"]
    assert "web" in networks[network]["Aliases"]
    with pytest.raises(OttoError) as caught:
        engine.execute(RemoveVolume(volume))
    assert "in use" in caught.value.cause
    assert engine.execute(Disconnect(name, network))
    assert not engine.execute(Disconnect(name, network))
    engine.execute(Remove(name, force=True))
    for operation in (RemoveNetwork(network), RemoveVolume(volume)):
        assert engine.execute(operation)
        assert not engine.execute(operation)


def test_update_in_place(engine: DockerEngine, cluster: str) -> None:
    """The restart policy of a running container changes; it is the same container afterwards."""
    name = f"{cluster}-web"
    engine.execute(Create(name, IMAGE, body(cluster)))
    engine.execute(Start(name))
    before = engine.inspect(name)
    engine.execute(Update(name, {"RestartPolicy": {"Name": "unless-stopped"}}))
    after = engine.inspect(name)
    assert before is not None
    assert after is not None
    assert after.id == before.id
    assert after.inspect["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def healthcheck(command: str) -> Any:
    return {
        "Test": ["CMD-SHELL", command],
        "Interval": SECOND // 5,
        "Timeout": SECOND,
        "Retries": 2,
    }


def test_the_gate_opens_when_healthy(engine: DockerEngine, cluster: str) -> None:
    """It waits through `starting`, and no longer than needed."""
    name = f"{cluster}-web"
    command = "sleep 1; touch /ok; while :; do sleep 1; done"
    check = {**healthcheck("test -e /ok"), "Retries": 30}
    engine.execute(Create(name, IMAGE, body(cluster, command, Healthcheck=check)))
    engine.execute(Start(name))
    begun = time.monotonic()
    engine.execute(Await(name, healthcheck=True, timeout=30))
    assert 0.5 < time.monotonic() - begun < 10
    found = engine.inspect(name)
    assert found is not None
    assert found.health == "healthy"


@pytest.mark.parametrize(
    ("command", "more", "awaited", "cause"),
    [
        pytest.param(
            "while :; do sleep 1; done",
            {"Healthcheck": healthcheck("echo no route to db; exit 7")},
            {"healthcheck": True, "timeout": 30},
            "it is unhealthy (health check exit code 7: no route to db)",
            id="unhealthy",
        ),
        pytest.param(
            "echo cannot open port; exit 3",
            {},
            {"settle": 5.0},
            "it ended with exit code 3 (cannot open port)",
            id="exited",
        ),
        pytest.param(
            "echo again >&2; exit 4",
            {"HostConfig": {"RestartPolicy": {"Name": "always"}}},
            {"settle": 5.0},
            "it ends",
            id="restarting",
        ),
        pytest.param("exit 0", {}, {}, "it ended by itself with exit code 0", id="ended"),
        pytest.param(
            "while :; do sleep 1; done",
            {"Healthcheck": {**healthcheck("exit 1"), "Retries": 1000}},
            {"healthcheck": True, "timeout": 1.0},
            "it was not healthy within 1 s",
            id="too late",
        ),
    ],
)
def test_the_gate_stays_shut(
    engine: DockerEngine,
    cluster: str,
    command: str,
    more: dict[str, Any],
    awaited: dict[str, Any],
    cause: str,
) -> None:
    """What is wrong is told with the container's own last words and the command for the rest."""
    name = f"{cluster}-web"
    engine.execute(Create(name, IMAGE, body(cluster, command, **more)))
    engine.execute(Start(name))
    with pytest.raises(OttoError) as caught:
        engine.execute(Await(name, **awaited))
    assert caught.value.cause.startswith(cause)
    assert caught.value.next == f"docker logs {name}"


def test_what_runs_once_may_end(engine: DockerEngine, cluster: str) -> None:
    """may_exit: an exit code of 0 opens the gate."""
    name = f"{cluster}-job"
    engine.execute(Create(name, IMAGE, body(cluster, "exit 0")))
    engine.execute(Start(name))
    engine.execute(Await(name, may_exit=True))


def test_pulling(engine: DockerEngine) -> None:
    """What lies there is not fetched; `always` asks the registry and finds nothing newer."""
    assert not engine.execute(PullImage(IMAGE))
    assert not engine.execute(PullImage(IMAGE, always=True))


@pytest.mark.parametrize("tag", ["no-such-tag", "sha-%s" % ("0" * 12)])
def test_an_image_that_is_not_there(engine: DockerEngine, tag: str) -> None:
    """The error names the image, the registry's reason and the command to try by hand."""
    reference = f"10.77.0.1:5000/library/busybox:{tag}"
    with pytest.raises(OttoError) as caught:
        engine.execute(PullImage(reference))
    assert caught.value.message == f"Could not pull image {reference}"
    assert "manifest unknown" in caught.value.cause
    assert caught.value.next == f"check the tag of {reference} in otto.yaml"


def test_a_container_that_vanishes_while_observing_is_left_out(
    engine: DockerEngine, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 15: between list and inspect a container may go: no error."""
    name = f"{cluster}-web"
    engine.execute(Create(name, IMAGE, body(cluster)))
    inspect = engine.inspect

    def after_removal(reference: str) -> Any:
        engine.execute(Remove(name, force=True))
        return inspect(reference)

    monkeypatch.setattr(engine, "inspect", after_removal)
    assert engine.observe(Target(cluster, "here")).containers == ()


def test_events_come_and_close_ends_them(cluster: str) -> None:
    """A container's life is seen as it happens; `close` from another thread ends the wait."""
    seen: list[Any] = []
    with DockerEngine(URL) as engine:

        def listen() -> None:
            seen.extend(engine.events(since=time.time() - 1))

        def mine() -> list[str]:
            return [
                event["Action"]
                for event in list(seen)
                if event["Actor"]["Attributes"].get("io.otto.cluster") == cluster
            ]

        thread = threading.Thread(target=listen)
        thread.start()
        name = f"{cluster}-web"
        engine.execute(Create(name, IMAGE, body(cluster)))
        engine.execute(Start(name))
        engine.execute(Remove(name, force=True))

        wait_for(lambda: "destroy" in mine(), seconds=10, what="the destroy event")
        assert mine()[:2] == ["create", "start"]
        assert "die" in mine()
    thread.join(5)
    assert not thread.is_alive()


class Proxy:
    """A TCP door to the engine. It can swallow the answer to a request, and drop everybody."""

    def __init__(self, swallow: bytes = b"") -> None:
        self.swallow = swallow
        self.pairs: list[socket.socket] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _address = self.server.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(URL.removeprefix("unix://"))
                self.pairs += [client, engine]
                mute = threading.Event()
                for source, sink in ((client, engine), (engine, client)):
                    threading.Thread(
                        target=self._copy, args=(source, sink, client, mute), daemon=True
                    ).start()

    def _copy(
        self, source: socket.socket, sink: socket.socket, client: socket.socket, mute: Any
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source is client and self.swallow and self.swallow in data:
                    mute.set()
                if source is client or not mute.is_set():
                    sink.sendall(data)

    def drop(self) -> None:
        for one in [self.server, *self.pairs]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def test_a_create_whose_answer_is_lost_has_succeeded(cluster: str) -> None:
    """The engine made it and the answer never came: it is looked up by name, not made twice."""
    proxy = Proxy(swallow=b"/containers/create")
    try:
        with DockerEngine(proxy.url, timeout=3) as engine:
            assert engine.execute(Create(f"{cluster}-web", IMAGE, body(cluster)))
            (found,) = engine.observe(Target(cluster, "here")).containers
            assert found.state == "created"
    finally:
        proxy.drop()


def test_a_broken_event_stream_is_loud() -> None:
    """An engine that goes away ends the events with an error, never in silence."""
    proxy = Proxy()
    engine = DockerEngine(proxy.url)
    caught: list[OttoError] = []

    def listen() -> None:
        try:
            for _event in engine.events():
                pass
        except OttoError as error:
            caught.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    wait_for(lambda: engine._streams, seconds=10, what="the stream")
    proxy.drop()
    thread.join(10)
    engine.close()
    assert not thread.is_alive()
    assert "Docker" in caught[0].message
    assert proxy.url in caught[0].cause


def test_no_engine_at_the_address(tmp_path: Path) -> None:
    """A missing socket is told with its path and the command that starts Docker."""
    with pytest.raises(OttoError, match="Docker does not answer") as caught:
        DockerEngine(f"unix://{tmp_path}/none.sock")
    assert "No such file or directory" in caught.value.cause
    assert "systemctl" in caught.value.next


def test_an_address_of_another_kind() -> None:
    """Only what works is taken; a context or an SSH address is refused by name."""
    with pytest.raises(OttoError, match="not one that Otto can use"):
        DockerEngine("ssh://pi@host")


def test_an_engine_that_hangs_is_given_up_in_time(tmp_path: Path) -> None:
    """The timeout is kept: a stalled engine costs as many seconds as were asked for."""
    path = tmp_path / "hang.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    begun = time.monotonic()
    with pytest.raises(EngineError) as caught:
        DockerEngine(f"unix://{path}", timeout=0.5)
    server.close()
    assert time.monotonic() - begun < 3
    assert "in 0.5 s" in caught.value.cause
