# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands: `otto-run ...`, and the seed's `otto cluster init` and `otto cluster start`.

Each returns its exit code. Heavy imports stand inside the commands, so that `version`, `--help` and
completion stay quick.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

from otto_run import ends
from otto_run.exits import Code, Stop

if TYPE_CHECKING:
    from ansible_collections.otto.cluster.plugins.module_utils.caller import Caller

    from otto_run.session import Session

Command = Callable[..., Code]

OTTO_YAML = Path("otto.yaml")
PATH = click.Path(path_type=Path)


@click.group(
    "otto-run",
    context_settings={"max_content_width": 120},
    epilog="Exit codes: 0 done, 1 some node failed, 2 wrong usage or otto.yaml, 3 plan found "
    "changes (--exit-code), 4 another otto-run is at work, 130 interrupted.",
)
def app() -> None:
    """Turns otto.yaml into running, self-healing containers on your Docker hosts."""


@click.group("otto")
def seed() -> None:
    """The commands that Otto's first plan named; `otto-run` has them all."""


@seed.group("cluster")
def seed_cluster() -> None:
    """The whole cluster."""


# ---- options that several commands share


def _nodes(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """What the shell offers where nodes are asked for; nothing where the file cannot be read."""
    from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
    from ansible_collections.otto.cluster.plugins.module_utils.errors import ClusterFileError

    try:
        cluster = load_file(str(context.params.get("file") or OTTO_YAML), environ=os.environ)
    except (ClusterFileError, OttoError, OSError):
        return []
    before, comma, last = begun.rpartition(",")
    return [f"{before}{comma}{node.id}" for node in cluster.nodes if node.id.startswith(last)]


def _flag(*names: str, help: str) -> Callable[[Command], Command]:
    return click.option(*names, is_flag=True, help=help)


def _limit(*names: str, help: str) -> Callable[[Command], Command]:
    return click.option(*names, multiple=True, metavar="NODES", shell_complete=_nodes, help=help)


LIMIT = _limit("--limit", help="Only these nodes: a,b")
NODE = click.option("--node", shell_complete=_nodes, help="Only this node.")
AS_JSON = _flag("--json", "as_json", help="The result as JSON on stdout.")
YES = _flag("--yes", "-y", help="Ask nothing.")
ACCEPT = _flag("--accept-new-host-keys", "accept", help="Trust hosts that were never met before.")


_UNTRUSTED = (
    _flag(
        "--untrusted",
        help="Somebody else wrote the file: it gets what the options below give, and no more.",
    ),
    click.option(
        "--known-hosts",
        type=PATH,
        metavar="FILE",
        help="Untrusted: host keys come from here, and from nowhere else.",
    ),
    click.option(
        "--var",
        "variables",
        multiple=True,
        metavar="NAME",
        help="Untrusted: it gets this variable of the environment.",
    ),
    click.option(
        "--identity-file",
        "identity_files",
        type=PATH,
        multiple=True,
        metavar="FILE",
        help="Untrusted: SSH may log in with this key.",
    ),
    click.option(
        "--jump",
        "jumps",
        multiple=True,
        metavar="HOST",
        help="Untrusted: SSH may go through this host, as the file writes it.",
    ),
)
_ALLOW = click.option(
    "--allow-files-from",
    "folders",
    type=PATH,
    multiple=True,
    metavar="DIR",
    help="The file may name files that lie here, besides its own folder.",
)


def by_caller(*, untrusted: bool = False) -> Callable[[Command], Command]:
    """Options that say what a file may have; the command gets them as `caller`.

    untrusted: whether the command takes a file that somebody else wrote.
    """

    def decorate(body: Command) -> Command:
        @functools.wraps(body)
        def command(**said: Any) -> Code:
            from otto_run import strangers

            given = {name: said.pop(name) for name in strangers.OPTIONS if name in said}
            return body(caller=strangers.caller(given, untrusted=untrusted), **said)

        with_options: Command = command
        for option in reversed((*(_UNTRUSTED if untrusted else ()), _ALLOW)):
            with_options = option(with_options)
        return with_options

    return decorate


def on_cluster(
    *file_names: str, verbose: bool = False, changes: str = "", untrusted: bool = False
) -> Callable[[Command], Command]:
    """Options that say which cluster; the command gets it as a `Session`, opened.

    file_names: how the file is asked for, else --file and -f. verbose: whether it runs Ansible.
    changes: name of a command that changes something: the audit log has it.
    untrusted: whether it takes a file that somebody else wrote.
    """
    options: list[Callable[[Command], Command]] = [
        click.option(
            *(file_names or ("--file", "-f")),
            type=PATH,
            default=OTTO_YAML,
            show_default=True,
            is_eager=True,
            help="The cluster file.",
        ),
        click.option(
            "--vault-password-file",
            "password_file",
            type=PATH,
            help="File with the vault password.",
        ),
        _flag("--ask-vault-pass", "ask_password", help="Ask for the vault password."),
        by_caller(untrusted=untrusted),
    ]
    if verbose:
        options.append(
            click.option(
                "--verbose", "-v", count=True, help="Show Ansible's own output; -vv: more."
            )
        )

    def decorate(body: Command) -> Command:
        @functools.wraps(body)
        def command(
            file: Path,
            password_file: Path | None,
            ask_password: bool,
            caller: Caller,
            verbose: int = 0,
            **others: Any,
        ) -> Code:
            from otto_run import session

            if not changes or others.get("check"):
                with session.opened(file, password_file, ask_password, verbose, caller) as here:
                    return body(here, **others)
            from ansible_collections.otto.cluster.plugins.plugin_utils.state import state_root

            from otto_run import audit

            with (
                audit.Watch(state_root(os.environ), changes, file, session.say) as watch,
                session.opened(file, password_file, ask_password, verbose, caller, watch) as here,
            ):
                watch.begin(here.cluster.name, _asked_for(here, others))
                return watch.ended(body(here, **others))

        with_options: Command = command
        for option in reversed(options):
            with_options = option(with_options)
        return with_options

    return decorate


def _asked_for(here: Session, others: Mapping[str, Any]) -> list[str]:
    """The nodes that a command was typed for; none where it is wrong about them, and says so, or
    where they stand in a saved plan."""
    named = next((others[key] for key in ("limit", "nodes", "node") if others.get(key)), ())
    if others.get("saved"):
        return []
    try:
        limit = here.limited([named] if isinstance(named, str) else named)
    except Stop:
        return []
    return [node.id for node in here.chosen(limit)]


# ---- the commands


@app.command()
@click.argument("path", type=PATH, default=OTTO_YAML)
@_flag("--ansible", help="Also site.yml and ansible.cfg, for plain Ansible.")
def init(path: Path, ansible: bool) -> Code:
    """Write a commented otto.yaml to start from. Nothing is ever overwritten.

    PATH: where to write it, a file or a folder.
    """
    from otto_run import initfile

    # What is named as no YAML file is a folder, there already or not.
    is_file = path.suffix in (".yaml", ".yml") and not path.is_dir()
    target = path if is_file else path / "otto.yaml"
    initfile.write(target, ansible=ansible, say=print)
    return Code.DONE


@app.command()
@on_cluster(verbose=True, untrusted=True)
@LIMIT
@_flag("--exit-code", help="Exit with 3 when there is something to do.")
@AS_JSON
@click.option("--out", "-o", type=PATH, metavar="PLAN", help="Save the plan, for `apply PLAN`.")
@ACCEPT
def plan(
    here: Session,
    limit: Sequence[str],
    exit_code: bool,
    as_json: bool,
    out: Path | None,
    accept: bool,
) -> Code:
    """Show what an apply would do, and change nothing."""
    from otto_run import commands

    return commands.plan(here, limit, as_json=as_json, exit_code=exit_code, accept=accept, out=out)


@app.command()
@click.argument("saved", type=PATH, metavar="[PLAN]", required=False)
@on_cluster(verbose=True, changes="apply", untrusted=True)
@LIMIT
@YES
@_flag("--check", help="Only look: the same as plan.")
@AS_JSON
@ACCEPT
def apply(
    here: Session,
    saved: Path | None,
    limit: Sequence[str],
    yes: bool,
    check: bool,
    as_json: bool,
    accept: bool,
) -> Code:
    """Bring every node to what otto.yaml says.

    Asks first when a service that runs is no longer in the file (--yes: it does not). A changed
    service is not asked about: a failed update puts the old container back.

    With a PLAN that `plan --out` saved it does exactly that, or refuses, with the reason, because
    the file or a node has moved on since.
    """
    from otto_run import agreed, commands

    if saved is not None:
        if limit or check:
            raise Stop(Code.USAGE, "a saved PLAN is done as a whole: no --limit, no --check")
        return agreed.apply_saved(here, saved, as_json=as_json, accept=accept)
    if check:
        return commands.plan(here, limit, as_json=as_json, accept=accept)
    return commands.apply(here, limit, yes=yes, as_json=as_json, accept=accept)


@app.command()
@on_cluster(verbose=True, changes="up")
@_flag("--once", help="Wait for every agent's report, then end.")
@YES
@ACCEPT
def up(here: Session, once: bool, yes: bool, accept: bool) -> Code:
    """Apply, then stay as the control plane: broker, listener and the agents of local nodes."""
    from otto_run import control

    return control.up(here, once=once, yes=yes, accept=accept)


@app.command()
@on_cluster()
@NODE
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many applies.",
)
@AS_JSON
def history(here: Session, node: str | None, last: int, as_json: bool) -> Code:
    """Show what was applied from here: when, what it changed, and how it ended."""
    from otto_run import agreed

    return agreed.show_history(here, node, as_json=as_json, last=last)


