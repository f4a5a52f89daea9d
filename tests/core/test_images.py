# SPDX-License-Identifier: GPL-3.0-or-later
"""What the registry is asked, what is pulled, what is new, and what does not fit: by tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import (
    engine_images,
    image_memory,
    image_names,
    plan_images,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_text
from ansible_collections.otto.cluster.plugins.module_utils.errors import ClusterFileError
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    Engine,
    Observed,
    ObservedImage,
    RegistryImage,
    Target,
)
from ansible_collections.otto.cluster.plugins.module_utils.plan import Plan, plan
from ansible_collections.otto.cluster.plugins.module_utils.target import logins, targets
from ansible_collections.otto.cluster.plugins.module_utils.transport import EngineError

from .model_engine import ModelEngine

IMAGE = "nginx:alpine"
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ID_1, ID_2 = "sha256:" + "1" * 64, "sha256:" + "2" * 64
NOW = 10_000_000.0
HOUR = 3600.0


def seen(
    *, here: bool = True, digest: str = OLD, answer: RegistryImage | None = None, **engine: str
) -> Observed:
    image = ObservedImage(ID_1, "amd64", {}, digests=(digest,) if digest else ())
    return Observed(
        images={IMAGE: image} if here else {},
        engine=Engine(**engine),
        registry={} if answer is None else {IMAGE: answer},
    )


# --- who is asked --------------------------------------------------------------------------------

ASKED = [  # policy, on the node, seconds since the last answer, asked in an apply, in a plan
    ("missing", True, None, False, False),
    ("missing", False, None, False, True),
    ("never", True, None, False, False),
    ("never", False, None, False, False),
    ("always", True, 1.0, True, True),
    ("newer", True, 1.0, True, True),
    ("newer", False, None, True, True),
    ("daily", True, None, True, True),
    ("daily", True, 23 * HOUR, False, False),
    ("daily", True, 24 * HOUR, True, True),
    ("daily", True, -HOUR, True, True),
    ("daily", False, HOUR, True, True),
    ("weekly", True, 6 * 24 * HOUR, False, False),
    ("weekly", True, 7 * 24 * HOUR, True, True),
    ("every_90m", True, HOUR, False, False),
    ("every_90m", True, 1.5 * HOUR, True, True),
]


@pytest.mark.parametrize(("policy", "here", "ago", "applying", "planning"), ASKED)
def test_who_is_asked(
    policy: str, here: bool, ago: float | None, applying: bool, planning: bool
) -> None:
    """Each policy asks when it says, and a plan also looks at what a pull would bring."""
    asked = {} if ago is None else {IMAGE: NOW - ago}
    spec = {"image": IMAGE, "pull_policy": policy}
    for absent, expected in ((False, applying), (True, planning)):
        found = plan_images.to_ask(
            [spec, dict(spec)], seen(here=here), asked=asked, now=NOW, absent=absent
        )
        assert found == ((IMAGE,) if expected else ())


def test_what_names_its_content_is_never_asked_again() -> None:
    pinned = f"{IMAGE}@{OLD}"
    there = Observed(images={pinned: ObservedImage(ID_1, "amd64", {})})
    spec = {"image": pinned, "pull_policy": "always"}
    for observed, expected in ((there, ()), (Observed(), (pinned,))):
        asked = plan_images.to_ask([spec], observed, asked={}, now=NOW, absent=True)
        assert asked == expected
    assert plan_images.pulls(spec, there, refresh=True, making=False) == ()


# --- what is pulled ------------------------------------------------------------------------------

SAME, OTHER = RegistryImage(OLD), RegistryImage(NEW)
SILENT = RegistryImage(problem="no route", next="ping")
PULLED = [  # policy, on the node, answer, refresh, making -> line of the pull
    ("missing", True, None, True, True, ""),
    ("missing", True, OTHER, True, True, ""),
    ("missing", False, None, False, True, f"pull image {IMAGE}"),
    ("missing", False, None, True, False, ""),
    ("never", False, None, True, True, ""),
    ("always", True, None, True, False, f"pull image {IMAGE} if there is a newer one"),
    ("always", True, SILENT, True, False, f"pull image {IMAGE} if there is a newer one"),
    ("always", True, SAME, True, True, ""),
    ("always", True, OTHER, True, False, f"pull image {IMAGE}"),
    ("always", True, OTHER, False, True, ""),
    ("newer", True, None, True, True, ""),
    ("newer", True, SILENT, True, True, ""),
    ("newer", True, SAME, True, True, ""),
    ("newer", True, OTHER, True, True, f"pull image {IMAGE}"),
    ("newer", False, SILENT, True, False, f"pull image {IMAGE}"),
    ("daily", True, None, True, True, ""),
    ("daily", True, OTHER, True, False, f"pull image {IMAGE}"),
    ("every_12h", True, OTHER, True, False, f"pull image {IMAGE}"),
    ("every_12h", False, None, False, True, f"pull image {IMAGE}"),
]


@pytest.mark.parametrize(("policy", "here", "answer", "refresh", "making", "line"), PULLED)
def test_what_is_pulled(
    policy: str, here: bool, answer: RegistryImage | None, refresh: bool, making: bool, line: str
) -> None:
    """Only what the registry has otherwise, where it said so; a sweep only what is missing."""
    spec = {"image": IMAGE, "pull_policy": policy}
    found = plan_images.pulls(spec, seen(here=here, answer=answer), refresh=refresh, making=making)
    assert "".join(step.line() for step in found) == line


# --- the plan without a pull ---------------------------------------------------------------------


def running(**options: Any) -> tuple[ModelEngine, Target]:
    node = ModelEngine({IMAGE: (ID_1, {"Cmd": ["nginx"]})})
    wanted = Target("home", "n1", {"web": {"image": IMAGE, **options}})
    node.carry_out(wanted)
    return node, wanted


def planned(node: ModelEngine, wanted: Target, answer: RegistryImage, **options: Any) -> Plan:
    observed = node.observe()
    images = {
        name: replace(image, digests=(OLD,) if image.id == ID_1 else (NEW,))
        for name, image in observed.images.items()
    }
    return plan(wanted, replace(observed, images=images, registry={IMAGE: answer}), **options)


def test_the_plan_names_both_digests_before_anything_is_pulled() -> None:
    """The registry's other content makes a replacement with both digests; the same makes none."""
    node, wanted = running(pull_policy="newer")
    assert planned(node, wanted, SAME).empty
    found = planned(node, wanted, OTHER)
    (web,) = found.services
    assert (web.verdict, found.empty) == ("recreate", False)
    assert [change.line() for change in web.changes] == [
        f"image: {IMAGE} (sha256:{'a' * 12} -> sha256:{'b' * 12}) [image]"
    ]
    # Pulled, and planned from the engine alone: the same line.
    node.registry[IMAGE] = (ID_2, {"Cmd": ["nginx"]})
    node.execute(web.pulls[0])
    after = planned(node, wanted, OTHER, refresh=False)
    assert after.services[0].changes == web.changes
    # The tag went on, the container has it already.
    node.carry_out(wanted, refresh=False)
    node.images[IMAGE] = (ID_1, {"Cmd": ["nginx"]})
    assert planned(node, wanted, OTHER).services[0].changes == ()


