# SPDX-License-Identifier: GPL-3.0-or-later
"""Otto writes host keys to files of host keys alone, wherever otto.yaml points."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.plugin_utils.host_key_file import Keeper

BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIAkbhJ8pkp1mX87/IBFgzw4UlumxNTaFRgb2EncLUy/e"
LINE = f"restrict ssh-ed25519 {BLOB}"
"""A host named as an option of authorized_keys is named: the line lets somebody in there."""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("authorized_keys", f"ssh-ed25519 {BLOB} me@home\n"),
        ("authorized_keys", f"restrict ssh-ed25519 {BLOB}\n"),
        ("authorized_keys2", f"h ssh-ed25519 {BLOB}\n"),
        ("authorized_keys", ""),
        ("authorized_keys", None),
        (".bashrc", "alias ll='ls -l'\n"),
        (".bash_profile", None),
        (".profile", ""),
        ("cron", "* * * * * root true\n"),
        ("x", None),
        ("known_hosts.sh", None),
        ("known_hosts", "not a key\n"),
        ("known_hosts", f"h ssh-ed25519 {BLOB}\nPermitRootLogin yes\n"),
        ("known_hosts", f"h ssh-rsa {BLOB}\n"),
        ("known_hosts", f'command="x" ssh-ed25519 {BLOB}\n'),
        ("known_hosts", f"ssh-ed25519 {BLOB} h\n"),
        ("known_hosts", "h ssh-ed25519 AAAA\n"),
    ],
)
def test_a_file_of_anything_else_is_left_alone(tmp_path: Path, name: str, text: str | None) -> None:
    """Refused when it is asked for, and once more when it is written to; nothing is made."""
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(OttoError) as stop:
        Keeper(file)
    assert "Otto keeps no host keys in" in stop.value.message
    assert "known_hosts: another file" in stop.value.next
    assert (file.read_text() if file.exists() else None) == text


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "# mine\n\n",
        f"h ssh-ed25519 {BLOB}\n",
        f"[10.0.0.1]:22,x.lan ssh-ed25519 {BLOB} a comment",
        f"@cert-authority *.lan ssh-ed25519 {BLOB}\n@revoked h ssh-ed25519 {BLOB}\n",
    ],
)
@pytest.mark.parametrize("name", ["known_hosts", "lab.known_hosts"])
def test_a_file_of_host_keys_is_written_to(tmp_path: Path, name: str, text: str | None) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    Keeper(file).append([f"new ssh-ed25519 {BLOB}"])
    before = f"{text.rstrip()}\n" if text and text.strip() else text or ""
    assert file.read_text().endswith(f"new ssh-ed25519 {BLOB}\n")
    assert file.read_text().startswith(before.rstrip())
    Keeper(file).append([f"newer ssh-ed25519 {BLOB}"])
    done = subprocess.run(
        ["ssh-keygen", "-F", "newer", "-f", str(file)], capture_output=True, check=False
    )
    assert done.returncode == 0


def test_one_that_ssh_keygen_hashed_is_one_of_host_keys(tmp_path: Path) -> None:
    file = tmp_path / "hashed"
    file.write_text(f"10.0.0.1 ssh-ed25519 {BLOB}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(file)], check=True, capture_output=True)
    Keeper(file).append([LINE])
    assert file.read_text().endswith(f"{LINE}\n")


def test_a_link_is_followed_before_it_is_looked_at(tmp_path: Path) -> None:
    """A name that says known_hosts does not help where it leads elsewhere, or changes later."""
    victim = tmp_path / ".bashrc"
    file = tmp_path / "known_hosts"
    file.symlink_to(victim)
    with pytest.raises(OttoError):
        Keeper(file)
    victim.write_text("true\n")
    with pytest.raises(OttoError):
        Keeper(file)
    file.unlink()
    keeper = Keeper(file)
    file.symlink_to(victim)
    with pytest.raises(OttoError):
        keeper.append([LINE])
    assert victim.read_text() == "true\n"


def test_no_folder_is_made_and_no_pipe_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(OttoError, match="mkdir"):
        Keeper(tmp_path / "no" / "known_hosts").append([LINE])
    os.mkfifo(tmp_path / "known_hosts")
    with pytest.raises(OttoError, match="it is no file"):
        Keeper(tmp_path / "known_hosts")
    assert not (tmp_path / "no").exists()
