# SPDX-License-Identifier: GPL-3.0-or-later
"""One command on one cluster: the file read, the state opened, Ansible run, the outcome told."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.otto.cluster.plugins.module_utils import ssh_way
from ansible_collections.otto.cluster.plugins.module_utils.caller import (
    ONESELF,
    OUTSIDE_FIRST,
    Caller,
    strangers_own,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Cluster, Node
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
from ansible_collections.otto.cluster.plugins.module_utils.errors import nearest, typed
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.target import targets
from ansible_collections.otto.cluster.plugins.plugin_utils.access import Access, access
from ansible_collections.otto.cluster.plugins.plugin_utils.host_key_file import Keeper
from ansible_collections.otto.cluster.plugins.plugin_utils.state import state_root

from otto_run import render, strangers
from otto_run.exits import Code, Stop, again
from otto_run.failures import Failure
from otto_run.paths import StatePaths, control_sockets
from otto_run.vault import Vault

if TYPE_CHECKING:
    from otto_run.audit import Watch
    from otto_run.runner import Outcome
    from otto_run.status import NodeStatus


SITE, PLAN, DOWN = "otto.cluster.site", "otto.cluster.plan", "otto.cluster.down"
LOOK = "otto.cluster.look"


def say(line: str) -> None:
    """To stderr: stdout carries results alone."""
    print(line, file=sys.stderr, flush=True)


def ask(question: str) -> bool:
    """Put a yes-or-no question to the terminal; no is the default."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def asker() -> Callable[[str], bool] | None:
    """`ask`, where there is a person to ask."""
    return ask if sys.stdin.isatty() and sys.stderr.isatty() else None


