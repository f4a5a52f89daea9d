# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on a real engine: what a registry is asked, logins, architecture, prune.

The registry is one of its own on loopback, where every engine takes plain HTTP: one door is open,
for pushing; the other one wants a login. Both stand over the same storage.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible_collections.otto.cluster.plugins.module_utils import image_memory
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.model import RegistryImage, Target
from ansible_collections.otto.cluster.plugins.module_utils.plan_document import digest_of
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import Report, apply, reconcile
from ansible_collections.otto.cluster.plugins.module_utils.revisions import Revisions
from ansible_collections.otto.cluster.plugins.module_utils.state import TargetStore

from ..conftest import wait_for
from ..run.conftest import free_port
from .conftest import IMAGE, URL

USER, PASSWORD = "ann", "correct-horse-7"
# bcrypt of PASSWORD: the registry takes nothing else.
HTPASSWD = "ann:$2b$05$rEB4cU5SNCFRMxOerqt6VeO92dZYkXskhS9YrU9d1MnmpCsLtkuV2\n"


def sdk(engine: DockerEngine) -> docker.APIClient:
    """For what Otto itself does not do: push, save, load."""
    return docker.APIClient(base_url=engine.url)


@dataclass
class Registry:
    """host: the open door; locked: the one with a login."""

    engine: DockerEngine
    host: str
    locked: str
    daemons: list[subprocess.Popen[bytes]]
    made: set[str] = field(default_factory=set)

    def publish(self, name: str, **config: Any) -> str:
        """New content under a name, without it staying on the node; returns the open reference."""
        reference = f"{self.host}/otto-test/{name}"
        build(self.engine, reference, **config)
        lines = sdk(self.engine).push(reference, auth_config={"username": "x", "password": "x"})
        assert "error" not in lines, lines
        self.forget(reference)
        return reference

    def forget(self, reference: str) -> None:
        self.made.add(reference)
        image = self.engine.find(f"/images/{reference}/json")
        if image is not None:
            self.engine.call("DELETE", f"/images/{image['Id']}", params={"force": 1})


def build(engine: DockerEngine, reference: str, **config: Any) -> str:
    """An image that is busybox with a label of its own; returns its id."""
    label = {"Labels": {"otto-test": uuid.uuid4().hex}, **config}
    container = engine.call("POST", "/containers/create", body={"Image": IMAGE})["Id"]
    try:
        repository, _, tag = reference.rpartition(":")
        params = {"container": container, "repo": repository, "tag": tag}
        found = engine.call("POST", "/commit", params=params, body=label)
    finally:
        engine.call("DELETE", f"/containers/{container}")
    return str(found["Id"])


