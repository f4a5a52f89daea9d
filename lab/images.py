# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the images of hosts and services from Debian's packages, each once per recipe."""

from __future__ import annotations

import os
import subprocess

from lab import apt
from lab.engine import SOCKET, docker
from lab.plan import (
    HOST_IMAGES,
    LABEL,
    SERVICE_IMAGES,
    STATE,
    Image,
    Rootfs,
    host_image_tag,
)
from lab.shell import LabError, attempt, run, say, side_by_side

_RECIPE = f"{LABEL}.recipe"


def ensure() -> None:
    """Every image of the plan exists in the engine; the root file systems grow side by side."""
    present = _recipes_by_tag()
    wanted = {host_image_tag(name): image for name, image in HOST_IMAGES.items()}
    wanted |= {image.tag: image for image in SERVICE_IMAGES}
    missing = {tag: image for tag, image in wanted.items() if present.get(tag) != image.digest}
    if not missing:
        return
    say(f"images: building {', '.join(missing)}")
    rootfs = {image.rootfs.tag: image.rootfs for image in missing.values()}
    bases = [base for base in rootfs.values() if base.tag not in present]

    def chain(base: Rootfs) -> None:
        if base in bases:
            _bootstrap(base)
        for tag, image in missing.items():
            if image.rootfs == base:
                _build(tag, image)

    side_by_side(chain, rootfs.values())


def remove() -> None:
    """Forget every image that the lab made."""
    services = {image.tag for image in SERVICE_IMAGES}
    tags = [tag for tag in _recipes_by_tag() if tag.startswith("otto-lab/") or tag in services]
    # Untagged ones are build stages and what an older recipe left behind.
    untagged = docker(
        "image", "ls", "--quiet", "--filter", f"label={_RECIPE}", "--filter", "dangling=true"
    ).split()
    kept = [
        name
        for name in [*tags, *dict.fromkeys(untagged)]
        if attempt("docker", "--host", SOCKET, "rmi", name).returncode != 0
    ]
    say(f"images: {len(tags) + len(untagged) - len(kept)} removed")
    if kept:
        say(f"images: kept, a container of yours uses them: {', '.join(kept)}")


def _recipes_by_tag() -> dict[str, str]:
    """Recipe digest by tag, for every image in the engine that the lab made."""
    listing = docker(
        "image", "ls", "--filter", f"label={_RECIPE}", "--format", "{{.Repository}}:{{.Tag}}"
    )
    tags = [tag for tag in dict.fromkeys(listing.split()) if "<none>" not in tag]
    if not tags:
        return {}
    recipes = docker(
        "image", "inspect", "--format", f'{{{{index .Config.Labels "{_RECIPE}"}}}}', *tags
    )
    return dict(zip(tags, recipes.split(), strict=True))


def _bootstrap(base: Rootfs) -> None:
    """mmdebstrap straight into `docker import`: no file of half a gigabyte in between."""
    log_path = STATE / f"{base.name}.log"
    options = [f"--aptopt={line}" for line in apt.settings()]
    if base.packages:
        options.append(f"--include={','.join(base.packages)}")
    make = ["mmdebstrap", "--format=tar", *base.options, *options, base.suite, "-"]
    take = [
        "docker", "--host", SOCKET, "import", "--change", f"LABEL {_RECIPE}={base.digest}",
        "-", base.tag,
    ]  # fmt: skip
    with (
        log_path.open("wb") as log,
        subprocess.Popen(
            [*make, *apt.sources(base.suite)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=log,
        ) as maker,
        subprocess.Popen(
            take, stdin=maker.stdout, stdout=subprocess.DEVNULL, stderr=log
        ) as taker,
    ):  # fmt: skip
        assert maker.stdout is not None
        maker.stdout.close()  # else mmdebstrap would not learn that the engine hung up
        outcome = (maker.wait(), taker.wait())
    if outcome != (0, 0):
        # A broken stream may have been imported: it must not pass for a root file system.
        if outcome[1] == 0:
            docker("rmi", base.tag)
        words = log_path.read_text(errors="replace").splitlines()[-8:]
        raise LabError("\n".join([f"{base.name} could not be built:", *words]), f"see {log_path}")
    say(f"images: {base.name} ready")


def _build(tag: str, image: Image) -> None:
    args = {image.base_arg: image.rootfs.tag, **image.args}
    build_args = [part for key, value in args.items() for part in ("--build-arg", f"{key}={value}")]
    # The legacy builder needs nothing besides the engine; BuildKit would need its plugin.
    # Host network: a build reaches the archive the way this machine does.
    run(
        "docker", "--host", SOCKET, "build", "--quiet", "--network", "host", *build_args,
        "--label", f"{_RECIPE}={image.digest}", "--tag", tag, str(image.context),
        timeout=900, env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )  # fmt: skip
    say(f"images: {tag} ready")
