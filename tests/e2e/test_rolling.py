# SPDX-License-Identifier: GPL-3.0-or-later
"""An update over six hosts, told in order: it stops at the first sick node, or goes through."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.conftest import LAB_OFFSET, LAB_STATE, LabHost
from tests.e2e.conftest import Folder

pytestmark = [pytest.mark.lab, pytest.mark.slow]

NAMES = tuple(f"rpi-{number + LAB_OFFSET:02d}" for number in range(4, 10))
CANARY, OTHERS = NAMES[0], NAMES[1:]
BATCHES = [NAMES[:1], NAMES[1:4], NAMES[4:]]
ENDS_AT_ONCE = ["sh", "-c", "exit 3"]


@dataclass(frozen=True)
class Seen:
    """What runs on a host. started: seconds since 1970. target: digest of target.json."""

    id: str
    image: str
    started: float
    target: str


@dataclass(frozen=True)
class Six:
    folder: Folder
    hosts: dict[str, LabHost]

    def seen(self) -> dict[str, Seen]:
        """The container `web` of each host."""
        form = "{{.Id}} {{.Config.Image}} {{.State.StartedAt}}"
        command = (
            f"docker inspect -f '{form}' web; date +%s.%N -d"
            " $(docker inspect -f '{{.State.StartedAt}}' web); sha256sum /var/lib/otto/target.json"
        )
        with ThreadPoolExecutor(6) as pool:
            texts = pool.map(lambda host: host.run(command).split(), self.hosts.values())
        return {
            name: Seen(text[0], text[1], float(text[3]), text[4])
            for name, text in zip(self.hosts, texts, strict=True)
        }

    def service(self, **keys: object) -> None:
        web = {"image": "nginx:alpine", "node": "all", "ports": ["8099:80"], **keys}
        self.folder.document["services"] = {"web": web}
        self.folder.write()


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Six]:
    """Six hosts of this test's own, all serving the same."""
    # A linked state directory is the lab of another checkout.
    place = LAB_STATE.resolve().parents[1]
    lab = [sys.executable, "-m", "lab"]
    subprocess.run(
        [*lab, "up", "--hosts", "0", "--fresh", *NAMES], cwd=place, check=True, timeout=180
    )
    try:
        hosts = {name: LabHost(name, f"10.77.0.{10 + int(name[-2:])}") for name in NAMES}
        folder = Folder(tmp_path_factory.mktemp("six"), "six")
        folder.document["nodes"] = [
            {
                "id": name,
                "host": host.address,
                "user": "pi",
                "identity_file": str(LAB_STATE / "id_ed25519"),
            }
            for name, host in hosts.items()
        ]
        made = Six(folder, hosts)
        made.service()
        folder.ok("otto-run", "apply", "--yes")
        folder.document["update"] = {"canary": 1, "parallelism": 3, "delay": "1s"}
        yield made
    finally:
        subprocess.run([*lab, "down", *NAMES], cwd=place, check=True, timeout=120)


def test_a_sick_canary_holds_the_others_back(six: Six) -> None:
    """The five are untouched, also on disk; on the canary the old container serves."""
    before = six.seen()
    six.service(command=ENDS_AT_ONCE)
    done = six.folder.run("otto-run", "apply", "--yes", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["failed"] == [CANARY]
    assert said["held_back"] == list(OTHERS)
    assert said["changed"] == [CANARY], "it was tried there, and put back"
    causes = {each["node"]: each["cause"] for each in said["failures"]}
    assert causes[OTHERS[0]] == f"{CANARY} failed, and update.max_failures is 0"
    after = six.seen()
    assert {name: after[name] for name in OTHERS} == {name: before[name] for name in OTHERS}
    assert after[CANARY].id == before[CANARY].id
    with urllib.request.urlopen(f"http://{six.hosts[CANARY].address}:8099/", timeout=5) as page:
        assert page.status == 200


def test_plain_ansible_holds_them_back_too(six: Six) -> None:
    before = six.seen()
    six.folder.ok("otto-run", "init", "--ansible")
    done = six.folder.run("ansible-playbook", "site.yml")
    assert done.returncode != 0
    held = re.findall(r"Held back, nothing was changed: (\S+) failed", done.stdout)
    assert held == [CANARY] * 5, done.stdout
    after = six.seen()
    assert {name: after[name] for name in OTHERS} == {name: before[name] for name in OTHERS}


def test_as_many_may_fail_as_the_file_says(six: Six) -> None:
    """One by one, though each batch fails as a whole: the second is one too many."""
    was = six.folder.document["update"]
    six.folder.document["update"] = {"parallelism": 1, "max_failures": 1}
    six.folder.write()
    done = six.folder.run("otto-run", "apply", "--yes", "--json")
    said = json.loads(done.stdout)
    assert (said["failed"], said["held_back"]) == (list(NAMES[:2]), list(NAMES[2:]))
    six.folder.document["update"] = was


def in_batches(six: Six, image: str) -> None:
    """Every node runs the image, and each batch began a pause after the one before had ended."""
    seen = six.seen()
    assert {each.image for each in seen.values()} == {image}
    for batch, following in itertools.pairwise(BATCHES):
        ended = max(seen[name].started for name in batch)
        assert min(seen[name].started for name in following) > ended + 1, seen


def test_a_good_update_goes_through_in_order(six: Six) -> None:
    six.service(image="nginx:1.27-alpine")
    said = json.loads(six.folder.ok("otto-run", "apply", "--yes", "--json"))
    assert (said["changed"], said["held_back"]) == (list(NAMES), [])
    in_batches(six, "nginx:1.27-alpine")


def test_rollback_goes_the_same_way(six: Six) -> None:
    six.folder.ok("otto-run", "rollback", "1", "--yes")
    in_batches(six, "nginx:alpine")
    assert "nothing to do" not in six.folder.ok("otto-run", "plan").lower()
