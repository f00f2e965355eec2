"""Whether a failed operation is billed stands on the card, and the money follows the card's word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import pipeline
from pipeline.runtime.prepare import Options
from tests.stories.jobs import PRICE, faults, money, spec


@pytest.mark.parametrize(
    ("billed", "state", "settled", "doubt"),
    [
        (False, "failed_tasks", 0, 0),
        (True, "failed_tasks", 6 * PRICE, 0),
        (None, "in_doubt", 0, 6 * PRICE),
    ],
)
def test_the_cards_word_decides_about_the_money_of_failed_operations(
    tmp_path: Path,
    billed: bool | None,  # noqa: FBT001 - a row of the table
    state: str,
    settled: int,
    doubt: int,
) -> None:
    """Free: tried again while it may be. Billed: booked, and not tried again. Unknown: in doubt, for a person."""
    plan = pipeline.plan(pipeline.load(spec(tmp_path)))
    card = plan.cards["mulerouter"]
    plan.cards = {**plan.cards, card.name: replace(card, failed_billed=replace(card.failed_billed, value=billed))}
    options = Options(simulate=True, run_dir=tmp_path / "run", faults=faults(tmp_path, "failed: 1\n"))
    result = pipeline.run_sync(plan, options)
    assert result.state == state
    account = money(result)
    assert (account["settled_micros"], account["doubt_micros"], account["held_micros"]) == (settled, doubt, 0)
