# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a lab host: carries targets out under a policy, and looks from inside each container.

Input: {"policy": its document or null, "targets": [...], "probe": text}. Output, a line for each
target: {"services": {name: {"refused", "error", "ran", "reached"}}, "node": [what happened to it]}.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils import policy_file
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.policy import parse
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import reconcile, remove
from ansible_collections.otto.cluster.plugins.module_utils.wire import Wire

LOG = "/run/otto-canary-log"


def docker(*words: str, stdin: str = "", timeout: float = 30) -> str:
    done = subprocess.run(
        ["docker", *words], input=stdin, capture_output=True, text=True, timeout=timeout
    )
    return done.stdout.strip()


def reached(container: str, probe: str) -> list[str] | None:
    """None where it does not run long enough to be asked."""
    node = f"NODE={os.uname().nodename}"
    try:
        said = docker("exec", "-i", "-u", "0", "-e", node, container, "sh", "-s", stdin=probe)
    except subprocess.TimeoutExpired:
        return None
    lines = said.splitlines()
    found = {line.partition(" ")[2] for line in lines if line.startswith("REACHED ")}
    return sorted(found) if "DONE" in lines else None


def happened(log: socket.socket) -> list[str]:
    """What of the node itself is otherwise than before."""
    found = []
    run = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True)
    if "198.51.100." in run.stdout:
        found.append("route")
    if any(Path("/sys/class/net/ottocanbr0/brif").iterdir()):
        found.append("bridge")
    if docker("network", "ls", "-q", "--filter", "driver=macvlan"):
        found.append("macvlan")
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        if line.split()[1].startswith("/srv/") and line.split()[1] != "/srv/above/below":
            found.append("mount")
            subprocess.run(["umount", "-l", line.split()[1]], check=True)
    for directory in ("/etc", "/root", "/srv/readable", "/srv/other", "/srv/above/below"):
        wrote = Path(directory, "otto-wrote")
        if wrote.exists():
            found.append("wrote")
            wrote.unlink()
    try:
        while log.recv(65536):
            found.append("log")
    except BlockingIOError:
        pass
    return sorted(set(found))


def one(engine: DockerEngine, target: Target, probe: str, log: socket.socket) -> dict[str, Any]:
    report = reconcile(engine, target, workers=8)
    services = {}
    rows = docker("ps", "--filter", f"label=io.otto.cluster={target.cluster}", "--format",
                  '{{.Label "io.otto.service"}} {{.ID}}').splitlines()  # fmt: skip
    running = dict(row.split() for row in rows)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = dict(
            zip(running, pool.map(lambda id: reached(id, probe), running.values()), strict=True)
        )
    errors = {error.get("service"): error for error in report.errors}
    for name in target.services:
        message = str(errors.get(name, {}).get("message", ""))
        services[name] = {
            "refused": "policy" in message,
            "error": f"{message} {errors.get(name, {}).get('cause', '')}",
            "ran": answers.get(name) is not None,
            "reached": answers.get(name) or [],
        }
    node = happened(log)
    remove(engine, target.cluster, volumes=True)
    return {"services": services, "node": node}


def main() -> None:
    asked = json.load(sys.stdin)
    document = asked["policy"]
    policy_file.read = lambda: None if document is None else parse(document)
    Path(LOG).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(LOG)
        log.setblocking(False)
        with DockerEngine("unix:///var/run/docker.sock", carrier=Wire) as engine:
            for document_of_target in asked["targets"]:
                target = Target.from_json(document_of_target)
                print(json.dumps(one(engine, target, asked["probe"], log)), flush=True)
    Path(LOG).unlink(missing_ok=True)


main()
