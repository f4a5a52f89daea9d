#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# ansible-test sanity on a copy of the collection (it refuses a linked one).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PATH="$root/.venv/bin:$PATH"
# The copy stays where it is between runs, for ansible-test keeps its own environment below it.
copy=$root/.venv/sanity/ansible_collections/otto/cluster
mkdir -p "$copy"
find "$copy" -mindepth 1 -maxdepth 1 ! -name tests ! -name .git -exec rm -rf {} +
cp -rL "$root/otto_collection/." "$copy"
find "$copy" -name __pycache__ -prune -exec rm -rf {} +
# ansible-test lists files through git: a repository of the copy's own shows it just these.
printf 'tests/output/\n' >"$copy/.gitignore"
git -C "$copy" init -q && git -C "$copy" add -A
version=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# It keeps virtual environments in its home, and makes them with a get-pip.py from the network;
# a home of its own and the pip that every interpreter carries need neither.
export HOME="$root/.venv/sanity-home"
pip_file=$(python - <<'PY'
from types import SimpleNamespace
from ansible_test._internal import python_requirements
packages = python_requirements.get_venv_packages(SimpleNamespace(version="3.11"))
print("get_pip_%s.py" % packages["pip"].replace(".", "_"))
PY
)
mkdir -p "$HOME/.ansible/test/cache"
printf 'import ensurepip\nensurepip.bootstrap()\n' >"$HOME/.ansible/test/cache/$pip_file"
cd "$copy"
tests=()
for test in validate-modules import ansible-doc yamllint pep8; do tests+=(--test "$test"); done
ansible-test sanity --python "$version" --venv --color no "${tests[@]}"
