# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the core meets Ansible: errors become `msg`, a plan becomes a diff. For modules only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.model import Target
from ansible_collections.otto.cluster.plugins.module_utils.plan_document import step_lines


def target_from_text(text: str) -> Target:
    """The target that the document describes. Raises OttoError; the text is never in it."""
    try:
        return Target.from_json(json.loads(text))
    except (ValueError, RecursionError) as error:
        problem = str(error) if not isinstance(error, json.JSONDecodeError) else error.msg
        raise OttoError(
            "What was given as target is not a target document",
            cause=problem,
            next='give it as text: target: "{{ otto_target | to_json }}"',
        ) from error


def registries_from_text(text: str | None) -> dict[str, tuple[str, str]]:
    """host -> (user name, password). Raises OttoError; the text is never in it."""
    if not text:
        return {}
    try:
        return {
            str(host): (str(login["username"]), str(login["password"]))
            for host, login in json.loads(text).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        raise OttoError(
            "What was given as registries are not logins",
            cause="it is no JSON text of {host: {username, password}}",
            next='give it as text: registries: "{{ otto_registries | to_json }}"',
        ) from None


def page(node: str, errors: Iterable[Mapping[str, str]]) -> str:
    """All errors of a report, one after the other, as a person reads them."""
    parts = []
    for error in errors:
        where = "{}: {}".format(node, error["service"]) if error["service"] else node
        part = "{}: {}".format(where, error["message"])
        for word in ("cause", "next"):
            if error[word]:
                part += f"\n    {word:<9} {error[word]}"
        parts.append(part)
    return "\n".join(parts)


def fail(module: Any, error: OttoError, **more: Any) -> NoReturn:
    """End the module with an error as a person reads it; more: further parts of the result."""
    module.fail_json(msg=str(error), cause=error.cause, next=error.next, **more)
    raise SystemExit(1)  # fail_json does not come back


def diff_of(plan: Mapping[str, Any]) -> dict[str, str]:
    """Ansible's `diff`: one line for each option that changes, as it was and as it will be."""
    before: list[str] = []
    after: list[str] = []
    for step in plan["before"]:
        after += step_lines(step)
    for service in plan["services"]:
        name = service["service"]
        verdict = service["verdict"]
        if service["changes"] or verdict == "remove":
            before.append(f"{name}:")
        if verdict != "remove" and (service["changes"] or verdict == "create"):
            after.append(f"{name}:")
        if verdict == "create":
            after += [
                "  {}".format(step["line"]) for step in service["pulls"] + service["operations"]
            ]
        if verdict == "remove":
            before += ["  {}".format(step.get("container", "")) for step in _removals(service)]
        for change in service["changes"]:
            if change["old"] is not None:
                before.append("  {}: {}".format(change["key"], change["old"]))
            if change["new"] is not None:
                after.append("  {}: {}".format(change["key"], change["new"]))
    for step in plan["after"]:
        before.append(str(step.get("name", "")))
    return {"before": _text(before), "after": _text(after)}


def _removals(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [step for step in service["operations"] if step["op"] == "remove"]


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n" if lines else ""
