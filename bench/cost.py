# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory and CPU of the agent, beside Debian's prometheus-node-exporter on the same host."""

from __future__ import annotations

import contextlib
import itertools
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

from bench.fleet import Fleet, wait_for
from bench.hosts import BenchError, on_all
from bench.workload import Node

AGENT, EXPORTER = "otto-agent", "prometheus-node-exporter"
UNITS = (AGENT, EXPORTER)
HEADING = [
    "host",
    "program",
    "lives",
    "RSS most MiB",
    "PSS",
    "private",
    "grown MiB",
    "CPU % of a core",
]

# A line for each unit that runs: unit, process, KiB resident, proportional and private, ticks of
# CPU, ticks in a second. A process that ends meanwhile leaves a shorter line.
_READ = f"""
for unit in {" ".join(UNITS)}; do
pid=$(systemctl show --property MainPID --value $unit); test "$pid" -gt 0 || continue
printf '%s %d ' $unit $pid
{{ awk '/^Rss:/ {{r=$2}} /^Pss:/ {{p=$2}} /^Private_/ {{u+=$2}}
END {{printf "%d %d %d ", r, p, u}}' /proc/$pid/smaps_rollup &&
awk '{{printf "%d ", $14 + $15}}' /proc/$pid/stat && getconf CLK_TCK; }} 2>/dev/null || echo
done
"""
_INSTALL = (
    f"dpkg -s {EXPORTER} >/dev/null 2>&1 || {{ apt-get -q update; DEBIAN_FRONTEND=noninteractive "
    f"apt-get install -qy --no-install-recommends {EXPORTER}; }}; systemctl restart {EXPORTER}"
)


@dataclass(frozen=True)
class Reading:
    """Of one process: MiB resident, proportional (what is shared, shared out) and private;
    seconds of CPU since its start."""

    pid: int
    rss: float
    pss: float
    private: float
    cpu: float


def read(fleet: Fleet, node: Node) -> dict[str, Reading]:
    """Unit -> reading, of those that run."""
    found = {}
    for line in fleet.shell.run(node, _READ).splitlines():
        unit, *words = line.split()
        if len(words) == 6:
            pid, rss, pss, private, ticks, hertz = (int(word) for word in words)
            found[unit] = Reading(pid, rss / 1024, pss / 1024, private / 1024, ticks / hertz)
    return found


def cpu(readings: Sequence[Reading]) -> float:
    """Seconds between the first reading and the last one, over every life of the program; of a
    life that was killed, up to the last time that it was seen."""
    lives = {reading.pid: reading.cpu for reading in readings}
    return sum(lives.values()) - readings[0].cpu


class Cost:
    """Looks at the hosts of a fleet; `rows` tells what it saw."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._seen: dict[tuple[str, str], list[Reading]] = {
            (node.id, unit): [] for node in fleet.nodes for unit in UNITS
        }
        self._begun = self._ended = 0.0
        fleet.on_all(_INSTALL)
        wait_for(lambda: all(map(_answers, fleet.nodes)), 30, f"{EXPORTER} to answer")

    def watch(self, interval: float, every: int, ended: Event) -> None:
        """Until it has ended. interval: seconds between two askings of the exporter, which works
        only then: as often as the agent speaks. every: so many askings to a look."""
        self._begun = self._ended = time.monotonic()
        for turn in itertools.count():
            on_all(self._fleet.nodes, _ask)
            if turn % every == 0:
                on_all(self._fleet.nodes, self._look)
                self._ended = time.monotonic()
            if ended.wait(max(0.0, self._begun + (turn + 1) * interval - time.monotonic())):
                return

    def _look(self, node: Node) -> None:
        for unit, reading in read(self._fleet, node).items():
            self._seen[node.id, unit].append(reading)

    def rows(self) -> list[list[str]]:
        """Under HEADING. Raises BenchError where a program was not seen twice."""
        seconds = self._ended - self._begun
        rows = []
        for (node, unit), readings in self._seen.items():
            if len(readings) < 2:
                raise BenchError(
                    f"{node}: {unit} did not run; look there with: systemctl status {unit}"
                )
            first, last = readings[0], readings[-1]
            rows.append(
                [
                    node,
                    unit,
                    str(len({one.pid for one in readings})),
                    f"{max(one.rss for one in readings):.1f}",
                    f"{last.pss:.1f}",
                    f"{last.private:.1f}",
                    f"{last.rss - first.rss:+.1f}",
                    f"{100 * cpu(readings) / seconds:.2f}",
                ]
            )
        return rows


def _answers(node: Node) -> bool:
    with contextlib.suppress(OSError):
        _ask(node)
        return True
    return False


def _ask(node: Node) -> None:
    urllib.request.urlopen(f"http://{node.address}:9100/metrics", timeout=10).read()
