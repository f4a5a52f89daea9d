# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from otto_run import hostkeys
from otto_run.exits import Code, Stop
from tests.conftest import LAB_HOSTS, LAB_STATE

BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIAkbhJ8pkp1mX87/IBFgzw4UlumxNTaFRgb2EncLUy/e"
KEY = hostkeys.HostKey("ssh-ed25519", BLOB)


@dataclass(frozen=True)
class Node:
    id: str = "rpi-01"
    host: str = "10.77.0.11"
    user: str | None = "pi"
    port: int = 22
    identity_file: str | None = None
    jump: str | None = None
    through: None = None
    is_local: bool = False
    given_keys: bool = False


@pytest.mark.parametrize(
    ("line", "name", "known"),
    [
        (f"10.0.0.1 ssh-ed25519 {BLOB} a comment", "10.0.0.1", True),
        (f"10.0.0.1 ssh-ed25519 {BLOB}", "10.0.0.11", False),
        (f"[10.0.0.1]:2222 ssh-ed25519 {BLOB}", "[10.0.0.1]:2222", True),
        (f"[10.0.0.1]:2222 ssh-ed25519 {BLOB}", "10.0.0.1", False),
        (f"Rpi,10.0.0.* ssh-ed25519 {BLOB}", "10.0.0.7", True),
        (f"!10.0.0.7,10.0.0.* ssh-ed25519 {BLOB}", "10.0.0.7", False),
        (f"RPI ssh-ed25519 {BLOB}", "rpi", True),
        (f"@revoked 10.0.0.1 ssh-ed25519 {BLOB}", "10.0.0.1", False),
        (f"@cert-authority *.lan ssh-ed25519 {BLOB}", "a.lan", True),
        ("10.0.0.1 ssh-ed25519 not*base64", "10.0.0.1", False),
        ("|1|broken", "10.0.0.1", False),
        ("", "10.0.0.1", False),
    ],
)
def test_known_hosts_lines(tmp_path: Path, line: str, name: str, known: bool) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# comment\n{line}\n")
    assert hostkeys.lookup([tmp_path / "missing", file], name) == ({file: [KEY]} if known else {})


def test_hashed_names_as_ssh_keygen_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"[10.0.0.1]:2222 ssh-ed25519 {BLOB}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(file)], check=True, capture_output=True)
    assert "10.0.0.1" not in file.read_text()
    assert hostkeys.lookup([file], "[10.0.0.1]:2222") == {file: [KEY]}
    assert not hostkeys.lookup([file], "10.0.0.1")


def test_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    file = tmp_path / "key.pub"
    file.write_text(f"ssh-ed25519 {BLOB}\n")
    said = subprocess.run(["ssh-keygen", "-lf", str(file)], capture_output=True, text=True).stdout
    assert KEY.fingerprint == said.split()[1]
    assert KEY.short_type == "ED25519"


def test_a_host_that_does_not_answer_is_left_to_ansible(tmp_path: Path) -> None:
    node = Node(host="127.0.0.1", port=9)
    file = tmp_path / "known_hosts"
    hostkeys.first_contact([node], file, accept=True, ask=None, say=pytest.fail)
    assert not file.exists()


def contact(node: Node, file: Path, **how: object) -> list[str]:
    said: list[str] = []
    arguments = {"accept": False, "ask": None, **how}
    hostkeys.first_contact([node], file, say=said.append, **arguments)  # type: ignore[arg-type]
    return said


@pytest.mark.lab
def test_first_contact_shows_the_fingerprint_and_asks(tmp_path: Path) -> None:
    """No terminal: stopped. No: stopped, nothing written. Yes: written, and not asked again."""
    node = Node(host=LAB_HOSTS["rpi-01"])
    file = tmp_path / "known_hosts"
    lab = hostkeys.lookup([LAB_STATE / "known_hosts"], node.host)
    (fingerprint,) = [key.fingerprint for keys in lab.values() for key in keys]

    with pytest.raises(Stop) as stop:
        contact(node, file)
    assert stop.value.code is Code.USAGE
    assert "--accept-new-host-keys" in stop.value.message
    with pytest.raises(Stop):
        contact(node, file, ask=lambda _: False)
    assert not file.exists()
    assert fingerprint in "\n".join(contact(node, file, ask=lambda _: True))
    assert file.stat().st_mode & 0o077 == 0
    assert contact(node, file, ask=pytest.fail) == []


@pytest.mark.lab
def test_a_host_behind_a_jump_host_is_met_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jump host's key is known to the user's ssh; the other one's is what SSH sees there."""
    lab = LAB_STATE
    config = tmp_path / "config"
    config.write_text(
        f"Host 10.77.0.11\n  User pi\n  IdentityFile {lab}/id_ed25519\n"
        f"  UserKnownHostsFile {lab}/known_hosts\n"
    )
    wrapper = tmp_path / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {config} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    node = Node(id="rpi-02", host=LAB_HOSTS["rpi-02"], jump="pi@10.77.0.11")
    seen = hostkeys.scan(hostkeys.plainly(node), tmp_path / "none")
    known = hostkeys.lookup([lab / "known_hosts"], node.host)
    assert set(seen) <= {key for keys in known.values() for key in keys}
    assert seen


@pytest.mark.lab
def test_a_changed_key_is_told_with_the_command_to_type(tmp_path: Path) -> None:
    from otto_run import doctor, ssh

    node = Node(host=LAB_HOSTS["rpi-02"])
    file = tmp_path / "known_hosts"
    file.write_text(f"{node.host} ssh-ed25519 {BLOB}\n")
    typed = ["ssh", *ssh.options(node, file), ssh.destination(node), "true"]
    check = doctor._no_answer(node, doctor._run(typed, ""), file)
    assert (check.name, check.state) == ("host key", "fail")
    assert f"ssh-keygen -R {node.host} -f {file}" in check.next
