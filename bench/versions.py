# SPDX-License-Identifier: GPL-3.0-or-later
"""This checkout beside another one of Otto, in one run: what a change costs an apply.

    git worktree add /somewhere/before COMMIT && make -C /somewhere/before .venv/.ready
    python bench/versions.py /somewhere/before --rounds 5

Each checkout has three hosts of its own, with its agent on them, and in each round both take their
turn, this one first in every other round: first deploy of ten services on each host, then the same
command again. Printed are medians and the median of the ratios, pair by pair.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):  # started by its path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import prepare
from bench.hosts import BenchError, Shell, close_masters, on_all
from bench.workload import Node, otto_file, workload
from lab.plan import GATEWAY, KEY, KNOWN_HOSTS, USER, host_named

ROOT = Path(__file__).resolve().parent.parent
PHASES = ("first deploy", "no-op")


@dataclass
class Version:
    """A checkout, its hosts, and the seconds of each phase, round by round."""

    name: str
    checkout: Path
    folder: Path
    hosts: tuple[str, ...]
    port: int

    def __post_init__(self) -> None:
        self.seconds: dict[str, list[float]] = {phase: [] for phase in PHASES}
        self.folder.mkdir()
        nodes = [Node(host_named(name).name, host_named(name).address, USER) for name in self.hosts]
        self.work = workload(nodes, 10)
        document = otto_file(self.work, self.name, KEY, (GATEWAY, self.port))
        document["cluster"] = {"name": self.name, "known_hosts": str(KNOWN_HOSTS)}
        (self.folder / "otto.yaml").write_text(json.dumps(document))
        (self.folder / "empty.yaml").write_text(json.dumps({**document, "services": []}))

    def apply(self, file: str) -> float:
        """Seconds of an apply. Raises BenchError when it fails."""
        program = self.checkout / ".venv/bin/otto-run"
        began = time.monotonic()
        done = subprocess.run(
            [str(program), "apply", "--yes", "--file", file],
            cwd=self.folder,
            env={**os.environ, "OTTO_STATE": str(self.folder / "state")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"{self.name}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
        return time.monotonic() - began

    def turn(self) -> None:
        self.seconds["first deploy"].append(self.apply("otto.yaml"))
        self.seconds["no-op"].append(self.apply("otto.yaml"))
        self.apply("empty.yaml")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("other", type=Path, help="another checkout, with its .venv made")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ob", dir="/tmp") as short:
        folder = Path(short)
        here = Version("here", ROOT, folder / "here", ("rpi-61", "rpi-62", "rpi-63"), 18831)
        there = Version(
            "there",
            options.other.resolve(),
            folder / "there",
            ("rpi-71", "rpi-72", "rpi-73"),
            18832,
        )
        names = [*here.hosts, *there.hosts]
        prepare.lab("up", "--hosts", "0", "--fresh", *names)
        try:
            (folder / "ssh").mkdir()
            shell = Shell(KEY, KNOWN_HOSTS, folder / "ssh")
            for version in (here, there):
                prepare.nodes(shell, version.work)
                version.apply("otto.yaml")
                version.apply("empty.yaml")
            for number in range(options.rounds):
                pair = (here, there) if number % 2 == 0 else (there, here)
                for version in pair:
                    version.turn()
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            on_all(here.work.nodes, lambda node: shell.run(node, "true"))
            close_masters(folder)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        finally:
            prepare.lab("down", *names)
    for phase in PHASES:
        mine, other = here.seconds[phase], there.seconds[phase]
        ratios = [a / b for a, b in zip(mine, other, strict=True)]
        print(
            f"{phase}: here {statistics.median(mine):.2f} s,"
            f" there {statistics.median(other):.2f} s,"
            f" ratio {statistics.median(ratios):.3f}"
            f" ({', '.join(f'{ratio:.2f}' for ratio in ratios)})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
