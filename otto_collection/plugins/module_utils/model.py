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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .masking import shown

Spec = Mapping[str, Any]

LABEL_CLUSTER = "io.otto.cluster"
LABEL_SERVICE = "io.otto.service"
LABEL_REVISION = "io.otto.revision"
LABEL_ADOPTED = "io.otto.adopted"
"""Label with the id of the container that this one takes over from; see `adoption.py`."""
LABEL_SPEC = "io.otto.spec"
"""Label with the last-applied spec as canonical JSON; sensitive values are digests in it."""

TARGET_FORMAT = 1
_PARTS: Mapping[str, type | tuple[type, ...]] = {
    "services": Mapping,
    "networks": Mapping,
    "volumes": Mapping,
    "sensitive": (list, tuple),
    "files": str,
}
"""Parts of a target document, and what each of their values is."""


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: keys sorted, no spaces, UTF-8 kept as it is."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """Revision of a JSON value: the first 16 hex digits of the SHA-256 of its canonical text."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def content_digest(content: bytes) -> str:
    """Name of a file's content in `Target.files`: 16 hex digits of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


@dataclass(frozen=True)
class Target:
    """All that one node must be.

    services: service name -> spec.
    networks: key in the file -> {"name": engine name, "external": bool, "driver"?, ...}.
    volumes: the same shape as networks.
    sensitive: service name -> names of its environment variables whose values are never shown.
    files: digest of a content (`content_digest`) -> the content in base64, for the entries of the
    services' `secrets` and `configs`, which name it by "digest". Never shown.
    """

    cluster: str
    node: str
    services: Mapping[str, Spec] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    volumes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sensitive: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The document that is written to target.json and handed to the module."""
        document = {
            "format": TARGET_FORMAT,
            "cluster": self.cluster,
            "node": self.node,
            "services": {name: dict(spec) for name, spec in self.services.items()},
            "networks": {name: dict(value) for name, value in self.networks.items()},
            "volumes": {name: dict(value) for name, value in self.volumes.items()},
            "sensitive": {name: list(keys) for name, keys in self.sensitive.items()},
        }
        if self.files:  # left out where there are none: older targets keep their revision
            document["files"] = dict(self.files)
        return document

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
        files = document.get("files", {})
        for key, kind in _PARTS.items():
            part = document.get(key) if key != "files" else files
            if not isinstance(part, Mapping):
                raise ValueError(f"target has no mapping {key}")
            for name, value in part.items():
                if not isinstance(name, str) or not isinstance(value, kind):
                    raise ValueError(f"target has an entry of another type in {key}")
        if not all(
            isinstance(name, str) for keys in document["sensitive"].values() for name in keys
        ):
            raise ValueError("target has an entry of another type in sensitive")
        return cls(
            cluster=document["cluster"],
            node=document["node"],
            services=document["services"],
            networks=document["networks"],
            volumes=document["volumes"],
            sensitive={name: tuple(keys) for name, keys in document["sensitive"].items()},
            files=files,
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
    by_hand: bool = False
    """somebody else made it, and Otto may take it over: it is shown with the labels of a service"""

    @property
    def grace(self) -> int:
        """Seconds that it has to end before the engine kills it."""
        return int((self.inspect.get("Config") or {}).get("StopTimeout") or 10)

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
    """An image that lies on the node. `config` is its Config document (Env, Cmd, Volumes, ...).

    digests: `sha256:...` under which registries know it; none where it came from no registry.
    """

    id: str
    architecture: str
    config: Mapping[str, Any]
    variant: str = ""
    digests: tuple[str, ...] = ()


@dataclass(frozen=True)
class RegistryImage:
    """What a registry has under a name; where it did not say, `problem` and what to type `next`.

    platforms: `amd64`, `arm/v7`, ...; none where the registry does not tell.
    """

    digest: str = ""
    platforms: tuple[str, ...] = ()
    problem: str = ""
    next: str = ""


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
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Option -> what this engine gives by itself, as far as it says so (`logging`: json-file)."""
    machine: str = ""
    """The kernel's word for the processor (`armv7l`), where the architecture is just `arm`."""


@dataclass(frozen=True)
class NodeFiles:
    """Files with the contents of secrets and configs: where they lie, and which are there as they
    must be (by name, see `plan_files.file_name`)."""

    directory: str = "/var/lib/otto/files"
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mount:
    """A path of the node that its owner lets containers mount, with all below it."""

    path: str
    read_only: bool = False


@dataclass(frozen=True)
class Policy:
    """What the node's owner allows on it (policy.py).

    allow: what -> whether, or for which services. problem: why the owner's file cannot be used;
    then nothing is allowed. real: path -> what it is once its links are followed, of the paths that
    are asked for; None where that cannot be seen. leaky: those of them where a read-only mount
    leaves writable what is mounted below. absent: those where nothing is.
    volumes, networks: by engine name, the engine's documents of those that the node has.
    containers: the same of those that services join, by name and by id.
    """

    allow: Mapping[str, bool | frozenset[str]] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    problem: str = ""
    real: Mapping[str, str | None] = field(default_factory=dict)
    leaky: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    volumes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    containers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def allows(self, key: str, service: str) -> bool:
        given = self.allow.get(key, False)
        return given if isinstance(given, bool) else service in given


@dataclass(frozen=True)
class Observed:
    """One look at a node.

    containers: every container with this cluster's label, and any other whose name a service
    of the target wants (so that a clash is told before anything is touched).
    images: by reference as the target writes it, and by id for those that containers run.
    networks, volumes: by engine name; those with this cluster's label and those the target names.
    registry: by reference, what the registry has; only for those that it was asked for.
    policy: what the node's owner allows; None where all is.
    now: the node's clock, as text that sorts beside the engine's times; "" where nobody looked.
    """

    containers: tuple[ObservedContainer, ...] = ()
    images: Mapping[str, ObservedImage] = field(default_factory=dict)
    networks: Mapping[str, ObservedObject] = field(default_factory=dict)
    volumes: Mapping[str, ObservedObject] = field(default_factory=dict)
    engine: Engine = Engine()
    registry: Mapping[str, RegistryImage] = field(default_factory=dict)
    files: NodeFiles = NodeFiles()
    policy: Policy | None = None
    now: str = ""


@dataclass(frozen=True)
class Change:
    """One difference of one option, as a person reads it.

    key: dotted, e.g. "environment.MODE", "ports", "image".
    old, new: text; None where there is none on that side. A change is only ever shown, so a secret
    in them is masked when it is made (`masking.shown`): no place that makes one can forget it.
    why: "file" (the file changed), "drift" (the node left its target) or "image" (new content
    under the same reference: old and new are `reference@digest`).
    """

    key: str
    old: str | None
    new: str | None
    why: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "old", shown(self.key, self.old))
        object.__setattr__(self, "new", shown(self.key, self.new))

    def with_known(self, secrets: Sequence[str]) -> Change:
        """Without these secrets too, where the option is people's own text."""
        old, new = (shown(self.key, text, secrets) for text in (self.old, self.new))
        return replace(self, old=old, new=new)

    def line(self) -> str:
        """`environment.MODE: dark -> light`, `labels.team: removed (was blue)`, ...

        `image: nginx:alpine (sha256:1f… -> sha256:58…) [image]`: one name, other content.
        """
        if self.old is None:
            text = f"{self.key}: added {self.new}"
        elif self.new is None:
            text = f"{self.key}: removed (was {self.old})"
        elif self.why == "image":
            name, _, old = self.old.rpartition("@")
            text = f"{self.key}: {name} ({old} -> {self.new.rpartition('@')[2]})"
        else:
            text = f"{self.key}: {self.old} -> {self.new}"
        return text + (f" [{self.why}]" if self.why != "file" else "")
