# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's plan as lines, from what the module returned (its text comes from the node: cleaned).

What the file changes and what has drifted are told apart: a person looks for the first and is
surprised by the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.otto.cluster.plugins.module_utils.plan_document import (
    change_line,
    step_lines,
)

from otto_run.render import clean, coloured, problem

if TYPE_CHECKING:
    from otto_run.runner import Outcome

_SIGNS = {
    "create": "+",
    "update": "~",
    "recreate": "±",
    "start": ">",
    "remove": "-",
}


@dataclass(frozen=True)
class NodePlan:
    """steps: what comes before the containers: Docker, agent, broker. lines: those, and what is to
    be done because of the file or a newer image, indented. drift: what is to be mended because
    somebody changed it on the node. All empty when there is nothing to do."""

    node: str
    lines: tuple[str, ...]
    drift: tuple[str, ...]
    document: Mapping[str, Any]
    digest: str = ""
    steps: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.lines and not self.drift

    def to_json(self) -> dict[str, Any]:
        return {
            "changed": not self.empty,
            "steps": self.steps,
            "lines": self.lines,
            "drift": self.drift,
            "plan": self.document,
            "plan_digest": self.digest,
        }


def of(outcome: Outcome, nodes: Iterable[str]) -> list[NodePlan]:
    """The plans of those nodes that were reached."""
    return [
        read(node, outcome.results[node], outcome.steps.get(node, ()))
        for node in nodes
        if node in outcome.results and node not in outcome.unreachable
    ]


def read(node: str, result: Mapping[str, Any], before: Sequence[str] = ()) -> NodePlan:
    """The plan in the result of `otto.cluster.target` (or `first_plan`). before: see `steps`."""
    plan = result.get("plan")
    document = plan if isinstance(plan, dict) else {}
    digest = clean(result.get("plan_digest") or "", 64)
    steps = tuple(clean(text, 200) for text in before)
    lines = [f"* {text}" for text in steps]
    if not result.get("changed"):
        return NodePlan(node, tuple(lines), (), document, digest, steps)
    drift: list[str] = []
    for operation in _dicts(document.get("before")):
        first, *more = step_lines(operation)
        lines += ["+ " + clean(first, 300), *(clean(text, 300) for text in more)]
    for service in _dicts(document.get("services")):
        if service.get("verdict") != "up_to_date" or service.get("operations"):
            mended = _is_drift(service)
            (drift if mended else lines).extend(_service(service, mended))
    for operation in _dicts(document.get("after")):
        lines.append("- " + clean(operation.get("line") or operation.get("op"), 300))
    return NodePlan(node, tuple(lines), tuple(drift), document, digest, steps)


def shown(plans: Sequence[NodePlan]) -> str:
    """All plans, as a person reads them; "" when there is nothing to do."""
    parts = [*_section(plans, "lines")]
    drift = [*_section(plans, "drift")]
    if drift:
        parts += [""] if parts else []
        parts += ["Drift: changed on the node and not by otto.yaml; an apply mends it.", *drift]
    return "\n".join(parts)


def _section(plans: Sequence[NodePlan], which: str) -> Iterator[str]:
    for each in plans:
        lines = getattr(each, which)
        if lines:
            yield coloured(each.node, "bold")
            yield from ("  " + line for line in lines)


def _is_drift(service: Mapping[str, Any]) -> bool:
    changes = _dicts(service.get("changes"))
    return bool(changes) and all(change.get("why") == "drift" for change in changes)


def _service(service: Mapping[str, Any], mended: bool) -> Iterator[str]:
    verdict = str(service.get("verdict"))
    cost = service.get("cost")
    said = "tidy up" if verdict == "up_to_date" else clean(verdict, 30)
    head = f"{_SIGNS.get(verdict, '*')} {clean(service.get('service'), 255)}: {said}"
    yield head + (f" ({clean(cost, 60)})" if cost else "")
    for change in _dicts(service.get("changes")):
        # The heading of the section says already that it is drift.
        yield "    " + clean(change_line({**change, "why": "file"} if mended else change), 300)
    for pull in _dicts(service.get("pulls")):
        yield "    " + clean(pull.get("line"), 300)
    if verdict == "up_to_date":
        for operation in _dicts(service.get("operations")):
            yield "    " + clean(operation.get("line"), 300)


def asides(node: str, result: Mapping[str, Any]) -> list[str]:
    """What is to be said of a node besides: what could not be found out, and what was tidied."""
    plan, report = result.get("plan"), result.get("report")
    notes = _dicts(plan.get("notes")) if isinstance(plan, dict) else []
    pruned = report.get("pruned") if isinstance(report, dict) else None
    found = [
        problem(node, *(str(note.get(key) or "") for key in ("message", "cause", "next")))
        for note in notes
    ]
    if count := result.get("dropped"):
        found.append(f"{node}: {count} parts of its answer were dropped: nobody asked for them")
    return found + [
        clean(f"{node}: removed {str(line).removeprefix('remove ')}, superseded", 300)
        for line in pruned or ()
    ]


def _dicts(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
