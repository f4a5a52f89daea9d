# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan in a file: what was agreed on, and why it can no longer be done. No secrets in it.

    {"otto": "plan", "format": 1, "cluster", "made": epoch, "nodes": {node:
        {"revision", "services": {name: digest}, "digest", "changed", "plan", "steps"}}}

revision, services: of the target that otto.yaml gave; plan: the node's (`Plan.to_json()`), with its
digest as the node made it; steps: what comes before it (Docker, agent, broker), a line each.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.module_utils.model import Target, digest
from ansible_collections.otto.cluster.plugins.module_utils.plan_document import moved
from ansible_collections.otto.cluster.plugins.plugin_utils.gate import answers
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.shapes import (
    Count,
    Flag,
    Line,
    ListOf,
    MapOf,
    Misfit,
    Number,
    OneOf,
    Pattern,
    Reading,
    all_of,
)

from otto_run.exits import Code, Stop
from otto_run.failures import Failure
from otto_run.render import clean

_FORMAT = 1
_MOST_BYTES = 64 << 20
# Somebody sends the file to somebody else: it is read as what a node says is.
_SHAPE = all_of(
    otto=OneOf(("plan",)),
    format=Count(),
    cluster=answers.NAME,
    made=Number(),
    nodes=MapOf(
        answers.NAME,
        all_of(
            revision=Pattern(answers.DIGEST, "revision"),
            services=MapOf(answers.NAME, Pattern(answers.DIGEST, "digest")),
            digest=Pattern(answers.DIGEST, "digest"),
            changed=Flag(),
            plan=answers.PLAN,
            steps=ListOf(Line(200)),
        ),
    ),
)
_AGAIN = "otto-run plan --out {}"


@dataclass(frozen=True)
class SavedNode:
    revision: str
    services: Mapping[str, str]
    digest: str
    changed: bool
    plan: Mapping[str, Any]
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class SavedPlan:
    path: Path
    cluster: str
    made: float
    nodes: Mapping[str, SavedNode]

    @property
    def again(self) -> str:
        """What to type for another one."""
        return _AGAIN.format(self.path)


def node_of(target: Target, result: Mapping[str, Any], steps: Iterable[str]) -> SavedNode:
    """From what `otto.cluster.target` returned in check mode."""
    plan = result.get("plan")
    return SavedNode(
        target.revision,
        _services(target),
        result["plan_digest"],
        bool(result.get("changed")),
        plan if isinstance(plan, dict) else {},
        tuple(steps),
    )


def _services(target: Target) -> dict[str, str]:
    return {name: digest(spec) for name, spec in target.services.items()}


def write(saved: SavedPlan) -> None:
    """Replace the file whole, for its owner alone. Raises OttoError."""
    document = {
        "otto": "plan",
        "format": _FORMAT,
        "cluster": saved.cluster,
        "made": saved.made,
        "nodes": {
            name: {
                "revision": node.revision,
                "services": dict(node.services),
                "digest": node.digest,
                "changed": node.changed,
                "plan": dict(node.plan),
                "steps": list(node.steps),
            }
            for name, node in saved.nodes.items()
        },
    }
    path = saved.path
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:  # 0600 by mkstemp
                json.dump(document, stream, indent=1, ensure_ascii=False)
                stream.write("\n")
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OttoError(
            f"Cannot write the plan to {path}",
            cause=error.strerror or str(error),
            next="otto-run plan --out <a file that can be written>",
        ) from error


def read(path: Path) -> SavedPlan:
    """Raises Stop for what is no saved plan."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Stop(
            Code.USAGE, f"there is no saved plan {path}\n    next      {typed(_AGAIN, path)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(Code.USAGE, f"{path} cannot be read: {error}") from error
    try:
        if len(text) > _MOST_BYTES:
            raise Misfit(f"plan: more than {_MOST_BYTES >> 20} MiB")
        document = _SHAPE.read(json.loads(text), "plan", Reading())
        # One without nodes would be a plan for none; to Ansible no limit means every node.
        if document["format"] != _FORMAT or not document["nodes"]:
            raise Misfit("plan: of another format, or without nodes")
        nodes = {
            name: SavedNode(
                node["revision"],
                node["services"],
                node["digest"],
                node["changed"],
                node["plan"],
                tuple(node["steps"]),
            )
            for name, node in document["nodes"].items()
        }
        return SavedPlan(path, document["cluster"], float(document["made"]), nodes)
    except (ValueError, RecursionError):
        raise Stop(
            Code.USAGE,
            f"{path} is no plan that this otto-run has saved\n"
            f"    next      {typed(_AGAIN, path)}   (an otto.yaml is named with -f)",
        ) from None


# ---- whether it can still be done


def file_moved(saved: SavedPlan, targets: Mapping[str, Target], cluster: str) -> list[Failure]:
    """What otto.yaml says otherwise now than when the plan was made."""
    if saved.cluster != cluster:
        return [
            Failure(
                "",
                "",
                f"{saved.path} is a plan for cluster {saved.cluster}, this one is {cluster}",
                next=typed("otto-run apply -f <its otto.yaml> {}", saved.path),
            )
        ]
    found = []
    for name, node in saved.nodes.items():
        target = targets.get(name)
        if target is None:
            found.append(
                Failure(name, "", "is in the saved plan and no longer in the file", "", saved.again)
            )
        elif target.revision != node.revision:
            found += _what_moved(saved, name, node, target)
    return found


def _what_moved(saved: SavedPlan, name: str, node: SavedNode, target: Target) -> list[Failure]:
    now = _services(target)
    changed = [
        key for key in sorted({*now, *node.services}) if now.get(key) != node.services.get(key)
    ]
    where = changed or [""]
    what = "what the file says of it has changed since the plan was saved"
    if not changed:
        what = "the file has changed since the plan was saved: networks, volumes or contents"
    cause = f"the plan is for revision {node.revision}, the file now says {target.revision}"
    return [Failure(name, service, what, cause, saved.again) for service in where]


def node_moved(
    saved: SavedPlan, name: str, result: Mapping[str, Any], steps: Iterable[str] | None
) -> list[Failure]:
    """Why a node's plan is another one now; empty where it is the same. steps: see above; None
    where they are not known."""
    node = saved.nodes[name]
    found = []
    now = node.steps if steps is None else tuple(clean(text, 200) for text in steps)
    if now != node.steps:
        what = "what comes before its containers is another thing now than in the saved plan"
        cause = f"saved: {'; '.join(node.steps) or 'nothing'}; now: {'; '.join(now) or 'nothing'}"
        found.append(Failure(name, "", what, clean(cause, 600), saved.again))
    if result.get("plan_digest") == node.digest:
        return found
    plan = result.get("plan")
    differs = moved(node.plan, plan if isinstance(plan, dict) else {})
    return found + [
        Failure(
            name,
            service,
            "the node is no longer as it was when the plan was saved",
            clean(text, 300),
            saved.again,
        )
        for service, text in differs or [("", "it would take other steps now")]
    ]
