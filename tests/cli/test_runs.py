"""Whole commands on real files in a folder of their own, rehearsed: no key, no spend, no network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import cli
from pipeline.errors import StorageFailed
from pipeline.store.folder import RunFolder
from pipeline.store.journal import Journal
from pipeline.store.lock import RunLock
from tests.stories.jobs import failing

SPEC = """\
version: 1
name: mugs
model: mulerouter/qwen-image-max
matrix:
  color: [red, teal]
prompt: "A {{ color }} mug"
budget: 1.00 USD
"""


@dataclass(frozen=True)
class Desk:
    """A working directory with a spec in it."""

    folder: Path

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr of one command."""
        result = CliRunner().invoke(cli, arguments)
        return int(result.exit_code), result.stdout, result.stderr

    def answer(self, *arguments: str) -> tuple[int, dict[str, object]]:
        """Exit code and the one JSON object of a command."""
        code, out, _ = self.call(*arguments)
        assert out.count("\n") == 1, out
        found = json.loads(out)
        assert isinstance(found, dict)
        return code, found

    def call_it(self, folder: str, *, simulate: str) -> None:
        """Let a run folder say that it is a rehearsal's ("1"), or a real run's ("0")."""
        journal = Journal.open(self.folder / folder / "state.db", run_id="", clock=lambda: 2**50)
        journal.set_meta({"simulate": simulate})
        journal.close(clean=True)

    def write(self, text: str) -> None:
        """Change the spec."""
        (self.folder / "mugs.yaml").write_text(text)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """An empty working directory with mugs.yaml, and no key in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("MULEROUTER_API_KEY", "MULEROUTER_BASE_URL", "MULEROUTER_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    made = Desk(tmp_path)
    made.write(SPEC)
    return made


def test_a_valid_spec_is_called_valid(desk: Desk) -> None:
    """`validate` counts the tasks."""
    assert desk.call("validate", "mugs.yaml") == (0, "mugs.yaml: valid, 2 tasks\n", "")


def test_a_wrong_spec_exits_with_2_and_points_at_the_place(desk: Desk) -> None:
    """Every command that reads a spec reports its mistakes alike, and as JSON when asked."""
    desk.write(SPEC.replace("prompt:", "promt:"))
    for command in (("validate",), ("plan",), ("run", "--simulate")):
        code, out, err = desk.call(*command, "mugs.yaml")
        assert (code, out) == (2, "")
        assert err.startswith("mugs.yaml:")
        assert "promt" in err
        code, found = desk.answer(*command, "--json", "mugs.yaml")
        assert code == 2
        error = found["error"]
        assert isinstance(error, dict)
        assert error["mistakes"]
    assert not (desk.folder / "runs").exists()


def test_plan_writes_nothing_and_says_what_it_costs(desk: Desk) -> None:
    """The whole page of a small plan, and no run folder after it."""
    code, out, err = desk.call("plan", "mugs.yaml")
    assert (code, err) == (0, "")
    assert out.startswith("mugs: 2 tasks\n")
    assert "worst case 0.15 USD   budget 1.00 USD: fits" in out
    assert "nothing was sent, nothing was charged." in out
    assert not (desk.folder / "runs").exists()


def test_a_plan_over_its_budget_is_said_and_flagged_but_no_error(desk: Desk) -> None:
    """Over budget: exit 0, in words and in JSON."""
    code, out, _ = desk.call("plan", "mugs.yaml", "--set", "budget=0.10 USD")
    assert code == 0
    assert "OVER BUDGET by 0.05 USD" in out
    code, found = desk.answer("plan", "mugs.yaml", "--set", "budget=0.10 USD", "--json")
    assert (code, found["fits"], found["over_micros"]) == (0, False, {"USD": 50_000})


def test_tasks_are_printed_one_a_line(desk: Desk) -> None:
    """`plan --tasks` is JSON lines."""
    code, out, _ = desk.call("plan", "mugs.yaml", "--tasks")
    tasks = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [task["prompt"] for task in tasks] == ["A red mug", "A teal mug"]
    assert len({task["task_id"] for task in tasks}) == 2
    assert tasks[0]["hold_micros"] == 75_000


def test_a_reader_that_has_had_enough_is_no_error(desk: Desk) -> None:
    """`plan --tasks | head -1` ends in silence."""
    many = ", ".join(f"c{number}" for number in range(2000))
    desk.write(SPEC.replace("red, teal", many).replace("1.00 USD", "none"))
    command = [sys.executable, "-m", "pipeline", "plan", "mugs.yaml", "--tasks"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["number"] == 0
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_folder_in_use_exits_with_75(desk: Desk) -> None:
    """A second run in the same folder is refused, and the first is not disturbed."""
    assert desk.call("run", "mugs.yaml", "--simulate", "--limit", "1")[0] == 0
    with RunLock.take(RunFolder(Path("runs/mugs.sim")).lock):
        code, found = desk.answer("run", "mugs.yaml", "--simulate", "--json")
    error = found["error"]
    assert isinstance(error, dict)
    assert (code, error["kind"], error["exit_code"]) == (75, "RunLocked", 75)


def test_a_costly_edit_without_a_terminal_needs_yes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edited spec that would buy for more than 1 USD exits with 2 and says --yes; a rehearsal never asks."""
    monkeypatch.setenv("MULEROUTER_API_KEY", "any")
    monkeypatch.setenv("MULEROUTER_BASE_URL", "http://127.0.0.1:9/mulerouter")
    assert desk.call("run", "mugs.yaml", "--simulate", "--run-dir", "here")[0] == 0
    desk.call_it("here", simulate="0")
    many = ", ".join(f"c{number}" for number in range(20))
    desk.write(SPEC.replace("red, teal", many).replace("1.00 USD", "9.00 USD"))
    code, out, err = desk.call("run", "mugs.yaml", "--run-dir", "here")
    assert (code, out) == (2, "")
    assert "20 new" in err
    assert "--yes" in err
    desk.call_it("here", simulate="1")
    assert desk.call("run", "mugs.yaml", "--simulate", "--run-dir", "here")[0] == 0


