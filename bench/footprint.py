# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent costs a host, beside Debian's prometheus-node-exporter on the same host in the
same run: memory and CPU over some minutes, both read out at the agent's own interval.

docs/benchmarks.md says what the numbers mean.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):  # started by its path, as the documentation says
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.contenders import BENCH
from bench.fleet import Fleet, end, wait_for
from bench.hosts import BenchError, close_masters, on_all
from bench.table import markdown
from bench.workload import Node

AGENT, EXPORTER = "otto-agent", "prometheus-node-exporter"
INTERVAL = 10.0  # seconds, as an apply sets it
SETTLE = 60.0  # seconds after the start in which nothing is measured
PORT = 18841

# One line: resident, proportional and private KiB, ticks of CPU, ticks in a second.
_READ = """
pid=$(systemctl show --property MainPID --value {unit}); test "$pid" -gt 0
awk '/^Rss:/ {{r=$2}} /^Pss:/ {{p=$2}} /^Private_/ {{u+=$2}} END {{printf "%d %d %d ", r, p, u}}' \
/proc/$pid/smaps_rollup
awk '{{printf "%d ", $14 + $15}}' /proc/$pid/stat
getconf CLK_TCK
"""
_INSTALL = (
    f"dpkg -s {EXPORTER} >/dev/null 2>&1 || {{ apt-get -q update; DEBIAN_FRONTEND=noninteractive "
    f"apt-get install -qy --no-install-recommends {EXPORTER}; }}; systemctl restart {EXPORTER}"
)


@dataclass(frozen=True)
class Reading:
    """MiB resident, proportional (what is shared, shared out) and private; seconds of CPU."""

    rss: float
    pss: float
    private: float
    cpu: float


def read(fleet: Fleet, node: Node, unit: str) -> Reading:
    words = fleet.shell.run(node, _READ.format(unit=unit)).split()
    rss, pss, private, ticks, hertz = (int(word) for word in words)
    return Reading(rss / 1024, pss / 1024, private / 1024, ticks / hertz)


def row(node: Node, unit: str, readings: list[Reading], seconds: float) -> list[str]:
    first, last = readings[0], readings[-1]
    return [
        node.id,
        unit,
        f"{max(one.rss for one in readings):.1f}",
        f"{last.pss:.1f}",
        f"{last.private:.1f}",
        f"{last.rss - first.rss:+.1f}",
        f"{100 * (last.cpu - first.cpu) / seconds:.2f}",
    ]


HEADING = ["host", "program", "RSS most MiB", "PSS", "private", "grown MiB", "CPU % of a core"]


def measure(fleet: Fleet, seconds: float) -> list[list[str]]:
    """Rows of the table; `deployed` is entered, and the control plane runs."""
    places = [(node, unit) for node in fleet.nodes for unit in (AGENT, EXPORTER)]
    readings: dict[tuple[str, str], list[Reading]] = {(node.id, unit): [] for node, unit in places}

    def look(node: Node) -> None:
        # It works only when it is asked, so it is asked as often as the agent speaks.
        urllib.request.urlopen(f"http://{node.address}:9100/metrics", timeout=10).read()
        for unit in (AGENT, EXPORTER):
            readings[node.id, unit].append(read(fleet, node, unit))

    begun = time.monotonic()
    while True:
        on_all(fleet.nodes, look)
        spent = time.monotonic() - begun
        if spent >= seconds:
            break
        time.sleep(min(INTERVAL, seconds - spent))
    return [row(node, unit, readings[node.id, unit], spent) for node, unit in places]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", nargs="+", default=["rpi-01", "rpi-02"], help="hosts of the lab")
    parser.add_argument("--containers", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    folder = BENCH / ".work" / "footprint"
    try:
        with tempfile.TemporaryDirectory(prefix="ob", dir="/tmp") as short:
            fleet = Fleet.of(
                options.nodes, folder, Path(short), port=PORT, containers=options.containers
            )
            with contextlib.ExitStack() as stack:
                stack.callback(close_masters, Path(short))
                stack.enter_context(fleet.deployed())
                fleet.on_all(_INSTALL)
                plane = fleet.start("otto-run", "up", "--yes", log="up.log")
                stack.callback(end, plane)
                said = folder / "up.log"
                wait_for(lambda: "control plane of" in said.read_text(), 300, f"{said} to be ready")
                fleet.on_all("systemctl is-active otto-agent")
                time.sleep(SETTLE)
                rows = measure(fleet, options.minutes * 60)
    except BenchError as error:
        print(f"footprint: {error}", file=sys.stderr)
        return 1
    print(
        f"{options.containers} containers, {options.minutes:g} minutes, "
        f"one sample in {INTERVAL:g} s, TLS\n"
    )
    print(markdown([HEADING, *rows], right=(2, 3, 4, 5, 6)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
