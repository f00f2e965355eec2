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

    def line(self) -> str:
        """One summary line."""
        figures = ", ".join(f"{value} {name}" for name, value in self.figures.items())
        return f"{self.name}: {figures}; {len(self.violations)} violations"
