# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers as people read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Sample:
    """One timed command: seconds of wall time, and of CPU that it used on the control machine."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Row:
    """All rounds of one phase of one contender."""

    contender: str
    phase: str
    samples: tuple[Sample, ...]

    @property
    def wall(self) -> float:
        return median(sample.wall for sample in self.samples)

    @property
    def cpu(self) -> float:
        return median(sample.cpu for sample in self.samples)

    @property
    def spread(self) -> str:
        walls = [sample.wall for sample in self.samples]
        return f"{min(walls):.1f}-{max(walls):.1f}"


def comparison(rows: Sequence[Row], reference: str) -> str:
    """A Markdown table; the ratio is a contender's median wall time over the reference's."""
    base = {row.phase: row.wall for row in rows if row.contender == reference}
    lines = [["contender", "phase", "median s", "min-max s", "ratio", "controller CPU s"]]
    for row in rows:
        ratio = f"{row.wall / base[row.phase]:.2f}" if row.phase in base else "-"
        lines.append(
            [row.contender, row.phase, f"{row.wall:.2f}", row.spread, ratio, f"{row.cpu:.2f}"]
        )
    return markdown(lines, right=(2, 3, 4, 5))


def markdown(lines: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A Markdown table whose first line is the heading; `right`: columns aligned to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]

    def one(line: Sequence[str]) -> str:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "| " + " | ".join(cells) + " |"

    rule = [
        "-" * (width - 1) + ":" if column in right else "-" * width
        for column, width in enumerate(widths)
    ]
    return "\n".join([one(lines[0]), one(rule), *map(one, lines[1:])])
