# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run events`: what the agents saw and did, out of the store."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time

from otto_run import lock
from otto_run.exits import Code, Stop
from otto_run.render import coloured, of_service
from otto_run.session import Session, say
from otto_run.store import EventRecord, Store

_LAST = 1000  # events that are shown where nobody says since when
_GLANCE = 0.2  # seconds between two looks at whether the store has grown
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_COLOURS = {
    "died": "yellow",
    "failed": "red",
    "backoff": "yellow",
    "healed": "green",
    "gap": "yellow",
    "quota": "yellow",
    "ring_lost": "red",
    "docker_gone": "red",
    "target_broken": "red",
}


def show(
    here: Session, *, follow: bool, node: str | None, service: str, since: str, as_json: bool
) -> Code:
    """Print events, oldest first: one a line, as JSON one object a line. node: None for all of
    them. since: "" for the last ones. follow: go on until Ctrl-C with what comes."""
    only = "" if node is None else here.one(node, "--node")
    begin = time.time() - span(since) if since else 0.0
    if follow and not lock.held(here.paths.up_lock):
        say("No control plane runs, so nothing new comes in: otto-run up")
    with Store(here.paths.store) as store, contextlib.suppress(KeyboardInterrupt):
        last = store.last_event()
        most = None if since else _LAST
        for event in store.events(node=only, service=service, since=begin, last=most):
            if event.id <= last:
                _print(event, as_json)
        version = None
        while follow:
            sys.stdout.flush()
            before, version = version, store.version()
            if version == before:
                time.sleep(_GLANCE)
                continue
            for event in store.events_after(last, node=only, service=service):
                _print(event, as_json)
                last = event.id
    return Code.DONE


def span(text: str) -> float:
    """Seconds of `90s`, `30m`, `2h` or `7d`. Raises Stop."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not found:
        raise Stop(Code.USAGE, f"--since {text} is no span of time; write one such as 30m or 2h")
    return int(found[1]) * _UNITS[found[2]]


def _print(event: EventRecord, as_json: bool) -> None:
    if as_json:
        print(json.dumps(event.to_json(), ensure_ascii=False))
        return
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    where = f"{event.node}: {event.service}" if event.service else event.node
    off = "  (its clock is off)" if event.skewed else ""
    text = coloured(of_service(event.service, event.text), _COLOURS.get(event.kind, ""))
    print(f"{when} {where}: {text}{off}")
