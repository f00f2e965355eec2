"""Tables: csv, tsv and jsonl become rows, and what is wrong with them is said with its line."""

from __future__ import annotations

import pytest

from pipeline.plan.flaw import Flawed
from pipeline.plan.table import read_table
from pipeline.spec.job import Inputs
from tests.plan.jobs import Memory


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.csv", "id,text\n1,x\n2,y\n", [{"id": "1", "text": "x"}, {"id": "2", "text": "y"}]),
        ("a.csv", "\ufeffid,text\r\n1,x\r\n", [{"id": "1", "text": "x"}]),
        ("a.csv", 'id,text\n1,"a, ""b""\nc"\n\n', [{"id": "1", "text": 'a, "b"\nc'}]),
        ("a.CSV", "id\n007", [{"id": "007"}]),
        ("a.tsv", 'id\ttext\n1\tsay "hi", ok\n', [{"id": "1", "text": 'say "hi", ok'}]),
        ("a.tsv", "\ufeffid\ttext\r\n1\t x \r\n", [{"id": "1", "text": " x "}]),
        ("a.tsv", "id\ttext\n1\ta\u2028b\n", [{"id": "1", "text": "a\u2028b"}]),
        ("a.jsonl", '{"id": 1, "p": 2.5}\n\n{"id": 2}\n', [{"id": 1, "p": 2.5}, {"id": 2}]),
    ],
)
def test_rows(name: str, text: str, rows: list[dict[str, object]]) -> None:
    """Cells of csv and tsv are text as written, those of jsonl keep their type; an absent key stays absent."""
    table = read_table(Inputs(name, "id"), Memory({name: text}))
    assert [table.row(index) for index in range(len(table))] == rows


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a.csv", "id,text\n1\n", "a.csv:2: 1 cells, but 2 columns"),
        ("a.csv", 'id\n"x', "a.csv:2: not csv"),
        ("a.csv", "id,id\n1,2\n", "column 'id' stands twice"),
        ("a.csv", "id,\n1,2\n", "a column has no name"),
        ("a.csv", "", "the file is empty"),
        ("a.csv", "id\n", "has no records"),
        ("a.csv", "id\nx\nx\n", "records 1 and 2 have the same 'id': x"),
        ("a.csv", "name\nx\n", "has no column 'id'"),
        ("a.tsv", "id\ta\nx\n", "a.tsv:2: 1 cells, but 2 columns"),
        ("a.jsonl", '{"id": 1}\n{"id": }\n', "a.jsonl:2: not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1: not an object"),
        ("a.jsonl", '{"id": NaN}\n', "NaN is no JSON number"),
        ("a.jsonl", '{"id": 1, "id": 2}\n', "a key stands twice"),
        ("a.jsonl", '{"id": ""}\n', "record 1 has an empty 'id'"),
        ("a.xlsx", "", "no table that can be read"),
    ],
)
def test_refused(name: str, text: str, what: str) -> None:
    """A broken table stops the plan and says where it is broken."""
    with pytest.raises(Flawed) as caught:
        read_table(Inputs(name, "id"), Memory({name: text}))
    assert what in caught.value.flaws[0].what


def test_missing_file_says_why() -> None:
    """What the disk says is handed on."""
    with pytest.raises(Flawed, match="there is no such file"):
        read_table(Inputs("gone.csv"), Memory())


def test_records_count_from_one_in_the_source() -> None:
    """Without an id a row is its record's number, and `where` moves no number."""
    table = read_table(Inputs("a.csv", None, "row.kind == 'b'"), Memory({"a.csv": "kind\na\nb\na\nb\n"}))
    assert table.ids == ("2", "4")


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("row.kin == 'b'", "there is no column 'kin'"),
        ("kind == 'b'", "'kind' is undefined"),
        ("row.kind == 'z'", "no record"),
        ("row.kind > 1", "compares text"),
        ("row.kind ==", "not a condition"),
    ],
)
def test_where_refused(where: str, what: str) -> None:
    """A condition that cannot be meant stops the plan."""
    with pytest.raises(Flawed, match=what):
        read_table(Inputs("a.csv", None, where), Memory({"a.csv": "kind\na\nb\n"}))
