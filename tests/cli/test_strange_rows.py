"""A run folder whose store came from a stranger, or was damaged: rows that no run would write."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import cli

SPEC: Final = """\
version: 1
name: mugs
model: mulerouter/qwen-image-max
matrix: {color: [red, teal, black]}
prompt: "A {{ color }} mug"
budget: 1.00 USD
"""
STORE: Final = Path("runs/mugs.sim/state.db")
TABLES: Final = ("task", "attempt", "picture", "entry", "account", "meta")
#: What no column expects: each of SQLite's kinds, and texts that are JSON of another shape.
ODD: Final = (
    None,
    -1,
    2**62,
    1.5,
    "",
    "strange",
    "a\0b",
    b"\xff\x00",
    "\U0001f9a0",
    "{",
    "[]",
    "null",
    "{}",
    "../../etc/passwd",
)
#: The same within a task's record.
ODD_JSON: Final[tuple[Any, ...]] = (
    None,
    -1,
    10**30,
    1.5,
    float("nan"),
    "",
    "\ud800",
    "x\0",
    True,
    [],
    [[1, 2]],
    {},
    {"a": [None]},
)
NUMBER: Final = int(os.environ.get("STRANGE_ROWS", "60"))
SEED: Final = int(os.environ.get("PIPELINE_SEED") or 1)


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with a finished rehearsal (two done, one failed), its tables without types and promises."""
    work = tmp_path_factory.mktemp("strange")
    before = Path.cwd()
    os.chdir(work)
    try:
        Path("mugs.yaml").write_text(SPEC)
        Path("faults.yaml").write_text("moderated: {prompt: teal}\n")
        assert call("run", "--simulate", "mugs.yaml", "--faults", "faults.yaml").exit_code == 4
        assert call("report", "mugs").exit_code == 0
        with closing(sqlite3.connect(STORE, isolation_level=None)) as db:
            db.execute("PRAGMA writable_schema = ON")
            for what, name, sql in db.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
                if what == "table" and name in TABLES:
                    plain = re.sub(r"(?<!IS) NOT NULL", "", re.sub(r"\) STRICT(, )?", ") ", sql))
                    db.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (plain, name))
                elif what == "trigger":
                    db.execute("DELETE FROM sqlite_master WHERE name = ?", (name,))
        STORE.with_name("state.db.seal").unlink()
        shutil.copy(STORE, "whole.db")
        yield work
    finally:
        os.chdir(before)


def call(*arguments: str) -> Result:
    """One command in this process."""
    return CliRunner().invoke(cli, arguments)


