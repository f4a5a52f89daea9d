# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: otto
short_description: The nodes of an otto.yaml as hosts
version_added: "0.1.0"
author:
  - The Otto authors (@otto-cluster)
description:
  - Reads a cluster file and gives one host for each node, with the connection variables that reach
    it and with O(ignore:otto_target), all that the node has to be.
  - A node without a user, or whose host is localhost, is this machine and is reached without SSH.
  - Files named C(otto.yaml), C(otto.yml), C(*.otto.yaml) and C(*.otto.yml) are read as they are;
    any other YAML file is if it says C(plugin) V(otto.cluster.otto). The file that C(otto-run) was
    given is one, whatever its name (the environment variable E(OTTO_FILE)).
  - Put C(otto.cluster.otto) first in C(enable_plugins) of C(ansible.cfg), and let the file say
    C(plugin) V(otto.cluster.otto). Else the C(yaml) plugin takes a file with a mistake in it for an
    inventory without hosts, and hides the mistake.
  - Values may hold C(${VAR}), C(${VAR:-default}) and C(!vault). Jinja in them stays text; only
    O(compose), O(groups) and O(keyed_groups) are templates.
  - Groups are C(otto), C(otto_local), C(otto_remote), C(label_<key>_<value>) and
    C(service_<name>); C(otto_waiting) is empty, until nodes wait in it for their batch of an
    update.
  - The whole format is described by the JSON Schema of C(otto.yaml).
options:
  plugin:
    description: Needed only where the file is not named as an otto.yaml is.
    type: str
    choices: [otto.cluster.otto, otto]
  untrusted:
    description:
      - Whether somebody else wrote the file. Then it gets what the other options here give, and no
        more; keys that lead to programs, templates or files of this machine are refused. Ansible
        itself still obeys an C(ansible.cfg) and plugins that lie where it is run; C(otto-run plan
        --untrusted) does not.
      - None of these options can be set in the file.
    type: str
    default: ""
    env: [{name: OTTO_UNTRUSTED}]
  variables:
    description: Names of variables of the environment that an untrusted file gets, with commas.
    type: str
    default: ""
    env: [{name: OTTO_VARIABLES}]
  known_hosts:
    description: The one file with host keys that counts for an untrusted file.
    type: str
    default: ""
    env: [{name: OTTO_KNOWN_HOSTS}]
  identity_files:
    description: Private keys that an untrusted file may name, with colons as in C(PATH).
    type: str
    default: ""
    env: [{name: OTTO_IDENTITY_FILES}]
  jumps:
    description: Jump hosts that an untrusted file may name, with blanks.
    type: str
    default: ""
    env: [{name: OTTO_JUMPS}]
  allow_files_from:
    description:
      - Folders that files may come from which the file names, besides its own folder; with colons
        as in C(PATH). Not for an untrusted file.
    type: str
    default: ""
    env: [{name: OTTO_ALLOW_FILES_FROM}]
extends_documentation_fragment:
  - constructed
"""

EXAMPLES = r"""
# otto.yaml: this machine and one Raspberry Pi
cluster:
  name: home-cluster

mqtt:
  host: 192.168.2.1
  port: 1883

nodes:
  - id: local
    host: localhost
  - id: rpi-01
    host: 192.168.2.7
    user: pi
    labels:
      zone: attic

services:
  - name: web
    image: nginx:alpine
    node: rpi-01
    ports:
      - "8080:80"

# Ansible's own keys for groups and variables work as in any constructed inventory.
keyed_groups:
  - key: otto_node.labels.zone
    prefix: zone