@dataclass(frozen=True)
class Session:
    file: Path
    cluster: Cluster
    vault: Vault
    verbosity: int = 0
    watch: Watch | None = None
    """who notes it in the audit log; None for a command that changes nothing"""
    caller: Caller = ONESELF

    @classmethod
    def open(
        cls,
        file: Path,
        vault: Vault,
        verbosity: int,
        caller: Caller = ONESELF,
        watch: Watch | None = None,
    ) -> Session:
        """Read the cluster file. Raises ClusterFileError, or Stop when there is no file."""
        if caller.untrusted and not caller.known_hosts:
            raise Stop(
                Code.USAGE,
                "An untrusted file reaches hosts alone whose keys you give\n"
                f"    next      {again('--known-hosts', 'FILE')}",
            )
        given = vault.password_file
        if caller.untrusted and given and strangers_own(str(given), str(file.absolute().parent)):
            raise Stop(
                Code.USAGE,
                f"--vault-password-file {given} lies in the checkout of the untrusted file\n"
                "    next      " + typed(OUTSIDE_FIRST, given),
            )
        if not file.exists():
            raise Stop(
                Code.USAGE,
                f"no {file.name} here ({file.absolute().parent}); `otto-run init` writes one",
            )
        cluster, caller = strangers.with_files(
            lambda given: load_file(
                str(file),
                environ=os.environ,
                vault=vault.decrypt if vault.password_file else None,
                caller=given,
            ),
            caller,
            asker(),
            say,
        )
        if cluster.known_hosts and not caller.untrusted:
            Keeper(cluster.known_hosts)  # the file names it, and might name any
        return cls(file.absolute(), cluster, vault, verbosity, watch, caller)

    @cached_property
    def paths(self) -> StatePaths:
        paths = StatePaths(state_root(os.environ), self.cluster.name)
        paths.make()
        return paths

    @cached_property
    def access(self) -> Access | None:
        """How the control plane is let in at the broker; None where the file names none."""
        mqtt = self.cluster.mqtt
        return access(mqtt, self.paths.root, self.cluster.name) if mqtt is not None else None

    @property
    def known_hosts(self) -> Path:
        return Path(self.cluster.known_hosts or self.paths.known_hosts)

    @cached_property
    def nodes(self) -> dict[str, Node]:
        return ssh_way.resolved(self.cluster.nodes)

    @cached_property
    def targets(self) -> dict[str, Target]:
        """node -> all that it must be"""
        return targets(self.cluster)

    @cached_property
    def wanted(self) -> dict[str, Mapping[str, Mapping[str, Any]]]:
        """node -> service -> spec"""
        return {node: target.services for node, target in self.targets.items()}

    def limited(self, limit: Sequence[str], word: str = "--limit") -> tuple[str, ...]:
        """Node ids out of `--limit a,b`; none when none were asked for, which means all of them.
        Raises Stop for one that is not in the file, and where an empty text was given: what a
        script's variable lost does not become every node.

        word: what the person typed before it.
        """
        names = [name for part in limit for name in part.split(",") if name]
        if limit and not names:
            raise Stop(Code.USAGE, f"{word}: no node is named\n    nodes     {self._names}")
        unknown = [name for name in names if name not in self.nodes]
        if unknown:
            lines = []
            for name in unknown:
                close = nearest(name, self.nodes)
                lines.append(f"{word}: {name} is no node of {self.file.name}")
                lines.append(f"    nearest   {close}" if close else f"    nodes     {self._names}")
            raise Stop(Code.USAGE, "\n".join(lines))
        return tuple(dict.fromkeys(names))

    def one(self, name: str, word: str) -> str:
        """The node of that name. Raises Stop."""
        found = self.limited([name], word)
        if len(found) != 1 or found[0] != name:
            raise Stop(Code.USAGE, f"{word}: one node at a time\n    nodes     {self._names}")
        return name

    @property
    def _names(self) -> str:
        return ", ".join(self.nodes)

    def chosen(self, limit: Sequence[str]) -> list[Node]:
        return [node for node in self.nodes.values() if not limit or node.id in limit]

    # ---- Ansible

    def play(
        self,
        playbook: str,
        *,
        limit: tuple[str, ...] = (),
        check: bool = False,
        variables: Mapping[str, Any] | None = None,
        keep: Callable[[], list[int]] = list,
        tick: Callable[[], None] | None = None,
    ) -> Outcome:
        """Run one of Otto's playbooks with progress on stderr. Call it under the lock."""
        from otto_run import ahead, progress, runner

        chosen = self.chosen(limit)
        sockets = control_sockets(self.paths)
        shown = [node.id for node in chosen]
        terminal = render.terminal(sys.stderr) and not os.environ.get("CI")
        with (
            ahead.opened(chosen, self.known_hosts, sockets),
            progress.make(
                shown, verbose=self.verbosity > 0, terminal=terminal, check=check
            ) as seen,
        ):
            outcome = runner.run(
                runner.Request(
                    playbook=playbook,
                    file=self.file,
                    paths=self.paths,
                    nodes=tuple(self.nodes),
                    limit=limit,
                    check=check,
                    verbosity=max(0, self.verbosity - 1),
                    variables=variables or {},
                    vault_password_file=self.vault.password_file,
                    caller=self.caller,
                ),
                seen.handle,
                keep=keep,
                tick=tick,
            )
        if not check:
            self.note(playbook, {node: _result(outcome, node) for node in sorted(outcome.nodes)})
        return outcome

    def note(self, what: str, nodes: Mapping[str, str]) -> None:
        """Into the audit log: see `Watch.ran`."""
        if self.watch is not None:
            self.watch.ran(what, nodes)

    def refuse(self, why: str, nodes: Iterable[str] = ()) -> None:
        """Into the audit log: see `Watch.refuse`."""
        if self.watch is not None:
            self.watch.refuse(why, nodes)

    def trust(self, limit: Sequence[str], *, accept: bool) -> None:
        """Make the host keys known, or stop."""
        from otto_run import hostkeys

        if accept and self.caller.untrusted:
            raise Stop(
                Code.USAGE,
                "--accept-new-host-keys does not go with --untrusted\n"
                "    next      " + typed("add the hosts' keys to {}", self.known_hosts),
            )

        hostkeys.first_contact(
            self.chosen(limit),
            self.known_hosts,
            accept=accept,
            ask=asker(),
            say=say,
            note=self._note_trust,
        )

    def _note_trust(self, keys: Mapping[str, str]) -> None:
        """Into the audit log, also of a command that only looks otherwise. Raises Stop."""
        from otto_run import audit

        if self.watch is not None:
            self.watch.ran("host keys", keys)
            return
        with audit.Watch(state_root(os.environ), "trust", self.file, say) as watch:
            watch.begin(self.cluster.name, sorted(keys))
            watch.ran("host keys", keys)

    def failures(self, outcome: Outcome) -> list[Failure]:
        from otto_run import failures

        return failures.collect(
            outcome, self.nodes, self.known_hosts, self.cluster.update.max_failures
        )

    # ---- what is known

    def deploy(
        self,
        kind: str,
        *,
        limit: tuple[str, ...] = (),
        variables: Mapping[str, Any] | None = None,
        back_to: int | None = None,
        keep: Callable[[], list[int]] = list,
        tick: Callable[[], None] | None = None,
    ) -> Outcome:
        """Run site.yml, and keep in the store what it did. kind: see `store.ApplyRecord`."""
        from otto_run import history
        from otto_run.actor import actor
        from otto_run.store import Store

        with Store(self.paths.store) as store:
            number = store.begin_apply(
                kind, str(self.file), time.time(), back_to, actor=str(actor())
            )
        outcome = self.play(SITE, limit=limit, variables=variables, keep=keep, tick=tick)
        self.remember(outcome)
        sick = outcome.failed | outcome.unreachable | outcome.held
        result = "failed" if sick else "done"
        with Store(self.paths.store) as store:
            store.end_apply(number, result, history.nodes_of(outcome))
        return outcome

    def remember(self, outcome: Outcome) -> None:
        """Put the reports of an apply into the store: they count until an agent knows better."""
        from otto_run import messages
        from otto_run.store import Store

        now = time.time()
        with Store(self.paths.store) as store:
            for node, result in outcome.results.items():
                report = result.get("report")
                if isinstance(report, dict):
                    with contextlib.suppress(messages.Refused):
                        store.report(node, messages.report(report), now)

    def status(self) -> list[NodeStatus]:
        from otto_run import status
        from otto_run.store import Store

        with Store(self.paths.store) as store:
            records = store.nodes(time.time() - status.LOST_WITHIN)
        return status.assess(self.cluster.nodes, self.wanted, records, time.time())

    def would_remove(self, limit: Sequence[str]) -> list[str]:
        """`node: service` of what ran at the last report and is no longer in the file."""
        from otto_run.store import Store

        with Store(self.paths.store) as store:
            records = store.nodes()
        found = []
        for node in self.chosen(limit):
            report = records[node.id].report if node.id in records else None
            for service, entry in sorted((report or {}).get("services", {}).items()):
                gone = service not in self.wanted[node.id]
                if gone and entry.get("state") not in ("", "absent"):
                    found.append(f"{node.id}: {service}")
        return found


@contextlib.contextmanager
def opened(
    file: Path,
    password_file: Path | None,
    ask_password: bool,
    verbosity: int,
    caller: Caller = ONESELF,
    watch: Watch | None = None,
) -> Iterator[Session]:
    """A session, with the vault's password for as long as it lasts."""
    from otto_run import vault

    with vault.opened(password_file, ask_password) as keys:
        yield Session.open(file, keys, verbosity, caller, watch)


def _result(outcome: Outcome, node: str) -> str:
    """For the audit log."""
    how = outcome.how(node)
    if how == "failed" and outcome.results.get(node, {}).get("moved") is True:
        return "moved"
    return "changed" if how == "done" and node in outcome.changed else how
