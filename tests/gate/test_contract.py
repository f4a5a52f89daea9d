# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing that a node says comes in but through the gate: read off the code and the playbooks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.otto.cluster.plugins.plugin_utils.gate import answers

from tests.conftest import ROOT

COLLECTION = ROOT / "otto_collection"
ACTIONS = sorted((COLLECTION / "plugins/action").glob("*.py"))
ON_CONTROL_MACHINE = ("first_plan",)
"""Actions that call no node."""


def called(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        getattr(node.func, "id", getattr(node.func, "attr", ""))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }


def bases(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        getattr(base, "id", "")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name == "ActionModule"
        for base in node.bases
    }


@pytest.mark.parametrize("file", ACTIONS, ids=[file.stem for file in ACTIONS])
def test_an_action_calls_a_node_through_the_gate(file: Path) -> None:
    """An action of Otto's is a NodeAction, and none asks Ansible for a result by itself."""
    assert "_execute_module" not in called(file)
    if file.stem in ON_CONTROL_MACHINE:
        assert "_low_level_execute_command" not in called(file)
        return
    assert bases(file) == {"NodeAction"}
    assert f"otto.cluster.{file.stem}" in answers.SHAPES


def test_every_module_has_its_action() -> None:
    """A module without one would give its result to Ansible as it is."""
    modules = {file.stem for file in (COLLECTION / "plugins/modules").glob("*.py")}
    assert modules == {file.stem for file in ACTIONS}


def test_the_name_for_the_command_line_leads_to_the_same_action() -> None:
    """`ansible -m otto.container` takes the action too."""
    link = ROOT / ".links/action/otto.container.py"
    assert link.resolve() == COLLECTION / "plugins/action/container.py"


# ---- the playbooks

_CONTROL = (
    *("assert", "debug", "fail", "group_by", "import_playbook", "import_tasks", "include_role"),
    *("include_tasks", "meta", "pause", "set_fact"),
)
"""Of ansible.builtin, what is done on the control machine alone."""
_WORDS = {
    *("name", "when", "vars", "register", "loop", "loop_control", "changed_when", "failed_when"),
    *("check_mode", "no_log", "diff", "until", "retries", "delay", "block", "rescue", "always"),
    *("ignore_unreachable", "notify", "tags", "become"),
}


def tasks() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(COLLECTION.rglob("*.yml")):
        if not {"playbooks", "tasks", "handlers"} & set(file.parts):
            continue
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        for entry in document if isinstance(document, list) else []:
            yield from _within(file.relative_to(COLLECTION).as_posix(), entry)


def _within(place: str, entry: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if "hosts" in entry:
        for key in ("pre_tasks", "tasks", "post_tasks", "handlers"):
            for task in entry.get(key, ()):
                yield from _within(place, task)
        return
    yield f"{place}: {entry.get('name', '?')}", entry
    for key in ("block", "rescue", "always"):
        for task in entry.get(key, ()):
            yield from _within(place, task)


TASKS = list(tasks())


@pytest.mark.parametrize(("place", "task"), TASKS, ids=[place for place, _ in TASKS])
def test_a_task_calls_a_node_by_an_action_of_otto(place: str, task: dict[str, Any]) -> None:
    """What Ansible's own modules return from a node reaches nobody as it is."""
    actions = set(task) - _WORDS
    if "block" in task:
        assert not actions, place
        return
    (action,) = actions
    known = {f"otto.cluster.{file.stem}" for file in ACTIONS}
    assert action in known | {f"ansible.builtin.{name}" for name in _CONTROL}, place
    assert "delegate_to" not in task and "run_once" not in task, place


def test_no_file_of_tasks_is_named_by_a_variable() -> None:
    """A fact would choose a file of this machine, and Ansible would run it."""
    name = r"[\w.]+\.yml"
    choice = rf"\{{\{{ '{name}' if .+ else '{name}' \}}\}}"
    for place, task in TASKS:
        for action in ("include_tasks", "import_tasks", "include_role", "include_vars"):
            asked = task.get(f"ansible.builtin.{action}")
            if asked is None:
                continue
            file = asked if isinstance(asked, str) else asked.get("file") or asked.get("name")
            assert re.fullmatch(rf"(?:tasks/)?{name}|otto\.cluster\.\w+|{choice}", file), place


def test_no_role_has_defaults() -> None:
    """A fact wins over a default, and not over a variable of the role."""
    assert not list(COLLECTION.glob("roles/*/defaults/*"))


def test_the_tasks_are_found() -> None:
    """The reading of the playbooks above sees what it is to see."""
    assert len(TASKS) > 30


# ---- variables of the inventory

_OF_A_HOST = (
    *("otto_node", "otto_cluster", "otto_mqtt", "otto_state_dir", "otto_target"),
    *("otto_registries", "otto_keep_images", "otto_update"),
)


@pytest.mark.parametrize("name", _OF_A_HOST)
def test_no_playbook_reads_a_variable_that_a_fact_may_replace(name: str) -> None:
    """With `inject_facts_as_vars` a fact of that name wins over the inventory's variable."""
    for file in sorted(COLLECTION.rglob("*")):
        if file.suffix not in (".yml", ".j2") or "argument_specs" in file.name:
            continue
        for line in file.read_text(encoding="utf-8").splitlines():
            rest = line.split("#")[0].replace(f"lookup('otto.cluster.own', '{name}')", "")
            assert name not in rest, f"{file}: {line}"


# ---- the control plane

_READS_JSON = {
    "messages.py",  # MQTT: the gate of what comes over it
    "store.py",  # what went through `messages` before
    "lock.py",  # who holds it, written by Otto
    "saved.py",  # through its shape
    "push.py",  # the image of this machine's own engine
    "audit_file.py",  # what Otto wrote itself
}


def test_otto_run_reads_json_in_known_places() -> None:
    """A new place that reads JSON has to say whose it is."""
    found = {
        file.name
        for file in (ROOT / "otto_run").rglob("*.py")
        if {"loads", "load"} & called(file)
        and "import json" in file.read_text(encoding="utf-8")
        and "json.load" in file.read_text(encoding="utf-8")
    }
    assert found == _READS_JSON


def test_ansible_is_given_no_variable_but_by_the_file_that_marks_it() -> None:
    """ansible-runner's own `extravars` stand in argv, and ansible-core trusts them as templates."""
    for file in (ROOT / "otto_run").rglob("*.py"):
        assert "extravars=" not in file.read_text(encoding="utf-8"), file
