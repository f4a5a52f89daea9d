# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever has taken over the agent's user on a real host leads no apply out of its directory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..conftest import LabHost, wait_for
from ..e2e.conftest import Folder

pytestmark = [pytest.mark.slow, pytest.mark.hostile]
STATE = "/var/lib/otto"
CANARY = "canary-of-root-77ab"
OUTSIDE = "/root/otto-canary"
NAMES = (
    "target.json target.json.good target.json.bad journal.jsonl journal.jsonl.1 images.json pushed"
)
TRICKS = {
    "links to a file": f"ln -s {OUTSIDE}/file $n",
    "links to a directory": f"ln -s {OUTSIDE} $n",
    "links to nothing": f"ln -s {OUTSIDE}/new $n",
    "pipes": "mkfifo $n",
}


@pytest.fixture
def taken(
    tmp_path_factory: pytest.TempPathFactory, lab_hosts: dict[str, LabHost]
) -> Iterator[tuple[Folder, LabHost]]:
    """A node with an agent, and a file of root's."""
    folder = Folder(tmp_path_factory.mktemp("beneath"), "beneath")
    folder.document["nodes"] = folder.document["nodes"][:1]
    del folder.document["mqtt"]
    folder.document["configs"] = {"page": {"content": "hello"}}
    folder.document["services"] = {
        "be-web": {"image": "nginx:alpine", "node": "all", "configs": ["page"]}
    }
    folder.write()
    host = lab_hosts["rpi-01"]
    host.run(f"mkdir -m 700 -p {OUTSIDE}; echo {CANARY} > {OUTSIDE}/file; chmod 600 {OUTSIDE}/file")
    folder.ok("otto-run", "apply", "--accept-new-host-keys")
    yield folder, host
    host.run("systemctl kill -s CONT otto-agent", check=False)
    folder.run("otto-run", "down", "--yes")
    host.run(f"rm -rf {OUTSIDE}")


def as_otto(host: LabHost, command: str) -> None:
    host.run(f"runuser -u otto -- sh -c 'cd {STATE} && {command}'")


def hold_still(host: LabHost) -> None:
    """The agent would mend some of it first; it must not hold the lock while it stands still."""

    def free() -> bool:
        host.run("systemctl kill -s STOP otto-agent")
        if host.run(f"flock -n {STATE}/lock echo yes", check=False) == "yes":
            return True
        host.run("systemctl kill -s CONT otto-agent")
        return False

    wait_for(free, seconds=20, what="an agent that does nothing")


def outside(host: LabHost) -> str:
    return host.run(f"stat -c '%n %a %u %g %Y' {OUTSIDE} {OUTSIDE}/*; sha256sum {OUTSIDE}/*")


def test_an_apply_goes_nowhere_that_the_agent_leads_it(taken: tuple[Folder, LabHost]) -> None:
    """Nothing of root's is read, written, given away or removed; the apply is done, and heals."""
    folder, host = taken
    before = outside(host)
    for number, (trick, plant) in enumerate(TRICKS.items()):
        folder.document["services"]["be-web"]["labels"] = {"round": str(number)}
        folder.write()
        hold_still(host)
        as_otto(host, f"for n in {NAMES}; do rm -rf $n; {plant}; done")
        done = folder.run("otto-run", "apply", "-v")
        said = done.stdout + done.stderr
        host.run("systemctl kill -s CONT otto-agent")
        assert done.returncode == 0, (trick, said)
        assert CANARY not in said, trick
        assert outside(host) == before, trick
        assert host.run(f"grep -rlD skip {CANARY} {STATE}", check=False) == "", trick
        assert host.run(f"stat -c '%F %U' {STATE}/target.json") == "regular file otto", trick
    for place in ("revisions", "files", "lock"):
        hold_still(host)
        as_otto(host, f"mv {place} kept; ln -s {OUTSIDE} {place}")
        folder.document["services"]["be-web"]["labels"] = {"round": place}
        folder.write()
        done = folder.run("otto-run", "apply")
        said = done.stdout + done.stderr
        as_otto(host, f"rm {place}; mv kept {place}")
        host.run("systemctl kill -s CONT otto-agent")
        assert f"{STATE}/{place} is a symbolic link" in said, said
        assert done.returncode == 1
        assert outside(host) == before, place
    as_otto(host, f"rm -rf revisions files; ln -s {OUTSIDE} revisions; ln -s {OUTSIDE} files")
    folder.ok("otto-run", "down", "--yes")
    assert outside(host) == before
    assert host.run(f"ls {STATE}", check=False) == ""
