# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control-machine half of the module `agent`: makes what is to be installed, and sends it.

The bundle travels inside the module's arguments: with pipelining the whole installation is one
round trip, where a copied file takes four more.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.plugin_utils import interpreter
from ansible_collections.otto.cluster.plugins.plugin_utils.bundle import Bundle, unpinned
from ansible_collections.otto.cluster.plugins.plugin_utils.installation import (
    VARIABLES,
    installation,
)

MODULE = "otto.cluster.agent"
MEMORY_HINT = (
    "The kernel of %s does not account memory: `mem_limit` has no effect there, and memory is not"
    " measured. Add `cgroup_enable=memory cgroup_memory=1` to the line in"
    " /boot/firmware/cmdline.txt (older systems: /boot/cmdline.txt) and reboot it."
)


class ActionModule(ActionBase):  # type: ignore[misc]
    """otto.cluster.agent"""

    _requires_connection = True
    _supports_check_mode = True
    _supports_diff = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        installed = arguments.pop("installed", None)
        if "otto_cluster" in variables:
            arguments["cluster"] = self._templar.template(variables["otto_cluster"])
        try:
            interpreter.check(self, variables)
        except OttoError as error:
            return result | {"failed": True, "msg": str(error)}
        if arguments.get("state", "present") not in ("present", "unpacked"):
            return _joined(result, self._execute_module(MODULE, arguments, task_vars=task_vars))
        try:
            wanted = installation(
                {
                    name: self._templar.template(variables[name])
                    for name in VARIABLES
                    if name in variables
                }
            )
        except OttoError as error:
            return result | {"failed": True, "msg": str(error)}
        if installed and not installed["memory_cgroup"]:
            result.setdefault("warnings", []).append(
                MEMORY_HINT % variables.get("inventory_hostname")
            )
        if installed and installed["agent"] == wanted.as_seen():
            version = wanted.bundle.version
            return result | {
                "changed": False,
                "changes": [],
                "former": version,
                "version": version,
            }
        arguments |= {
            "version": wanted.bundle.version,
            "sha256": wanted.bundle.sha256,
            "config": wanted.config,
            "unit": wanted.unit,
        }
        # Where nothing is known of the node, the bundle is sent only after it was asked for.
        send = bool(installed) and installed["agent"]["bundle_sha256"] != wanted.bundle.sha256
        others = unpinned()
        if others:
            result.setdefault("warnings", []).append(NO_PIN % ", ".join(others))
        try:
            if send and not self._task.check_mode:
                arguments |= _sent(wanted.bundle)
            answer = self._execute_module(MODULE, arguments, task_vars=task_vars)
            if answer.get("needs_bundle"):
                arguments |= _sent(wanted.bundle)
                answer = self._execute_module(MODULE, arguments, task_vars=task_vars)
        except OttoError as error:
            return result | {"failed": True, "msg": str(error)}
        return _joined(result, answer)


NO_PIN = (
    "The agent's bundle carries %s, of which this Otto has no digest: it is taken as pip noted it"
    " on this machine"
)


def _sent(bundle: Bundle) -> dict[str, str]:
    """The archive, and what it has to be when it has arrived."""
    packed = bundle.packed()
    return {
        "bundle": base64.b64encode(packed).decode("ascii"),
        "packed_sha256": hashlib.sha256(packed).hexdigest(),
    }


def _joined(result: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    warnings = [*result.get("warnings", []), *answer.get("warnings", [])]
    return result | answer | ({"warnings": warnings} if warnings else {})