def test_the_expanded_spec_means_the_same(desk: Desk) -> None:
    """`plan --expand` prints a spec with the same tasks."""
    tasks = desk.call("plan", "mugs.yaml", "--tasks")[1]
    code, out, _ = desk.call("plan", "mugs.yaml", "--expand")
    assert code == 0
    desk.write(out)
    assert desk.call("plan", "mugs.yaml", "--tasks")[1] == tasks


def test_a_rehearsal_from_first_run_to_verify(desk: Desk) -> None:
    """Run, run again, look at it in every way, retry nothing, rebuild the manifest."""
    code, out, err = desk.call("run", "mugs.yaml", "--simulate")
    assert (code, out) == (0, "")
    assert "done: 2 images, 2 tasks done in " in err
    assert "0.15 USD of 1.00 USD" in err
    assert "nothing was bought: this was a rehearsal; the real job would take about " in err
    assert "\x1b" not in err

    folder = desk.folder / "runs/mugs.sim"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, _, err = desk.call("run", "mugs.yaml", "--simulate")
    assert code == 0
    assert "nothing to do" in err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    code, found = desk.answer("status", "mugs.sim", "--json")
    assert (code, found["state"], found["images"]) == (0, "complete", 2)
    assert desk.call("status", "runs/mugs.sim")[1].startswith("runs/mugs.sim: done, 2 images\n")
    assert "runs/mugs.sim" in desk.call("ls")[1]
    assert desk.call("verify", "mugs.sim") == (0, "runs/mugs.sim: files, manifest, store and money agree\n", "")
    assert desk.call("retry", "mugs.sim") == (0, "no failed task to send again\n", "")
    assert desk.call("manifest", "mugs.sim")[1].startswith("2 images in runs/mugs.sim/images.arrow")
    assert "2 owned, 0 new" in desk.call("plan", "mugs.yaml", "--run-dir", "runs/mugs.sim")[1]


def test_json_of_a_run_is_one_object_and_nothing_else(desk: Desk) -> None:
    """Stdout is for the result, stderr for people."""
    code, found = desk.answer("run", "mugs.yaml", "--simulate", "--json")
    assert (code, found["state"], found["exit_code"], found["images"]) == (0, "complete", 0, 2)


