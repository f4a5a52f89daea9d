# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that runs a program of the bundle which a node has, once the bundle was checked."""

from __future__ import annotations

import ast
import inspect
import shlex
from functools import cache

from ansible_collections.otto.cluster.plugins.module_utils import trusted
from ansible_collections.otto.cluster.plugins.module_utils.node import CURRENT
from ansible_collections.otto.cluster.plugins.plugin_utils.interpreter import guard

OTHER_BUNDLE = 90
"""Exit code where the node has another bundle, or one that is not as it was made."""
PROGRAM = "ansible_collections.otto.cluster.plugins.module_utils.target_main"
_START = f"""
why = altered(sys.argv[1], sys.argv[2])
if why:
    sys.stderr.write(why)
    sys.exit({OTHER_BUNDLE})
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from {PROGRAM} import main
main(sys.argv[2])
"""


def command(python: str, version: str, sha256: str) -> str:
    """For a shell on the node; arguments of the program go to its standard input.

    Nothing of the bundle is run before all of it was compared with `sha256`, by a text that comes
    from here. Python takes neither the environment nor the packages of the node (`-I -S`), and a
    `python:` of otto.yaml is looked at before it runs (`interpreter.REFUSED`).
    """
    words = [python, "-I", "-S", "-c", _text(), str(CURRENT.parent / version), sha256]
    current, name = shlex.quote(str(CURRENT)), shlex.quote(version)
    # In a directory that is root's: what is started there may look for files where it is.
    here = f'cd /; [ "$(readlink {current})" = {name} ] || exit {OTHER_BUNDLE}; exec '
    return guard(python) + here + shlex.join(words)


@cache
def _text() -> str:
    """The room `trusted` without what is said of it: it is sent with every call."""
    tree = ast.parse(inspect.getsource(trusted))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _said(each)]  # type: ignore[attr-defined]
    return ast.unparse(tree) + "\n" + _START


def _said(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
