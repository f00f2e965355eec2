"""The fuzz of answers, at the size of the suite; `make fuzz` runs 50,000."""

from __future__ import annotations

import os

import pytest

from pipeline.providers import mulerouter
from pipeline.values.wire import Answered, Response
from tests.plan.jobs import CARD
from tests.providers.fuzz import Fuzz, judge, run

SEED = int(os.environ.get("PIPELINE_SEED") or 1)


@pytest.mark.slow
def test_any_answer_has_a_meaning_that_costs_nobody_money() -> None:
    """2,000 answers of every odd sort: each has a meaning, and none of them releases or books what it must not."""
    assert run(2_000, SEED) == [], f"PIPELINE_SEED={SEED}"


def test_the_fuzz_reaches_every_meaning() -> None:
    """A fuzz that only ever hears nonsense proves nothing: each meaning of a submit and of a poll comes up."""
    seen = set()
    for number in range(600):
        fuzz = Fuzz(number)
        outcome, task = Answered(fuzz.response()), fuzz.task()
        seen |= {type(mulerouter.submitted(task, outcome, CARD.not_billed)).__name__}
        seen |= {type(mulerouter.polled(task, outcome)).__name__}
    assert seen == {
        *("Pending", "Refused", "Unknown"),
        *("Ready", "StillRunning", "OperationFailed", "Gone", "PollBroken"),
    }


def test_the_judge_sees_a_meaning_without_its_ground(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that takes a bare 400 for a refusal, or a link twice, is caught."""
    fuzz = Fuzz(0)
    monkeypatch.setattr(mulerouter, "_speaks_of_a_task", lambda _: False)
    judge(fuzz.task(), Response(400, b"{}", {}))
    monkeypatch.setattr(mulerouter, "_message", lambda _: "no")
    with pytest.raises(AssertionError, match="empty answer"):
        judge(fuzz.task(), Response(400, b"", {}))
