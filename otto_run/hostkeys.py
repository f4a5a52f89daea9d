# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH host keys: shown and asked for at the first contact, never accepted behind one's back.

A key counts as known when the cluster's known_hosts or the user's own has it; then nothing is asked
of the host, and SSH itself refuses a changed one (`failures.py` says what to do about it).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fnmatch
import hashlib
import hmac
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import typed
from ansible_collections.otto.cluster.plugins.module_utils.ssh_way import way
from ansible_collections.otto.cluster.plugins.plugin_utils.host_key_file import Keeper, is_key

from otto_run import ssh
from otto_run.exits import Code, Stop, again

_PREFERRED = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
_SCAN_SECONDS = 5


@dataclass(frozen=True)
class HostKey:
    """type: "ssh-ed25519", ... blob: base64, as in known_hosts."""

    type: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as ssh and ssh-keygen show it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @property
    def short_type(self) -> str:
        return self.type.removeprefix("ssh-").split("-")[0].upper()


def entry_name(host: str, port: int) -> str:
    """How known_hosts calls a host."""
    return host if port == 22 else f"[{host}]:{port}"


def lookup(files: Iterable[Path], name: str) -> dict[Path, list[HostKey]]:
    """The keys that each file trusts for a name. A file that is missing trusts none.

    A certificate authority counts as a key: SSH will do the checking.
    """
    found: dict[Path, list[HostKey]] = {}
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise Stop(Code.FAILED, f"{file} cannot be read: {error.strerror}") from None
        for line in text.splitlines():
            fields = line.split()
            if fields and fields[0] == "@cert-authority":
                fields = fields[1:]
            if len(fields) < 3 or fields[0].startswith(("#", "@")):
                continue
            if _names(fields[0], name) and _is_blob(fields[2]):
                found.setdefault(file, []).append(HostKey(fields[1], fields[2]))
    return found


def _names(patterns: str, name: str) -> bool:
    if patterns.startswith("|1|"):
        try:
            salt, wanted = (base64.b64decode(part) for part in patterns.split("|")[2:4])
        except (ValueError, binascii.Error):
            return False
        return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), wanted)
    matched = False
    for pattern in patterns.split(","):
        negated = pattern.startswith("!")
        # A bracket is no wildcard here: it stands around a host with a port.
        shape = pattern.removeprefix("!").lower().replace("[", "[[]")
        if fnmatch.fnmatchcase(name.lower(), shape):
            if negated:
                return False
            matched = True
    return matched


def _is_blob(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        return False


@dataclass(frozen=True)
class Contact:
    """Where SSH really goes for a node, with ~/.ssh/config taken into account."""

    node: Any
    host: str
    port: int
    name: str
    """what known_hosts has to call it"""


def plainly(node: Any) -> Contact:
    """The contact as otto.yaml says it."""
    port = int(node.port or 22)
    return Contact(node, node.host, port, entry_name(node.host, port))


def resolve(node: Any, known_hosts: Path) -> Contact:
    """The contact as ssh itself understands it (`ssh -G`)."""
    done = subprocess.run(
        ["ssh", "-G", *ssh.options(node, known_hosts), ssh.destination(node)],
        capture_output=True,
        text=True,
        check=False,
    )
    settings = dict(
        line.split(" ", 1) for line in reversed(done.stdout.splitlines()) if " " in line
    )
    host = settings.get("hostname", node.host)
    port = int(settings.get("port", node.port or 22))
    alias = settings.get("hostkeyalias", "")
    return Contact(node, host, port, alias or entry_name(host, port))


def scan(contact: Contact, known_hosts: Path) -> list[HostKey]:
    """The keys that a host shows now, the best one first; empty when it does not answer.

    Behind a jump host ssh-keyscan cannot reach it: there ssh itself goes as far as the exchange of
    keys, writes what it sees to a temporary file, and logs in nowhere.
    """
    if contact.node.jump:
        keys = _scan_by_ssh(contact, known_hosts)
    else:
        # The best type first, alone: each is a connection, and a host that counts those which do
        # not log in (OpenSSH 10) shuts out who makes too many.
        keys = _keyscan(contact, "-t", "ed25519") or _keyscan(contact)
    order = {kind: rank for rank, kind in enumerate(_PREFERRED)}
    return sorted(keys, key=lambda key: order.get(key.type, len(order)))


def _keyscan(contact: Contact, *kinds: str) -> list[HostKey]:
    where = ("-T", str(_SCAN_SECONDS), "-p", str(contact.port), contact.host)
    done = subprocess.run(
        ["ssh-keyscan", *kinds, *where], capture_output=True, text=True, check=False
    )
    return _keys(done.stdout)


def _scan_by_ssh(contact: Contact, known_hosts: Path) -> list[HostKey]:
    with tempfile.TemporaryDirectory(prefix="otto-") as directory:
        seen = Path(directory) / "known_hosts"
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [
                    "ssh",
                    *("-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={seen}"),
                    *("-o", "HashKnownHosts=no", "-o", "PreferredAuthentications=none"),
                    *("-o", "ControlMaster=no", "-o", "ControlPath=none"),
                    *ssh.options(contact.node, known_hosts),
                    ssh.destination(contact.node),
                    "true",
                ],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=4 * _SCAN_SECONDS,
                check=False,
            )
        return _keys(seen.read_text(encoding="utf-8")) if seen.exists() else []