def test_a_registry_that_does_not_answer_is_a_note_and_no_change() -> None:
    node, wanted = running(pull_policy="daily")
    found = planned(node, wanted, SILENT)
    assert found.empty
    assert not found.troubles
    assert found.lines() == (
        f"? the registry does not say what it has under {IMAGE}", "  no route", "  ping",
    )  # fmt: skip
    assert found.to_json()["notes"][0]["cause"] == "no route"


# --- what does not fit ---------------------------------------------------------------------------

NAMES = [
    ("x86_64", "", "amd64"), ("AMD64", "", "amd64"), ("amd64", "v3", "amd64"),
    ("aarch64", "", "arm64"), ("arm64", "v8", "arm64"),
    ("armv7l", "", "arm/v7"), ("arm", "v7", "arm/v7"), ("arm", "", "arm/v7"),
    ("armhf", "", "arm/v7"), ("armv6l", "", "arm/v6"), ("arm", "v6", "arm/v6"),
    ("i686", "", "386"), ("riscv64", "", "riscv64"), ("", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "variant", "name"), NAMES)
def test_one_platform_has_one_name(architecture: str, variant: str, name: str) -> None:
    assert plan_images.platform(architecture, variant) == name


RUNS = [  # engine, kernel, image, runs
    ("amd64", "x86_64", "amd64", True),
    ("amd64", "x86_64", "386", True),
    ("amd64", "x86_64", "arm64", False),
    ("arm64", "aarch64", "arm/v7", True),
    ("arm64", "aarch64", "amd64", False),
    ("arm", "armv7l", "arm/v6", True),
    ("arm", "armv6l", "arm/v5", True),
    ("arm", "armv7l", "arm64", False),
    ("arm", "aarch64", "arm64", True),  # 32 bits on a kernel of 64, as Raspberry Pi OS has it
    ("", "", "s390x", True),
    ("amd64", "", "", True),
]


