# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node remembers of images: when a registry answered, what Otto brought, what was in use.

`images.json` in the state directory, 0640:

    {"format": 1, "asked": {reference: epoch s}, "brought": {image id: [reference]},
     "used": [[image id]]}

`used`: the sets that the cluster's containers ran on after each apply that reached its target and
changed them, oldest first. A file that cannot be read is an empty one: then nothing counts as
brought by Otto, and nothing is removed. `pushed/<hex of an image id>` holds the reference of an
image that `otto-run push` left; once a container has used it, it counts as brought.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from ansible_collections.otto.cluster.plugins.module_utils.beneath import opened, within
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.module_utils.model import (
    Observed,
    ObservedImage,
    RegistryImage,
    Spec,
    Target,
    canonical_json,
)
from ansible_collections.otto.cluster.plugins.module_utils.operations import Operation, RemoveImage
from ansible_collections.otto.cluster.plugins.module_utils.option_parsers_service import pull_age
from ansible_collections.otto.cluster.plugins.module_utils.plan import Plan
from ansible_collections.otto.cluster.plugins.module_utils.plan_images import superseded, to_ask

FORMAT = 1
_NAME = "images.json"
_SETS = 100
_LARGEST = 8 * 1024 * 1024
_ID = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,511}")


class Engine(Protocol):
    """What is asked of an engine (`engine.DockerEngine`)."""

    def ask(self, references: Collection[str]) -> Mapping[str, RegistryImage]: ...

    def image(self, reference: str) -> ObservedImage | None: ...

    def image_ids(self) -> frozenset[str]: ...

    def images_in_use(self) -> Mapping[str, frozenset[str]]: ...

    def execute(
        self, operation: Operation, progress: Callable[[str], None] | None = None
    ) -> bool: ...


@dataclass(frozen=True)
class Memory:
    """The document; see above."""

    asked: Mapping[str, float] = field(default_factory=dict)
    brought: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    used: tuple[tuple[str, ...], ...] = ()


def read(directory: Path) -> Memory:
    """What is remembered. The agent may write the file, and what it says was brought is removed one
    day: so an image is an id, and a name is the name of one."""
    with contextlib.suppress(
        OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError
    ):
        with within(directory) as folder:
            document = json.loads(folder.read(_NAME, _LARGEST) if folder is not None else b"{}")
        if document["format"] == FORMAT:
            asked = {_named(name): float(at) for name, at in document["asked"].items()}
            return Memory(
                {name: at for name, at in asked.items() if math.isfinite(at)},
                {
                    _identified(one): tuple(_named(name) for name in names)
                    for one, names in document["brought"].items()
                },
                tuple(
                    tuple(_identified(one) for one in images)
                    for images in document["used"][-_SETS:]
                ),
            )
    return Memory()


def _identified(image: str) -> str:
    return _like(_ID, image)


def _named(reference: str) -> str:
    return _like(_REFERENCE, reference)


