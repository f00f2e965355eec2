"""The wheel is whole: built here, installed elsewhere, it makes the pictures of the quickstart."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.habits.offline import PYTHON, ROOT, borrowed, call, environment

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Installed:
    """A wheel, and a fresh environment that it was installed into."""

    wheel: Path
    binaries: Path
    variables: dict[str, str]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel of this tree in an environment of its own."""
    place = tmp_path_factory.mktemp("wheel")
    variables = environment(borrowed(place / "libraries"), place)
    call([PYTHON, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(place / "dist")], ROOT, variables)
    (wheel,) = (place / "dist").glob("*.whl")
    call([PYTHON, "-m", "venv", str(place / "venv")], place, variables)
    binaries = place / "venv" / "bin"
    call([str(binaries / "python"), "-m", "pip", "install", "-q", "--no-deps", str(wheel)], place, variables)
    return Installed(wheel, binaries, variables)


def test_the_wheel_holds_schemas_specs_and_types(installed: Installed) -> None:
    """Every file of schemas/ and specs/ is in the wheel below pipeline/_bundled, beside the licence and py.typed."""
    with zipfile.ZipFile(installed.wheel) as archive:
        names = set(archive.namelist())
    for kind in ("schemas", "specs"):
        wanted = {file.relative_to(ROOT).as_posix() for file in (ROOT / kind).rglob("*") if file.is_file()}
        assert wanted
        assert {f"pipeline/_bundled/{name}" for name in wanted} <= names
    assert "pipeline/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "runs/")) for name in names)


def test_the_installed_wheel_runs_the_quickstart_elsewhere(installed: Installed, tmp_path: Path) -> None:
    """From an empty folder the installed command makes the bundled quickstart, and a second run changes no byte."""
    code = "from pipeline.runtime import bundled; print(bundled.path('specs', 'quickstart.yaml'))"
    python = str(installed.binaries / "python")
    spec = call([python, "-c", code], tmp_path, installed.variables).strip()
    assert str(installed.binaries.parent) in spec
    command = [str(installed.binaries / "pipeline"), "run", spec, "--simulate"]
    said = call(command, tmp_path, installed.variables)
    run = tmp_path / "runs" / "quickstart.sim"
    pictures = sorted(file for file in (run / "images").rglob("*") if file.is_file())
    assert len(pictures) == 10, said
    status = json.loads(
        call([str(installed.binaries / "pipeline"), "status", str(run), "--json"], tmp_path, installed.variables)
    )
    assert (status["state"], status["images"]) == ("complete", 10)
    assert status["money"]["USD"]["settled_micros"] == 750_000
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in run.rglob("*") if file.is_file()}
    call(command, tmp_path, installed.variables)
    assert before == {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in run.rglob("*") if file.is_file()}


def test_init_and_run_from_an_empty_folder(installed: Installed, tmp_path: Path) -> None:
    """`pipeline init demo && pipeline run demo/spec.yaml --simulate` works wherever the wheel is."""
    command = str(installed.binaries / "pipeline")
    call([command, "init", "demo"], tmp_path, installed.variables)
    call([command, "run", "demo/spec.yaml", "--simulate"], tmp_path, installed.variables)
    assert len([file for file in (tmp_path / "runs" / "demo.sim" / "images").rglob("*") if file.is_file()]) == 24