def spoil(chance: random.Random) -> str:
    """Put one odd value into one cell; answers which."""
    shutil.copy("whole.db", STORE)
    for rest in ("-wal", "-shm"):
        STORE.with_name(STORE.name + rest).unlink(missing_ok=True)
    with closing(sqlite3.connect(STORE, isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        table = chance.choice((*TABLES, "task", "picture"))
        # Columns of a primary key cannot be odd without becoming another row.
        names = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if not row[5] or row[2] != "INTEGER"]
        column = chance.choice(names)
        keys = "attempt, idx" if table == "picture" else "rowid"
        where = chance.choice(db.execute(f"SELECT {keys}, {column} FROM {table}").fetchall())  # noqa: S608
        value: Any = chance.choice(ODD)
        if column == "record" and chance.random() < 0.8:
            record = json.loads(where[-1])
            value = _odd_record(record, chance)
        test = " AND ".join(f"{key} = ?" for key in keys.split(", "))
        try:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {test}", (value, *where[:-1]))  # noqa: S608
        except sqlite3.Error:
            return f"{table}.{column} refuses {value!r}"
    return f"{table}.{column} = {value!r:.300}"


def _odd_record(record: dict[str, Any], chance: random.Random) -> str:
    place = chance.choice(("", "", "price"))
    inside = record[place] if place else record
    key = chance.choice(sorted(inside))
    if chance.random() < 0.2:
        del inside[key]
    else:
        inside[key] = chance.choice(ODD_JSON)
    return json.dumps(record, sort_keys=True, separators=(",", ":"))


@pytest.mark.slow
def test_one_odd_cell_is_answered_with_words_and_never_with_our_own_mistake(loose: Path) -> None:
    """Whatever stands in a row, `report` and `status` end in order: a page, or what is wrong and what can be done."""
    chance, told = random.Random(SEED), 0
    for _ in range(NUMBER):
        damage = spoil(chance)
        for command in (("report", "mugs"), ("status", "mugs")):
            found = call(*command)
            assert found.exit_code in (0, 2, 4, 70), f"{command[0]}, PIPELINE_SEED={SEED}: {damage}\n{found.output}"
            assert "Traceback" not in found.output, damage
            if found.exit_code:
                told += 1
                assert found.stderr.startswith("error: ") or "DAMAGED" in found.stdout, found.output
    assert told > NUMBER // 4, "most of these damages should be noticed"
    assert loose.is_dir()


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("UPDATE task SET record = json_set(record, '$.prompt', 5)", "prompt"),
        ("UPDATE task SET record = json_remove(record, '$.model')", "model"),
        ("UPDATE task SET phase = 'melted'", "melted"),
        ("UPDATE picture SET w = NULL", "contradicts itself"),
        ("UPDATE entry SET kind = 'gift'", "gift"),
    ],
)
def test_a_row_that_no_run_writes_is_named_with_a_remedy(loose: Path, damage: str, what: str) -> None:
    """A prompt of the wrong type, a NULL where none may be, an unknown state: exit 70, and nothing half-written."""
    shutil.copy(loose / "whole.db", STORE)
    with closing(sqlite3.connect(STORE, isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(damage)
    page = STORE.parent / "report/data-meta.js"
    before = page.read_bytes()
    found = call("report", "mugs")
    assert found.exit_code == 70
    assert "cannot be read" in found.stderr
    assert what in found.stderr
    assert "Bring back a whole copy of runs/mugs.sim" in found.stderr
    assert page.read_bytes() == before


RUN: Final = ("run", "--simulate", "mugs.yaml", "--faults", "faults.yaml")


@pytest.mark.parametrize(
    "note",
    [
        "[]",
        "7",
        "{",
        "[" * 20_000,
        '{"status": 5}',
        '{"status": []}',
        '{"status": {"state": "complete"}}',
        '{"status": {"state": "complete", "tasks": {"done": 2}, "money": {}, "in_doubt": []}}',
    ],
    ids=lambda note: note[:40],
)
def test_a_note_of_another_shape_changes_nothing_about_a_finished_run(loose: Path, note: str) -> None:
    """What a run noted of its end only saves time: the rows say the same, in `run` as in `status`."""
    afresh(loose)
    right = [call(*command) for command in (RUN, ("status", "mugs"))]
    assert [found.exit_code for found in right] == [4, 0], right[0].output
    _note("finished_status", note.replace("{", f'{{"ended_at": {json.dumps(_noted("ended_at"))}, ', 1))
    found = [call(*command) for command in (RUN, ("status", "mugs"))]
    assert [each.exit_code for each in found] == [4, 0], found[0].output
    assert [_timeless(each.output) for each in found] == [_timeless(each.output) for each in right]


def test_the_note_of_a_finished_run_is_believed(loose: Path) -> None:
    """A true one is read, so that asking a finished run of a million tasks again costs nothing."""
    afresh(loose)
    kept = json.loads(_noted("finished_status"))
    kept["status"]["images"] = 77
    _note("finished_status", json.dumps(kept))
    assert "77 images" in call(*RUN).output


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE meta SET v = '[3]' WHERE k = 'parked'",
        "UPDATE meta SET v = '{' WHERE k = 'lanes'",
        "UPDATE meta SET v = 'many' WHERE k = 'total'",
        "INSERT INTO meta (k, v) VALUES ('said:1', '[]')",
        "INSERT INTO meta (k, v) VALUES ('said:1', '{}')",
        "UPDATE attempt SET open = 1.5",
        "UPDATE account SET cap = 'much'",
    ],
)
def test_status_of_rows_that_cannot_be_is_a_damaged_store(loose: Path, damage: str) -> None:
    """Each in words, with exit 70, also where reading them ends in another error than the usual ones."""
    afresh(loose)
    with closing(sqlite3.connect(STORE, isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(damage)
    found = call("status", "mugs")
    assert (found.exit_code, "own mistake" in found.output) == (70, False), found.output
    assert "DAMAGED" in found.stdout or found.stderr.startswith("error: "), found.output


#: Notes beside the rows, and what no run writes there.
NOTES: Final = ("finished_status", "options", "lanes", "parked", "total", "unsent")
NO_NOTES: Final = (
    "[]",
    "7",
    "{",
    "null",
    "[3]",
    "[" * 20_000,
    '{"settings": 5}',
    '{"limit": "x"}',
    '{"limit": -3}',
    '{"sample": 2.5}',
    '{"seed": 1e400}',
    '{"faults": 5}',
    '[{"lane": "a", "why": 5}]',
)
#: What never buys anything comes first, what books something last.
COMMANDS: Final = (
    ("status", "mugs"),
    ("ls",),
    ("plan", "mugs.yaml", "--run-dir", "runs/mugs.sim"),
    ("resolve", "mugs"),
    RUN,
    ("drain", "mugs"),
    ("retry", "mugs", "--dry-run"),
)
#: They take longer, and read fewer notes.
LONGER: Final = (
    ("report", "mugs"),
    ("export", "mugs", "out.csv", "--to", "csv"),
    ("verify", "mugs"),
    ("retry", "mugs"),
)


@pytest.mark.slow
@pytest.mark.parametrize("key", NOTES)
def test_no_note_makes_a_command_our_own_mistake(loose: Path, key: str) -> None:
    """Whatever stands in a note, each command ends with its usual exit, or says what is wrong and what can be done."""
    for value in NO_NOTES:
        afresh(loose)
        _note(key, value)
        for command in COMMANDS:
            found = call(*command)
            told = f"{command[0]}, {key} = {value:.40}: {found.output}"
            assert found.exit_code in (0, 2, 4, 70), told
            assert "own mistake" not in found.output, told
            assert "Traceback" not in found.output, told


@pytest.mark.slow
@pytest.mark.parametrize("key", NOTES)
def test_pages_and_files_of_a_run_with_an_odd_note_are_made_or_refused(loose: Path, key: str) -> None:
    """`report`, `export`, `verify` and a `retry` that buys end in order as well."""
    afresh(loose)
    _note(key, "[3]")
    Path("out.csv").unlink(missing_ok=True)
    for command in LONGER:
        found = call(*command)
        assert found.exit_code in (0, 4, 70), f"{command[0]}: {found.output}"
        assert "own mistake" not in found.output


@pytest.mark.parametrize("value", ["[]", "{", "null", '{"settings": 5}', '{"limit": "x"}', '{"seed": 1e400}'])
def test_how_a_run_was_called_is_not_guessed(loose: Path, value: str) -> None:
    """`retry` would go on with other options than the run had: it books nothing and says what can be done."""
    afresh(loose)
    _note("options", value)
    before = STORE.read_bytes()
    found = call("retry", "mugs", "--yes")
    assert found.exit_code == 70, found.output
    assert "what it says of how it was run cannot be read" in found.stderr
    assert "Bring back a whole copy of runs/mugs.sim" in found.stderr
    assert STORE.read_bytes() == before


def afresh(loose: Path) -> None:
    """The finished run as it was, without what commands left beside its store."""
    shutil.copy(loose / "whole.db", STORE)
    for rest in ("-wal", "-shm", ".seal"):
        STORE.with_name(STORE.name + rest).unlink(missing_ok=True)


def _noted(key: str) -> str:
    with closing(sqlite3.connect(STORE)) as db:
        return str(db.execute("SELECT v FROM meta WHERE k = ?", (key,)).fetchone()[0])


def _note(key: str, value: str) -> None:
    with closing(sqlite3.connect(STORE, isolation_level=None)) as db:
        db.execute("INSERT OR REPLACE INTO meta (k, v) VALUES (?, ?)", (key, value))


def _timeless(text: str) -> str:
    return re.sub(r"in [0-9.]+ s", "in 0 s", text)


def test_a_served_page_says_the_same(loose: Path) -> None:
    """`view` draws from the same rows."""
    from pipeline.errors import StorageFailed
    from pipeline.runtime.drawing import Book, draw

    shutil.copy(loose / "whole.db", STORE)
    with closing(sqlite3.connect(STORE, isolation_level=None)) as db:
        db.execute("UPDATE task SET record = json_set(record, '$.prompt', 5)")
    with pytest.raises(StorageFailed, match="prompt"):
        draw(STORE.parent, Book(), "pipeline run mugs.yaml")
