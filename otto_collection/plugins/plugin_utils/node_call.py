# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an action of Otto calls a node: what comes back has gone through the gate.

Ansible obeys parts of a result (`add_host`, `ansible_facts`, `_ansible_*`, `ansible_stats`), prints
others as they come, and ends the run of all hosts where a part has another type than it thought.
Here a result becomes a typed value before Ansible sees it.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.otto.cluster.plugins.module_utils.edge import diff_of, page
from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.masking import masked
from ansible_collections.otto.cluster.plugins.plugin_utils import interpreter
from ansible_collections.otto.cluster.plugins.plugin_utils.gate import answers
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.shapes import Misfit
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.words import lines, one_line
from ansible_collections.otto.cluster.plugins.plugin_utils.own import (
    own_or_nothing,
    place_of,
    refuse_facts,
)

_ROOM = 192 << 20  # bytes of memory that one call may take in addition
_TAIL = 4000  # characters of what a program said besides, kept for a message


class Wall:
    """Where Ansible takes in what a node says; to be mixed into an action before its own class."""

    def gate(self, text: str) -> dict[str, Any]:
        """The result in the JSON text of a module. Raises Misfit."""
        raise NotImplementedError

    def _low_level_execute_command(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Bounded, and a connection's last words without what moves a cursor."""
        try:
            done: dict[str, Any] = super()._low_level_execute_command(*args, **kwargs)  # type: ignore[misc]
        except AnsibleConnectionFailure as error:
            raise AnsibleConnectionFailure(lines(str(error), _TAIL)) from None
        except AnsibleError as error:  # sudo did not answer as it has to, and what it said instead
            raise Misfit(one_line(str(error), _TAIL)) from None
        for name in ("stdout", "stderr"):
            text = str(done.get(name) or "")
            if len(text) > answers.MOST_BYTES:
                text = f"[more than {answers.MOST_BYTES >> 20} MiB, left out]"
            done[name] = text
            done[f"{name}_lines"] = text.splitlines()
        return done

    def _parse_returned_data(self, res: Mapping[str, Any], *_profile: Any) -> dict[str, Any]:
        """What a module printed, through the gate. Ansible's own reader knows types that a module
        may send; none of them is needed here, and what it does not know it prints."""
        # A login script may print something before.
        line = next(
            (
                each
                for each in reversed(str(res.get("stdout") or "").splitlines())
                if each.startswith("{")
            ),
            None,
        )
        try:
            if line is None:
                raise Misfit(one_line(_last(res), 600) or "it said nothing")
            found = self.gate(line)
        except Misfit as misfit:
            said = {
                f"module_{name}": lines(str(res.get(name) or ""), _TAIL)
                for name in ("stdout", "stderr")
            }
            found = {**unusable(str(misfit)), **said}
        return {**found, "_ansible_parsed": True}


class NodeAction(Wall, ActionBase):  # type: ignore[misc]
    """Base of all actions that call a node. MODULE: whose answers are to be expected."""

    MODULE = ""
    COUNTS = True
    """Whether what is dropped is told: an honest node says nothing but what it is asked for."""
    PLACES: tuple[str, ...] = ()
    """Arguments of the module that say where things are on a node."""
    SECONDS = 900.0
    """How long one call may take."""
    _requires_connection = True
    _supports_check_mode = True
    _supports_diff = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        variables = task_vars or {}
        self._host = str(variables.get("inventory_hostname", ""))
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            refuse_facts(variables, self._connection)
            found = self.work(variables)
        except OttoError as error:  # of this machine
            return result | {"failed": True, "changed": False, "msg": str(error)}
        except Misfit as misfit:
            found = unusable(str(misfit))
        except AnsibleConnectionFailure as error:
            raise AnsibleConnectionFailure(masked(str(error), tuple(self.sent()))) from None
        # Here, where every answer passes: also one that is none, and is quoted for that.
        secrets = tuple(self.sent())
        return result | (_without(found, secrets) if secrets else found) | {"of_node": True}

    def sent(self) -> Iterable[str]:
        """Secrets that this call brings to the node: it may say them again, for any reason."""
        return ()

    def work(self, variables: dict[str, Any]) -> dict[str, Any]:
        """What the action does: the module is asked, with those of PLACES that the inventory says
        and the task does not. variables: of the task; facts among them are the node's words."""
        place = place_of(own_or_nothing(variables))
        known = {key: place[key] for key in self.PLACES if key in place}
        return self.ask({**known, **self._task.args}, variables)

    def gate(self, text: str) -> dict[str, Any]:
        found, dropped = answers.parsed(self.MODULE, text)
        return {**found, "dropped": dropped} if dropped and self.COUNTS else found

    def ask(
        self, arguments: Mapping[str, Any], variables: Mapping[str, Any], module: str = ""
    ) -> dict[str, Any]:
        """Run the module on the node; its answer, typed. module: one that is not Otto's, which is
        answered in the shape of MODULE all the same."""
        with self.bounded():
            interpreter.check(self, variables)
            answer = self._execute_module(
                module or self.MODULE, dict(arguments), task_vars=dict(variables)
            )
        return self.passed(answer)

    def passed(self, answer: Any) -> dict[str, Any]:
        """An answer through the gate; what does not fit is a failure of this node alone."""
        try:
            found, dropped = answers.read(self.MODULE, answer)
        except Misfit as misfit:
            return unusable(str(misfit))
        if self.COUNTS:
            found["dropped"] = found.get("dropped", 0) + dropped
        return self._told(found)

    def passed_text(self, text: str) -> dict[str, Any]:
        """Like `passed`, of JSON text."""
        try:
            return self.passed(self.gate(text))
        except Misfit as misfit:
            return unusable(str(misfit))

    def diff(self, found: Mapping[str, Any]) -> dict[str, str] | None:
        """What `--diff` shows, made of the typed answer; None for nothing."""
        return diff_of(found["plan"]) if "plan" in found and not found.get("held") else None

    @contextlib.contextmanager
    def bounded(self) -> Iterator[None]:
        """While a node is called, this process (a worker of Ansible's, which has this one task)
        gets no more memory than `_ROOM` and no more time than SECONDS: a node that never ends its
        answer fails its own task."""
        if self._connection.transport == "local":  # this machine itself
            yield
            return
        limits = resource.getrlimit(resource.RLIMIT_AS)
        now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = now * resource.getpagesize() + _ROOM
        if limits[0] == resource.RLIM_INFINITY or most < limits[0]:
            resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
        # A task that has a `timeout` of its own keeps it.
        mine = signal.getitimer(signal.ITIMER_REAL)[0] == 0 and _is_main()
        before = signal.signal(signal.SIGALRM, _late) if mine else None
        if mine:
            signal.setitimer(signal.ITIMER_REAL, self.SECONDS)
        try:
            yield
        except MemoryError:
            raise Misfit(f"it does not fit into {_ROOM >> 20} MiB") from None
        except _Late:
            raise Misfit(f"it had not ended after {self.SECONDS / 60:g} minutes") from None
        finally:
            if mine:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
            resource.setrlimit(resource.RLIMIT_AS, limits)

    def _told(self, found: dict[str, Any]) -> dict[str, Any]:
        """What a person reads is written here, of typed parts, and not by the node."""
        errors = (found.get("report") or {}).get("errors")
        if found.get("failed") and errors:
            found["msg"] = page(self._host, [_EMPTY | error for error in errors])
        elif found.get("failed") and (found.get("cause") or found.get("next")):
            head = found.get("msg", "").split("\n")[0]
            found["msg"] = str(OttoError(head, found.get("cause", ""), found.get("next", "")))
        if self._task.diff and (diff := self.diff(found)) is not None:
            found["diff"] = diff
        found.setdefault("changed", False)
        if found.get("dropped"):
            text = f"{found['dropped']} parts of the answer were dropped: nobody asked for them"
            found["warnings"] = [*found.get("warnings", []), f"{self._host}: {text}"]
        else:
            found.pop("dropped", None)
        return found


UNUSABLE = "the node gave no answer that can be used"
_EMPTY = dict.fromkeys(("service", "message", "cause", "next"), "")


def unusable(cause: str) -> dict[str, Any]:
    """The result where a node gave no answer that can be used."""
    message = str(OttoError(UNUSABLE, cause))
    return {"failed": True, "changed": False, "msg": message, "cause": cause, "next": ""}


class _Late(BaseException):
    """A call took too long. No Exception: whoever tries again on one is not to try this again."""


def _late(_signum: int, _frame: Any) -> None:
    raise _Late


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


_NAMES = frozenset(
    {
        *("op", "verdict", "why", "cost", "plan_digest", "given", "revision", "version", "former"),
        *("config_sha256", "unit_sha256", "bundle_sha256", "container_id", "id", "digest"),
    }
)
"""Fields that hold no words: a secret that reads like one of them is not looked for there."""


def _without(value: Any, secrets: tuple[str, ...]) -> Any:
    """The answer without these secrets, wherever in a text they stand."""
    if isinstance(value, str):
        return masked(value, secrets)
    if isinstance(value, dict):
        return {
            key: item if key in _NAMES else _without(item, secrets) for key, item in value.items()
        }
    return [_without(item, secrets) for item in value] if isinstance(value, list) else value


def _last(res: Mapping[str, Any]) -> str:
    said = (str(res.get("stderr") or "") or str(res.get("stdout") or "")).strip().splitlines()
    return said[-1] if said else ""
