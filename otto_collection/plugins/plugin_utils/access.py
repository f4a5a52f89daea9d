# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one client needs to be let in at the broker: of agents, of the control plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.cluster import SYSTEM_CA, Mqtt
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import CONTROL
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.plugin_utils.accounts import user
from ansible_collections.otto.cluster.plugins.plugin_utils.credentials import Credentials
from ansible_collections.otto.cluster.plugins.plugin_utils.pki import Pki


@dataclass(frozen=True)
class Access:
    """ca: PEM of whom to trust, `system`, or "" for a connection without TLS."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    keepalive: int = 30
    ca: str = field(default="", repr=False)

    def to_json(self) -> dict[str, Any]:
        """`mqtt` of agent.json."""
        return {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "keepalive": self.keepalive,
        } | ({"ca": self.ca} if self.ca else {})


def access(mqtt: Mqtt, state: Path, cluster: str, client: str = CONTROL) -> Access:
    """For a node, or the control plane. state: `state_root()`.

    Password and CA are made where there are none yet. Raises OttoError.
    """
    directory = state / cluster
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if mqtt.username is not None:
        name, password = mqtt.username, mqtt.password or ""
    else:
        name = user(cluster, client)
        password = Credentials(directory).account(client).password
    return Access(mqtt.host, mqtt.port, name, password, mqtt.keepalive, _ca(mqtt, directory))


def _ca(mqtt: Mqtt, directory: Path) -> str:
    if not mqtt.tls:
        return ""
    if mqtt.ca is None:
        return Pki(directory).trusted()
    if mqtt.ca == SYSTEM_CA:
        return SYSTEM_CA
    try:
        text = Path(mqtt.ca).read_text(encoding="ascii")
        if "-----BEGIN CERTIFICATE-----" not in text:
            raise ValueError("it holds no certificate in PEM")
    except (OSError, ValueError) as error:
        raise OttoError(
            f"mqtt.tls.ca: {mqtt.ca} cannot be used",
            cause=getattr(error, "strerror", None) or str(error),
            next=typed("openssl x509 -in {} -noout -subject -dates", mqtt.ca),
        ) from error
    return text
