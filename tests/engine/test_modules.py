# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules as Ansible runs them: over SSH, on Docker 20.10 and on Docker 26.1."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.model import Target

from ..conftest import LAB_HOSTS, LAB_STATE, ROOT, LabHost

pytestmark = pytest.mark.lab
NODES = ("rpi-01", "rpi-02")
SDK = "/tmp/otto-test-sdk"
PACKAGES = ("docker", "requests", "urllib3", "idna", "certifi")


def sdk_archive() -> bytes:
    """The SDK of this environment, without compiled files, and a Python that finds it."""
    buffer = io.BytesIO()

    def pure(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if info.name.endswith((".so", ".pyc", "__pycache__")) else info

    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in PACKAGES:
            found = importlib.util.find_spec(name)
            assert found is not None
            assert found.origin is not None
            archive.add(Path(found.origin).parent, f"lib/{name}", filter=pure)
        script = f'#!/bin/sh\nPYTHONPATH={SDK}/lib exec /usr/bin/python3 "$@"\n'.encode()
        info = tarfile.TarInfo("python")
        info.mode, info.size = 0o755, len(script)
        archive.addfile(info, io.BytesIO(script))
    return buffer.getvalue()


class Nodes:
    """Both hosts, and the modules run on them by the `ansible` command from the checkout."""

    def __init__(self, hosts: dict[str, LabHost], inventory: Path) -> None:
        self.hosts = {name: hosts[name] for name in NODES}
        self.inventory = inventory

    def run(self, module: str, arguments: dict[str, Any] | str, *how: str) -> dict[str, Any]:
        """node -> result of the module; `failed` is in it where it failed."""
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible")), "all", "-m", module, "-a", text, *how],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_INVENTORY": str(self.inventory),
                "ANSIBLE_INVENTORY_ENABLED": "yaml",
                "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
                "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
                "ANSIBLE_NOCOLOR": "1",
            },
            capture_output=True,
            text=True,
            timeout=180,
        )
        results: dict[str, Any] = {}
        decoder = json.JSONDecoder()
        for name in NODES:
            for mark in ("CHANGED", "SUCCESS", "FAILED!"):
                head = f"{name} | {mark} => "
                if head in done.stdout:
                    start = done.stdout.index(head) + len(head)
                    results[name] = decoder.raw_decode(done.stdout, start)[0]
                    results[name]["failed"] = mark == "FAILED!"
        assert set(results) == set(NODES), done.stdout + done.stderr
        return results


@pytest.fixture(scope="module")
def nodes(
    lab_hosts: dict[str, LabHost], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    archive = sdk_archive()
    hosts = {}
    for name in NODES:
        subprocess.run(
            [
                *("ssh", "-F", str(LAB_STATE / "ssh_config"), LAB_HOSTS[name]),
                f"sudo rm -rf {SDK} && mkdir {SDK} && tar -C {SDK} -xz",
            ],
            input=archive,
            check=True,
            timeout=60,
        )
        hosts[name] = {"ansible_host": LAB_HOSTS[name]}
    variables = {
        "ansible_user": "pi",
        "ansible_become": True,
        "ansible_python_interpreter": f"{SDK}/python",
        "ansible_ssh_private_key_file": str(LAB_STATE / "id_ed25519"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={LAB_STATE / 'known_hosts'}",
    }
    inventory = tmp_path_factory.mktemp("nodes") / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}))
    yield Nodes(lab_hosts, inventory)
    for name in NODES:
        lab_hosts[name].run(f"rm -rf {SDK}")


@pytest.fixture
def name(nodes: Nodes) -> Iterator[str]:
    """A name that nobody else uses; containers and files that carry it go away afterwards."""
    unique = f"t{uuid.uuid4().hex[:8]}"
    yield unique
    for host in nodes.hosts.values():
        host.run(
            f"docker ps -aq --filter name={unique} | xargs -r docker rm -f;"
            f"docker network ls -q --filter name={unique} | xargs -r docker network rm;"
            f"docker volume ls -q --filter name={unique} | xargs -r docker volume rm;"
            f"rm -rf /tmp/{unique}"
        )


def each(results: dict[str, Any], key: str) -> set[Any]:
    """The values of a key of the result, one for all nodes if they agree."""
    return {result[key] for result in results.values()}


def test_node_info(nodes: Nodes) -> None:
    """Both hosts say what they are; the engine is asked without any SDK."""
    found = nodes.run("otto.cluster.node_info", "", "-e", "ansible_python_interpreter=python3")
    assert [found[node]["distribution"]["codename"] for node in NODES] == ["bookworm", "trixie"]
    assert [found[node]["docker"]["version"][:5] for node in NODES] == ["20.10", "26.1."]
    for result in found.values():
        assert result["docker"]["answers"]
        assert result["init"] == "systemd"
        assert result["disk"]["free"] > 0
        assert not result["changed"]
    nowhere = nodes.run("otto.cluster.node_info", "docker_url=unix:///run/none.sock")
    assert each({n: r["docker"] for n, r in nowhere.items()}, "answers") == {False}
    assert (
        nowhere["rpi-01"]["docker"]["error"] == "unix:///run/none.sock: No such file or directory"
    )


