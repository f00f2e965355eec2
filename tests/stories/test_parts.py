"""Try small first: what a part bought is never bought again, whatever part or whole comes after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import cli
from pipeline.runtime import inspect
from tests.stories.jobs import PRICE, bill, faults, rehearse, spec

pytestmark = pytest.mark.slow


def test_parts_and_the_whole_share_what_they_buy(tmp_path: Path) -> None:
    """Probe, sample, larger sample, first ones, all: six pictures, six calls; counts say what is there."""
    path = spec(tmp_path)
    for options, tasks in (
        ({"probe": True}, 3),
        ({"sample": 2, "sample_seed": 1}, None),
        ({"sample": 4, "sample_seed": 1}, None),
        ({"limit": 1}, None),
        ({}, 6),
    ):
        result = rehearse(path, **options)
        assert (result.state, result.exit_code) == ("complete", 0)
        counts = result.status["tasks"]
        assert isinstance(counts, dict)
        assert counts["done"] == counts["total"] == bill(tmp_path)[0]
        assert tasks in (None, counts["done"])
        assert inspect.status(tmp_path / "run")["tasks"] == counts
        assert inspect.verify(tmp_path / "run") == []
    assert bill(tmp_path) == (6, 6 * PRICE)


def test_a_part_says_that_it_is_one(tmp_path: Path) -> None:
    """And how to go on; asked again it has nothing to do."""
    path = spec(tmp_path)
    result = rehearse(path, probe=True)
    assert "3 of 6 tasks: without --probe the same command makes the rest" in result.notes
    assert "nothing to do" in rehearse(path, probe=True).notes[0]
    assert "without --limit" in rehearse(path, limit=4).notes[0]
    assert not rehearse(path).notes


def test_retry_goes_on_with_the_part(tmp_path: Path) -> None:
    """A sample whose tasks failed is a sample again, not the whole job."""
    path = spec(tmp_path)
    rehearse(path, sample=2, sample_seed=3, faults=faults(tmp_path, "moderated: 1.0\n"))
    faults(tmp_path, "moderated: 0.0\n")
    done = CliRunner().invoke(cli, ["retry", str(tmp_path / "run"), "--quiet", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["tasks"] == {"done": 2, "total": 2}


def test_an_edit_is_priced_for_the_part_that_is_wanted(tmp_path: Path) -> None:
    """What the change costs is what this command would buy."""
    rehearse(spec(tmp_path), probe=True)
    path = spec(tmp_path)
    path.write_text(path.read_text().replace("mug", "cup"))
    result = rehearse(path, probe=True)
    assert any(f"3 new (3 of them changed), 3 dropped; at most {3 * PRICE / 1e6} USD" in each for each in result.notes)


@pytest.mark.parametrize(
    "options",
    [("--limit", "1", "--probe"), ("--sample", "2", "--probe"), ("--sample-seed", "1"), ("--sample", "0")],
)
def test_one_part_at_a_time(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Exit 2, before anything is read."""
    done = CliRunner().invoke(cli, ["run", str(spec(tmp_path)), "--simulate", *options])
    assert done.exit_code == 2
