# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible Vault for otto.yaml: one password, for this program and for the Ansible that it runs."""

from __future__ import annotations

import contextlib
import getpass
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed

from otto_run.exits import Code, Stop

Decrypt = Callable[[bytes | str], str]


@dataclass(frozen=True)
class Vault:
    """password_file: what Ansible is given; it may be a program that prints the password."""

    password_file: Path | None = None

    def decrypt(self, ciphertext: bytes | str) -> str:
        """The text of a `!vault` value. Raises OttoError."""
        if self.password_file is None:
            raise OttoError(
                "otto.yaml holds vault values and no password was given",
                next="otto-run ... --ask-vault-pass   (or --vault-password-file FILE)",
            )
        # Imported here: most clusters have no vault, and it costs 0.3 s.
        from ansible.constants import DEFAULT_VAULT_IDENTITY
        from ansible.errors import AnsibleError
        from ansible.parsing.dataloader import DataLoader
        from ansible.parsing.vault import VaultLib, get_file_vault_secret

        try:
            secret = get_file_vault_secret(str(self.password_file), loader=DataLoader())
            secret.load()
            plain = VaultLib([(DEFAULT_VAULT_IDENTITY, secret)]).decrypt(ciphertext)
        except AnsibleError as error:
            raise OttoError(
                "A vault value of otto.yaml cannot be decrypted",
                cause=str(error),
                next="give the password that it was encrypted with: --ask-vault-pass",
            ) from None
        return str(plain.decode("utf-8"))


@contextlib.contextmanager
def opened(password_file: Path | None, ask: bool) -> Iterator[Vault]:
    """The vault for one command. A password that was typed lives in a private file, for as long."""
    if ask:
        # /dev/shm is memory: the password meets no disk.
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="otto-", dir=base) as directory:
            file = Path(directory) / "vault"
            file.touch(mode=0o600)
            file.write_text(getpass.getpass("Vault password: "), encoding="utf-8")
            yield Vault(file)
        return
    named = password_file or os.environ.get("ANSIBLE_VAULT_PASSWORD_FILE")
    if named and not Path(named).expanduser().exists():
        raise Stop(
            Code.USAGE,
            f"The vault password file {named} is not there\n"
            f"    next      {typed('ls -l {}', named)}",
        )
    yield Vault(Path(named).expanduser().absolute() if named else None)
