# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as the document of `Plan.to_json()`: told in short, and two of them compared. Pure.

The document goes wherever a plan is shown, kept or judged: module, --diff, otto-run, agent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.model import Change, digest

Document = Mapping[str, Any]


def digest_of(plan: Document) -> str:
    """The same for two plans that do the same for the same reasons (16 hex digits)."""
    return digest({key: value for key, value in plan.items() if key != "notes"})


def brief(plan: Document) -> list[str]:
    """What a plan does, a few words for each service and never a value: `web: image, ports`."""
    found = [str(step.get("line", "")) for step in _dicts(plan.get("before"))]
    for service in _dicts(plan.get("services")):
        name, verdict = service.get("service"), service.get("verdict")
        keys = [str(change.get("key")) for change in _dicts(service.get("changes"))]
        if keys:
            found.append("{}: {}".format(name, ", ".join(dict.fromkeys(keys))))
        elif service.get("operations") or verdict != "up_to_date":
            found.append(f"{name}: {'tidied up' if verdict == 'up_to_date' else verdict}")
    return found + [str(step.get("line", "")) for step in _dicts(plan.get("after"))]


def step_lines(step: Document) -> list[str]:
    """An operation on the node itself as a person reads it: what it does, then why."""
    changes = step.get("changes")
    more = changes if isinstance(changes, (list, tuple)) else ()
    return [str(step.get("line", "")), *(f"    {change}" for change in more)]


def change_line(change: Document) -> str:
    """One change as a person reads it; what is only drift or a newer image says so."""
    return Change(
        str(change.get("key")),
        _text(change.get("old")),
        _text(change.get("new")),
        str(change.get("why", "file")),
    ).line()


def moved(then: Document, now: Document) -> list[tuple[str, str]]:
    """(service, what is different) between a plan that was saved and the one made afresh.

    service: "" for the node itself. Empty only for two equal plans.
    """
    found: list[tuple[str, str]] = []
    for place in ("before", "after"):
        found += [("", text) for text in _two_lists(_lines(then, place), _lines(now, place))]
    old, new = _by_service(then), _by_service(now)
    for name in sorted(set(old) | set(new)):
        found += [(name, text) for text in _service(old.get(name), new.get(name))]
    if not found and digest_of(then) != digest_of(now):
        found.append(("", "the same changes by other steps"))
    return found


def _service(then: Document | None, now: Document | None) -> Iterator[str]:
    if then == now:
        return
    if then is None:
        yield f"now {_does(now)}; the saved plan does nothing here"
        return
    if now is None:
        yield f"nothing to do any more; the saved plan: {_does(then)}"
        return
    found = list(
        _two_lists(
            [change_line(change) for change in _dicts(then.get("changes"))],
            [change_line(change) for change in _dicts(now.get("changes"))],
        )
    )
    if then.get("verdict") != now.get("verdict"):
        found.insert(0, f"now {_does(now)}; the saved plan: {_does(then)}")
    errors = (_error(then), _error(now))
    if errors[0] != errors[1]:
        found.append(errors[1] or f"no longer: {errors[0]}")
    if not found:
        steps = [
            [
                str(step.get("line"))
                for key in ("pulls", "operations")
                for step in _dicts(of.get(key))
            ]
            for of in (then, now)
        ]
        found = list(_two_lists(*steps)) or ["the same steps on another container"]
    yield from found


def _does(service: Document | None) -> str:
    verdict = str((service or {}).get("verdict"))
    return "nothing to do" if verdict == "up_to_date" else verdict


def _error(service: Document) -> str:
    error = service.get("error")
    return str(error.get("message")) if isinstance(error, Mapping) else ""


def _two_lists(then: Iterable[str], now: Iterable[str]) -> Iterator[str]:
    old, new = list(then), list(now)
    yield from (f"now also: {text}" for text in new if text not in old)
    yield from (f"no longer: {text}" for text in old if text not in new)


def _by_service(plan: Document) -> dict[str, Document]:
    """Those that something is to be done for, or that cannot be helped."""
    return {
        str(service.get("service")): service
        for service in _dicts(plan.get("services"))
        if service.get("operations") or service.get("pulls") or service.get("error")
    }


def _lines(plan: Document, place: str) -> list[str]:
    return ["; ".join(map(str.strip, step_lines(step))) for step in _dicts(plan.get(place))]


def _dicts(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return None if value is None else str(value)
