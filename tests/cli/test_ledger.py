"""`status --csv`: a statement of the account whose columns add up to it, whatever happened."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.ledger import COLUMNS, Balance, lines
from pipeline.cli.main import cli
from pipeline.runtime import inspect
from pipeline.values.rows import CapRow, EntryRow, MoveRow
from tests.report.rows import PRICE
from tests.stories.jobs import faults, rehearse, spec


def call(*arguments: object) -> Result:
    """One command in this process."""
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def move(number: int, kind: str, amount: int, why: str = "", **given: object) -> MoveRow:
    """A movement; `given` are fields of MoveRow."""
    start: dict[str, object] = {
        "task_id": "aa" * 32,
        "gateway": "mulerouter",
        "model": "qwen-image-max",
        "operation_id": "op",
        "state": "SETTLED",
        "settled_micros": 75_000,
        "images": 1,
        "fault_message": "",
        "price": PRICE,
    }
    entry = EntryRow(number, 1, "USD", kind, amount, why, number * 1_000_000)
    return MoveRow(entry, **{**start, **given})  # type: ignore[arg-type]  # a test's words


def told(*moves: MoveRow, caps: tuple[CapRow, ...] = ()) -> list[dict[str, str]]:
    """The lines, by column."""
    return [dict(zip(COLUMNS, line, strict=True)) for line in lines(moves, caps, Balance())]


@pytest.mark.parametrize(
    ("entry", "kind", "changes", "images"),
    [
        (move(1, "hold", 5), "hold", "0.00 0.000005 0.00", ""),
        (move(1, "settle", 75_000), "settle", "0.075 -0.075 0.00", "1"),
        (move(1, "settle", 0, settled_micros=0, images=0), "settle", "0.00 0.00 0.00", "0"),
        # It was found late, and settled for one picture after that.
        (move(1, "settle", 0), "settle", "0.00 0.00 0.00", ""),
        (move(1, "release", 5), "release", "0.00 -0.000005 0.00", ""),
        (move(1, "doubt", 5), "doubt", "0.00 -0.000005 0.000005", ""),
        (move(1, "lift", 5), "doubt lifted", "0.00 0.000005 -0.000005", ""),
        (move(1, "doubt_release", 5), "doubt released", "0.00 0.00 -0.000005", ""),
        (move(1, "write_off", 5), "write-off", "0.000005 0.00 -0.000005", ""),
        (move(1, "overage", 5), "overage", "0.000005 0.00 0.00", ""),
        (move(1, "overage", 5, "the bill"), "late", "0.000005 0.00 0.00", ""),
    ],
)
def test_each_kind_of_movement_changes_what_it_says(entry: MoveRow, kind: str, changes: str, images: str) -> None:
    """Spent, held, in doubt; pictures are counted once."""
    (line,) = told(entry)
    found = " ".join(line[f"{name}_change"] for name in ("spent", "held", "in_doubt"))
    assert (line["kind"], found, line["images"]) == (kind, changes, images)


def test_settings_of_the_cap_stand_where_they_were_made() -> None:
    """And what is left is by the cap of then."""
    caps = (CapRow("USD", 100, "the spec's budget", 1_000_000), CapRow("USD", 2**62, "none", 3_000_000))
    found = told(move(1, "hold", 40), move(2, "hold", 10), move(4, "hold", 10), caps=caps)
    assert [(line["kind"], line["budget"], line["left"]) for line in found] == [
        ("budget", "0.0001", "0.0001"),
        ("hold", "0.0001", "0.00006"),
        ("hold", "0.0001", "0.00005"),
        ("budget", "", ""),
        ("hold", "", ""),
    ]
    assert found[3]["amount"] == "no limit"


def test_what_a_vendor_wrote_is_no_formula_and_moves_no_cursor() -> None:
    """Its words and its ids are cells like others."""
    (line,) = told(move(1, "release", 5, operation_id="=1+1", fault_message="-\x1b[2Jgone", state="VOID"))
    assert (line["operation_id"], line["why"]) == ("'=1+1", "'-[2Jgone")


def sums(text: str) -> Mapping[str, Decimal]:
    """What the columns of a statement add up to."""
    assert text.startswith("\ufefftime_utc,kind,")
    found: Counter[str] = Counter()
    last: dict[str, str] = {}
    for line in csv.DictReader(io.StringIO(text[1:], newline="")):
        last = line
        for name in ("spent", "held", "in_doubt"):
            found[name] += Decimal(line[f"{name}_change"])  # type: ignore[assignment]  # a counter of decimals
    assert all(Decimal(last[f"{name}_after"]) == found[name] for name in ("spent", "held", "in_doubt"))
    return {name: Decimal(amount) for name, amount in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["", "moderated: 0.5\n", "cut_after: 0.5\n", "rate_limited: 0.3\n", "failed: 0.5\n"])
def test_the_columns_add_up_to_the_account(tmp_path: Path, wrong: str) -> None:
    """Refunds, doubts and write-offs are lines of their own; `resolve` adds its."""
    rehearse(spec(tmp_path), faults=faults(tmp_path, wrong) if wrong else None)
    for verdict in ((), ("--billed",)):
        if verdict:
            call("resolve", tmp_path / "run", "--all", *verdict, "--why", "the vendor's page")
        done = call("status", tmp_path / "run", "--csv")
        assert done.exit_code == 0
        money = inspect.status(tmp_path / "run")["money"]
        assert isinstance(money, dict)
        found = sums(done.stdout)
        for name, key in (("spent", "settled"), ("held", "held"), ("in_doubt", "doubt")):
            assert found[name] * 1_000_000 == money["USD"][f"{key}_micros"], name


@pytest.mark.slow
def test_a_store_that_contradicts_itself_is_told(tmp_path: Path) -> None:
    """Exit 70: nobody pays a bill by such a statement."""
    rehearse(spec(tmp_path))
    store = sqlite3.connect(tmp_path / "run" / "state.db")
    store.execute("UPDATE account SET spent = spent - 1")
    store.commit()
    store.close()
    done = call("status", tmp_path / "run", "--csv")
    assert done.exit_code == 70
    assert done.stderr


def test_a_statement_is_no_json(tmp_path: Path) -> None:
    """One answer at a time."""
    assert call("status", tmp_path, "--csv", "--json").exit_code == 2
