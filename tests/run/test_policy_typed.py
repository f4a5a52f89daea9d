# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run policy init NODE` as it is typed."""

from __future__ import annotations

import yaml

from tests.run.conftest import Typed

OTTO_YAML = """
cluster: {name: home}
nodes:
  - {id: rpi-01, host: 127.0.0.2, user: pi, port: 2222}
  - {id: rpi-02, host: 127.0.0.3, user: root}
services:
  - {name: web, node: rpi-01, image: "nginx:alpine", pid: host, volumes: ["/srv/web:/a:ro"]}
  - {name: db, node: rpi-02, image: "redis:alpine", working_dir: /proc/self/fd/8}
"""


def test_it_is_printed_with_the_line_that_puts_it_there(typed: Typed) -> None:
    (typed.folder / "otto.yaml").write_text(OTTO_YAML)
    done = typed("policy", "init", "rpi-01")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout) == {
        "allow": {"mounts": [{"path": "/srv/web", "read_only": True}], "host_pid": ["web"]}
    }
    line = next(
        line for line in done.stdout.splitlines() if "otto-run policy init rpi-01 |" in line
    )
    assert "-p 2222" in line
    assert "pi@127.0.0.2 'sudo install -D -m 644 /dev/stdin /etc/otto/policy.yaml'" in line
    never = typed("policy", "init", "rpi-02")
    assert never.returncode == 1
    assert yaml.safe_load(never.stdout) == {"allow": {}}
    assert "db runs under no policy: working_dir /proc/self/fd/8" in never.stderr
    assert "Traceback" not in never.stderr


def test_a_node_that_is_none(typed: Typed) -> None:
    (typed.folder / "otto.yaml").write_text(OTTO_YAML)
    done = typed("policy", "init", "rpi-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "rpi-1 is no node of otto.yaml" in done.stderr
    assert "nearest   rpi-01" in done.stderr
