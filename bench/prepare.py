# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be there before anything is timed."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence

from bench.contenders import BENCH, CHECKOUT, OTHERS
from bench.hosts import BenchError, Shell, on_all
from bench.workload import Workload


def others() -> None:
    """The contenders' own environment, installed once per content of requirements.txt."""
    requirements = (BENCH / "requirements.txt").read_text(encoding="utf-8")
    stamp = OTHERS.parent / "installed"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == requirements:
        return
    print("bench/.venv: installing what Otto is compared with", file=sys.stderr, flush=True)
    venv.create(OTHERS.parent, with_pip=True, clear=True)
    pip = [str(OTHERS / "python"), "-m", "pip", "install", "--quiet", "--requirement"]
    done = subprocess.run([*pip, str(BENCH / "requirements.txt")], stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise BenchError("pip could not install bench/requirements.txt (its words stand above)")
    stamp.write_text(requirements, encoding="utf-8")


def lab(*words: str) -> None:
    """Run a command of the lab; its words go to stderr, for stdout is the table's or the JSON's."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", *words], cwd=CHECKOUT, stdout=sys.stderr, check=False
    )
    if done.returncode != 0:
        raise BenchError(f"`python3 -m lab {' '.join(words)}` failed (its words stand above)")


def nodes(shell: Shell, work: Workload) -> None:
    """Images on every node, and what community.docker needs there (python3-requests)."""
    pulls = "; ".join(f"docker pull --quiet {image}" for image in work.images)
    script = (
        "python3 -c 'import requests' 2>/dev/null || { apt-get update -q; "
        "DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "
        f"python3-requests; }}; {pulls}"
    )
    on_all(work.nodes, lambda node: shell.run(node, script))


def versions(shell: Shell, work: Workload, project_python: str) -> dict[str, str]:
    """Name -> version of everything that took part."""

    def ask(python: str, names: Sequence[str]) -> dict[str, str]:
        script = (
            "import importlib.metadata as m, sys; "
            "print(*(m.version(name) for name in sys.argv[1:]), sep='\\n')"
        )
        words = [python, "-c", script, *names]
        text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        return dict(zip(names, text.split(), strict=True))

    theirs = ask(str(OTHERS / "python"), ["ansible", "ansible-core", "pyinfra"])
    ours = ask(project_python, ["otto-cluster", "ansible-core"])
    docker = on_all(
        work.nodes,
        lambda node: shell.run(node, "docker version -f '{{.Server.Version}}'").strip(),
    )
    return {
        "otto-cluster": ours["otto-cluster"],
        "ansible-core (Otto)": ours["ansible-core"],
        "ansible-core (community.docker)": theirs["ansible-core"],
        "ansible": theirs["ansible"],
        "pyinfra": theirs["pyinfra"],
        **{f"Docker on {name}": version for name, version in docker.items()},
    }
