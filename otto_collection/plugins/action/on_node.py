# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto.cluster.on_node`: a module of Ansible, called so that its answer goes through the gate."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action.copy import ActionModule as CopyAction
from ansible_collections.otto.cluster.plugins.plugin_utils import interpreter
from ansible_collections.otto.cluster.plugins.plugin_utils.gate import answers
from ansible_collections.otto.cluster.plugins.plugin_utils.node_call import NodeAction, Wall

MODULES = ("apt", "command", "copy", "file", "stat", "systemd_service")


class _Copy(Wall, CopyAction):  # type: ignore[misc]
    """Ansible's own action, which asks the node several things."""

    def gate(self, text: str) -> dict[str, Any]:
        return answers.plain(text)


class ActionModule(NodeAction):
    """otto.cluster.on_node"""

    MODULE = "otto.cluster.on_node"
    SECONDS = 3600.0  # packages come from the internet, and others may hold apt's lock
    COUNTS = False  # a module of Ansible says much that nobody here asks for

    def work(self, variables: dict[str, Any]) -> dict[str, Any]:
        _, asked = self.validate_argument_spec(
            argument_spec={
                "module": {"type": "str", "required": True, "choices": list(MODULES)},
                "arguments": {"type": "dict", "required": True},
            }
        )
        found = self._run(asked["module"], asked["arguments"], variables)
        if "stdout" in found:
            found["stdout_lines"] = found["stdout"].splitlines()
        return found

    def _run(
        self, module: str, arguments: dict[str, Any], variables: dict[str, Any]
    ) -> dict[str, Any]:
        if module != "copy":
            return self.ask(arguments, variables, f"ansible.legacy.{module}")
        self._task.args = arguments
        copy = _Copy(
            self._task,
            self._connection,
            self._play_context,
            self._loader,
            self._templar,
            self._shared_loader_obj,
        )
        with self.bounded():
            interpreter.check(self, variables)
            return self.passed(copy.run(task_vars=variables))

    def diff(self, found: dict[str, Any]) -> Any:  # type: ignore[override]
        return found.get("diff")
