# SPDX-License-Identifier: GPL-3.0-or-later
"""What failed, as a person reads it: node, service, cause and the next command to type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otto_run import hostkeys, ssh
from otto_run.render import clean, problem
from otto_run.runner import Outcome, TaskFailed


@dataclass(frozen=True)
class Failure:
    """service: "" for the node itself."""

    node: str
    service: str
    message: str
    cause: str = ""
    next: str = ""

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


Advice = Callable[[Any, Path], str]
_CONNECTION: tuple[tuple[str, str, Advice], ...] = (
    (
        "IDENTIFICATION HAS CHANGED",
        "the host key is another one than before: the host was installed anew, or somebody stands"
        " in between",
        lambda node, known: f"{hostkeys.forget(node, known)}   (only if you know why)",
    ),
    (
        "Host key verification failed",
        "its host key, or that of its jump host, is not known",
        lambda node, _known: (
            ssh.trust_jump(node)
            if node.jump
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
    ("No route to host", "there is no way to it: switched off, or another network", ssh.typed),
    ("timed out", "it does not answer: switched off, or another network", ssh.typed),
)


def collect(outcome: Outcome, nodes: Mapping[str, Any], known_hosts: Path) -> list[Failure]:
    """Every failure of a run: of each service, and of nodes that did not get that far."""
    found: list[Failure] = []
    for name in sorted(outcome.failed | outcome.unreachable):
        report = outcome.results.get(name, {}).get("report")
        errors = report.get("errors") if isinstance(report, dict) else None
        if errors:
            found += [
                Failure(name, *(clean(error.get(key) or "", 600) for key in _FIELDS))
                for error in errors
            ]
            continue
        failure = outcome.failures.get(name)
        if failure is None:
            found.append(Failure(name, "", "failed, and Ansible did not say at what"))
        else:
            found.append(_of_task(nodes[name], failure, known_hosts))
    return found


_FIELDS = ("service", "message", "cause", "next")


def _of_task(node: Any, failure: TaskFailed, known_hosts: Path) -> Failure:
    text = failure.message
    if failure.unreachable:
        for sign, cause, advice in _CONNECTION:
            if sign in text:
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
    reason, next_ = failure.result.get("cause"), failure.result.get("next")
    if reason or next_:
        # An OttoError of a module: its text repeats both on lines of their own.
        return Failure(node.id, "", text.splitlines()[0], str(reason or ""), str(next_ or ""))
    return Failure(
        node.id, "", f"failed at: {failure.task}", text, f"otto-run apply --limit {node.id} -v"
    )
