"""What was reached beside what was wanted: medians, spreads, by how much a goal is missed, and one table per goal."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

#: {goal: its words in docs and tables}.
GOALS: Final = {
    "P1": "Whole task lives, durable, with connections kept alive: share of a bare aiohttp loop's tasks a second",
    "P2": "CPU seconds per 1,000 task lives beyond what bare aiohttp takes for the same requests",
    "P3": "Share of what so many in flight could do at this latency; never more in flight than asked",
    "P4": "Memory of the process tree",
    "P5": "Start-up",
    "P6": "Running a finished job again: nothing is sent, nothing changes",
    "P7": "Rate limits used to the brim without a refusal",
    "P8": "1 MB pictures to disk: share of a bare aiohttp loop's MB/s",
    "P9": "Planning with every task rendered and checked",
    "P10": "The manifest rebuilt from the store",
}


@dataclass(frozen=True, slots=True)
class Reached:
    """One line: what was measured, in each round, against what is wanted."""

    goal: str
    what: str
    #: What is to be reached; None for a figure that stands beside the goal.
    wanted: float | None
    values: tuple[float, ...]
    unit: str = ""
    #: Whether more is better.
    at_least: bool = True
    note: str = ""

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether the goal is reached by the median; a figure without a goal always is."""
        if self.wanted is None:
            return True
        return self.median >= self.wanted if self.at_least else self.median <= self.wanted

    @property
    def verdict(self) -> str:
        """`reached`, or by how much it is missed."""
        if self.wanted is None:
            return ""
        if self.met:
            return "reached"
        if not self.wanted:
            return f"missed by {number(self.median)}"
        return f"missed by {abs(self.median - self.wanted) / self.wanted:.0%}"

    def cells(self) -> tuple[str, ...]:
        """The line's cells: what, goal, reached with its spread, verdict, note."""
        sign = ">=" if self.at_least else "<="
        wanted = "" if self.wanted is None else f"{sign} {number(self.wanted)} {self.unit}".strip()
        spread = f" ({number(min(self.values))} to {number(max(self.values))})" if len(self.values) > 1 else ""
        reached = f"{number(self.median)}{spread} {self.unit}".strip()
        return self.what, wanted, reached, self.verdict, self.note


def number(value: float) -> str:
    """Three figures that matter, and thousands as such."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def draw(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned for terminals."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    drawn = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    drawn.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(drawn)


def tables(found: Sequence[Reached]) -> str:
    """One table a goal, in the order of the goals."""
    parts = []
    for goal, words in GOALS.items():
        rows = [line.cells() for line in found if line.goal == goal]
        if rows:
            parts.append(f"### {goal}. {words}\n\n" + draw(("What", "Goal", "Reached", "", "Beside it"), rows))
    return "\n\n".join(parts)


def summary(found: Sequence[Reached]) -> str:
    """One line a goal: reached, or its worst miss."""
    rows = []
    for goal in GOALS:
        lines = [line for line in found if line.goal == goal and line.wanted is not None]
        if lines:
            missed = [line for line in lines if not line.met]
            told = "; ".join(f"{line.what}: {line.verdict}" for line in missed) or "reached"
            rows.append((goal, f"{len(lines) - len(missed)} of {len(lines)}", told))
    return draw(("Goal", "Reached", "Missed"), rows)
