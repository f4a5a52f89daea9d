# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine of this machine, and the lab's network in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lab import apt, processes
from lab.plan import BRIDGE, GATEWAY, LABEL, NETWORK, REGISTRY, STATE, SUBNET
from lab.shell import LabError, attempt, run, say, wait_for

DAEMON = "dockerd"
SOCKET = "unix:///var/run/docker.sock"

_PACKAGES = {
    "dockerd": "docker.io",
    "iptables": "iptables",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "docker-registry": "docker-registry",
    "ssh": "openssh-client",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}


def docker(*arguments: str, stdin: bytes | None = None, timeout: float = 120.0) -> str:
    """Output of a docker command against this machine's engine, whatever context is set."""
    return run("docker", "--host", SOCKET, *arguments, stdin=stdin, timeout=timeout)


def install() -> None:
    had_registry = shutil.which("docker-registry") is not None
    apt.ensure(_PACKAGES)
    apt.ensure({"docker": "docker-cli"})  # newer Debian has the client in a package of its own
    if not had_registry and Path("/run/systemd/system").is_dir():
        # Debian starts it at once, on every address; the lab runs its own, on its own network.
        run("systemctl", "disable", "--now", "docker-registry")


def answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return attempt("docker", "--host", SOCKET, "version").returncode == 0


def start() -> None:
    """Start dockerd unless an engine answers already; that one is used and left alone."""
    if answers():
        return
    # Naming the lab's registry lets a node on this very engine pull as the hosts do.
    argv = ["dockerd", "--registry-mirror", f"http://{REGISTRY}", "--insecure-registry", REGISTRY]
    processes.start(DAEMON, argv)

    def missing() -> str | None:
        if processes.alive(DAEMON) is None:
            raise LabError(f"dockerd ended at once:\n{processes.last_words(DAEMON)}")
        return None if answers() else "no answer on /var/run/docker.sock"

    wait_for("dockerd", missing, 60)
    say(f"engine: dockerd started (pid {processes.alive(DAEMON)})")


def pulls_from_lab() -> bool:
    """Whether this engine itself uses the lab's registry (an engine of your own does not)."""
    mirrors = docker("info", "--format", "{{json .RegistryConfig.Mirrors}}")
    return f"http://{REGISTRY}/" in (json.loads(mirrors) or [])


def ensure_network() -> None:
    if leftover_networks():
        return
    docker(
        "network", "create", "--driver", "bridge", "--subnet", SUBNET, "--gateway", GATEWAY,
        "--opt", f"com.docker.network.bridge.name={BRIDGE}", "--label", f"{LABEL}={STATE}", NETWORK,
    )  # fmt: skip
    say(f"network: {NETWORK} {SUBNET}, gateway {GATEWAY}")


def leftover_networks() -> list[str]:
    label = f"label={LABEL}={STATE}"
    return docker("network", "ls", "--format", "{{.Name}}", "--filter", label).split()


def remove_network() -> None:
    if leftover_networks():
        docker("network", "rm", NETWORK)
        say(f"network: {NETWORK} removed")


def stop() -> None:
    """Stop dockerd if the lab started it; containers of yours on it stay on disk."""
    if processes.alive(DAEMON) is None:
        say("engine: not started by the lab, left running")
        return
    others = docker("ps", "--format", "{{.Names}}").split()
    if others:
        say(f"engine: stopping with it: {', '.join(others)} (not of the lab; kept on disk)")
    processes.stop(DAEMON)
    say("engine: dockerd stopped")
