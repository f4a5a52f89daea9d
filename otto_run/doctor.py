# SPDX-License-Identifier: GPL-3.0-or-later
"""Is each node fit for Otto? One check per reason, none hinders another, each says its fix."""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils import tls
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.module_utils.ssh_way import foreign_jump, way
from ansible_collections.otto.cluster.plugins.plugin_utils import interpreter
from ansible_collections.otto.cluster.plugins.plugin_utils.access import Access
from ansible_collections.otto.cluster.plugins.plugin_utils.gate import answers
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.shapes import Misfit

from otto_run import broker, hostkeys, ssh
from otto_run.exits import again
from otto_run.render import clean, size

_TIMEOUT = 40.0
_LEAST_DISK = 1 << 30
_CLOCK_OFF = 30.0
_GRACE = 5.0  # seconds for a program to end that has said all
_MOST_OUTPUT = 1 << 20  # bytes of what a node says

# What one SSH call finds out on the node: each answer stands alone. Python 3.5 syntax, so that an
# old Python can still say its own version.
_PROBE = r"""
import json, os, socket, subprocess, sys, time
def answer(look):
    try:
        return look()
    except Exception as error:
        return {"error": "%s: %s" % (type(error).__name__, error)}
def run(*command):
    done = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)
    out, err = done.communicate()
    return [done.returncode] + [text.decode("utf-8", "replace").strip() for text in (out, err)]
def sudo():
    if os.geteuid() == 0:
        return {"ok": True, "text": "root"}
    code, out, err = run("sudo", "-n", "true")
    return {"ok": code == 0, "text": err}
def docker():
    url = P["docker_url"]
    if not url.startswith("unix://"):
        host, port = url.split("://", 1)[1].rsplit(":", 1)
        socket.create_connection((host, int(port)), 5).close()
        return {"ok": True, "text": url}
    path = url[len("unix://"):]
    if not os.path.exists(path):
        return {"ok": False, "missing": True, "text": path}
    request = b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n"
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    try:
        connection.connect(path)
    except PermissionError:
        code, out, err = run("sudo", "-n", "docker", "-H", url, "version", "--format",
                             "{{.Server.Version}}")
        return {"ok": code == 0, "text": out or err}
    connection.sendall(request)
    text = b""
    while True:
        piece = connection.recv(65536)
        if not piece:
            break
        text += piece
    return {"ok": True, "text": json.loads(text.split(b"\r\n\r\n", 1)[1].decode())["Version"]}
def disk():
    path = "/var/lib/docker" if os.path.isdir("/var/lib/docker") else "/"
    found = os.statvfs(path)
    return {"free": found.f_bavail * found.f_frsize, "path": path}
def reach():
    socket.create_connection((P["host"], P["port"]), 5).close()
    return {"ok": True}
print(json.dumps({"python": list(sys.version_info[:3]), "sudo": answer(sudo),
    "docker": answer(docker), "disk": answer(disk), "broker": answer(reach), "clock": time.time()}))
"""


@dataclass(frozen=True)
class Check:
    """state: ok, note (Otto will see to it itself) or fail. next: what to type."""

    name: str
    state: str
    text: str
    next: str = ""


@dataclass(frozen=True)
class Diagnosis:
    node: str
    checks: tuple[Check, ...]

    @property
    def well(self) -> bool:
        return all(check.state != "fail" for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "ok": self.well,
            "checks": [asdict(check) for check in self.checks],
        }


@dataclass(frozen=True)
class _Broker:
    """Where the broker is. trouble: what is wrong with it, as this machine sees it.
    coming: an apply has still to install it."""

    host: str
    port: int
    trouble: tls.Trouble | None = None
    coming: bool = False


def examine(
    nodes: Sequence[Any], mqtt: Any, access: Access | None, known_hosts: Path
) -> Iterator[Diagnosis]:
    """Examine all nodes side by side; they come in the order of the file. mqtt: as the file names
    the broker. access: as otto-run is let in there."""
    with _something_at(mqtt, access) as there, ThreadPoolExecutor(16) as pool:
        yield from pool.map(lambda node: _examine(node, there, known_hosts), nodes)