def test_container_by_the_line_of_the_readme(nodes: Nodes, name: str) -> None:
    """Check, real, again, again in check; then each state; the port answers."""
    line = f"name={name} image=nginx:alpine ports=127.0.0.1:18099:80 env=A=1,B=2"
    assert each(nodes.run("otto.container", line, "--check"), "changed") == {True}
    assert nodes.hosts["rpi-01"].container_id(name) == ""
    assert each(nodes.run("otto.container", line), "changed") == {True}
    assert "nginx" in nodes.hosts["rpi-02"].run(
        "python3 -c 'import urllib.request as u;"
        'print(u.urlopen("http://127.0.0.1:18099", timeout=5).read())\''
    )
    assert each(nodes.run("otto.container", line), "changed") == {False}
    assert each(nodes.run("otto.container", line, "--check"), "changed") == {False}

    before = nodes.hosts["rpi-01"].container_id(name)
    changed = nodes.run("otto.container", line.replace("B=2", "B=3"), "--check", "--diff")
    assert each(changed, "changed") == {True}
    assert nodes.hosts["rpi-01"].container_id(name) == before

    limited = nodes.run("otto.container", line + " mem_limit=64m")
    assert each(limited, "changed") == {True}
    for state, changes, becomes in (
        ("restarted", True, "running"),
        ("stopped", True, "exited"),
        ("stopped", False, "exited"),
        ("started", True, "running"),
        ("absent", True, "absent"),
        ("absent", False, "absent"),
        ("stopped", False, "absent"),
    ):
        if state != "restarted":
            foretold = nodes.run("otto.container", f"name={name} state={state}", "--check")
            assert each(foretold, "changed") == {changes}
        done = nodes.run("otto.container", f"name={name} state={state}")
        assert each(done, "changed") == {changes}, state
        assert {result["container"]["state"] for result in done.values()} == {becomes}
        if state == "started":
            limit = nodes.hosts["rpi-02"].run(
                f"docker inspect -f {{{{.HostConfig.Memory}}}} {name}"
            )
            assert limit == str(64 << 20)
    gone = nodes.run("otto.container", f"name={name}")
    assert each(gone, "failed") == {True}
    assert "no image is given" in gone["rpi-01"]["msg"]


def test_container_tells_all_that_is_wrong(nodes: Nodes, name: str) -> None:
    """Two faults in one call are told in one answer, each with what was expected."""
    wrong = nodes.run("otto.container", f"name={name} image=nginx:alpine ports=99999 restart=maybe")
    for result in wrong.values():
        assert result["failed"]
        assert "1 to 65535" in result["msg"]
        assert "unless-stopped" in result["msg"]
    stranger = f"docker run -d --name {name} busybox sleep 600"
    for host in nodes.hosts.values():
        host.run(stranger)
    for state in ("started image=nginx:alpine", "stopped", "restarted", "absent"):
        refused = nodes.run("otto.container", f"name={name} state={state}")
        assert each(refused, "failed") == {True}, state
        assert "is not Otto's" in refused["rpi-01"]["msg"]
    assert nodes.hosts["rpi-01"].container_id(name)


def test_target_from_nothing_to_nothing(nodes: Nodes, name: str) -> None:
    """The life of a target: check, apply, again, a failing update, down."""

    def target(**web: Any) -> dict[str, Any]:
        services = {
            "web": {"image": "nginx:alpine", "container_name": f"{name}-web", **web},
            "db": {"image": "redis:alpine", "container_name": f"{name}-db"},
        }
        network = {"default": {"name": f"{name}_default", "external": False}}
        document = Target(name, "node", services, network).to_json()
        return {"target": json.dumps(document), "state_dir": f"/tmp/{name}"}

    host = nodes.hosts["rpi-01"]
    check = nodes.run("otto.cluster.target", target(), "--check", "--diff")
    assert each(check, "changed") == {True}
    assert (
        host.run(f"ls -d /tmp/{name} 2>/dev/null; docker ps -aq --filter name={name}", check=False)
        == ""
    )

    first = nodes.run("otto.cluster.target", target())
    assert each(first, "changed") == {True}
    for result in first.values():
        services = result["report"]["services"]
        assert {service["state"] for service in services.values()} == {"running"}
        assert {service["verdict"] for service in services.values()} == {"create"}
    assert host.run(f"stat -c %a /tmp/{name}/target.json") == "640"
    again = nodes.run("otto.cluster.target", target(), "--diff")
    assert each(again, "changed") == {False}
    assert all(result["plan"]["empty"] for result in again.values())

    old = host.container_id(f"{name}-web")
    failing = nodes.run(
        "otto.cluster.target", target(command=["sh", "-c", "echo no such table; exit 3"])
    )
    for node, result in failing.items():
        assert result["failed"]
        assert result["msg"].startswith(f"{node}: web: Container {name}-web did not come up"), node
        assert "no such table" in result["msg"]
        assert f"docker logs {name}-web.otto-failed" in result["msg"]
    assert host.container_id(f"{name}-web") == old

    away = {"state": "absent", "state_dir": f"/tmp/{name}"}
    assert each(nodes.run("otto.cluster.target", away, "--check"), "changed") == {True}
    assert host.container_id(f"{name}-web") == old
    assert each(nodes.run("otto.cluster.target", away), "changed") == {True}
    assert host.run(f"docker ps -aq --filter name={name}; ls /tmp/{name}").split() == [
        "images.json",
        "journal.jsonl",
        "lock",
    ]
    assert each(nodes.run("otto.cluster.target", away), "changed") == {False}


def test_target_refuses_what_is_no_target(nodes: Nodes, name: str) -> None:
    """The page says what to write; the text, which may hold secrets, is not in it."""
    wrong = {"target": '{"format": 1, "password": "tr0ub4dor"}', "state_dir": f"/tmp/{name}"}
    for result in nodes.run("otto.cluster.target", wrong).values():
        assert result["failed"]
        assert "target has no cluster" in result["msg"]
        assert "to_json" in result["msg"]
        assert "tr0ub4dor" not in json.dumps(result)


def test_the_documentation_is_that_of_the_option_table() -> None:
    """What docs/generate.py would write stands in the module."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/generate.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
