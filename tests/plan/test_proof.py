"""What a plan says of doubts: what can end them on each gateway, and what `dedicated` would add."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.plan.check import check
from pipeline.plan.make import make_plan
from pipeline.plan.proof import doubt_words, evidence_of
from tests.plan.jobs import CARDS, Memory, job, plan_of

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


@pytest.mark.parametrize("card", [{}, LISTS, TELLS, LISTS | TELLS])
def test_what_the_spec_says_of_doubts_is_what_the_plan_says(card: dict[str, bool]) -> None:
    """`on_doubt` decides: nothing is left to a person that the run will do by itself."""
    gateway = replace(CARD, **card)  # type: ignore[arg-type]
    again = doubt_words(gateway, MODEL, ("mulerouter",), "resubmit", 8)
    assert "bought again after 2 min" in again
    assert "up to 8 of them paid twice" in again
    assert again.startswith("its list finds") is ("lists_operations" in card)
    off = doubt_words(gateway, MODEL, ("mulerouter",), "write_off", 8)
    assert off.startswith("counted as spent at once")
    assert "yours" not in again + off
    assert "4 min" in doubt_words(gateway, replace(MODEL, submit_timeout_s=240.0), (), "resubmit", 1)


def test_a_plan_reads_it_from_its_spec() -> None:
    """The lane's words follow the spec's `on_doubt`."""
    (lane,) = check(plan_of(on_doubt="resubmit")).lanes.values()
    assert f"up to {min(lane.tasks, lane.unanswered)} of them paid twice" in lane.doubt_ends


@pytest.mark.parametrize(("card", "told"), [({}, True), (LISTS, False), (TELLS, False)])
def test_dedicated_where_nothing_proves_anything_is_said(card: dict[str, bool], *, told: bool) -> None:
    """A promise that changes nothing is not taken in silence."""
    cards = {"mulerouter": replace(CARD, **card)}  # type: ignore[arg-type]
    notes = check(make_plan(job(dedicated=("mulerouter",)), cards, Memory())).notes
    assert any("changes nothing" in note for note in notes) is told
