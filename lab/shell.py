# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands, waiting for conditions, telling what happens."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_begin = time.monotonic()
_print_lock = threading.Lock()


class LabError(Exception):
    """Something a person has to act on: what happened, and what to do next."""

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what)
        self.next_step = next_step


def say(text: str) -> None:
    """One line with the seconds since the program began."""
    with _print_lock:
        print(f"[{time.monotonic() - _begin:6.1f}s] {text}", flush=True)


def run(
    *argv: str,
    stdin: bytes | None = None,
    timeout: float = 120.0,
    env: Mapping[str, str] | None = None,
) -> str:
    """Standard output of a command, stripped; LabError with its last words when it fails."""
    done = attempt(*argv, stdin=stdin, timeout=timeout, env=env)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise LabError(f"`{' '.join(argv)}` ended with {done.returncode}:\n{_tail(words)}")
    return done.stdout.decode(errors="replace").strip()


def attempt(
    *argv: str,
    stdin: bytes | None = None,
    timeout: float = 120.0,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """A command whose failure is an answer; LabError when it hangs or does not exist."""
    try:
        return subprocess.run(
            argv,
            input=stdin if stdin is not None else b"",
            capture_output=True,
            timeout=timeout,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"`{' '.join(argv)}` gave no answer within {timeout:.0f} s") from None
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not installed", "python3 -m lab build") from None


def wait_for(
    what: str, condition: Callable[[], str | None], deadline: float, every: float = 0.3
) -> None:
    """Wait until `condition` returns None; it returns what is still missing.

    `deadline` is in seconds; LabError tells what was missing at the end.
    """
    end = time.monotonic() + deadline
    while (missing := condition()) is not None:
        if time.monotonic() > end:
            raise LabError(f"{what} was not ready within {deadline:.0f} s: {missing}")
        time.sleep(every)


def side_by_side(action: Callable[[T], R], items: Iterable[T], most: int = 8) -> list[R]:
    """Results in the order of `items`; all run to their end, then all errors come at once."""
    with ThreadPoolExecutor(most) as pool:
        futures = [pool.submit(action, item) for item in items]
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, LabError):
            raise error
    if errors:
        steps = dict.fromkeys(error.next_step for error in errors if isinstance(error, LabError))
        raise LabError("\n".join(map(str, errors)), "\n".join(filter(None, steps)))
    return [future.result() for future in futures]


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.splitlines()[-lines:])
