# SPDX-License-Identifier: GPL-3.0-or-later
"""Every hint of the code that runs on a node is one that the control machine knows."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.hints import allowed

from tests.conftest import ROOT

# Cluster files are read on the control machine; their errors are problems, not hints.
NODE_SIDE = (
    ROOT / "otto_collection" / "plugins" / "module_utils",
    ROOT / "otto_collection" / "plugins" / "modules",
    ROOT / "otto_agent",
)
ON_CONTROL_MACHINE = ("caller.py", "ssh_way.py")
ERRORS = ("OttoError", "EngineError", "Trouble", "BrokenTarget")
FILLED = (
    "web",
    "nginx:alpine",
    "/var/lib/otto",
    "unix:///var/run/docker.sock",
    "arm64",
    "network",
    "cap_add: [web]",
)


def hints() -> Iterator[tuple[str, ast.expr]]:
    for folder in NODE_SIDE:
        for file in sorted(folder.rglob("*.py")):
            if file.name in ON_CONTROL_MACHINE:
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                found = [word.value for word in node.keywords if word.arg == "next"]
                if name in ERRORS and len(node.args) >= 3:
                    found.append(node.args[2])
                for each in found:
                    yield f"{file.name}:{each.lineno}", each


def variants(expression: ast.expr) -> list[str] | None:
    """The texts that an expression may be, with names filled in; None for one passed on."""
    match expression:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            pieces = [
                [part.value] if isinstance(part, ast.Constant) else list(FILLED) for part in parts
            ]
            return ["".join(map(str, choice)) for choice in itertools.product(*pieces)]
        case ast.Call(func=ast.Name(id="typed"), args=[ast.Constant(value=str(text)), *words]):
            choices = itertools.product(FILLED, repeat=len(words))
            return [text.format(*choice) for choice in choices]
        case ast.IfExp(body=body, orelse=other):
            return (variants(body) or []) + (variants(other) or [])
        case ast.BinOp(left=left, right=right):
            lefts = variants(left)
            rights = variants(right) or list(FILLED)
            return None if lefts is None else [a + b for a in lefts for b in rights]
    return None


HINTS = [(place, each) for place, each in hints() if variants(each) is not None]


def test_the_hints_are_found() -> None:
    """The reading of the code above sees what it is to see."""
    assert len(HINTS) > 30


@pytest.mark.parametrize(("place", "expression"), HINTS, ids=[place for place, _ in HINTS])
def test_a_hint_of_a_node_is_known(place: str, expression: ast.expr) -> None:
    """A new hint wants a line in gate/hints.py, or nobody ever sees it."""
    texts = variants(expression)
    assert texts and any(allowed(text) for text in texts), f"{place}: {ast.unparse(expression)}"


def test_hints_in_tables_are_known() -> None:
    """The tables of what an engine's refusal means."""
    from ansible_collections.otto.cluster.plugins.module_utils import engine_images, transport

    for _, text in (*engine_images._PULL_HINTS, *transport._HINTS):
        filled = text % "nginx:alpine" if "%s" in text else text
        assert allowed(filled), text
    for _, text in (
        engine_images._explained(_Engine(), "nginx:alpine", "unauthorized"),
        engine_images._explained(_Engine({"r.lan": ("u", "p")}), "r.lan/a:1", "unauthorized"),
    ):
        assert allowed(text), text


class _Engine:
    def __init__(self, registries: dict[str, tuple[str, str]] | None = None) -> None:
        self.registries = registries or {}


def test_the_agent_folder_is_where_it_was() -> None:
    """A moved folder would make the test above empty."""
    assert all(Path(folder).is_dir() for folder in NODE_SIDE)