def _like(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError
    return text


def write(directory: Path, memory: Memory) -> None:
    """Call it under the node's lock. Raises OttoError."""
    document = {
        "format": FORMAT,
        "asked": dict(memory.asked),
        "brought": {one: list(refs) for one, refs in memory.brought.items()},
        "used": [list(images) for images in memory.used[-_SETS:]],
    }
    try:
        content = (canonical_json(document) + "\n").encode("utf-8", "surrogatepass")
        with opened(directory, make=0o750) as folder:
            folder.replace(_NAME, content, 0o640)
    except OSError as error:
        raise OttoError(
            f"Cannot write images.json in {directory}",
            cause=error.strerror or str(error),
            next=typed("df -h {0}; ls -ld {0}", directory),
        ) from error


def _take_pushed(directory: Path, memory: Memory) -> Memory:
    """With the pushed images that a container uses or used; the others wait for their service."""
    used = {image for images in memory.used for image in images}
    with contextlib.suppress(OSError), within(directory / "pushed") as folder:
        if folder is None:
            return memory
        for note in folder.names():
            image = f"sha256:{note}"
            if image not in used:
                continue
            # What is no note of a push, or none that can be read, names no image.
            with contextlib.suppress(OSError, ValueError):
                text = folder.read(note, 600).decode().strip()
                memory = _brought(memory, image, _named(text))
            folder.remove(note)
    return memory


def _brought(memory: Memory, image: str, reference: str) -> Memory:
    names = tuple(sorted({*memory.brought.get(image, ()), *([reference] if reference else [])}))
    return replace(memory, brought={**memory.brought, image: names})


class Asking:
    """Asks the registries what they have, for one plan."""

    def __init__(
        self, engine: Engine, asked: Mapping[str, float] | None = None, *, absent: bool = False
    ) -> None:
        """asked: see `plan_images.to_ask`. absent: also for images that are missing on the node."""
        self._engine = engine
        self._asked = asked or {}
        self._absent = absent
        self.answers: Mapping[str, RegistryImage] = {}

    def look(self, observed: Observed, specs: Iterable[Spec]) -> Observed:
        """The same, with the registries' answers."""
        wanted = to_ask(specs, observed, asked=self._asked, now=time.time(), absent=self._absent)
        self.answers = self._engine.ask(wanted) if wanted else {}
        return replace(observed, registry=self.answers)

    def look_again(self, observed: Observed) -> Observed:
        """After the pulls: what the answers named is here now, and only the silent ones count."""
        silent = {name: answer for name, answer in self.answers.items() if answer.problem}
        return replace(observed, registry=silent)


class Keeper:
    """The images of one apply: what came, what is in use, what may go. Under the node's lock."""

    def __init__(self, engine: Engine, directory: Path, target: Target) -> None:
        self._engine = engine
        self._directory = directory
        self._cluster = target.cluster
        self._timed = {
            str(spec["image"])
            for spec in target.services.values()
            if pull_age(spec.get("pull_policy", "")) is not None
        }
        self._memory = read(directory)
        self._before: frozenset[str] = frozenset()
        self._pulled: frozenset[str] = frozenset()

    @property
    def asked(self) -> Mapping[str, float]:
        return self._memory.asked

    def begin(self, todo: Plan) -> None:
        """To be called before anything is pulled: what lies there already is not Otto's."""
        self._pulled = frozenset(pull.reference for one in todo.services for pull in one.pulls)
        if self._pulled:
            self._before = self._engine.image_ids()

    def end(
        self, answers: Mapping[str, RegistryImage], *, reached: bool, keep: int
    ) -> tuple[str, ...]:
        """Remember all that, and remove what is superseded if the target was reached.

        keep: see `plan_images.superseded`. Returns a line for each image that is gone.
        """
        memory = self._memory
        asked = dict(memory.asked)
        now = round(time.time(), 3)
        for reference, answer in answers.items():
            if answer.digest and reference in self._timed - self._pulled:
                asked[reference] = now
        for reference in sorted(self._pulled):
            image = self._engine.image(reference)
            if image is None:
                continue
            if image.id not in self._before:
                memory = _brought(memory, image.id, reference)
            answered = answers.get(reference)
            fresh = answered is None or answered.digest in image.digests
            if fresh and reference in self._timed:
                asked[reference] = now  # just pulled is as good as asked
        memory = replace(memory, asked=asked)
        gone: tuple[str, ...] = ()
        if reached:
            in_use = self._engine.images_in_use()
            present = tuple(sorted(in_use.get(self._cluster, ())))
            if memory.used[-1:] != (present,):
                memory = replace(memory, used=(*memory.used, present))
            memory = _take_pushed(self._directory, memory)
            memory, gone = prune(self._engine, memory, in_use, keep)
        if memory != self._memory:
            write(self._directory, memory)
        return gone


def to_prune(
    memory: Memory, in_use: Mapping[str, frozenset[str]], keep: int
) -> tuple[RemoveImage, ...]:
    """in_use: see `engine.DockerEngine.images_in_use`; keep: `plan_images.superseded`."""
    used = {image for images in in_use.values() for image in images}
    ids = superseded(memory.brought, memory.used, used, keep)
    return tuple(RemoveImage(image, memory.brought[image]) for image in ids)


def prune(
    engine: Engine, memory: Memory, in_use: Mapping[str, frozenset[str]], keep: int
) -> tuple[Memory, tuple[str, ...]]:
    """Remove what is superseded: the memory without it, and a line for each that is gone.

    One that the engine does not give up stays, and is tried again the next time.
    """
    brought, gone = dict(memory.brought), []
    for step in to_prune(memory, in_use, keep):
        with contextlib.suppress(OttoError):
            if engine.execute(step):
                gone.append(step.line())
            if engine.image(step.image) is None:
                del brought[step.image]
    return replace(memory, brought=brought), tuple(gone)
