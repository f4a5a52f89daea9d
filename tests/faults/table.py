# SPDX-License-Identifier: GPL-3.0-or-later
"""A pytest plugin: the tests that name a fault of docs/faults.md, wherever they live, those that
are marked as too long for every run, and a table.

    pytest -p tests.faults.table --faults -m ""

A test names its faults at the beginning of its docstring: `Fault 5:`, `Faults 1, 4:`. It gives the
seconds until all was well again as `record_property("seconds", ...)`; without that, the table has
the seconds that the whole test took.
"""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

_NAMED = re.compile(r"\s*Faults? (\d+(?:(?:, | and )\d+)*)[^:\n]*:")


def faults_of(item: pytest.Item) -> list[int]:
    """The numbers that a test's docstring begins with."""
    found = _NAMED.match(getattr(getattr(item, "function", None), "__doc__", None) or "")
    return [int(number) for number in re.findall(r"\d+", found[1])] if found else []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="only tests of faults")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--faults"):
        wanted = {item for item in items if faults_of(item) or item.get_closest_marker("fault")}
        config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
        items[:] = [item for item in items if item in wanted]
    for item in items:
        for number in faults_of(item):
            item.user_properties.append(("fault", number))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each fault: how many tests, what came out, the longest time to recover."""
    seen: dict[int, list[tuple[str, float | None, float]]] = defaultdict(list)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            properties = getattr(report, "user_properties", [])
            seconds = [float(str(value)) for name, value in properties if name == "seconds"]
            for name, number in properties:
                if name == "fault":
                    entry = (outcome, max(seconds, default=None), report.duration)
                    seen[int(str(number))].append(entry)
    if not seen:
        return
    terminalreporter.section("faults (docs/faults.md)")
    row = "{:>5}  {:>5}  {:<16}  {:>18}  {:>12}".format
    terminalreporter.write_line(
        row("fault", "tests", "result", "seconds to recover", "longest test")
    )
    for number, entries in sorted(seen.items()):
        bad = [outcome for outcome, *_ in entries if outcome != "passed"]
        recovered = [seconds for _, seconds, _ in entries if seconds is not None]
        terminalreporter.write_line(
            row(
                number,
                len(entries),
                ", ".join(sorted(set(bad))) or "passed",
                f"{max(recovered):.1f}" if recovered else "-",
                f"{max(took for *_, took in entries):.1f}",
            )
        )
