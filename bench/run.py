# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one command and measures it."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.hosts import BenchError
from bench.table import Sample


@dataclass(frozen=True)
class Command:
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path


def run(command: Command, log: Path, *, timeout: float = 900) -> Sample:
    """Run a command with its output in `log`. Raises BenchError with the log's end if it fails."""
    with log.open("wb") as output:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        done = subprocess.run(
            command.arguments,
            env=dict(command.environment),
            cwd=command.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        end = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        words = " ".join(command.arguments)
        raise BenchError(f"exit code {done.returncode} of `{words}`:\n{end}\nnext: less {log}")
    return Sample(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
