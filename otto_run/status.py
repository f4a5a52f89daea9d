# SPDX-License-Identifier: GPL-3.0-or-later
"""How each node stands: the file's wish beside the store's knowledge. Pure but for the printing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from otto_run.render import age, size, table
from otto_run.store import NodeRecord

STALE_AFTER = 90.0
"""Seconds of silence after which nobody knows. An agent sends metrics every 10 s and a retained
report every 60 s, so this is one lost report and half of the next."""
LOST_WITHIN = 86400.0
"""Seconds for which a loss of samples is shown"""
MANY = 100
"""Samples that may be on their way without a word"""


@dataclass(frozen=True)
class ServiceStatus:
    name: str
    state: str
    health: str = ""
    error: Mapping[str, str] | None = None
    once: bool = False
    """`restart: "no"`: to have ended is its aim"""

    @property
    def ok(self) -> bool:
        if self.error is not None or self.health == "unhealthy":
            return False
        return self.state == "running" or (self.once and self.state == "exited")

    @property
    def text(self) -> str:
        text = f"{self.state} ({self.health})" if self.health else self.state
        # What is told of it below the table did not end it: the former container serves.
        return f"{text}, its change failed" if self.error and self.state == "running" else text


@dataclass(frozen=True)
class NodeStatus:
    """state: online, offline, stale (silent for too long) or unknown (never heard)."""

    node: str
    host: str
    state: str
    agent: str
    seen: float | None
    services: tuple[ServiceStatus, ...]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[Mapping[str, str], ...] = ()
    lost: int = 0
    """samples of the last day that are gone for good"""

    @property
    def backlog(self) -> int:
        """Samples that wait on the node, as it last said."""
        return int(self.metrics.get("backlog", 0))

    @property
    def ok_count(self) -> int:
        return sum(service.ok for service in self.services)

    def to_json(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "host": self.host,
            "state": self.state,
            "agent": self.agent,
            "last_seen": self.seen,
            "services_ok": self.ok_count,
            "services_total": len(self.services),
            "services": {
                service.name: {
                    "state": service.state,
                    "health": service.health,
                    "ok": service.ok,
                    "error": service.error,
                }
                for service in self.services
            },
            "metrics": dict(self.metrics),
            "errors": [dict(error) for error in self.errors],
            "lost_samples": self.lost,
            "backlog": self.backlog,
        }


def agent_state(record: NodeRecord, now: float) -> str:
    """Judged by this machine's clock alone: a node's may be years off."""
    if record.seen is None:
        return record.state or "unknown"
    if record.state == "offline":
        return "offline"
    # From after now: this machine's clock was set back since.
    return "online" if abs(now - record.seen) <= STALE_AFTER else "stale"


def assess(
    nodes: Iterable[Any],
    wanted: Mapping[str, Mapping[str, Mapping[str, Any]]],
    records: Mapping[str, NodeRecord],
    now: float,
) -> list[NodeStatus]:
    """Every node of the file. wanted: node id -> service name -> spec."""
    found = []
    for node in nodes:
        record = records.get(node.id, NodeRecord(node.id))
        report = record.report or {}
        known = report.get("services", {})
        services = []
        for name, spec in sorted(wanted.get(node.id, {}).items()):
            entry = known.get(name, {})
            services.append(
                ServiceStatus(
                    name,
                    # The agent names no state where nobody can see the container.
                    entry.get("state") or "unknown",
                    entry.get("health") or "",
                    entry.get("error"),
                    once=spec.get("restart") == "no",
                )
            )
        seen = [moment for moment in (record.seen, record.report_seen) if moment]
        found.append(
            NodeStatus(
                node=node.id,
                host=node.host,
                state=agent_state(record, now),
                agent=record.agent,
                seen=max(seen) if seen else None,
                services=tuple(services),
                metrics=record.metrics or {},
                errors=tuple(report.get("errors", ())),
                lost=record.lost,
            )
        )
    return found


_COLOURS = {"online": "green", "offline": "red", "stale": "yellow", "unknown": "dim"}


def nodes_table(nodes: Iterable[NodeStatus], now: float, changed: Mapping[str, str] | None) -> str:
    """One row per node. changed: what an apply did to each; None where there was none."""
    header = ["node", "state", "services"]
    header += ["changed"] if changed is not None else []
    header += ["agent", "last seen"]
    header += ["cpu", "memory", "temp"] if changed is None else []
    rows = []
    for node in nodes:
        total = len(node.services)
        row = [
            node.node,
            f"{node.state}\t{_COLOURS[node.state]}",
            f"{node.ok_count}/{total}\t{'green' if node.ok_count == total else 'red'}",
        ]
        if changed is not None:
            row.append(changed.get(node.node, "-"))
        row += [node.agent or "-", age(None if node.seen is None else now - node.seen)]
        if changed is None:
            host = node.metrics.get("host", {}) if node.state == "online" else {}
            row += [
                _shown(host, "cpu_percent", "{:.0f} %"),
                size(host["memory_bytes"]) if "memory_bytes" in host else "-",
                _shown(host, "temperature_celsius", "{:.0f} °C"),
            ]
        rows.append(row)
    return table(header, rows)


def services_table(nodes: Iterable[NodeStatus]) -> str:
    rows = [
        [node.node, service.name, f"{service.text}\t{'green' if service.ok else 'red'}"]
        for node in nodes
        for service in node.services
    ]
    return table(["node", "service", "state"], rows)


def samples_lines(nodes: Iterable[NodeStatus]) -> list[str]:
    """What is lost of the samples, and what is still to come; nothing where all is here."""
    lines = []
    for node in nodes:
        if node.lost:
            lines.append(
                f"{node.node}: {node.lost} samples of the last day are lost"
                f" (otto-run events --node {node.node} tells which)"
            )
        if node.backlog > MANY and node.state == "online":
            lines.append(f"{node.node}: {node.backlog} older samples are still to come")
    return lines


def _shown(values: Mapping[str, float], key: str, form: str) -> str:
    # What cannot be read is absent, never 0.
    return form.format(values[key]) if key in values else "-"