def test_quiet_says_nothing(desk: Desk) -> None:
    """--quiet leaves only errors."""
    assert desk.call("run", "mugs.yaml", "--simulate", "--quiet") == (0, "", "")


def test_a_budget_that_is_too_small_exits_with_3_and_raising_it_finishes(desk: Desk) -> None:
    """Stopped at the budget, then done."""
    code, _, err = desk.call("run", "mugs.yaml", "--simulate", "--budget", "0.10 USD")
    assert code == 3
    assert "stopped at the budget: 1 image, 1 of 2 tasks done" in err
    code, _, err = desk.call("run", "mugs.yaml", "--simulate", "--budget", "0.15 USD")
    assert code == 0, err


def test_a_limit_stops_after_the_first_tasks_and_is_complete(desk: Desk) -> None:
    """--limit 1 makes one picture and exits with 0."""
    code, found = desk.answer("run", "mugs.yaml", "--simulate", "--limit", "1", "--json")
    assert (code, found["images"]) == (0, 1)


def test_failed_tasks_exit_with_4_and_go_again_after_retry(desk: Desk) -> None:
    """What failed is named by kind with the next command, and that command works."""
    (desk.folder / "faults.yaml").write_text("failed: {prompt: red}\n")
    code, _, err = desk.call("run", "mugs.yaml", "--simulate", "--faults", "faults.yaml")
    assert code == 4
    assert "1 upstream" in err
    assert "next      pipeline retry runs/mugs.sim   sends the failed tasks again" in err
    (desk.folder / "faults.yaml").write_text("{}\n")
    code, out, err = desk.call("retry", "mugs.sim", "--fault", "upstream")
    assert (code, out) == (0, ""), err
    assert err.startswith("1 failed task will go again\ndone: 2 images, 2 tasks done in ")
    assert desk.call("retry", "mugs.sim") == (0, "no failed task to send again\n", "")


def test_retry_goes_on_as_the_run_was_called(desk: Desk) -> None:
    """With its folder, settings, faults, seed and limit, and under the budget that the folder keeps."""
    (desk.folder / "faults.yaml").write_text("moderated: {prompt: red}\n")
    options = ("--simulate", "--run-dir", "here", "--set", "matrix.color=[red, teal, black]", "--budget", "0.20 USD")
    code, found = desk.answer("run", "mugs.yaml", *options, "--faults", "faults.yaml", "--limit", "2", "--json")
    assert (code, found["images"]) == (4, 1), found
    code, found = desk.answer("retry", "here", "--json")
    assert (code, found["images"], found["retried"]) == (4, 1, 1), found
    (desk.folder / "faults.yaml").write_text("{}\n")
    code, found = desk.answer("retry", "here", "--json")
    assert (code, found["images"], found["tasks"]["total"]) == (0, 2, 2), found  # type: ignore[index]
    assert found["money"]["USD"]["limit_micros"] == 200_000  # type: ignore[index]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda desk: desk.write(SPEC.replace("A {{", "One {{")), "its spec changed since; `pipeline plan "),
        (lambda desk: desk.write(SPEC.replace("prompt:", "promt:")), "its spec has faults now; `pipeline validate "),
        (lambda desk: (desk.folder / "mugs.yaml").unlink(), "its spec is gone: "),
    ],
)
def test_retry_runs_no_other_spec_than_the_folder_s_own(desk: Desk, spoil: Callable[[Desk], object], why: str) -> None:
    """When the spec changed, nothing is bought unasked: the tasks are marked and the command is said."""
    (desk.folder / "faults.yaml").write_text("moderated: {prompt: red}\n")
    assert desk.call("run", "mugs.yaml", "--simulate", "--faults", "faults.yaml")[0] == 4
    spoil(desk)
    code, out, _ = desk.call("retry", "mugs.sim")
    assert code == 0
    assert out.startswith(f"1 failed task will go again with the next run; {why}")
    assert "next:  pipeline run mugs.yaml --simulate --faults" in out
    code, found = desk.answer("status", "mugs.sim", "--json")
    assert found["tasks"] == {"done": 1, "waiting": 1, "total": 2}


