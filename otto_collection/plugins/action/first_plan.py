# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans a node that has no engine or no SDK to be looked at with; see the module `first_plan`."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.otto.cluster.plugins.module_utils.edge import diff_of
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.model import Observed, Target
from ansible_collections.otto.cluster.plugins.module_utils.operations import Operation
from ansible_collections.otto.cluster.plugins.module_utils.plan_document import digest_of
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import reconcile
from ansible_collections.otto.cluster.plugins.plugin_utils.own import own


class _Nothing:
    """An engine on which nothing is."""

    def observe(self, target: Target) -> Observed:  # noqa: ARG002 - reconcile's protocol
        return Observed()

    def execute(self, operation: Operation, progress: object = None) -> bool:  # noqa: ARG002
        raise AssertionError(f"check mode carried out: {operation.line()}")


class ActionModule(ActionBase):  # type: ignore[misc]
    """otto.cluster.first_plan"""

    _supports_check_mode = True
    _supports_diff = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "installed": {"type": "dict", "required": True},
                "revision": {"type": "str"},
            }
        )
        if arguments["revision"]:
            error = OttoError(
                "This node does not keep revision {}; it keeps none".format(arguments["revision"]),
                cause="it has no agent: it is new, or was taken down",
                next="otto-run apply   (brings what otto.yaml says)",
            )
            return result | {
                "failed": True,
                "msg": str(error),
                "cause": error.cause,
                "next": error.next,
            }
        try:
            target = Target.from_json(dict(own(task_vars or {})["otto_target"]))
        except (OttoError, KeyError) as problem:
            return result | {"failed": True, "msg": f"The inventory has no target: {problem}"}
        # No engine, so no registry can be asked either.
        report = reconcile(_Nothing(), target, check=True, refresh=False).to_json()
        plan = report.pop("plan")
        installed = arguments["installed"]
        count = len(target.services)
        steps = [] if installed["docker"]["answers"] else [_docker(installed["docker"])]
        steps += [] if installed["agent"]["version"] else ["install the agent"]
        steps.append(f"create {count} service{'' if count == 1 else 's'}")
        diff = diff_of(plan)
        diff["after"] = "".join(f"{step}\n" for step in steps[:-1]) + diff["after"]
        return result | {
            "changed": True,
            "of_node": True,  # in the shape of what a node answers
            "msg": "would " + ", ".join(steps),
            "plan": plan,
            "plan_digest": digest_of(plan),
            "report": report,
            "diff": diff,
        }


def _docker(docker: dict[str, Any]) -> str:
    return "start Docker" if docker["present"] else "install Docker"
