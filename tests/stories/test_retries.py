"""`retry` of some: by fault, gateway and model, and what it would cost before anything is booked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import cli
from pipeline.runtime import inspect
from tests.stories.jobs import PRICE, faults, footprint, rehearse

pytestmark = pytest.mark.slow

SPEC = """
version: 1
name: mugs
matrix:
  model: [mulerouter/qwen-image-max, dashscope/qwen-image-max, dashscope/qwen-image-plus]
  color: [red, teal]
model: "{{ model }}"
prompt: "a {{ color }} mug"
size: 1328x1328
budget: 2.00 USD
"""
LANES = ("dashscope/qwen-image-max", "dashscope/qwen-image-plus", "mulerouter/qwen-image-max")


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six tasks of three models, none of which was made."""
    place = tmp_path_factory.mktemp("failed")
    (place / "mugs.yaml").write_text(SPEC)
    rehearse(place / "mugs.yaml", faults=faults(place, "moderated: 1.0\n"))
    return place


def call(*arguments: object) -> Result:
    """One command in this process."""
    return CliRunner().invoke(cli, [str(each) for each in arguments])


@pytest.mark.parametrize(
    ("options", "lanes"),
    [
        ((), dict.fromkeys(LANES, 2)),
        (("--gateway", "mulerouter"), {LANES[2]: 2}),
        (("--model", "qwen-image-max"), {LANES[0]: 2, LANES[2]: 2}),
        (("--model", "dashscope/qwen-image-max"), {LANES[0]: 2}),
        (("--model", "qwen-image-max", "--gateway", "mulerouter"), {LANES[2]: 2}),
        (("--model", "qwen-image-plus", "--model", "mulerouter/qwen-image-max"), {LANES[1]: 2, LANES[2]: 2}),
        (("--fault", "moderated", "--model", "qwen-image-plus"), {LANES[1]: 2}),
        (("--fault", "timeout", "--model", "qwen-image-max"), {}),
        (("--model", "qwen-image-ultra"), {}),
    ],
)
def test_a_dry_run_says_what_would_go_again_and_changes_nothing(
    failed: Path, options: tuple[str, ...], lanes: dict[str, int]
) -> None:
    """By lane, with the most that it costs and what the budget leaves."""
    before = footprint(failed / "run")
    found = json.loads(call("retry", failed / "run", "--dry-run", "--json", *options).stdout)
    assert (found["lanes"], found["tasks"], found["dry_run"]) == (lanes, sum(lanes.values()), True)
    if set(lanes) == {LANES[2]}:
        assert found["cost_micros"] == {"USD": 2 * PRICE}
    assert found["free_micros"] == {"USD": 2_000_000}
    assert footprint(failed / "run") == before


def test_the_words_of_a_dry_run(failed: Path) -> None:
    """Figures first; that nothing was done, last; a name that fits nothing is answered with those that do."""
    done = call("retry", failed / "run", "--dry-run", "--gateway", "mulerouter")
    assert done.exit_code == 0
    first, second, last = done.stdout.splitlines()
    assert first.startswith("2 failed tasks would go again: at most ")
    assert second == "  2 of mulerouter/qwen-image-max"
    assert last == "nothing was booked, nothing was sent"
    none = call("retry", failed / "run", "--dry-run", "--model", "qwen-image-ultra").stdout
    assert f"no failed task to send again for qwen-image-ultra; there are failed tasks of {', '.join(LANES)}" in none
    assert call("retry", failed / "run", "--rejected", failed / "mugs.yaml", "--model", "x").exit_code == 2


def test_only_what_is_meant_goes_again(tmp_path: Path) -> None:
    """The others stay failed, and can go again later."""
    (tmp_path / "mugs.yaml").write_text(SPEC)
    rehearse(tmp_path / "mugs.yaml", faults=faults(tmp_path, "moderated: 1.0\n"))
    assert inspect.retry(tmp_path / "run", models=["dashscope/qwen-image-max"]) == (2, 0)
    assert inspect.retry(tmp_path / "run", gateways=["mulerouter"]) == (2, 0)
    faults(tmp_path, "moderated: 0.0\n")
    result = rehearse(tmp_path / "mugs.yaml")
    assert result.status["tasks"] == {"done": 4, "failed": 2, "total": 6}
    done = call("retry", tmp_path / "run", "--model", "qwen-image-plus", "--quiet", "--json")
    assert (done.exit_code, json.loads(done.stdout)["retried"]) == (0, 2)
    assert inspect.status(tmp_path / "run")["tasks"] == {"done": 6, "total": 6}


def test_a_hundred_tasks_are_booked_in_a_few_commits(tmp_path: Path) -> None:
    """A person's word about many tasks is a commit for some hundreds of them, not a synced one for each."""
    path = tmp_path / "mugs.yaml"
    path.write_text(SPEC.replace("color: [red, teal]", "color: {range: {from: 1, to: 40}}").replace("2.00", "20"))
    rehearse(path, faults=faults(tmp_path, "moderated: 1.0\n"))
    before = commits(tmp_path / "run")
    assert inspect.retry(tmp_path / "run").tasks == 120
    assert commits(tmp_path / "run") - before < 10
    assert inspect.verify(tmp_path / "run") == []


def commits(folder: Path) -> int:
    """How many commits the seal of a store bears witness to."""
    return int((folder / "state.db.seal").read_text().partition("commits=")[2].split()[0])
