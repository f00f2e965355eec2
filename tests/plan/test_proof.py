"""What a plan says of doubts: what can end them on each gateway, and what `dedicated` would add."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.plan.check import check
from pipeline.plan.proof import doubt_words, evidence_of
from tests.plan.jobs import CARDS, plan_of

CARD = CARDS["mulerouter"]
MODEL = CARD.models["qwen-image-max"]
LISTS, TELLS = {"lists_operations": True}, {"tells_balance": True}


@pytest.mark.parametrize(
    ("card", "synchronous", "dedicated", "told", "words"),
    [
        ({}, False, (), (), "yours to decide, from"),
        ({}, False, ("mulerouter",), (), "yours to decide, from"),
        (LISTS, False, (), ("listing",), "without `dedicated: [mulerouter]`"),
        (LISTS, False, ("mulerouter",), ("listing",), "proves what was not"),
        (LISTS, True, ("mulerouter",), (), "yours to decide, from"),
        (TELLS, False, (), (), "with `dedicated: [mulerouter]` its meter"),
        (TELLS, True, ("mulerouter",), ("meter",), "its meter says"),
        (LISTS | TELLS, False, ("mulerouter",), ("listing", "meter"), "how many were billed"),
    ],
)
def test_what_ends_a_doubt(
    card: dict[str, bool], *, synchronous: bool, dedicated: tuple[str, ...], told: tuple[str, ...], words: str
) -> None:
    """A list knows tasks and not calls; a meter speaks of a key that is ours alone."""
    gateway, model = replace(CARD, **card), replace(MODEL, synchronous=synchronous)  # type: ignore[arg-type]
    assert evidence_of(gateway, model, dedicated) == told
    assert words in doubt_words(gateway, model, dedicated)
    assert ("yours" in doubt_words(gateway, model, dedicated)) is not (told and "mulerouter" in dedicated)


def test_a_plan_says_it_of_each_model() -> None:
    """MuleRouter has neither a list nor a meter."""
    (lane,) = check(plan_of()).lanes.values()
    assert lane.evidence == ()
    assert lane.doubt_ends.startswith("yours to decide")
