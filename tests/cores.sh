#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The tests of the gate under another ansible-core: tests/cores.sh 2.21 python3.13 [pytest's arguments]
# The gate stands where Ansible takes a node's words in, and that place differs from release to release.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
core=$1 python=$2
shift 2
cd "$root"
if ! "$python" -c '' 2>/dev/null; then
  # pyenv has its interpreters where no shell looks.
  for found in "${PYENV_ROOT:-$HOME/.pyenv}/versions/${python#python}"*/bin/python; do
    if [ -x "$found" ]; then python=$found; fi
  done
fi
"$python" -c '' 2>/dev/null || {
  echo "tests/cores.sh: there is no $python, so ansible-core $core is not tried" >&2
  exit 1
}
venv=.venv/core-$core
if [ ! -e "$venv/.ready" ]; then
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --upgrade 'pip>=25.1'
  grep -v '^ansible-core==' constraints.txt >"$venv/constraints.txt"
  "$venv/bin/pip" install --quiet --constraint "$venv/constraints.txt" --editable . --group test "ansible-core==$core.*"
  touch "$venv/.ready"
fi
"$venv/bin/ansible" --version | sed -n 1p
"$venv/bin/python" -m pytest tests/gate "$@"
