# SPDX-License-Identifier: GPL-3.0-or-later
"""agent.json: which node this is, which Docker, which broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils import tls
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed

_AGAIN = "otto-run apply   (writes the file anew)"


@dataclass(frozen=True)
class Broker:
    """keepalive: seconds. protocol: "3.1.1" or "5". ca: PEM of whom to trust, "system" for whom
    this system trusts, "" for no TLS."""

    host: str
    port: int = 1883
    username: str = ""
    password: str = field(default="", repr=False)
    keepalive: int = 20
    protocol: str = "3.1.1"
    ca: str = field(default="", repr=False)


@dataclass(frozen=True)
class Config:
    """Intervals are in seconds. mqtt: None where the agent heals in silence."""

    cluster: str
    node: str
    mqtt: Broker | None = None
    docker_url: str = "unix:///var/run/docker.sock"
    state_dir: Path = Path("/var/lib/otto")
    metrics_interval: float = 10.0
    sweep_interval: float = 60.0


def load(path: Path) -> Config:
    """Read agent.json. Raises OttoError that names all that is wrong with it."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OttoError(
            f"Cannot read the agent's configuration {path}",
            cause=error.strerror or str(error),
            next=_AGAIN if not path.exists() else typed("ls -l {}", path),
        ) from error
    except ValueError as error:
        # The text of a JSON error holds a position, never the content: a password stays out of it.
        raise OttoError(f"{path} is not JSON", cause=str(error), next=_AGAIN) from error
    return parse(document, str(path))


def parse(document: Any, file: str = "agent.json") -> Config:
    """The document of agent.json as a Config. Raises OttoError with every problem at once."""
    problems: list[str] = []
    if not isinstance(document, Mapping):
        raise OttoError(f"{file} holds no JSON object", next=_AGAIN)
    top = _Reader(document, "", problems)
    known = ("cluster", "node", "docker_url", "mqtt", "state_dir")
    top.only((*known, "metrics_interval", "sweep_interval"))
    config = Config(
        cluster=top.text("cluster"),
        node=top.text("node"),
        docker_url=top.text("docker_url", Config.docker_url),
        state_dir=Path(top.text("state_dir", str(Config.state_dir))),
        metrics_interval=top.number("metrics_interval", Config.metrics_interval, 1, 3600),
        sweep_interval=top.number("sweep_interval", Config.sweep_interval, 1, 86400),
        mqtt=_broker(document["mqtt"], problems) if "mqtt" in document else None,
    )
    if problems:
        raise OttoError(f"{file} is not usable", cause="; ".join(problems), next=_AGAIN)
    return config


def _broker(mqtt: Any, problems: list[str]) -> Broker | None:
    if not isinstance(mqtt, Mapping):
        problems.append("mqtt: expected an object with host and port")
        return None
    sub = _Reader(mqtt, "mqtt.", problems)
    sub.only(("host", "port", "username", "password", "keepalive", "protocol", "ca"))
    broker = Broker(
        host=sub.text("host"),
        port=int(sub.number("port", Broker.port, 1, 65535)),
        username=sub.text("username", ""),
        password=sub.text("password", ""),
        keepalive=int(sub.number("keepalive", Broker.keepalive, 1, 65535)),
        protocol=sub.text("protocol", Broker.protocol, lambda value: value in ("3.1.1", "5")),
        ca=sub.text("ca", "", lambda ca: ca == tls.SYSTEM or "-----BEGIN CERTIFICATE-----" in ca),
    )
    if broker.password and not broker.username:
        problems.append("mqtt.password: needs mqtt.username beside it")
    return broker


class _Reader:
    """Reads the values of one object and notes what is wrong with them. Never shows a value: it
    may be the password."""

    def __init__(self, values: Mapping[str, Any], prefix: str, problems: list[str]) -> None:
        self._values = values
        self._prefix = prefix
        self._problems = problems

    def only(self, known: tuple[str, ...]) -> None:
        for key in self._values:
            if key not in known:
                self._note(str(key), "unknown key (known: {})".format(", ".join(known)))

    def text(
        self, key: str, default: str | None = None, valid: Callable[[str], bool] = lambda _: True
    ) -> str:
        """default None: the key must be there and hold some text. A null is an absent key."""
        value = self._values.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or (default is None and not value):
            self._note(key, "expected text" if key in self._values else "is missing")
            return ""
        if not valid(value):
            self._note(key, "is not one of the values that it can have")
        return value

    def number(self, key: str, default: float, least: float, most: float) -> float:
        value = self._values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._note(key, "expected a number")
            return default
        if not least <= value <= most:
            self._note(key, f"expected {least:g} to {most:g}, found {value:g}")
        return value

    def _note(self, key: str, text: str) -> None:
        self._problems.append(f"{self._prefix}{key}: {text}")