def _keys(text: str) -> list[HostKey]:
    lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return [HostKey(line[1], line[2]) for line in lines if len(line) >= 3 and is_key(*line[1:3])]


def first_contact(
    nodes: Sequence[Any],
    known_hosts: Path,
    *,
    accept: bool,
    ask: Callable[[str], bool] | None,
    say: Callable[[str], None],
    note: Callable[[Mapping[str, str]], None] = lambda _keys: None,
) -> None:
    """Make the host key of every node, and of those on the way to it, known, or stop.

    ask: puts a question to a person; None where there is nobody to ask. A host that does not
    answer is left to Ansible, which tells it with the others' results. note: node -> fingerprint of
    the keys that are about to be trusted; what it raises leaves them untrusted.
    Raises Stop when a key is not trusted.
    """
    # A host behind another one shows its key only when that one is trusted.
    rounds: dict[int, dict[str, Any]] = {}
    for node in nodes:
        chain = [node]
        while chain[0].through is not None:
            chain.insert(0, chain[0].through)
        for depth, each in enumerate(chain):
            rounds.setdefault(depth, {})[each.id] = each
    for _depth, together in sorted(rounds.items()):
        _meet([*together.values()], known_hosts, accept=accept, ask=ask, say=say, note=note)


def _meet(
    nodes: Sequence[Any],
    known_hosts: Path,
    *,
    accept: bool,
    ask: Callable[[str], bool] | None,
    say: Callable[[str], None],
    note: Callable[[Mapping[str, str]], None],
) -> None:
    """Make the host keys of nodes known that can be reached now, or stop."""
    remote = [node for node in nodes if not node.is_local]
    unknown = [
        node
        for node in remote
        if not lookup(ssh.known_hosts_files(known_hosts, node), plainly(node).name)
    ]
    if not unknown:
        return
    with ThreadPoolExecutor(16) as pool:
        contacts = [
            contact
            for contact in pool.map(lambda node: resolve(node, known_hosts), unknown)
            if not lookup(ssh.known_hosts_files(known_hosts, contact.node), contact.name)
        ]
        _refuse_strangers(contacts, known_hosts)
        scanned = list(pool.map(lambda contact: scan(contact, known_hosts), contacts))
    # Only the key that is shown is written: SSH then asks the host for that very one.
    new = [(contact, keys[0]) for contact, keys in zip(contacts, scanned, strict=True) if keys]
    if not new:
        return
    keeper = Keeper(known_hosts)
    say("First contact with:")
    for contact, key in new:
        how = f" through {way(contact.node)}" if contact.node.jump else ""
        say(f"  {contact.node.id}  {contact.name}{how}  {key.short_type} {key.fingerprint}")
    if not accept:
        if ask is None:
            raise Stop(
                Code.USAGE,
                "These host keys are not known, and there is no terminal to ask at.\n"
                "    next      compare the fingerprints, then:"
                f" {again('--accept-new-host-keys')}",
            )
        if not ask("Do you trust these keys?"):
            raise Stop(Code.FAILED, "Nothing was done: the host keys were not accepted.")
    note({contact.node.id: f"trusted {key.fingerprint}" for contact, key in new})
    keeper.append([f"{contact.name} {key.type} {key.blob}" for contact, key in new])
    say(f"Written to {known_hosts}")


def _refuse_strangers(contacts: Sequence[Contact], known_hosts: Path) -> None:
    """A stranger's file does not make hosts known: its hosts are those whose keys the caller gave.
    Raises Stop."""
    unknown = [contact for contact in contacts if contact.node.given_keys]
    if unknown:
        names = ", ".join(f"{contact.node.id} ({contact.name})" for contact in unknown)
        raise Stop(
            Code.USAGE,
            f"{known_hosts} has no host key of {names}\n"
            "    cause     the file is untrusted: it reaches hosts alone whose keys you gave\n"
            "    next      "
            + typed("add the keys to {}, from a place that you trust", known_hosts),
        )


def changed(node: Any, known_hosts: Path) -> bool:
    """Whether a host shows other keys now than those that are known; asked of the host, for what a
    session says of it may be the node's own words."""
    contact = resolve(node, known_hosts)
    found = lookup(ssh.known_hosts_files(known_hosts, node), contact.name)
    known = {key for keys in found.values() for key in keys}
    shown = scan(contact, known_hosts)
    return bool(shown) and not known & set(shown)


def forget(node: Any, known_hosts: Path) -> str:
    """The command that removes a node's old key from the file that has it."""
    contact = resolve(node, known_hosts)
    found = lookup(ssh.known_hosts_files(known_hosts, node), contact.name)
    file = next(iter(found), known_hosts)
    return typed("ssh-keygen -R {} -f {}", contact.name, file)