@pytest.fixture(scope="module")
def registry(engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    (folder / "htpasswd").write_text(HTPASSWD)
    ports = [free_port(), free_port()]
    login = {"htpasswd": {"realm": "t", "path": f"{folder}/htpasswd"}}
    daemons = []
    for port, auth in ((ports[0], {}), (ports[1], login)):
        config = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": f"127.0.0.1:{port}"},
            "auth": auth,
        }
        file = folder / f"{port}.yml"
        file.write_text(json.dumps(config))
        with (folder / f"{port}.log").open("wb") as log:
            command = ["docker-registry", "serve", str(file)]
            daemons.append(subprocess.Popen(command, stdout=log, stderr=log))
    found = Registry(engine, f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", daemons)
    try:
        for port in ports:
            wait_for(lambda: answers(port), seconds=10, what=f"the registry on {port}")  # noqa: B023
        yield found
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait(10)
        for reference in found.made:
            found.forget(reference)
        for row in engine.call("GET", "/images/json"):
            names = [*(row["RepoTags"] or ()), *(row["RepoDigests"] or ())]
            if any(name.startswith((found.host, found.locked)) for name in names):
                found.forget(row["Id"])


def answers(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"http://127.0.0.1:{port}/v2/", timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@dataclass
class Node:
    """One state directory on the engine, and how often a registry was asked."""

    engine: DockerEngine
    store: TargetStore
    cluster: str
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def target(self, image: str, policy: str = "newer", **more: Any) -> Target:
        web = {
            "image": image,
            "pull_policy": policy,
            "command": ["sh", "-c", "trap exit TERM; while :; do sleep 0.2; done"],
            "container_name": f"{self.cluster}-web",
            "network_mode": "none",
            **more,
        }
        return Target(self.cluster, "here", {"web": web})

    def apply(self, target: Target, **how: Any) -> Report:
        return apply(self.engine, self.store, target, **how)

    def plan(self, target: Target) -> Report:
        return self.apply(target, check=True)

    @property
    def runs(self) -> str:
        """Id of the image that the container runs."""
        (container,) = self.engine.observe(Target(self.cluster, "here")).containers
        assert container.state == "running"
        return container.image_id


@pytest.fixture
def node(
    engine: DockerEngine, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Node:
    found = Node(engine, TargetStore(tmp_path), cluster)
    asks: Callable[[Any], Mapping[str, RegistryImage]] = engine.ask

    def counted(references: Any) -> Mapping[str, RegistryImage]:
        found.asked.append(tuple(references))
        return asks(references)

    monkeypatch.setattr(engine, "ask", counted)
    return found


def test_a_newer_image_is_planned_exactly_and_not_pulled(node: Node, registry: Registry) -> None:
    """The plan names both digests and pulls nothing; the apply does that; then nothing is to do."""
    reference = registry.publish("newer:1")
    target = node.target(reference)
    first = node.apply(target)
    assert (first.changed, first.errors) == (True, ())
    old = node.engine.image(reference)
    assert old is not None
    registry_has = registry_digest(registry, "newer")
    assert old.digests == (registry_has,)
    assert not node.apply(target).changed
    # Other content under the same name, as somebody else would push it: ours stays as it is.
    newer = republish(node, reference)
    node.asked.clear()
    foretold = node.plan(target)
    line = f"image: {reference} ({registry_has[:19]} -> {newer[:19]}) [image]"
    assert foretold.services["web"]["changes"] == [line]
    assert foretold.services["web"]["verdict"] == "recreate"
    assert node.engine.image(newer_name(reference, newer)) is None
    assert node.runs == old.id
    done = node.apply(target)
    assert done.services["web"]["changes"] == [line]
    assert node.runs != old.id
    assert not node.apply(target).changed
    assert node.asked == [(reference,)] * 3, "once for each image and run"
    # With `missing`, nobody is asked about what lies there; nor by an agent's sweep.
    node.asked.clear()
    node.apply(node.target(reference, "missing"))
    reconcile(node.engine, target, refresh=False)
    assert node.asked == []


def registry_digest(registry: Registry, name: str) -> str:
    request = urllib.request.Request(
        f"http://{registry.host}/v2/otto-test/{name}/manifests/1",
        headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def republish(node: Node, reference: str) -> str:
    """Other content in the registry, the node's own kept; returns its digest."""
    kept = node.engine.image(reference)
    assert kept is not None
    build(node.engine, reference)
    lines = sdk(node.engine).push(reference, auth_config={"username": "x", "password": "x"})
    assert "error" not in lines, lines
    pushed = node.engine.image(reference)
    assert pushed is not None
    repository, _, tag = reference.rpartition(":")
    node.engine.call("POST", f"/images/{kept.id}/tag", params={"repo": repository, "tag": tag})
    node.engine.call("DELETE", f"/images/{pushed.id}", params={"force": 1})
    return pushed.digests[0]


def newer_name(reference: str, digest: str) -> str:
    return f"{reference.rpartition(':')[0]}@{digest}"


def test_a_pinned_digest_is_what_runs(node: Node, registry: Registry) -> None:
    """Name, tag and digest: pulled, run, never asked about again; another digest replaces it."""
    reference = registry.publish("pinned:1")
    first = registry_digest(registry, "pinned")
    target = node.target(f"{reference}@{first}", "always")
    assert node.apply(target).errors == ()
    image = node.engine.image(node.runs)
    assert image is not None
    assert image.digests == (first,)
    node.asked.clear()
    assert not node.apply(target).changed
    assert node.asked == []
    registry.publish("pinned:1")
    second = registry_digest(registry, "pinned")
    other = node.target(f"{reference}@{second}", "always")
    foretold = node.plan(other)
    assert foretold.services["web"]["verdict"] == "recreate"
    assert node.apply(other).errors == ()
    image = node.engine.image(node.runs)
    assert image is not None
    assert image.digests == (second,)


def test_daily_asks_once_a_day(node: Node, registry: Registry) -> None:
    """The state directory remembers when; a plan reads it and does not count."""
    reference = registry.publish("daily:1")
    target = node.target(reference, "daily")
    node.apply(target)
    node.asked.clear()
    for _ in range(2):
        node.apply(target)
        node.plan(target)
    assert node.asked == []
    memory = image_memory.read(node.store.directory)
    yesterday = {name: at - 24 * 3600 for name, at in memory.asked.items()}
    image_memory.write(
        node.store.directory, image_memory.Memory(yesterday, memory.brought, memory.used)
    )
    node.plan(target)
    node.apply(target)
    node.apply(target)
    assert node.asked == [(reference,)] * 2


def test_a_registry_that_is_gone_is_told_and_hinders_nothing(
    node: Node, registry: Registry
) -> None:
    """`newer` goes on with what lies there; `always` insists and keeps the old container."""
    gone = f"127.0.0.1:{free_port()}/otto-test/gone:1"
    registry.made.add(gone)
    build(node.engine, gone)
    target = node.target(gone)
    for report in (node.plan(target), node.apply(target), node.apply(target)):
        assert report.errors == ()
        (note,) = report.plan["notes"]
        assert note["message"] == f"the registry does not say what it has under {gone}"
        assert "refused" in note["cause"]
    serving = node.runs
    insisting = node.apply(node.target(gone, "always"))
    assert [error["message"] for error in insisting.errors] == [f"Could not pull image {gone}"]
    assert node.runs == serving


def test_a_login_is_used_for_the_call_and_left_nowhere(
    node: Node, registry: Registry, cluster: str, tmp_path: Path
) -> None:
    """None and a wrong one are told with registry, user and place; the right one pulls."""
    registry.publish("private:1")
    reference = f"{registry.locked}/otto-test/private:1"
    registry.made.add(reference)
    target = node.target(reference)

    def with_login(password: str | None) -> Report:
        logins = {} if password is None else {registry.locked: (USER, password)}
        with DockerEngine(URL, registries=logins) as engine:
            foretold = reconcile(engine, target, check=True)
            assert bool(foretold.plan["notes"]) == (password != PASSWORD)
            return apply(engine, node.store, target)

    (nobody,) = with_login(None).errors
    assert f"registry {registry.locked} wants a login" in nobody["cause"]
    assert registry.locked in nobody["cause"] and "under registries" in nobody["next"]
    (wrong,) = with_login("wrong-horse-8").errors
    assert f"registry {registry.locked} refuses the login of {USER}" in wrong["cause"]
    assert f"correct registries.{registry.locked} in otto.yaml" in wrong["next"]
    right = with_login(PASSWORD)
    assert right.errors == ()
    assert node.runs
    seen = json.dumps([right.to_json(), nobody, wrong])
    for container in node.engine.observe(Target(cluster, "here")).containers:
        seen += json.dumps(dict(container.inspect))
    for file in tmp_path.rglob("*"):
        seen += file.read_text(errors="replace") if file.is_file() else ""
    assert PASSWORD not in seen
    assert "wrong-horse-8" not in seen


def test_a_wrong_architecture_stops_nothing(node: Node, registry: Registry) -> None:
    """Found after the pull and before the old container is touched; both are named."""
    reference = registry.publish("arch:1")
    target = node.target(reference)
    node.apply(target)
    serving = node.runs
    turned = arm64(node.engine, f"{registry.host}/otto-test/arch:2")
    registry.made.add(turned)
    other = node.target(turned, "missing")
    for report in (node.plan(other), node.apply(other)):
        (error,) = report.errors
        assert error["message"] == f"image {turned} is built for arm64, and this node is amd64"
        assert "platform: linux/arm64" in error["next"]
    assert node.runs == serving


def arm64(engine: DockerEngine, reference: str) -> str:
    """busybox that says it is built for another processor, loaded under a name."""
    raw = b"".join(sdk(engine).get_image(IMAGE))
    turned = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(raw)) as old,
        tarfile.open(fileobj=turned, mode="w") as new,
    ):
        files = {member.name: (member, old.extractfile(member)) for member in old.getmembers()}
        (manifest,) = json.load(files["manifest.json"][1])  # type: ignore[arg-type]
        config = json.load(files[manifest["Config"]][1])  # type: ignore[arg-type]
        config["architecture"] = "arm64"
        contents = {
            "config.json": json.dumps(config).encode(),
            "manifest.json": json.dumps(
                [{**manifest, "Config": "config.json", "RepoTags": [reference]}]
            ).encode(),
        }
        for name in manifest["Layers"]:
            layer = files[name][1]
            assert layer is not None
            contents[name] = layer.read()
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    sdk(engine).load_image(turned.getvalue())
    return reference


def test_back_to_what_a_tag_meant(node: Node, registry: Registry) -> None:
    """The same target, a tag that moved: the earlier content runs again under its name, planned
    exactly, although the registry has a newer one; the next apply goes forward."""
    reference = registry.publish("back:1")
    target = node.target(reference)
    kept = Revisions(node.store.directory)
    assert not node.apply(target).errors
    first, given = node.runs, kept.last
    registry.publish("back:1")
    assert not node.apply(target).errors
    second = node.runs
    assert second != first
    assert kept.last != given

    images = kept.images(given)
    would = node.apply(target, check=True, images=images)
    assert [step["op"] for step in would.plan["before"]] == ["tag_image"]
    report = node.apply(target, images=images, expect=digest_of(would.plan))
    assert not report.errors
    assert (node.runs, kept.last) == (first, given)
    assert not node.apply(target, check=True, images=images).changed
    assert not node.apply(target).errors
    assert node.runs == second

    gone = {reference: "sha256:" + "0" * 64}
    (note,) = node.apply(target, check=True, images=gone).plan["notes"]
    assert "is not on the node any more" in note["message"]


def test_superseded_images_go_and_others_stay(node: Node, registry: Registry) -> None:
    """`keep` sets stay besides the present one; what Otto did not bring, or has another name,
    stays for ever."""
    references = [registry.publish(f"prune:{number}") for number in range(4)]
    foreign = f"{registry.host}/otto-test/foreign:1"
    build(node.engine, foreign)
    registry.made.add(foreign)
    node.apply(node.target(foreign, "never"), keep_images=0)
    ids = []
    for number, reference in enumerate(references):
        done = node.apply(node.target(reference), keep_images=1)
        assert done.errors == ()
        ids.append(node.runs)
        if number == 1:
            node.engine.call(
                "POST", f"/images/{reference}/tag",
                params={"repo": f"{registry.host}/otto-test/mine", "tag": "1"},
            )  # fmt: skip
            registry.made.add(f"{registry.host}/otto-test/mine:1")
        gone = [f"remove image {references[0]} ({ids[0][:19]})"] if number == 2 else []
        assert list(done.pruned) == gone
    there = [node.engine.image(image) is not None for image in ids]
    assert there == [False, True, True, True]  # the second has a name that somebody gave it
    assert node.engine.image(foreign) is not None
    memory = image_memory.read(node.store.directory)
    in_use = node.engine.images_in_use()
    (step,) = (s for s in image_memory.to_prune(memory, in_use, 0) if s.image == ids[2])
    assert step.line() == f"remove image {references[2]} ({ids[2][:19]})"
    _after, removed = image_memory.prune(node.engine, memory, in_use, 0)
    assert removed == (step.line(),)
    assert node.engine.image(ids[3]) is not None
