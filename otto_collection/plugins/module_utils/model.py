# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nouns that every room shares: what a node must be, what it is, what is to be done.

Pure: no I/O, no Ansible, no Docker. Everything here is frozen and compares by value.
A *spec* is a mapping from option name to canonical value (`options.py` gives each one's shape);
it holds only what the file names, never a default, so a new option changes no old digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Spec = Mapping[str, Any]

LABEL_CLUSTER = "io.otto.cluster"
LABEL_SERVICE = "io.otto.service"
LABEL_REVISION = "io.otto.revision"
LABEL_SPEC = "io.otto.spec"
"""Label with the last-applied spec as canonical JSON; sensitive values are digests in it."""

TARGET_FORMAT = 1


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: keys sorted, no spaces, UTF-8 kept as it is."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """Revision of a JSON value: the first 16 hex digits of the SHA-256 of its canonical text."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class Target:
    """All that one node must be.

    services: service name -> spec.
    networks: key in the file -> {"name": engine name, "external": bool, "driver"?, ...}.
    volumes: the same shape as networks.
    sensitive: service name -> names of its environment variables whose values are never shown.
    """

    cluster: str
    node: str
    services: Mapping[str, Spec] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    volumes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sensitive: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The document that is written to target.json and handed to the module."""
        return {
            "format": TARGET_FORMAT,
            "cluster": self.cluster,
            "node": self.node,
            "services": {name: dict(spec) for name, spec in self.services.items()},
            "networks": {name: dict(value) for name, value in self.networks.items()},
            "volumes": {name: dict(value) for name, value in self.volumes.items()},
            "sensitive": {name: list(keys) for name, keys in self.sensitive.items()},
        }

    @classmethod
    def from_json(cls, document: Any) -> Target:
        """Read a target document. Raises ValueError that names what is wrong with it."""
        if not isinstance(document, Mapping):
            raise ValueError(f"a target is a mapping, found {type(document).__name__}")
        if document.get("format") != TARGET_FORMAT:
            raise ValueError(
                f"target format {document.get('format')!r} is not {TARGET_FORMAT}:"
                " written by another version of Otto"
            )
        for key in ("cluster", "node"):
            if not isinstance(document.get(key), str) or not document[key]:
                raise ValueError(f"target has no {key}")
        for key in ("services", "networks", "volumes", "sensitive"):
            if not isinstance(document.get(key), Mapping):
                raise ValueError(f"target has no mapping {key}")
        return cls(
            cluster=document["cluster"],
            node=document["node"],
            services=document["services"],
            networks=document["networks"],
            volumes=document["volumes"],
            sensitive={name: tuple(keys) for name, keys in document["sensitive"].items()},
        )

    @property
    def revision(self) -> str:
        """Digest of the whole target (16 hex digits)."""
        return digest(self.to_json())


@dataclass(frozen=True)
class ObservedContainer:
    """One container as the engine shows it. `inspect` is the engine's own document, unchanged."""

    id: str
    name: str
    state: str
    """created, running, paused, restarting, removing, exited or dead"""
    exit_code: int
    health: str | None
    """starting, healthy, unhealthy; None where no healthcheck stands"""
    image: str
    """the reference that it was created from"""
    image_id: str
    labels: Mapping[str, str]
    inspect: Mapping[str, Any]

    @property
    def cluster(self) -> str | None:
        return self.labels.get(LABEL_CLUSTER)

    @property
    def service(self) -> str | None:
        return self.labels.get(LABEL_SERVICE)

    @property
    def applied(self) -> Spec | None:
        """Last-applied spec from the label; None where there is none or it is not readable."""
        try:
            value = json.loads(self.labels[LABEL_SPEC])
        except (KeyError, ValueError):
            return None
        return value if isinstance(value, dict) else None


@dataclass(frozen=True)
class ObservedImage:
    """An image that lies on the node. `config` is its Config document (Env, Cmd, Volumes, ...)."""

    id: str
    architecture: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class ObservedObject:
    """A network or a volume: its engine name, labels and the engine's own document."""

    name: str
    labels: Mapping[str, str]
    inspect: Mapping[str, Any]


@dataclass(frozen=True)
class Engine:
    """What the engine says of itself."""

    version: str = ""
    api_version: str = ""
    architecture: str = ""
    cgroup_version: str = ""
    without: tuple[str, ...] = ()
    """Options that this engine discards (`mem_limit` where the kernel has no memory cgroup)."""


@dataclass(frozen=True)
class Observed:
    """One look at a node.

    containers: every container with this cluster's label, and any other whose name a service
    of the target wants (so that a clash is told before anything is touched).
    images: by reference as the target writes it, and by id for those that containers run.
    networks, volumes: by engine name; those with this cluster's label and those the target names.
    """

    containers: tuple[ObservedContainer, ...] = ()
    images: Mapping[str, ObservedImage] = field(default_factory=dict)
    networks: Mapping[str, ObservedObject] = field(default_factory=dict)
    volumes: Mapping[str, ObservedObject] = field(default_factory=dict)
    engine: Engine = Engine()


@dataclass(frozen=True)
class Change:
    """One difference of one option, as a person reads it.

    key: dotted, e.g. "environment.MODE", "ports", "image".
    old, new: text; None where there is none on that side; "(hidden)" for sensitive values.
    why: "file" (the file changed), "drift" (the node left its target) or "image" (new content
    under the same reference).
    """

    key: str
    old: str | None
    new: str | None
    why: str

    def line(self) -> str:
        """`environment.MODE: dark -> light`, `labels.team: removed (was blue)`, ..."""
        if self.old is None:
            text = f"{self.key}: added {self.new}"
        elif self.new is None:
            text = f"{self.key}: removed (was {self.old})"
        else:
            text = f"{self.key}: {self.old} -> {self.new}"
        return text + (f" [{self.why}]" if self.why != "file" else "")
