# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control-machine half of the module `container`: its answer goes through the gate."""

from __future__ import annotations

from ansible_collections.otto.cluster.plugins.module_utils.known_secrets import of_spec
from ansible_collections.otto.cluster.plugins.plugin_utils.node_call import NodeAction


class ActionModule(NodeAction):
    """otto.cluster.container"""

    MODULE = "otto.cluster.container"
    PLACES = ("docker_url",)
    SECONDS = 4 * 3600.0  # a pull may take hours, as long as it moves

    def sent(self) -> tuple[str, ...]:
        return of_spec({"arguments": self._task.args})
