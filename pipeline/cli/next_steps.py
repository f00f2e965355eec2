"""What to do next: the commands and edits that follow from how a run ended."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from pipeline.cli import words
from pipeline.cli.kinds import kind_of
from pipeline.cli.standing import Standing, list_of, mapping_of


def next_steps(found: Standing, status: Mapping[str, object], command: str, folder: Path) -> list[str]:
    """The commands that follow from how the run ended, most pressing first."""
    command, place = words.clean(command), words.clean(shlex.quote(str(folder)))
    steps = []
    match found.state:
        case "budget_reached":
            steps.append(f'raise budget in the spec and run again, or: {command} --budget "AMOUNT UNIT"')
        case "parked":
            steps.append(f"{_remedies(status) or 'mend what the gateway says above, or wait'}, then: {command}")
        case "in_doubt" if status.get("unsent"):
            steps.append(f'what was not sent: raise budget in the spec, or: {command} --budget "AMOUNT UNIT"')
        case "stopped":
            steps.append(f"{command}   goes on where this stopped")
        case _:
            pass
    if found.doubts or found.tasks.get("in_doubt"):
        steps.append(f"pipeline resolve {place}   lists what is in doubt, and books what the gateway says of it")
    return [*steps, *_after_failures(found, status, command, place)]


def _remedies(status: Mapping[str, object]) -> str:
    """What to do about every lane that stands still; the command is said besides."""
    found = dict.fromkeys(str(mapping_of(each).get("remedy") or "") for each in list_of(status.get("parked")))
    said = (text.removesuffix(", then run the same command again") for text in found if text)
    return "; ".join(words.short(text, 200) for text in said)


def _after_failures(found: Standing, status: Mapping[str, object], command: str, place: str) -> list[str]:
    """What helps the failed tasks: an edit for what would fail again, a retry for the others."""
    if not (found.tasks.get("failed") or found.tasks.get("short")):
        return []
    listed = [str(mapping_of(each).get("fault")) for each in list_of(status.get("failures"))] or list(found.faults)
    edited = [kind for kind in listed if not kind_of(kind).again]
    others = [kind for kind in listed if kind_of(kind).again]
    steps = []
    if _all_refused(found):
        steps.append(
            "every task was refused: look at the gateway's words above, at the base URL and at the model first"
        )
    elif edited:
        what = " and ".join(sorted(edited))
        kept = "what is done is kept" if found.tasks.get("done") else "only what you change is new"
        steps.append(f"edit what was {what} (it fails again as it is), then: {command}   ({kept})")
    if others or not listed:
        # A store may come from a stranger, and this is copied into a shell.
        only = "".join(f" --fault {words.clean(shlex.quote(kind))}" for kind in sorted(others)) if edited else ""
        paid = any(mapping_of(each).get("settled_micros") for each in list_of(status.get("failures")))
        steps.append(f"pipeline retry {place}{only}   {'buys' if paid else 'sends'} the failed tasks again")
    if found.tasks.get("short"):
        steps.append("a short task is paid for whole again: n: 1 with samples buys each picture by itself")
    return steps


def _all_refused(found: Standing) -> bool:
    """Whether nothing at all was made, and for one reason: prompts are seldom all wrong, addresses are."""
    several = found.tasks.get("failed", 0) > 1
    return several and not found.images and not found.tasks.get("done") and set(found.faults) == {"rejected"}
