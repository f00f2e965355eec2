"""Flaws: what is wrong with the meaning of a spec, gathered over all tasks and told once each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pipeline.errors import Mistake, PlanError
from pipeline.spec.job import JobSpec

EXAMPLES_MAX: Final = 3
GROUPS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing wrong. `path` is the dotted path in the spec; `detail` is what differs from task to task."""

    path: str
    what: str
    remedy: str = ""
    detail: str = ""


class Flawed(Exception):  # noqa: N818 - carries flaws inside the room, and never leaves it
    """A task that cannot be made, with all of its flaws."""

    def __init__(self, *flaws: Flaw) -> None:
        self.flaws = flaws
        super().__init__("; ".join(flaw.what for flaw in flaws))


class FlawBook:
    """Groups flaws: the same flaw of many tasks is one mistake with a count and its first examples."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = {}
        self._examples: dict[tuple[str, str, str], list[str]] = {}
        self._unlisted = 0

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, flaw: Flaw, task: str = "") -> None:
        """Note a flaw; `task` names the task it was seen in, and is empty for a flaw of the whole spec."""
        key = (flaw.path, flaw.what, flaw.remedy)
        if key not in self._counts:
            if len(self._counts) >= GROUPS_MAX:
                self._unlisted += 1
                return
            self._counts[key] = 0
            self._examples[key] = []
        self._counts[key] += 1
        example = ": ".join(part for part in (task, flaw.detail) if part)
        if example and len(self._examples[key]) < EXAMPLES_MAX:
            self._examples[key].append(example)

    def add_constant(self, flaw: Flaw) -> None:
        """Note a flaw of the spec as written, unless tasks have told it already."""
        if (flaw.path, flaw.what, flaw.remedy) not in self._counts:
            self.add(flaw)

    def mistakes(self, job: JobSpec) -> tuple[Mistake, ...]:
        """Everything noted, in the order of the file."""
        found = []
        for (path, what, remedy), count in self._counts.items():
            shown = self._examples[path, what, remedy]
            tail = ""
            if shown:
                more = f" and {count - len(shown)} more" if count > len(shown) else ""
                tail = f" ({'; '.join(shown)}{more})"
            found.append(Mistake(job.place(path), what + tail, remedy))
        found.sort(key=lambda mistake: (mistake.place.line, mistake.place.column))
        if self._unlisted:
            found.append(Mistake(job.place(""), f"{self._unlisted} further faults are not listed"))
        return tuple(found)

    def stop(self, job: JobSpec) -> None:
        """*Raises* PlanError when anything was noted."""
        if self._counts:
            raise PlanError(self.mistakes(job))


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or what there is, or nothing when there is nothing."""
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(word, names[:10_000], n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    if not names:
        return ""
    return "known: " + ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
