# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands: `otto-run ...`, and the seed's `otto cluster init` and `otto cluster start`.

Heavy imports stand inside the commands, so that `version`, `--help` and completion stay quick.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    OttoError,
)

from otto_run.exits import Code, Stop

app = typer.Typer(
    name="otto-run",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Turns otto.yaml into running, self-healing containers on your Docker hosts.",
    epilog="Exit codes: 0 done, 1 some node failed, 2 wrong usage or otto.yaml, 3 plan found "
    "changes (--exit-code), 4 another otto-run is at work, 130 interrupted.",
)
seed = typer.Typer(
    name="otto",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The commands that Otto's first plan named; `otto-run` has them all.",
)
seed_cluster = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The whole cluster.")
seed.add_typer(seed_cluster, name="cluster")

File = Annotated[Path, typer.Option("--file", "-f", help="The cluster file.")]
Limit = Annotated[
    list[str] | None, typer.Option("--limit", help="Only these nodes: a,b", metavar="NODES")
]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")]
Accept = Annotated[
    bool,
    typer.Option("--accept-new-host-keys", help="Trust hosts that were never met before."),
]
PasswordFile = Annotated[
    Path | None, typer.Option("--vault-password-file", help="File with the vault password.")
]
AskPassword = Annotated[bool, typer.Option("--ask-vault-pass", help="Ask for the vault password.")]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="Show Ansible's own output; -vv: more.")
]
OTTO_YAML = Path("otto.yaml")


@app.command()
@seed_cluster.command()
def init(
    path: Annotated[
        Path, typer.Argument(help="Where to write it: a file or a folder.")
    ] = OTTO_YAML,
    ansible: Annotated[
        bool, typer.Option("--ansible", help="Also site.yml and ansible.cfg, for plain Ansible.")
    ] = False,
) -> None:
    """Write a commented otto.yaml to start from. Nothing is ever overwritten."""
    from otto_run import initfile

    # What has no ending is a folder, there already or not.
    target = path if path.suffix and not path.is_dir() else path / "otto.yaml"
    initfile.write(target, ansible=ansible, say=print)


@app.command()
def plan(
    file: File = OTTO_YAML,
    limit: Limit = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 3 when there is something to do.")
    ] = False,
    as_json: AsJson = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Save the plan, for `apply PLAN`.", metavar="PLAN"),
    ] = None,
    accept: Accept = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
    verbose: Verbose = 0,
) -> None:
    """Show what an apply would do, and change nothing."""
    from otto_run import commands, session

    with session.opened(file, password_file, ask_password, verbose) as here:
        _exit(
            commands.plan(
                here, limit or [], as_json=as_json, exit_code=exit_code, accept=accept, out=out
            )
        )


@app.command()
def apply(
    saved: Annotated[
        Path | None,
        typer.Argument(metavar="[PLAN]", help="A plan that `plan --out` saved: exactly that."),
    ] = None,
    file: File = OTTO_YAML,
    limit: Limit = None,
    yes: Yes = False,
    check: Annotated[bool, typer.Option("--check", help="Only look: the same as plan.")] = False,
    as_json: AsJson = False,
    accept: Accept = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
    verbose: Verbose = 0,
) -> None:
    """Bring every node to what otto.yaml says.

    Asks first when a service that runs is no longer in the file (--yes: it does not). A changed
    service is not asked about: a failed update puts the old container back.

    With a saved PLAN it does exactly that, or refuses, with the reason, because the file or a node
    has moved on since.
    """
    from otto_run import agreed, commands, session

    with session.opened(file, password_file, ask_password, verbose) as here:
        if saved is not None:
            if limit or check:
                raise Stop(Code.USAGE, "a saved PLAN is done as a whole: no --limit, no --check")
            _exit(agreed.apply_saved(here, saved, as_json=as_json, accept=accept))
            return
        if check:
            _exit(commands.plan(here, limit or [], as_json=as_json, accept=accept))
        _exit(commands.apply(here, limit or [], yes=yes, as_json=as_json, accept=accept))


@app.command()
@seed_cluster.command("start")
def up(
    file: File = OTTO_YAML,
    once: Annotated[
        bool, typer.Option("--once", help="Wait for every agent's report, then end.")
    ] = False,
    yes: Yes = False,
    accept: Accept = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
    verbose: Verbose = 0,
) -> None:
    """Apply, then stay as the control plane: broker, listener and the agents of local nodes."""
    from otto_run import control, session

    with session.opened(file, password_file, ask_password, verbose) as here:
        _exit(control.up(here, once=once, yes=yes, accept=accept))


