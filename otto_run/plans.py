# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's plan as lines, from what the module returned (its text comes from the node: cleaned)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from otto_run.render import clean

_SIGNS = {
    "create": "+",
    "update": "~",
    "recreate": "±",
    "start": ">",
    "remove": "-",
}


@dataclass(frozen=True)
class NodePlan:
    """lines: what is to be done, indented; empty when there is nothing to do."""

    node: str
    lines: tuple[str, ...]
    document: Mapping[str, Any]

    @property
    def empty(self) -> bool:
        return not self.lines


def read(node: str, result: Mapping[str, Any]) -> NodePlan:
    """The plan in the result of `otto.cluster.target` (or `first_plan`)."""
    plan = result.get("plan")
    document = plan if isinstance(plan, dict) else {}
    lines = tuple(_lines(document)) if result.get("changed") else ()
    return NodePlan(node, lines, document)


def _lines(plan: Mapping[str, Any]) -> Iterator[str]:
    for operation in _dicts(plan.get("before")):
        yield "+ " + clean(operation.get("line") or operation.get("op"), 300)
    for service in _dicts(plan.get("services")):
        verdict = str(service.get("verdict"))
        pulls = _dicts(service.get("pulls"))
        if verdict == "up_to_date" and not service.get("operations"):
            continue
        sign = _SIGNS.get(verdict, "*")
        yield f"{sign} {clean(service.get('service'), 255)}: {clean(verdict, 30)}"
        for change in service.get("changes") or ():
            yield "    " + clean(_change(change), 300)
        for pull in pulls:
            yield "    " + clean(pull.get("line"), 300)
        if verdict == "up_to_date":
            for operation in _dicts(service.get("operations")):
                yield "    " + clean(operation.get("line"), 300)
    for operation in _dicts(plan.get("after")):
        yield "- " + clean(operation.get("line") or operation.get("op"), 300)


def _dicts(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _change(change: object) -> str:
    if not isinstance(change, dict):
        return str(change)
    if change.get("line"):
        return str(change["line"])
    key, old, new = change.get("key"), change.get("old"), change.get("new")
    if old is None:
        text = f"{key}: added {new}"
    elif new is None:
        text = f"{key}: removed (was {old})"
    else:
        text = f"{key}: {old} -> {new}"
    why = change.get("why")
    return f"{text} [{why}]" if why and why != "file" else text
