"""A run as its report tells it, besides the rows: state, money, commands, and the lanes of a living one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.report.inputs import Sources
from pipeline.report.summary import Told
from pipeline.runtime.control import ask
from pipeline.runtime.remains import DAMAGED, harm_of
from pipeline.store.folder import RunFolder
from pipeline.store.journal import Journal
from pipeline.store.lock import is_held
from pipeline.values.folder import CONTROL

#: A review that the served page saved, or that was put here.
REVIEW = "review.csv"


def told_of(folder: Path, journal: Journal, resume: str) -> Told:
    """What the page says of a run, from one read of its store; `resume` is the command that goes on with it.

    Commands name the whole path: nobody knows from where they will be typed.
    """
    alive = is_held(RunFolder(folder).lock)
    living = ask(folder / CONTROL) if alive else None
    snapshot = journal.snapshot()
    counts = {phase.value: count for phase, count in snapshot.counts.items() if count}
    # The account is opened by the first setting of its cap, before anything else.
    begun = min((row.at for row in journal.cap_rows()), default=None)
    return Told(
        job=journal.get_meta("job") or folder.name,
        state=_state(journal, alive=alive),
        simulate=journal.get_meta("simulate") == "1",
        live=alive,
        folder=folder.absolute().name,
        versions={"pipeline": _version()},
        commands=_commands(str(folder.absolute()), resume, doubts=any(row.doubt for row in snapshot.accounts)),
        tasks={**counts, "total": int(journal.get_meta("total") or 0)},
        accounts=snapshot.accounts,
        created_at=begun,
        updated_at=max(journal.last_time(), begun or 0),
        lanes=lanes_of(living or {}),
        review=REVIEW if (folder / REVIEW).is_file() else None,
    )


def sources_of(journal: Journal) -> Sources:
    """Where the input pictures of a run are found again."""
    spec, noted = journal.get_meta("spec_path"), journal.plan()
    return Sources(Path(spec).parent if spec else None, noted.spec_text if noted else "")


def _state(journal: Journal, *, alive: bool) -> str:
    """A state of `status --json`."""
    if harm_of(journal, alive=alive)[0]:
        return DAMAGED
    noted = journal.get_meta("state") or "stopped"
    # A run that says "running" and has no lock was killed.
    return "running" if alive else "stopped" if noted == "running" else noted


def _commands(run: str, resume: str, *, doubts: bool) -> dict[str, str | None]:
    """Commands to be copied; none with a character that a terminal would act on when it is pasted."""
    named = shlex.quote(run)
    found = {
        "resume": resume,
        "retry": f"pipeline retry {named}",
        "report": f"pipeline report {named}",
        "resolve": f"pipeline resolve {named}" if doubts else "",
    }
    return {name: text if text and text.isprintable() else None for name, text in found.items()}


def lanes_of(living: Mapping[str, object]) -> list[dict[str, object]]:
    """The lanes of a living run, as its control socket names them; `why` says what keeps one from sending."""
    found, said = living.get("gateways"), living.get("paused")
    if not isinstance(found, dict):
        return []
    paused = {each.get("lane"): each.get("why") for each in said} if isinstance(said, list) else {}
    return [
        {
            "name": name,
            "rate": lane.get("rate", ""),
            "submits": lane.get("submits", 0),
            "rate_limited": lane.get("rate_limited", 0),
            "in_flight": lane.get("in_flight", 0),
            "why": lane.get("parked") or _pause(paused.get(name) or paused.get(None)),
        }
        for name, lane in found.items()
        if isinstance(lane, dict)
    ]


def _pause(why: object) -> str | None:
    return f"paused ({why})" if why else None


def _version() -> str:
    try:
        return version("image-batch-pipeline")
    except PackageNotFoundError:
        return "unknown"