@app.command()
def history(
    file: File = OTTO_YAML,
    node: Annotated[str, typer.Option("--node", help="Only this node.")] = "",
    last: Annotated[int, typer.Option("--last", min=1, help="How many applies.")] = 20,
    as_json: AsJson = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
) -> None:
    """Show what was applied from here: when, what it changed, and how it ended."""
    from otto_run import agreed, session

    with session.opened(file, password_file, ask_password, 0) as here:
        _exit(agreed.show_history(here, node, as_json=as_json, last=last))


@app.command()
def rollback(
    to: Annotated[
        str, typer.Argument(metavar="[NUMBER|REV]", help="An apply of `history`, or a revision.")
    ] = "",
    file: File = OTTO_YAML,
    limit: Limit = None,
    yes: Yes = False,
    as_json: AsJson = False,
    accept: Accept = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
    verbose: Verbose = 0,
) -> None:
    """Bring the nodes back to what an earlier apply gave them.

    Without NUMBER: the last good apply that left them with something else than they have now.
    Every node takes its own copy; one that has it no more is told before any node is touched.
    otto.yaml stays as it is, so the next apply goes forward again.
    """
    from otto_run import agreed, session

    with session.opened(file, password_file, ask_password, verbose) as here:
        _exit(agreed.rollback(here, to, limit or [], yes=yes, as_json=as_json, accept=accept))


@app.command()
def adopt(
    node: Annotated[str, typer.Argument(help="The node that it runs on.")],
    container: Annotated[str, typer.Argument(help="Name of the container.")],
    service: Annotated[
        str, typer.Option("--as", help="The service that takes it over.", metavar="SERVICE")
    ] = "",
    file: File = OTTO_YAML,
    yes: Yes = False,
    as_json: AsJson = False,
    accept: Accept = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
    verbose: Verbose = 0,
) -> None:
    """Take over a container that somebody started by hand.

    Where otto.yaml has the service: shows what differs, and replaces the container; it is put back
    if the new one does not come up. Where it has not: prints the service to add.
    """
    from otto_run import adopt as taking_over
    from otto_run import session

    with session.opened(file, password_file, ask_password, verbose) as here:
        _exit(
            taking_over.adopt(
                here, node, container, service, yes=yes, as_json=as_json, accept=accept
            )
        )


@app.command()
def status(
    file: File = OTTO_YAML,
    as_json: AsJson = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
) -> None:
    """Show how every node and service stands, as the agents last said."""
    from otto_run import commands, session

    with session.opened(file, password_file, ask_password, 0) as here:
        _exit(commands.status(here, as_json=as_json))


@app.command()
def events(
    file: Annotated[Path, typer.Option("--file", help="The cluster file.")] = OTTO_YAML,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    node: Annotated[str, typer.Option("--node", help="Only this node.")] = "",
    service: Annotated[str, typer.Option("--service", help="Only this service.")] = "",
    since: Annotated[
        str, typer.Option("--since", help="Only what is not older: 30m, 2h, 7d.", metavar="SPAN")
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="As JSON, one object a line, on stdout.")
    ] = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
) -> None:
    """Show what the agents saw and did: containers that died, were healed, could not be."""
    from otto_run import events as happened
    from otto_run import session

    with session.opened(file, password_file, ask_password, 0) as here:
        _exit(
            happened.show(
                here, follow=follow, node=node, service=service, since=since, as_json=as_json
            )
        )


@app.command()
def down(
    file: File = OTTO_YAML,
    limit: Limit = None,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="The volumes too, data and all.")
    ] = False,
    yes: Yes = False,
    accept: Accept = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
    verbose: Verbose = 0,
) -> None:
    """Take away what Otto made: containers, networks and agents."""
    from otto_run import commands, session

    with session.opened(file, password_file, ask_password, verbose) as here:
        _exit(commands.down(here, limit or [], volumes=volumes, yes=yes, accept=accept))


@app.command()
def push(
    image: Annotated[str, typer.Argument(help="An image of this machine's Docker.")],
    file: File = OTTO_YAML,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", help="To these nodes: a,b; else all that use it.", metavar="NODES"),
    ] = None,
    as_json: AsJson = False,
    accept: Accept = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
) -> None:
    """Bring an image to nodes over SSH, without a registry; only the layers that they lack."""
    from otto_run import push as pushing
    from otto_run import session

    with session.opened(file, password_file, ask_password, 0) as here:
        _exit(pushing.push(here, image, node or [], as_json=as_json, accept=accept))


