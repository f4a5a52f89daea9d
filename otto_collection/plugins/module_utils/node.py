# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of what Otto needs. Needs Python and nothing else; changes nothing."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import platform
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.otto.cluster.plugins.module_utils.beneath import Foreign, opened
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.trusted import MANIFEST, altered
from ansible_collections.otto.cluster.plugins.module_utils.wire import UnixConnection

CURRENT = Path("/opt/otto/current")
CONFIG = Path("/etc/otto/agent.json")
FORMER = Path("/etc/otto/former.json")
UNIT = Path("/etc/systemd/system/otto-agent.service")
_LARGEST = 1024 * 1024


def ask_docker(url: str, timeout: float) -> dict[str, Any]:
    """What the engine at this address says of itself."""
    found = {
        "present": shutil.which(
            "dockerd", path="/usr/sbin:/usr/bin:/usr/local/bin:/sbin:/bin:/snap/bin"
        )
        is not None,
        "answers": False,
        "version": "",
        "api_version": "",
        "error": "",
    }
    parts = urlsplit(url)
    if parts.scheme == "unix":
        # The SDK would cost 200 ms and may not be there yet.
        connection: http.client.HTTPConnection = UnixConnection(parts.path, timeout)
    elif parts.scheme in ("tcp", "http") and parts.hostname:
        connection = http.client.HTTPConnection(parts.hostname, parts.port or 2375, timeout=timeout)
    else:
        found["error"] = f"{url} is neither unix:///path nor tcp://host:port"
        return found
    try:
        connection.request("GET", "/version")
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise ValueError(f"answered {response.status} {response.reason}")
        document = json.loads(body)
        found.update(
            present=True,
            answers=True,
            version=str(document["Version"]),
            api_version=str(document["ApiVersion"]),
        )
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        found["error"] = "{}: {}".format(url, getattr(error, "strerror", None) or error)
    finally:
        connection.close()
    return found


def read_os_release() -> dict[str, Any]:
    values = {}
    for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                key, equals, value = line.partition("=")
                if equals and not key.startswith("#"):
                    values[key.strip()] = value.strip().strip("\"'")
            break
    return {
        "id": values.get("ID", ""),
        "id_like": values.get("ID_LIKE", "").split(),
        "version_id": values.get("VERSION_ID", ""),
        "codename": values.get("VERSION_CODENAME", ""),
        "name": values.get("PRETTY_NAME", ""),
    }


def sha256(path: Path) -> str:
    """Digest of a file; empty where there is none. One that may not be read is an error.

    The agent may write its own configuration: of what is too large to be one it is that of nothing.
    """
    try:
        with opened(path.parent) as folder:
            return hashlib.sha256(folder.read(path.name, _LARGEST)).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        if isinstance(error, Foreign) or error.errno == errno.EFBIG:
            return hashlib.sha256(b"").hexdigest()
        raise


def ask_systemd() -> dict[str, Any]:
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        return {"active": "no systemd", "enabled": False}
    command = [
        "systemctl",
        "show",
        "-p",
        "ActiveState",
        "-p",
        "UnitFileState",
        "otto-agent.service",
    ]
    answer = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    values = dict(line.partition("=")[::2] for line in answer.stdout.splitlines())
    return {
        "active": values.get("ActiveState") or f"unknown: {answer.stderr.strip()}",
        "enabled": values.get("UnitFileState") == "enabled",
    }


def bundle_sha256(bundle: Path = CURRENT) -> str:
    """The name of the bundle that lies there; empty where there is none that root may run."""
    if altered(str(bundle)):
        return ""
    return sha256(bundle / MANIFEST)


def look_at_agent(bundle: str | None = None) -> dict[str, Any]:
    """bundle: what `bundle_sha256` says, where that is known already."""
    return {
        "version": CURRENT.resolve().name if CURRENT.is_dir() else "",
        "bundle_sha256": bundle_sha256() if bundle is None else bundle,
        "config_sha256": sha256(CONFIG),
        "unit_sha256": sha256(UNIT),
        "unfinished": FORMER.exists(),
        **ask_systemd(),
    }


def measure_disk(path: str) -> dict[str, Any]:
    place = Path(path)
    while not place.is_dir() and place != place.parent:
        place = place.parent
    usage = shutil.disk_usage(str(place))
    return {"path": str(place), "free": usage.free, "total": usage.total}


def has_memory_cgroup() -> bool:
    v2 = Path("/sys/fs/cgroup/cgroup.controllers")
    if v2.is_file():
        return "memory" in v2.read_text(encoding="ascii").split()
    return Path("/sys/fs/cgroup/memory/memory.usage_in_bytes").is_file()


def look(
    docker_url: str, disk_path: str = "/var/lib", timeout: float = 3.0, bundle: str | None = None
) -> dict[str, Any]:
    """What module `node_info` returns (its documentation has the fields).

    timeout: seconds that the engine has for its answer. bundle: see `look_at_agent`. Raises
    OttoError.
    """
    try:
        return {
            "python": platform.python_version(),
            "distribution": read_os_release(),
            "architecture": platform.machine(),
            "hostname": socket.gethostname(),
            "init": Path("/proc/1/comm").read_text(encoding="ascii").strip(),
            "docker": ask_docker(docker_url, timeout),
            "agent": look_at_agent(bundle),
            "disk": measure_disk(disk_path),
            "memory_cgroup": has_memory_cgroup(),
            "time": time.time(),
        }
    except (OSError, subprocess.SubprocessError) as error:
        raise OttoError(
            f"Cannot look at {os.uname().nodename}", cause=str(error), next="journalctl -n 50"
        ) from error
