# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key of otto.yaml says whether a stranger's file may set it, else it is refused there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import (
    cluster_schema,
    cluster_tables,
    option_reach,
)
from ansible_collections.otto.cluster.plugins.module_utils.caller import Caller
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
from ansible_collections.otto.cluster.plugins.module_utils.cluster_rows import Row
from ansible_collections.otto.cluster.plugins.module_utils.compose_file import KEYS
from ansible_collections.otto.cluster.plugins.module_utils.errors import ClusterFileError
from ansible_collections.otto.cluster.plugins.module_utils.option_refused import REFUSED
from ansible_collections.otto.cluster.plugins.module_utils.reach import UNDECLARED, VALUE

from tests.untrusted.hostile import HEAD, WEB

STRANGER = Caller(untrusted=True, known_hosts="/none")
TABLES: Mapping[str, tuple[Row, ...]] = {
    name: value
    for name, value in vars(cluster_tables).items()
    if isinstance(value, tuple) and value and isinstance(value[0], Row)
}
SECTIONS = {
    "cluster": "CLUSTER",
    "mqtt": "MQTT",
    "mqtt.tls": "TLS",
    "nodes": "NODE",
    "stacks": "STACK",
    "include": "INCLUDE",
    "update": "UPDATE",
    "networks": "NETWORK",
    "volumes": "VOLUME",
    "registries": "REGISTRY",
    "images": "IMAGES",
    "secrets": "CONTENT",
    "configs": "CONTENT",
}
"""Where the schema has keys, and the table that they stand in."""


def shapes(shape: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """path, properties of every mapping with keys of its own; services are looked at elsewhere."""
    if not isinstance(shape, Mapping) or "$ref" in shape:
        return
    if "properties" in shape:
        yield path, shape["properties"]
        for key, below in shape["properties"].items():
            yield from shapes(below, f"{path}.{key}" if path else key)
    for key in ("items", "additionalProperties"):
        yield from shapes(shape.get(key), path)
    for below in shape.get("anyOf", ()):
        yield from shapes(below, path)


def test_the_schema_has_no_key_that_is_not_declared() -> None:
    """Walked as an editor sees it: each key stands in a table whose row says how far it reaches."""
    schema = cluster_schema.schema()
    seen = set()
    for path, properties in shapes(schema, ""):
        rows = {row.key: row for row in TABLES[SECTIONS[path] if path else "TOP"]}
        assert properties.keys() == rows.keys(), path
        assert [key for key, row in rows.items() if row.reach is None] == []
        seen.add(path)
    assert seen == {"", *SECTIONS}
    for kind in ("service", "listed_service"):
        keys = schema["$defs"][kind]["properties"].keys()
        assert keys - REFUSED.keys() <= option_reach.REACH.keys()


def test_every_row_and_option_declares() -> None:
    """Also those that no schema shows: of extends, of env files, of subnets."""
    assert len(TABLES) >= 16
    undeclared = [(n, row.key) for n, rows in TABLES.items() for row in rows if row.reach is None]
    assert undeclared == []
    assert option_reach.REACH.keys() == KEYS


def test_values_alone_reach_nothing() -> None:
    """What is no value says what happens, for the docs; what is refused says what to do."""
    reaches = {row.reach for rows in TABLES.values() for row in rows if row.reach}
    reaches |= set(option_reach.REACH.values())
    for reach in reaches - {VALUE}:
        assert reach.does
        assert bool(reach.refused) == bool(reach.instead) == (reach.stranger == "no")


SAMPLES = {
    "CLUSTER": "cluster: {name: home, %s: x}\n",
    "MQTT": "mqtt: {%s: x}\n",
    "TLS": "mqtt: {host: h, tls: {%s: x}}\n",
    "NODE": "nodes: [{id: a, host: h, user: u, %s: x}]\n",
    "STACK": "stacks: [{%s: x}]\n",
    "INCLUDE": "include: [{%s: x}]\n",
    "EXTENDS": "services: {web: {extends: {service: x, %s: x}}}\n",
    "ENV_FILE": "services: {web: {image: x, env_file: [{path: x, %s: x}]}}\n",
    "UPDATE": "update: {%s: x}\n",
    "_OBJECT": "volumes: {v: {%s: x}}\n",
    "VOLUME": "volumes: {v: {%s: x}}\n",
    "NETWORK": "networks: {n: {%s: x}}\n",
    "_IPAM": "networks: {n: {ipam: {%s: x}}}\n",
    "_SUBNET": "networks: {n: {ipam: {config: [{%s: x}]}}}\n",
    "CONTENT": "secrets: {s: {%s: x}}\n",
    "REGISTRY": "registries: {r.lan: {%s: x}}\n",
    "IMAGES": "images: {%s: x}\n",
    "TOP": "%s: x\n",
    "COMPOSE": "stacks: [{compose: c.yaml}]\n",
}


WHOLE = {"services": WEB, "stacks": "stacks: []\n", "include": "include: [c.yaml]\n"}
"""Where what stands below is read before the key itself is."""


def told(folder: Path, text: str) -> str:
    """What is wrong with a stranger's file; what it does not say itself is as usual."""
    usual = {"cluster": "cluster: {name: home}\n", "services": WEB}
    usual["nodes"] = HEAD.splitlines()[1] + "\n"
    usual["stacks"] = ""
    head = "".join(one for key, one in usual.items() if not text.startswith(f"{key}:"))
    (folder / "otto.yaml").write_text(head + text)
    with pytest.raises(ClusterFileError) as caught:
        load_file(str(folder / "otto.yaml"), environ={}, caller=STRANGER)
    return str(caught.value)


@pytest.mark.parametrize(
    ("table", "row"), [(name, row) for name, rows in TABLES.items() for row in rows]
)
def test_a_row_that_declares_nothing_is_refused(table: str, row: Row, tmp_path: Path) -> None:
    """The day somebody adds a key and forgets: no stranger's file sets it, in no part."""
    before = row.reach
    object.__setattr__(row, "reach", None)
    try:
        text = WHOLE.get(row.key, SAMPLES[table]) if table == "TOP" else SAMPLES[table]
        if "%s" in text:
            text = text.replace("%s", row.key).replace(f"service: x, {row.key}: x", f"{row.key}: x")
            text = text.replace("path: x, path: x", "path: x")
            text = text.replace("name: home, name: x", "name: x")
            for key in ("id: a", "host: h", "user: u"):
                if key.startswith(f"{row.key}:"):
                    text = text.replace(f"{key}, ", "", 1)
        (tmp_path / "c.yaml").write_text(
            "services: {x: {image: n}}\n" + (f"{row.key}: x\n" if row.key != "services" else "")
        )
        assert UNDECLARED.refused in told(tmp_path, text)
    finally:
        object.__setattr__(row, "reach", before)


@pytest.mark.parametrize("key", sorted(KEYS - {"name"}))
@pytest.mark.parametrize("where", ["otto.yaml", "stack", "base"])
def test_a_key_of_a_service_that_declares_nothing_is_refused(
    key: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In otto.yaml, in a stack, and in a service that another one extends."""
    monkeypatch.delitem(option_reach.REACH, key)  # type: ignore[arg-type]
    service = f"{{image: n, {key}: x}}" if key != "image" else "{image: n}"
    (tmp_path / "c.yaml").write_text(f"services: {{xx: {service}}}\n")
    texts = {
        "otto.yaml": f"services: {{xx: {service}}}\n",
        "stack": "stacks: [{compose: c.yaml}]\n",
        "base": "services: {yy: {extends: {file: c.yaml, service: xx}}}\n",
    }
    assert UNDECLARED.refused in told(tmp_path, texts[where])
