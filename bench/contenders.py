# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is measured, and the one command that each of them types for both phases.

Equal footing: the same hosts, images already on the nodes, root by sudo for everyone, host keys
checked by everyone, Ansible's connection settings from the checkout's ansible.cfg for everyone
who uses Ansible, no fact gathering. Each contender has its own directory of control sockets.
"""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.hosts import Shell, on_all
from bench.run import Command, run
from bench.workload import (
    Workload,
    docker_container_arguments,
    otto_file,
    pyinfra_arguments,
)

BENCH = Path(__file__).resolve().parent
CHECKOUT = BENCH.parent
OTHERS = BENCH / ".venv" / "bin"


@dataclass(frozen=True)
class Site:
    """Where a run takes place: the work, the hosts' key files, and a folder for what it writes."""

    work: Workload
    shell: Shell
    identity_file: Path
    known_hosts: Path
    folder: Path
    sockets: Path
    mqtt: tuple[str, int]


class Contender(ABC):
    """One way to do the work. `name` as the table shows it, `maker` as its label on containers."""

    name: str
    maker: str

    def __init__(self, site: Site) -> None:
        self.site = site
        self.folder = site.folder / self.maker
        self.folder.mkdir(parents=True, exist_ok=True)
        # A control socket's path may have about 100 characters: short names only.
        self.sockets = site.sockets / self.maker
        self.sockets.mkdir(exist_ok=True)

    @abstractmethod
    def command(self) -> Command:
        """What is timed: typed once for the first deploy, once more for the no-op."""

    def enter(self) -> None:  # noqa: B027 - most have nothing to do
        """Before its turn, untimed."""

    def leave(self) -> None:
        """After its turn, untimed: none of its containers is left."""
        on_all(self.site.work.nodes, lambda node: self.site.shell.remove(node, self.maker))

    def write(self, name: str, document: Any) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        return path

    def environment(self, **more: str) -> Mapping[str, str]:
        """The caller's environment without anything that would set up one of the contenders.

        A home of its own: otto-run keeps its control sockets below it, wherever others point.
        """
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("ANSIBLE_", "OTTO_", "PYINFRA_", "PYTHON", "MOLECULE_"))
        }
        home = {"HOME": str(self.sockets), "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.sockets)}
        return {**kept, **home, **more}


class Otto(Contender):
    """Otto; its two doors differ in the command only."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.programs = Path(sys.executable).parent
        self.file = self.write("otto.yaml", self._document(services=True))
        self.empty = self.write("empty/otto.yaml", self._document(services=False))

    def _document(self, *, services: bool) -> Any:
        document = otto_file(self.site.work, self.maker, self.site.identity_file, self.site.mqtt)
        document["cluster"]["known_hosts"] = str(self.site.known_hosts)
        if not services:
            document["services"] = []
        return document

    def environment(self, **more: str) -> Mapping[str, str]:
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        # One state for both doors: it is one user with one cluster.
        state = str(self.site.folder / "otto-state")
        return super().environment(OTTO_STATE=state, PATH=path, **more)

    @abstractmethod
    def apply(self, file: Path, **environment: str) -> Command:
        """Bring the cluster to what a file says."""

    def command(self) -> Command:
        return self.apply(self.file)

    def enter(self) -> None:
        on_all(
            self.site.work.nodes,
            lambda node: self.site.shell.run(node, "systemctl start otto-agent"),
        )

    def leave(self) -> None:
        """Through its own door, or the agents would put back what somebody else removes.

        Then the agents are stopped: the others shall not pay for Otto's.
        """
        run(self.apply(self.empty), self.folder / "leave.log")
        on_all(
            self.site.work.nodes,
            lambda node: self.site.shell.run(node, "systemctl stop otto-agent"),
        )


class OttoRun(Otto):
    name = "Otto, otto-run apply"
    maker = "otto-run"

    def apply(self, file: Path, **environment: str) -> Command:
        program = str(self.programs / "otto-run")
        return Command(
            (program, "apply", "--yes", "--file", str(file)),
            self.environment(**environment),
            self.folder,
        )


class OttoAnsible(Otto):
    name = "Otto, ansible-playbook"
    maker = "otto-ansible"

    def apply(self, file: Path, **environment: str) -> Command:
        program = str(self.programs / "ansible-playbook")
        config = str(CHECKOUT / "ansible.cfg")
        return Command(
            (program, "--inventory", str(file), "site.yml"),
            self.environment(ANSIBLE_CONFIG=config, **environment),
            CHECKOUT,
        )


class Community(Contender):
    name = "community.docker"
    maker = "community"

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        options = (
            f"-o UserKnownHostsFile={site.known_hosts} -o StrictHostKeyChecking=yes"
            " -o IdentitiesOnly=yes"
        )
        hosts = {
            node.id: {
                "ansible_host": node.address,
                "ansible_user": node.user,
                "ansible_ssh_private_key_file": str(site.identity_file),
                "ansible_ssh_common_args": options,
                "ansible_python_interpreter": "/usr/bin/python3",
            }
            for node in site.work.nodes
        }
        # .yml, so that Ansible's yaml plugin takes it (JSON is YAML).
        self.inventory = self.write("inventory.yml", {"bench": {"hosts": hosts}})
        containers = docker_container_arguments(site.work, self.maker)
        self.containers = self.write("containers.json", {"containers": containers})

    def command(self) -> Command:
        return Command(
            (
                str(OTHERS / "ansible-playbook"),
                *("--inventory", str(self.inventory)),
                *("--extra-vars", f"@{self.containers}"),
                str(BENCH / "community.yml"),
            ),
            self.environment(
                ANSIBLE_CONFIG=str(CHECKOUT / "ansible.cfg"),
                # The checkout's own plugins are not in bench/.venv; nothing of Otto is loaded.
                ANSIBLE_INVENTORY_ENABLED="yaml",
                ANSIBLE_COLLECTIONS_PATH=str(self.folder),
                ANSIBLE_LIBRARY=str(self.folder),
                PATH=f"{OTHERS}{os.pathsep}{os.environ['PATH']}",
            ),
            self.folder,
        )


class Pyinfra(Contender):
    name = "pyinfra"
    maker = "pyinfra"

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        data = {
            "ssh_user": None,
            "ssh_key": str(site.identity_file),
            "ssh_known_hosts_file": str(site.known_hosts),
            "ssh_strict_host_key_checking": "yes",
            "ssh_allow_agent": False,
            "ssh_look_for_keys": False,
        }
        self.document = self.write(
            "pyinfra.json",
            {
                "hosts": [
                    {"address": node.address, "data": {**data, "ssh_user": node.user}}
                    for node in site.work.nodes
                ],
                "containers": pyinfra_arguments(site.work, self.maker),
            },
        )

    def command(self) -> Command:
        return Command(
            (
                str(OTHERS / "pyinfra"),
                "--yes",
                "--sudo",
                str(BENCH / "pyinfra_inventory.py"),
                str(BENCH / "pyinfra_deploy.py"),
            ),
            self.environment(BENCH_PYINFRA=str(self.document)),
            self.folder,
        )


CONTENDERS: Sequence[type[Contender]] = (OttoRun, OttoAnsible, Community, Pyinfra)
