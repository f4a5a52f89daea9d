# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run adopt`: a container that somebody started by hand becomes a service's."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.answers import CONTAINER, renamed

from otto_run import agreed, lock, plans, processes, render
from otto_run.exits import Code, Stop, again
from otto_run.render import clean
from otto_run.session import LOOK, PLAN, Session, say


def adopt(
    here: Session,
    node: str,
    container: str,
    service: str,
    *,
    yes: bool,
    as_json: bool,
    accept: bool,
) -> Code:
    """service: "" for the one whose container has that name."""
    nodes = (here.one(node, "adopt"),)
    if not re.fullmatch(CONTAINER, container):
        raise Stop(
            Code.USAGE,
            f"adopt: {clean(container, 100)} is no name of a container\n"
            "    next      docker ps -a   (on the node: shows which there are)",
        )
    services = here.wanted[node]
    name = service or _of_that_name(services, container)
    with lock.hold(here.paths.lock, "otto-run adopt"):
        here.trust(nodes, accept=accept)
        processes.become_subreaper()
        if name not in services:
            as_named = () if service else ("--as", name)
            return _write_it_down(here, node, container, name, again(*as_named), as_json)
        variables: dict[str, Any] = {"otto_adopt": {node: {container: name}}}
        looked = here.play(PLAN, limit=nodes, check=True, variables=variables)
        failures = here.failures(looked)
        if failures:
            return agreed.refused(here, failures, as_json=as_json)
        (found,) = plans.of(looked, nodes)
        print(plans.shown([found]), file=sys.stderr if as_json else sys.stdout)
        agreed.agree(f"Let {name} take over {container}?", yes=yes)
        variables["otto_expect"] = {node: found.digest}
        outcome = here.deploy("adopt", limit=nodes, variables=variables)
    return agreed.told(here, outcome, here.failures(outcome), as_json=as_json)


def _of_that_name(services: Mapping[str, Mapping[str, Any]], container: str) -> str:
    for name, spec in services.items():
        if spec.get("container_name", name) == container:
            return name
    return container


def _write_it_down(
    here: Session, node: str, container: str, name: str, then: str, as_json: bool
) -> Code:
    """Print what to write into otto.yaml; nothing is changed. then: to be typed after that."""
    outcome = here.play(LOOK, limit=(node,), variables={"otto_container": container})
    failures = here.failures(outcome)
    if failures or node not in outcome.results:
        return agreed.refused(here, failures, as_json=as_json)
    result = outcome.results[node]
    taken = {*os.environ, *_dot_env(here.file.with_name(".env"))}
    names = _names(result.get("secrets") or (), name, taken)
    service = {**renamed(_dict(result.get("service")), names), "node": node}
    document: dict[str, Any] = {"services": {name: service}}
    if _is_list(here):
        document["services"] = [{"name": name, **service}]
    document.update({k: _dict(result[k]) for k in ("volumes", "networks") if result.get(k)})
    say(f"{here.file.name} has no service {name} on {node}. Add this to it:\n")
    if as_json:
        print(render.as_json(document), flush=True)
    else:
        print(_as_yaml(document), flush=True)
    for variable in names.values():
        say(f"\n{variable} sounds secret: put its value into .env, or under !vault.")
    for line in result.get("left") or ():
        say(f"\nNot in it, and lost when it is taken over: {clean(line, 300)}")
    say(f"\n    next      {then}")
    return Code.DONE


def _dot_env(file: Path) -> set[str]:
    """Names that may be variables of that file, whatever else is wrong with it."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text))


def _names(secrets: Iterable[str], service: str, taken: Collection[str]) -> dict[str, str]:
    """Variable of the node's service -> what it is called in otto.yaml.

    The node says how they are called. One that has a value here already would go to the node with
    the next apply, so it gets a name that nobody has.
    """
    found: dict[str, str] = {}
    for variable in secrets:
        mine = variable
        if mine in taken:
            prefix = re.sub(r"[^A-Z0-9_]", "_", service.upper()).lstrip("0123456789")
            mine = f"{prefix}_{variable}"
        while mine in taken or mine in found.values():
            mine += "_"
        found[variable] = mine
    return found


def _as_yaml(document: Mapping[str, Any]) -> str:
    """YAML that shows what it is: text that a terminal would not show as it stands is escaped."""
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    if not all(character.isprintable() or character == "\n" for character in text):
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=False)
    return text.rstrip()


def _is_list(here: Session) -> bool:
    """Whether the file has its services as a list: what is printed is to fit into it."""
    text = here.file.read_text(encoding="utf-8", errors="replace")
    return (
        re.search(r"(?m)^services:[ \t]*(?:#.*)?\n(?:[ \t]*(?:#.*)?\n)*[ \t]*-", text) is not None
    )


def _dict(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}
