# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

TREE = """
import json, os, subprocess, sys, time
from otto_run import processes
processes.become_subreaper()
kept = subprocess.Popen(["sleep", "300"])
# A grandchild that leaves its session and loses its parent, as SSH's connection master does,
# and one that does not hear SIGTERM.
lost = "setsid sh -c 'trap \\"\\" TERM; sleep 300 & exec sleep 301' & wait"
parent = subprocess.Popen(["sh", "-c", lost])
while len(processes.descendants()) < 4:
    time.sleep(0.01)
parent.kill(); parent.wait()
before = processes.descendants()
left = processes.end_all([kept.pid], grace=0.5)
after = processes.descendants()
kept.kill(); kept.wait()
print(json.dumps([len(before), left, after == [kept.pid]]))
"""


def test_orphans_in_other_sessions_are_found_and_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TREE)],
        capture_output=True,
        text=True,
        timeout=20,
        env=dict(os.environ),
    )
    before, left, only_kept = json.loads(done.stdout or done.stderr)
    assert before >= 3
    assert left == []
    assert only_kept
