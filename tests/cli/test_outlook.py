"""The page of `pipeline plan`, as golden text."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.cli.outlook import Outlook, as_json, render
from pipeline.cli.plan import little_room
from pipeline.plan.summary import LaneSummary, Summary
from pipeline.runtime.comparison import Comparison
from pipeline.values.money import UNLIMITED

MAX = LaneSummary(
    lane="mulerouter/qwen-image-max",
    tasks=12,
    images=12,
    unit="USD",
    each_min_micros=75_000,
    each_max_micros=75_000,
    total_micros=900_000,
    rate=60,
    rate_period_s=60.0,
    in_flight=10,
    unanswered=4,
    doubt_micros=300_000,
    price_source="vendor page, read 2026-11-20",
    seconds=12.0,
    typical_s=50.0,
)
PLUS = replace(
    MAX,
    lane="mulerouter/qwen-image-edit-plus",
    tasks=3,
    images=6,
    each_min_micros=30_000,
    each_max_micros=90_000,
    total_micros=180_000,
    doubt_micros=270_000,
    rate=2,
    seconds=90.0,
    typical_s=90.0,
)
SUMMARY = Summary(
    tasks=12,
    images=12,
    duplicates=0,
    by_step={"image": 12},
    by_gateway={"mulerouter": 12},
    by_model={MAX.lane: 12},
    worst_micros={"USD": 900_000},
    caps={"USD": 1_000_000},
    over_micros={},
    doubt_micros={"USD": 300_000},
    lanes={MAX.lane: MAX},
    seconds=12.0,
    first_prompt="Studio photo of a red mug",
    disk_bytes=18_000_000,
)
MUGS = Outlook(
    job="mugs",
    spec="mugs/spec.yaml",
    shape="3 color x 2 scene x 2 samples",
    summary=SUMMARY,
    against=None,
    folder="runs/mugs",
    next="pipeline run mugs/spec.yaml --simulate",
)


def test_the_page_of_a_plan() -> None:
    """Tasks, prices, budget, time, risk, owned, and that nothing was sent."""
    assert render(MUGS) == (
        "mugs: 12 tasks = 3 color x 2 scene x 2 samples\n"
        "  model                       tasks   images        each      total\n"
        "  mulerouter/qwen-image-max      12       12   0.075 USD   0.90 USD\n"
        "  all                            12       12               0.90 USD\n"
        "  price: vendor page, read 2026-11-20\n"
        "worst case 0.90 USD   budget 1.00 USD: fits\n"
        "time about 12 s at the rates in use (mulerouter/qwen-image-max: 60 per 1 min); "
        "50 s with operations of the usual length; disk about 18 MB\n"
        "a crash can leave 4 unanswered calls in doubt, 0.30 USD at most\n"
        "run folder: none yet, everything is new\n"
        'first prompt: "Studio photo of a red mug"\n'
        "nothing was sent, nothing was charged.   next:  pipeline run mugs/spec.yaml --simulate"
    )


@pytest.mark.parametrize(
    ("caps", "over", "line"),
    [
        (None, {}, "worst case 0.90 USD; no budget is written: a paid run needs one, such as budget: 0.90 USD"),
        ({"USD": UNLIMITED}, {}, "worst case 0.90 USD; budget none: nothing limits this job"),
        ({"USD": 900_000}, {}, "worst case 0.90 USD   budget 0.90 USD: fits"),
        (
            {"USD": 899_999},
            {"USD": 1},
            (
                "worst case 0.90 USD   budget 0.899999 USD: OVER BUDGET by 0.000001 USD; "
                "a run stops at the budget, with what was paid for collected"
            ),
        ),
    ],
)
def test_how_the_worst_case_stands_to_the_budget(caps: dict[str, int] | None, over: dict[str, int], line: str) -> None:
    """Over budget is said and flagged, exactly at the budget fits, and no limit is no number."""
    outlook = replace(MUGS, summary=replace(SUMMARY, caps=caps, over_micros=over))
    assert line in render(outlook).splitlines()
    found = as_json(outlook)
    assert found["fits"] is (caps is not None and not over)
    assert str(UNLIMITED) not in json.dumps(found)


@pytest.mark.parametrize(
    ("basis", "told"),
    [
        ("documented", "60 per 1 min, documented)"),
        ("inferred", "60 per 1 min, inferred)"),
        ("ours", "60 per 1 min, our choice: the vendor's limit is not known)"),
        ("unknown", "60 per 1 min, our choice: the vendor's limit is not known)"),
        ("limits", "60 per 1 min, by your limits)"),
    ],
)
def test_a_forecast_says_whose_rate_it_rests_on(basis: str, told: str) -> None:
    """What we chose is not called the vendor's word."""
    lane = replace(MAX, rate_basis=basis)
    assert told in render(replace(MUGS, summary=replace(SUMMARY, lanes={lane.lane: lane})))


