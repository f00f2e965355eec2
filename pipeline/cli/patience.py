"""What is said while a large plan is made and checked: silence for a minute looks like a program that hangs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pipeline.cli.output import for_screen, say
from pipeline.cli.words import clean, duration

if TYPE_CHECKING:
    from pipeline.plan.expand import Plan
    from pipeline.plan.summary import Summary

#: Plans of so many tasks take seconds to check.
LARGE: Final = 100_000
#: Seconds between two lines.
EVERY_S: Final = 5.0


def check_all(made: Plan, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> Summary:
    """Every task rendered and checked, with a line now and then for a large plan. *Raises* PlanError."""
    from pipeline.runtime import prepare

    total = len(made)
    if quiet or total < LARGE or prepare.is_checked(made):
        return prepare.summary(made)
    say(f"{total:,} tasks: each is made and checked before anything is sent; Ctrl-C stops it, and nothing is lost")
    begun = told = clock()

    def tell(number: int) -> None:
        nonlocal told
        now = clock()
        if number and now - told >= EVERY_S:
            told = now
            left = (now - begun) / number * (total - number)
            say(f"{number:,} of {total:,} tasks checked, about {duration(left)} left")

    found = prepare.summary(made, tell)
    took = clock() - begun
    if took >= EVERY_S:
        say(f"{total:,} tasks checked in {duration(took)}; comparing them with the run folder takes about as long")
    return found


def warn(made: Plan) -> None:
    """What a person should see before it is too late, though nothing is wrong with the spec."""
    if made.unheeded:
        say(for_screen(clean(f"warning: {made.unheeded}"), sys.stderr))
