"""A large plan is checked with a line now and then; a folder in use is refused before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import pipeline
from pipeline.cli import patience
from pipeline.cli.main import cli
from pipeline.errors import RunLocked
from pipeline.store.lock import RunLock

SPEC = """\
version: 1
name: mugs
model: mulerouter/qwen-image-max
matrix: {color: [red, teal]}
samples: SAMPLES
prompt: "A {{ color }} mug"
budget: none
"""


def test_a_large_plan_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the beginning, every few seconds, and at the end; a small one, and --quiet, say nothing."""
    (tmp_path / "mugs.yaml").write_text(SPEC.replace("SAMPLES", "2000"))
    ticks = iter(range(0, 1000, 3))
    monkeypatch.setattr(patience, "LARGE", 4000)
    made = pipeline.plan(pipeline.load(tmp_path / "mugs.yaml"))
    found = patience.check_all(made, clock=lambda: float(next(ticks)))
    assert found.tasks == 4000
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("4,000 tasks: each is made and checked before anything is sent")
    assert lines[1] == "1,024 of 4,000 tasks checked, about 17 s left"
    assert lines[-1].startswith("4,000 tasks checked in 15 s")
    assert patience.check_all(made) is found
    capsys.readouterr()
    again = pipeline.plan(pipeline.load(tmp_path / "mugs.yaml"))
    patience.check_all(again, quiet=True)
    monkeypatch.setattr(patience, "LARGE", 4001)
    patience.check_all(pipeline.plan(pipeline.load(tmp_path / "mugs.yaml")))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("more", [[], ["--run-dir", "runs/mugs.sim"]])
def test_a_folder_in_use_is_refused_before_the_spec_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    """Neither the plan nor the network is imported for it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mugs.yaml").write_text(SPEC.replace("SAMPLES", "1"))
    (tmp_path / "runs/mugs.sim").mkdir(parents=True)
    script = (
        "import sys\nfrom pipeline.cli.main import cli\n"
        "try:\n    cli.main(sys.argv[1:])\nfinally:\n"
        "    print(sorted({'aiohttp', 'jinja2', 'pyarrow', 'pipeline.runtime.run'} & set(sys.modules)))"
    )
    with RunLock.take(tmp_path / "runs/mugs.sim/lock"):
        begun = time.monotonic()
        found = subprocess.run(
            [sys.executable, "-c", script, "run", "mugs.yaml", "--simulate", *more],
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.monotonic() - begun
    assert (found.returncode, found.stdout) == (75, "[]\n"), found.stderr
    assert "at work in this run folder" in found.stderr
    assert took < 5


@pytest.mark.parametrize(
    ("text", "settings"),
    [("name: 'mugs'\n", ()), ("name: cups\nname: mugs\n", ()), ("name: mugs\n", (("name", "cups"),)), ("{", ())],
)
def test_a_name_that_is_not_plain_is_left_to_the_spec_s_own_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, settings: tuple[tuple[str, str], ...]
) -> None:
    """The quick look guesses nothing."""
    from pipeline.cli.run import _refuse_held

    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(text)
    (tmp_path / "runs/mugs").mkdir(parents=True)
    with RunLock.take(tmp_path / "runs/mugs/lock"):
        _refuse_held(tmp_path / "spec.yaml", None, settings, simulate=False)
        (tmp_path / "spec.yaml").write_text("name: mugs # plain\n")
        with pytest.raises(RunLocked):
            _refuse_held(tmp_path / "spec.yaml", None, (), simulate=False)


@pytest.mark.parametrize("command", [("validate",), ("plan",), ("run", "--simulate")])
def test_a_review_that_rejects_nothing_of_the_spec_is_warned_of(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job's review leaves nothing out, which nobody would see before the pictures are there again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "review.csv").write_text(f"task_id,reject\n{'a' * 64},yes\n")
    (tmp_path / "mugs.yaml").write_text(
        "version: 1\nname: mugs\nmodel: mulerouter/qwen-image-max\nprompt: A mug\nbudget: 1 USD\n"
        "inputs: {exclude_from: review.csv}\n"
    )
    found = CliRunner().invoke(cli, [command[0], "mugs.yaml", *command[1:]])
    assert found.exit_code == 0
    assert found.output.count("warning: review.csv: 1 task rejected, 0 of them of this spec") == 1
