# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run audit`: what the audit log says, a run at a time."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed

from otto_run import audit, audit_file, render
from otto_run.actor import Actor
from otto_run.exits import Code

_COLOURS = {"done": "green", "failed": "red", "crashed": "red", "refused": "yellow"}


@dataclass
class Run:
    """begin: its first line, also that of a refusal. end: its last one; None for a run that has
    none."""

    begin: Mapping[str, Any]
    ran: list[Mapping[str, Any]] = field(default_factory=list)
    end: Mapping[str, Any] | None = None

    @property
    def result(self) -> str:
        """done, failed, refused, interrupted, crashed; running, or "no end": it was killed."""
        if self.end is not None:
            return str(self.end.get("result", ""))
        pid, started = self.begin.get("pid"), self.begin.get("started")
        same = isinstance(pid, int) and started and audit.started(pid) == started
        return "running" if same else "no end"

    @property
    def nodes(self) -> dict[str, str]:
        """node -> what became of it last; "" where nothing is known."""
        asked = self.begin.get("nodes")
        found = {str(node): "" for node in asked} if isinstance(asked, list) else {}
        for line in self.ran:
            nodes = line.get("nodes")
            found.update({str(k): str(v) for k, v in (_dict(nodes)).items()})
        return found

    def to_json(self) -> dict[str, Any]:
        ended = self.end or {}
        return {
            **{
                k: v for k, v in self.begin.items() if k not in ("event", "nodes", "pid", "started")
            },
            **{key: ended.get(key) for key in ("why", "code", "seconds")},
            "result": self.result,
            "nodes": self.nodes,
        }


def runs(entries: Iterable[Mapping[str, Any]]) -> list[Run]:
    """In the order in which they began."""
    found: dict[str, Run] = {}
    for entry in entries:
        id, event = str(entry.get("id")), entry.get("event")
        if event == "begin":
            found[id] = Run(entry)
        elif event == "refused":
            found[id] = Run(entry, end=entry)
        elif id not in found:
            found[id] = Run(entry)  # its beginning was long ago, in a file that is gone
        if event == "ran":
            found[id].ran.append(entry)
        elif event == "end":
            found[id].end = entry
    return list(found.values())


def show(directory: Path, *, last: int, cluster: str, as_json: bool) -> Code:
    """cluster: "" for all of them."""
    try:
        found = runs(audit_file.entries(directory))
    except OSError as error:
        raise OttoError(
            f"The audit log {directory / audit_file.NAME} cannot be read",
            cause=error.strerror or str(error),
            next=typed("ls -l {}", directory),
        ) from error
    chosen = [run for run in found if not cluster or run.begin.get("cluster") == cluster][-last:]
    if as_json:
        print(render.as_json({"runs": [run.to_json() for run in chosen]}))
    elif chosen:
        header = ["time (utc)", "who", "typed", "cluster", "result", "nodes"]
        print(render.table(header, list(_rows(chosen))))
    else:
        print("Nothing was changed from here yet.")
    return Code.DONE


def _rows(found: Iterable[Run]) -> Iterator[list[str]]:
    for run in found:
        result = run.result
        why = str((run.end or {}).get("why") or "")
        told = f"{result}: {why}" if why else result
        typed = run.begin.get("typed")
        words = [str(word) for word in typed] if isinstance(typed, list) else []
        yield [
            render.clean(run.begin.get("time", ""), 30).replace("T", " ").removesuffix("Z"),
            render.clean(_who(run.begin), 100),
            render.clean(shlex.join(words), 120) or "-",
            render.clean(run.begin.get("cluster", ""), 60) or "-",
            render.clean(told, 200) + "\t" + _COLOURS.get(result, "yellow"),
            render.clean(_nodes(run.nodes), 200) or "-",
        ]


def _who(begin: Mapping[str, Any]) -> str:
    who = _dict(begin.get("who"))
    names = {key: str(who.get(key, "")) for key in ("login", "user", "host", "sudo_user")}
    if not names["user"]:
        return "-"
    client = f" from {who['ssh_client']}" if who.get("ssh_client") else ""
    return f"{Actor(uid=0, **names)}{client}"


def _nodes(nodes: Mapping[str, str]) -> str:
    """Those that went well share a word: `rpi-01 failed, 2 done`."""
    sick = [f"{name} {how}" for name, how in nodes.items() if how not in ("", "done", "changed")]
    well = [name for name, how in nodes.items() if how in ("done", "changed")]
    unknown = [name for name, how in nodes.items() if not how]
    told = sick
    for names, word in ((well, "done"), (unknown, "not known")):
        if names:
            what = ", ".join(names) if len(names) < 4 else str(len(names))
            told.append(f"{what} {word}")
    return ", ".join(told)


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
