"""What a run left behind: calls without an answer, operations, paid pictures not fetched; harm to its store.

Read from the store, for `status`, `ls`, `resolve`, `verify` and the last words of a run.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipeline.engine.phases import AttemptState
from pipeline.errors import JournalNewer, RunNotFound, StorageFailed
from pipeline.runtime.history import utc
from pipeline.store.folder import has_store
from pipeline.store.journal import Journal
from pipeline.values.card import GatewayCard
from pipeline.values.folder import LOG, STORE

#: A larger store is not summed by a mere look. *Units* - bytes.
SUMMED_MAX: Final = 64 * 1024 * 1024
#: States beyond those of `history.EXITS`: the store is not to be trusted, or cannot be read.
DAMAGED: Final = "damaged"
#: So many lines about its pages are told.
_SAID_MAX: Final = 3
#: How faults of the store itself begin, as `verify` names them.
_OF_STORE: Final = (f"{STORE}:", f"{STORE}.", "the store", "money:", "not a store")


@contextmanager
def reading(folder: Path) -> Iterator[Journal]:
    """A run folder's store, for reading. *Raises* RunNotFound; StorageFailed with what can be done."""
    if not has_store(folder):
        raise RunNotFound(f"there is no run at {folder}; `pipeline ls` lists the runs below ./runs")
    try:
        journal = Journal.open_read_only(folder / STORE)
    except (JournalNewer, RunNotFound):
        raise
    except StorageFailed as error:
        raise StorageFailed(f"{error}. {remedy(folder)}") from error
    try:
        yield journal
    except sqlite3.Error as error:
        raise StorageFailed(f"the store cannot be read ({error}): {folder / STORE}. {remedy(folder)}") from error
    finally:
        journal.close(clean=False)


def remedy(folder: Path) -> str:
    """What can be done about a store that is damaged, and what that means for money."""
    return (
        f"Nothing was sent or charged by this command, and nothing will be while the store is like that. Bring back a "
        f"whole copy of {folder}; what the run has bought so far stands in its {LOG} and in the vendor's own records"
    )


def is_of_store(fault: str) -> bool:
    """Whether a fault that `verify` found is one of the store itself."""
    return fault.startswith(_OF_STORE)


def harm_of(journal: Journal, *, alive: bool) -> tuple[list[str], list[str]]:
    """(why the store must not be trusted, what is worth a note): a look that costs little, and none at a living run."""
    if alive:
        return [], []
    if harm := journal.damage(SUMMED_MAX):
        return ([], [journal.told_of_folding()]) if journal.folded_elsewhere() else (harm, [])
    return [], [note] if (note := journal.get_meta("store:note")) else []


def out_of(journal: Journal, cards: Mapping[str, GatewayCard], *, alive: bool) -> dict[str, object]:
    """`out` of `status --json`: what may be billed, or is paid, and has no end yet; nothing that a doubt counts.

    *unanswered*: calls whose answer nobody wrote down, of a run that is no longer alive. *operations*: accepted by a
    gateway. *pictures*: paid for and not fetched; *links_until*: when the first of their links may expire (UTC).
    """
    calls = journal.calls_out()
    found: dict[str, object] = {
        "unanswered": 0 if alive else calls.get(AttemptState.SUBMITTING.value, 0),
        "operations": calls.get(AttemptState.ACCEPTED.value, 0),
        "pictures": len(journal.pending_pictures()),
    }
    times = [
        at + round(live_s * 1e6)
        for (gateway, model), at in journal.oldest_links().items()
        if gateway in cards and model in cards[gateway].models
        if math.isfinite(live_s := cards[gateway].models[model].links_live_s)
    ]
    if times:
        found["links_until"] = utc(min(times))
    return {name: each for name, each in found.items() if each}


def gone_of(folder: Path, paths: Iterable[str]) -> int:
    """How many of these pictures are no longer there: each folder is listed once, no file asked for by itself."""
    listed: dict[str, set[str]] = {}
    gone = 0
    for path in paths:
        place, _, name = path.rpartition("/")
        there = listed.get(place)
        if there is None:
            there = listed[place] = _files_in(folder / place)
        gone += name not in there
    return gone


def _files_in(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def unreadable(folder: Path, *faults: object) -> dict[str, object]:
    """The status of a run folder that cannot be read."""
    return {"state": DAMAGED, "run": str(folder), "damage": [str(fault) for fault in faults]}


def in_short(faults: Iterable[str]) -> list[str]:
    """Faults of pages, which SQLite tells by the hundred: the first few lines, and how many more there are."""
    kept: list[str] = []
    more = 0
    for fault in faults:
        lines = [line for line in fault.splitlines() if line.strip()]
        if fault.startswith("the store: "):
            room = max(0, _SAID_MAX - sum(each.startswith("the store: ") for each in kept))
            named = [line if line.startswith("the store: ") else f"the store: {line}" for line in lines]
            kept += named[:room]
            more += len(named) - len(named[:room])
        else:
            kept.append(fault)
    return [*kept, f"the store: {more} more faults of the same sort"] if more else kept
