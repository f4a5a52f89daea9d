# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control-machine half of the module `image_prune`: its answer goes through the gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.otto.cluster.plugins.plugin_utils.node_call import NodeAction


class ActionModule(NodeAction):
    """otto.cluster.image_prune"""

    MODULE = "otto.cluster.image_prune"
    PLACES = ("docker_url", "state_dir")

    def diff(self, found: Mapping[str, Any]) -> dict[str, str]:
        removed = found.get("removed", [])
        return {"before": "".join(f"{line}\n" for line in removed), "after": ""}
