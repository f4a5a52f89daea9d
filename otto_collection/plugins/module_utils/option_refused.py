# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of the compose-spec's services that no node can be told: why, and what to use instead. Pure.

REFUSED: never done. BEFORE: read on the control machine, gone before a service is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .option_schemas import TEXT, any_of, list_of, object_of


@dataclass(frozen=True)
class Refused:
    """why: a sentence that goes on after the key's path. instead: what to write."""

    name: str
    why: str
    instead: str


@dataclass(frozen=True)
class Before:
    """doc: one line. schema: of what may be written. instead: where it cannot be read."""

    name: str
    doc: str
    schema: Mapping[str, Any]
    instead: str


_WINDOWS = "is for Windows containers, and nodes run Linux"

_REFUSED = (
    Refused("build", "is not done: Otto builds no images on a node",
            "build it here, push it to a registry or with otto-run push, and name it with image:"),
    Refused("cpu_count", _WINDOWS, "cpus: 2, or cpuset: 0-1"),
    Refused("cpu_percent", _WINDOWS, "cpus: 0.5 is half of one CPU"),
    Refused("credential_spec", _WINDOWS, "remove it"),
    Refused("develop", "is for work on one's own machine: a node has no source to watch",
            "docker compose watch there; remove it here"),
    Refused("external_links", "is the engine's old way to reach other projects' containers",
            "put both on one network: networks: {shared: {external: true}} at the end of the file"),
    Refused("isolation", _WINDOWS, "remove it; Linux has one kind"),
    Refused("models", "is Docker Model Runner's, which plain engines do not have",
            "run the model as a service and give its address in environment:"),
    Refused("pre_start", "is not done: it asks for containers of its own before each start",
            'a service of its own with restart: "no", and here depends_on: {NAME: {condition: '
            "service_completed_successfully}}"),
    Refused("provider", "runs a program of docker compose on this machine, not on a node",
            "run that program yourself and give its result in environment:"),
    Refused("use_api_socket", "gives the container the engine, and with it the node and your"
            " registry logins", "if it must have it: volumes: [/var/run/docker.sock:"
            "/var/run/docker.sock]"),
)  # fmt: skip
REFUSED: dict[str, Refused] = {row.name: row for row in _REFUSED}

_FILES = any_of(
    TEXT,
    list_of(any_of(TEXT, object_of({"path": TEXT, "required": {}, "format": TEXT}, ("path",)))),
)
_BEFORE = (
    Before("extends", "Another service whose keys it starts from, of this file or another.",
           any_of(TEXT, object_of({"service": TEXT, "file": TEXT}, ("service",))),
           "write its keys out here"),
    Before("env_file", "Files of this machine with environment variables.", _FILES,
           "write environment: here"),
    Before("label_file", "Files of this machine with labels.", any_of(TEXT, list_of(TEXT)),
           "write labels: here"),
    Before("profiles", "It runs only where one of these profiles is asked for.",
           any_of(TEXT, list_of(TEXT)), "remove it, or the service"),
)  # fmt: skip
BEFORE: dict[str, Before] = {row.name: row for row in _BEFORE}
