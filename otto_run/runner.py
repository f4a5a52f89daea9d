# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of one of Otto's playbooks: ansible-runner, wrapped so that nothing of it is left.

ansible-runner works in a thread; its events arrive here as typed values, in the caller's thread.
An interrupt (Ctrl-C, SIGTERM) ends Ansible in two steps and proves that no child is left.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.caller import ONESELF, Caller
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.plugin_utils.gate import answers
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.shapes import Misfit
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.words import lines, one_line

from otto_run import processes
from otto_run.ahead import SSH_ARGS
from otto_run.paths import StatePaths, control_sockets

TARGET_ACTIONS = (
    "otto.cluster.target",
    "otto.cluster.first_plan",
    "otto.cluster.image_prune",
    "otto.cluster.container_service",
)
"""The tasks whose result says what becomes of a node, or what was asked of it."""
_INTERRUPT_GRACE = 4.0  # seconds for Ansible to end its workers after SIGINT
_MOST_OUTPUT = 200_000  # characters of one event's output
_TAIL = 40  # lines of plain output kept for the case that a run ends before its first event


@dataclass(frozen=True)
class Request:
    """What to run.

    nodes: all of the cluster. limit: some of them, empty for all. variables: extra variables;
    whatever stands in them is no template.
    """

    playbook: str
    file: Path
    paths: StatePaths
    nodes: tuple[str, ...]
    limit: tuple[str, ...] = ()
    check: bool = False
    verbosity: int = 0
    variables: Mapping[str, Any] = field(default_factory=dict)
    vault_password_file: Path | None = None
    caller: Caller = ONESELF


@dataclass(frozen=True)
class TaskStarted:
    node: str
    task: str
    action: str = ""


@dataclass(frozen=True)
class TaskDone:
    """result: what the module returned, as `answers.read` gives it."""

    node: str
    task: str
    action: str
    changed: bool
    result: Mapping[str, Any]


@dataclass(frozen=True)
class TaskFailed:
    node: str
    task: str
    action: str
    unreachable: bool
    result: Mapping[str, Any]

    @property
    def message(self) -> str:
        """The best that Ansible has: a module that crashed has its last words in `exception`."""
        text = str(self.result.get("msg") or self.result.get("stderr") or "no message").strip()
        exception = self.result.get("exception")
        if isinstance(exception, str) and exception.strip():
            words = exception.strip().splitlines()[-1].strip()
            if words not in text:
                text = f"{text} {words}"
        return text


@dataclass(frozen=True)
class Scheduled:
    """A node has something to change, and waits for its batch. batch: 1 for the first one."""

    node: str
    batch: int


@dataclass(frozen=True)
class Output:
    """A piece of Ansible's own output, without what moves a cursor: nodes have a part in it."""

    text: str


Event = TaskStarted | TaskDone | TaskFailed | Scheduled | Output


@dataclass(frozen=True)
class Outcome:
    """code: Ansible's exit code. changed, failed, unreachable: node ids.

    failures: the last failure of each failed node. results: what `otto.cluster.target` returned
    for each node, also for one that failed. agents: the agent's version on each node that has one.
    batches: the batch of each node that waited for one. held: those whose batch was not begun.
    steps: what was done on a node besides its target, or would be: Docker, agent, broker.
    """

    code: int
    nodes: frozenset[str]
    changed: frozenset[str]
    failed: frozenset[str]
    unreachable: frozenset[str]
    failures: Mapping[str, TaskFailed]
    results: Mapping[str, Mapping[str, Any]]
    agents: Mapping[str, str]
    seconds: float
    batches: Mapping[str, int] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    steps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def how(self, node: str) -> str:
        """done, failed, unreachable or held back"""
        if node in self.unreachable:
            return "unreachable"
        if node in self.failed:
            return "failed"
        return "held back" if node in self.held else "done"