def test_an_old_page_is_not_named_as_the_gallery(desk: Desk) -> None:
    """After more pictures came, a page that was made before does not have them: the end says how to renew it."""
    assert desk.call("run", "mugs.yaml", "--simulate", "--limit", "1")[0] == 0
    assert desk.call("report", "mugs.sim")[0] == 0
    _, _, err = desk.call("run", "mugs.yaml", "--simulate")
    assert "gallery   pipeline report runs/mugs.sim   brings its page up to date" in err
    assert desk.call("report", "mugs.sim")[0] == 0
    _, _, err = desk.call("run", "mugs.yaml", "--simulate")
    assert "gallery   runs/mugs.sim/report/index.html" in err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"matrix:": "inputs: {from: a.csv}\nmatrix:", "} mug": "} {{ row.name }}"},
            "12 tasks = 3 rows x 2 color x 2 seeds\n",
        ),
        ({"[red, teal]": "{lines: a.csv}"}, "8 tasks = 4 color x 2 seeds\n"),
        ({"[red, teal]": "{range: {from: 1, to: 3}}"}, "6 tasks = 3 color x 2 seeds\n"),
        (
            {"teal]": "teal]\n  of: [tin, clay]\n  exclude: [{color: red, of: tin}]", "} mug": "} {{ of }} mug"},
            "6 tasks = 2 color x 2 of x 2 seeds - excluded ones\n",
        ),
    ],
)
def test_a_plan_says_where_the_number_of_tasks_comes_from(desk: Desk, change: dict[str, str], said: str) -> None:
    """With the count of rows and of every axis, also of those that a file or a range gives."""
    (desk.folder / "a.csv").write_text("name\nx\ny\nz\n")
    spec = SPEC + "seed: [1, 2]\n"
    for old, new in change.items():
        spec = spec.replace(old, new)
    desk.write(spec)
    code, out, err = desk.call("plan", "mugs.yaml")
    assert code == 0, err
    assert out.startswith(f"mugs: {said}"), out


def test_one_task_that_stays_is_one_task(desk: Desk) -> None:
    """No `1 tasks owned`, where a person reads what an edit of the spec buys."""
    assert desk.call("run", "mugs.yaml", "--simulate", "--limit", "1")[0] == 0
    desk.write(SPEC.replace("teal", "blue"))
    _, _, err = desk.call("run", "mugs.yaml", "--simulate", "--yes")
    assert "the spec changed: 1 task owned, 1 new (0 of them changed)" in err


def test_plan_and_status_tell_failed_tasks_from_owned_ones(desk: Desk) -> None:
    """A task that made nothing is not owned, and both commands count its fault as the run did."""
    (desk.folder / "faults.yaml").write_text("{moderated: {prompt: red}, rate_limited: {every: 2}}\n")
    code, found = desk.answer("run", "mugs.yaml", "--simulate", "--faults", "faults.yaml", "--json")
    assert (code, found["faults"]) == (4, {"moderated": 1})
    assert desk.answer("status", "mugs.sim", "--json")[1]["faults"] == found["faults"]
    _, out, _ = desk.call("plan", "mugs.yaml", "--run-dir", "runs/mugs.sim", "--set", "budget=2 USD")
    assert "run folder runs/mugs.sim: 1 owned, 1 failed, 0 new, 0 changed, 0 dropped; nothing more to pay" in out
    assert "next:  pipeline run mugs.yaml --simulate --set 'budget=2 USD'" in out


def test_the_end_of_a_run_with_a_smaller_limit_counts_what_the_folder_has(desk: Desk) -> None:
    """No `2 of 1 tasks`."""
    assert desk.call("run", "mugs.yaml", "--simulate")[0] == 0
    code, _, err = desk.call("run", "mugs.yaml", "--simulate", "--limit", "1")
    assert code == 0
    assert "done: 2 images, 2 tasks done" in err


def test_a_cap_below_what_is_spent_is_said(desk: Desk) -> None:
    """Lowering the budget too far stops submits; the last words say why."""
    assert desk.call("run", "mugs.yaml", "--simulate", "--limit", "1")[0] == 0
    code, _, err = desk.call("run", "mugs.yaml", "--simulate", "--budget", "0.01 USD")
    assert code == 3
    assert "budget    the cap is below what is spent, held or in doubt already (0.075 USD): nothing new is sent" in err


