# SPDX-License-Identifier: GPL-3.0-or-later
"""How the end of an apply is told: the table, what failed, what is said by the way, and as JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from otto_run import plans, render
from otto_run.failures import Failure
from otto_run.session import Session, say

if TYPE_CHECKING:
    from otto_run.runner import Outcome


def conclude(
    here: Session,
    outcome: Outcome,
    failures: Sequence[Failure],
    *,
    as_what: str = "as the file says",
) -> None:
    """The table at the end of an apply, and what failed. as_what: what the nodes are to be."""
    from otto_run.status import nodes_table

    shown = [
        # Nobody may have listened to the agents; what the run itself saw is as good.
        replace(node, agent=node.agent or outcome.agents.get(node.node, ""))
        for node in here.status()
        if node.node in outcome.nodes
    ]
    changed = {
        node: "unreachable"
        if node in outcome.unreachable
        else "failed"
        if node in outcome.failed
        else "held back"
        if node in outcome.held
        else "changed"
        if node in outcome.changed
        else "-"
        for node in outcome.nodes
    }
    print(nodes_table(shown, time.time(), changed))
    for line in cut_off(outcome):
        print(line)
    if any(node.state == "unknown" for node in shown) and outcome.nodes - outcome.unreachable:
        print("unknown: nobody has heard the agent yet; otto-run up listens")
    if not outcome.changed and not failures:
        print(f"Nothing to do: every node is {as_what}.")
    else:
        print(f"{len(outcome.changed)} of {len(outcome.nodes)} nodes changed", end="")
        sick = len(outcome.failed | outcome.unreachable)
        print(f", {sick} failed" if sick else "", end="")
        print(f", {len(outcome.held)} held back" if outcome.held else "", end="")
        print(f", {outcome.seconds:.1f} s")
    tell(failures)
    say_asides(outcome)


def say_asides(outcome: Outcome) -> None:
    """What hinders nothing and is said all the same, on stderr."""
    for node, result in outcome.results.items():
        for text in plans.asides(node, result):
            say(text)


def cut_off(outcome: Outcome) -> list[str]:
    """A line for each node whose run before this one had no end."""
    found = []
    for node, result in sorted(outcome.results.items()):
        report = result.get("report")
        before = report.get("interrupted") if isinstance(report, dict) else None
        if isinstance(before, dict):
            who, when, at = (
                render.clean(before.get(key), 200) for key in ("holder", "time", "operation")
            )
            where = f" at: {at}" if at else " before its first step"
            found.append(f"{node}: {who} was cut off ({when}){where}; this run went on from there")
    return found


def tell(failures: Sequence[Failure]) -> None:
    from otto_run.failures import together

    for failure in together(failures):
        print()
        print(render.coloured(str(failure), "red" if sys.stdout.isatty() else ""))


def apply_json(here: Session, outcome: Outcome, failures: Sequence[Failure]) -> Mapping[str, Any]:
    return {
        "cluster": here.cluster.name,
        "changed": sorted(outcome.changed),
        "failed": sorted(outcome.failed),
        "unreachable": sorted(outcome.unreachable),
        "held_back": sorted(outcome.held),
        "batches": dict(sorted(outcome.batches.items())),
        "seconds": round(outcome.seconds, 2),
        "nodes": [node.to_json() for node in here.status() if node.node in outcome.nodes],
        "failures": [failure.to_json() for failure in failures],
    }
