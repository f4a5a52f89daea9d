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
print(json.dumps({"changed": False, "ansible_facts": {
    "otto_node": {"id": "there", "docker_url": "unix:///evil", "local": False},
    "otto_cluster": "../../evil", "otto_state_dir": "/evil", "otto_mqtt": {"host": "evil"},
    "hostvars": {}, "groups": {"otto_remote": ["here"]},
}}))
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


def test_facts_change_nothing_of_a_host(tmp_path: Path) -> None:
    """With Ansible's default settings a fact replaces a variable, and Otto does not look at it."""
    lied = told(tmp_path, PLAY)
    assert lied["injected"] == "../../evil"
    honest = told(tmp_path, HONEST)
    assert honest["injected"] == "home"
    for key in ("own", "agent", "groups"):
        assert lied[key] == honest[key], key
    assert not (tmp_path.parent / "evil").exists()


def test_a_host_that_calls_itself_another_one_is_refused(tmp_path: Path) -> None:
    """Ansible lets a fact replace inventory_hostname: the host would get the other's account."""
    (tmp_path / "named").mkdir()
    with pytest.raises(AssertionError, match="gives itself the name of another one"):
        told(
            tmp_path / "named",
            PLAY,
            LIAR.replace('"hostvars"', '"inventory_hostname": "there", "hostvars"'),
        )
