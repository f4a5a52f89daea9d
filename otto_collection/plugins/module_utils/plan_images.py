# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: what the registry is asked, what is pulled, what is new, what does not fit. Pure.

`pull_policy` says when the registry is asked about an image that lies on the node:

    missing, never    not at all (never: it is not pulled either where it is missing)
    always, newer     at each apply
    daily, weekly, every_<duration>    at an apply, when the last answer is that old

What the registry has is known by its digest before anything is pulled, so that a plan is exact. One
that cannot be asked is told (`notes`) and is no failure while the image lies there; only `always`
insists, and pulls. An agent's sweep asks nobody and pulls only what is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from .errors import typed
from .image_names import pinned
from .model import Change, Engine, Observed, ObservedContainer, ObservedImage, Spec
from .operations import PullImage, TagImage
from .option_parsers_service import pull_age
from .plan_values import Trouble

NEVER, MISSING, ALWAYS, NEWER = "never", "missing", "always", "newer"

_SECOND = 10**9


def to_ask(
    specs: Iterable[Spec],
    observed: Observed,
    *,
    asked: Mapping[str, float],
    now: float,
    absent: bool,
) -> tuple[str, ...]:
    """The references that the registry is to be asked for, each once, sorted.

    asked: reference -> epoch seconds of the last answer that the node came up to. absent: also
    those that are not on the node (a plan shows what a pull would bring; an apply just pulls).
    """
    found = set()
    for spec in specs:
        reference, policy = str(spec["image"]), spec.get("pull_policy", MISSING)
        every = pull_age(policy)
        if policy == NEVER:
            continue
        if reference not in observed.images:
            wanted = absent or _refreshes(policy)
        elif pinned(reference):
            wanted = False  # the same for ever
        elif every is not None:
            # An answer out of the future is from a clock that was wrong.
            wanted = not 0 <= now - asked.get(reference, 0.0) < every / _SECOND
        else:
            wanted = policy in (ALWAYS, NEWER)
        if wanted:
            found.add(reference)
    return tuple(sorted(found))


def _refreshes(policy: str) -> bool:
    return policy in (ALWAYS, NEWER) or pull_age(policy) is not None


def pulls(spec: Spec, observed: Observed, *, refresh: bool, making: bool) -> tuple[PullImage, ...]:
    """What is to be pulled for a service. making: a container is to be made from the image."""
    reference, policy = str(spec["image"]), spec.get("pull_policy", MISSING)
    image, answer = observed.images.get(reference), observed.registry.get(reference)
    digest = answer.digest if answer is not None else ""
    asks = refresh and _refreshes(policy)
    if image is None:
        wanted = policy != NEVER and (making or asks)
        return (PullImage(reference, digest=digest),) if wanted else ()
    if not asks or pinned(reference) or digest in image.digests:
        return ()
    if digest or policy == ALWAYS:
        return (PullImage(reference, always=True, digest=digest),)
    return ()


def superseded(
    brought: Iterable[str],
    earlier: Sequence[Collection[str]],
    used: Collection[str],
    keep: int,
) -> tuple[str, ...]:
    """Image ids that may go. keep: how many sets before the present one stay; < 0: all of them.

    brought: those that Otto brought to the node. earlier: the sets that the cluster's containers
    used, oldest first, the present one last. used: those that any container uses.
    """
    if keep < 0:
        return ()
    kept = {image for images in earlier[-(keep + 1) :] for image in images} | set(used)
    return tuple(sorted(set(brought) - kept))


def ran(specs: Iterable[Spec], containers: Iterable[ObservedContainer]) -> dict[str, str]:
    """reference -> id of the image that its containers run: what a tag meant that may move."""
    names = {str(spec["image"]) for spec in specs}
    return {c.image: c.image_id for c in containers if c.image in names and not pinned(c.image)}


def as_they_were(
    images: Mapping[str, str], known: Mapping[str, ObservedImage], observed: Observed
) -> tuple[Observed, tuple[TagImage, ...], tuple[Trouble, ...]]:
    """What names meant earlier: what is there as if they meant it again, how they come to, and
    what is not on the node any more.

    images: reference -> id. known: id -> image, of those that are on the node.
    """
    seen = dict(observed.images)
    tags, notes = [], []
    for reference, image in sorted(images.items()):
        now = observed.images.get(reference)
        if now is not None and now.id == image:
            continue
        if image in known:
            seen[reference] = known[image]
            tags.append(TagImage(reference, image, now.id if now is not None else ""))
        else:
            notes.append(
                Trouble(
                    f"what {reference} was then ({short(image)}) is not on the node any more",
                    "it was superseded and removed; what the name means now is taken",
                    "images: {keep: all} in otto.yaml keeps every image to go back to",
                )
            )
    return replace(observed, images=seen), tuple(tags), tuple(notes)


