# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in a compose file: a cluster or a page of problems, never anything else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import yaml
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
from ansible_collections.otto.cluster.plugins.module_utils.compose_merge import merge_services
from ansible_collections.otto.cluster.plugins.module_utils.errors import ClusterFileError
from ansible_collections.otto.cluster.plugins.module_utils.pieces import File, Piece, Place
from ansible_collections.otto.cluster.plugins.module_utils.target import targets
from hypothesis import given, settings

WORDS = st.sampled_from(
    ["web", "db", "x", "a=b", "./data:/data", "/a:/b:ro", "other.yaml", "env", "*", "$X", "1", ""]
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 99) | WORDS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(WORDS, below, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "image", "extends", "env_file", "label_file", "profiles", "environment", "labels",
        "volumes", "networks", "depends_on", "secrets", "configs", "links", "ports", "command",
        "logging", "healthcheck", "extra_hosts", "tmpfs", "devices",
    ]
)  # fmt: skip
EXTENDS = st.fixed_dictionaries({"service": WORDS}, optional={"file": WORDS})
SERVICE = st.dictionaries(KEYS, TREES | st.just(["web"]), max_size=5) | st.fixed_dictionaries(
    {"image": st.just("nginx")}, optional={"extends": EXTENDS | WORDS, "profiles": WORDS}
)
SERVICES = st.dictionaries(st.sampled_from(["web", "db", "x"]), SERVICE | TREES, max_size=3)
FILES = st.fixed_dictionaries(
    {"services": SERVICES | TREES},
    optional={
        "include": TREES | st.just(["other.yaml"]),
        "networks": TREES,
        "volumes": TREES,
        "secrets": TREES,
        "name": TREES,
    },
)


@settings(max_examples=150, deadline=None)
@given(FILES, FILES, TREES | st.just("a"))
def test_any_files_give_a_cluster_or_problems(one: Any, other: Any, node: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        otto = {
            "cluster": {"name": "home"},
            "nodes": [{"id": "a", "host": "10.0.0.1", "user": "pi"}],
            "stacks": [{"compose": "one.yaml", "node": node, "name": "s"}],
            "include": ["other.yaml"],
        }
        (path / "otto.yaml").write_text(yaml.safe_dump(otto))
        (path / "one.yaml").write_text(yaml.safe_dump(one))
        (path / "other.yaml").write_text(yaml.safe_dump(other))
        (path / "env").write_text("A=1\n")
        try:
            targets(load_file(str(path / "otto.yaml"), environ={}))
        except ClusterFileError as error:
            assert all(problem.file for problem in error.problems)


PLACE = Place(File("f", "/"))


def piece(value: Any) -> Piece:
    if isinstance(value, dict):
        return Piece({key: piece(item) for key, item in value.items()}, PLACE)
    if isinstance(value, list):
        return Piece([piece(item) for item in value], PLACE)
    return Piece(value if value is None else str(value), PLACE)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, TREES, max_size=5), st.dictionaries(KEYS, TREES, max_size=5))
def test_merge_keeps_what_it_does_not_say(one: Any, other: Any) -> None:
    """Nothing over a service is the service; keys of only one side stay."""
    base, over = piece(one), piece(other)
    assert merge_services(base, piece({})).plain() == base.plain()
    merged = merge_services(base, over).plain()
    for key in one.keys() ^ other.keys():
        assert merged[key] == (base.plain() | over.plain())[key]