def run(
    request: Request,
    handle: Callable[[Event], None],
    *,
    keep: Callable[[], list[int]] = list,
    tick: Callable[[], None] | None = None,
) -> Outcome:
    """Run a playbook; `handle` gets every event in this thread, `tick` is called in between.

    keep: pids of children that are not part of the run and survive an interrupt.
    Raises KeyboardInterrupt after everything is ended (the program is to end then: signals are
    ignored from there on); OttoError when Ansible did not get as far as a node.
    """
    request.paths.runs.mkdir(mode=0o700, exist_ok=True)
    _sweep(request.paths.runs)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=request.paths.runs))
    try:
        return _Run(request, directory).go(handle, keep, tick)
    finally:
        # The artifacts hold the whole environment of the run.
        shutil.rmtree(directory, ignore_errors=True)


def _sweep(runs: Path) -> None:
    """Remove what a run left that was killed; only ever called under the cluster's lock."""
    for leftover in runs.glob("run-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _programs() -> str:
    """PATH with the ansible-playbook of this very Python first, so that both see one collection."""
    beside = Path(sys.executable).parent
    path = os.pathsep.join((str(beside), os.environ.get("PATH", os.defpath)))
    if not shutil.which("ansible-playbook", path=path):
        raise OttoError(
            "ansible-playbook is not there",
            cause=f"neither in {beside} nor in PATH",
            next=typed("{} -m pip install ansible-core", sys.executable),
        )
    return path


def environment(request: Request, directory: Path) -> dict[str, str]:
    """The settings of a run: the same wherever otto-run is typed, whatever ansible.cfg says there.

    ANSIBLE_* variables of the user that are not named here still count.
    """
    config = directory / "ansible.cfg"
    # A hundred looks a second whether a node has answered, instead of a thousand.
    config.write_text("[defaults]\ninternal_poll_interval = 0.01\n", encoding="utf-8")
    spec = importlib.util.find_spec("ansible_collections.otto.cluster")
    if spec is None or not spec.submodule_search_locations:
        raise OttoError(
            "The Ansible collection otto.cluster is not installed",
            next=typed("{} -m pip install --force-reinstall otto-cluster", sys.executable),
        )
    collection = Path(next(iter(spec.submodule_search_locations)))
    return {
        "ANSIBLE_CONFIG": str(config),
        # First, so that an older otto.cluster in ~/.ansible/collections does not shadow this one.
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(
            (str(collection.parents[2]), str(Path("~/.ansible/collections").expanduser()))
        ),
        "ANSIBLE_INVENTORY_ENABLED": "otto.cluster.otto",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_INJECT_FACT_VARS": "False",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_SSH_ARGS": SSH_ARGS,
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control_sockets(request.paths)),
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_DEPRECATION_WARNINGS": "True" if request.verbosity else "False",
        "OTTO_FILE": str(request.file),
        "OTTO_STATE": str(request.paths.root),
        "PATH": _programs(),
        # The inventory plugin reads the file once more, and by the same rules.
        **request.caller.environment(),
    }


def write_variables(directory: Path, variables: Mapping[str, Any]) -> None:
    """Leave extra variables where ansible-runner takes them from. They come from a terminal, a
    saved plan, the store: ansible-core takes what is not marked unsafe for templates of its own."""
    if not variables:
        return
    file = directory / "env" / "extravars"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    text = "".join(f"{name}: !unsafe {json.dumps(value)}\n" for name, value in variables.items())
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)


def heard(action: str, result: Any) -> dict[str, Any]:
    """The result of a task as an event has it, through the gate a second time: what Ansible and
    ansible-runner made of it on the way need not be known here."""
    if not isinstance(result, Mapping):
        return {}
    if action in answers.SHAPES and not result.get("of_node"):
        return answers.here(result)  # what failed on this machine, before the node was asked
    try:
        return answers.read(action, result)[0]
    except Misfit as misfit:
        if action in answers.SHAPES:
            return {"failed": True, "msg": f"its answer cannot be used: {misfit}"}
        return {"changed": result.get("changed") is True}


def _batch(node: str, action: str, result: Any) -> int:
    """The batch that a node is in, from 1; 0 where this is no event of a batch."""
    if action != "ansible.builtin.include_tasks" or not isinstance(result, Mapping):
        return 0
    names, index = result.get("otto_batch"), result.get("otto_batch_index")
    mine = isinstance(names, list) and node in names
    return index + 1 if mine and isinstance(index, int) else 0


