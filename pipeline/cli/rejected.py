"""`retry --rejected FILE`: what it means is said first, and agreed to like any other change that costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import words
from pipeline.cli.output import say

if TYPE_CHECKING:
    from pipeline.runtime.rejections import Rejections


def agreed(folder: Path, review: Path, *, yes: bool, quiet: bool) -> int:
    """Book what a review rejects, once it is agreed to; answers how many tasks go again.

    *Raises* RunError for a file that is no review, PlanChanged when nobody agreed.
    """
    from pipeline.cli.run import confirmer
    from pipeline.errors import PlanChanged
    from pipeline.runtime import inspect, rejections
    from pipeline.runtime.consent import ASK_ABOVE

    found = rejections.look(folder, rejections.read_review_file(review))
    lines = told(found)
    if not quiet:
        for line in lines:
            say(line)
    if not found.tasks:
        return 0
    costly = any(micros > ASK_ABOVE for micros in found.cost_micros.values())
    if costly and not yes and not inspect.origin(folder).simulate:
        confirm = confirmer()
        if confirm is None or not confirm(f"{lines[0]}. Buy them again?"):
            raise PlanChanged(f"{lines[0]}; say --yes to agree")
    rejections.send_again(folder, found)
    return len(found.tasks)


def told(found: Rejections) -> list[str]:
    """What it means: tasks and money, what is kept, what may come of it, and what stays as it is."""
    lines = []
    if found.tasks:
        kept = words.count(found.pictures, "picture")
        lines.append(
            f"{words.count(len(found.tasks), 'task')} bought again: at most {words.money(found.cost_micros)} more; "
            f"the {kept} that they made so far stay, marked superseded"
        )
        lines += beyond(found.cost_micros, found.free_micros)
        if found.seeded:
            lines.append(
                f"{words.count(found.seeded, 'task')} with a seed, which is sent again as it is: most models draw the "
                "same picture from it. For another picture change the prompt or the seed in the spec"
            )
    lines += [f"left as they are, {why}: {words.count(number, 'task')}" for why, number in found.left.items()]
    return lines


def beyond(cost: Mapping[str, int], free: Mapping[str, int]) -> list[str]:
    """What is said when the budget does not reach so far."""
    if all(micros <= free.get(unit, 0) for unit, micros in cost.items()):
        return []
    left = {unit: max(0, free.get(unit, 0)) for unit in cost}
    return [f"the budget leaves {words.money(left)}: the run stops there (`pipeline run --budget`)"]
