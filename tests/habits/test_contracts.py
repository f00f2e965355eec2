"""The import contracts of pyproject.toml hold, and can be broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="the lint extra is not installed; .ci/run installs it and runs this file")

ROOT = Path(__file__).parents[2]


def judge(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a tree that holds `pipeline/` and `pyproject.toml`."""
    code = (
        "import sys, importlinter.cli; sys.path.insert(0, '.');"
        "sys.exit(importlinter.cli.lint_imports(no_cache=True, verbose=False))"
    )
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_rooms_import_downwards_only() -> None:
    """Every import contract holds for the code as it stands."""
    verdict = judge(ROOT)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("values/money.py", "import pipeline.spec.job"),
        ("engine/messages.py", "import pipeline.providers.mulerouter"),
        ("spec/job.py", "import asyncio"),
        ("plan/catalog.py", "from pathlib import Path"),
        ("engine/ledger.py", "import aiohttp"),
        ("store/lock.py", "import pyarrow"),
    ],
)
def test_a_forbidden_import_is_noticed(tmp_path: Path, file: str, line: str) -> None:
    """A copy of the tree with one import upwards, sideways or out of a pure room is refused."""
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__", "_bundled"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    judged = tmp_path / "pipeline" / file
    judged.write_text(judged.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    verdict = judge(tmp_path)
    assert verdict.returncode != 0, verdict.stdout
    assert "BROKEN" in verdict.stdout