@app.command()
@click.option("--cluster", default="", metavar="NAME", help="Only this cluster; else all of them.")
@click.option(
    "--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many runs."
)
@AS_JSON
def audit(cluster: str, last: int, as_json: bool) -> Code:
    """Show who had what changed from this machine, on which nodes, and what was refused."""
    from ansible_collections.otto.cluster.plugins.plugin_utils.state import state_root

    from otto_run import audit_show

    return audit_show.show(state_root(os.environ), last=last, cluster=cluster, as_json=as_json)


@app.command()
@click.argument("to", metavar="[NUMBER|REV]", default="")
@on_cluster(verbose=True, changes="rollback")
@LIMIT
@YES
@AS_JSON
@ACCEPT
def rollback(
    here: Session, to: str, limit: Sequence[str], yes: bool, as_json: bool, accept: bool
) -> Code:
    """Bring the nodes back to what an earlier apply gave them.

    NUMBER is an apply of `history`, REV a revision. Without: the last good apply that left them
    with something else than they have now. Every node takes its own copy; one that has it no more
    is told before any node is touched. otto.yaml stays as it is, so the next apply goes forward
    again.
    """
    from otto_run import agreed

    return agreed.rollback(here, to, limit, yes=yes, as_json=as_json, accept=accept)


@app.command()
@click.argument("node", shell_complete=_nodes)
@click.argument("container")
@click.option(
    "--as", "service", default="", metavar="SERVICE", help="The service that takes it over."
)
@on_cluster(verbose=True, changes="adopt")
@YES
@AS_JSON
@ACCEPT
def adopt(
    here: Session,
    node: str,
    container: str,
    service: str,
    yes: bool,
    as_json: bool,
    accept: bool,
) -> Code:
    """Take over a container that somebody started by hand on a node.

    Where otto.yaml has the service: shows what differs, and replaces the container; it is put back
    if the new one does not come up. Where it has not: prints the service to add.
    """
    from otto_run import adopt as taking_over

    return taking_over.adopt(
        here, node, container, service, yes=yes, as_json=as_json, accept=accept
    )