# ansible-inventory -i otto.yaml --graph
"""

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.parsing.vault import VaultLib
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.template import trust_as_template
from ansible_collections.otto.cluster.plugins.module_utils.caller import (
    ALLOW_FILES_FROM,
    IDENTITY_FILES,
    JUMPS,
    KNOWN_HOSTS,
    UNTRUSTED,
    VARIABLES,
    Caller,
)
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Cluster, Node
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import PLUGIN_NAMES
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    OttoError,
)
from ansible_collections.otto.cluster.plugins.module_utils.ssh_way import (
    GIVEN_KEYS,
    proxy,
    resolved,
    trusting,
)
from ansible_collections.otto.cluster.plugins.module_utils.target import (
    logins,
    targets,
)
from ansible_collections.otto.cluster.plugins.plugin_utils.host_key_file import Keeper
from ansible_collections.otto.cluster.plugins.plugin_utils.state import state_root

_NAMES = ("otto.yaml", "otto.yml")
_ENDINGS = (".otto.yaml", ".otto.yml")
_LOOK_INTO = (".yaml", ".yml")
_REMOTE_PYTHON = "/usr/bin/python3"
_REMOTE_STATE = "/var/lib/otto"
_OF_CALLER = {
    "untrusted": UNTRUSTED,
    "variables": VARIABLES,
    "known_hosts": KNOWN_HOSTS,
    "identity_files": IDENTITY_FILES,
    "jumps": JUMPS,
    "allow_files_from": ALLOW_FILES_FROM,
}
"""Options of this plugin, and the variables of the environment that they are."""


class InventoryModule(BaseInventoryPlugin, Constructable):
    """otto.yaml -> hosts, groups and host variables."""

    NAME = "otto.cluster.otto"

    def verify_file(self, path: str) -> bool:
        """Whether the file is Otto's: by its name, or because it says so."""
        if not super().verify_file(path) or Path(path).is_dir():
            return False
        if _named_by_otto_run(path):
            return True
        name = Path(path).name
        if name in _NAMES or name.endswith(_ENDINGS):
            return True
        return name.endswith(_LOOK_INTO) and _says_otto(Path(path))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self.set_options()
        try:
            caller = Caller.of({name: self.get_option(key) for key, name in _OF_CALLER.items()})
            if caller.untrusted and not caller.known_hosts:
                raise OttoError(
                    "an untrusted file reaches hosts alone whose keys are given",
                    next=f"{KNOWN_HOSTS}=FILE",
                )
            cluster = load_file(
                _shown(path), environ=os.environ, vault=_vault(loader), caller=caller
            )
            if cluster.known_hosts and not caller.untrusted:
                Keeper(cluster.known_hosts)
        except ClusterFileError as error:
            # The page starts on a line of its own: Ansible puts its own words before it.
            raise AnsibleParserError("otto.yaml is not usable\n" + str(error)) from None
        except OttoError as error:
            raise AnsibleParserError(str(error)) from None
        self._set_own_options(cluster.inventory)
        self._add_hosts(cluster)

    def _set_own_options(self, written: Mapping[str, Any]) -> None:
        # These keys are templates by their nature, and the file is the person's own.
        direct = {key: _trusted(value) for key, value in written.items() if value is not None}
        for entry in direct.get("keyed_groups", ()):
            # Ansible compares it with False: text would always be true.
            if isinstance(entry, dict) and "trailing_separator" in entry:
                entry["trailing_separator"] = _is_true(entry["trailing_separator"])
        self.set_options(direct=direct, var_options=self._vars)

    def _add_hosts(self, cluster: Cluster) -> None:
        known_hosts = cluster.known_hosts or str(state_root() / cluster.name / "known_hosts")
        documents = targets(cluster)
        ways = resolved(cluster.nodes)
        for name in ("otto", "otto_local", "otto_remote", "otto_waiting", "otto_broker"):
            self.inventory.add_group(name)
        if cluster.update.in_batches:
            self.inventory.set_variable("otto", "otto_update", _update(cluster))
        self.inventory.add_child("otto", "otto_local")
        self.inventory.add_child("otto", "otto_remote")
        mqtt = _mqtt(cluster)
        for node in cluster.nodes:
            host = self.inventory.add_host(node.id)
            if mqtt.get("node") == node.id:
                self.inventory.add_child("otto_broker", host)
            self.inventory.add_child("otto_local" if node.is_local else "otto_remote", host)
            variables = {
                **_connection(ways[node.id], known_hosts),
                "otto_node": {
                    "id": node.id,
                    "docker_url": node.docker_url,
                    "labels": dict(node.labels),
                    "local": node.is_local,
                },
                "otto_cluster": cluster.name,
                "otto_mqtt": mqtt,
                "otto_state_dir": _state_dir(node, cluster),
                "otto_target": documents[node.id].to_json(),
                "otto_registries": logins(cluster, node.id),
                "otto_keep_images": cluster.keep_images,
            }
            for key, value in variables.items():
                self.inventory.set_variable(host, key, value)
            for key, value in node.labels.items():
                self._into_group(host, f"label_{key}_{value}" if value else f"label_{key}")
        for service in cluster.services:
            for node_id in service.nodes:
                self._into_group(node_id, f"service_{service.name}")
        self._construct(cluster)
        if not any(node.id in self.inventory.hosts for node in cluster.nodes):
            raise AnsibleParserError(f"{cluster.file} gave no host at all")

    def _into_group(self, host: str, group: str) -> None:
        name = self.inventory.add_group(self._sanitize_group_name(group))
        self.inventory.add_child(name, host)

    def _construct(self, cluster: Cluster) -> None:
        strict = self.get_option("strict")
        for node in cluster.nodes:
            variables = self.inventory.get_host(node.id).get_vars()
            self._set_composite_vars(self.get_option("compose"), variables, node.id, strict)
            self._add_host_to_composed_groups(self.get_option("groups"), variables, node.id, strict)
            self._add_host_to_keyed_groups(
                self.get_option("keyed_groups"), variables, node.id, strict
            )


