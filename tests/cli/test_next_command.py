"""The command that goes on with a run, as it is said: short where it is typed, whole where it may be pasted."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import cli
from pipeline.cli.run import command
from pipeline.runtime.prepare import Options

SPEC = "version: 1\nname: mugs\nmodel: mulerouter/qwen-image-max\nprompt: A mug\nbudget: 1 USD\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a spec in a folder of its own and faults beside it."""
    work = tmp_path / "work"
    (work / "jobs").mkdir(parents=True)
    (work / "jobs/mugs.yaml").write_text(SPEC)
    (work / "faults.yaml").write_text("cut_after: 1\n")
    monkeypatch.chdir(work)
    return work


def test_paths_below_the_working_directory_are_said_as_one_would_type_them(place: Path) -> None:
    """What a folder remembers is absolute; what a person types is not, unless it lies elsewhere."""
    said = Options(
        simulate=True,
        faults=place / "faults.yaml",
        run_dir=place / "runs/mugs.sim",
        allow_paths=(place / "photos", place.parent / "shared"),
    )
    assert command(place / "jobs/mugs.yaml", said) == (
        f"pipeline run jobs/mugs.yaml --simulate --faults faults.yaml --allow-path photos "
        f"--allow-path {place.parent / 'shared'}"
    )


@pytest.mark.parametrize(
    ("run_dir", "settings", "spec"),
    [
        ("runs/other", (), SPEC),
        ("runs/mugs", (), SPEC),
        ("elsewhere/mugs.sim", (), SPEC),
        ("runs/mugs.sim", (("name", "cups"),), SPEC),
        ("runs/mugs.sim", (), SPEC.replace("name: mugs", "name: cups")),
        ("runs/mugs.sim", (), SPEC.replace("name: mugs", "name: &it mugs")),
        ("runs/mugs.sim", (), None),
    ],
)
def test_a_folder_that_the_command_would_not_find_by_itself_is_named(
    place: Path, run_dir: str, settings: tuple[tuple[str, str], ...], spec: str | None
) -> None:
    """Left out only where the spec as it is now certainly leads there: a second folder would buy all again."""
    written = place / "jobs/mugs.yaml"
    written.unlink() if spec is None else written.write_text(spec)
    said = shlex.split(command(written, Options(simulate=True, run_dir=place / run_dir, settings=settings)))
    assert said[said.index("--run-dir") + 1] == run_dir


def test_a_name_that_could_be_an_option_stays_whole(place: Path) -> None:
    """A relative path may begin with a dash; an absolute one never does."""
    assert command(place / "-x.yaml", Options()) == f"pipeline run {place}/-x.yaml"


def test_the_command_works_where_it_is_said(place: Path) -> None:
    """After a rehearsal with doubts, what `resolve` says next is typed as it stands and goes on with that run."""
    run = CliRunner().invoke
    assert run(cli, ["run", "jobs/mugs.yaml", "--simulate", "--faults", "faults.yaml"]).exit_code == 5
    found = run(cli, ["resolve", "mugs.sim", "--all", "--not-billed", "--why", "seen"])
    said = found.stdout.partition("next:  ")[2].partition("   goes on")[0]
    assert said == "pipeline run jobs/mugs.yaml --simulate --faults faults.yaml"
    (place / "faults.yaml").write_text("{}\n")
    assert run(cli, shlex.split(said)[1:]).exit_code == 0
    assert [each.name for each in (place / "runs").iterdir()] == ["mugs.sim"]


def test_a_report_says_every_path_whole(place: Path, tmp_path: Path) -> None:
    """A page is opened anywhere: from another directory a short command would begin a second run, and buy again."""
    run = CliRunner().invoke
    assert run(cli, ["run", "jobs/mugs.yaml", "--simulate", "--faults", "faults.yaml"]).exit_code == 5
    assert run(cli, ["report", "mugs.sim"]).exit_code == 0
    text = (place / "runs/mugs.sim/report/data-meta.js").read_text()
    said = json.loads(text[text.index("{") : text.rindex("}") + 1])["commands"]
    whole = f"{place}/runs/mugs.sim"
    assert said == {
        "resume": f"pipeline run {place}/jobs/mugs.yaml --simulate --faults {place}/faults.yaml --run-dir {whole}",
        "retry": f"pipeline retry {whole}",
        "report": f"pipeline report {whole}",
        "resolve": f"pipeline resolve {whole}",
    }
