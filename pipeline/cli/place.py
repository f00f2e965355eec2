"""Which run folder is meant by a word on the command line: a folder, a job's name, or its spec."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.words import clean
from pipeline.errors import RunNotFound

#: Where runs stand, in the working directory.
RUNS = Path("runs")


def folder_of(run: str) -> Path:
    """The run folder of `runs/mugs`, `mugs` or `mugs.yaml`. *Raises* RunNotFound with the runs that there are."""
    from pipeline.store.folder import has_store

    given = Path(run)
    # A folder that a spec lies in often has its job's name, and holds no run.
    if given.is_dir() and (has_store(given) or not _named(run)):
        return given
    name = run
    if given.is_file():
        from pipeline.runtime import prepare

        name = prepare.load(given).name
    # A rehearsal answers to the job's name as long as there is no real run of it.
    for found in _named(name):
        return found
    known = sorted(folder.name for folder in RUNS.iterdir() if folder.is_dir()) if RUNS.is_dir() else []
    there = f"there are: {', '.join(clean(name) for name in known)}" if known else "there is no run in runs/ yet"
    places = clean(run) if given.parent == RUNS else f"{clean(run)} or {clean(RUNS / name)}"
    raise RunNotFound(f"no run folder at {places}; {there}")


def _named(name: str) -> list[Path]:
    """The run folders of a job's name: the real one, then its rehearsal's."""
    return [found for found in (RUNS / name, RUNS / f"{name}.sim") if found.is_dir()]
