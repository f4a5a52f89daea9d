# SPDX-License-Identifier: GPL-3.0-or-later
"""How a change goes over the nodes: `update` of otto.yaml, and the batches that come of it."""

from __future__ import annotations

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Cluster, Update
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_text
from ansible_collections.otto.cluster.plugins.module_utils.target import targets
from hypothesis import given
from hypothesis import strategies as st

HEAD = """
cluster: {name: home}
nodes:
  - {id: a, host: 10.0.0.1, user: pi}
  - {id: b, host: 10.0.0.2, user: pi, labels: {zone: attic}}
  - {id: c, host: 10.0.0.3, user: pi, labels: {zone: attic}}
"""
NODES = ("a", "b", "c", "d", "e")


def cluster(text: str) -> Cluster:
    return load_text(HEAD + text, "otto.yaml", environ={"N": "2"})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{}", Update()),
        ("{parallelism: 2}", Update(parallelism=2)),
        ("{parallelism: '${N}', delay: 1m30s}", Update(parallelism=2, delay=90.0)),
        ("{canary: 1, max_failures: 2}", Update(canary=1, max_failures=2)),
        ("{canary: b}", Update(canary=("b",))),
        ("{canary: [c, a]}", Update(canary=("a", "c"))),
        ("{canary: {zone: attic}}", Update(canary=("b", "c"))),
        ("{order: start-first}", Update(order="start-first")),
    ],
)
def test_what_may_be_written(written: str, meant: Update) -> None:
    assert cluster(f"update: {written}").update == meant


@pytest.mark.parametrize(
    ("update", "waiting", "batches"),
    [
        (Update(parallelism=2), "abcde", ["ab", "cd", "e"]),
        (Update(parallelism=2, canary=1), "abcde", ["a", "bc", "de"]),
        (Update(canary=2), "abcde", ["ab", "cde"]),
        # Those that have nothing to change take no place, and no canary waits for them.
        (Update(parallelism=2, canary=1), "bde", ["b", "de"]),
        (Update(parallelism=1, canary=("d", "b")), "abde", ["bd", "a", "e"]),
        (Update(parallelism=9, canary=("c",)), "ab", ["ab"]),
        (Update(parallelism=1, canary=9), "ab", ["ab"]),
        (Update(canary=1), "", []),
    ],
)
def test_batches(update: Update, waiting: str, batches: list[str]) -> None:
    assert update.batches(set(waiting), NODES) == [list(batch) for batch in batches]


@given(
    waiting=st.sets(st.sampled_from(NODES)),
    parallelism=st.integers(0, 6),
    canary=st.one_of(st.integers(0, 6), st.sets(st.sampled_from(NODES)).map(tuple)),
)
def test_every_node_has_one_turn(
    waiting: set[str], parallelism: int, canary: int | tuple[str, ...]
) -> None:
    """Nobody is forgotten, nobody comes twice, and no batch but the first is larger than asked."""
    found = Update(parallelism=parallelism, canary=canary).batches(waiting, NODES)
    assert sorted(node for batch in found for node in batch) == sorted(waiting)
    assert all(found)
    if parallelism:
        assert all(len(batch) <= parallelism for batch in found[1:])


def test_order_is_the_default_of_the_services() -> None:
    """What a service says itself wins. start-first as a default is the plan's own rule: written
    into every spec it would forbid ports, and let two containers write one volume."""
    for order, web in (("start-first", None), ("stop-first", "stop-first")):
        found = targets(
            cluster(f"""
update: {{order: {order}}}
services:
  web: {{image: nginx, node: a}}
  db: {{image: redis, node: a, deploy: {{update_config: {{order: start-first}}}}}}
""")
        )["a"].services
        assert found["web"].get("update_order") == web
        assert found["db"]["update_order"] == "start-first"


def test_without_a_word_no_spec_changes() -> None:
    """An order that is not written may not turn up in a target: every digest would be another."""
    assert (
        "update_order"
        not in targets(cluster("services: {web: {image: n, node: a}}"))["a"].services["web"]
    )
