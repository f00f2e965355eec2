"""docs/troubleshooting.md and docs/log.md against the code: no kind of fault, fact or metric is without a line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from pipeline.cli.kinds import KINDS, kind_of
from pipeline.cli.retry import FAULT_KINDS
from pipeline.engine.facts import Fact
from pipeline.engine.lanes import LaneView
from pipeline.engine.machine import Unheard
from pipeline.engine.stored import StoredAccount
from pipeline.runtime.metrics import STATES, families
from pipeline.runtime.progress import View
from pipeline.values.reply import FaultKind
from tests.cli.misfortunes import STORIES

DOCS = Path(__file__).parents[2] / "docs"
TROUBLE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
LOG = (DOCS / "log.md").read_text(encoding="utf-8")
GOLDEN = Path(__file__).parent / "golden"
#: Facts whose lines are told in words of their own.
_OWN = {"TaskAdmitted": {"task", "id", "step", "lane", "n", "row_id"}}
_UNTOLD = {"Settled": {"revised_prompt"}}


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_kind_of_fault_has_words_and_a_row(kind: FaultKind) -> None:
    """In the closing lines of a run, in `retry --fault`, and in the page on troubles."""
    assert kind.value in KINDS
    assert kind.value in FAULT_KINDS
    assert f"`{kind.value}`" in TROUBLE
    assert kind_of("of a newer version").again


def test_what_the_page_quotes_is_what_people_are_told() -> None:
    """Each quoted message of the tables stands in a golden file, up to its first `...`; or is known to be rare."""
    said = "\n".join((GOLDEN / f"{story.__name__}.txt").read_text(encoding="utf-8") for story in STORIES)
    rare = {"the disk refused", "the cap is below what is spent", "lines with", "verify", "FILE:LINE:COLUMN: error:"}
    rare |= {"an unexpected error, which is our own mistake", "stuck: operation", "pipeline resolve", "unknown"}
    rare |= {"the gateway does not open this model to the key"}
    quoted = [row.split("|")[1] for row in TROUBLE.splitlines() if row.startswith("| ") and "`" in row.split("|")[1]]
    messages = [quote.partition("...")[0].strip() for cell in quoted for quote in re.findall(r"`([^`]+)`", cell)]
    unknown = [quote for quote in messages if quote not in said and quote not in rare and quote not in set(FaultKind)]
    assert unknown == []


def test_every_fact_has_a_row_with_its_fields() -> None:
    """Whoever reads log.jsonl finds each name, and each field of it."""
    rows = {row.split("|")[1].strip(" `"): row for row in LOG.splitlines() if row.startswith("| `")}
    for fact in get_args(Fact):
        fields = _OWN.get(fact.__name__, set(fact.__slots__) - _UNTOLD.get(fact.__name__, set()))
        told = set(re.findall(r"`(\w+)`", rows[fact.__name__].split("|")[2]))
        assert told == fields, fact.__name__
    assert "Missed" in rows


def test_every_metric_is_named() -> None:
    """Whoever reads metrics.prom finds each name, and each state of a run."""
    lane = LaneView(held=0, in_flight=0, unanswered=0, submits=0, rate_limited=0, cooling_until=None, parked=None)
    money = {"USD": StoredAccount("USD", 1, 0, 0, 0, 0)}
    view = View(
        "running", 0, {}, 0, money, {"a/b": lane}, {}, {}, 0.0, 0.0, 1.0, None, unheard={"a/b": Unheard(1, 0, 1)}
    )
    names = {family.name for family in families(view, 0.0)}
    assert names == set(re.findall(r"`(pipeline_\w+)", LOG.partition("| Metric |")[2].partition("\n\n")[0]))
    assert all(f"`{state}`" in LOG for state in STATES)
