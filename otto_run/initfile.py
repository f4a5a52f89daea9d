# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the first otto.yaml of a cluster, commented, and valid as it stands."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed

from otto_run.exits import Code, Stop

SCHEMA = ".otto/schema.json"

_OTTO_YAML = """\
# yaml-language-server: $schema={schema}
# Otto's cluster file. Next: change the addresses, then `otto-run doctor`, `otto-run apply`.
plugin: otto.cluster.otto # so that plain Ansible can read this file too: ansible -i {file} ...

cluster:
  name: home-cluster

# The broker to which the nodes' agents report, with TLS and a password for each. `otto-run up`
# is the broker itself when this address is its machine's and nothing answers there.
mqtt:
  host: {address} # this machine, as the nodes see it
  # node: rpi-01 # instead of host: install Mosquitto on this node, which is always on

nodes:
  - id: local
    host: localhost # no SSH needed; its agent runs while `otto-run up` does

  - id: rpi-01
    host: 192.168.2.7
    user: pi # an SSH login with a key, and sudo without a password
    # port: 22
    # identity_file: ~/.ssh/id_ed25519
    # jump: user@gateway # go through another host
    # labels: {{zone: attic}} # to place services by
    # docker_url: unix:///var/run/docker.sock

# Keys of a service are those of compose. `node` says where it runs:
# an id, a list of ids, labels ({{zone: attic}}), or all.
services:
  - name: test-nginx
    image: nginx:alpine
    node: rpi-01
    ports:
      - "8080:80"
    environment:
      NGINX_HOST: localhost

  - name: test-redis
    image: redis:alpine
    node: local
    command: redis-server --appendonly yes
    volumes:
      - redis-data:/data
    healthcheck: # an update counts only when this says so; else the old one is put back
      test: [CMD, redis-cli, ping]
      interval: 5s
      timeout: 3s
      retries: 3

volumes:
  redis-data: {{}}
"""

_SITE_YML = """\
---
# `ansible-playbook site.yml`: the same result as `otto-run apply`.
- name: Bring every node to its target
  ansible.builtin.import_playbook: otto.cluster.site
"""

_ANSIBLE_CFG = """\
# Lets `ansible-playbook site.yml` work as typed in this folder.
[defaults]
inventory = {file}
gathering = explicit
inject_facts_as_vars = False
retry_files_enabled = False
forks = 25

[inventory]
# Not the yaml plugin: it would read `nodes:` as an empty group, without a word.
enable_plugins = otto.cluster.otto, host_list, script, auto
any_unparsed_is_failed = True

[ssh_connection]
pipelining = True
ssh_args = -o ControlMaster=auto -o ControlPersist=60s
"""


def own_address() -> str:
    """This machine's address on the way out; connecting UDP looks up a route and sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "192.168.2.1"


def write(path: Path, *, ansible: bool, say: Callable[[str], None]) -> None:
    """Write otto.yaml (with `ansible` also site.yml and ansible.cfg); nothing is overwritten.

    With `ansible` an otto.yaml that is there is kept, as what is asked for then are the other two.
    Raises Stop when there is nothing left to write.
    """
    folder = path.parent
    wanted = {path: _OTTO_YAML.format(schema=SCHEMA, file=path.name, address=own_address())}
    if ansible:
        wanted[folder / "site.yml"] = _SITE_YML
        wanted[folder / "ansible.cfg"] = _ANSIBLE_CFG.format(file=path.name)
    there = [file for file in wanted if file.exists() or file.is_symlink()]
    if len(there) == len(wanted):
        names = " and ".join(str(file) for file in there)
        raise Stop(
            Code.USAGE,
            f"{names} {'are' if len(there) > 1 else 'is'} there already; nothing is overwritten\n"
            f"    next      {typed('otto-run plan -f {}', path)}",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in wanted.items():
            if file in there:
                say(f"{file} is there already and stays as it is")
                continue
            with file.open("x", encoding="utf-8") as stream:
                stream.write(text)
            say(f"Wrote {file}")
        _write_schema(folder / SCHEMA)
    except OSError as error:
        raise OttoError(
            f"Cannot write to {folder}",
            cause=error.strerror or str(error),
            next=typed("ls -ld {}", folder),
        ) from error
    if path not in there:
        doctor = "otto-run doctor" + ("" if str(path) == "otto.yaml" else f" -f {path}")
        say(f"Next: change the addresses in {path.name}, then type: {doctor}")


def _write_schema(file: Path) -> None:
    """For editors. Generated, so a newer one may take its place."""
    from ansible_collections.otto.cluster.plugins.module_utils.cluster_schema import schema

    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")
