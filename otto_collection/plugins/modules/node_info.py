#!/usr/bin/python
# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: node_info
short_description: Tell what a node has of what Otto needs
version_added: 0.1.0
description:
  - Tells in one call what an installation of Docker and of the agent has to know about a host.
  - Needs Python 3.9 and nothing else on the node. It changes nothing.
author:
  - The Otto authors (@otto-cluster)
options:
  docker_url:
    description: Address of the Docker engine that is asked for its version.
    type: str
    default: unix:///var/run/docker.sock
  disk_path:
    description: Directory whose file system is measured. Its nearest existing parent is taken.
    type: path
    default: /var/lib
  timeout:
    description: Seconds that the Docker engine has for its answer.
    type: float
    default: 3.0
attributes:
  check_mode:
    description: Can run in check mode and return the state without changing anything.
    support: full
  diff_mode:
    description: Returns what would change in diff mode.
    support: none
seealso:
  - module: otto.cluster.target
"""

EXAMPLES = r"""
- name: Look at the node
  otto.cluster.node_info:
  register: node

- name: Install Docker where none answers
  ansible.builtin.include_role:
    name: otto.cluster.docker
  when: not node.docker.answers
"""

RETURN = r"""
python:
  description: Version of the Python interpreter that runs the modules.
  type: str
  returned: always
  sample: 3.11.2
distribution:
  description: Fields of C(/etc/os-release), empty where the node has none.
  type: dict
  returned: always
  contains:
    id:
      description: Name for programs.
      type: str
      sample: debian
    id_like:
      description: Names of the distributions that it descends from.
      type: list
      elements: str
    version_id:
      description: Version.
      type: str
      sample: "12"
    codename:
      description: Code name.
      type: str
      sample: bookworm
    name:
      description: Name for people.
      type: str
      sample: Debian GNU/Linux 12 (bookworm)
architecture:
  description: Machine name of the kernel.
  type: str
  returned: always
  sample: aarch64
hostname:
  description: Name of the host.
  type: str
  returned: always
  sample: rpi-01
init:
  description: Name of process 1.
  type: str
  returned: always
  sample: systemd
docker:
  description: The Docker engine.
  type: dict
  returned: always
  contains:
    present:
      description: Whether C(dockerd) is installed or something answers at the address.
      type: bool
    answers:
      description: Whether the engine answers.
      type: bool
    version:
      description: Version of the engine, empty where none answers.
      type: str
      sample: 26.1.5
    api_version:
      description: Version of its API, empty where none answers.
      type: str
      sample: "1.45"
    error:
      description: Why it does not answer, empty where it does.
      type: str
agent:
  description: The agent of Otto.
  type: dict
  returned: always
  contains:
    version:
      description: Name of the bundle that C(/opt/otto/current) leads to, empty where there is none.
      type: str
      sample: 0.1.0
    config_sha256:
      description: SHA-256 of C(/etc/otto/agent.json), empty where there is none.
      type: str
    unit_sha256:
      description: SHA-256 of the systemd unit of the agent, empty where there is none.
      type: str
    active:
      description: What systemd says of C(otto-agent.service).
      type: str
      sample: active
    enabled:
      description: Whether systemd starts it at boot.
      type: bool
disk:
  description: The file system of O(disk_path).
  type: dict
  returned: always
  contains:
    path:
      description: The directory that was measured.
      type: str
    free:
      description: Bytes that are free for those who are not root.
      type: int
    total:
      description: Bytes in all.
      type: int
memory_cgroup:
  description:
    - Whether the kernel accounts memory. Raspberry Pi OS may need C(cgroup_enable=memory) on its
      kernel command line; without it memory limits do nothing.
  type: bool
  returned: always
time:
  description: The clock of the node, in seconds since the epoch.
  type: float
  returned: always
"""

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
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule

CURRENT = Path("/opt/otto/current")
CONFIG = Path("/etc/otto/agent.json")
UNIT = Path("/etc/systemd/system/otto-agent.service")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket: the SDK would cost 200 ms and may not be there yet."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask_docker(url: str, timeout: float) -> dict:
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
        connection: http.client.HTTPConnection = _UnixConnection(parts.path, timeout)
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


def read_os_release() -> dict:
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
    """Digest of a file; empty where there is none. One that may not be read is an error."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def ask_systemd() -> dict:
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


def look_at_agent() -> dict:
    return {
        "version": CURRENT.resolve().name if CURRENT.is_dir() else "",
        "config_sha256": sha256(CONFIG),
        "unit_sha256": sha256(UNIT),
        **ask_systemd(),
    }


def measure_disk(path: str) -> dict:
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


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "docker_url": {"type": "str", "default": "unix:///var/run/docker.sock"},
            "disk_path": {"type": "path", "default": "/var/lib"},
            "timeout": {"type": "float", "default": 3.0},
        },
        supports_check_mode=True,
    )
    try:
        result = {
            "python": platform.python_version(),
            "distribution": read_os_release(),
            "architecture": platform.machine(),
            "hostname": socket.gethostname(),
            "init": Path("/proc/1/comm").read_text(encoding="ascii").strip(),
            "docker": ask_docker(module.params["docker_url"], module.params["timeout"]),
            "agent": look_at_agent(),
            "disk": measure_disk(module.params["disk_path"]),
            "memory_cgroup": has_memory_cgroup(),
            "time": time.time(),
        }
    except (OSError, subprocess.SubprocessError) as error:
        module.fail_json(msg=f"Cannot look at {os.uname().nodename}: {error}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