def new_content(spec: Spec, container: ObservedContainer, observed: Observed) -> Change | None:
    """Other content under the same name than the container was made from, here or in the registry.

    Texts are `reference@digest`, shortened; `Change.line` tells them as one.
    """
    reference = str(spec["image"])
    own = observed.images.get(container.image_id)
    local, answer = observed.images.get(reference), observed.registry.get(reference)
    if local is None:
        return None
    if answer is not None and answer.digest and answer.digest not in local.digests:
        if own is not None and answer.digest in own.digests:
            return None
        new = answer.digest
    elif local.id != container.image_id:
        new = _content(local, local.id)
    else:
        return None
    old = _content(own, container.image_id)
    old, new = (f"{reference}@{short(digest)}" for digest in (old, new))
    return Change("image", old, new, "image")


def _content(image: ObservedImage | None, image_id: str) -> str:
    """The registry's name for the content, the engine's where it came from no registry."""
    return image.digests[0] if image is not None and image.digests else image_id


def short(digest: str) -> str:
    """`sha256:` and 12 hex digits."""
    head, colon, rest = digest.partition(":")
    return head + colon + rest[:12] if colon else digest[:12]


# --- what does not fit ---------------------------------------------------------------------------

_PLATFORMS = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "arm64/v8": "arm64",
    "arm": "arm/v7",
    "armhf": "arm/v7",
    "armv7l": "arm/v7",
    "armv8l": "arm/v7",
    "armel": "arm/v6",
    "armv6l": "arm/v6",
    "armv5l": "arm/v5",
    "i386": "386",
    "i686": "386",
}
_RUNS = {
    "amd64": {"386"},
    "arm64": {"arm/v8", "arm/v7", "arm/v6", "arm/v5"},
    "arm/v7": {"arm/v6", "arm/v5"},
    "arm/v6": {"arm/v5"},
}
"""What else a processor runs, as containerd has it."""


def platform(architecture: str, variant: str = "") -> str:
    """One name for what goes by several: `amd64`, `arm64`, `arm/v7`, `386`, ..."""
    name = architecture.lower()
    # Versions of amd64 differ in speed only, as far as anybody publishes them.
    whole = f"{name}/{variant.lower()}" if variant and name not in ("amd64", "x86_64") else name
    return _PLATFORMS.get(whole, whole)


def runs(engine: Engine, image: str) -> bool:
    """Whether an engine runs a platform. One that says nothing of itself runs everything."""
    own = {platform(name) for name in (engine.architecture, engine.machine) if name}
    return (
        not own or not image or any(image == name or image in _RUNS.get(name, ()) for name in own)
    )


def obstacle(spec: Spec, observed: Observed) -> Trouble | None:
    """Why no container can be made from the image."""
    reference = str(spec["image"])
    image, answer = observed.images.get(reference), observed.registry.get(reference)
    if image is None and spec.get("pull_policy") == NEVER:
        return Trouble(
            f"image {reference} is not on the node, and pull_policy is never",
            next=typed("otto-run push {0}   (or on the node: docker pull {0})", reference),
        )
    if "platform" in spec:
        return None  # the engine is told which one, or emulates it
    if answer is not None and answer.digest:
        newer = image is None or answer.digest not in image.digests
        offered = answer.platforms if newer else ()
    else:
        offered = ()
    if not offered and image is not None:
        offered = (platform(image.architecture, image.variant),)
    if not offered or any(runs(observed.engine, name) for name in offered):
        return None
    own = platform(observed.engine.architecture or observed.engine.machine)
    return Trouble(
        f"image {reference} is built for {', '.join(sorted(set(offered)))}, and this node is {own}",
        "a container of it would not start here; nothing was stopped for it",
        typed("choose a tag of {} that is built for {}", reference, own)
        + f" (or say platform: linux/{offered[0]} where the node emulates it)",
    )


def notes(observed: Observed) -> tuple[Trouble, ...]:
    """What the registry did not say, for each image that it was asked for in vain."""
    return tuple(
        Trouble(
            f"the registry does not say what it has under {reference}"
            + ("" if reference in observed.images else ", which is not on the node"),
            answer.problem,
            answer.next,
        )
        for reference, answer in sorted(observed.registry.items())
        if answer.problem
    )
