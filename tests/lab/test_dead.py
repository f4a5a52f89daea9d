# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab whose checkout is gone, on the engine that the lab itself uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import dead
from lab.engine import docker
from lab.plan import HOST_IMAGES, LABEL, STATE, host_image_tag
from lab.shell import LabError

GONE = "/nowhere/otto/lab/.state"
NAME = "otto-lab-of-another"


@pytest.fixture
def another() -> Iterator[str]:
    """A host, a volume and a network of another checkout's lab; the host's name."""
    label = f"{LABEL}={GONE}"
    docker("network", "create", "--internal", "--label", label, NAME)
    docker("volume", "create", "--label", label, NAME)
    docker(
        "create", "--name", NAME, "--label", label, "--network", NAME, "--volume", f"{NAME}:/data",
        "--entrypoint", "sleep", host_image_tag(next(iter(HOST_IMAGES))), "600",
    )  # fmt: skip
    yield NAME
    for kind in ("container", "rm", "--force"), ("volume", "rm", "--force"), ("network", "rm"):
        if NAME in names():
            docker(*kind, NAME)


def names(owner: str = GONE) -> list[str]:
    """Names of what the lab of that state folder has on the engine."""
    label = f"label={LABEL}={owner}"
    return [
        *docker("ps", "--all", "--filter", label, "--format", "{{.Names}}").split(),
        *docker("volume", "ls", "--filter", label, "--format", "{{.Name}}").split(),
        *docker("network", "ls", "--filter", label, "--format", "{{.Name}}").split(),
    ]


def test_a_lab_that_no_longer_runs_is_removed_and_ours_is_not(another: str) -> None:
    """After a reboot, or with its checkout deleted, it stood in the way of `lab up`."""
    ours = names(str(STATE))
    assert names() == [another] * 3
    dead.clear()
    assert (names(), names(str(STATE))) == ([], ours)


def test_a_lab_that_runs_is_told_with_the_next_step_and_left_alone(another: str) -> None:
    """Two checkouts on one machine: neither takes the other's hosts away."""
    docker("start", another)
    with pytest.raises(LabError, match="another lab runs on this engine") as told:
        dead.clear()
    assert another in str(told.value) and "docker stop" in told.value.next_step
    assert names() == [another] * 3
