# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab consists of: names, addresses, image recipes. Pure: nothing here acts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "otto-lab"
BRIDGE = "otto-lab0"
SUBNET = "10.77.0.0/24"
GATEWAY = "10.77.0.1"
REGISTRY = f"{GATEWAY}:5000"
USER = "pi"
MOST_HOSTS = 99

ROOMS = Path(__file__).resolve().parent
STATE = ROOMS / ".state"
KEY = STATE / "id_ed25519"
KNOWN_HOSTS = STATE / "known_hosts"
SSH_CONFIG = STATE / "ssh_config"

# Everything the lab makes in the engine carries this label; `down` removes by it.
LABEL = "otto-lab"


@dataclass(frozen=True)
class Host:
    """One simulated host; `image` names one of `HOST_IMAGES`."""

    name: str
    address: str
    suite: str
    has_docker: bool

    @property
    def image(self) -> str:
        return f"host-{self.suite}-{'docker' if self.has_docker else 'bare'}"

    @property
    def volumes(self) -> dict[str, str]:
        """Volume name by mount point: nested overlay2 cannot lie on an overlay."""
        return {
            "/var/lib/docker": f"{NETWORK}-{self.name}-docker",
            "/var/lib/containerd": f"{NETWORK}-{self.name}-containerd",
        }


def host(number: int) -> Host:
    """The host rpi-NN: odd ones bookworm, even ones trixie, rpi-03 without Docker."""
    if not 1 <= number <= MOST_HOSTS:
        raise ValueError(f"the lab has hosts 1 to {MOST_HOSTS}, not {number}")
    suite = "bookworm" if number % 2 else "trixie"
    return Host(f"rpi-{number:02d}", f"10.77.0.{10 + number}", suite, has_docker=number != 3)


def hosts(count: int) -> tuple[Host, ...]:
    return tuple(host(number) for number in range(1, count + 1))


def host_named(name: str) -> Host:
    """The host of that name; ValueError when no lab host can be called so."""
    prefix, _, digits = name.partition("-")
    if prefix == "rpi" and len(digits) == 2 and digits.isdecimal():
        return host(int(digits))
    raise ValueError(f"{name!r} is no lab host: they are called rpi-01 to rpi-{MOST_HOSTS}")


@dataclass(frozen=True)
class Rootfs:
    """A Debian file system as mmdebstrap makes it."""

    name: str
    suite: str
    packages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return _digest([self.suite, self.packages, self.options])

    @property
    def tag(self) -> str:
        return f"otto-lab/{self.name}:{self.digest}"


@dataclass(frozen=True)
class Image:
    """An image built from `images/<folder>/Dockerfile` on top of a root file system."""

    tag: str
    folder: str
    rootfs: Rootfs
    base_arg: str
    args: Mapping[str, str] = field(default_factory=dict)

    @property
    def context(self) -> Path:
        return ROOMS / "images" / self.folder

    @property
    def digest(self) -> str:
        """Digest of all that the image is made from: equal digest, no rebuild."""
        return _digest([self.rootfs.digest, dict(self.args), _files(self.context)])


# dpkg may skip fsync: a half-written image is thrown away anyway, and it halves the time.
_FAST = ("--variant=minbase", "--dpkgopt=force-unsafe-io")
_SLIM = tuple(
    f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("man", "doc", "locale", "info")
)
_HOST_PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "sudo", "iproute2",
    "iptables", "ca-certificates", "procps", "kmod",
)  # fmt: skip

BOOKWORM = Rootfs("rootfs-bookworm", "bookworm", _HOST_PACKAGES, _FAST)
TRIXIE = Rootfs("rootfs-trixie", "trixie", (*_HOST_PACKAGES, "docker.io", "docker-cli"), _FAST)
SMALL = Rootfs("rootfs-small", "bookworm", (), (*_FAST, *_SLIM))

HOST_IMAGES = {
    "host-bookworm-bare": Image("host-bookworm-bare", "host", BOOKWORM, "ROOTFS"),
    "host-bookworm-docker": Image(
        "host-bookworm-docker", "host", BOOKWORM, "ROOTFS", {"DOCKER_PACKAGES": "docker.io"}
    ),
    "host-trixie-docker": Image("host-trixie-docker", "host", TRIXIE, "ROOTFS"),
}

# Built from Debian's packages under the names that people write in otto.yaml.
SERVICE_IMAGES = (
    Image("nginx:alpine", "nginx", SMALL, "BASE", {"TAG": "alpine"}),
    Image("nginx:1.27-alpine", "nginx", SMALL, "BASE", {"TAG": "1.27-alpine"}),
    Image("redis:alpine", "redis", SMALL, "BASE"),
    Image("busybox:latest", "busybox", SMALL, "BASE"),
)


def host_image_tag(name: str) -> str:
    """The engine's tag of a host image; it changes with the recipe."""
    return f"otto-lab/{name}:{HOST_IMAGES[name].digest}"


def known_hosts_lines(public_keys: Mapping[str, str]) -> str:
    """The text of a known_hosts file from host name → public key line."""
    lines = []
    for name in sorted(public_keys):
        kind, key = public_keys[name].split()[:2]
        lines.append(f"{name},{host_named(name).address} {kind} {key}\n")
    return "".join(lines)


def _files(folder: Path) -> dict[str, str]:
    """Text by path; only the executable bit counts, as in git: the rest is the umask's."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    marks = {path: "x" if path.stat().st_mode & 0o100 else "-" for path in files}
    return {f"{path.relative_to(folder)}:{marks[path]}": path.read_text() for path in files}


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
