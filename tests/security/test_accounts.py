# SPDX-License-Identifier: GPL-3.0-or-later
"""With one node's credentials: nothing of the others, on both brokers."""

from __future__ import annotations

import socket
import ssl
import struct

import pytest
from ansible_collections.otto.cluster.plugins.module_utils import tls
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import CONTROL

from otto_run import broker
from otto_run.broker_doors import Shared
from tests.conftest import wait_for
from tests.run.conftest import free_port
from tests.security.conftest import Site

ONE, TWO = "otto/v1/home/rpi-01", "otto/v1/home/rpi-02"


def test_what_a_node_may_is_let_through(site: Site) -> None:
    """The other half of every refusal below: the rules do not simply forbid all."""
    plane = site.client(CONTROL)
    assert plane.subscribe("otto/v1/home/#") == [True]
    node = site.client("rpi-01")
    assert node.code == ""
    assert node.subscribe(*(f"{ONE}/{kind}" for kind in ("status", "ack", "cmd"))) == [True] * 3
    for kind in ("status", "report", "metrics", "event"):
        node.say(f"{ONE}/{kind}", kind.encode())
    wait_for(lambda: len(plane.heard) == 4, seconds=5, what="all four kinds")
    plane.say(f"{ONE}/ack", b"a")
    plane.say(f"{ONE}/cmd", b"c")
    wait_for(
        lambda: {(f"{ONE}/ack", b"a"), (f"{ONE}/cmd", b"c")} <= set(node.heard),
        seconds=5,
        what="acks and commands",
    )


def test_a_node_does_not_speak_as_another(site: Site) -> None:
    plane = site.client(CONTROL)
    plane.subscribe("otto/v1/home/#", "otto/v1/other/#")
    node = site.client("rpi-01")
    for topic in (f"{TWO}/status", f"{TWO}/report", f"{TWO}/ack", f"{ONE}/ack", f"{ONE}/cmd"):
        node.say(topic, b"a lie", retain=True)
    node.say("otto/v1/other/rpi-01/status", b"a lie", retain=True)
    node.say(f"{ONE}/status", b"true")
    wait_for(lambda: (f"{ONE}/status", b"true") in plane.heard, seconds=5, what="the true word")
    assert [topic for topic, payload in plane.heard if payload == b"a lie"] == []
    late = site.client(CONTROL, client_id="otto-run-home-late")
    late.subscribe("otto/v1/home/#")
    late.say(f"{TWO}/ack", b"end")
    wait_for(lambda: (f"{TWO}/ack", b"end") in late.heard, seconds=5, what="the last word")
    assert [topic for topic, payload in late.heard if payload == b"a lie"] == []


def test_nor_by_its_last_will(site: Site) -> None:
    plane = site.client(CONTROL)
    plane.subscribe("otto/v1/home/#")
    liar = site.client("rpi-01", will=f"{TWO}/status")
    if liar.code == "":  # Mosquitto lets it in, and does not send what it may not say
        liar.vanish()
    honest = site.client("rpi-01", will=f"{ONE}/status")
    honest.vanish()
    wait_for(lambda: (f"{ONE}/status", b"a lie") in plane.heard, seconds=5, what="its own will")
    assert [topic for topic, _ in plane.heard] == [f"{ONE}/status"]


def test_a_node_hears_nothing_of_others(site: Site) -> None:
    """Live or retained, by name or by wildcard, or because others have asked for it."""
    plane = site.client(CONTROL)
    plane.subscribe("otto/v1/home/#")
    two = site.client("rpi-02")
    two.say(f"{TWO}/report", b"retained", retain=True)
    two.subscribe(f"{TWO}/ack", f"{TWO}/cmd")
    wait_for(lambda: plane.heard, seconds=5, what="the report to be there")
    spy = site.client("rpi-01")
    spy.subscribe("#", "otto/v1/home/+/report", f"{TWO}/cmd", f"{TWO}/report", "otto/#", "$SYS/#")
    spy.subscribe(f"{ONE}/cmd")
    plane.say(f"{TWO}/cmd", b"secret")
    plane.say(f"{TWO}/ack", b"secret")
    plane.say(f"{ONE}/cmd", b"mine")
    wait_for(lambda: (f"{ONE}/cmd", b"mine") in spy.heard, seconds=5, what="its own command")
    wait_for(lambda: len(two.heard) == 2, seconds=5, what="the other's")
    assert {topic for topic, _ in spy.heard} == {f"{ONE}/cmd"}
    if site.kind == "embedded":  # at Mosquitto the control plane has one connection at a time
        quiet = site.client(CONTROL, client_id="otto-run-home-quiet")
        quiet.say(f"{TWO}/cmd", b"last")
        wait_for(lambda: (f"{TWO}/cmd", b"last") in two.heard, seconds=5, what="the last word")
        assert quiet.heard == [], "not even what it may hear, before it asks"


