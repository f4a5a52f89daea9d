# SPDX-License-Identifier: GPL-3.0-or-later
"""otto-run in a process that Python itself watches: every file that is opened, every program.

Standard input: JSON, a list of {folder, arguments}. Standard output: for each {code, said, opened,
ran}. Python's audit events are raised by the interpreter, whatever way the code took.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import Any

OPENED: list[str] = []
RAN: list[list[str]] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        OPENED.append(os.fsdecode(arguments[0]))
    elif event in ("os.listdir", "os.scandir", "os.rename", "os.symlink", "os.mkdir"):
        OPENED.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else "?")
    elif event == "subprocess.Popen":
        RAN.append([os.fsdecode(word) for word in arguments[1]])
    elif event in ("os.exec", "os.posix_spawn", "os.system"):
        RAN.append([event, str(arguments)])


def main() -> None:
    from otto_run import cli, ends

    jobs = json.load(sys.stdin)
    sys.addaudithook(watch)
    found = []
    for job in jobs:
        os.chdir(job["folder"])
        OPENED.clear()
        RAN.clear()
        said = io.StringIO()
        code: Any = 0
        sys.argv = ["otto-run", *job["arguments"]]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                ends.run(cli.app)
            except SystemExit as end:
                code = end.code
        opened = [os.path.join(job["folder"], path) for path in OPENED]  # noqa: PTH118
        found.append({"code": code, "said": said.getvalue(), "opened": opened, "ran": list(RAN)})
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
