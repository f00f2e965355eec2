"""`plan --forecast`: a rehearsal of the whole job tells what it takes, and nothing of it stays."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.forecast import Forecast, render
from pipeline.cli.main import cli

SPEC = """
version: 1
name: cups
model: mulerouter/qwen-image-max
matrix: {color: [red, blue, green]}
prompt: "A {{ color }} cup"
budget: %s
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of three pictures in an empty working directory, with a place of its own for what passes."""
    (tmp_path / "passing").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "passing"))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "cups.yaml"
    file.write_text(SPEC % "1.00 USD")
    return file


@pytest.mark.slow
def test_a_forecast_is_what_the_rehearsal_says_and_leaves_nothing(spec: Path, tmp_path: Path) -> None:
    """The same pictures, money and time as `run --simulate`; no run folder, no key, nothing in the temporary place."""
    result = CliRunner().invoke(cli, ["plan", str(spec), "--forecast", "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["forecast"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cups.yaml", "passing"]
    assert not list((tmp_path / "passing").iterdir())
    ran = CliRunner().invoke(cli, ["run", str(spec), "--simulate", "--json"])
    status = json.loads(ran.stdout)
    assert found == {
        "state": "complete",
        "images": 3,
        "tasks": 3,
        "done": 3,
        "settled_micros": {"USD": status["money"]["USD"]["settled_micros"]},
        "unsent": 0,
        "seconds": status["simulated_s"],
    }


@pytest.mark.slow
def test_a_forecast_tells_where_the_budget_ends_it(spec: Path) -> None:
    """A job above its cap is foretold as it would go: no error, two pictures, one task kept back."""
    spec.write_text(SPEC % "0.16 USD")
    result = CliRunner().invoke(cli, ["plan", str(spec), "--forecast"])
    assert result.exit_code == 0, result.stderr
    assert "\nforecast: 2 images for 0.15 USD in about " in result.stdout
    assert "; the budget keeps 1 task back " in result.stdout


@pytest.mark.parametrize("other", ["--tasks", "--expand"])
def test_a_forecast_is_part_of_the_page_and_of_no_list(spec: Path, other: str) -> None:
    """--tasks and --expand print nothing else: a forecast beside them is refused before anything is rehearsed."""
    result = CliRunner().invoke(cli, ["plan", str(spec), "--forecast", other])
    assert result.exit_code == 2
    assert "--forecast belongs to the page of figures" in result.stderr


def test_the_line_of_a_forecast() -> None:
    """Golden: pictures, money, time; what the budget keeps back, and what ended without a picture."""
    whole = Forecast("complete", 24, 24, 24, {"USD": 780_000}, 0, 220.0)
    tail = "   (the whole job, rehearsed without faults)"
    assert render(whole) == "forecast: 24 images for 0.78 USD in about 3 min 40 s" + tail
    short = Forecast("budget_reached", 8, 12, 8, {"USD": 240_000}, 3, 61.0)
    kept = "; the budget keeps 3 tasks back; 1 task without a picture"
    assert render(short) == f"forecast: 8 images for 0.24 USD in about 1 min 1 s{kept}{tail}"
