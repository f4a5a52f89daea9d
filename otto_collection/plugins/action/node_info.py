# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control-machine half of the module `node_info`: its answer goes through the gate."""

from __future__ import annotations

from ansible_collections.otto.cluster.plugins.plugin_utils.node_call import NodeAction


class ActionModule(NodeAction):
    """otto.cluster.node_info"""

    MODULE = "otto.cluster.node_info"
    PLACES = ("docker_url",)
