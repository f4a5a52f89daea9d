# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords and CA that change: nobody who belongs there is sent away on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import tls
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.plugin_utils.access import access
from ansible_collections.otto.cluster.plugins.plugin_utils.credentials import Credentials
from ansible_collections.otto.cluster.plugins.plugin_utils.pki import Pki

from otto_run import broker
from tests.conftest import wait_for
from tests.security.conftest import CLUSTER, Site


def enters(site: Site, password: str) -> bool:
    return site.client("rpi-01", password=password).code == ""


def test_the_new_password_counts_at_once_and_the_former_until_it_is_settled(site: Site) -> None:
    """The embedded broker takes both meanwhile; Mosquitto has one, and the ring waits for it."""
    former = site.credentials.account("rpi-01").password
    site.credentials.renew(["rpi-01"])
    new = site.credentials.account("rpi-01").password
    assert new != former
    site.reload()
    wait_for(lambda: enters(site, new), seconds=5, what="the new password to count")
    assert enters(site, former) == (site.kind == "embedded")
    site.credentials.settle(["rpi-01"])
    assert not enters(site, former)
    assert enters(site, new)


def test_the_others_stay_connected(site: Site) -> None:
    node = site.client("rpi-02")
    site.credentials.renew(["rpi-01"])
    site.credentials.settle(["rpi-01"])
    site.reload()
    wait_for(
        lambda: enters(site, site.credentials.account("rpi-01").password),
        seconds=5,
        what="the new password to count",
    )
    assert not node.ended.is_set()


def test_a_rotation_that_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    """A second begin makes no third password: the node may have been given the second."""
    credentials = Credentials(tmp_path)
    former = credentials.account("rpi-01").password
    credentials.renew(["rpi-01"])
    begun = credentials.account("rpi-01")
    credentials.renew(["rpi-01"])
    assert credentials.account("rpi-01") == begun
    assert begun.former == former


def test_everybody_asks_at_once_for_what_is_not_there(tmp_path: Path) -> None:
    """As many workers as nodes make the first apply: each account is made once."""

    def ask(n: int) -> str:
        return Credentials(tmp_path).account(f"rpi-{n % 5}").password

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(60)))
    assert len(set(found)) == 5
    assert Credentials(tmp_path).path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2, "accounts": {}}', '{"version": 1}']
)
def test_a_broken_file_is_no_empty_one(tmp_path: Path, text: str) -> None:
    """New passwords in its place would shut every node out."""
    credentials = Credentials(tmp_path)
    credentials.path.write_text(text)
    with pytest.raises(OttoError, match="cannot be read"):
        credentials.account("rpi-01")
    assert credentials.path.read_text() == text


def test_a_password_stands_in_no_repr(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path)
    credentials.renew(["rpi-01"])
    credentials.renew(["rpi-01"])
    words = [
        entry["password"] for entry in json.loads(credentials.path.read_text())["accounts"].values()
    ]
    assert not any(word in repr(credentials.read()) for word in words)


def test_a_new_ca_step_by_step(site: Site) -> None:
    """At every step, who was given what counted at the step before still trusts the broker."""
    steps: list[Callable[[], None]] = [site.pki.prepare, site.pki.switch, site.pki.settle]
    first = before = site.pki.trusted()
    for step in steps:
        step()
        step()  # cut off, and begun again
        given = site.pki.trusted()
        site.certificate = site.pki.broker(site.mqtt.host)
        site.reload()
        for ca in (before, given):
            assert trusts(site, ca), step.__name__
        before = given
    assert before.count("BEGIN CERTIFICATE") == 1
    wait_for(lambda: not trusts(site, first), seconds=5, what="the former CA to count no longer")


def trusts(site: Site, ca: str) -> bool:
    mine = access(site.mqtt, site.state, CLUSTER, "rpi-01")
    found = broker.handshake(type(mine)(mine.host, mine.port, "", "", ca=ca))
    assert found is None or isinstance(found, tls.Trouble)
    return found is None


def test_a_switch_that_was_cut_off_loses_no_trust(tmp_path: Path) -> None:
    """Cut off after the new certificate was written and before the coming one was removed."""
    pki = Pki(tmp_path)
    first = pki.trusted()
    pki.prepare()
    coming = {file: file.read_bytes() for file in (tmp_path / "pki").glob("next-*")}
    pki.switch()
    for file, content in coming.items():
        file.write_bytes(content)
    pki.switch()
    assert first in pki.trusted()