@pytest.mark.parametrize(("architecture", "machine", "image", "expected"), RUNS)
def test_which_image_runs_where(
    architecture: str, machine: str, image: str, expected: bool
) -> None:
    assert plan_images.runs(Engine("", "", architecture, machine=machine), image) is expected


def foreign(node: ModelEngine, wanted: Target, **answer: Any) -> Plan:
    observed = node.observe()
    image = ObservedImage(ID_2, "arm64", {"Cmd": ["nginx"]}, "v8", (NEW,))
    registry = {IMAGE: RegistryImage(**answer)} if answer else {}
    if not answer:
        observed = replace(observed, images={**observed.images, IMAGE: image})
    return plan(wanted, replace(observed, registry=registry), refresh=bool(answer))


@pytest.mark.parametrize("answer", [{}, {"digest": NEW, "platforms": ("arm64",)}])
def test_a_wrong_architecture_stops_nothing(answer: dict[str, Any]) -> None:
    """Pulled already or only offered: the old container serves on, both are named, and the fix."""
    node, wanted = running(pull_policy="newer")
    found = foreign(node, wanted, **answer)
    (web,) = found.services
    assert web.error is not None
    assert web.error.message == f"image {IMAGE} is built for arm64, and this node is amd64"
    assert "platform: linux/arm64" in web.error.next
    assert (web.operations, web.pulls, web.error.service) == ((), (), "web")
    assert node.containers["web"]["State"] == "running"
    named = Target("home", "n1", {"web": {**wanted.services["web"], "platform": "linux/arm64"}})
    assert foreign(node, named, **answer).services[0].error is None


def test_one_of_several_platforms_is_enough() -> None:
    node, wanted = running(pull_policy="newer")
    found = foreign(node, wanted, digest=NEW, platforms=("amd64", "arm64"))
    assert (found.services[0].error, found.services[0].verdict) == (None, "recreate")


# --- logins and what is kept ---------------------------------------------------------------------

FILE = """
cluster: {name: home}
nodes:
  - {id: a, host: 10.0.0.1, user: pi}
  - {id: b, host: 10.0.0.2, user: pi}
registries:
  registry.lan:5000: {username: ann, password: "${PASSWORD}"}
  docker.io: {username: bob, password_file: hub.txt}
images: {keep: 1}
services:
  web: {image: "registry.lan:5000/web:1", node: a}
  cache: {image: "redis:alpine", node: all}
"""


def test_a_node_gets_the_logins_that_its_images_need(tmp_path: Path) -> None:
    """From a variable and from a file; a node with none of a registry's images gets none of it."""
    (tmp_path / "hub.txt").write_text("hub-pass\n")
    found = load_text(FILE, str(tmp_path / "otto.yaml"), environ={"PASSWORD": "lan-pass"})
    hub = {"docker.io": {"username": "bob", "password": "hub-pass"}}
    lan = {"registry.lan:5000": {"username": "ann", "password": "lan-pass"}}
    assert logins(found, "a") == {**hub, **lan}
    assert logins(found, "b") == hub
    assert found.keep_images == 1
    assert "pass" not in repr(found)
    assert "pass" not in json.dumps([one.to_json() for one in targets(found).values()])


