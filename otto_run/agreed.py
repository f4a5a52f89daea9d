# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that are looked at on every node before any node is touched: rollback, a saved plan.

Both plan afresh first. Then each node carries out that very plan, or refuses: its digest goes along
and is compared under the node's lock.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import typed
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.answers import REVISION

from otto_run import history, lock, plans, processes, render, saved, telling
from otto_run.exits import Code, Stop, again
from otto_run.failures import Failure
from otto_run.session import PLAN, Session, asker, say

if TYPE_CHECKING:
    from otto_run.runner import Outcome


def show_history(here: Session, node: str | None, *, as_json: bool, last: int) -> Code:
    """`otto-run history`. node: None for all; last: how many applies."""
    if node is not None:
        here.one(node, "--node")
    applies = [each for each in _applies(here) if node is None or node in each.nodes][-last:]
    if as_json:
        print(render.as_json({"cluster": here.cluster.name, "applies": history.as_json(applies)}))
    elif applies:
        print(history.shown(applies, node))
    else:
        print("Nothing was applied from here yet.")
    return Code.DONE


def _applies(here: Session) -> list[Any]:
    from otto_run.store import Store

    with Store(here.paths.store) as store:
        return store.applies()


# ---- rollback


def rollback(
    here: Session, which: str, limit: Sequence[str], *, yes: bool, as_json: bool, accept: bool
) -> Code:
    chosen = here.chosen(here.limited(limit))
    goal = history.goal(_applies(here), which, [node.id for node in chosen])
    nodes = tuple(goal.revisions)
    to = f"apply {goal.number}" if goal.number is not None else f"revision {which}"
    for node, revision in goal.revisions.items():
        # It came from the node, and from a file of this machine: it is to be nothing else.
        if not re.fullmatch(REVISION, revision):
            raise Stop(
                Code.FAILED,
                f"{node}: what is kept of {to} is no revision\n    next      otto-run history",
            )
    for node in goal.without:
        say(f"{node}: had no target by {to}; it stays as it is")
    with lock.hold(here.paths.lock, "otto-run rollback"):
        here.trust(nodes, accept=accept)
        processes.become_subreaper()
        variables: dict[str, Any] = {"otto_revisions": dict(goal.revisions)}
        looked = here.play(PLAN, limit=nodes, check=True, variables=variables)
        failures = here.failures(looked)
        if failures:
            return refused(here, failures, as_json=as_json)
        found = plans.of(looked, nodes)
        if all(each.empty for each in found):
            # Done all the same: the node's target is to be the earlier one.
            say(f"The nodes are as {to} left them.")
        else:
            print(plans.shown(found), file=sys.stderr if as_json else sys.stdout)
        agree(f"Back to {to}?", yes=yes)
        variables["otto_expect"] = {each.node: each.digest for each in found}
        outcome = here.deploy("rollback", limit=nodes, variables=variables, back_to=goal.number)
    code = told(here, outcome, here.failures(outcome), as_json=as_json, as_what=f"as {to} left it")
    if code == Code.DONE:
        say(f"{here.file.name} still says otherwise: the next `otto-run apply` goes forward again.")
    return code


def agree(question: str, *, yes: bool) -> None:
    """Raises Stop where nobody says yes."""
    if yes:
        return
    ask = asker()
    if ask is None:
        raise Stop(
            Code.USAGE,
            f"Nothing was done: nobody is there to agree.\n    next      {again('--yes')}",
        )
    if not ask(question):
        raise Stop(Code.FAILED, "Nothing was done.")


# ---- a saved plan


def save(
    here: Session, found: Sequence[plans.NodePlan], results: Mapping[str, Any], path: Path
) -> None:
    """`otto-run plan --out`"""
    import time

    nodes = {
        each.node: saved.node_of(here.targets[each.node], results[each.node], each.steps)
        for each in found
    }
    saved.write(saved.SavedPlan(path, here.cluster.name, time.time(), nodes))
    say(f"The plan is in {path}. Carried out exactly so by: {typed('otto-run apply {}', path)}")


def apply_saved(here: Session, path: Path, *, as_json: bool, accept: bool) -> Code:
    """`otto-run apply plan.json`: that plan and nothing else, or a refusal with the reason."""
    plan = saved.read(path)
    failures = saved.file_moved(plan, here.targets, here.cluster.name)
    if failures:
        return refused(here, failures, as_json=as_json)
    nodes = tuple(plan.nodes)
    with lock.hold(here.paths.lock, "otto-run apply"):
        here.trust(nodes, accept=accept)
        processes.become_subreaper()
        looked = here.play(PLAN, limit=nodes, check=True)
        failures = here.failures(looked) + _moved(plan, looked)
        if failures:
            return refused(here, failures, as_json=as_json)
        expect = {name: node.digest for name, node in plan.nodes.items()}
        outcome = here.deploy("plan", limit=nodes, variables={"otto_expect": expect})
    late = _moved(plan, outcome, only_refused=True)
    refusing = {failure.node for failure in late}
    failures = [each for each in here.failures(outcome) if each.node not in refusing] + late
    return told(here, outcome, failures, as_json=as_json)


def _moved(plan: saved.SavedPlan, outcome: Outcome, *, only_refused: bool = False) -> list[Failure]:
    found = []
    for name, result in sorted(outcome.results.items()):
        if name in plan.nodes and (result.get("moved") if only_refused else "plan" in result):
            # Once the run goes on, its steps are no longer those of a look.
            steps = None if only_refused else outcome.steps.get(name, ())
            found += saved.node_moved(plan, name, result, steps)
    return found


# ---- how it ended


def refused(here: Session, failures: Sequence[Failure], *, as_json: bool) -> Code:
    here.refuse("no node was touched, because of", (each.node for each in failures))
    if as_json:
        document = {
            "cluster": here.cluster.name,
            "refused": True,
            "changed": [],
            "failures": [failure.to_json() for failure in failures],
        }
        print(render.as_json(document))
    else:
        telling.tell(failures)
        print("\nRefused: no node was touched.")
    return Code.FAILED


def told(
    here: Session,
    outcome: Outcome,
    failures: Sequence[Failure],
    *,
    as_json: bool,
    as_what: str = "as the file says",
) -> Code:
    if as_json:
        print(render.as_json(telling.apply_json(here, outcome, failures)))
    else:
        telling.conclude(here, outcome, failures, as_what=as_what)
    return Code.FAILED if failures else Code.DONE
