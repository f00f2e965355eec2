"""S14: every package that this project needs is pinned, and our code does nothing that a stranger could use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final = "image-batch-pipeline"
#: {dotted name: why nobody calls it}
FORBIDDEN: Final = {
    "eval": "runs what a spec says",
    "exec": "runs what a spec says",
    "compile": "builds code",
    "__import__": "loads what a spec names",
    "pickle": "runs code when it reads",
    "marshal": "runs code when it reads",
    "shelve": "runs code when it reads",
    "subprocess": "starts what a spec could name",
    "os.system": "starts a shell",
    "os.popen": "starts a shell",
    "yaml.load": "makes objects",
    "yaml.unsafe_load": "makes objects",
    "yaml.full_load": "makes objects",
    "tempfile.mktemp": "a name that another may take",
    "xml": "entities without end",
    "telnetlib": "plain text",
    "ssl._create_unverified_context": "trusts anybody",
}


def pins() -> dict[str, str]:
    """{package: version} of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [line.split("==") for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(name): version.strip() for name, version in found}


def needed(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[str]:
    """Every package that a package needs here, through and through; what is not installed is left out."""
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    try:
        wanted = distribution(name).requires or []
    except PackageNotFoundError:
        return
    yield name
    for text in wanted:
        found = Requirement(text)
        places = [{**default_environment(), "extra": extra} for extra in (extras or {""})]
        if found.marker is None or any(found.marker.evaluate(place) for place in places):  # type: ignore[arg-type]
            yield from needed(canonicalize_name(found.name), frozenset(found.extras), seen)


def test_every_package_that_this_project_needs_is_pinned_and_installed_as_pinned() -> None:
    """Ours, those of the extras, and all that they need in turn."""
    pinned = pins()
    found = set(needed(PROJECT, frozenset({"", "test", "lint"}), set())) - {PROJECT}
    assert {"aiohttp", "pyyaml", "hypothesis", "multidict"} <= found
    assert sorted(found - set(pinned)) == []
    assert {name: distribution(name).version for name in found} == {name: pinned[name] for name in found}


def test_every_pin_is_exact() -> None:
    """One version each, and no address, option or marker."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line)] == []


def used(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports, calls or looks up."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield module
                yield from (f"{module}.{name.name}" for name in names)
            case ast.Call(func=ast.Name(id=name)):
                yield name
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                yield f"{owner}.{name}"
            case ast.keyword(arg="shell"):
                yield "shell="
            case ast.keyword(arg="verify" | "ssl", value=ast.Constant(value=False)):
                yield "verify=False"
            case _:
                continue


FILES: Final = sorted((ROOT / "pipeline").rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_our_code_runs_nothing_that_it_reads(file: Path) -> None:
    """No eval, no pickle, no shell, no unsafe YAML, no certificate that is not looked at."""
    found = set(used(ast.parse(file.read_text(encoding="utf-8"))))
    bad = {name for name in found for word in FORBIDDEN if name == word or name.startswith(word + ".")}
    assert bad | (found & {"shell=", "verify=False"}) == set()


def test_nothing_of_ours_runs_when_it_is_installed() -> None:
    """No setup.py, no build hook: a wheel is files and nothing else."""
    text = (ROOT / "pyproject.toml").read_text()
    assert not (ROOT / "setup.py").exists()
    assert "[tool.hatch.build.hooks" not in text
    assert 'build-backend = "hatchling.build"' in text
