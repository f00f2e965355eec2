"""Starting the command is cheap: heavy libraries are imported by the commands that need them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Libraries that take long to import, and what a pure start has no use for.
HEAVY = ("aiohttp", "aiolimiter", "pyarrow", "rich", "PIL", "jsonschema", "jinja2", "yaml", "asyncio", "sqlite3")

PROBE = """
import json, sys
sys.argv = ["pipeline", *{arguments!r}]
from pipeline.cli.main import main
try:
    main()
except SystemExit:
    pass
print()
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["plan", "--help"], ["nonsense"]])
def test_asking_for_help_imports_nothing_heavy(arguments: list[str]) -> None:
    """Help, version and a mistyped command import neither the network, Arrow, pictures, nor a schema checker."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert "click" in imported
    assert imported.isdisjoint(HEAVY), sorted(imported & set(HEAVY))


@pytest.mark.slow
def test_importing_the_package_imports_nothing_else() -> None:
    """`import pipeline` costs nothing until something of it is used."""
    code = "import sys; import pipeline; print([n for n in sys.modules if n.startswith('pipeline.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["validate", "one.yaml"], ["plan", "one.yaml"], ["status", "one"], ["ls"]])
def test_looking_at_a_job_imports_neither_arrow_nor_a_screen(tmp_path: Path, arguments: list[str]) -> None:
    """Arrow and Rich are imported by what writes a manifest or draws: the budget of commands that only look."""
    spec = "version: 1\nname: one\nmodel: mulerouter/qwen-image-max\nprompt: a fox\nbudget: 1 USD\n"
    (tmp_path / "one.yaml").write_text(spec)
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
    )
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert imported.isdisjoint({"pyarrow", "rich"}), sorted(imported & {"pyarrow", "rich"})
