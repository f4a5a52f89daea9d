# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that a person is told to type: whoever chose a name in them chooses no command."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.cluster import Mqtt
from ansible_collections.otto.cluster.plugins.module_utils.cluster_file import load_file
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    OttoError,
    pasteable,
    typed,
)
from ansible_collections.otto.cluster.plugins.plugin_utils import access
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
WORD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(WORD, WORD)
def test_a_shell_reads_back_the_words(first, second):
    """A shell that is given the command sees the very words, and nothing besides."""
    command = typed("printf '%s\\0' {} {}", first, second)
    assert command.isprintable()
    shown = ["bash", "-c", command]
    done = subprocess.run(shown, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout.decode().split("\0") == [first, second, ""]


def test_a_harmless_word_stays_as_it_is():
    """Where nothing has to be quoted nothing is."""
    assert (
        typed("mv {0} {0}.broken", "/var/lib/x-1.db") == "mv /var/lib/x-1.db /var/lib/x-1.db.broken"
    )


@pytest.mark.parametrize("name", ["a   (b", "a   (b)", "x   (y; touch made #"])
def test_a_remark_begins_behind_the_words(name, tmp_path):
    """A name that looks like a remark is still one word of the command."""
    command = pasteable(typed("printf %s {}   (it shows it)", name))
    assert command.endswith("   # it shows it")
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=tmp_path, check=True)
    assert done.stdout.decode() == name


# ---- every place that fills a word into a command

_COMMAND = re.compile(
    r"(^|[;:,(] *|then: |or |\x20\x20)(sudo )?(ls|df|rm|mv|cp|cat|docker|otto-run|openssl|ssh"
    r"|ssh-keygen|ssh-keyscan|export|pip|chmod|chown|sudoedit|systemctl|journalctl|ping|ss|fuser|mkdir|kill"
    r"|--[a-z][a-z-]+)( -\S+)* \0"
)
"""A command with a slot among its first words."""
_QUOTES = {"typed", "quote", "join", "again"}
"""Who calls these has quoted: `shlex.join` and `shlex.quote`, `errors.typed`, `exits.again`."""
_THIRD = re.compile("Error$|^Trouble$|^_broken$")
_PLAIN = {
    # Names with a strict pattern, checked where they are read: ids of nodes, services, users.
    "node.id", "node.user", "service", "theirs",
    # Numbers, and words of Otto's own source.
    "who.pid", "mqtt.port", "FILE", "KNOWN_HOSTS", "ALLOW_FILES_FROM", "UNTRUSTED", "CONFIG", "OPT",
    "key", "kind", "other", "optional", "offered[0]", "_EXAMPLE.get(kind, '{}')",
    "'tls' if key == 'ca' else key", "installed('otto-cluster')",
    # Quoted already, in the line before.
    "folder", "parent", "then", "where", "clean(pasteable(next), 2000)",
    # Advice in words, with the key or the image of the person's own file; no command.
    "resting[other][0]", "whose", "text",
}  # fmt: skip


def _sources() -> Iterator[Path]:
    for folder in ("otto_collection/plugins", "otto_run", "otto_agent"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def _name(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def _told(tree: ast.AST) -> Iterator[ast.expr]:
    """The expressions of a module that a person is told to type."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (word.value for word in node.keywords if word.arg in ("next", "hint"))
            if _THIRD.search(_name(node)):
                yield from node.args[2:3]
            elif _name(node) == "Check":
                yield from node.args[3:4]
        elif isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values
            )
            if _COMMAND.search(text) or re.search("    next      .*\0", text):
                yield node


def _filled(told: ast.expr) -> Iterator[ast.expr]:
    """What is filled into a text unquoted."""
    if isinstance(told, ast.JoinedStr):
        starts = [
            at
            for at, part in enumerate(told.values)
            if isinstance(part, ast.Constant) and "    next      " in str(part.value)
        ]
        # A whole message: what stands before its `next` is not typed.
        for part in told.values[starts[0] if starts else 0 :]:
            if isinstance(part, ast.FormattedValue):
                yield from _filled_in(part.value)
    elif isinstance(told, ast.BinOp):
        for side in (told.left, told.right):
            yield from _filled(side) if not isinstance(side, ast.Name) else _filled_in(side)
    elif isinstance(told, ast.IfExp):
        yield from [*_filled(told.body), *_filled(told.orelse)]
    elif isinstance(told, ast.BoolOp):
        for value in told.values:
            yield from _filled(value)
    elif isinstance(told, ast.Call) and _name(told) == "format":
        for value in (*told.args, *(word.value for word in told.keywords)):
            yield from _filled_in(value)


def _filled_in(value: ast.expr) -> Iterator[ast.expr]:
    if isinstance(value, ast.Call) and _name(value) in _QUOTES:
        return
    if not isinstance(value, ast.Constant):
        yield value


def test_who_tells_a_command_quotes_its_words():
    """A word that is filled into a `next` or a `hint` is quoted, or on the list of plain ones."""
    bare = [
        (f"{path.relative_to(ROOT)}:{value.lineno}", ast.unparse(value))
        for path in _sources()
        for told in _told(ast.parse(path.read_text(encoding="utf-8")))
        for value in _filled(told)
    ]
    assert not [(place, word) for place, word in bare if word not in _PLAIN]
    assert {word for _place, word in bare} == _PLAIN  # the list names nothing that is gone


# ---- what an attacker did


def test_a_compose_file_that_is_not_there_adds_no_command(tmp_path):
    """The name of a stranger's compose file is one word of the command that looks for it."""
    (tmp_path / "otto.yaml").write_text(
        "cluster: {name: home}\nnodes: [{id: a, host: a, user: pi}]\n"
        'stacks: [{compose: "shop/x; touch made #.yml"}]\n'
    )
    with pytest.raises(ClusterFileError) as caught:
        load_file(str(tmp_path / "otto.yaml"), environ={})
    (hint,) = [problem.hint for problem in caught.value.problems if problem.hint]
    assert shlex.split(hint) == ["ls", "-l", str(tmp_path / "shop/x; touch made #.yml")]


def test_a_ca_that_is_not_there_adds_no_command(tmp_path):
    """The name of a stranger's certificate is one word of the command that shows it."""
    name = str(tmp_path / "c; touch made #")
    with pytest.raises(OttoError) as caught:
        access._ca(Mqtt("h", 8883, ca=name), tmp_path)
    assert shlex.split(caught.value.next)[:4] == ["openssl", "x509", "-in", name]
