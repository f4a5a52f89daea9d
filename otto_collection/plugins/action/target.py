# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control-machine half of the module `target`: starts it from the bundle that the node has.

A playbook that says which agent a node has to have knows that the core lies there in the agent's
bundle, compiled. Where that is not so yet, and in a task of one's own, the module goes the usual
way.
"""

from __future__ import annotations

import json
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.target_arguments import (
    ARGUMENTS,
    RESULT,
    RULES,
)
from ansible_collections.otto.cluster.plugins.plugin_utils import interpreter
from ansible_collections.otto.cluster.plugins.plugin_utils.in_place import OTHER_BUNDLE, command
from ansible_collections.otto.cluster.plugins.plugin_utils.installation import python_of

MODULE = "otto.cluster.target"


class ActionModule(ActionBase):  # type: ignore[misc]
    """otto.cluster.target"""

    _requires_connection = True
    _supports_check_mode = True
    _supports_diff = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        python = python_of(task_vars or {})
        quick = arguments.get("agent") and arguments.get("state", "present") == "present"
        # Without pipelining nothing can be handed to a command but in its arguments.
        if quick and self._connection.has_pipelining:
            answer = self._run_in_place(python)
            if answer is not None:
                return result | answer
        try:
            interpreter.check(self, task_vars or {})
        except OttoError as error:
            raise AnsibleActionFail(str(error)) from error
        return result | self._execute_module(MODULE, task_vars=task_vars)

    def _run_in_place(self, python: str) -> dict[str, Any] | None:
        """What the program of the bundle answered; None where the node has another bundle."""
        _, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS, **RULES)
        asked = {
            "arguments": arguments,
            "check": self._task.check_mode,
            "diff": self._task.diff,
        }
        agent = arguments["agent"]
        done = self._low_level_execute_command(
            command(python, agent["version"], agent["bundle_sha256"]),
            in_data=json.dumps(asked).encode(),
        )
        if done["rc"] == OTHER_BUNDLE:
            return None
        if done["rc"] == interpreter.REFUSED:
            raise AnsibleActionFail(str(interpreter.refusal(python, done["stdout"])))
        for line in done["stdout_lines"]:
            if line.startswith(RESULT):
                answer: dict[str, Any] = json.loads(line[len(RESULT) :])
                return answer
        words = (done["stderr"] or done["stdout"]).strip().splitlines()
        raise AnsibleActionFail(
            "Otto's program on the node ended with code {} and no result: {}".format(
                done["rc"], words[-1] if words else "it said nothing"
            ),
            result={"stdout": done["stdout"], "stderr": done["stderr"]},
        )
