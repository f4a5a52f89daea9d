# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run rotate`: new passwords at the broker, or a new CA.

Both go in steps, and each may be cut off: what is new counts beside what was, until everyone has
it. Run again, a rotation that was cut off goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.otto.cluster.plugins.module_utils.cluster import Mqtt
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import CONTROL
from ansible_collections.otto.cluster.plugins.plugin_utils.credentials import Credentials
from ansible_collections.otto.cluster.plugins.plugin_utils.pki import Pki

from otto_run import lock, processes, telling
from otto_run.exits import Code, Stop
from otto_run.session import Session

BROKER, ROTATE = "otto.cluster.broker", "otto.cluster.rotate"


def rotate(here: Session, names: Sequence[str], *, ca: bool, accept: bool) -> Code:
    """names: only these nodes; empty for all of them and the control plane."""
    chosen = here.limited(names, "NODE")
    mqtt = _own(here)
    with lock.hold(here.paths.lock, "otto-run rotate"):
        here.trust(chosen, accept=accept)
        processes.become_subreaper()
        if ca:
            return _ca(here, mqtt, chosen)
        return _passwords(here, mqtt, chosen)


def _own(here: Session) -> Mqtt:
    mqtt = here.cluster.mqtt
    if mqtt is None:
        raise Stop(Code.USAGE, f"{here.file.name} names no `mqtt`: there are no passwords")
    if mqtt.username is not None:
        raise Stop(
            Code.USAGE,
            "mqtt.username is an account of a broker of your own, one for all\n"
            "    next      change its password there and in otto.yaml, then: otto-run apply",
        )
    return mqtt


@dataclass(frozen=True)
class _Who:
    """remote: get theirs by SSH. idle: nobody uses theirs now. busy: `otto-run up` uses theirs."""

    remote: tuple[str, ...]
    idle: tuple[str, ...]
    busy: tuple[str, ...]


def _who(here: Session, chosen: Sequence[str]) -> _Who:
    nodes = here.chosen(chosen)
    remote = tuple(node.id for node in nodes if not node.is_local)
    own = tuple(node.id for node in nodes if node.is_local) + (() if chosen else (CONTROL,))
    if lock.held(here.paths.up_lock):
        return _Who(remote, (), own)
    return _Who(remote, own, ())


def _passwords(here: Session, mqtt: Mqtt, chosen: Sequence[str]) -> Code:
    credentials = Credentials(here.paths.directory)
    who = _who(here, chosen)
    renewed = credentials.renew((*who.remote, *who.idle))
    if not _tell_broker(here, mqtt):
        # A Mosquitto knows one password of each.
        credentials.take_back(renewed)
        print(f"Nothing was changed: the broker on {mqtt.node} has to know of it first.")
        return Code.FAILED
    given, failed = _deliver(here, who.remote)
    done = [name for name in (*who.remote, *who.idle) if name in given or name in who.idle]
    credentials.settle(done)
    if done:
        print(f"New passwords: {', '.join(done)}")
    if who.busy:
        print(
            f"Unchanged: {', '.join(who.busy)}; `otto-run up` is using them"
            " (end it, then: otto-run rotate)"
        )
    if failed and mqtt.node is not None:
        print(
            "The broker lets the others in again after: otto-run rotate"
            " (what they have to say waits on them)"
        )
    elif failed:
        print("The broker takes the former passwords of the others until: otto-run rotate")
    return Code.FAILED if failed else Code.DONE


def _ca(here: Session, mqtt: Mqtt, chosen: Sequence[str]) -> Code:
    """Everyone trusts both, then the broker shows the new one, then nobody trusts the former."""
    if chosen:
        raise Stop(Code.USAGE, "--ca is for all nodes: they trust one CA")
    if not mqtt.tls or mqtt.ca is not None:
        raise Stop(Code.USAGE, "mqtt.tls says that no CA of Otto's is used: there is none to renew")
    if lock.held(here.paths.up_lock):
        raise Stop(
            Code.LOCKED,
            "`otto-run up` trusts the former CA as long as it runs\n"
            "    next      end it (the nodes go on, and keep what they have to say), then again",
        )
    pki = Pki(here.paths.directory)
    for step, again in (
        (pki.prepare, "otto-run rotate --ca"),
        (pki.switch, "otto-run rotate --ca"),
        (pki.settle, "otto-run apply"),
    ):
        step()
        if not _tell_broker(here, mqtt) or _deliver(here, _who(here, ()).remote)[1]:
            print(f"Some nodes trust the former CA still; go on with: {again}")
            return Code.FAILED
    print(f"New CA: {pki.ca.certificate}")
    return Code.DONE


def _tell_broker(here: Session, mqtt: Mqtt) -> bool:
    """Bring the broker of a node what there is now, before its nodes are given it. Our own one
    reads it by itself."""
    if mqtt.node is None:
        return True
    outcome = here.play(BROKER, limit=(mqtt.node,))
    telling.tell(here.failures(outcome))
    return not outcome.failed | outcome.unreachable


def _deliver(here: Session, nodes: Sequence[str]) -> tuple[set[str], bool]:
    """Bring agents what there is now. nodes: reached by SSH.

    Returns who has it, and whether somebody has not.
    """
    if not nodes:
        return set(), False
    outcome = here.play(ROTATE, limit=tuple(nodes))
    telling.tell(here.failures(outcome))
    sick = outcome.failed | outcome.unreachable
    return set(outcome.nodes - sick), bool(sick)
