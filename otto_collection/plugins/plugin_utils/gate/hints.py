# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be shown as the next thing to type, of all that a node proposes. Pure.

A person pastes what stands there. So a node chooses among these texts and fills in names, and
nothing else that it says is ever shown as a command. A new hint of the core wants a line here; a
test reads the core and says which one is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.otto.cluster.plugins.plugin_utils.gate.shapes import Misfit, Reading
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.words import lines, one_line

_LIMIT = 2000
_RULE = r"[a-z_]{1,40}: \[[A-Za-z0-9_./+@:-]{0,299}\]"
SLOTS = {
    # the one that proposes it; see `allowed`
    "node": r"(?P<node>[A-Za-z0-9][A-Za-z0-9_.-]{0,254})",
    # of a container, a service, a node, a network, a volume, a cluster, a registry
    "name": r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,254}",
    "image": r"[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,299}",
    "path": r"/[A-Za-z0-9_./+@-]{0,299}",
    "url": r"(?:unix|tcp|http)://[A-Za-z0-9_./:\[\]-]{0,200}",
    "word": r"[A-Za-z0-9][A-Za-z0-9_/.-]{0,60}",
    "user": r"[A-Za-z0-9][A-Za-z0-9_.@+$-]{0,100}",
    # what to write under `allow` of a policy, one or several
    "rules": rf"{_RULE}(?:, {_RULE}){{0,40}}",
}
TEMPLATES = (
    "otto-run apply",
    "otto-run apply   (writes it anew)",
    "otto-run apply   (brings it anew)",
    "otto-run apply   (writes the file anew)",
    "otto-run apply   (sees it as root, and the agent remembers)",
    "otto-run apply   (as root on the node; df -h {path})",
    "otto-run apply   (brings what otto.yaml says)",
    "otto-run apply   (or ansible-playbook site.yml: both install it with the agent;"
    " without the agent: apt-get install python3-docker)",
    "otto-run plan --out plan.json",
    "otto-run adopt {node} {name}   (shows what to write into otto.yaml)",
    "otto-run adopt {node} {name} --as <another service>",
    "otto-run adopt {node} {name} --as {name}",
    "otto-run push {image}   (or on the node: docker pull {image})",
    "put otto.yaml back as it was then, and: otto-run apply",
    "images: {{keep: all}} in otto.yaml keeps every image to go back to",
    "remove the service from the otto.yaml of that cluster first",
    "rename {name}, or {name}",
    "remove it from the file, or upgrade Docker on this node",
    "write order: stop-first under deploy.update_config, or take away what forbids it",
    "write replicas: 1, or take away what forbids it",
    "add image=..., such as image=nginx:alpine",
    "set docker_url: unix:///var/run/docker.sock",
    'give it as text: target: "{{{{ otto_target | to_json }}}}"',
    'give it as text: registries: "{{{{ otto_registries | to_json }}}}"',
    "report this as a fault of Otto, with the line above",
    "take it out of otto.yaml, or on the node: sudoedit {path}",
    "take it out of otto.yaml, or on the node: sudoedit {path}; there, under allow: {rules}",
    "take it out of otto.yaml",
    "sudoedit {path}   (on the node)",
    "choose an image that is built for this node's architecture",
    "choose a tag of {image} that is built for {word}",
    "choose a tag of {image} that is built for {word}"
    " (or say platform: {word} where the node emulates it)",
    "check the tag of {image} in otto.yaml",
    "check the image's name; if it is private, add its registry to otto.yaml under registries,"
    " then: otto-run apply",
    "correct registries.{name} in otto.yaml, then: otto-run apply",
    "check command and entrypoint of the service in otto.yaml",
    "wait: the registry limits pulls   (a login under registries in otto.yaml may have more)",
    "docker logs {name}",
    "docker pull {image}",
    "docker restart {name}",
    "docker rm -f {name}",
    "docker ps -a   (on the node: shows which there are)",
    "docker ps -a   (remove it or give it another name)",
    "docker ps -a --filter volume=<volume>",
    "docker images   (then: otto-run apply)",
    "docker network create {name}",
    "docker network inspect <network>",
    "docker network ls   (choose another subnet)",
    "docker volume create {name}",
    "docker network rm {name}   (the next apply makes it anew), or put the file back",
    "docker volume rm {name}   (the next apply makes it anew), or put the file back",
    "docker events --since 10m --until 0m --filter container={name}",
    "docker -H {url} version",
    "systemctl status docker",
    "systemctl status docker; journalctl -u docker -n 50",
    "systemctl status docker   (sudo systemctl enable --now docker starts it)",
    "sudo usermod -aG docker $(id -un)   (then log in again), or set become: true",
    "journalctl -n 50",
    "journalctl -u docker -n 50",
    "journalctl -u otto-agent -n 50",
    "ss -ltnp   (who has the port), docker ps --format '{{{{.Names}}}} {{{{.Ports}}}}'",
    "df -h; docker system df; docker system prune",
    "df -h {path}; ls -ld {path}",
    "ls -ld {path}",
    "ls -l {path}",
    "ls -l {path}   (it must belong to the owner of {path})",
    "mkdir -p <that path> on the node",
    "wait for it and try again; who it is: fuser -v {path}",
    "pip uninstall docker-py; apt-get install python3-docker",
    "apt-get install python3-docker",
)


def _expression(template: str) -> str:
    """The template as a regular expression: `{name}` is a slot, `{{` a brace."""
    parts = re.split(r"(\{\{|\}\}|\{[a-z]+\})", template)
    braces = {"{{": r"\{", "}}": r"\}"}
    return "".join(
        braces.get(part)
        or (SLOTS[part[1:-1]] if re.fullmatch(r"\{[a-z]+\}", part) else "")
        or re.escape(part)
        for part in parts
    )


_KNOWN = [re.compile(_expression(template), re.ASCII) for template in TEMPLATES]


def allowed(text: str, node: str = "") -> str:
    """The hint, where it is one of Otto's own; "" for anything else.

    node: who proposes it, where that is known: then it names no other one.
    """
    if len(text) > _LIMIT:
        return ""
    for known in _KNOWN:
        if found := known.fullmatch(text):
            named = found.groupdict().get("node")
            return text if not (node and named) or named == node else ""
    return ""


@dataclass(frozen=True)
class Hint:
    """The shape of what is to be typed next; what is none of Otto's hints becomes ""."""

    def read(self, value: Any, where: str, reading: Reading) -> str:
        reading.count(where)
        if not isinstance(value, str):
            raise Misfit(f"{where}: no text")
        known = allowed(value)
        if value and not known:
            reading.dropped += 1
        return known


@dataclass(frozen=True)
class Message:
    """The shape of a message of several lines. From the second line on each is marked as a
    quotation, so that none looks like a line of Otto's own, such as what to type next."""

    limit: int

    def read(self, value: Any, where: str, reading: Reading) -> str:
        reading.count(where)
        if not isinstance(value, str):
            raise Misfit(f"{where}: no text")
        first, *rest = lines(value, self.limit).strip("\n").split("\n")[:_MOST_LINES]
        told = [one_line(line.removeprefix(_QUOTE), 400) for line in rest]
        return "\n".join([one_line(first, 1000), *(_QUOTE + line for line in told if line)])


_QUOTE = "    | "
_MOST_LINES = 60
