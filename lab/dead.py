# SPDX-License-Identifier: GPL-3.0-or-later
"""What another checkout's lab left on this engine: its hosts and network bear our names."""

from __future__ import annotations

from lab.engine import docker
from lab.plan import LABEL, STATE
from lab.shell import LabError, say

_VALUE = f'{{{{.Label "{LABEL}"}}}}'


def clear() -> None:
    """Remove every other lab of which nothing runs any more (a reboot, a deleted checkout).

    Nothing is lost by it: a lab's hosts are made to be thrown away. LabError for one that runs.
    """
    kinds = ("ps", "--all"), ("volume", "ls"), ("network", "ls")
    found = [
        docker(*kind, "--filter", f"label={LABEL}", "--format", _VALUE).splitlines()
        for kind in kinds
    ]
    for other in sorted({owner for owners in found for owner in owners} - {str(STATE)}):
        _remove(other)


def _remove(other: str) -> None:
    label = f"label={LABEL}={other}"
    if running := docker("ps", "--format", "{{.Names}}", "--filter", label).split():
        raise LabError(
            f"another lab runs on this engine ({', '.join(running)}, of {other})",
            "run `python3 -m lab down` in that checkout first; if it is gone:\n"
            f"docker stop $(docker ps --quiet --filter {label})",
        )
    if hosts := docker("ps", "--all", "--quiet", "--filter", label).split():
        docker("rm", "--force", "--volumes", *hosts)
    if volumes := docker("volume", "ls", "--quiet", "--filter", label).split():
        docker("volume", "rm", *volumes)
    if networks := docker("network", "ls", "--quiet", "--filter", label).split():
        docker("network", "rm", *networks)
    say(f"removed what a lab that no longer runs had left ({other})")