@contextlib.contextmanager
def _something_at(mqtt: Any, access: Access | None) -> Iterator[_Broker | None]:
    """Where `otto-run up` would be the broker and is not running, listen in its stead: what is
    asked is whether the nodes can get there."""
    if mqtt is None or access is None:
        yield None
        return
    trouble: tls.Trouble | None = None
    if broker.answers(mqtt.host, mqtt.port):
        with contextlib.suppress(OSError):  # the nodes say whether it is reached
            trouble = broker.handshake(access)
        yield _Broker(mqtt.host, mqtt.port, trouble)
        return
    with contextlib.ExitStack() as stack:
        try:
            address = None if mqtt.node else broker.local_address(mqtt.host)
            if address is not None:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                door = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                door.bind((address, mqtt.port))
                door.listen(128)
        except OttoError as error:
            trouble = tls.Trouble(f"{error.message}: {error.cause}", error.next)
        except OSError as error:
            trouble = tls.Trouble(
                f"this machine cannot be the broker there: {error.strerror}",
                typed("ss -ltnp sport = :{}   (who has it), or another mqtt.port", mqtt.port),
            )
        yield _Broker(mqtt.host, mqtt.port, trouble, coming=mqtt.node is not None)


def _examine(node: Any, mqtt: _Broker | None, known_hosts: Path) -> Diagnosis:
    parameters: dict[str, Any] = {"docker_url": node.docker_url}
    if mqtt is not None:
        parameters |= {"host": mqtt.host, "port": mqtt.port}
    script = f"P = {parameters!r}\n{_PROBE}"
    if node.is_local:
        began = time.time()
        done = _run([sys.executable, "-I", "-"], script)
        return Diagnosis(node.id, tuple(_answers(node, mqtt, done, began, known_hosts)))
    checks = [_reach(node, known_hosts)]
    if checks[0].state == "fail":
        return Diagnosis(node.id, tuple(checks))
    if not node.jump:
        checks.append(_host_key(node, known_hosts))
        if checks[-1].state == "fail":
            return Diagnosis(node.id, tuple(checks))
    began = time.time()
    python = node.python or "/usr/bin/python3"
    command = shlex.join(interpreter.guarded(python, [python, "-"]))
    done = _run(["ssh", *ssh.options(node, known_hosts), ssh.destination(node), command], script)
    checks += _answers(node, mqtt, done, began, known_hosts)
    return Diagnosis(node.id, tuple(checks))


def _run(command: list[str], text: str) -> subprocess.CompletedProcess[str]:
    """Its output is cut: a node may say as much as it likes."""
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
        ThreadPoolExecutor(2) as readers,
    ):
        assert process.stdin and process.stdout and process.stderr
        streams = (process.stdout, process.stderr)
        said = [readers.submit(stream.read, _MOST_OUTPUT) for stream in streams]
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(text.encode())
            process.stdin.close()
        first, _ = wait(said, _TIMEOUT, FIRST_COMPLETED)
        if any(len(each.result()) == _MOST_OUTPUT for each in first):
            process.kill()
        _, late = wait(said, _TIMEOUT if first else 0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0 if late else _GRACE)
        process.kill()  # nothing, where it has ended
    if late:
        words = f"no answer within {_TIMEOUT:.0f} s, timed out"
        return subprocess.CompletedProcess(command, 255, "", words)
    out, err = (each.result().decode("utf-8", "replace") for each in said)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _reach(node: Any, known_hosts: Path) -> Check:
    contact = hostkeys.resolve(node, known_hosts)
    where = f"{contact.host}:{contact.port}"
    if node.jump:
        return Check("network", "ok", f"{where} through {way(node)}")
    try:
        socket.create_connection((contact.host, contact.port), 5).close()
    except OSError as error:
        cause = error.strerror or str(error)
        step = typed("ping -c 1 {}   (is it on?)", contact.host)
        if isinstance(error, ConnectionRefusedError):
            step = "on the node: sudo systemctl enable --now ssh   (or another `port:` here?)"
        return Check("network", "fail", f"{where}: {cause}", step)
    return Check("network", "ok", where)


def _host_key(node: Any, known_hosts: Path) -> Check:
    contact = hostkeys.resolve(node, known_hosts)
    known = hostkeys.lookup(ssh.known_hosts_files(known_hosts, node), contact.name)
    if not known:
        shown = hostkeys.scan(contact, known_hosts)
        seen = f"{shown[0].short_type} {shown[0].fingerprint}" if shown else "it showed none"
        return Check(
            "host key",
            "fail",
            f"not known yet: {seen}",
            typed("add its key to {}, which you gave", known_hosts)
            if node.given_keys
            else f"{again('--accept-new-host-keys')}   (or on a terminal: it asks)",
        )
    return Check("host key", "ok", f"known from {next(iter(known))}")  # the login compares it


def _answers(
    node: Any,
    mqtt: _Broker | None,
    done: subprocess.CompletedProcess[str],
    began: float,
    known_hosts: Path,
) -> Iterator[Check]:
    ended = time.time()
    said = done.stdout.strip().splitlines()  # a login script may print something before
    try:
        found = answers.said(answers.PROBE, said[-1] if said else "")
    except Misfit:
        yield _no_answer(node, done, known_hosts)
        return
    if not node.is_local:
        yield Check("login", "ok", ssh.destination(node))
    yield _python(node, found["python"])
    if not node.is_local:
        yield _sudo(node, found["sudo"])
    yield _docker(node, found["docker"])
    yield _disk(node, found["disk"])
    if not node.is_local:
        yield _clock(node, found["clock"], began, ended)
    if mqtt is not None:
        yield _broker(mqtt, found["broker"])