@app.command()
def prune(
    file: File = OTTO_YAML,
    limit: Limit = None,
    check: Annotated[bool, typer.Option("--check", help="Only show what would go.")] = False,
    keep: Annotated[
        int | None, typer.Option("--keep", min=0, help="Earlier sets of images that stay.")
    ] = None,
    as_json: AsJson = False,
    accept: Accept = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
    verbose: Verbose = 0,
) -> None:
    """Remove images that Otto brought, that no container uses and no rollback needs."""
    from otto_run import prune as pruning
    from otto_run import session

    with session.opened(file, password_file, ask_password, verbose) as here:
        _exit(
            pruning.prune(here, limit or [], check=check, keep=keep, as_json=as_json, accept=accept)
        )


@app.command()
def rotate(
    nodes: Annotated[
        list[str] | None, typer.Argument(metavar="[NODE]...", help="Only these; else all.")
    ] = None,
    file: File = OTTO_YAML,
    ca: Annotated[
        bool, typer.Option("--ca", help="A new CA and certificate instead, for all nodes.")
    ] = False,
    accept: Accept = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
    verbose: Verbose = 0,
) -> None:
    """Give nodes new passwords for the broker. No container is touched."""
    from otto_run import rotate as rotation
    from otto_run import session

    with session.opened(file, password_file, ask_password, verbose) as here:
        _exit(rotation.rotate(here, nodes or [], ca=ca, accept=accept))


@app.command()
def doctor(
    file: File = OTTO_YAML,
    limit: Limit = None,
    as_json: AsJson = False,
    password_file: PasswordFile = None,
    ask_password: AskPassword = False,
) -> None:
    """Examine every node: SSH, host key, Python, sudo, Docker, disk, clock, broker."""
    from otto_run import commands, session

    with session.opened(file, password_file, ask_password, 0) as here:
        _exit(commands.doctor(here, limit or [], as_json=as_json))


@app.command("import")
def import_(
    compose: Annotated[Path, typer.Argument(help="The compose file.")],
    node: Annotated[
        str | None, typer.Option("--node", help="The node that its services are to run on.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="The compose project, whose networks and volumes they use."),
    ] = None,
) -> None:
    """Print a compose file as services of otto.yaml; `stacks:` takes one without this."""
    from otto_run import importer

    print(importer.imported(compose, node=node, name=name), end="")


@app.command()
def schema() -> None:
    """Print the JSON Schema of otto.yaml, for editors."""
    from ansible_collections.otto.cluster.plugins.module_utils import cluster_schema

    from otto_run.render import as_json

    print(as_json(cluster_schema.schema()))


@app.command()
def version() -> None:
    """Print Otto's version."""
    from importlib.metadata import version as installed

    print(f"otto-run {installed('otto-cluster')}")


# ---- the edge: every way to end becomes an exit code and a message


def main() -> NoReturn:
    """`otto-run`"""
    _run(app)


def otto() -> NoReturn:
    """`otto`"""
    _run(seed)


def _exit(code: Code) -> None:
    if code is not Code.DONE:
        raise typer.Exit(int(code))


def _run(program: typer.Typer) -> NoReturn:
    # A stop that is asked for by another program is a Ctrl-C: children ended, lock freed.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    code: int
    try:
        found: Any = program(standalone_mode=False)
        code = found if isinstance(found, int) else 0
        if code == Code.INTERRUPTED:  # typer makes this code of a KeyboardInterrupt
            raise KeyboardInterrupt
        sys.stdout.flush()
    except Stop as stop:
        code = stop.code
        if stop.message:
            _say(stop.message)
    except ClusterFileError as error:
        code = Code.USAGE
        _say(str(error))
    except OttoError as error:
        code = Code.FAILED
        _say(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = Code.INTERRUPTED
        _say("Interrupted: every child is ended and the lock is free.")
    except BrokenPipeError:
        # Who reads the pipe has gone; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Code.FAILED
    except Exception as error:
        code = _usage(error) or _crashed(error)
    sys.exit(int(code))


def _interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _usage(error: Exception) -> int:
    """Wrong usage, in typer's own words; 0 for any other error."""
    show = getattr(error, "show", None)
    if show is None or not hasattr(error, "exit_code"):
        return 0
    show()
    return int(error.exit_code)


def _crashed(error: Exception) -> Code:
    """A fault of Otto: one line for the person, the traceback in a log."""
    from ansible_collections.otto.cluster.plugins.plugin_utils.state import state_root

    log = state_root(os.environ) / "otto-run.log"
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {sys.argv[1:]}\n")
            stream.write("".join(traceback.format_exception(error)))
        where = f"the details are in {log}"
    except OSError as failure:
        where = f"{log} cannot be written: {failure.strerror}"
    _say(f"Otto itself failed: {type(error).__name__}: {error}\n    log       {where}")
    return Code.FAILED


def _say(text: str) -> None:
    # Who read it may be gone.
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
