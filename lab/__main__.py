# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of the lab: `python3 -m lab up`."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shlex
import shutil
import sys
from collections.abc import Iterator

from lab import apt, dead, engine, hosts, images, limits, processes, registry
from lab.plan import MOST_HOSTS, SSH_CONFIG, STATE, host_named
from lab.plan import hosts as planned
from lab.shell import LabError, say, side_by_side


def main() -> int:
    options = _parser().parse_args()
    try:
        _check_machine()
        STATE.mkdir(mode=0o700, exist_ok=True)
        if options.command == "ssh":
            return hosts.ssh(hosts.require(options.host).name, options.words)
        if options.command == "status":
            return _status()
        with _alone():
            return _act(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        if error.next_step:
            print(f"next: {error.next_step}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; `python3 -m lab up` goes on from here", file=sys.stderr)
        return 130


def _act(options: argparse.Namespace) -> int:
    match options.command:
        case "tools":
            # Debian starts a packaged broker at once where systemd runs; the tests run their own.
            apt.ensure(
                {
                    "mosquitto": "mosquitto",
                    "mosquitto_sub": "mosquitto-clients",
                    "nats-server": "nats-server",
                }
            )
            say("tools: all there")
        case "build":
            _build()
            say("images: all there")
        case "up":
            _up(options.hosts, options.fresh)
        case "down":
            if options.only:
                _remove(options.only)
            else:
                _down(options.purge)
        case "partition":
            hosts.partition(hosts.require(options.host))
        case "heal":
            hosts.heal(hosts.require(options.host))
        case "power-cut":
            hosts.power_cut(hosts.require(options.host))
        case "power-on":
            hosts.power_on(hosts.require(options.host))
    return 0


def _build() -> None:
    engine.install()
    engine.start()
    dead.clear()
    engine.ensure_network()
    images.ensure()
    registry.start()
    registry.publish()


def _up(count: int, fresh: list[str]) -> None:
    _build()
    wanted = {host.name: host for host in planned(count)}
    if "all" in fresh:
        fresh = [*{**wanted, **hosts.existing()}]
    wanted |= {name: host_named(name) for name in fresh}
    hosts.remove(fresh)
    limits.raise_for(len({**hosts.existing(), **wanted}))
    hosts.ensure([*wanted.values()])
    say(f"lab up: ssh -F {shlex.quote(str(SSH_CONFIG))} rpi-01")


def _remove(names: list[str]) -> None:
    """Only these hosts; the lab stays up for the others."""
    if engine.answers():
        hosts.remove(names)
    else:
        say(f"engine: none answers, so no host runs; not removed: {', '.join(names)}")


def _down(purge: bool) -> None:
    if not engine.answers() and (STATE / "hosts").is_dir():
        # After a reboot the hosts lie on disk, and only an engine can remove them.
        engine.start()
    left: list[str] = []
    if engine.answers():
        hosts.remove(hosts.existing())
        registry.stop()
        engine.remove_network()
        if purge:
            images.remove()
        left = [*hosts.existing(), *hosts.leftover_volumes(), *engine.leftover_networks()]
        engine.stop()
    for name in processes.running():  # such as the broker of an interrupted scenario
        processes.stop(name)
        say(f"{name}: stopped")
    limits.restore()
    left += [f"{name} (pid {pid})" for name, pid in processes.running().items()]
    if left:
        raise LabError(f"still there: {', '.join(left)}", "python3 -m lab down")
    if purge:
        shutil.rmtree(STATE)
        say(f"state: {STATE} removed")
    say("lab down: checked that no container, volume, network or process of the lab is left")


def _status() -> int:
    if not engine.answers():
        print("no engine answers on /var/run/docker.sock; next: python3 -m lab up")
        return 1
    seen = hosts.existing()
    if not seen:
        print("the lab has no hosts; next: python3 -m lab up")
        return 1
    answers = side_by_side(lambda one: hosts.probe(one.host), seen.values())
    row = "{:8} {:12} {:31} {:16} {}".format
    print(row("HOST", "ADDRESS", "SYSTEM", "DOCKER", "STATE"))
    for one, answer in zip(seen.values(), answers, strict=True):
        state = one.state if one.connected else f"{one.state}, cut off"
        if isinstance(answer, str):
            print(row(one.host.name, one.host.address, one.host.suite, "?", f"{state}: {answer}"))
        else:
            detail = f"{state}, systemd {answer.systemd}"
            print(row(one.host.name, one.host.address, answer.system, answer.docker, detail))
    engine_owner = processes.alive(engine.DAEMON)
    print(f"engine: {f'pid {engine_owner}, by the lab' if engine_owner else 'not by the lab'}")
    return 0


def _check_machine() -> None:
    if sys.platform != "linux":
        raise LabError(
            f"the lab needs Linux (this is {sys.platform})", "use a Debian machine or VM"
        )
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it runs a Docker engine", "sudo python3 -m lab up")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One change of the lab at a time."""
    with (STATE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another lab command is at work; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    up = commands.add_parser("up", help="hosts running and answering; does only what is missing")
    up.add_argument(
        "--hosts", type=_count, default=3, metavar="N", help="how many (3; 0: only --fresh)"
    )
    up.add_argument(
        "--fresh", nargs="+", type=_fresh, default=[], metavar="HOST", help="make anew (or: all)"
    )
    down = commands.add_parser("down", help="remove hosts, volumes, network, daemons")
    down.add_argument("only", nargs="*", type=_name, metavar="HOST", help="only these hosts")
    down.add_argument("--purge", action="store_true", help="the images and lab/.state as well")
    commands.add_parser("build", help="only engine, images and registry")
    commands.add_parser("tools", help="the packages that tests need beside the lab (brokers)")
    commands.add_parser("status", help="what is there")
    for name, text in {
        "partition": "cut a host off the network",
        "heal": "put it back, same address",
        "power-cut": "end everything on a host at once",
        "power-on": "start it again",
    }.items():
        commands.add_parser(name, help=text).add_argument("host")
    shell = commands.add_parser("ssh", help="SSH session or command on a host")
    shell.add_argument("host")
    shell.add_argument("words", nargs=argparse.REMAINDER, metavar="command")
    return parser


def _count(text: str) -> int:
    # 0 is for `--fresh`: hosts of one's own, and none of the others.
    if not text.isdecimal() or not 0 <= int(text) <= MOST_HOSTS:
        raise argparse.ArgumentTypeError(f"a number from 0 to {MOST_HOSTS}, not {text!r}")
    return int(text)


def _fresh(text: str) -> str:
    return text if text == "all" else _name(text)


def _name(text: str) -> str:
    try:
        return host_named(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
