# SPDX-License-Identifier: GPL-3.0-or-later
"""What plain Ansible sees of otto.yaml, asked through Ansible's own command."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

FILE = """
cluster: {name: home}
mqtt: {host: 10.0.0.9, username: otto, password: pw}
nodes:
  - {id: here, host: localhost, labels: {zone: desk}}
  - id: rpi-01
    host: 10.0.0.1
    user: pi
    port: 2222
    identity_file: keys/id
    jump: gate
    labels: {zone: attic, flag: ""}
  - {id: gate, host: gate.lan, user: root, python: /opt/python, jump: "me@bastion:22"}
services:
  web:
    image: nginx
    node: [here, rpi-01]
    command: ["{{ nonsense }}", "{% raw %}"]
"""


def ansible(
    cwd: Path, program: str, *arguments: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / program), *arguments],
        cwd=cwd,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "OTTO_STATE": str(cwd / "state"),
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


def plain(value: Any) -> Any:
    """Ansible marks what it will not template; the mark proves that it will not."""
    if isinstance(value, dict):
        if set(value) == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def inventory(cwd: Path, name: str = "otto.yaml", *arguments: str, **environ: str) -> Any:
    done = ansible(cwd, "ansible-inventory", "-i", name, "--list", *arguments, **environ)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return plain(json.loads(done.stdout))


def groups(listed: Any) -> dict[str, set[str]]:
    return {
        name: set(group.get("hosts", ())) | set(group.get("children", ()))
        for name, group in listed.items()
        if name not in ("_meta", "all", "ungrouped")
    }


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("home")
    (directory / "otto.yaml").write_text(FILE)
    return directory, inventory(directory)


def test_groups(listed: Any) -> None:
    assert groups(listed[1]) == {
        "otto": {"otto_local", "otto_remote"},
        "otto_local": {"here"},
        "otto_remote": {"rpi-01", "gate"},
        "label_zone_desk": {"here"},
        "label_zone_attic": {"rpi-01"},
        "label_flag": {"rpi-01"},
        "service_web": {"here", "rpi-01"},
    }


def connection(listed: Any, host: str) -> Any:
    found = listed[1]["_meta"]["hostvars"][host]
    # ansible_local is Ansible's own doing.
    return {k: v for k, v in found.items() if k.startswith("ansible_") and k != "ansible_local"}


def test_local_connection(listed: Any) -> None:
    """Modules on this machine run on the Python that runs Ansible."""
    found = connection(listed, "here")
    assert Path(found.pop("ansible_python_interpreter")).samefile(sys.executable)
    assert found == {"ansible_connection": "local"}


def test_remote_connection(listed: Any) -> None:
    """Keys are found from the file's directory; the way goes through jump hosts in order."""
    directory = listed[0]
    known_hosts = directory / "state" / "home" / "known_hosts"
    assert connection(listed, "rpi-01") == {
        "ansible_host": "10.0.0.1",
        "ansible_port": 2222,
        "ansible_user": "pi",
        "ansible_become": True,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": str(directory / "keys" / "id"),
        "ansible_ssh_common_args": ANY,
    }
    words = shlex.split(connection(listed, "rpi-01")["ansible_ssh_common_args"])
    trusted = f"UserKnownHostsFile={known_hosts} ~/.ssh/known_hosts"
    assert words[:3] == ["-o", trusted, "-o"]
    # The jump host has its own ssh, with the same trust, and its own way.
    assert shlex.split(words[3].removeprefix("ProxyCommand=")) == [
        *("ssh", "-o", "BatchMode=yes", "-o", trusted, "-p", "22"),
        *("-o", "ProxyJump=me@bastion:22", "-W", "[%h]:%p", "root@gate.lan"),
    ]
    gate = connection(listed, "gate")
    assert gate["ansible_become"] is False
    assert gate["ansible_python_interpreter"] == "/opt/python"


def test_otto_variables(listed: Any) -> None:
    directory, found = listed
    here = found["_meta"]["hostvars"]["here"]
    assert here["otto_cluster"] == "home"
    assert here["otto_node"] == {
        "id": "here",
        "docker_url": "unix:///var/run/docker.sock",
        "labels": {"zone": "desk"},
        "local": True,
    }
    assert here["otto_mqtt"] == {
        "host": "10.0.0.9",
        "port": 8883,
        "username": "otto",
        "password": "pw",
        "keepalive": 30,
        "tls": True,
    }
    assert here["otto_state_dir"] == str(directory / "state" / "home" / "nodes" / "here")
    remote = found["_meta"]["hostvars"]["rpi-01"]
    assert remote["otto_state_dir"] == "/var/lib/otto"
    assert remote["otto_target"]["node"] == "rpi-01"
    assert list(remote["otto_target"]["services"]) == ["web"]


