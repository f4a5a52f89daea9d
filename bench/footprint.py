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
import threading
import time
from pathlib import Path

if __package__ in (None, ""):  # started by its path, as the documentation says
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.contenders import BENCH
from bench.cost import HEADING, Cost
from bench.fleet import Fleet, end, wait_for
from bench.hosts import BenchError, close_masters
from bench.table import markdown

INTERVAL = 10.0  # seconds, as an apply sets it
SETTLE = 60.0  # seconds after the start in which nothing is measured
PORT = 18841


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
                cost = Cost(fleet)
                plane = fleet.start("otto-run", "up", "--yes", log="up.log")
                stack.callback(end, plane)
                said = folder / "up.log"
                wait_for(lambda: "control plane of" in said.read_text(), 300, f"{said} to be ready")
                fleet.on_all("systemctl is-active otto-agent")
                time.sleep(SETTLE)
                ended = threading.Event()
                clock = threading.Timer(options.minutes * 60, ended.set)
                stack.callback(clock.cancel)
                clock.start()
                cost.watch(INTERVAL, 1, ended)
                rows = cost.rows()
    except BenchError as error:
        print(f"footprint: {error}", file=sys.stderr)
        return 1
    print(
        f"{options.containers} containers, {options.minutes:g} minutes, "
        f"one sample in {INTERVAL:g} s, TLS\n"
    )
    print(markdown([HEADING, *rows], right=range(2, 8)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