def test_an_amount_below_zero_is_called_that(desk: Desk) -> None:
    """It has a unit already."""
    code, _, err = desk.call("run", "mugs.yaml", "--simulate", "--budget", "-1 USD")
    assert code == 2
    assert "an amount is never below zero: -1 USD" in err


def test_a_doubt_is_listed_with_its_time_and_the_command_that_ends_it(desk: Desk) -> None:
    """`resolve` without a verdict: when it was sent, and a line to type; a cap reached beside it is said by the run."""
    (desk.folder / "faults.yaml").write_text("cut_after: {first: 1}\n")
    code, _, err = desk.call("run", "mugs.yaml", "--simulate", "--faults", "faults.yaml", "--budget", "0.10 USD")
    assert code == 5
    assert err.startswith("stopped at the budget, with attempts in doubt: 0 images, 0 of 2 tasks done")
    assert "  budget    1 task not sent: the cap leaves no room; what is in doubt counts until it is resolved" in err
    assert "  faults " not in err
    code, found = desk.answer("status", "mugs", "--json")
    assert (found["state"], found["unsent"], found["faults"]) == ("in_doubt", 1, {})
    code, out, _ = desk.call("resolve", "mugs")
    assert code == 5
    assert re.search(r"^attempt 1  task \w{16}  0.075 USD  sent 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ  ", out)
    assert "next:  pipeline resolve runs/mugs.sim --attempt 1 --billed (or --not-billed, or --operation ID)" in out


def test_a_signal_before_the_run_is_at_work_says_what_is_out(desk: Desk) -> None:
    """The second life is stopped while it opens: the first one's operations are at the gateway all the same."""
    with failing("told.done", StorageFailed("as a kill would"), after=3):
        assert desk.call("run", "mugs.yaml", "--simulate")[0] == 70
    with failing("recover.begun", KeyboardInterrupt()):
        code, _, err = desk.call("run", "mugs.yaml", "--simulate")
    assert code == 130
    assert "stopped; nothing more was sent; still out: " in err
    assert re.search(r"USD is held for (it|them)", err)
    assert "run the same command to go on" in err


def test_a_missing_picture_of_a_finished_run_is_warned_of(desk: Desk) -> None:
    """In good words, with the command that names it."""
    assert desk.call("run", "mugs.yaml", "--simulate")[0] == 0
    next((desk.folder / "runs/mugs.sim/images").rglob("*.png")).unlink()
    code, _, err = desk.call("run", "mugs.yaml", "--simulate")
    assert code == 0
    assert "WARNING: 1 picture is no longer where the run put it; `pipeline verify runs/mugs.sim` names it" in err
    assert "nothing to do: 2 tasks were done before, nothing more to pay (--fresh starts over)" in err


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--attempt", "1", "--billed", "--not-billed", "--why", "x"), "contradict one another"),
        (("--attempt", "1", "--all", "--billed", "--why", "x"), "--attempt A and --all contradict"),
        (("--all", "--why", "x"), "say what the vendor's records show"),
        (("--billed", "--why", "x"), "say which attempts"),
        (("--all", "--billed"), "say how you know"),
        (("--all", "--operation", "x", "--why", "x"), "--operation names one purchase"),
    ],
)
def test_a_verdict_that_is_not_whole_says_what_is_wrong_with_it(
    desk: Desk, options: tuple[str, ...], word: str
) -> None:
    """One sentence about the slip, and nothing is booked."""
    assert desk.call("run", "mugs.yaml", "--simulate")[0] == 0
    code, out, err = desk.call("resolve", "mugs", *options)
    assert (code, out) == (2, "")
    assert word in err


def test_a_missing_key_is_said_once(desk: Desk) -> None:
    """The variable, where it may stand, and that a rehearsal needs none: each one time."""
    code, _, err = desk.call("run", "mugs.yaml")
    assert code == 2
    assert [err.count(word) for word in ("MULEROUTER_API_KEY is not set", ".env", "--simulate")] == [1, 1, 1]


