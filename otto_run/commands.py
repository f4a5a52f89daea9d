# SPDX-License-Identifier: GPL-3.0-or-later
"""What plan, apply, status, down and doctor do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, pasteable

from otto_run import lock, plans, processes, render, telling
from otto_run.exits import Code, Stop, again
from otto_run.failures import Failure
from otto_run.session import DOWN, PLAN, Session, asker, say

if TYPE_CHECKING:
    from pathlib import Path

    from otto_run.runner import Outcome
    from otto_run.status import NodeStatus

_LISTEN = 3.0  # seconds that `status` listens at a broker when no control plane does


def plan(
    here: Session,
    limit: Sequence[str],
    *,
    as_json: bool = False,
    exit_code: bool = False,
    accept: bool = False,
    out: Path | None = None,
) -> Code:
    """out: file that the plan is saved in, to be applied exactly so."""
    nodes = here.limited(limit)
    with lock.hold(here.paths.lock, "otto-run plan"):
        here.trust(nodes, accept=accept)
        processes.become_subreaper()
        outcome = here.play(PLAN, limit=nodes, check=True)
    found = plans.of(outcome, here.nodes)
    failures = here.failures(outcome)
    todo = [each for each in found if not each.empty]
    if as_json:
        print(
            render.as_json(
                {
                    "cluster": here.cluster.name,
                    "changes": bool(todo),
                    "nodes": {each.node: each.to_json() for each in found},
                    "failures": [failure.to_json() for failure in failures],
                }
            )
        )
    else:
        if todo:
            print(plans.shown(todo))
        if not todo and not failures:
            print("Nothing to do: every node is as the file says.")
        telling.tell(failures)
        telling.say_asides(outcome)
    if failures:
        if out is not None:
            say(f"{out} was not written: a plan is for every node or for none.")
        return Code.FAILED
    if out is not None:
        from otto_run import agreed

        agreed.save(here, found, outcome.results, out)
    return Code.CHANGES if todo and exit_code else Code.DONE


def apply(here: Session, limit: Sequence[str], *, yes: bool, as_json: bool, accept: bool) -> Code:
    nodes = here.limited(limit)
    with lock.hold(here.paths.lock, "otto-run apply"):
        prepare(here, nodes, yes=yes, accept=accept)
        processes.become_subreaper()
        outcome = here.deploy("apply", limit=nodes)
    failures = here.failures(outcome)
    if as_json:
        print(render.as_json(telling.apply_json(here, outcome, failures)))
    else:
        telling.conclude(here, outcome, failures)
    return Code.FAILED if failures else Code.DONE


def prepare(here: Session, nodes: Sequence[str], *, yes: bool, accept: bool) -> None:
    """What has to be agreed on before an apply. Raises Stop.

    Only a removal is asked about, and the store knows of it without another run: an update that
    fails puts the old container back, so there is nothing to lose.
    """
    here.trust(nodes, accept=accept)
    gone = [] if yes else here.would_remove(nodes)
    ask = asker()
    if not gone:
        return
    say("No longer in the file, so this apply removes:")
    for line in gone:
        say(f"  - {line}")
    if ask is None:
        raise Stop(
            Code.USAGE,
            f"Nothing was done: nobody is there to agree.\n    next      {again('--yes')}",
        )
    if not ask("Go on?"):
        raise Stop(Code.FAILED, "Nothing was done.")


def status(here: Session, *, as_json: bool) -> Code:
    from otto_run.status import nodes_table, samples_lines, services_table

    live = lock.held(here.paths.up_lock)
    deaf = "" if live else _listen_for_a_moment(here)
    found = here.status()
    now = time.time()
    if as_json:
        document = {
            "cluster": here.cluster.name,
            "time": now,
            "control_plane": live,
            "nodes": [node.to_json() for node in found],
        }
        print(render.as_json(document))
        if deaf:
            say(deaf)
        return Code.DONE
    print(nodes_table(found, now, None))
    if any(node.services for node in found):
        print()
        print(services_table(found))
    for line in samples_lines(found):
        print(f"\n{line}")
    for failure in _reported(here, found):
        print()
        print(failure)
    if deaf:
        say(f"\nThis is what was known last.\n{deaf}")
    return Code.DONE


def _reported(here: Session, nodes: Sequence[NodeStatus]) -> list[Failure]:
    from otto_run.failures import of_report

    return [
        of_report(here.nodes[node.node], error, here.known_hosts)
        for node in nodes
        for error in node.errors
    ]


def _listen_for_a_moment(here: Session) -> str:
    """Take in what a broker has retained. Returns why that was not so, with the next step."""
    from otto_run import broker
    from otto_run.listener import Listener

    access = here.access
    if access is None:
        return f"{here.file.name} names no mqtt, so the agents report to nobody."
    if not broker.answers(access.host, access.port, 1.0):
        return "No control plane runs and no broker answers.\n    next      otto-run up"
    missing = {(node, kind) for node in here.nodes for kind in ("status", "report")}
    listener = Listener(
        access,
        here.cluster.name,
        here.nodes,
        here.paths.store,
        lambda message: missing.discard((message.node, message.kind)),
    )
    try:
        listener.start(_LISTEN)
    except OttoError as error:
        return str(error)
    deadline = time.monotonic() + _LISTEN / 2
    while missing and time.monotonic() < deadline:
        time.sleep(0.02)
    listener.stop()
    return ""


def down(here: Session, limit: Sequence[str], *, volumes: bool, yes: bool, accept: bool) -> Code:
    nodes = here.limited(limit)
    ask = asker()
    names = ", ".join(node.id for node in here.chosen(nodes))
    what = "containers, networks, agents" + (" AND THE DATA IN ITS VOLUMES" if volumes else "")
    if not yes:
        if ask is None:
            raise Stop(
                Code.USAGE,
                f"`down` would remove the {what} of {here.cluster.name} on {names}.\n"
                f"    next      {again('--yes')}",
            )
        if not ask(f"Remove the {what} of {here.cluster.name} on {names}?"):
            raise Stop(Code.FAILED, "Nothing was done.")
    with lock.hold(here.paths.lock, "otto-run down"):
        here.trust(nodes, accept=accept)
        processes.become_subreaper()
        outcome = here.play(DOWN, limit=nodes, variables={"otto_volumes": volumes})
        _forget(here, outcome)
    failures = here.failures(outcome)
    done = sorted(outcome.nodes - outcome.failed - outcome.unreachable)
    if done:
        kept = "" if volumes else "; volumes are kept (--volumes removes them)"
        print(f"Down: {', '.join(done)}{kept}")
    telling.tell(failures)
    return Code.FAILED if failures else Code.DONE


def _forget(here: Session, outcome: Outcome) -> None:
    from otto_run.store import Store

    with Store(here.paths.store) as store:
        store.forget(sorted(outcome.nodes - outcome.failed - outcome.unreachable))


def doctor(here: Session, limit: Sequence[str], *, as_json: bool, accept: bool) -> Code:
    from otto_run import doctor as examination

    nodes = here.limited(limit)
    if accept or asker() is not None:  # a host that nobody vouches for is examined no further
        here.trust(nodes, accept=accept)
    found = []
    signs = {"ok": "ok\tgreen", "note": "note\tyellow", "fail": "FAIL\tred"}
    for each in examination.examine(
        here.chosen(nodes), here.cluster.mqtt, here.access, here.known_hosts
    ):
        found.append(each)
        if as_json:
            continue
        rows = [[check.name, signs[check.state], check.text] for check in each.checks]
        print(render.coloured(each.node, "bold"))
        print(render.table(None, rows))
        for check in each.checks:
            if check.next:
                print(f"    {check.name}: {pasteable(check.next)}")
        print()
    well = all(each.well for each in found)
    if as_json:
        print(render.as_json({"ok": well, "nodes": [each.to_json() for each in found]}))
    else:
        print("All is well." if well else f"Mend what says FAIL, then type: {again()}")
    return Code.DONE if well else Code.FAILED