@app.command()
@on_cluster()
@AS_JSON
def status(here: Session, as_json: bool) -> Code:
    """Show how every node and service stands, as the agents last said."""
    from otto_run import commands

    return commands.status(here, as_json=as_json)


@app.command()
@on_cluster("--file")
@_flag("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
@NODE
@click.option("--service", default="", help="Only this service.")
@click.option("--since", default="", metavar="SPAN", help="All that is not older: 30m, 2h, 7d.")
@_flag("--json", "as_json", help="As JSON, one object a line, on stdout.")
def events(
    here: Session, follow: bool, node: str | None, service: str, since: str, as_json: bool
) -> Code:
    """Show what the agents saw and did: containers that died, were healed, could not be.

    Without --since the last 1000.
    """
    from otto_run import events as happened

    return happened.show(
        here, follow=follow, node=node, service=service, since=since, as_json=as_json
    )


@app.command()
@on_cluster(verbose=True, changes="down")
@LIMIT
@_flag("--volumes", help="The volumes too, data and all.")
@YES
@ACCEPT
def down(here: Session, limit: Sequence[str], volumes: bool, yes: bool, accept: bool) -> Code:
    """Take away what Otto made: containers, networks and agents."""
    from otto_run import commands

    return commands.down(here, limit, volumes=volumes, yes=yes, accept=accept)


@app.command()
@click.argument("image")
@on_cluster(changes="push")
@_limit("--node", help="To these nodes: a,b; else all that use it.")
@AS_JSON
@ACCEPT
def push(here: Session, image: str, node: Sequence[str], as_json: bool, accept: bool) -> Code:
    """Bring an image to nodes over SSH, without a registry; only the layers that they lack.

    IMAGE: one of this machine's Docker.
    """
    from otto_run import push as pushing

    return pushing.push(here, image, node, as_json=as_json, accept=accept)


@app.command()
@on_cluster(verbose=True, changes="prune")
@LIMIT
@_flag("--check", help="Only show what would go.")
@click.option("--keep", type=click.IntRange(min=0), help="Earlier sets of images that stay.")
@AS_JSON
@ACCEPT
def prune(
    here: Session,
    limit: Sequence[str],
    check: bool,
    keep: int | None,
    as_json: bool,
    accept: bool,
) -> Code:
    """Remove images that Otto brought, that no container uses and no rollback needs."""
    from otto_run import prune as pruning

    return pruning.prune(here, limit, check=check, keep=keep, as_json=as_json, accept=accept)


@app.command()
@click.argument("nodes", metavar="[NODE]...", nargs=-1, shell_complete=_nodes)
@on_cluster(verbose=True, changes="rotate")
@_flag("--ca", help="A new CA and certificate instead, for all nodes.")
@ACCEPT
def rotate(here: Session, nodes: Sequence[str], ca: bool, accept: bool) -> Code:
    """Give nodes new passwords for the broker: these, else all. No container is touched."""
    from otto_run import rotate as rotation

    return rotation.rotate(here, nodes, ca=ca, accept=accept)


@app.command()
@on_cluster(untrusted=True)
@LIMIT
@AS_JSON
@ACCEPT
def doctor(here: Session, limit: Sequence[str], as_json: bool, accept: bool) -> Code:
    """Examine every node: SSH, host key, Python, sudo, Docker, disk, clock, broker."""
    from otto_run import commands

    return commands.doctor(here, limit, as_json=as_json, accept=accept)


@app.group()
def policy() -> None:
    """What a node's owner allows on it: /etc/otto/policy.yaml there."""


@policy.command("init")
@click.argument("node", shell_complete=_nodes)
@on_cluster()
def policy_init(here: Session, node: str) -> Code:
    """Print the strictest policy under which the services of a node run.

    Nothing is written: the first lines say how to put it there. Without a policy everything is
    allowed.
    """
    from otto_run import policy as owner

    return owner.init(here, node)


@app.command("import")
@click.argument("compose", type=PATH)
@click.option("--node", help="The node that its services are to run on.")
@click.option("--name", help="The compose project, whose networks and volumes they use.")
@by_caller(untrusted=True)
def import_(compose: Path, node: str | None, name: str | None, caller: Caller) -> Code:
    """Print a compose file as services of otto.yaml; `stacks:` takes one without this."""
    from otto_run import importer

    print(importer.imported(compose, node=node, name=name, caller=caller).text, end="")
    return Code.DONE


@app.command()
def schema() -> Code:
    """Print the JSON Schema of otto.yaml, for editors."""
    from ansible_collections.otto.cluster.plugins.module_utils import cluster_schema

    from otto_run.render import as_json

    print(as_json(cluster_schema.schema()))
    return Code.DONE


@app.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> Code:
    """Print what makes a shell complete commands, options and nodes.

    bash, zsh: put `source <(otto-run completion bash)` into ~/.bashrc. fish: `otto-run completion
    fish | source`.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    print(found(app, {}, "otto-run", "_OTTO_RUN_COMPLETE").source())
    return Code.DONE


@app.command()
def version() -> Code:
    """Print Otto's version."""
    from importlib.metadata import version as installed

    print(f"otto-run {installed('otto-cluster')}")
    return Code.DONE


seed_cluster.add_command(init)
seed_cluster.add_command(up, "start")


def main() -> NoReturn:
    """`otto-run`"""
    ends.run(app)


def otto() -> NoReturn:
    """`otto`"""
    ends.run(seed)


if __name__ == "__main__":
    main()
