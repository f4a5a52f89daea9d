# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network that the file describes otherwise than it is: made anew, its containers back on it.

The engine changes nothing of a network that stands, and removes none with containers on it. Cut off
in between, the next plan finds containers that lack a network, and connects them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from ansible_collections.otto.cluster.plugins.module_utils.operations import ReplaceNetwork
from ansible_collections.otto.cluster.plugins.module_utils.transport import EngineError, Transport


def replace(engine: Transport, operation: ReplaceNetwork, progress: Callable[[str], None]) -> bool:
    """See `ReplaceNetwork`. What cannot be made leaves the former network in its place."""
    path = "/networks/{}".format(quote(operation.name, safe=""))
    ids = list(operation.config)
    try:
        for container in ids:
            _unless_gone(engine, "POST", path + "/disconnect", {"Container": container})
        _unless_gone(engine, "DELETE", path)
    except EngineError:
        _connect(engine, operation, path)
        raise
    try:
        engine.call("POST", "/networks/create", body=operation.body)
    except EngineError:
        progress(f"network {operation.name} could not be made anew, the former one is put back")
        engine.call("POST", "/networks/create", body=operation.previous)
        _connect(engine, operation, path)
        raise
    failed = _connect(engine, operation, path)
    if failed is not None:
        raise failed
    return True


def _connect(engine: Transport, operation: ReplaceNetwork, path: str) -> EngineError | None:
    """All of them, whatever fails with one; the first failure."""
    first = None
    for container, config in operation.config.items():
        try:
            _join(engine, path, container, config)
        except EngineError as error:
            if "already exists in network" not in error.detail:
                first = first or error
    return first


def _join(engine: Transport, path: str, container: str, config: Mapping[str, Any]) -> None:
    body = {"Container": container, "EndpointConfig": dict(config)}
    try:
        engine.call("POST", path + "/connect", body=body)
    except EngineError:
        if "IPAMConfig" not in config:
            raise
        # Its address was one of the former network. If the file names a new one, its own plan
        # gives it that.
        body["EndpointConfig"] = {k: v for k, v in config.items() if k != "IPAMConfig"}
        engine.call("POST", path + "/connect", body=body)


def _unless_gone(
    engine: Transport, method: str, path: str, body: Mapping[str, Any] | None = None
) -> None:
    try:
        engine.call(method, path, body=body)
    except EngineError as error:
        if error.status != 404 and "is not connected" not in error.detail:
            raise
