# SPDX-License-Identifier: GPL-3.0-or-later
"""Only pages that can be read again are given back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from otto_agent.memory import clean

SMAPS = """{range} {rights} 00000000 08:01 42 {path}
Size:                  8 kB
Private_Dirty:         0 kB
Anonymous:             {anonymous} kB
VmFlags: rd mr
"""


@pytest.mark.parametrize(
    ("rights", "path", "anonymous", "expected"),
    [
        ("r-xp", "/usr/lib/libc.so.6", 0, [(0x1000, 0x2000)]),
        ("r--p", "/usr/lib/a name with blanks.so", 0, [(0x1000, 0x2000)]),
        ("r--p", "/usr/lib/libc.so.6", 4, []),  # the loader wrote there: reading again loses it
        ("rw-p", "/usr/lib/libc.so.6", 0, []),
        ("rw-p", "", 0, []),
        ("r-xp", "[vdso]", 0, []),
    ],
)
def test_clean(rights: str, path: str, anonymous: int, expected: list[tuple[int, int]]) -> None:
    text = SMAPS.format(range="1000-3000", rights=rights, path=path, anonymous=anonymous)
    behind = SMAPS.format(range="9000-a000", rights="rw-p", path="[heap]", anonymous=4)
    assert list(clean((text + behind).splitlines())) == expected


def test_a_process_goes_on_with_less() -> None:
    """The whole standard library's use of its code comes back by itself."""
    code = """
import json, sqlite3, ssl
from otto_agent.memory import give_back
def resident():
    return next(int(l.split()[1]) for l in open("/proc/self/smaps_rollup") if l.startswith("Rss"))
before = resident()
give_back()
after = resident()
assert json.loads(json.dumps([1.5])) == [1.5]
assert sqlite3.connect(":memory:").execute("select 1").fetchall() == [(1,)]
ssl.create_default_context()
print(before - after)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert int(done.stdout) > 1000, done.stdout  # kB
