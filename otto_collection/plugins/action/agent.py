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
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.plugin_utils.bundle import Bundle, unpinned
from ansible_collections.otto.cluster.plugins.plugin_utils.installation import (
    SETTINGS,
    installation,
)
from ansible_collections.otto.cluster.plugins.plugin_utils.node_call import NodeAction
from ansible_collections.otto.cluster.plugins.plugin_utils.own import own, own_or_nothing

MEMORY_HINT = (
    "The kernel of %s does not account memory: `mem_limit` has no effect there, and memory is not"
    " measured. Add `cgroup_enable=memory cgroup_memory=1` to the line in"
    " /boot/firmware/cmdline.txt (older systems: /boot/cmdline.txt) and reboot it."
)


class ActionModule(NodeAction):
    """otto.cluster.agent"""

    MODULE = "otto.cluster.agent"
    _config = "{}"

    def work(self, variables: dict[str, Any]) -> dict[str, Any]:
        arguments = dict(self._task.args)
        installed = arguments.pop("installed", None)
        mine = own_or_nothing(variables)
        if mine:
            arguments["cluster"] = mine["otto_cluster"]
        if arguments.get("state", "present") not in ("present", "unpacked"):
            return self.ask(arguments, variables)
        try:
            wanted = installation(own(variables), self._settings(variables))
        except OttoError as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        warnings = []
        if installed and not installed["memory_cgroup"]:
            warnings.append(MEMORY_HINT % self._host)
        if installed and installed["agent"] == wanted.as_seen():
            version = wanted.bundle.version
            return _warned(
                {"changed": False, "changes": [], "former": version, "version": version}, warnings
            )
        arguments |= {
            "version": wanted.bundle.version,
            "sha256": wanted.bundle.sha256,
            "config": wanted.config,
            "unit": wanted.unit,
        }
        self._config = wanted.config
        # Where nothing is known of the node, the bundle is sent only after it was asked for.
        send = bool(installed) and installed["agent"]["bundle_sha256"] != wanted.bundle.sha256
        if others := unpinned():
            warnings.append(NO_PIN % ", ".join(others))
        if send and not self._task.check_mode:
            arguments |= _sent(wanted.bundle)
        answer = self.ask(arguments, variables)
        if answer.get("needs_bundle") and "bundle" not in arguments:
            arguments |= _sent(wanted.bundle)
            answer = self.ask(arguments, variables)
        return _warned(answer, warnings)

    def sent(self) -> Iterator[str]:
        """The node's password at the broker."""
        password = json.loads(self._config).get("mqtt", {}).get("password")
        if password:
            yield password

    def diff(self, found: Mapping[str, Any]) -> dict[str, str] | None:
        return found.get("diff")

    def _settings(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: self._templar.template(variables[name]) for name in SETTINGS if name in variables
        }


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


def _warned(answer: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    warnings = [*warnings, *answer.get("warnings", [])]
    return answer | ({"warnings": warnings} if warnings else {})
