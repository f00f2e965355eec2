"""The documents say what the code does: every key, option, exit code, column and phase, and commands that run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pipeline.failpoints import NAMES
from tests.habits import tables
from tests.habits.offline import ROOT, borrowed, call, environment

PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
    "runs/README.md",
    "specs/assets/README.md",
)

#: The two commands that a person with python3, venv and pip can paste into a fresh clone.
RUN = (
    "python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt . "
    "&& .venv/bin/pipeline run specs/quickstart.yaml --simulate"
)
TEST = (
    "python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e '.[test]' "
    "&& .venv/bin/python -m pytest -n 3"
)


@pytest.fixture(scope="module")
def readme() -> str:
    """The README's text."""
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", tables.TABLES)
def test_each_table_is_the_code_s(name: str) -> None:
    """A table in the README or docs/ is what `python -m tests.habits.tables` draws from the code, whole, and stands."""
    drawn = [tables.found(page.read_text(encoding="utf-8")).get(name) for page in tables.PAGES]
    shown = [each for each in drawn if each is not None]
    assert shown
    assert all(each == tables.TABLES[name]() for each in shown), "run: python -m tests.habits.tables"


def test_the_readme_is_short_and_leads_to_every_page(readme: str) -> None:
    """Two screens and a half to read; what is longer stands in docs/, one link away."""
    assert len(readme.splitlines()) <= 200
    for page in (ROOT / "docs").rglob("*.md"):
        assert f"]({page.relative_to(ROOT)})" in readme, page.name


def test_the_readme_has_both_commands_each_in_one_piece(readme: str) -> None:
    """The command that runs the quickstart and the one that runs the tests can be pasted, and CI runs the latter."""
    lines = readme.splitlines()
    assert RUN in lines
    assert TEST in lines
    assert TEST in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_the_readme_s_run_command_runs_on_a_fresh_copy(readme: str, tmp_path: Path) -> None:
    """On a copy without a virtual environment the README's first command makes ten pictures and says where they are."""
    clone = tmp_path / "clone"
    kept = shutil.ignore_patterns(".*", "__pycache__", "tests", "dist", "runs")
    shutil.copytree(ROOT, clone, ignore=kept)
    variables = environment(borrowed(tmp_path / "libraries"), tmp_path)
    (command,) = (line for line in readme.splitlines() if line.startswith("python3 -m venv") and "--simulate" in line)
    said = call(["bash", "-c", command], clone, variables)
    assert len([file for file in (clone / "runs/quickstart.sim/images").rglob("*") if file.is_file()]) == 10
    assert "runs/quickstart.sim" in said
    assert "10 images" in said


def test_the_spec_in_the_readme_is_the_quickstart(readme: str) -> None:
    """The README shows the shipped quickstart as it is, comments apart."""
    shown = re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    assert _bare(shown[1]) == _bare((ROOT / "specs/quickstart.yaml").read_text(encoding="utf-8"))


def _bare(text: str) -> list[str]:
    """Lines without comments."""
    lines = (re.sub(r"(^|\s)#.*", "", line).rstrip() for line in text.splitlines())
    return [line for line in lines if line]


@pytest.mark.parametrize("page", PAGES)
def test_links_between_documents_lead_somewhere(page: str) -> None:
    """Every relative link of a page names a file of this tree."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    """What stands in backquotes as a file of the tree exists; NAME is a gateway's."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"`((?:tests|pipeline|schemas|docs)/[\w./-]*\.(?:py|md|json))`", text):
        assert "NAME" in name or (ROOT / name).is_file(), name


def test_documents_that_the_code_cites_are_in_this_tree() -> None:
    """A comment that names a page names one that whoever reads it has."""
    there = {path.name for path in ROOT.glob("*.md")} | {path.name for path in (ROOT / "docs").rglob("*.md")}
    there |= {"NAME.md", "TABLE.md", "RESULTS.md"}
    for path, text in sources():
        for name in re.findall(r"\b[\w-]+\.md\b", text):
            assert name in there, f"{path.name} cites {name}"


def test_each_promise_and_test_that_the_code_cites_is_defined() -> None:
    """Promises, lines of the write order and tests by number (I1, W2, T7, S3) stand in docs/reliability.md."""
    name = re.compile(r"\b[IWTS]\d{1,2}\b")
    defined = set(name.findall((ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")))
    cited = {each for _, text in sources() for each in name.findall(text)}
    assert len(cited) >= 30
    assert cited <= defined


def sources() -> list[tuple[Path, str]]:
    """Every file of the product and of its tests, but for this one."""
    paths = sorted(path for room in ("pipeline", "tests") for path in (ROOT / room).rglob("*.py"))
    return [(path, path.read_text(encoding="utf-8")) for path in paths if path != Path(__file__)]


def test_each_failpoint_belongs_to_a_line_of_the_write_order() -> None:
    """docs/reliability.md names each, whole or by its family, and none that is not there."""
    named = re.findall(r"`([a-z]+\.)(\w+|\*)`", (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"))
    families = {name.partition(".")[0] + "." for name in NAMES}
    named = [(family, name) for family, name in named if family in families]
    whole = {family for family, name in named if name == "*"}
    assert {family + name for family, name in named if name != "*"} <= set(NAMES)
    for name in NAMES:
        family, _, last = name.partition(".")
        assert family + "." in whole or (family + ".", last) in named, name


@pytest.mark.parametrize(
    "room", sorted(path.name for path in (ROOT / "pipeline").iterdir() if (path / "__init__.py").is_file())
)
def test_every_room_stands_in_the_ownership_table(room: str) -> None:
    """A folder of the package has a row in ARCHITECTURE.md that says what it owns and must not own."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| `{room}` \| .+ \| .+ \|$", text, re.MULTILINE)


def test_constraints_are_pins_and_nothing_else() -> None:
    """constraints.txt holds names and versions only: no host, no path, no option."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    for line in pins:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9a-z.]*", line), line


@pytest.mark.parametrize("spec", sorted((ROOT / "specs").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_specs_name_their_schema_and_plan(spec: Path) -> None:
    """Every shipped spec begins with the line that gives an editor its schema, and plans below its own budget."""
    from pipeline.runtime import prepare

    text = spec.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../schemas/job.schema.json\n")
    said = re.search(r"# (\d+) pictures.*?(\d+\.\d\d) USD at most", text)
    assert said is not None
    summary = prepare.summary(prepare.plan(prepare.load(spec)))
    assert summary.images == int(said[1])
    assert summary.worst_micros["USD"] == round(float(said[2]) * 1_000_000)
