# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge of otto-run: every way to end becomes an exit code, and a message where it needs one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from types import FrameType
from typing import NoReturn

import click
from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    ClusterFileError,
    OttoError,
)
from ansible_collections.otto.cluster.plugins.module_utils.masking import in_command, in_text

from otto_run.exits import Code, Stop


def run(program: click.Group) -> NoReturn:
    """Carry out the command that was typed. What a command returns is its exit code."""
    # A stop that is asked for by another program is a Ctrl-C: children ended, lock freed.
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:  # nohup asks for that
            signal.signal(signum, _interrupt)
    try:
        # An int that is no Code is click's own: 0 after --help.
        code = int(program.main(prog_name=program.name, standalone_mode=False) or 0)
        sys.stdout.flush()
    except Stop as stop:
        code = stop.code
        if stop.message:
            _say(stop.message)
    except click.ClickException as error:
        code = error.exit_code
        error.show()
    except ClusterFileError as error:
        code = Code.USAGE
        _say(str(error))
    except OttoError as error:
        code = Code.FAILED
        _say(str(error))
    except (KeyboardInterrupt, click.Abort):
        code = Code.INTERRUPTED
        _say("Interrupted: every child is ended and the lock is free.")
    except BrokenPipeError:
        # Who reads the pipe has gone; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Code.FAILED
    except Exception as error:
        code = _crashed(error)
    sys.exit(int(code))


def _interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _crashed(error: Exception) -> Code:
    """A fault of Otto: one line for the person, the traceback in a log."""
    from ansible_collections.otto.cluster.plugins.plugin_utils.state import state_root

    log = state_root(os.environ) / "otto-run.log"
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            stream.write(f"{stamp} {in_command(sys.argv[1:])}\n")
            stream.write(in_text("".join(traceback.format_exception(error))))
        where = f"the details are in {log}"
    except OSError as failure:
        where = f"{log} cannot be written: {failure.strerror}"
    _say(f"Otto itself failed: {type(error).__name__}: {error}\n    log       {where}")
    return Code.FAILED


def _say(text: str) -> None:
    # Who read it may be gone.
    with contextlib.suppress(OSError):
        print(in_text(text), file=sys.stderr, flush=True)
