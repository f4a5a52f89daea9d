# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run policy init`: the strictest policy of a node under which its services run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from ansible_collections.otto.cluster.plugins.module_utils.errors import typed
from ansible_collections.otto.cluster.plugins.module_utils.policy import FILE
from ansible_collections.otto.cluster.plugins.module_utils.policy_init import strictest

from otto_run import ssh
from otto_run.exits import Code
from otto_run.session import Session, say

_PUT = f"install -D -m 644 /dev/stdin {FILE}"


def init(here: Session, name: str) -> Code:
    """Print it. Nothing is written: the policy is the word of the node's owner, not of Otto."""
    node = here.nodes[here.one(name, "policy init")]
    found = strictest(here.targets[node.id])
    put = _PUT if node.user == "root" else f"sudo {_PUT}"
    way = put if node.is_local else ssh.typed(node, here.known_hosts, put)
    print(
        f"# What the services of {node.id} ask of it, as {here.file.name} says them, and no more.\n"
        "# What a service is allowed, it is allowed whatever its image and its command are.\n"
        "# To put it there:\n"
        f"#   otto-run policy init {node.id} | {way}\n"
        f"# Then: otto-run plan --limit {node.id}\n"
        "#   (links, and volumes and networks that others made, show on the node alone: the plan\n"
        "#   says which line is missing)"
    )
    print(text(found.document), end="")
    for service, whats in found.never.items():
        say(f"{service} runs under no policy: {', '.join(whats)}\n    next      "
            + typed("take it out of {}", here.file.name))  # fmt: skip
    return Code.FAILED if found.never else Code.DONE


def text(document: Mapping[str, Any]) -> str:
    """A line for each key, one for each mount."""
    allow = document["allow"]
    if not allow:
        return "allow: {}\n"
    dumped = yaml.safe_dump({"allow": allow}, sort_keys=False, default_flow_style=None, width=10**6)
    return str(dumped)
