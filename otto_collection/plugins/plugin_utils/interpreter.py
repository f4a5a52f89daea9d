# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python:` of a node is looked at there, by a shell, before anything runs it.

Root runs it at every plan. A service that writes to a volume or a mounted directory as root could
lay one there, so to belong to root is not enough: see `_GUARD`. Python itself cannot be asked, for
whatever answers may be theirs. A node without `python:` has the system's own, and pays nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.plugin_utils.gate.hints import SLOTS
from ansible_collections.otto.cluster.plugins.plugin_utils.installation import DEFAULT_PYTHON

REFUSED = 91
"""Exit code of a guard."""
MARK = "otto-python:"

# From the root on: every directory and the file belong to root, who alone may write them; links are
# followed one by one, as the kernel does; no directory is one that a container engine keeps its
# data in; the end lies where programs do. Of what lies in /opt, the packages beside it, too.
_GUARD = r"""
p=%(path)s; r=$p; h=; n=0
no() { printf '%(mark)s%%s:%%s\n' "$1" "$2"; exit %(refused)d; }
own() {
  s=$(stat -c %%u:%%A -- "$1" 2>/dev/null) || no missing "$1"
  case $s in 0:?????-??-?*) ;; *) no others "$1" ;; esac
}
own /
while :; do
  r=${r#/}; [ -n "$r" ] || break
  c=${r%%%%/*}
  case $r in */*) r=${r#*/} ;; *) r= ;; esac
  case $c in ''|.) continue ;; ..) h=${h%%/*}; continue ;; esac
  a=$h/$c
  if [ -h "$a" ]; then
    n=$((n+1)); [ $n -lt 40 ] || no missing "$a"
    t=$(readlink -- "$a") || no missing "$a"
    case $t in /*) h= ;; esac
    r=$t/$r
  else
    own "$a"; h=$a
    for d in volumes/metadata.db storage.lock; do [ ! -e "$a/$d" ] || no engine "$a"; done
  fi
done
case $h in /usr/*|/bin/*|/sbin/*|/opt/*) ;; *) no outside "$h" ;; esac
[ -f "$h" ] && [ -x "$h" ] || no missing "$h"
for d in "$p" "$h"; do
  case $d in /opt/*/*/*) ;; *) continue ;; esac
  d=${d%%/*/*}/lib; [ -d "$d" ] || continue
  a=$(find "$d" ! -type l \( ! -user 0 -o -perm -020 -o -perm -002 \) 2>/dev/null | head -n 1)
  [ -z "$a" ] || no others "$a"
done
"""

_CAUSES = {
    "others": "{at} may be written by others than root, who would be root at the next plan",
    "engine": "{at} is where a container engine keeps its data: a service may write there",
    "outside": "it leads to {at}, outside of /usr, /bin and /opt",
    "missing": "there is no program at {at}",
}
_NEXT = {
    "others": "on the node: sudo chown root:root {at}; sudo chmod go-w {at}",
    "missing": "on the node: ls -lL {path}",
}
_ELSEWHERE = (
    "take `python: {path}` out of otto.yaml (/usr/bin/python3 is what Otto needs), or lay it out"
    " anew as root: sudo python3 -m venv /opt/python"
)


def guard(path: str) -> str:
    """Text for a shell on the node that ends it with REFUSED where the path is not to be run; ""
    for the system's own Python."""
    if path == DEFAULT_PYTHON:
        return ""
    return _GUARD % {"path": shlex.quote(path), "mark": MARK, "refused": REFUSED}


def guarded(path: str, command: list[str]) -> list[str]:
    """A command that runs the path, and the guard before it; its input is the command's alone."""
    text = guard(path)
    return ["sh", "-c", f'{text}exec "$@"', "sh", *command] if text else command


def refusal(path: str, said: str) -> OttoError:
    """What a guard that ended with REFUSED has said, as an error. said: its output."""
    kind, at = "", ""
    for line in said.splitlines():
        if line.startswith(MARK):
            kind, _, at = line[len(MARK) :].partition(":")
    if not re.fullmatch(SLOTS["path"], at, re.ASCII):  # the node's word, and part of a command
        kind, at = "", ""
    return OttoError(
        f"The `python:` of this node is not run: {path}",
        cause=_CAUSES.get(kind, "its way could not be looked at").format(at=at),
        next=_NEXT.get(kind, _ELSEWHERE).format(at=shlex.quote(at), path=shlex.quote(path)),
    )


def check(action: Any, variables: Mapping[str, Any]) -> None:
    """Look at the Python of the host that an action is about to call a module on.

    action: an `ActionBase`. variables: of the task. Only for hosts of an otto.yaml: a path in an
    inventory of one's own is that inventory's word. Raises OttoError.
    """
    path = str(variables.get("ansible_python_interpreter") or "")
    if "otto_node" not in variables or not path.startswith("/"):
        return
    text = guard(path)
    if not text or getattr(action._connection, "transport", "") == "local":
        return
    done = action._low_level_execute_command(text)
    if done["rc"] == REFUSED:
        raise refusal(path, str(done["stdout"]))
    if done["rc"] != 0:
        raise OttoError(
            f"The `python:` of this node could not be looked at: {path}",
            cause=f"the shell there ended with code {done['rc']}",
            next="otto-run doctor",
        )
