"""What a campaign hands back: its figures, and every violation with what is needed to see it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """One campaign's outcome. A violation is a sentence with its seed and, where there is one, the folder kept."""

    name: str
    figures: Mapping[str, int | float | str]
    violations: tuple[str, ...]
    #: Why nothing was done, where nothing could be.
    skipped: str = ""

    def line(self) -> str:
        """One summary line."""
        if self.skipped:
            return f"{self.name}: SKIPPED, {self.skipped}"
        figures = ", ".join(f"{value} {name}" for name, value in self.figures.items())
        return f"{self.name}: {figures}; {len(self.violations)} violations"


def idle(figures: Mapping[str, int | float | str], floors: Mapping[str, float]) -> list[str]:
    """Every figure below its floor, in words: a campaign that does nothing has proved nothing."""
    return [
        f"too little was done: {figures.get(name, 0)} {name}, at least {least:g} were wanted"
        for name, least in floors.items()
        if float(figures.get(name, 0)) < least
    ]
