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
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.edge import (
    registries_from_text,
    target_from_text,
)
from ansible_collections.otto.cluster.plugins.module_utils.known_secrets import of_target
from ansible_collections.otto.cluster.plugins.module_utils.target_arguments import (
    ARGUMENTS,
    RESULT,
    RULES,
)
from ansible_collections.otto.cluster.plugins.plugin_utils import interpreter
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.words import lines
from ansible_collections.otto.cluster.plugins.plugin_utils.in_place import OTHER_BUNDLE, command
from ansible_collections.otto.cluster.plugins.plugin_utils.installation import python_of
from ansible_collections.otto.cluster.plugins.plugin_utils.node_call import NodeAction, unusable
from ansible_collections.otto.cluster.plugins.plugin_utils.own import own_or_nothing, place_of

_SAID = 4000  # characters of what the program said besides its result


class ActionModule(NodeAction):
    """otto.cluster.target"""

    MODULE = "otto.cluster.target"
    SECONDS = 4 * 3600.0  # a pull may take hours, as long as it moves

    def work(self, variables: dict[str, Any]) -> dict[str, Any]:
        mine = own_or_nothing(variables)
        arguments = self._task.args = {**_of_inventory(mine, self._task.args), **self._task.args}
        quick = arguments.get("agent") and arguments.get("state", "present") == "present"
        # Without pipelining nothing can be handed to a command but in its arguments.
        if quick and self._connection.has_pipelining:
            answer = self._run_in_place(python_of(mine or variables))
            if answer is not None:
                return _whole(answer, arguments)
        return _whole(self.ask(arguments, variables), arguments)

    def sent(self) -> Iterator[str]:
        """The passwords of registries, and the secrets of the target."""
        arguments = self._task.args
        if arguments.get("registries"):
            for login in registries_from_text(str(arguments["registries"])).values():
                yield login[1]
        if arguments.get("target"):
            yield from of_target(target_from_text(str(arguments["target"])))

    def _run_in_place(self, python: str) -> dict[str, Any] | None:
        """What the program of the bundle answered; None where the node has another bundle."""
        _, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS, **RULES)
        asked = {
            "arguments": arguments,
            "check": self._task.check_mode,
            "diff": False,  # it is made here, of the typed plan
        }
        agent = arguments["agent"]
        with self.bounded():
            done = self._low_level_execute_command(
                command(python, agent["version"], agent["bundle_sha256"]),
                in_data=json.dumps(asked).encode(),
            )
        if done["rc"] == OTHER_BUNDLE:
            return None
        if done["rc"] == interpreter.REFUSED:
            raise interpreter.refusal(python, done["stdout"])
        for line in done["stdout_lines"]:
            if line.startswith(RESULT):
                return self.passed_text(line[len(RESULT) :])
        words = (done["stderr"] or done["stdout"]).strip().splitlines()
        last = lines(words[-1], 600) if words else "it said nothing"
        said = {name: lines(done[name], _SAID) for name in ("stdout", "stderr")}
        return unusable(f"the program ended with code {done['rc']} and no result: {last}") | said


def _whole(answer: dict[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer, if it says all that its kind has to say."""
    if answer.get("failed"):
        return answer
    if answer.get("missing"):
        wanted = ["node"]
    elif answer.get("held"):
        wanted = ["plan"]
    elif arguments.get("state", "present") == "present":
        wanted = ["plan", "plan_digest", "report"]
    else:
        wanted = ["plan", "report"]
    lacks = [name for name in wanted if name not in answer]
    return unusable(f"answer: without {', '.join(lacks)}") if lacks else answer


def _of_inventory(mine: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What the inventory says of the host, and the task need not say."""
    if not mine:
        return {}
    found = place_of(mine)
    if given.get("state", "present") == "present":
        found["keep_images"] = mine["otto_keep_images"]
        if mine["otto_registries"]:
            found["registries"] = json.dumps(mine["otto_registries"])
    # The whole target as text: it holds secrets, and only a whole text is masked as a whole.
    if not given.get("revision"):
        found["target"] = json.dumps(mine["otto_target"])
    return found
