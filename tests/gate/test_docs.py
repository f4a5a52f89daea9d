# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/security.md promises names the tests that show it."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "docs/security.md").read_text(encoding="utf-8")
TABLE = TEXT[TEXT.index("## Who can do what") : TEXT.index("**The Docker socket is root.**")]
ROWS = [line for line in TABLE.splitlines() if line.startswith("|")][2:]


def test_there_are_rows() -> None:
    """The reading of the table sees what it is to see."""
    assert len(ROWS) > 20


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_a_test_that_there_is(row: str) -> None:
    """A promise without a test is none."""
    named = re.search(r"`([\w/]+\.py)::(test_\w+)` \|$", row)
    assert named, row
    text = (ROOT / "tests" / named[1]).read_text(encoding="utf-8")
    assert re.search(rf"^(?:async )?def {named[2]}\(", text, re.MULTILINE), row
