"""`plan --forecast`: how long a job takes and what it costs, by rehearsing all of it and keeping nothing."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import words
from pipeline.values.money import format_money

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.plan.expand import Plan
    from pipeline.runtime.prepare import Options


@dataclass(frozen=True, slots=True)
class Forecast:
    """How a rehearsal of the whole job from its beginning ended. *Units* - micro-units by currency; seconds."""

    state: str
    images: int
    tasks: int
    done: int
    settled_micros: Mapping[str, int]
    #: Tasks that the cap kept back.
    unsent: int
    #: Of the real job, as the emulators answer at the cards' usual lengths and permitted rates.
    seconds: float


def forecast(made: Plan, given: Options) -> Forecast:
    """Rehearse a plan in a folder that is gone afterwards, with a display. *Raises* as a run does, and Abort."""
    from pipeline.cli import display as displays
    from pipeline.cli.standing import standing
    from pipeline.runtime.run import run_sync

    kind = displays.choose(displays.Kind.AUTO, quiet=False, is_terminal=sys.stderr.isatty(), environment=os.environ)
    screen = displays.open_display(kind, f"forecast of {made.name}", rehearsal=True)
    with tempfile.TemporaryDirectory(prefix="pipeline-forecast-") as place:
        try:
            alone = replace(given, simulate=True, run_dir=Path(place) / made.name, budget=None)
            result = run_sync(made, alone, screen.show)
        finally:
            with suppress(OSError):  # a terminal that went away
                screen.close()
    found = standing(result.status)
    if found.state == "stopped":
        raise click.Abort
    unsent = result.status.get("unsent")
    return Forecast(
        state=found.state,
        images=found.images,
        tasks=found.total,
        done=found.tasks.get("done", 0),
        settled_micros={account.unit: account.settled for account in found.accounts},
        unsent=unsent if isinstance(unsent, int) else 0,
        seconds=result.simulated_s or 0.0,
    )


def render(found: Forecast) -> str:
    """`forecast: 24 images for 0.78 USD in about 3 min 40 s, by a rehearsal ...`."""
    money = " + ".join(format_money(micros, unit) for unit, micros in sorted(found.settled_micros.items()))
    made = f"{words.count(found.images, 'image')} for {money or 'nothing'} in about {words.duration(found.seconds)}"
    kept = f"; the budget keeps {words.count(found.unsent, 'task')} back" if found.unsent else ""
    short = found.tasks - found.done - found.unsent
    failed = f"; {words.count(short, 'task')} without a picture" if short > 0 else ""
    return f"forecast: {made}{kept}{failed}   (the whole job, rehearsed without faults)"
