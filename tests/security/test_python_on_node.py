# SPDX-License-Identifier: GPL-3.0-or-later
"""`python:` on a real host: what a service could have written is run at no contact."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..conftest import LabHost
from ..e2e.conftest import Folder


@pytest.fixture
def node(
    tmp_path_factory: pytest.TempPathFactory, lab_hosts: dict[str, LabHost]
) -> Iterator[tuple[Folder, LabHost]]:
    folder = Folder(tmp_path_factory.mktemp("python"), "python")
    folder.document["nodes"] = folder.document["nodes"][:1]
    del folder.document["mqtt"]
    folder.document["services"] = {"py-web": {"image": "nginx:alpine", "node": "all"}}
    folder.write()
    host = lab_hosts["rpi-01"]
    host.run("rm -f /tmp/otto-ran; docker volume create py-data")
    yield folder, host
    host.run(
        "rm -rf /opt/py-env /usr/local/bin/py-* /usr/local/py-open /home/pi/py-* /tmp/otto-ran;"
        "docker rm -f py-writer; docker volume rm -f py-data",
        check=False,
    )
    del folder.document["nodes"][0]["python"]
    folder.write()
    folder.run("otto-run", "down", "--yes")


PROGRAM = '#!/bin/sh\\ntouch /tmp/otto-ran\\nexec /usr/bin/python3 "$@"\\n'
VOLUME = "/var/lib/docker/volumes/py-data/_data/python"
MADE = {
    "a link to a volume": (
        "/usr/local/bin/py-volume",
        f"ln -s {VOLUME} /usr/local/bin/py-volume",
        VOLUME.rpartition("/volumes")[0],
    ),
    "a link to a home": (
        "/usr/local/bin/py-home",
        f"printf '{PROGRAM}' > /home/pi/py-home; chmod 755 /home/pi/py-home;"
        " chown pi: /home/pi/py-home;"
        " ln -s /home/pi/py-home /usr/local/bin/py-home",
        "/home/pi",
    ),
    "a directory of everybody's": (
        "/usr/local/py-open/python",
        f"mkdir -m 1777 /usr/local/py-open; printf '{PROGRAM}' > /usr/local/py-open/python;"
        " chmod 755 /usr/local/py-open/python",
        "/usr/local/py-open",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.hostile
def test_a_host_runs_none_of_them_and_runs_what_is_roots(node: tuple[Folder, LabHost]) -> None:
    """First contact, plan, apply, doctor and push: nothing is run, and each one says why."""
    folder, host = node
    write = f'printf "{PROGRAM}" > /v/python; chmod 755 /v/python'.replace('"$@"', '\\"\\$@\\"')
    host.run(f"docker run --rm --name py-writer -v py-data:/v busybox:latest sh -c '{write}'")
    assert host.run(f"stat -c %u {VOLUME}") == "0", "who writes a volume is root on the host"
    folder.document["nodes"][0]["python"] = VOLUME
    folder.write()
    done = folder.run("otto-run", "plan", "--accept-new-host-keys")
    assert done.returncode == 2
    assert "beneath /usr, /bin or /opt" in done.stdout + done.stderr
    for python, make, where in MADE.values():
        host.run(make)
        folder.document["nodes"][0]["python"] = python
        folder.write()
        for command in (["plan"], ["apply", "--yes"], ["doctor"]):
            done = folder.run("otto-run", *command, "--accept-new-host-keys")
            assert done.returncode == 1, (python, command, done.stdout, done.stderr)
            assert where in done.stdout + done.stderr, (python, command, done.stdout)
            assert host.run("ls /tmp/otto-ran", check=False) == "", (python, command)
    host.run("python3 -m venv --without-pip /opt/py-env", timeout=120)
    folder.document["nodes"][0]["python"] = "/opt/py-env/bin/python3"
    folder.write()
    folder.ok("otto-run", "apply")
    folder.ok("otto-run", "apply")
    assert "/opt/py-env/bin/python3" in host.run("systemctl cat otto-agent")
    # Once all is there, the quick way is taken; what is changed then is not run either.
    host.run("chmod 777 /opt/py-env/bin")
    done = folder.run("otto-run", "apply")
    assert done.returncode == 1
    assert "/opt/py-env/bin may be written by others" in done.stdout