def test_a_verdict_about_an_attempt_that_is_not_in_doubt_names_the_command(desk: Desk) -> None:
    """The sentence ends where it ends."""
    assert desk.call("run", "mugs.yaml", "--simulate")[0] == 0
    code, _, err = desk.call("resolve", "mugs", "--attempt", "99", "--billed", "--why", "x")
    assert code == 2
    assert "attempt 99 of" in err
    assert "`pipeline resolve runs/mugs.sim` lists those that are" in err


@pytest.mark.parametrize("text", ["rate_limted: 0.1\n", "moderated: 7\n", "[1]\n", "a: [\n"])
def test_a_wrong_faults_file_is_a_usage_error(desk: Desk, text: str) -> None:
    """A slip in the faults is found before a run folder is made."""
    (desk.folder / "faults.yaml").write_text(text)
    code, out, err = desk.call("run", "mugs.yaml", "--simulate", "--faults", "faults.yaml")
    assert (code, out) == (2, "")
    assert "--faults faults.yaml: " in err
    assert not (desk.folder / "runs").exists()


def test_a_missing_key_exits_with_2_before_a_folder_is_made(desk: Desk) -> None:
    """A paid run without a key says which variable to set, and that --simulate needs none."""
    code, out, err = desk.call("run", "mugs.yaml")
    assert (code, out) == (2, "")
    assert "MULEROUTER_API_KEY" in err
    assert "--simulate" in err
    assert not (desk.folder / "runs").exists()


def test_what_init_writes_runs_as_it_is(desk: Desk) -> None:
    """The first commands anyone types work in this order."""
    assert desk.call("init", "first")[0] == 0
    assert "budget 1.20 USD: fits" in desk.call("plan", "first/spec.yaml")[1]
    code, found = desk.answer("run", "first/spec.yaml", "--simulate", "--json")
    assert (code, found["images"]) == (0, 24)
    assert len(list((desk.folder / "runs/first.sim/images").rglob("*.png"))) == 24


def test_a_run_that_is_not_there_is_named_with_those_that_are(desk: Desk) -> None:
    """`status` of a wrong name exits with 2 and lists the right ones."""
    (desk.folder / "runs/cups").mkdir(parents=True)
    code, _, err = desk.call("status", "mugs")
    assert code == 2
    assert err == "error: no run folder at mugs or runs/mugs; there are: cups\n"


def test_a_job_is_found_by_its_name_beside_a_folder_that_is_called_alike(desk: Desk) -> None:
    """`init first`, a run, then `status first`: the folder with the spec is not taken for the run."""
    desk.call("init", "first", "--template", "csv")
    assert desk.call("run", "first/spec.yaml", "--simulate", "--quiet")[0] == 0
    code, out, err = desk.call("status", "first")
    assert (code, err) == (0, "")
    assert out.startswith("runs/first.sim: done, 9 images\n")
    assert desk.call("status", "runs/none")[2] == "error: no run folder at runs/none; there are: first.sim\n"


def test_models_show_price_source_and_date(desk: Desk) -> None:
    """The price table is there before any spec is."""
    code, out, _ = desk.call("models")
    assert code == 0
    assert "mulerouter/qwen-image-max" in out
    assert "0.075 USD per image" in out
    code, out, _ = desk.call("models", "qwen-image-edit-max")
    assert code == 0
    assert "images " in out
    assert "params.prompt_extend" in out
    code, found = desk.answer("models", "mulerouter", "--json")
    assert "mulerouter/qwen-image-edit-plus" in found
    for name in ("qwen-image-max-2025-12-30", "dashscope/qwen-image-max-2025-12-30"):
        code, out, _ = desk.call("models", name)
        assert code == 0
        assert out.startswith("dashscope/qwen-image-max ")
    code, out, _ = desk.call("models", "evolink/qwen-image-3.0-pro")
    for said in (
        "2.448 evolink-credit per image and more + 0.1836 per input picture",
        "with quality 2K",
        "uploaded first",
    ):
        assert said in out
    assert "EVOLINK_FILES_BASE_URL" in out
    code, _, err = desk.call("models", "qwen-image-mx")
    assert code == 2
    assert "did you mean qwen-image-max?" in err
