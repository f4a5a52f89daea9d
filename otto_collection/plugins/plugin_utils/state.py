# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the control machine keeps what it knows: plain Ansible and otto-run use the same place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def state_root(environ: Mapping[str, str] = os.environ) -> Path:
    """`$OTTO_STATE`, `$XDG_STATE_HOME/otto` or `~/.local/state/otto`, absolute."""
    if environ.get("OTTO_STATE"):
        return Path(environ["OTTO_STATE"]).expanduser().absolute()
    # The XDG specification: a relative path in these variables is to be ignored.
    base = environ.get("XDG_STATE_HOME", "")
    if not base.startswith("/"):
        return Path("~/.local/state/otto").expanduser()
    return Path(base) / "otto"