def _no_answer(node: Any, done: subprocess.CompletedProcess[str], known_hosts: Path) -> Check:
    said = clean(done.stderr or done.stdout or f"exit code {done.returncode}", 300)
    if "IDENTIFICATION HAS CHANGED" in done.stderr and hostkeys.changed(node, known_hosts):
        step = f"{hostkeys.forget(node, known_hosts)}   (only if you know why it changed)"
        return Check("host key", "fail", "it is another one than before", step)
    if "Connection reset by peer" in said and "kex_exchange" in said:
        text = f"{said}: it may have counted connections that did not log in"
        return Check("login", "fail", text, f"{again()}   (in half a minute)")
    if done.returncode == interpreter.REFUSED:
        error = interpreter.refusal(str(node.python), done.stdout)
        return Check("python", "fail", f"{node.python} is not run: {error.cause}", error.next)
    if "Permission denied" in said:
        return Check("login", "fail", said, typed("ssh-copy-id {}", ssh.destination(node)))
    if "Host key verification failed" in said and foreign_jump(node):
        return Check("login", "fail", said, ssh.trust_jump(node))
    if done.returncode == 127 or "No such file" in said:
        return Check(
            "python",
            "fail",
            f"no {node.python or '/usr/bin/python3'}: {said}",
            f"on {node.id}: sudo apt-get install python3   (or `python:` in otto.yaml)",
        )
    return Check("login", "fail", said, ssh.typed(node, known_hosts, "true"))


def _python(node: Any, version: Sequence[int]) -> Check:
    text = ".".join(map(str, version))
    if tuple(version) < (3, 9):
        return Check(
            "python",
            "fail",
            f"{text} is older than 3.9",
            f"a newer one on {node.id}, and its path as `python:` in otto.yaml",
        )
    return Check("python", "ok", text)


def _sudo(node: Any, found: Mapping[str, Any]) -> Check:
    if found.get("ok"):
        return Check("sudo", "ok", "without a password")
    return Check(
        "sudo",
        "fail",
        clean(found.get("text") or found.get("error") or "refused", 200),
        f"on {node.id}: echo '{node.user} ALL=(ALL) NOPASSWD: ALL' | sudo tee /etc/sudoers.d/otto",
    )


def _docker(node: Any, found: Mapping[str, Any]) -> Check:
    if found.get("ok"):
        return Check("docker", "ok", clean(found.get("text") or "it answers", 60))
    if found.get("missing") and not node.is_local:
        return Check("docker", "note", "not there yet", "otto-run apply   (installs it)")
    text = clean(found.get("error") or found.get("text") or "no answer", 200)
    where = "" if node.is_local else f"on {node.id}: "
    return Check("docker", "fail", text, f"{where}sudo systemctl start docker")


def _disk(node: Any, found: Mapping[str, Any]) -> Check:
    if "free" not in found:
        return Check("disk", "fail", clean(found.get("error"), 200), f"on {node.id}: df -h /")
    text = f"{size(found['free'])} free on {found['path']}"
    if found["free"] < _LEAST_DISK:
        where = "" if node.is_local else f"on {node.id}: "
        return Check("disk", "fail", text, f"{where}docker system prune")
    return Check("disk", "ok", text)


def _clock(node: Any, clock: float, began: float, ended: float) -> Check:
    # The node looked at its clock at some moment between the two.
    offset = 0.0 if began <= clock <= ended else min(clock - began, clock - ended, key=abs)
    if abs(offset) > _CLOCK_OFF:
        return Check(
            "clock",
            "fail",
            f"{offset:+.0f} s beside this machine's",
            f"on {node.id}: sudo timedatectl set-ntp true",
        )
    return Check("clock", "ok", f"{offset:+.1f} s")


def _broker(mqtt: _Broker, found: Mapping[str, Any]) -> Check:
    where = f"{mqtt.host}:{mqtt.port}"
    if mqtt.trouble is not None:
        return Check("broker", "fail", f"{where}: {mqtt.trouble.cause}", mqtt.trouble.next)
    if found.get("ok"):
        return Check("broker", "ok", where)
    if mqtt.coming:
        return Check("broker", "note", f"not at {where} yet", "otto-run apply   (installs it)")
    return Check(
        "broker",
        "fail",
        f"{where}: {clean(found.get('error') or 'no answer', 200)}",
        f"let TCP port {mqtt.port} through this machine's firewall, or correct mqtt.host",
    )
