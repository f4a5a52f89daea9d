# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated hosts: made, started, waited for, broken on purpose, removed."""

from __future__ import annotations

import io
import json
import string
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import apt
from lab.engine import docker
from lab.plan import (
    KEY,
    KNOWN_HOSTS,
    LABEL,
    NETWORK,
    REGISTRY,
    ROOMS,
    SSH_CONFIG,
    STATE,
    USER,
    Host,
    host_image_tag,
    host_named,
    known_hosts_lines,
)
from lab.shell import LabError, attempt, run, say, side_by_side, wait_for

# Measured: --privileged fails where the machine itself lacks CAP_SYS_RESOURCE; this is what
# systemd and a nested engine need instead.
_RIGHTS = (
    "--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE",
    "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
    "--security-opt", "systempaths=unconfined", "--cgroupns", "private",
    "--tmpfs", "/run", "--tmpfs", "/run/lock",
)  # fmt: skip

# systemd 257 refuses cgroup v1 unless told twice.
_LEGACY_CGROUPS = {
    "bookworm": (),
    "trixie": ("systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"),
}

# What a host that is up answers over SSH, in one round trip: its systemd state, its Docker
# version (empty without Docker, "no answer" when it is installed and silent).
_PROBE = """
systemctl is-system-running
if sudo sh -c 'command -v dockerd' >/dev/null; then
    sudo docker version --format '{{.Server.Version}}' 2>/dev/null || echo 'no answer'
else
    echo none
fi
. /etc/os-release; echo "$PRETTY_NAME"
"""


@dataclass(frozen=True)
class Seen:
    """A host as the engine has it."""

    host: Host
    state: str  # Docker's word: created, running, exited, …
    connected: bool
    image: str


@dataclass(frozen=True)
class Answer:
    """A host as it tells of itself."""

    systemd: str
    docker: str  # a version, "none" or "no answer"
    system: str


def existing() -> dict[str, Seen]:
    """This lab's hosts by name, in order."""
    ids = docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}={STATE}").split()
    if not ids:
        return {}
    seen = {}
    for raw in json.loads(docker("inspect", *ids)):
        name = raw["Name"].lstrip("/")
        networks = raw["NetworkSettings"]["Networks"]
        seen[name] = Seen(
            host_named(name), raw["State"]["Status"], NETWORK in networks, raw["Config"]["Image"]
        )
    return dict(sorted(seen.items()))


def ensure(wanted: Sequence[Host]) -> None:
    """Every wanted host exists, runs, is on the network and answers over SSH."""
    seen = existing()
    if not KEY.exists():
        # Hosts made with another key would never let us in.
        remove(seen)
        seen = {}
        _make_key(KEY, "otto-lab")

    def ensure_one(host: Host) -> None:
        have = seen.get(host.name)
        if have is not None and (reason := _lost(have)):
            say(f"{host.name}: made anew, {reason}")
            docker("rm", "--force", "--volumes", host.name)
            have = None
        if have is None:
            _create(host)
        else:
            if have.image != host_image_tag(host.image):
                say(f"{host.name}: older image kept; renew it with `up --fresh {host.name}`")
            if not have.connected:
                heal(host)
            if have.state != "running":
                docker("start", host.name)
                say(f"{host.name}: started")

    side_by_side(ensure_one, wanted)
    write_ssh_files([*existing()])

    def settle(host: Host) -> None:
        answer = wait_ready(host)
        version = "no Docker" if answer.docker == "none" else f"Docker {answer.docker}"
        say(f"{host.name}: {host.address} ready ({answer.system}, {version})")

    side_by_side(settle, wanted)


def remove(names: Iterable[str]) -> None:
    """Remove hosts with their volumes and identity; a name without a host is no error."""

    def remove_one(name: str) -> None:
        if name in seen:
            # A vanished host says no goodbye, and an SSH master would wait for it for minutes.
            attempt("docker", "exec", name, "pkill", "-x", "sshd", timeout=10)
            docker("rm", "--force", "--volumes", name)
            say(f"{name}: removed")
        for volume in host_named(name).volumes.values():
            if volume in volumes:
                docker("volume", "rm", volume)
        for path in _host_key(name), Path(f"{_host_key(name)}.pub"):
            path.unlink(missing_ok=True)

    seen = existing()
    volumes = set(leftover_volumes())
    side_by_side(remove_one, names)
    write_ssh_files([*existing()])


def leftover_volumes() -> list[str]:
    return docker("volume", "ls", "--quiet", "--filter", f"label={LABEL}={STATE}").split()


def wait_ready(host: Host, deadline: float = 90.0) -> Answer:
    """Wait until systemd has started everything, sshd lets us in and Docker answers."""
    answers: list[Answer] = []

    def missing() -> str | None:
        answer = probe(host)
        if isinstance(answer, str):
            return answer
        answers.append(answer)
        if answer.systemd not in ("running", "degraded"):
            return f"systemd is {answer.systemd}"
        if answer.docker == "no answer" or (answer.docker == "none" and host.has_docker):
            return "Docker does not answer"
        return None

    wait_for(host.name, missing, deadline)
    return answers[-1]


def probe(host: Host) -> Answer | str:
    """What the host says of itself over SSH, or why it says nothing."""
    done = attempt(*ssh_command(host.name), _PROBE, timeout=30)
    lines = done.stdout.decode().splitlines()
    if len(lines) != 3:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        return words[-1] if words else "no answer over SSH"
    return Answer(*lines)


