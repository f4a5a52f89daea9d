# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of `post_start` and `pre_stop`, run in a container over the engine's exec API."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from ansible_collections.otto.cluster.plugins.module_utils.operations import Exec
from ansible_collections.otto.cluster.plugins.module_utils.transport import (
    EngineError,
    Transport,
    joined,
)
from ansible_collections.otto.cluster.plugins.module_utils.wire import FAILURES

from .errors import typed

SILENCE = 600.0
"""Seconds that a command may run without a word."""
MOST = 64 * 1024
"""Bytes of its output that are kept; the rest is read and dropped."""


def run(engine: Transport, operation: Exec, _progress: Callable[[str], None]) -> bool:
    """See `Exec`. Raises EngineError with what the command wrote, when it did not end with 0."""
    container = quote(operation.id or operation.container, safe="")
    body = {**operation.body, "AttachStdout": True, "AttachStderr": True}
    made = engine.call("POST", f"/containers/{container}/exec", body=body)
    place = "/exec/{}".format(quote(made["Id"], safe=""))
    response = engine.call(
        "POST", place + "/start", body={"Detach": False, "Tty": False}, timeout=SILENCE, stream=True
    )
    raw = b""
    try:
        # Neither length nor chunks: the engine closes the connection when the command has ended.
        while True:
            with engine.waiting(SILENCE):
                piece = response.read(8192)
            if not piece:
                break
            raw += piece if len(raw) < MOST else b""
    except FAILURES as error:
        raise engine.silent(error, operation.line()) from error
    finally:
        response.close()
    code = engine.call("GET", place + "/json")["ExitCode"]
    if code == 0:
        return True
    said = " | ".join(line.strip() for line in joined(raw).splitlines() if line.strip())
    raise EngineError(
        "",
        cause=f"it ended with exit code {code} ({said or 'it wrote nothing'})",
        next=typed("docker logs {}", operation.container),
    )