WRONG = [  # what is written, what the page says, and what it must not say
    ("registries: {'https://index.docker.io/v1/': {username: a, password: b}}",
     "nearest   docker.io"),
    ("registries: {registry.lan: 'ann:hush-hush'}", "a mapping with username and password"),
    ("registries: {registry.lan: {username: a}}", "password or password_file"),
    ("registries: {registry.lan: {username: a, password: hush-hush, password_file: f}}",
     "password or password_file"),
    ("registries: {registry.lan: {username: a, password_file: none.txt}}", "none.txt"),
    ("images: {keep: -1}", "images.keep"),
    ("images: {kepe: 3}", "nearest   keep"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_wrong_login_is_told_without_showing_it(text: str, said: str, tmp_path: Path) -> None:
    lines = FILE.partition("registries:")[0] + text
    with pytest.raises(ClusterFileError) as caught:
        load_text(lines, str(tmp_path / "otto.yaml"), environ={})
    assert said in str(caught.value)
    assert "hush-hush" not in str(caught.value)


HOSTS = [
    ("nginx", "docker.io"), ("nginx:1", "docker.io"), ("team/app", "docker.io"),
    ("index.docker.io/team/app", "docker.io"),
    ("registry.example.com/team/app:1", "registry.example.com"),
    ("localhost/app", "localhost"), ("10.0.0.1:5000/app@sha256:ab", "10.0.0.1:5000"),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "host"), HOSTS)
def test_which_registry_a_name_means(reference: str, host: str) -> None:
    assert image_names.registry_of(reference) == host


KEPT = [  # keep, sets, used by some container -> what goes, of brought a b c d
    (-1, ["a", "b", "c"], "", ""),
    (0, ["a", "b", "c"], "", "abd"),
    (1, ["a", "b", "c"], "", "ad"),
    (1, ["a", "b", "c"], "ad", ""),
    (5, ["a", "b", "c"], "", "d"),
    (1, ["a", "b", "a"], "", "cd"),
    (0, ["ab", "bc"], "", "ad"),
    (0, ["x"], "", "abcd"),
]


@pytest.mark.parametrize(("keep", "sets", "used", "gone"), KEPT)
def test_which_images_may_go(keep: int, sets: list[str], used: str, gone: str) -> None:
    assert "".join(plan_images.superseded("abcd", sets, used, keep)) == gone


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1, "asked": 3}'])
def test_a_memory_that_cannot_be_read_forgets_all(text: str, tmp_path: Path) -> None:
    """Nothing counts as brought by Otto then, so nothing is ever removed by mistake."""
    known = image_memory.Memory({IMAGE: 5.0}, {ID_1: (IMAGE,)}, ((ID_1,),))
    image_memory.write(tmp_path, known)
    assert image_memory.read(tmp_path) == known
    (tmp_path / "images.json").write_text(text)
    assert image_memory.read(tmp_path) == image_memory.Memory()


@pytest.mark.filterwarnings("ignore:docker-credential")
@pytest.mark.parametrize(
    "text",
    ['{"credsStore": "not-installed"}', '{"auths": {"r.example": {"auth": "?"}}}'],
)
def test_a_login_that_cannot_be_used_is_told_only_if_it_is_missed(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(text)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    class Engine:
        registries: Mapping[str, tuple[str, str]] = MappingProxyType({})

        def call(self, _method: str, path: str, *, headers: dict[str, str], **_: Any) -> Any:
            assert headers == {}
            if "private" in path:
                raise EngineError("", cause="no such image, or no access")
            return {"Descriptor": {"digest": "sha256:1"}, "Platforms": []}

        def find(self, _path: str) -> None:
            return None

    engine: Any = Engine()
    found = engine_images.ask(engine, ["r.example/public", "r.example/private"])
    assert found["r.example/public"].digest == "sha256:1"
    assert str(tmp_path / "config.json") in found["r.example/private"].problem
