# SPDX-License-Identifier: GPL-3.0-or-later
"""How this machine's apt reaches its archive, and the same for another Debian suite.

Read at run time and written only into the lab's own images and hosts.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lab.shell import LabError, attempt, run, say

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_WAY_OUT = ("Acquire::http::", "Acquire::https::", "Acquire::Check-", "Acquire::ForceIP")


def ensure(packages: dict[str, str]) -> None:
    """Install what is missing; `packages` maps a command or file to the package that has it."""
    missing = [package for need, package in packages.items() if not _present(need)]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise LabError(
            f"missing: {', '.join(missing)}, and there is no apt-get to install them with",
            "run the lab on Debian",
        )
    say(f"installing {', '.join(missing)}")
    run("apt-get", "update", timeout=300)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(
        "apt-get", "install", "-y", "--no-install-recommends", *missing, timeout=900, env=env
    )  # fmt: skip


def sources(suite: str) -> list[str]:
    """The lines of a sources.list for a Debian suite, from the mirrors of this machine."""
    mirror, security = _mirrors()
    signed = f"[signed-by={_KEYRING}]"
    return [
        f"deb {signed} {mirror} {suite} main",
        f"deb {signed} {mirror} {suite}-updates main",
        f"deb {signed} {security} {suite}-security main",
    ]


def settings() -> list[str]:
    """The apt.conf lines that say how to reach an archive: proxies, checks, protocols."""
    lines = [line for line in run("apt-config", "dump").splitlines() if line.startswith(_WAY_OUT)]
    for scheme in ("http", "https"):
        proxy = os.environ.get(f"{scheme}_proxy") or os.environ.get(f"{scheme.upper()}_PROXY")
        if proxy and not any(line.startswith(f"Acquire::{scheme}::Proxy ") for line in lines):
            lines.append(f'Acquire::{scheme}::Proxy "{proxy}";')
    return lines


def certificates() -> dict[str, bytes]:
    """This machine's certificate authorities: file content by path."""
    paths = [Path("/etc/ssl/certs/ca-certificates.crt")]
    paths += sorted(Path("/usr/local/share/ca-certificates").glob("*.crt"))
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


def _mirrors() -> tuple[str, str]:
    listing = attempt("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)")
    found: dict[str, str] = {}
    for line in listing.stdout.decode().splitlines():
        label, _, uri = line.partition(" ")
        found.setdefault(label, uri.rstrip("/"))
    if not {"Debian", "Debian-Security"} <= found.keys():
        raise LabError(
            "this machine's apt knows no archive of Debian and its security updates,"
            " which the lab's hosts are made from",
            "run the lab on Debian",
        )
    return found["Debian"], found["Debian-Security"]


def _present(need: str) -> bool:
    return Path(need).exists() if need.startswith("/") else shutil.which(need) is not None
