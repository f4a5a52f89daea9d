# SPDX-License-Identifier: GPL-3.0-or-later
"""One call to a node: bounded in time and memory, and what was sent is not shown."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.shapes import Misfit
from ansible_collections.otto.cluster.plugins.plugin_utils.node_call import NodeAction


class Call(NodeAction):
    MODULE = "otto.cluster.image_prune"
    SECONDS = 0.05

    def __init__(self, *secrets: str) -> None:
        self._connection = SimpleNamespace(transport="ssh")
        self._task = SimpleNamespace(diff=False)
        self._secrets = secrets
        self._host = "rpi-01"

    def sent(self) -> tuple[str, ...]:
        return self._secrets


def test_a_call_that_does_not_end_is_ended() -> None:
    """A node that says a byte now and then fails its own task."""
    with pytest.raises(Misfit, match="had not ended"), Call().bounded():
        threading.Event().wait(30)


def test_an_answer_that_does_not_fit_is_a_misfit() -> None:
    """A node that never stops fails its own task."""
    with pytest.raises(Misfit, match="does not fit"), Call().bounded():
        bytearray(1 << 30)


SECRET = "hunter2secret"
FORMS = (SECRET, f"x {SECRET} y", "aHVudGVyMnNlY3JldA==", f"a%20{SECRET}")


class Echo(Call):
    """Its node says what it was sent: in an answer, in one that is none, or in place of one."""

    def __init__(self, how: str, said: str) -> None:
        super().__init__(SECRET)
        self._how, self._said = how, said

    def work(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - the base's
        said = self._said
        if self._how == "answer":
            answer = {"failed": True, "msg": said, "removed": [said], "stderr": said}
            return self.passed(answer)
        if self._how == "no answer":
            return self._parse_returned_data({"stdout": said, "stderr": said})
        raise Misfit(said) if self._how == "error" else AnsibleConnectionFailure(said)


@pytest.mark.parametrize("said", FORMS)
def test_what_was_sent_is_not_shown_where_the_line_breaks(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """ssh tells what came before a connection ended."""
    monkeypatch.setattr(ActionBase, "run", lambda *_: {})
    with pytest.raises(AnsibleConnectionFailure) as failure:
        Echo("connection", said).run(None, {})
    assert SECRET not in str(failure.value) and "aHVudGVyMnNlY3JldA" not in str(failure.value)


@pytest.mark.parametrize("said", FORMS)
@pytest.mark.parametrize("how", ["answer", "no answer", "error"])
def test_what_was_sent_is_not_shown(monkeypatch: pytest.MonkeyPatch, how: str, said: str) -> None:
    """A node, a login script or a wrapper may say again what it was given."""
    monkeypatch.setattr(ActionBase, "run", lambda *_: {})
    found = Echo(how, said).run(None, {})
    assert found["failed"] and found["of_node"]
    assert SECRET not in str(found) and "aHVudGVyMnNlY3JldA" not in str(found)
