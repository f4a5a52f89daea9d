# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run up`: the control plane in the foreground.

Broker and listener start before the apply, so that agents find them at once; agents of local nodes
start after it, when their target is written.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

from otto_run import broker, commands, lock, processes, render, telling
from otto_run.agents import LocalAgents
from otto_run.exits import Code
from otto_run.listener import Listener
from otto_run.session import Session, say

if TYPE_CHECKING:
    from otto_run.messages import Message

_DEADLINE = 60.0  # seconds that `--once` waits for every agent's report


def up(here: Session, *, once: bool, yes: bool, accept: bool) -> Code:
    """Returns when it is told to end (Ctrl-C: DONE, during the apply 130 by KeyboardInterrupt)."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock.hold(here.paths.up_lock, "otto-run up"))
        processes.become_subreaper()
        plane = _Plane(here)
        stack.callback(plane.stop)
        plane.start()
        with lock.hold(here.paths.lock, "otto-run up"):
            commands.prepare(here, (), yes=yes, accept=accept)
            outcome = here.deploy("apply", keep=plane.pids, tick=plane.tend)
        failures = here.failures(outcome)
        try:
            plane.listen()
        except OttoError:
            telling.conclude(here, outcome, failures)  # it may say why there is no broker
            raise
        plane.start_agents()
        if plane.listener is not None:
            plane.listener.look()
        if once:
            silent = plane.wait_for_reports(_DEADLINE) if plane.listener is not None else []
            telling.conclude(here, outcome, failures)
            for node in silent:
                print(
                    "\n"
                    + render.problem(
                        node,
                        "its agent did not report",
                        f"nothing came from it within {_DEADLINE:.0f} s after the apply",
                        _agent_log(here, node),
                    )
                )
            services = [s for node in here.status() for s in node.services]
            well = not failures and not silent and all(service.ok for service in services)
            return Code.DONE if well else Code.FAILED
        telling.conclude(here, outcome, failures)
        print(f"\nThis is the control plane of {here.cluster.name} now. Ctrl-C ends it;")
        print("the nodes go on without it. In another window: otto-run status", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            plane.serve()
        print("\nEnded. The nodes go on healing by themselves.")
        return Code.DONE


def _agent_log(here: Session, node: str) -> str:
    if here.nodes[node].is_local:
        return f"tail {here.paths.node(node) / 'agent.log'}"
    return f"ansible {node} -i {here.file} -b -m command -a 'journalctl -n 20 -u otto-agent'"


class _Plane:
    def __init__(self, here: Session) -> None:
        self._here = here
        self._broker: broker.EmbeddedBroker | None = None
        self.listener: Listener | None = None
        self._agents: LocalAgents | None = None
        self._heard: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._reported: set[str] = set()
        self._states: dict[str, str] = {}
        self._complained = 0.0

    def start(self) -> None:
        mqtt = self._here.cluster.mqtt
        if mqtt is None:
            say("No `mqtt` in the file: the agents heal in silence, and nothing is heard of them.")
            return
        place = broker.find(mqtt)
        if place is None:
            return  # `listen` comes after the apply that installs it
        if place.embedded:
            self._broker = broker.own(self._here.cluster, self._here.paths.directory, place)
            self._broker.start()
            say(f"MQTT broker: our own, at {place.address}:{place.port}")
        else:
            say(f"MQTT broker: the one at {place.host}:{place.port}")
        self.listen()

    def listen(self) -> None:
        """Hear the agents, where that is not so yet. Raises OttoError."""
        access = self._here.access
        if access is None or self.listener is not None:
            return
        self.listener = Listener(
            access,
            self._here.cluster.name,
            self._here.nodes,
            self._here.paths.store,
            self._heard.put,
        )
        self.listener.start()

    def start_agents(self) -> None:
        local = [node for node in self._here.cluster.nodes if node.is_local]
        if not local:
            return
        self._agents = LocalAgents(local, self._here.cluster.mqtt, self._here.paths, say)
        self._agents.start()

    def pids(self) -> list[int]:
        """Children that are no part of a run of Ansible."""
        return self._agents.pids if self._agents is not None else []

    def tend(self) -> None:
        """Look after all parts. Raises OttoError when one has died for good."""
        if self._agents is not None:
            self._agents.tend()
        if self._broker is not None:
            self._broker.check()
        if self.listener is not None:
            self.listener.check()
        while not self._heard.empty():
            self._take(self._heard.get())

    def _take(self, message: Message) -> None:
        body = message.body
        if message.kind == "report" and not message.retained:
            self._reported.add(message.node)
        if message.kind == "status" and self._states.get(message.node) != body["state"]:
            self._states[message.node] = body["state"]
            colour = "green" if body["state"] == "online" else "red"
            self._event(message.node, "", f"agent {body['state']}", colour)
        elif message.kind in ("gap", "quota"):
            self._event(message.node, "", body["text"], "yellow")
        elif message.kind == "event" and "age" not in body:  # what is old is in `events`
            colour = "yellow" if body["kind"] in ("died", "failed", "backoff") else ""
            self._event(message.node, body["service"], body["text"], colour)

    def _event(self, node: str, service: str, text: str, colour: str) -> None:
        where = f"{node}: {service}" if service else node
        text = render.of_service(service, text)
        stamp = time.strftime("%H:%M:%S")
        print(f"{stamp} {where}: {render.coloured(text, colour)}", file=sys.stderr, flush=True)

    def wait_for_reports(self, seconds: float) -> list[str]:
        """Wait until every node's agent has reported; returns those that did not."""
        deadline = time.monotonic() + seconds
        while True:
            self.tend()
            silent = [node for node in self._here.nodes if node not in self._reported]
            if not silent or time.monotonic() > deadline:
                return silent
            time.sleep(0.1)

    def serve(self) -> None:
        """Until Ctrl-C."""
        while True:
            self.tend()
            self._complain()
            time.sleep(0.2)

    def _complain(self) -> None:
        """Say what the listener does not believe and whom the broker has sent away, at most once a
        minute."""
        now = time.monotonic()
        if now - self._complained < 60:
            return
        refused = self.listener.refusals.take() if self.listener is not None else Counter()
        if refused:
            say(f"Messages not believed: {_most(refused)}")
        away = self._broker.turned_away() if self._broker is not None else Counter()
        if away:
            say(f"Connections that did not log in, ended by the broker: {_most(away)}")
        if refused or away:
            self._complained = now

    def stop(self) -> None:
        """End every part, in the order in which they lean on each other."""
        if self._agents is not None:
            self._agents.stop()
        if self.listener is not None:
            self.listener.stop()
        if self._broker is not None:
            self._broker.stop()


def _most(counted: Counter[str]) -> str:
    """How many in all, and the three of which there are most."""
    three = ", ".join(f"{name}: {number}" for name, number in counted.most_common(3))
    return f"{counted.total()} ({three})"