@pytest.mark.parametrize("stolen", ["otto-home-rpi-02", "home/rpi-02", "otto-run-home-test"])
def test_nobody_takes_the_id_of_another(site: Site, stolen: str) -> None:
    """Connected under it or not: the other one stays where it is, and goes on hearing."""
    two = site.client("rpi-02")
    plane = site.client(CONTROL)
    two.subscribe(f"{TWO}/cmd")
    thief = site.client("rpi-01", client_id=stolen)
    if site.kind == "embedded":
        assert thief.code
    plane.say(f"{TWO}/cmd", b"still there")
    wait_for(lambda: two.heard, seconds=5, what="the command")
    assert not two.ended.is_set()
    assert not plane.ended.is_set()


def test_who_does_not_know_the_password_changes_nothing(site: Site) -> None:
    two = site.client("rpi-02")
    two.subscribe(f"{TWO}/cmd")
    for stranger in (
        site.client("rpi-02", password="guess"),
        site.client("rpi-02", username="home/rpi-99"),
        site.client("rpi-02", username="other/rpi-02"),
    ):
        assert stranger.code
    site.client(CONTROL).say(f"{TWO}/cmd", b"still there")
    wait_for(lambda: two.heard, seconds=5, what="the command")
    assert not two.ended.is_set()


def test_a_node_that_connects_anew_takes_over_from_itself(site: Site) -> None:
    """A half-open connection of before does not keep it out, and hears nothing more."""
    first = site.client("rpi-01")
    first.subscribe(f"{ONE}/cmd")
    second = site.client("rpi-01")
    assert second.code == ""
    second.subscribe(f"{ONE}/cmd")
    assert first.ended.wait(5)
    site.client(CONTROL).say(f"{ONE}/cmd", b"hello")
    wait_for(lambda: second.heard, seconds=5, what="the command")
    assert first.heard == []


def test_a_packet_without_bound_is_not_read(site: Site) -> None:
    """256 MB announced: the connection ends; before and after CONNECT."""
    stranger = _raw(site)
    stranger.sendall(b"\x10\xff\xff\xff\x7f" + b"\x00\x04MQTT" * 1000)
    assert _ends(stranger)
    node = site.client("rpi-01")
    node.paho.publish(f"{ONE}/event", b"x" * (2 << 20), qos=1)
    assert node.ended.wait(10)
    assert site.client("rpi-01").code == ""


def test_connections_are_counted() -> None:
    """One too many of an account is told so until another has gone; nobody is thrown out for it."""
    port = free_port()
    made = broker.EmbeddedBroker("127.0.0.1", port, Shared("a", "b", most=2))
    made.start()
    raws: list[socket.socket] = []

    def answer() -> int:
        raws.append(socket.create_connection(("127.0.0.1", port), 5))
        hello = b"\x10\x15\x00\x04MQTT\x04\xc2\x00\x3c\x00\x03idN\x00\x01a\x00\x01b"
        raws[-1].sendall(hello.replace(b"N", b"%d" % len(raws)))
        return raws[-1].recv(4)[3]

    try:
        assert [answer(), answer(), answer()] == [0, 0, 3], "3: the server is unavailable"
        raws[0].sendall(b"\xe0\x00")
        assert raws[0].recv(4) == b""
        assert answer() == 0
        raws[1].sendall(b"\xc0\x00")
        assert raws[1].recv(2) == b"\xd0\x00", "it is still there"
    finally:
        for raw in raws:
            raw.close()
        made.stop()


def test_a_stranger_that_says_nothing_is_let_go(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    if site.kind == "mosquitto":
        pytest.skip("Mosquitto waits 1.5 keepalives, 90 s: its own affair")
    monkeypatch.setattr("otto_run.broker_entrance.LOGIN", 0.5)
    assert _ends(_raw(site))


def test_a_silent_connection_ends_and_its_will_is_told(site: Site) -> None:
    """A node that hangs: after one and a half keepalives its will is out."""
    plane = site.client(CONTROL)
    plane.subscribe("otto/v1/home/#")
    word = site.credentials.account("rpi-01").password.encode()
    parts = [b"otto-home-rpi-01", f"{ONE}/status".encode(), b"gone", b"home/rpi-01", word]
    payload = b"".join(struct.pack("!H", len(part)) + part for part in parts)
    body = b"\x00\x04MQTT\x04" + bytes([0b11001110]) + struct.pack("!H", 1) + payload
    mute = _raw(site)
    mute.sendall(b"\x10" + _length(len(body)) + body)
    assert mute.recv(4)[3] == 0
    wait_for(lambda: (f"{ONE}/status", b"gone") in plane.heard, seconds=10, what="its will")


def _raw(site: Site) -> ssl.SSLSocket:
    plain = socket.create_connection((site.mqtt.host, site.mqtt.port), 5)
    return tls.context(site.pki.trusted()).wrap_socket(plain, server_hostname=site.mqtt.host)


def _ends(connection: ssl.SSLSocket) -> bool:
    connection.settimeout(10)
    try:
        return connection.recv(1024) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def _length(n: int) -> bytes:
    return bytes([n]) if n < 128 else bytes([n % 128 | 128, n // 128])
