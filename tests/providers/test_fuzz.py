"""The fuzz of answers, at the size of the suite; `make fuzz` runs 50,000."""

from __future__ import annotations

import os

import pytest

from pipeline.providers import dashscope_answers, mulerouter
from pipeline.values.provider import CarriedBytes
from pipeline.values.wire import Answered, Response
from tests.providers.fuzz import Fuzz, judge, run
from tests.providers.tongues import TONGUES

SEED = int(os.environ.get("PIPELINE_SEED") or 1)


@pytest.mark.slow
@pytest.mark.parametrize("gateway", TONGUES)
def test_any_answer_has_a_meaning_that_costs_nobody_money(gateway: str) -> None:
    """2,000 answers of every odd sort: each has a meaning, and none of them releases or books what it must not."""
    assert run(2_000, SEED, TONGUES[gateway]) == [], f"PIPELINE_SEED={SEED}"


@pytest.mark.parametrize("gateway", ["mulerouter", "evolink", "dashscope"])
def test_the_fuzz_reaches_every_meaning(gateway: str) -> None:
    """A fuzz that only ever hears nonsense proves nothing: each meaning of a submit and of a poll comes up."""
    tongue, seen = TONGUES[gateway], set()
    for number in range(1_500):
        fuzz = Fuzz(number, tongue, large=False)
        outcome, task = Answered(fuzz.response()), fuzz.task()
        seen |= {type(tongue.module.submitted(task, outcome, tongue.card.not_billed)).__name__}
        seen |= {type(tongue.module.polled(task, outcome)).__name__}
    assert seen == {
        *("Pending", "Refused", "Unknown"),
        *("Ready", "StillRunning", "OperationFailed", "Gone", "PollBroken"),
    }


def test_the_fuzz_reaches_every_meaning_of_a_synchronous_answer() -> None:
    """The same of 1min.ai, whose POST is answered with the pictures, and of its uploads."""
    tongue, seen = TONGUES["1min"], set()
    for number in range(600):
        fuzz = Fuzz(number, tongue, large=False)
        outcome, task = Answered(fuzz.response()), fuzz.task()
        seen |= {type(tongue.module.submitted(task, outcome, tongue.card.not_billed)).__name__}
        seen |= {type(tongue.module.upload(task.model, CarriedBytes("image/png", b""), "a.png", [outcome])).__name__}
    assert seen == {"Ready", "Refused", "Unknown", "Placed", "UploadFailed"}


def test_the_judge_sees_a_meaning_without_its_ground(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that takes a bare 400 for a refusal is caught."""
    tongue = TONGUES["mulerouter"]
    fuzz = Fuzz(0, tongue)
    judge(tongue, fuzz.task(), Response(400, b"{}", {}))
    monkeypatch.setattr(mulerouter, "_message", lambda _: "no")
    with pytest.raises(AssertionError, match="empty answer"):
        judge(tongue, fuzz.task(), Response(400, b"", {}))


@pytest.mark.parametrize("gateway", TONGUES)
def test_the_judge_sees_an_adapter_without_its_guard(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard the fuzz finds a released body that speaks of work; the test above has it and finds nothing."""
    tongue = TONGUES[gateway]
    module = dashscope_answers if gateway == "dashscope" else tongue.module
    monkeypatch.setattr(module, "speaks_of_work", lambda _: False)
    assert any("released, though the body" in line for line in run(700, 1, tongue, large=False))
