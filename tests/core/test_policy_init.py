# SPDX-License-Identifier: GPL-3.0-or-later
"""The strictest policy of a target: its services run under it, and without any line of it not."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml
from ansible_collections.otto.cluster.plugins.module_utils.caller import Caller
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.option_table import OPTIONS
from ansible_collections.otto.cluster.plugins.module_utils.policy import parse, places, refusal
from ansible_collections.otto.cluster.plugins.module_utils.policy_init import as_usual, strictest
from ansible_collections.otto.cluster.plugins.module_utils.target import targets
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_run.policy import text
from tests import compose, drawn

from .test_plan import spec, target

NODES = "  - {id: n1, host: 10.0.0.1, user: pi}\n  - {id: n2, host: 10.0.0.2, user: pi}"


def refused(document: Any, wanted: Target) -> dict[str, str]:
    """service -> why it may not run, on a node where only /var/run is a link."""
    policy = parse(document)
    assert not policy.problem
    policy = replace(policy, real={path: as_usual(path) for path in places(policy, wanted)})
    found = {service: refusal(policy, wanted, service) for service in wanted.services}
    return {service: trouble.message for service, trouble in found.items() if trouble}


def without_one(document: Any) -> Iterator[tuple[str, Any]]:
    """The document without each of its entries in turn, and with less of each mount."""
    for key, entries in document["allow"].items():
        for index, entry in enumerate(entries):
            less = copy.deepcopy(document)
            del less["allow"][key][index]
            yield f"{key}: {entry}", less
            if key == "mounts" and isinstance(entry, str):
                less = copy.deepcopy(document)
                less["allow"][key][index] = {"path": entry, "read_only": True}
                yield f"{key}: {entry} to write", less


def check(wanted: Target) -> None:
    found = strictest(wanted)
    document = yaml.safe_load(text(found.document))
    assert document == found.document
    assert set(refused(document, wanted)) == set(found.never)
    for entry, less in without_one(document):
        assert set(refused(less, wanted)) > set(found.never), entry


def test_all_options_are_drawn() -> None:
    """A new option gets a row of values, or a reason."""
    assert {*drawn.HARMLESS, *drawn.POWERFUL, *drawn.ELSEWHERE} == set(OPTIONS)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_it_allows_the_services_and_nothing_more(seed: int, count: int) -> None:
    check(drawn.drawn(random.Random(seed), count, powerful=0.5))


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    folder = tmp_path_factory.mktemp("otto")
    (folder / "otto.yaml").write_text(compose.otto_yaml(NODES, folder, ["n1", "n2"]))
    caller = Caller(folders=(str(compose.HERE),))
    return targets(load_file(str(folder / "otto.yaml"), environ={}, caller=caller))


def test_the_compose_files_run_under_their_own(stacks: dict[str, Target]) -> None:
    """All twenty-one, each node's under its policy; and under an empty one those that need none."""
    for wanted in stacks.values():
        check(wanted)
        assert strictest(wanted).never == {}
    told = {name for wanted in stacks.values() for name in refused({"allow": {}}, wanted)}
    assert {"traefik", "homeassistant", "jellyfin", "pihole"} <= told
    assert len(told) < sum(len(wanted.services) for wanted in stacks.values())


def test_mounts_are_as_narrow_as_they_can_be() -> None:
    wanted = target(
        web=spec(volumes=["/srv/a:/a:ro", "/srv/a/b:/b", "/srv/c:/c", "/srv/c/d:/d:ro"]),
        db=spec(volumes=["/srv/a:/a:ro", "/var/run/docker.sock:/s", "/srv/c:/c:ro"]),
    )
    assert strictest(wanted).document == {
        "allow": {
            "mounts": [{"path": "/srv/a", "read_only": True}, "/srv/a/b", "/srv/c"],
            "docker_socket": ["db"],
        }
    }
    check(wanted)
    assert strictest(target(web=spec())).document == {"allow": {}}
