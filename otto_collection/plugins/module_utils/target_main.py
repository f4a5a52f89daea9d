# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module `target` as a program of the bundle that a node has: JSON in, JSON out.

`plugin_utils/in_place.py` starts it, once the bundle was checked. Beside a module of Ansible it
saves packing, sending and compiling the core, and Ansible's own part of a module; beside the Docker
SDK, a fifth of a second of its import.
"""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

from ansible_collections.otto.cluster.plugins.module_utils.target_arguments import RESULT
from ansible_collections.otto.cluster.plugins.module_utils.target_work import run
from ansible_collections.otto.cluster.plugins.module_utils.wire import Wire


class _Module:
    """The part of an `AnsibleModule` that `target_work.run` needs."""

    def __init__(self, check_mode: bool, diff: bool) -> None:
        self.check_mode = check_mode
        self._diff = diff
        self._warnings: list[str] = []

    def warn(self, text: str) -> None:
        self._warnings.append(text)

    def exit_json(self, **result: Any) -> NoReturn:
        if self._warnings:
            result["warnings"] = self._warnings
        sys.stdout.write(f"\n{RESULT}{json.dumps(result)}\n")
        raise SystemExit(0)

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        self.exit_json(msg=msg, failed=True, **result)


def main(bundle: str) -> NoReturn:
    """bundle: the SHA-256 of the bundle that this runs from, which was checked."""
    asked = json.load(sys.stdin)
    run(_Module(asked["check"], asked["diff"]), asked["arguments"], Wire, bundle)
