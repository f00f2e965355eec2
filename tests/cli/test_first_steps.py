"""Help, version, init, schema, models: what works before any run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import exits
from pipeline.cli.catalog import overview, select
from pipeline.cli.init import TEMPLATES
from pipeline.cli.main import COMMANDS, cli
from pipeline.cli.retry import FAULT_KINDS
from pipeline.runtime import bundled, prepare
from pipeline.spec.load import load_job
from pipeline.values.reply import FaultKind


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of one command."""
    result = CliRunner().invoke(cli, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_help_names_every_command_and_every_exit_code() -> None:
    """Exit codes are documented where scripts' writers look."""
    code, out, _ = call("--help")
    assert code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in out
    for line in exits.table().splitlines():
        assert line.strip() in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_for_itself_and_each_of_its_options(name: str) -> None:
    """No option is left without a word."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name
    assert call(name, "--help")[0] == 0


def test_help_imports_nothing_heavy() -> None:
    """`pipeline --help` loads click and the standard library only, so that it starts at once."""
    script = (
        "import sys; from click.testing import CliRunner; from pipeline.cli.main import cli, COMMANDS\n"
        "CliRunner().invoke(cli, ['--help'])\n"
        "heavy = {'rich', 'yaml', 'jsonschema', 'aiohttp', 'pyarrow', 'PIL', 'jinja2', 'asyncio', 'sqlite3'}\n"
        "print(sorted(heavy & set(sys.modules)), len(COMMANDS))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"[] {len(COMMANDS)}\n"


def test_no_command_is_a_usage_error_that_shows_the_help() -> None:
    """A bare `pipeline` tells what there is, on stderr."""
    code, out, err = call()
    assert (code, out) == (2, "")
    assert "First steps" in err


def test_a_misspelt_command_is_answered_with_the_near_one() -> None:
    """Suggestions for commands."""
    code, out, err = call("rnu", "x.yaml")
    assert (code, out) == (2, "")
    assert err == "error: there is no command 'rnu'; did you mean run?\n  see pipeline --help\n"


def test_a_usage_error_with_json_is_one_object_on_stdout(tmp_path: Path) -> None:
    """Scripts that asked for JSON get JSON even when they asked wrongly."""
    code, out, err = call("plan", "--json", str(tmp_path / "none.yaml"))
    assert code == 2
    assert json.loads(out)["error"]["exit_code"] == 2
    assert out.count("\n") == 1
    assert "there is no spec" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "samples"], "is not KEY.PATH=VALUE"),
        (["--budget", "5"], "an amount needs a unit"),
        (["--budget", "5 EUR"], "unknown unit EUR"),
        (["--limit", "0"], "limit"),
        (["--seed", "3"], "belong to --simulate"),
        (["--display", "loud"], "display"),
        (["--simulte"], "--simulate"),
    ],
)
def test_wrong_options_of_run_exit_with_2_and_say_why(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Nothing is read or written before the options are understood."""
    spec = tmp_path / "spec.yaml"
    spec.write_text("version: 1\n")
    code, out, err = call("run", str(spec), *arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_retry_knows_every_kind_of_fault() -> None:
    """The list in the command line is the list of the values."""
    assert tuple(kind.value for kind in FaultKind) == FAULT_KINDS


def test_schema_prints_the_schema_and_nothing_else() -> None:
    """`pipeline schema > job.schema.json` is a JSON Schema."""
    code, out, err = call("schema")
    assert (code, err) == (0, "")
    assert "prompt" in json.loads(out)["properties"]


def test_init_writes_three_files_and_says_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden text of the first command anyone types; both editors' lines stand on top of the spec."""
    monkeypatch.chdir(tmp_path)
    code, out, err = call("init", "mugs")
    assert (code, err) == (0, "")
    assert out == (
        "wrote mugs/spec.yaml                    24 images: 2 models x 3 prompts x 2 sizes x 2 seeds; "
        "0.78 USD at most, nothing with --simulate\n"
        "wrote mugs/.env.example                 the key names of the gateways, all empty\n"
        "wrote mugs/.pipeline/spec.schema.json   completion and checks in your editor\n"
        "next:  pipeline plan mugs/spec.yaml\n"
        "       pipeline run mugs/spec.yaml --simulate\n"
    )
    assert (tmp_path / "mugs/spec.yaml").read_text().splitlines()[:2] == [
        "# yaml-language-server: $schema=.pipeline/spec.schema.json",
        "# $schema: .pipeline/spec.schema.json",
    ]
    assert "prompt" in json.loads((tmp_path / "mugs/.pipeline/spec.schema.json").read_text())["properties"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_each_template_plans_to_what_it_says(template: str, tmp_path: Path) -> None:
    """Its pictures and its worst price stand in what `init` says, in the spec's own comment, and in the plan."""
    folder = tmp_path / "a-job"
    assert call("init", str(folder), "--template", template)[0] == 0
    spec = folder / "spec.yaml"
    said = re.search(r"budget: .* # (\d+) pictures, ([0-9.]+) USD at most", spec.read_text())
    assert said is not None
    assert TEMPLATES[template].startswith(f"{said[1]} images: ")
    assert f"{said[2]} USD at most" in TEMPLATES[template]
    code, out, _ = call("plan", str(spec), "--json")
    assert code == 0
    planned = json.loads(out)
    assert planned["job"] == "a-job"
    assert planned["images"] == int(said[1])
    assert planned["worst_micros"]["USD"] == round(float(said[2]) * 1_000_000)


def test_every_folder_of_templates_is_offered() -> None:
    """What ships is what `--template` takes, and each file of it is explained."""
    shipped = {name.split("/")[1] for name in bundled.names("specs") if name.startswith("templates/")}
    assert shipped == set(TEMPLATES)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_a_script_of_the_shell(shell: str) -> None:
    """It says how it is switched on, and calls us back by the variable that click looks at."""
    code, out, err = call("completions", shell)
    assert (code, err) == (0, "")
    assert out.startswith("# To switch it on:  pipeline completions ")
    assert "_PIPELINE_COMPLETE" in out


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("pipeline r", {"run", "retry", "resolve", "report"}),
        ("pipeline run --disp", {"--display"}),
        ("pipeline run --display p", {"plain"}),
        ("pipeline init --template s", {"sweep"}),
        ("pipeline models 1", {"1min", "1min/qwen-image-edit-plus"}),
        ("pipeline status r", {"runs/mugs"}),
    ],
)
def test_the_shell_is_told_commands_options_values_models_and_runs(line: str, wanted: set[str], tmp_path: Path) -> None:
    """What a shell asks by its variables is answered with what may follow."""
    (tmp_path / "runs" / "mugs").mkdir(parents=True)
    asked = {"_PIPELINE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    environment = {**os.environ, **asked, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert wanted <= {answer.partition(",")[2] for answer in done.stdout.splitlines()}


def test_init_never_overwrites(tmp_path: Path) -> None:
    """A second init keeps every byte and says so, and a link to nowhere stays one."""
    (tmp_path / "spec.yaml").write_text("mine")
    (tmp_path / ".env.example").symlink_to(tmp_path / "nowhere")
    code, out, _ = call("init", str(tmp_path), "--json")
    assert code == 0
    assert json.loads(out)["kept"] == ["spec.yaml", ".env.example"]
    assert json.loads(out)["wrote"] == [".pipeline/spec.schema.json"]
    assert (tmp_path / "spec.yaml").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_init_writes_no_key(tmp_path: Path) -> None:
    """Every key of the example is empty."""
    call("init", str(tmp_path))
    lines = [line for line in (tmp_path / ".env.example").read_text().splitlines() if not line.startswith("#")]
    assert lines == ["MULEROUTER_API_KEY=", "EVOLINK_API_KEY=", "ONEMIN_API_KEY=", "DASHSCOPE_API_KEY="]


@pytest.mark.parametrize("folder", ["Mug Shots", "2026", "ünï", "a_b"])
def test_the_name_of_any_folder_becomes_a_valid_job_name(tmp_path: Path, folder: str) -> None:
    """Whatever the folder is called, the spec in it is valid."""
    assert call("init", str(tmp_path / folder))[0] == 0
    schema = json.loads(call("schema")[1])
    load_job((tmp_path / folder / "spec.yaml").read_text(), "spec.yaml", schema)


def test_version_is_the_distributions() -> None:
    """`pipeline --version` and `python -m pipeline` are there."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "--version"], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.startswith("pipeline ")


def test_the_list_of_models_fits_a_terminal_of_80_columns() -> None:
    """Where the table is too wide, each model has two short lines with the same figures."""
    cards = prepare.cards()
    wide, narrow = (overview(cards, select(cards, None), width) for width in (None, 80))
    assert max(map(len, wide.splitlines())) > 80
    assert max(map(len, narrow.splitlines())) <= 80
    line = "  0.075 USD per image (2026-11); 60 per 1 min (ours); images per call: 1"
    assert f"mulerouter/qwen-image-max   generate\n{line}\n" in narrow
    assert narrow.endswith("details: pipeline models NAME")


def test_the_help_fits_a_terminal_of_80_columns_and_cuts_no_sentence() -> None:
    """A list of commands is read by people who do not know them yet: each line of it is whole."""
    _, out, _ = call("--help")
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in out.partition("Commands:")[2]
