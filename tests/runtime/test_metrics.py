"""`metrics.prom`: read by a strict parser of our own, replaced whole, and of no harm to a run whose disk is full."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import cli
from pipeline.engine.facts import BudgetReached
from pipeline.engine.lanes import LaneView
from pipeline.engine.machine import Unheard
from pipeline.engine.phases import Phase
from pipeline.engine.stored import StoredAccount
from pipeline.runtime.metrics import EVERY_S, STATES, Metrics, text_of
from pipeline.runtime.progress import View
from pipeline.values.money import UNLIMITED
from pipeline.values.reply import Fault, FaultKind

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"({_NAME})\{{({_LABEL}(?:,{_LABEL})*)\}} (-?\d+(?:\.\d+)?)")
_HELP = re.compile(rf"# HELP ({_NAME}) (\S.*)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (gauge|counter)")

LANE = LaneView(held=2, in_flight=4, unanswered=1, submits=19, rate_limited=2, cooling_until=101.5, parked=None)
VIEW = View(
    state="running",
    total=24,
    counts={Phase.DONE: 15, Phase.RUNNING: 3, Phase.FAILED: 1},
    images=15,
    money={"USD": StoredAccount("USD", 1_000_000, 390_000, 160_000, 75_000, 5)},
    lanes={"mulerouter/qwen-image-max": LANE},
    rates={"mulerouter/qwen-image-max": "60/min"},
    faults={FaultKind.MODERATED: 1},
    now=100.0,
    elapsed_s=4.0,
    eta_s=3.0,
    last_fault=Fault(FaultKind.MODERATED, "secret words of the gateway https://x.example/y?token=t"),
    seats={"mulerouter/qwen-image-max": 8},
    permitted_per_s={"mulerouter/qwen-image-max": 1.0},
    images_per_min=18.5,
)
LABELS = {"job": "mugs", "run": "mugs.sim"}
#: {name: {labels in order: value}}
Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def parse(text: str) -> Samples:
    """Prometheus text, strictly: HELP, TYPE, then samples of that metric alone, each once; a line end last."""
    assert text.endswith("\n")
    assert "\r" not in text
    found: Samples = {}
    name = kind = ""
    lines = iter(text[:-1].split("\n"))
    for line in lines:
        if told := _HELP.fullmatch(line):
            name = told[1]
            assert name not in found, f"{name} comes twice"
            typed = _TYPE.fullmatch(next(lines))
            assert typed is not None
            assert typed[1] == name
            kind = typed[2]
            assert (kind == "counter") is name.endswith("_total"), f"{name} is a {kind}"
            found[name] = {}
            continue
        sample = _SAMPLE.fullmatch(line)
        assert sample is not None, line
        assert sample[1] == name, line
        labels = tuple((pair.partition("=")[0], pair.partition("=")[2][1:-1]) for pair in re.findall(_LABEL, sample[2]))
        assert len(dict(labels)) == len(labels), f"a label twice: {line}"
        assert labels not in found[name], f"a sample twice: {line}"
        value = float(sample[3])
        assert math.isfinite(value)
        assert kind != "counter" or value >= 0
        found[name][labels] = value
    assert all(found.values()), "a metric without samples"
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    """The one sample with these labels beside job and run."""
    chosen = [each for key, each in found[name].items() if dict(key) == {**LABELS, **labels}]
    assert len(chosen) == 1, (name, labels, found[name])
    return chosen[0]


def test_the_file_says_how_the_run_stands() -> None:
    """Tasks, money by currency and kind, lanes, pictures, the state; every sample names job and run."""
    found = parse(text_of(VIEW, LABELS, 1_790_000_000.25))
    assert value(found, "pipeline_tasks", state="done") == 15
    assert value(found, "pipeline_tasks", state="waiting") == 5
    assert sum(found["pipeline_tasks"].values()) == value(found, "pipeline_tasks_planned") == 24
    kinds = {"limit": 1_000_000, "settled": 390_000, "held": 160_000, "doubt": 75_000, "overage": 5}
    for kind, micros in kinds.items():
        assert value(found, "pipeline_money_micros", currency="USD", kind=kind) == micros
    lane = {"lane": "mulerouter/qwen-image-max"}
    assert value(found, "pipeline_lane_submits_total", **lane) == 19
    assert value(found, "pipeline_lane_rate_limited_total", **lane) == 2
    assert value(found, "pipeline_lane_in_flight_limit", **lane) == 8
    assert value(found, "pipeline_lane_permitted_per_second", **lane) == 1
    assert value(found, "pipeline_lane_cooling_seconds", **lane) == 1.5
    assert value(found, "pipeline_images_total") == 15
    assert value(found, "pipeline_images_per_minute") == 18.5
    assert value(found, "pipeline_faults_total", kind="moderated") == 1
    assert value(found, "pipeline_updated_timestamp_seconds") == 1_790_000_000.25
    assert [value(found, "pipeline_run_state", state=state) for state in STATES] == [1, *[0] * (len(STATES) - 1)]


def test_what_is_not_known_is_left_out_and_no_gateway_s_word_enters() -> None:
    """No limit, no estimate and no speed: no sample. Words, links and prompts stay outside."""
    money = {"USD": StoredAccount("USD", UNLIMITED, 1, 0, 0, 0)}
    text = text_of(replace(VIEW, money=money, eta_s=None, images_per_min=None), LABELS, 0.0)
    found = parse(text)
    assert "pipeline_left_seconds" not in found
    assert "pipeline_images_per_minute" not in found
    assert 'kind="limit"' not in text
    assert "secret" not in text
    assert "http" not in text


def test_blocks_are_told_and_hostile_names_stay_labels() -> None:
    """Disk, budget, parked lanes and unknown operations are 1; a quote or a line end in a name breaks no line."""
    parked = replace(LANE, parked=Fault(FaultKind.UNAUTHORIZED, "no"), cooling_until=None)
    view = replace(
        VIEW,
        lanes={'a/"b\\\n\u202e': parked},
        disk="full",
        budget=BudgetReached("USD", 2, 1),
        unheard={"a/b": Unheard(3, 0.0, 9.0)},
        billed={"evolink": {"evolink-credit": 7}},
    )
    text = text_of(view, LABELS, 0.0)
    found = parse(text)
    assert value(found, "pipeline_lane_parked", lane='a/\\"b\\\\??') == 1
    assert value(found, "pipeline_disk_full") == value(found, "pipeline_budget_blocked") == 1
    assert value(found, "pipeline_lane_unknown_operations", lane="a/b") == 3
    assert value(found, "pipeline_billed_micros_total", gateway="evolink", unit="evolink-credit") == 7


def test_the_file_is_replaced_whole_every_few_seconds(tmp_path: Path) -> None:
    """Whoever reads meanwhile has the old file or the new one; it is ours alone."""
    now = [0.0]
    path = tmp_path / "mugs" / "metrics.prom"
    path.parent.mkdir()
    metrics = Metrics(path, "mugs", clock=lambda: now[0], wall=lambda: 7.0)
    assert metrics.due()
    metrics.write(VIEW)
    first = path.open()
    now[0] = EVERY_S - 0.1
    assert not metrics.due()
    now[0] = EVERY_S
    assert metrics.due()
    metrics.write(replace(VIEW, state="complete"))
    with first:
        assert 'state="running"} 1\n' in first.read()
    assert 'state="complete"} 1\n' in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["metrics.prom"]


@pytest.mark.parametrize("harm", ["gone", "full", "link"])
def test_a_disk_that_takes_nothing_does_not_hurt_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """The old file stays, nothing is left lying about, nothing is raised, and nothing is written through a link."""
    path = tmp_path / "mugs" / "metrics.prom"
    path.parent.mkdir()
    metrics = Metrics(path, "mugs")
    metrics.write(VIEW)
    before = path.read_text()
    match harm:
        case "gone":
            path.parent.rename(tmp_path / "elsewhere")
            path = tmp_path / "elsewhere" / "metrics.prom"
        case "full":

            def refuse(_handle: int, _data: bytes) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr("pipeline.runtime.metrics.write_all", refuse)
        case _:
            (tmp_path / "prey").write_text("whole")
            (path.parent / ".metrics.prom.new").symlink_to(tmp_path / "prey")
    metrics.write(replace(VIEW, state="complete"))
    assert path.read_text() == before
    if harm == "full":
        assert [each.name for each in path.parent.iterdir()] == ["metrics.prom"]
    if harm == "link":
        assert (tmp_path / "prey").read_text() == "whole"


def test_a_run_leaves_a_last_word_that_verify_and_the_next_run_do_not_mind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a finished rehearsal parses, agrees with the job, and is in nobody's way."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mugs.yaml").write_text(
        "version: 1\nname: mugs\nmodel: mulerouter/qwen-image-max\n"
        "matrix: {color: [red, teal]}\nprompt: 'A {{ color }} mug'\nbudget: 1.00 USD\n"
    )
    run = ["run", "mugs.yaml", "--simulate", "--display", "none"]
    assert CliRunner().invoke(cli, run).exit_code == 0
    found = parse((tmp_path / "runs/mugs.sim/metrics.prom").read_text())
    assert value(found, "pipeline_run_state", state="complete") == 1
    assert value(found, "pipeline_tasks", state="done") == value(found, "pipeline_images_total") == 2
    assert value(found, "pipeline_money_micros", currency="USD", kind="settled") == 150_000
    assert CliRunner().invoke(cli, ["verify", "runs/mugs.sim"]).exit_code == 0
    again = CliRunner().invoke(cli, run)
    assert again.exit_code == 0
    assert "nothing to do" in again.stderr