def _agent_version(action: str, result: Mapping[str, Any]) -> str:
    """The agent's version as a module saw or left it; "" where it has nothing to say."""
    if action == "otto.cluster.agent":
        return str(result.get("version") or "")
    if action == "otto.cluster.target":
        seen = (result.get("node") or {}).get("agent") or {}
        return str(seen.get("version") or "")
    return ""


def _steps(task: str, action: str, result: Mapping[str, Any]) -> list[str]:
    """What a task changed, or would change, a line each."""
    changes = result.get("changes")
    if action == "otto.cluster.agent" and isinstance(changes, list) and changes:
        told = [str(line) for line in changes]
        # With another version comes all that goes with it.
        return told[:1] if told[0].startswith("agent: ") else [f"agent: {x}" for x in told]
    if action == "ansible.builtin.debug":
        return [one_line(str(result.get("msg") or task), 200)]
    return [task]


class _Run:
    def __init__(self, request: Request, directory: Path) -> None:
        self._request = request
        self._directory = directory
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._results: dict[str, Mapping[str, Any]] = {}
        self._agents: dict[str, str] = {}
        self._failures: dict[str, TaskFailed] = {}
        self._waiting: set[str] = set()
        self._batches: dict[str, int] = {}
        self._steps: dict[str, tuple[str, ...]] = {}
        self._stats: Mapping[str, Any] | None = None
        self._tail: list[str] = []
        self._code = -1
        self._crash: BaseException | None = None
        self._give_up = False

    def go(
        self,
        handle: Callable[[Event], None],
        keep: Callable[[], list[int]],
        tick: Callable[[], None] | None,
    ) -> Outcome:
        began = time.monotonic()
        environ = environment(self._request, self._directory)
        thread = threading.Thread(target=self._work, args=(environ,), daemon=True)
        thread.start()
        try:
            while thread.is_alive() or not self._events.empty():
                with contextlib.suppress(queue.Empty):
                    event = self._events.get(timeout=0.1)
                    if event is not None:
                        handle(event)
                if tick is not None:
                    tick()
        except BaseException:
            self._end(thread, keep())
            raise
        if self._crash is not None:
            raise OttoError("ansible-runner failed", cause=str(self._crash)) from self._crash
        return self._outcome(time.monotonic() - began)

    def _work(self, environ: dict[str, str]) -> None:
        # Imported here: 0.2 s that the other commands need not pay.
        import ansible_runner

        request = self._request
        cmdline = ["--check"] if request.check else []
        if request.vault_password_file:
            cmdline.append(f"--vault-password-file={request.vault_password_file}")
        try:
            write_variables(self._directory, request.variables)
            done = ansible_runner.run(
                private_data_dir=str(self._directory),
                playbook=request.playbook,
                inventory=str(request.file),
                envvars=environ,
                limit=",".join(request.limit) or None,
                cmdline=shlex.join(cmdline) or None,
                forks=max(5, min(50, len(request.nodes))),
                verbosity=request.verbosity or None,
                quiet=True,
                suppress_env_files=True,
                settings={"pexpect_timeout": 1, "suppress_output_file": True},
                event_handler=self._event,
                # With a cancel callback ansible-runner leaves our signal handlers alone.
                cancel_callback=lambda: self._give_up,
            )
            self._code = int(done.rc if done.rc is not None else -1)
        except BaseException as error:  # handed to the caller's thread
            self._crash = error
        finally:
            self._events.put(None)  # who waits for an event need not wait for its time-out

    def _event(self, raw: dict[str, Any]) -> bool:
        """Called by ansible-runner in its thread. False: it need not write the event to a file."""
        try:
            for event in self._typed(raw):
                self._events.put(event)
        except Exception as error:  # an exception here would kill the run without a word
            self._events.put(Output(f"[otto-run] an event could not be read: {error!r}"))
        return False

    def _typed(self, raw: dict[str, Any]) -> list[Event]:
        kind = str(raw.get("event", ""))
        data = raw.get("event_data") or {}
        found: list[Event] = []
        text = lines(str(raw.get("stdout") or ""), _MOST_OUTPUT)
        if text.strip():
            self._tail = (self._tail + text.splitlines())[-_TAIL:]
            found.append(Output(text))
        if kind == "playbook_on_stats":
            self._stats = data
        node = data.get("host")
        # The playbooks count the nodes in a play of their own, on the control machine.
        if not isinstance(node, str) or node not in self._request.nodes:
            return found
        task = str(data.get("task") or "")
        action = str(data.get("resolved_action") or data.get("task_action") or "")
        result = heard(action, data.get("res"))
        done = kind in ("runner_on_ok", "runner_on_failed")
        if action in TARGET_ACTIONS and done:
            if result.get("missing") or result.get("held"):
                self._waiting.add(node)
            else:
                self._waiting.discard(node)
                self._results[node] = result
        if kind == "runner_item_on_ok" and not self._batches.get(node):
            batch = _batch(node, action, data.get("res"))
        else:
            batch = 0
        if batch:
            self._batches[node] = batch
            found.append(Scheduled(node, batch))
        if kind == "runner_on_ok" and (version := _agent_version(action, result)):
            self._agents[node] = version
        if kind == "runner_on_ok" and result.get("changed") and action not in TARGET_ACTIONS:
            done_before = self._steps.get(node, ())
            self._steps[node] = (*done_before, *_steps(task, action, result))
        if kind == "runner_on_start":
            found.append(TaskStarted(node, task, action))
        elif kind in ("runner_on_ok", "runner_item_on_ok"):
            found.append(TaskDone(node, task, action, bool(result.get("changed")), result))
        elif kind in ("runner_on_failed", "runner_on_unreachable") and not data.get(
            "ignore_errors"
        ):
            failed = TaskFailed(node, task, action, kind.endswith("unreachable"), result)
            self._failures[node] = failed
            found.append(failed)
        return found

    def _end(self, thread: threading.Thread, keep: list[int]) -> None:
        """Ansible gets SIGINT (it tells its workers), then everything SIGTERM, then SIGKILL.

        A second Ctrl-C skips the waiting; a third one is not heard.
        """
        grace = 3.0
        try:
            mine = [pid for pid in processes.descendants() if pid not in set(keep)]
            ansible = [pid for pid in mine if not processes.name(pid).startswith("ssh")]
            processes.tell(ansible[:1], signal.SIGINT)
            deadline = time.monotonic() + _INTERRUPT_GRACE
            while thread.is_alive() and time.monotonic() < deadline:
                thread.join(0.1)
        except KeyboardInterrupt:
            grace = 0.2
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        left = processes.end_all(keep, grace=grace)
        self._give_up = True
        thread.join(5)
        if left:
            names = ", ".join(f"{pid} ({processes.name(pid)})" for pid in left)
            raise OttoError(
                "Some processes of the run do not end",
                cause=names,
                next="kill -KILL " + " ".join(map(str, left)),
            )

    def _outcome(self, seconds: float) -> Outcome:
        stats = self._stats
        tail = "\n".join(self._tail).strip()
        if stats is None:
            raise OttoError(
                f"Ansible ended with code {self._code} before it reached a node",
                cause=tail or "it said nothing",
                next="otto-run doctor",
            )
        known = frozenset(self._request.nodes)
        failed = frozenset(stats.get("failures") or ())
        dark = frozenset(stats.get("dark") or ()) & known
        nodes = (frozenset(stats.get("processed") or ()) | failed | dark) & known
        if not nodes:
            raise OttoError("Ansible found no node to work on", cause=tail, next="otto-run doctor")
        if self._code and not failed and not dark:
            raise OttoError(
                f"Ansible ended with code {self._code}", cause=tail, next="otto-run apply -v"
            )
        return Outcome(
            code=self._code,
            nodes=nodes,
            # Who failed in the middle has changed all the same; Ansible does not count that.
            changed=frozenset(
                [node for node, n in (stats.get("changed") or {}).items() if n]
                + [node for node, result in self._results.items() if result.get("changed")]
            )
            & known,
            failed=failed & known,
            unreachable=dark,
            failures={n: f for n, f in self._failures.items() if n in failed | dark},
            results=dict(self._results),
            agents=dict(self._agents),
            seconds=seconds,
            batches=dict(self._batches),
            held=frozenset(self._waiting) & nodes - failed - dark,
            steps=dict(self._steps),
        )
