# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module `target` does on a node, once its arguments are read.

A room of its own, because there are two ways to a node: the module, and the program of its bundle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ansible_collections.otto.cluster.plugins.module_utils.edge import (
    diff_of,
    fail,
    page,
    registries_from_text,
    target_from_text,
)
from ansible_collections.otto.cluster.plugins.module_utils.engine import DockerEngine
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.journal import Journal
from ansible_collections.otto.cluster.plugins.module_utils.model import Observed, Target
from ansible_collections.otto.cluster.plugins.module_utils.node import look
from ansible_collections.otto.cluster.plugins.module_utils.node_files import WithFiles
from ansible_collections.otto.cluster.plugins.module_utils.plan import Plan
from ansible_collections.otto.cluster.plugins.module_utils.plan_document import digest_of
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import (
    Moved,
    Report,
    apply,
    remove,
)
from ansible_collections.otto.cluster.plugins.module_utils.revisions import Revisions
from ansible_collections.otto.cluster.plugins.module_utils.state import BrokenTarget, TargetStore
from ansible_collections.otto.cluster.plugins.module_utils.wire import Carrier

Way = Callable[[str], Carrier]
"""Makes the way to an engine's address."""


def bring(
    module: Any,
    arguments: Mapping[str, Any],
    store: TargetStore,
    way: Way,
    *,
    check: bool = False,
) -> Report:
    """state=present; check: only the report of what it would do."""
    images: Mapping[str, str] = {}
    if arguments["revision"]:
        kept = Revisions(store.directory)
        target, images = kept.read(arguments["revision"]), kept.images(arguments["revision"])
    else:
        target = target_from_text(arguments["target"])
    try:
        problem = store.load().problem
    except BrokenTarget as error:
        problem = error.cause
    if problem:
        module.warn(f"The earlier target could not be read, it is written anew: {problem}")
    with DockerEngine(
        arguments["docker_url"],
        arguments["timeout"],
        registries_from_text(arguments["registries"]),
        way,
    ) as engine:
        engine.also = tuple(arguments["adopt"])
        engine.remember_paths = not (check or module.check_mode)
        return apply(
            engine,
            store,
            target,
            check=check or module.check_mode,
            workers=arguments["workers"],
            lock_timeout=arguments["lock_timeout"],
            keep_images=arguments["keep_images"],
            holder=f"apply of revision {target.revision}",
            expect=arguments["expect"] or "",
            adopt=arguments["adopt"],
            images=images,
        )


def take_down(module: Any, arguments: Mapping[str, Any], store: TargetStore, way: Way) -> Report:
    """state=absent"""
    if arguments["target"]:
        target: Target | None = target_from_text(arguments["target"])
    else:
        target = store.read()
    if target is None:
        return Report(cluster="", node="", revision="", changed=False, plan=Plan().to_json())
    how = {
        "volumes": arguments["volumes"],
        "node": target.node,
        "check": module.check_mode,
        "workers": arguments["workers"],
    }
    holder = f"down of {target.cluster}"
    with DockerEngine(arguments["docker_url"], arguments["timeout"], carrier=way) as engine:
        if module.check_mode:
            return remove(engine, target.cluster, **how)
        with store.lock(arguments["lock_timeout"], holder):
            # First forgotten, then removed: the other way round, an agent that comes in between
            # (or after an interruption) would bring everything back.
            store.clear()
            Revisions(store.directory).clear()
            journal = Journal(store.directory, holder)
            report = remove(engine, target.cluster, journal=journal, **how)
            if not report.errors:
                WithFiles(engine, store.directory).tidy(Target("", ""), Observed())
            return report


def run(module: Any, arguments: Mapping[str, Any], way: Way, bundle: str | None = None) -> NoReturn:
    """Do what the arguments say, and end the module with what became of it.

    module: an `AnsibleModule`. arguments: as `target_arguments.ARGUMENTS` has them, checked.
    way: `sdk.Sdk` for a module; the program of a bundle takes the agent's, `wire.Wire`. bundle: the
    SHA-256 of the bundle that this runs from, which was checked.
    """
    store = TargetStore(arguments["state_dir"])
    present = arguments["state"] == "present"
    more: dict[str, Any] = {}
    try:
        if arguments["agent"] is not None and present:
            node = look(arguments["docker_url"], bundle=bundle)
            missing = not node["docker"]["answers"] or node["agent"] != arguments["agent"]
            more = {"node": node, "missing": missing}
            if missing:
                module.exit_json(changed=False, **more)
        if arguments["hold"] and present:
            would = bring(module, arguments, store, way, check=True)
            if would.changed:
                module.exit_json(changed=False, held=True, plan=would.plan, **more)
            more["held"] = False
        report = (bring if present else take_down)(module, arguments, store, way)
    except Moved as error:
        fail(module, error, plan=error.plan, moved=True)
    except OttoError as error:
        fail(module, error)
    document = report.to_json()
    result = {"changed": report.changed, "plan": document.pop("plan"), "report": document, **more}
    result["plan_digest"] = digest_of(result["plan"])
    if present and not module.check_mode:
        result["given"] = Revisions(store.directory).last
    if module._diff:
        result["diff"] = diff_of(result["plan"])
    if report.errors:
        module.fail_json(msg=page(report.node or os.uname().nodename, report.errors), **result)
    module.exit_json(**result)
    raise SystemExit(0)  # exit_json does not come back
