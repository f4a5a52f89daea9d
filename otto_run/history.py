# SPDX-License-Identifier: GPL-3.0-or-later
"""What was applied and when, and which revisions an earlier apply left the nodes with. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.plan_document import brief

from otto_run.exits import Code, Stop
from otto_run.render import clean, table
from otto_run.runner import Outcome
from otto_run.store import ApplyNode, ApplyRecord

_REVISION = re.compile(r"[0-9a-f]{7,16}|[0-9a-f]{16}\+[0-9a-f]{1,6}")
"""(The beginning of) what a node was given: the target's revision, `+`, and which images it ran."""


def nodes_of(outcome: Outcome) -> dict[str, ApplyNode]:
    """What became of every node of a run. Text that came from a node is cleaned."""
    found = {}
    for node in outcome.nodes:
        result = outcome.results.get(node, {})
        report = result.get("report")
        revision = str(report.get("revision") or "") if isinstance(report, dict) else ""
        revision = str(result.get("given") or revision)
        plan = result.get("plan")
        did = brief(plan) if isinstance(plan, dict) and result.get("changed") else []
        changes = tuple(clean(text, 200) for text in did)
        found[node] = ApplyNode(clean(revision, 23), outcome.how(node), changes)
    return found


# ---- going back


@dataclass(frozen=True)
class Goal:
    """Where a rollback goes. number: of the apply, None for a revision that was named itself.
    revisions: node -> revision. without: nodes that had none then."""

    number: int | None
    revisions: Mapping[str, str]
    without: tuple[str, ...] = ()


def state_after(applies: Iterable[ApplyRecord], number: int) -> dict[str, str]:
    """node -> the revision that it had reached when that apply was over."""
    state: dict[str, str] = {}
    for each in applies:
        if each.number <= number:
            state.update({n: v.revision for n, v in each.nodes.items() if v.result == "done"})
    return state


def goal(applies: Sequence[ApplyRecord], which: str, nodes: Sequence[str]) -> Goal:
    """What `otto-run rollback <which>` means for these nodes. Raises Stop.

    which: an apply's number, (the beginning of) one revision (in full, and for one node, it need
    not be known here), or "": then the last good apply that left the nodes with something else
    than what they were given last. A rollback counts as the apply that it went back to, so that a
    second one goes further back and not forward again.
    """
    if not applies:
        raise Stop(Code.USAGE, "Nothing was ever applied from here, so there is no way back.")
    if which and not (which.isdecimal() and len(which) < 7):
        return _to_revision(applies, which, nodes)
    number = int(which) if which else _before(applies, nodes)
    if not any(each.number == number for each in applies):
        raise _unknown(f"there is no apply {number}")
    state = state_after(applies, number)
    revisions = {node: state[node] for node in nodes if node in state}
    if not revisions:
        raise _unknown(f"apply {number} left none of these nodes with a target that it reached")
    return Goal(number, revisions, tuple(node for node in nodes if node not in state))


def _before(applies: Sequence[ApplyRecord], nodes: Sequence[str]) -> int:
    tried = [each for each in applies if any(node in each.nodes for node in nodes)]
    if not tried:
        raise _unknown("nothing was ever applied to these nodes from here")
    # What the nodes have now is what was tried last, whether it was reached or not.
    last = tried[-1]
    now = state_after(applies, last.number)
    now.update({node: entry.revision for node, entry in last.nodes.items()})
    base = last.back_to if last.back_to is not None else last.number
    for each in reversed(tried):
        if each.number > base or each.result != "done":
            continue
        then = state_after(applies, each.number)
        if any(then[node] != now.get(node) for node in nodes if node in then):
            return each.back_to if each.back_to is not None else each.number
    raise _unknown("there is no earlier good apply that left these nodes with anything else")


def _to_revision(applies: Sequence[ApplyRecord], which: str, nodes: Sequence[str]) -> Goal:
    if not _REVISION.fullmatch(which):
        raise _unknown(f"{which!r} is neither the number of an apply nor a revision")
    fitting: dict[str, list[str]] = {}
    for each in applies:
        for node, entry in each.nodes.items():
            if node in nodes and entry.revision.startswith(which):
                fitting.setdefault(node, []).append(entry.revision)
    found = {}
    for node, revisions in fitting.items():
        several = sorted({revision.partition("+")[0] for revision in revisions})
        if len(several) > 1:
            raise _unknown(f"{which} can be several revisions of {node}: {', '.join(several)}")
        # The same target with other images: what was typed in full, else what it had last.
        found[node] = which if which in revisions else revisions[-1]
    if not found and len(which) in (16, 23) and len(nodes) == 1:
        # Somebody else's apply may have given it: the node knows.
        found = {nodes[0]: which}
    if not found:
        raise _unknown(f"no apply from here gave one of these nodes a revision {which}")
    return Goal(None, found)


def _unknown(what: str) -> Stop:
    return Stop(Code.USAGE, f"rollback: {what}\n    next      otto-run history")


# ---- shown


def as_json(applies: Iterable[ApplyRecord]) -> list[dict[str, Any]]:
    return [
        {
            "number": each.number,
            "time": each.time,
            "kind": each.kind,
            "file": each.file,
            "result": each.result,
            "back_to": each.back_to,
            "actor": each.actor,
            "nodes": {
                name: {
                    "revision": node.revision,
                    "result": node.result,
                    "changes": list(node.changes),
                }
                for name, node in each.nodes.items()
            },
        }
        for each in applies
    ]


_KINDS = {"plan": "saved plan"}
_COLOURS = {
    "done": "green",
    "failed": "red",
    "unreachable": "red",
    "held back": "yellow",
    "no end": "yellow",
}


def shown(applies: Iterable[ApplyRecord], node: str | None) -> str:
    """A row for each node that an apply did something to; the others share one. node: of whom
    every apply is told."""
    rows = []
    for each in applies:
        first = [
            str(each.number),
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.time)),
            _KINDS.get(each.kind, each.kind)
            + (f" to {each.back_to}" if each.back_to is not None else ""),
            each.actor or "-",
        ]
        told = {
            name: entry
            for name, entry in each.nodes.items()
            if entry.changes or entry.result != "done" or name == node
        }
        quiet = len(each.nodes) - len(told)
        lines = [
            [
                *_result(entry.result),
                name,
                entry.revision or "-",
                clean("; ".join(entry.changes), 120) or "nothing",
            ]
            for name, entry in told.items()
        ]
        if quiet:
            what = f"{quiet} other{'s' if quiet > 1 else ''}" if told else f"{quiet} nodes"
            lines.append([*_result("done"), what, "-", "nothing"])
        if not each.nodes:
            lines.append(
                [*_result("no end" if each.result == "begun" else each.result)] + ["-"] * 3
            )
        for line in lines:
            rows.append([*first, *line])
            first = [""] * len(first)
    return table(["no", "time", "what", "by", "result", "node", "revision", "changed"], rows)


def _result(result: str) -> list[str]:
    return [f"{result}\t{_COLOURS.get(result, '')}"]
