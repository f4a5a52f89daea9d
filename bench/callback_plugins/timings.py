# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes when every task began and ended, as JSON lines, to the file that BENCH_TIMINGS names."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: timings
type: aggregate
short_description: Times of every task, for the benchmark
description:
  - Writes one JSON line per task result and one per play and run.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "timings"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        # Line-buffered: a run that breaks still leaves what it measured. Open as long as the run.
        self._file = Path(os.environ["BENCH_TIMINGS"]).open("w", buffering=1)  # noqa: SIM115
        self._began: dict[str, float] = {}

    def _write(self, **line: Any) -> None:
        self._file.write(json.dumps({"at": time.time(), **line}) + "\n")

    def v2_playbook_on_start(self, playbook: Any) -> None:  # noqa: ARG002
        self._write(kind="start")

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._write(kind="play", name=play.get_name())

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        self._began[task._uuid] = time.time()

    def _ended(self, result: Any) -> None:
        task = result.task if hasattr(result, "task") else result._task
        host = result.host if hasattr(result, "host") else result._host
        values = result.result if hasattr(result, "result") else result._result
        report = values.get("report") or {}
        self._write(
            kind="task",
            task=task._uuid,
            name=task.get_name(),
            action=task.action,
            host=host.get_name(),
            began=self._began.get(task._uuid),
            on_node=report.get("seconds") if isinstance(report, dict) else None,
        )

    v2_runner_on_ok = _ended
    v2_runner_on_skipped = _ended
    v2_runner_on_unreachable = _ended

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002
        self._ended(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002
        self._write(kind="end")
        self._file.close()
