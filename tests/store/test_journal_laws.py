"""The law of the store: opening a run folder yields what its facts fold into, however they were grouped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine.stored import Snapshot
from pipeline.manifest.rows import image_cells, input_cells, task_cells
from pipeline.manifest.table import build, meta_of
from pipeline.store.journal import Journal
from pipeline.values.folder import IMAGES_ARROW, IMAGES_PARQUET, TASKS_ARROW
from tests.engine.folding import fold
from tests.store.stories import Storyteller, opened, task


def timeless(snapshot: Snapshot) -> Snapshot:
    """Without what facts do not say: when the store wrote it; and without the words of faults."""
    tasks = tuple(
        replace(
            stored,
            attempts=tuple(replace(each, why="", submitted_at=None, ended_at=None) for each in stored.attempts),
        )
        for stored in snapshot.tasks
    )
    return replace(snapshot, tasks=tasks, sent={})


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(6, 40))
def test_loading_the_tables_equals_folding_the_facts_laws(seed: int, count: int, group: int) -> None:
    """Any legal facts, committed in any groups, load as their fold; sums and attempts agree with the entries."""
    facts = Storyteller(Random(seed)).tell(count)
    folded = fold(facts)
    with TemporaryDirectory() as place:
        path = Path(place) / "state.db"
        journal = opened(path)
        journal.set_meta({f"meter:{task(0).gateway}": "USD 0"})  # Sums are loaded of gateways that have one.
        for begin in range(0, len(facts), group):
            journal.commit(facts[begin : begin + group])
        assert timeless(journal.snapshot()) == timeless(folded.snapshot())
        assert [(said.what, said.lane, said.why) for said in journal.said_rows()] == folded.said
        journal.close(clean=True)
        again = opened(path)
        assert timeless(again.snapshot()) == timeless(folded.snapshot())
        assert again.integrity_check() == []
        # Killed here, as far as a reader can tell: the log is not folded into the file.
        reader = Journal.open_read_only(path)
        assert timeless(reader.snapshot()) == timeless(folded.snapshot())
        reader.close(clean=False)
        again.close(clean=False)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(10, 80), st.integers(1, 9))
def test_columns_say_what_rows_say_laws(seed: int, count: int, size: int) -> None:
    """The manifest is written from columns, the report from rows: neither knows anything else than the other."""
    with TemporaryDirectory() as place:
        journal = opened(Path(place) / "state.db")
        journal.commit(Storyteller(Random(seed)).tell(count))
        told: dict[str, list[dict[str, Any]]] = {"tasks": [], "images": []}
        for each in journal.columns(size):
            rows = zip(*each.values.values(), strict=True)
            told[each.table] += [_cells(dict(zip(each.values, row, strict=True))) for row in rows]
        assert told["tasks"] == [task_cells(row) for row in journal.task_rows()]
        assert told["images"] == [image_cells(row) for row in journal.image_rows()]
        journal.close(clean=True)


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """With maps and inputs as the manifest has them."""
    maps = {name: list(zip(row[name][::2], row[name][1::2], strict=True)) for name in ("axes", "row") if name in row}
    inputs = {"inputs": [input_cells(each) for each in row["inputs"]]} if "inputs" in row else {}
    return row | maps | inputs


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(10, 80))
def test_each_settled_unit_is_on_exactly_one_row_laws(seed: int, count: int) -> None:
    """What tasks.arrow calls settled, held and doubtful adds up to the accounts; images never cost more than that."""
    facts = Storyteller(Random(seed)).tell(count)
    with TemporaryDirectory() as place:
        journal = opened(Path(place) / "state.db")
        journal.commit(facts)
        tasks = list(journal.task_rows())
        for account in journal.accounts():
            attempts = [each for each in journal.attempt_rows() if each.currency == account.currency]
            assert sum(each.settled_micros for each in attempts) == account.spent
            held = [each.open_micros for each in attempts if each.state not in {"DOUBT", "VANISHED"}]
            assert (sum(held), sum(each.open_micros for each in attempts) - sum(held)) == (account.held, account.doubt)
        spent = sum(account.spent for account in journal.accounts())
        assert sum(row.settled_micros for row in tasks) == spent
        images = list(journal.image_rows())
        assert sum(image.cost_micros for image in images) <= spent
        assert len({(image.task.id, image.image_index) for image in images}) == len(images)
        assert sum(row.images_delivered for row in tasks) == len(images)
        names = (IMAGES_ARROW, IMAGES_PARQUET, TASKS_ARROW)
        written = build({name: Path(place) / name for name in names}, journal, meta_of(journal))
        assert (written.images, written.tasks) == (len(images), len(tasks))
        journal.close(clean=True)
