"""T20, small: evidence never voids what was billed, and finds what can be found; a mistake in it is noticed."""

from __future__ import annotations

import os

import pytest

from pipeline.engine import evidence
from tests.chaos import doubts

SEED = int(os.environ.get("PIPELINE_SEED") or 1)


@pytest.mark.slow
def test_no_doubt_that_was_billed_is_ever_voided() -> None:
    """Many shapes of listings, meters, strangers and crashes: what is found is right, what is void was free."""
    report = doubts.campaign("small", SEED)
    print(f"seed {SEED}: {report.line()}")
    assert report.violations == ()
    assert report.figures["found"] > 500  # type: ignore[operator]  # a count
    assert report.figures["voided"] > 100  # type: ignore[operator]  # a count


def _always(*_: object) -> bool:
    return True


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ["_shows_all", "_shows", "LISTING_LAG_S", "METER_LAG_S"])
def test_evidence_that_is_believed_too_early_is_noticed(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign can fail: each condition of a proof of absence is needed."""
    monkeypatch.setattr(evidence, mistake, 0.0 if mistake.endswith("_S") else _always)
    monkeypatch.setitem(doubts.SIZES, "small", 1500)
    report = doubts.campaign("small", SEED)
    assert any("is void" in each or "more than the books say" in each for each in report.violations)
