# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's plan: what is decided before anything is started."""

from __future__ import annotations

import dataclasses
import shutil
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from lab import plan


def test_the_three_default_hosts_are_the_documented_ones() -> None:
    """rpi-01 bookworm, rpi-02 trixie, rpi-03 bookworm without Docker."""
    assert [(h.name, h.address, h.image) for h in plan.hosts(3)] == [
        ("rpi-01", "10.77.0.11", "host-bookworm-docker"),
        ("rpi-02", "10.77.0.12", "host-trixie-docker"),
        ("rpi-03", "10.77.0.13", "host-bookworm-bare"),
    ]


def test_further_hosts_alternate_and_all_have_docker() -> None:
    """From rpi-04 on, even hosts are trixie and odd ones bookworm, each with an engine."""
    further = plan.hosts(20)[3:]
    assert {h.image for h in further[0::2]} == {"host-trixie-docker"}
    assert {h.image for h in further[1::2]} == {"host-bookworm-docker"}


def test_the_largest_lab_fits_into_its_network() -> None:
    """No two hosts share an address or a volume, and none has the gateway's address."""
    hosts = plan.hosts(plan.MOST_HOSTS)
    addresses = {ip_address(h.address) for h in hosts}
    volumes = {volume for h in hosts for volume in h.volumes.values()}
    assert len(addresses) == plan.MOST_HOSTS
    assert len(volumes) == 2 * plan.MOST_HOSTS
    assert ip_address(plan.GATEWAY) not in addresses
    assert all(address in ip_network(plan.SUBNET) for address in addresses)


@pytest.mark.parametrize("number", [1, 3, 42])
def test_a_name_leads_back_to_its_host(number: int) -> None:
    """`host_named` is the inverse of `host`."""
    assert plan.host_named(plan.host(number).name) == plan.host(number)


@pytest.mark.parametrize("name", ["rpi-0", "rpi-00", "rpi-1", "rpi-100", "web", "rpi-ab", ""])
def test_what_is_no_host_name_is_refused(name: str) -> None:
    """A typing error is told, never taken for another host."""
    with pytest.raises(ValueError):
        plan.host_named(name)


def test_an_image_is_built_again_exactly_when_its_recipe_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest follows files, arguments and packages, and not where the checkout lies."""
    image = plan.HOST_IMAGES["host-bookworm-docker"]
    before = image.digest
    shutil.copytree(plan.ROOMS / "images", tmp_path / "images")
    monkeypatch.setattr(plan, "ROOMS", tmp_path)
    assert image.digest == before

    other_rootfs = dataclasses.replace(image.rootfs, packages=(*image.rootfs.packages, "curl"))
    changed = {
        dataclasses.replace(image, args={"DOCKER_PACKAGES": "docker.io curl"}).digest,
        dataclasses.replace(image, rootfs=other_rootfs).digest,
    }
    script = tmp_path / "images" / "host" / "first-process.sh"
    script.chmod(0o644)
    changed.add(image.digest)
    script.write_text(f"{script.read_text()}\n# changed\n")
    changed.add(image.digest)
    assert len(changed | {before}) == 5


def test_known_hosts_name_a_host_by_name_and_address() -> None:
    """SSH by either finds the key; a comment in the public key is left out."""
    text = plan.known_hosts_lines(
        {"rpi-02": "ssh-ed25519 BBBB rpi-02", "rpi-01": "ssh-ed25519 A x"}
    )
    assert text == "rpi-01,10.77.0.11 ssh-ed25519 A\nrpi-02,10.77.0.12 ssh-ed25519 BBBB\n"
