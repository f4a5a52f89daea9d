# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom the agent and the control plane do not trust, and the one line that says why."""

from __future__ import annotations

import datetime
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Mqtt
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.plugin_utils.access import Access, access
from ansible_collections.otto.cluster.plugins.plugin_utils.pki import Pair, Pki
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from otto_agent.config import Broker, Config
from otto_agent.mqtt import Link
from otto_agent.ring import Ring
from otto_run import broker
from otto_run.listener import Listener
from tests.conftest import wait_for
from tests.security.conftest import CLUSTER, Site

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def signed(
    folder: Path, ca: Pair, host: str, begin: datetime.datetime, end: datetime.datetime
) -> Pair:
    """A certificate of this CA with dates as they are to be."""
    folder.mkdir(exist_ok=True)
    signer = serialization.load_pem_private_key(ca.key.read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "a broker")])
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(x509.load_pem_x509_certificate(ca.certificate.read_bytes()).subject)
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pair = Pair(folder / "other.crt", folder / "other.key")
    pem = serialization.Encoding.PEM
    pair.certificate.write_bytes(certificate.public_bytes(pem))
    pair.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair


@pytest.fixture(params=["embedded", "mosquitto"])
def idle(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site whose broker is not started yet."""
    made = Site(tmp_path, str(request.param))
    made.mqtt = replace(made.mqtt, host="localhost")
    yield made
    made.stop()


Say = Callable[[Access, Path], str]


def agent_says(mine: Access, folder: Path) -> str:
    """What the agent logs, and keeps as an event, when it may not trust the broker."""
    heard: list[str] = []
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("otto_agent.mqtt")
    log.addHandler(handler)
    config = Config(CLUSTER, "rpi-01", Broker(**mine.to_json()), state_dir=folder)
    link = Link(config, "boot", Ring(folder / "ring.db"), alarm=heard.append)
    link.start()
    try:
        wait_for(lambda: heard, seconds=10, what="the agent's word")
        assert not link.up
    finally:
        link.stop()
        log.removeHandler(handler)
    assert any(heard[0] in record for record in records)
    return heard[0]


def listener_says(mine: Access, folder: Path) -> str:
    with pytest.raises(OttoError) as caught:
        Listener(mine, CLUSTER, ["rpi-01"], folder / "store.db").start(5)
    return f"{caught.value.cause}; next: {caught.value.next}"


def doctor_says(mine: Access, folder: Path) -> str:  # noqa: ARG001
    found = broker.handshake(mine)
    return f"{found.cause}; next: {found.next}" if found else ""


EVERYONE = pytest.mark.parametrize("says", [agent_says, listener_says, doctor_says])
EXPIRED = f"its certificate has expired (the clock here says {NOW:%Y-%m-%d})"
EARLY = f"its certificate is not valid yet (the clock here says {NOW:%Y-%m-%d})"


@EVERYONE
@pytest.mark.parametrize(
    ("host", "begin", "end", "line", "next"),
    [
        ("localhost", NOW - 2 * DAY, NOW - DAY, EXPIRED, "otto-run rotate --ca"),
        ("localhost", NOW + DAY, NOW + 2 * DAY, EARLY, "timedatectl"),
        ("elsewhere", NOW - DAY, NOW + DAY, "its certificate is for another name", "mqtt.host"),
    ],
    ids=["expired", "not yet valid", "another name"],
)
def test_a_certificate_that_does_not_hold(
    idle: Site,
    tmp_path: Path,
    says: Say,
    host: str,
    begin: datetime.datetime,
    end: datetime.datetime,
    line: str,
    next: str,
) -> None:
    idle.start(signed(tmp_path / "odd", idle.pki.ca, host, begin, end))
    said = says(access(idle.mqtt, idle.state, CLUSTER, "rpi-01"), tmp_path)
    assert line in said
    assert next in said
    assert "\n" not in said


@EVERYONE
def test_a_wrong_ca(idle: Site, tmp_path: Path, says: Say) -> None:
    idle.start()
    (tmp_path / "theirs").mkdir()
    mine = access(idle.mqtt, idle.state, CLUSTER, "rpi-01")
    said = says(replace(mine, ca=Pki(tmp_path / "theirs").trusted()), tmp_path)
    assert "its certificate is of a CA that is not trusted here; next: otto-run apply" in said


@EVERYONE
@pytest.mark.parametrize("kind", ["embedded", "mosquitto"])
def test_a_broker_without_tls(tmp_path: Path, says: Say, kind: str) -> None:
    site = Site(tmp_path, kind)
    site.mqtt = replace(site.mqtt, tls=False)
    site.start()
    try:
        mine = access(site.mqtt, site.state, CLUSTER, "rpi-01")
        said = says(replace(mine, ca=site.pki.trusted()), tmp_path)
    finally:
        site.stop()
    assert "it speaks no TLS there; next: write the broker's TLS port under mqtt.port" in said


def test_the_password_is_not_said_to_a_broker_that_is_not_trusted(
    tmp_path: Path,
) -> None:
    """A stranger at the broker's address hears the first words of TLS and no more."""
    site = Site(tmp_path, "embedded")
    heard = b""
    with socket.create_server((site.mqtt.host, site.mqtt.port)) as door:
        mine = access(site.mqtt, site.state, CLUSTER, "rpi-01")
        config = Config(CLUSTER, "rpi-01", Broker(**mine.to_json()), state_dir=tmp_path)
        link = Link(config, "boot", Ring(tmp_path / "ring.db"))
        link.start()
        try:
            stranger, _ = door.accept()
            stranger.settimeout(5)
            heard = stranger.recv(65536)
            stranger.close()
        finally:
            link.stop()
    assert heard.startswith(b"\x16\x03")
    assert mine.password.encode() not in heard


class TestOwnCertificates:
    def test_a_clock_ten_years_off_trusts_it(self, tmp_path: Path) -> None:
        """1970, and a decade to both sides: it holds, and longer than that it is not kept."""
        pki = Pki(tmp_path)
        found = [
            x509.load_pem_x509_certificate(file.read_bytes())
            for file in (pki.broker("10.0.0.1").certificate, pki.ca.certificate)
        ]
        for certificate in found:
            assert certificate.not_valid_before_utc == datetime.datetime(
                1970, 1, 1, tzinfo=datetime.UTC
            )
            assert certificate.not_valid_after_utc > NOW + 20 * 365 * DAY

    def test_it_is_made_anew_when_it_must_and_only_then(self, tmp_path: Path) -> None:
        pki = Pki(tmp_path)
        first = pki.broker("10.0.0.1").certificate.read_bytes()
        assert pki.broker("10.0.0.1").certificate.read_bytes() == first
        other = pki.broker("broker.lan").certificate.read_bytes()
        assert other != first
        near = signed(tmp_path / "odd", pki.ca, "broker.lan", NOW - DAY, NOW + 11 * 365 * DAY)
        pki.broker("broker.lan").certificate.write_bytes(near.certificate.read_bytes())
        assert pki.broker("broker.lan").certificate.read_bytes() not in (
            other,
            near.certificate.read_bytes(),
        )

    def test_keys_are_for_their_owner_alone(self, tmp_path: Path) -> None:
        Pki(tmp_path).broker("10.0.0.1")
        modes = {file.stat().st_mode & 0o077 for file in (tmp_path / "pki").iterdir()}
        assert modes == {0}

    def test_a_broken_file_says_which_and_what_to_do(self, tmp_path: Path) -> None:
        Pki(tmp_path).broker("10.0.0.1")
        (tmp_path / "pki" / "broker.crt").write_text("rubbish")
        with pytest.raises(OttoError, match="pki cannot be read"):
            Pki(tmp_path).broker("10.0.0.1")


def test_a_ca_of_ones_own_has_to_be_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("rubbish")
    for file in ("ca.crt", "no-such-file"):
        with pytest.raises(OttoError, match="cannot be used"):
            access(Mqtt("h", ca=str(tmp_path / file)), tmp_path, CLUSTER, "rpi-01")