def ssh_command(name: str) -> list[str]:
    """The ssh call with the lab's own key and known hosts, nothing of the user's."""
    return ["ssh", "-F", str(SSH_CONFIG), name]


def ssh(name: str, command: Sequence[str]) -> int:
    """An SSH session on the terminal; its exit code."""
    return subprocess.call([*ssh_command(name), *command])


def partition(host: Host) -> None:
    """Cut the host off the network; it runs on."""
    docker("network", "disconnect", NETWORK, host.name)
    say(f"{host.name}: cut off; mend it with `heal {host.name}`")


def heal(host: Host) -> None:
    docker("network", "connect", "--ip", host.address, NETWORK, host.name)
    say(f"{host.name}: back on the network at {host.address}")


def power_cut(host: Host) -> None:
    """Every process of the host ends at once; its disks stay."""
    docker("kill", "--signal", "KILL", host.name)
    say(f"{host.name}: without power; give it back with `power-on {host.name}`")


def power_on(host: Host) -> None:
    docker("start", host.name)
    answer = wait_ready(host)
    say(f"{host.name}: ready (systemd {answer.systemd})")


def write_ssh_files(names: Iterable[str]) -> None:
    """known_hosts and ssh_config of the lab, from the keys that its hosts were made with."""
    public = {name: Path(f"{_host_key(name)}.pub") for name in names}
    keys = {name: path.read_text() for name, path in public.items() if path.exists()}
    _write(KNOWN_HOSTS, known_hosts_lines(keys))
    common = [
        f"  User {USER}", f"  IdentityFile {_quoted(KEY)}", "  IdentitiesOnly yes",
        f"  UserKnownHostsFile {_quoted(KNOWN_HOSTS)}", "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes", "  BatchMode yes", "  ConnectTimeout 3",
        "  LogLevel ERROR",
    ]  # fmt: skip
    lines = [
        line
        for name in keys
        for line in (f"Host {name} {host_named(name).address}",
                     f"  HostName {host_named(name).address}", *common)
    ]  # fmt: skip
    _write(SSH_CONFIG, "\n".join([*lines, ""]))


def _lost(have: Seen) -> str:
    """Why an existing host cannot be used, or nothing."""
    if have.state == "created":
        return "its making was interrupted"
    if not Path(f"{_host_key(have.host.name)}.pub").exists():
        return f"its identity is gone from {STATE}"
    return ""


def _create(host: Host) -> None:
    key = _host_key(host.name)
    key.parent.mkdir(exist_ok=True)
    for old in key, Path(f"{key}.pub"):
        old.unlink(missing_ok=True)
    _make_key(key, host.name)
    mounts = []
    for point, volume in host.volumes.items():
        docker("volume", "create", "--label", f"{LABEL}={STATE}", volume)
        mounts += ["--volume", f"{volume}:{point}"]
    cgroup_v1 = not Path("/sys/fs/cgroup/cgroup.controllers").exists()
    docker(
        "create", "--name", host.name, "--hostname", host.name,
        "--label", f"{LABEL}={STATE}", "--network", NETWORK, "--ip", host.address,
        *_RIGHTS, *mounts, host_image_tag(host.image),
        *(_LEGACY_CGROUPS[host.suite] if cgroup_v1 else ()),
    )  # fmt: skip
    docker("cp", "-", f"{host.name}:/", stdin=_first_files(host))
    docker("start", host.name)
    say(f"{host.name}: created ({host.image})")


def _first_files(host: Host) -> bytes:
    """A tar of what makes an image this host: keys, addresses, this machine's way to apt."""
    daemon = (ROOMS / "images" / "daemon.json").read_text()
    key = _host_key(host.name)
    files = {
        "/etc/docker/daemon.json": string.Template(daemon).substitute(registry=REGISTRY).encode(),
        "/etc/apt/sources.list": _lines(apt.sources(host.suite)),
        "/etc/apt/apt.conf.d/90otto-lab": _lines(apt.settings()),
        "/etc/ssh/ssh_host_ed25519_key": key.read_bytes(),
        "/etc/ssh/ssh_host_ed25519_key.pub": Path(f"{key}.pub").read_bytes(),
        **apt.certificates(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files.items():
            secret = path == "/etc/ssh/ssh_host_ed25519_key"
            _add(tar, path, content, mode=0o600 if secret else 0o644)
        folder = tarfile.TarInfo(f"home/{USER}/.ssh")
        folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o700, 1000, 1000
        tar.addfile(folder)
        authorized = Path(f"{KEY}.pub").read_bytes()
        _add(tar, f"/home/{USER}/.ssh/authorized_keys", authorized, mode=0o600, owner=1000)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, path: str, content: bytes, mode: int, owner: int = 0) -> None:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.size, entry.mode, entry.uid, entry.gid = len(content), mode, owner, owner
    tar.addfile(entry, io.BytesIO(content))


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _make_key(path: Path, comment: str) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))


def _host_key(name: str) -> Path:
    return STATE / "hosts" / name


def _quoted(path: Path) -> str:
    return f'"{path}"'


def _write(path: Path, text: str) -> None:
    """Replace a file in one step: other programs read it while the lab writes."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


def require(name: str) -> Host:
    """The host of that name in this lab; LabError tells which there are."""
    seen = existing()
    if name not in seen:
        there = ", ".join(seen) or "none"
        raise LabError(
            f"there is no host {name!r} in this lab (there: {there})", "python3 -m lab up"
        )
    return seen[name].host