def test_jinja_in_values_is_never_rendered(tmp_path: Path) -> None:
    """What a service's command holds reaches the module as it was typed."""
    (tmp_path / "otto.yaml").write_text(FILE)
    done = ansible(
        tmp_path, "ansible", "here", "-i", "otto.yaml", "-m", "debug",
        "-a", "msg={{ otto_target.services.web.command | to_json }}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "{{ nonsense }}" in done.stdout
    assert "{% raw %}" in done.stdout


def test_constructed(tmp_path: Path) -> None:
    """Ansible's own keys work, here in a file that is Otto's only by its plugin key."""
    (tmp_path / "lab.yml").write_text(
        "plugin: otto.cluster.otto\n" + FILE + "strict: true\n"
        "compose: {shout: otto_node.id | upper}\n"
        "groups: {tall: inventory_hostname is match('^rpi')}\n"
        "keyed_groups: [{key: otto_node.labels, prefix: l, trailing_separator: false}]\n"
    )
    found = inventory(tmp_path, "lab.yml")
    assert found["_meta"]["hostvars"]["gate"]["shout"] == "GATE"
    assert groups(found)["tall"] == {"rpi-01"}
    assert groups(found)["l_flag"] == {"rpi-01"}
    assert groups(found)["l_zone_attic"] == {"rpi-01"}


def test_update(tmp_path: Path) -> None:
    """How an update goes over the nodes; without a word on it there is no such variable."""
    (tmp_path / "otto.yaml").write_text(FILE + "update: {canary: {zone: attic}, delay: 1m}\n")
    done = ansible(
        tmp_path, "ansible", "here", "-i", "otto.yaml", "-m", "debug",
        "-a", "msg={{ groups['otto'] | otto.cluster.batches(otto_update) | to_json }}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.dumps([["rpi-01"], ["here", "gate"]]) in done.stdout.replace("\\", "")
    found = inventory(tmp_path)["_meta"]["hostvars"]["gate"]["otto_update"]
    assert (found["delay"], found["max_failures"]) == (60.0, 0)
    (tmp_path / "otto.yaml").write_text(FILE + "update: {order: start-first}\n")
    assert "otto_update" not in inventory(tmp_path)["_meta"]["hostvars"]["gate"]


def test_vault(tmp_path: Path) -> None:
    """Ansible's vault password opens a value; without it the page says how to give one."""
    (tmp_path / "password").write_text("open sesame\n")
    encrypted = ansible(
        tmp_path, "ansible-vault", "encrypt_string", "--vault-password-file", "password", "s3cret"
    ).stdout
    (tmp_path / "otto.yaml").write_text(
        FILE + "    environment:\n      PW: " + encrypted.replace("\n", "\n        ") + "\n"
    )
    found = inventory(tmp_path, "otto.yaml", "--vault-password-file", "password")
    target = found["_meta"]["hostvars"]["here"]["otto_target"]
    assert target["services"]["web"]["environment"] == {"PW": "s3cret"}
    assert target["sensitive"] == {"web": ["PW"]}
    refused = ansible(tmp_path, "ansible-inventory", "-i", "otto.yaml", "--list")
    assert "--ask-vault-pass" in refused.stderr
    (tmp_path / "password").write_text("wrong\n")
    refused = ansible(
        tmp_path,
        *("ansible-inventory", "-i", "otto.yaml", "--list", "--vault-password-file", "password"),
    )
    assert "no vault password fits" in refused.stderr


def test_broken_file_shows_the_whole_page(tmp_path: Path) -> None:
    """With the project's ansible.cfg no other plugin takes a wrong otto.yaml for an empty one."""
    (tmp_path / "otto.yaml").write_text(
        FILE.replace("image:", "imagee:").replace("port: 2222", "port: 0")
    )
    done = ansible(tmp_path, "ansible-inventory", "-i", "otto.yaml", "--graph")
    assert done.returncode != 0
    assert "otto.yaml:9: nodes.rpi-01.port\n    is out of range\n" in done.stderr
    assert "otto.yaml:16: services.web.imagee\n" in done.stderr
    assert "2 problems in otto.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_foreign_file_is_left_alone(tmp_path: Path) -> None:
    """Another inventory with nodes in it is not Otto's."""
    (tmp_path / "hosts.yml").write_text("all: {hosts: {web: }}\n")
    done = ansible(
        tmp_path, "ansible-inventory", "-i", "hosts.yml", "--list",
        ANSIBLE_INVENTORY_ENABLED="otto.cluster.otto, yaml",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["ungrouped"]["hosts"]) == ["web"]
