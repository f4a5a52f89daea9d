# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What some keys of otto.yaml do on the control machine, where it is more than that a file or a
variable is read."""

from __future__ import annotations

from ansible_collections.otto.cluster.plugins.module_utils.reach import Reach, given, never

KNOWN_HOSTS_REACH = never(
    "host keys are read from the file, and one that you agree to is written to it",
    "names the file that says which hosts are trusted",
    "remove it: --known-hosts FILE says it",
)
BROKER_REACH = Reach("`doctor`, `status` and `up` connect to it, or listen there")
HOST_REACH = Reach(
    "SSH connects to it; localhost, or no user, is the control machine itself",
    "another machine, whose key `--known-hosts` has",
)
ENGINE_REACH = Reach("of a local node: Otto connects to it", "of another machine")
IDENTITY_REACH = given("SSH logs in with the key", "--identity-file")
JUMP_REACH = given("SSH goes through the host", "--jump")
PYTHON_REACH = never(
    "of a local node: the program is run",
    "names a program to run",
    "remove it: /usr/bin/python3 is taken",
)
STATE_REACH = never(
    "of a local node: Otto writes into the directory",
    "names a directory to write to",
    "remove it: /var/lib/otto is taken",
)
TEMPLATES = never(
    "its templates are run, and a template can run any program",
    "holds templates for Ansible, which can run any program",
    "remove it; groups label_<key>_<value> and service_<name> are there without it",
)
