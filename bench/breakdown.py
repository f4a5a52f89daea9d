# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the time of Otto's no-op goes: each step of it measured alone, and the tasks inside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.contenders import BENCH, Otto, OttoAnsible, OttoRun
from bench.hosts import BenchError
from bench.run import Command, run
from bench.table import Sample, markdown


@dataclass(frozen=True)
class Task:
    """One task of one run: seconds from its start to the last host's result."""

    name: str
    seconds: float
    on_node: float | None
    """the slowest node's own work in seconds, as its report says"""


def measure(otto: OttoRun, plain: OttoAnsible, rounds: int) -> str:
    """Two Markdown tables. The hosts hold the services of `otto` already: everything is a no-op."""
    file = otto.file
    python = str(otto.programs / "python")
    empty_play = plain.folder / "empty.yml"
    empty_play.write_text("- name: Nothing\n  hosts: all\n  gather_facts: false\n")
    ping = plain.folder / "ping.yml"
    ping.write_text(
        "- name: One round trip\n  hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - name: Look whether the node answers\n      ansible.builtin.raw: 'true'\n"
        "      changed_when: false\n"
    )

    def alone(*arguments: str) -> Command:
        return Command((python, *arguments), otto.environment(), otto.folder)

    def playbook(path: Path) -> Command:
        site = plain.apply(file)
        return Command((*site.arguments[:-1], str(path)), site.environment, site.directory)

    steps: dict[str, Command] = {
        "python -c pass": alone("-c", "pass"),
        "import otto_run.cli": alone("-c", "import otto_run.cli"),
        "otto-run --help": _otto(otto, "--help"),
        "ansible-playbook --version": _ansible(plain, "--version"),
        "empty play over the inventory of otto.yaml": playbook(empty_play),
        "the same with one raw task (warm SSH)": playbook(ping),
        "ansible-playbook site.yml, no-op": plain.apply(file),
        "otto-run plan, no-op": _otto(otto, "plan", "--file", str(file)),
        "otto-run apply --yes, no-op": otto.apply(file),
    }
    samples: dict[str, list[Sample]] = {name: [] for name in steps}
    for _ in range(rounds):
        for number, (name, command) in enumerate(steps.items()):
            samples[name].append(run(command, otto.folder / f"breakdown-{number}.log"))
    lines = [["step", "median s", "controller CPU s"]]
    for name, taken in samples.items():
        wall = median(sample.wall for sample in taken)
        cpu = median(sample.cpu for sample in taken)
        lines.append([name, f"{wall:.2f}", f"{cpu:.2f}"])

    log = plain.folder / "timings.jsonl"
    run(
        plain.apply(
            file,
            ANSIBLE_CALLBACK_PLUGINS=str(BENCH / "callback_plugins"),
            ANSIBLE_CALLBACKS_ENABLED="timings",
            BENCH_TIMINGS=str(log),
        ),
        plain.folder / "timings.log",
    )
    tasks = [["task of site.yml", "s", "of it on the slowest node"]]
    for task in read_tasks(log.read_text(encoding="utf-8").splitlines()):
        on_node = "-" if task.on_node is None else f"{task.on_node:.2f}"
        tasks.append([task.name, f"{task.seconds:.2f}", on_node])
    return f"{markdown(lines, right=(1, 2))}\n\n{markdown(tasks, right=(1, 2))}"


def read_tasks(lines: Iterable[str]) -> list[Task]:
    """Tasks in order from the lines that callback_plugins/timings.py wrote."""
    tasks: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        entry = json.loads(line)
        if entry["kind"] == "task" and entry["began"] is not None:
            tasks.setdefault(entry["task"], []).append(entry)
    if not tasks:
        raise BenchError("the timings callback saw no task")
    return [
        Task(
            name=entries[0]["name"],
            seconds=max(entry["at"] for entry in entries) - entries[0]["began"],
            on_node=max(
                (entry["on_node"] for entry in entries if entry["on_node"] is not None),
                default=None,
            ),
        )
        for entries in tasks.values()
    ]


def _otto(otto: Otto, *words: str) -> Command:
    program = str(otto.programs / "otto-run")
    return Command((program, *words), otto.environment(), otto.folder)


def _ansible(plain: OttoAnsible, *words: str) -> Command:
    site = plain.apply(plain.file)
    return Command((site.arguments[0], *words), site.environment, site.directory)
