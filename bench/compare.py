# SPDX-License-Identifier: GPL-3.0-or-later
"""Otto beside community.docker and pyinfra: the same containers on the same hosts, in one run.

Every round gives each contender one turn on empty hosts: first deploy (timed), check that all of
the work is done, the same command again (timed), check that no container was touched, cleanup.
docs/benchmarks.md says what the numbers mean.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

if __package__ in (None, ""):  # started by its path, as the documentation says
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import breakdown, prepare
from bench.contenders import BENCH, CONTENDERS, Contender, OttoAnsible, OttoRun, Site
from bench.hosts import BenchError, Shell, close_masters, on_all
from bench.run import run
from bench.table import Row, Sample, comparison
from bench.workload import Node, Workload, workload, wrongs
from lab.plan import GATEWAY, KEY, KNOWN_HOSTS, USER, host_named

FIRST_EVER = "first apply ever"
FIRST = "first deploy"
NO_OP = "no-op"

Samples = dict[tuple[str, str], list[Sample]]


def main() -> int:
    options = _parser().parse_args()
    try:
        if options.make_hosts:
            prepare.lab("up", "--hosts", "0", "--fresh", *options.nodes)
        try:
            _measure(options)
        finally:
            if options.make_hosts and not options.keep:
                prepare.lab("down", *options.nodes)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    return 0


def _measure(options: argparse.Namespace) -> None:
    hosts = [host_named(name) for name in options.nodes]
    work = workload([Node(host.name, host.address, USER) for host in hosts], options.services)
    folder = BENCH / ".work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # Short, because a control socket's path may have about 100 characters.
    with tempfile.TemporaryDirectory(prefix="ob", dir="/tmp") as short:
        own = Path(short) / "bench"
        own.mkdir()
        shell = Shell(KEY, KNOWN_HOSTS, own)
        site = Site(work, shell, KEY, KNOWN_HOSTS, folder, Path(short), (GATEWAY, options.mqtt))
        try:
            _measure_at(site, options)
        finally:
            for directory in Path(short).iterdir():
                close_masters(directory)


def _measure_at(site: Site, options: argparse.Namespace) -> None:
    work, shell = site.work, site.shell
    samples: Samples = defaultdict(list)
    contenders = [kind(site) for kind in CONTENDERS]
    otto = next(one for one in contenders if isinstance(one, OttoRun))
    plain = next(one for one in contenders if isinstance(one, OttoAnsible))
    prepare.others()
    prepare.nodes(shell, work)
    _say(f"{len(work.nodes)} hosts x {len(work.services)} services, images present")
    # On hosts that have never seen Otto this installs the agent too, and is worth a line; on
    # others it is untimed preparation like every other.
    marks = on_all(work.nodes, lambda node: shell.run(node, "ls -d /opt/otto || true"))
    first_ever = run(otto.command(), otto.folder / "first-ever.log")
    if not any(marks.values()):
        samples[otto.name, FIRST_EVER].append(first_ever)
        _say(f"{otto.name}: {FIRST_EVER} {first_ever.wall:.2f} s")
    if options.breakdown:
        print(breakdown.measure(otto, plain, options.rounds))
        otto.leave()
        return
    otto.leave()
    for number in range(1, options.rounds + 1):
        for contender in contenders:
            _turn(contender, work, shell, number, samples)
    rows = [Row(name, phase, tuple(taken)) for (name, phase), taken in samples.items()]
    rows.sort(key=lambda row: (row.phase != FIRST_EVER, row.phase != FIRST))
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "work": f"{len(work.nodes)} hosts x {len(work.services)} services, {options.rounds} rounds",
        **prepare.versions(shell, work, sys.executable),
    }
    if options.json:
        document = {"facts": facts, "rows": [dataclasses.asdict(row) for row in rows]}
        print(json.dumps(document, indent=2))
    else:
        print(comparison(rows, otto.name))
        print()
        print("\n".join(f"- {key}: {value}" for key, value in facts.items()))


def _turn(
    contender: Contender, work: Workload, shell: Shell, number: int, samples: Samples
) -> None:
    """One contender's turn of one round. Raises BenchError when it did not do all of the work."""
    contender.enter()
    left = on_all(work.nodes, shell.inspect)
    if any(left.values()):
        raise BenchError(f"the hosts are not empty before the turn of {contender.name}")
    # Everyone's first deploy opens its own SSH connections; the no-op may reuse them.
    close_masters(contender.sockets)
    first = run(contender.command(), contender.folder / f"{number}-first.log")
    before = on_all(work.nodes, shell.inspect)
    problems = [
        f"{node}: {problem}"
        for node, documents in before.items()
        for problem in wrongs(work, contender.maker, documents)
    ]
    if problems:
        raise BenchError(f"{contender.name} did not do the work:\n" + "\n".join(problems))
    again = run(contender.command(), contender.folder / f"{number}-no-op.log")
    after = on_all(work.nodes, shell.inspect)
    if _lives(after) != _lives(before):
        raise BenchError(f"{contender.name} touched containers in its no-op")
    contender.leave()
    samples[contender.name, FIRST].append(first)
    samples[contender.name, NO_OP].append(again)
    _say(f"round {number}, {contender.name}: first {first.wall:.2f} s, no-op {again.wall:.2f} s")


def _lives(inspected: dict[str, list[dict[str, object]]]) -> dict[str, list[tuple[str, str]]]:
    """Node -> id and start time of every container: equal lives, nothing was touched."""
    lives: dict[str, list[tuple[str, str]]] = {}
    for node, documents in inspected.items():
        pairs = []
        for document in documents:
            state = document["State"]
            if not isinstance(state, dict):
                raise BenchError(f"{node}: docker inspect gave no State")
            pairs.append((str(document["Id"]), str(state["StartedAt"])))
        lives[node] = sorted(pairs)
    return lives


def _say(text: str) -> None:
    """Progress goes to stderr, so that stdout is the table or the JSON and nothing else."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 bench/compare.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns of every contender (3)")
    parser.add_argument("--services", type=int, default=10, help="containers on every host (10)")
    parser.add_argument(
        "--nodes",
        nargs="+",
        default=["rpi-91", "rpi-92", "rpi-93"],
        metavar="HOST",
        help="lab hosts of the benchmark's own, made for it and removed after it",
    )
    parser.add_argument(
        "--reuse",
        dest="make_hosts",
        action="store_false",
        help="take the hosts as they are, and leave them",
    )
    parser.add_argument("--keep", action="store_true", help="leave the hosts that were made")
    parser.add_argument("--mqtt", type=int, default=1883, help="port of the broker (1883)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--breakdown", action="store_true", help="instead: where the time of Otto's no-op goes"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
