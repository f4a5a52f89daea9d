# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control-machine half of the module `container_service`: its answer goes through the gate."""

from __future__ import annotations

from typing import Any

from ansible_collections.otto.cluster.plugins.plugin_utils.node_call import NodeAction
from ansible_collections.otto.cluster.plugins.plugin_utils.own import own_or_nothing, place_of


class ActionModule(NodeAction):
    """otto.cluster.container_service"""

    MODULE = "otto.cluster.container_service"

    def work(self, variables: dict[str, Any]) -> dict[str, Any]:
        place = place_of(own_or_nothing(variables))
        known = {key: place[key] for key in ("docker_url",) if key in place}
        return self.ask({**known, **self._task.args}, variables)