def test_several_models_are_summed_and_the_slowest_sets_the_time() -> None:
    """Each model has a line; a span of prices is shown as a span."""
    both = replace(
        SUMMARY,
        tasks=15,
        images=18,
        duplicates=2,
        lanes={MAX.lane: MAX, PLUS.lane: PLUS},
        worst_micros={"USD": 1_080_000},
        over_micros={"USD": 80_000},
        doubt_micros={"USD": 570_000},
        seconds=90.0,
    )
    page = render(replace(MUGS, summary=both))
    assert "mugs: 15 tasks, 18 images = " in page
    assert "(2 duplicates left out: bought once)" in page
    assert "0.03 USD to 0.09 USD" in page
    assert "worst case 1.08 USD   budget 1.00 USD: OVER BUDGET by 0.08 USD" in page
    assert "time about 1 min 30 s at the rates in use (mulerouter/qwen-image-edit-plus: 2 per 1 min)" in page
    assert "a crash can leave 7 unanswered calls in doubt, 0.57 USD at most" in page


@pytest.mark.parametrize(
    ("against", "line"),
    [
        (
            Comparison(24, 12, 3, 2, {"USD": 300_000}),
            "run folder runs/mugs: 24 owned, 12 new, 3 changed, 2 dropped; 0.30 USD more at most",
        ),
        (
            Comparison(20, 0, 0, 0, {}, failed=4),
            "run folder runs/mugs: 20 owned, 4 failed, 0 new, 0 changed, 0 dropped; nothing more to pay",
        ),
        (
            Comparison(24, 0, 0, 0, {}),
            "run folder runs/mugs: 24 owned, 0 new, 0 changed, 0 dropped; nothing more to pay",
        ),
    ],
)
def test_what_a_second_run_will_cost(against: Comparison, line: str) -> None:
    """Owned, new, changed and dropped against the run folder, with the money that follows."""
    assert line in render(replace(MUGS, against=against)).splitlines()


@pytest.mark.parametrize(
    ("against", "left", "lines"),
    [
        (Comparison(24, 0, 0, 0, {}, done=24), 400_000, ["  24 of 24 done already: 0.00 USD more"]),
        (Comparison(23, 0, 0, 1, {}, failed=1, done=20), 400_000, ["  20 of 24 done already"]),
        (
            Comparison(
                24, 12, 8, 2, {"USD": 300_000}, 0, 24, {"prompt changed": 8, "new row": 4}, 12, {"USD": 600_000}
            ),
            400_000,
            [
                "  24 of 36 done already",
                "  0.60 USD gone so far, the budget leaves 0.40 USD: the rest fits",
                "  why new: 8 prompt changed, 4 new row",
            ],
        ),
        (
            Comparison(0, 5000, 5000, 9, {"USD": 300_000}, why={"size changed": 1000}, looked_at=1000),
            -10,
            [
                "  nothing gone so far, the budget leaves 0.00 USD: a run stops there",
                "  why new (the first 1,000 of them): 1,000 size changed",
            ],
        ),
    ],
)
def test_what_is_there_already_and_why_the_rest_is_not(against: Comparison, left: int, lines: list[str]) -> None:
    """What is done costs nothing; the budget that is left is the run's; each reason has its number."""
    page = render(replace(MUGS, against=against, left_micros={"USD": left})).splitlines()
    at = next(place for place, line in enumerate(page) if line.startswith("run folder "))
    assert page[at + 1 : at + 1 + len(lines)] == lines
    assert page[at + 1 + len(lines)].startswith("first prompt")


def test_a_prompt_cannot_move_the_cursor_or_fill_the_screen() -> None:
    """The first prompt is one cleaned, short line."""
    page = render(replace(MUGS, summary=replace(SUMMARY, first_prompt="\x1b[2J" + "long\n" * 100)))
    assert "\x1b" not in page
    assert len(page.splitlines()[-2]) < 150


@pytest.mark.parametrize(
    ("disk_bytes", "new", "said"),
    [
        (40_000_000_000, None, ()),
        (60_000_000_000, None, ("has 50.0 GB free", "needs about 72.0 GB", "loses nothing")),
        (60_000_000_000, 6, ()),
        (600_000_000_000, 6, ("needs about 360.0 GB",)),
    ],
)
def test_a_disk_that_cannot_take_what_is_left_is_said_before_anything_is_bought(
    disk_bytes: int, new: int | None, said: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a fifth to spare, and only for the tasks that are new; a folder that is not there yet is on its parent's."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: SimpleNamespace(free=50_000_000_000))
    against = None if new is None else Comparison(owned=6, new=new, changed=0, dropped=0)
    found = little_room(disk_bytes, against, 12, tmp_path / "runs" / "none")
    assert len(found) == bool(said)
    assert all(part in found[0] for part in said)
