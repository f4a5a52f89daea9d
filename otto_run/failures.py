# SPDX-License-Identifier: GPL-3.0-or-later
"""What failed, as a person reads it: node, service, cause and the next command to type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.masking import in_text
from ansible_collections.otto.cluster.plugins.module_utils.ssh_way import foreign_jump
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.hints import allowed

from otto_run import hostkeys, ssh
from otto_run.render import clean, problem
from otto_run.runner import Outcome, TaskFailed


@dataclass(frozen=True)
class Failure:
    """service: "" for the node itself. What Ansible or a node said may hold an address with a
    password: it is masked."""

    node: str
    service: str
    message: str
    cause: str = ""
    next: str = ""

    def __post_init__(self) -> None:
        for name in ("message", "cause", "next"):
            object.__setattr__(self, name, in_text(getattr(self, name)))

    def __str__(self) -> str:
        where = f"{self.node}: {self.service}" if self.service else self.node
        return problem(where, self.message, self.cause, self.next)

    def to_json(self) -> dict[str, str]:
        return {
            "node": self.node,
            "service": self.service,
            "message": clean(self.message),
            "cause": clean(self.cause, 600),
            "next": self.next,
        }


def together(failures: Iterable[Failure]) -> list[Failure]:
    """Failures that say the same of several nodes as one, its node being all of their names."""
    nodes: dict[Failure, list[str]] = {}
    for failure in failures:
        nodes.setdefault(replace(failure, node=""), []).append(failure.node)
    return [replace(failure, node=", ".join(names)) for failure, names in nodes.items()]


Advice = Callable[[Any, Path], str]
_CHANGED = "IDENTIFICATION HAS CHANGED"
_CONNECTION: tuple[tuple[str, str, Advice], ...] = (
    (
        _CHANGED,
        "the host key is another one than before: the host was installed anew, or somebody stands"
        " in between",
        lambda node, known: f"{hostkeys.forget(node, known)}   (only if you know why)",
    ),
    (
        "Host key verification failed",
        "its host key, or that of its jump host, is not known",
        lambda node, _known: (
            ssh.trust_jump(node)
            if foreign_jump(node)
            else "otto-run plan   (on a terminal: it shows the key and asks)"
        ),
    ),
    (
        "Permission denied",
        "SSH lets nobody in with the keys that were offered",
        lambda node, _known: f"ssh-copy-id {ssh.destination(node)}",
    ),
    (
        "Could not resolve hostname",
        "its name has no address",
        lambda node, _known: f"getent hosts {node.host}",
    ),
    (
        "Connection refused",
        "it is on, but nothing listens on its SSH port",
        lambda _node, _known: (
            "on the node: sudo systemctl enable --now ssh   (or another `port:` in otto.yaml?)"
        ),
    ),
    (
        "waiting for privilege escalation prompt",
        "it does not answer any more: switched off, or another network",
        ssh.typed,
    ),
    ("No route to host", "there is no way to it: switched off, or another network", ssh.typed),
    ("timed out", "it does not answer: switched off, or another network", ssh.typed),
)


def collect(
    outcome: Outcome, nodes: Mapping[str, Any], known_hosts: Path, max_failures: int = 0
) -> list[Failure]:
    """Every failure of a run: of each service, and of nodes that did not get that far.

    max_failures: that of `update`, for nodes that were held back.
    """
    found: list[Failure] = []
    for name in sorted(outcome.failed | outcome.unreachable):
        report = outcome.results.get(name, {}).get("report")
        errors = report.get("errors") if isinstance(report, dict) else None
        if errors:
            found += [of_report(nodes[name], error, known_hosts) for error in errors]
            continue
        failure = outcome.failures.get(name)
        if failure is None:
            found.append(Failure(name, "", "failed, and Ansible did not say at what"))
        else:
            found.append(_of_task(nodes[name], failure, known_hosts))
    return found + _held(outcome, max_failures)


def _held(outcome: Outcome, max_failures: int) -> list[Failure]:
    """The nodes whose batch was not begun, because of others."""
    failed = sorted((outcome.failed | outcome.unreachable) & outcome.batches.keys())
    cause = (
        f"{', '.join(failed)} failed, and update.max_failures is {max_failures}"
        if failed
        else "the run ended before its turn"
    )
    text = "held back: nothing was changed here"
    return [Failure(node, "", text, cause, "otto-run apply") for node in sorted(outcome.held)]


def of_report(node: Any, error: Mapping[str, Any], known_hosts: Path) -> Failure:
    """An error as a node reports it."""
    service, message, cause = (
        clean(error.get(key) or "", 600) for key in ("service", "message", "cause")
    )
    next_ = allowed(str(error.get("next") or ""), node.id)
    return Failure(node.id, service, message, cause, from_here(node, next_, known_hosts))


_ON_THE_NODE = ("docker", "systemctl", "journalctl", "df", "ls")


def from_here(node: Any, next_: str, known_hosts: Path) -> str:
    """What a node says is to be typed next, as it is typed where the person sits.

    A hint that is no command of the node stays as it is.
    """
    command, space, remark = next_.partition("   (")
    if node.is_local or command.split(" ")[0] not in _ON_THE_NODE:
        return next_
    if node.become and command.startswith("docker "):
        command = f"sudo {command}"
    return ssh.typed(node, known_hosts, command) + space + remark


def _said(text: str) -> tuple[str, str, str]:
    """An OttoError of a plugin on this machine, which Ansible has as text: message, cause, next."""
    head: list[str] = []
    found = {"cause": "", "next": ""}
    for line in text.replace("(traceback unavailable)", "").strip().splitlines():
        word, _, rest = line.strip().partition(" ")
        if word in found and line.startswith(" ") and head:
            found[word] = rest.strip()
        elif line.strip():
            head.append(line.removeprefix("Task failed: ").strip())
    return head[-1] if head else text, found["cause"], found["next"]


def _of_task(node: Any, failure: TaskFailed, known_hosts: Path) -> Failure:
    text = failure.message
    if failure.unreachable:
        for sign, cause, advice in _CONNECTION:
            if sign in text and (sign != _CHANGED or hostkeys.changed(node, known_hosts)):
                return Failure(node.id, "", "cannot be reached", cause, advice(node, known_hosts))
        return Failure(node.id, "", "cannot be reached", text, ssh.typed(node, known_hosts))
    if "sudo" in text and "password" in text:
        line = f"{node.user} ALL=(ALL) NOPASSWD: ALL"
        return Failure(
            node.id,
            "",
            f"{node.user} may not use sudo without a password",
            text,
            f"on {node.id}: echo '{line}' | sudo tee /etc/sudoers.d/otto",
        )
    if failure.result.get("of_node"):
        # Its text repeats both on lines of their own, and is a node's: nothing is read out of it.
        reason = str(failure.result.get("cause") or "")
        next_ = allowed(str(failure.result.get("next") or ""), node.id)
        text = text.splitlines()[0]
    else:
        text, reason, next_ = _said(text)
    if reason or next_:
        return Failure(node.id, "", text, reason, from_here(node, next_, known_hosts))
    return Failure(
        node.id, "", f"failed at: {failure.task}", text, f"otto-run apply --limit {node.id} -v"
    )
