# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives the role `broker` what it writes, made of what the control machine keeps."""

from __future__ import annotations

# ruff: noqa: ARG002, E402 - Ansible's own shape: signature, documentation first

DOCUMENTATION = r"""
name: broker_files
short_description: Make the files of a cluster's Mosquitto
version_added: 0.1.0
description:
  - Returns accounts, access rules and certificate of the broker that C(mqtt.node) asks for.
  - Makes passwords, CA and certificate on the control machine where there are none yet.
  - Takes everything from what the inventory says of the host; facts of the host count for nothing.
  - What it returns is secret.
author:
  - The Otto authors (@otto-cluster)
options:
  _terms:
    description: Not used.
    required: false
"""

EXAMPLES = r"""
- name: Write the password file
  ansible.builtin.copy:
    content: "{{ lookup('otto.cluster.broker_files').passwords }}"
    dest: /etc/otto-broker/passwords
    mode: "0640"
  no_log: true
"""

RETURN = r"""
_raw:
  description: One dictionary with passwords, acl, and with TLS broker.crt and broker.key.
  type: list
  elements: dict
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Mqtt
from ansible_collections.otto.cluster.plugins.module_utils.cluster_tables import CONTROL
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.plugin_utils import mosquitto
from ansible_collections.otto.cluster.plugins.plugin_utils.credentials import Credentials
from ansible_collections.otto.cluster.plugins.plugin_utils.own import own
from ansible_collections.otto.cluster.plugins.plugin_utils.pki import Pki
from ansible_collections.otto.cluster.plugins.plugin_utils.state import state_root


class LookupModule(LookupBase):  # type: ignore[misc]
    """otto.cluster.broker_files"""

    def run(
        self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, str]]:
        self.set_options(var_options=variables, direct=kwargs)
        known = variables or {}
        try:
            mine = own(known)
            return [_files(str(mine["otto_cluster"]), mine["otto_mqtt"], known["groups"]["otto"])]
        except KeyError as error:
            raise AnsibleLookupError(f"the inventory says no {error} of the host") from error
        except OttoError as error:
            raise AnsibleLookupError(str(error)) from error


def _files(cluster: str, mqtt: dict[str, Any], nodes: list[str]) -> dict[str, str]:
    directory = state_root() / cluster
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    accounts = Credentials(directory).accounts([CONTROL, *map(str, nodes)])
    passwords = {name: account.password for name, account in accounts.items()}
    found = {
        "passwords": mosquitto.password_file(cluster, passwords),
        "acl": mosquitto.acl_file(cluster, map(str, nodes)),
    }
    wanted = Mqtt(**mqtt)
    if wanted.tls:
        pair = Pki(directory).broker(wanted.host)
        found["broker.crt"] = pair.certificate.read_text(encoding="ascii")
        found["broker.key"] = pair.key.read_text(encoding="ascii")
    return found