def _named_by_otto_run(path: str) -> bool:
    named = os.environ.get("OTTO_FILE", "")
    return bool(named) and Path(named).exists() and Path(path).samefile(named)


def _says_otto(path: Path) -> bool:
    """Whether a line at the left edge says `plugin: otto.cluster.otto`; nothing is parsed for it.

    A file that is not readable text is no file of ours.
    """
    with path.open("rb") as file:
        head = file.read(64 * 1024)
    for line in head.decode("utf-8", "replace").splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip("\ufeff\"'") == "plugin":
            return value.split(" #")[0].strip().strip("\"'") in PLUGIN_NAMES
    return False


def _shown(path: str) -> str:
    """As a person would type it: relative where that is shorter. It still opens the file."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _vault(loader: Any) -> Callable[[str], str] | None:
    """Decrypts with the secrets that Ansible was given; None where it was given none."""
    secrets = loader._vault.secrets
    if not secrets:
        return None

    def decrypt(ciphertext: str) -> str:
        try:
            plain: bytes = VaultLib(secrets).decrypt(ciphertext.encode("utf-8"))
            return plain.decode("utf-8")
        except AnsibleError as error:
            raise OttoError("no vault password fits", cause=str(error).split("\n")[0]) from error
        except UnicodeDecodeError as error:
            raise OttoError("what is encrypted is no text in UTF-8") from error

    return decrypt


def _trusted(value: Any) -> Any:
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: _trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_trusted(item) for item in value]
    return value


def _is_true(value: Any) -> bool:
    return str(value).strip().lower() in ("true", "yes", "on", "1")


def _state_dir(node: Node, cluster: Cluster) -> str:
    if node.state_dir:
        return node.state_dir
    if node.is_local:
        return str(state_root() / cluster.name / "nodes" / node.id)
    return _REMOTE_STATE


def _update(cluster: Cluster) -> dict[str, Any]:
    """How an update goes over the nodes; what P(otto.cluster.batches#filter) takes."""
    update = cluster.update
    canary = update.canary
    return {
        "nodes": [node.id for node in cluster.nodes],
        "parallelism": update.parallelism,
        "delay": update.delay,
        "max_failures": update.max_failures,
        "canary": canary if isinstance(canary, int) else list(canary),
    }


def _mqtt(cluster: Cluster) -> dict[str, Any]:
    """The arguments of Mqtt; empty where the file names no broker. The accounts of nodes are no
    variables: what is printed of a host never holds one."""
    if cluster.mqtt is None:
        return {}
    return {key: value for key, value in asdict(cluster.mqtt).items() if value is not None}


def _connection(node: Node, known_hosts: str) -> dict[str, Any]:
    if node.is_local:
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": node.python or sys.executable,
        }
    variables: dict[str, Any] = {
        "ansible_host": node.host,
        "ansible_port": node.port,
        "ansible_user": node.user,
        "ansible_python_interpreter": node.python or _REMOTE_PYTHON,
        "ansible_become": node.become,
        "ansible_ssh_common_args": _ssh_arguments(node, known_hosts),
    }
    if node.identity_file:
        variables["ansible_ssh_private_key_file"] = node.identity_file
    return variables


def _ssh_arguments(node: Node, known_hosts: str) -> str:
    words = trusting([known_hosts] if node.given_keys else [known_hosts, "~/.ssh/known_hosts"])
    quoted = f'"{words}"' if not set(words) & set("\"\\$`'") else shlex.quote(words)
    others = [*(GIVEN_KEYS if node.given_keys else ()), *proxy(node, words)]
    return " ".join([f"-o UserKnownHostsFile={quoted}", *map(shlex.quote, others)])
