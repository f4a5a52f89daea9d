# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs to a host is read from the inventory, whatever facts and variables are called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILE = """
plugin: otto.cluster.otto
cluster: {name: home}
mqtt: {host: 10.0.0.9}
nodes:
  - {id: here, host: localhost}
  - {id: there, host: 10.77.0.99, user: pi}
services:
  web: {image: nginx, node: here}
"""
LIAR = """#!/usr/bin/python
import json
print(json.dumps({"changed": False, "ansible_facts": {FACTS}}))
"""
PLAY = """
- hosts: here
  gather_facts: false
  tasks:
    - liar:
    - set_fact:
        otto_mqtt: {host: evil}
    - debug:
        msg:
          injected: "{{ otto_cluster }}"
          own: "{{ lookup('otto.cluster.own', 'otto_node', 'otto_cluster', 'otto_mqtt') }}"
          agent: "{{ lookup('otto.cluster.agent_wanted') }}"
          groups: "{{ groups['otto_remote'] | default([]) }}"
      register: told
    - copy:
        content: "{{ told.msg | to_json }}"
        dest: "{{ playbook_dir }}/told.json"
"""
HONEST = PLAY.replace("    - liar:\n", "").replace("evil", "10.0.0.9")


def told(folder: Path, play: str, liar: str = LIAR) -> dict[str, object]:
    (folder / "otto.yaml").write_text(FILE)
    (folder / "play.yml").write_text(play)
    (folder / "library").mkdir(exist_ok=True)
    (folder / "library/liar.py").write_text(liar)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "otto.yaml", "play.yml"],
        cwd=folder,
        env={
            **kept,
            "HOME": str(folder),
            "OTTO_STATE": str(folder / "state"),
            "PYTHONPATH": f"{ROOT}:{ROOT / '.links'}",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".links"),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "told.json").exists(), done.stdout + done.stderr
    found: dict[str, object] = json.loads((folder / "told.json").read_text())
    return found


def test_variables_of_a_play_change_nothing_of_a_host(tmp_path: Path) -> None:
    """What decides whose host it is comes from the inventory, whatever else is called the same."""
    lied = told(tmp_path, PLAY.replace("    - liar:\n", ""))
    honest = told(tmp_path, HONEST)
    for key in ("own", "agent", "groups"):
        assert lied[key] == honest[key], key


@pytest.mark.parametrize(
    "fact",
    [
        '"otto_node": {"id": "there", "local": False}',
        '"otto_mqtt": {}',
        '"inventory_hostname": "there"',
        '"group_names": ["otto_broker"]',
    ],
)
def test_facts_change_nothing_of_a_host(tmp_path: Path, fact: str) -> None:
    """Ansible lets a fact replace a variable, even the host's name: such a host gets nothing."""
    liar = LIAR.replace("FACTS", fact)
    with pytest.raises(AssertionError, match="are called like what Otto and Ansible go by"):
        told(tmp_path, PLAY, liar)


STEERED = """
- hosts: there
  gather_facts: false
  tasks:
    - liar:
      delegate_to: localhost
    - otto.cluster.node_info:
"""


@pytest.mark.parametrize("name", ["sftp_executable", "control_path", "host_key_checking"])
def test_facts_steer_no_connection(tmp_path: Path, name: str) -> None:
    """A fact that is called like an option of ssh would be one: a program of this machine."""
    mark = tmp_path / "ran-here"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    liar = LIAR.replace("FACTS", f'"ansible_{name}": "{program}"')
    with pytest.raises(AssertionError, match=f"they replace it: {name}"):
        told(tmp_path, STEERED, liar)
    assert not mark.exists()
