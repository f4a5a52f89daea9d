# SPDX-License-Identifier: GPL-3.0-or-later
"""The key `mqtt` of otto.yaml: what may be written, and which broker that means."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.caller import Caller
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Mqtt
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_text
from ansible_collections.otto.cluster.plugins.module_utils.errors import ClusterFileError

FILE = """
cluster: {name: home}
nodes:
  - {id: rpi-01, host: 10.0.0.7, user: pi}
  - {id: here, host: localhost}
services: []
mqtt: %s
"""


def read(mqtt: str, folder: Path) -> Mqtt | None:
    caller = Caller(folders=("/a",))
    return load_text(FILE % mqtt, str(folder / "otto.yaml"), environ={}, caller=caller).mqtt


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{host: h}", Mqtt("h", 8883, tls=True)),
        ("{host: h, port: 1883}", Mqtt("h", 1883, tls=True)),
        ("{host: h, tls: on}", Mqtt("h", 8883, tls=True)),
        ("{host: h, tls: off}", Mqtt("h", 1883, tls=False)),
        ("{host: h, tls: off, port: 9}", Mqtt("h", 9, tls=False)),
        ("{host: h, tls: {ca: system}}", Mqtt("h", 8883, ca="system")),
        ("{host: h, tls: {ca: /a/ca.crt}}", Mqtt("h", 8883, ca="/a/ca.crt")),
        ("{node: rpi-01}", Mqtt("10.0.0.7", 8883, node="rpi-01")),
        ("{node: rpi-01, host: broker.lan}", Mqtt("broker.lan", 8883, node="rpi-01")),
        ("{host: h, username: u, password: p}", Mqtt("h", 8883, "u", "p")),
    ],
)
def test_what_it_means(text: str, wanted: Mqtt, tmp_path: Path) -> None:
    assert read(text, tmp_path) == wanted


def test_a_ca_lies_beside_the_file(tmp_path: Path) -> None:
    found = read("{host: h, tls: {ca: certs/ca.crt}}", tmp_path)
    assert found is not None
    assert found.ca == str(tmp_path / "certs/ca.crt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{tls: off}", ["mqtt\n", "has no host"]),
        ("{node: rpi-1}", ["mqtt.node", "is no node", "nearest   rpi-01"]),
        ("{node: here, host: h}", ["mqtt.node", "`otto-run up` is the broker itself"]),
        ("{node: rpi-01, username: a}", ["mqtt.username", "does not go with node"]),
        ("{node: rpi-01, tls: {ca: x}}", ["mqtt.tls", "does not go with node"]),
        ("{host: h, tls: maybe}", ["mqtt.tls", "is neither true nor false"]),
        ("{host: h, tls: {cafile: x}}", ["mqtt.tls.cafile", "is no key", "mqtt.tls", "has no ca"]),
        ("{host: h, password: x}", ["mqtt.password", "needs a username"]),
        ("{host: localhost}", ["mqtt.host", "is rpi-01 itself, seen from there"]),
    ],
)
def test_what_is_wrong_with_it(text: str, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ClusterFileError) as caught:
        read(text, tmp_path)
    for word in words:
        assert word in str(caught.value)


def test_the_control_planes_name_is_no_nodes(tmp_path: Path) -> None:
    text = (FILE % "{host: h}").replace("rpi-01", "otto-run")
    with pytest.raises(ClusterFileError, match="the control plane's name"):
        load_text(text, str(tmp_path / "otto.yaml"), environ={})
