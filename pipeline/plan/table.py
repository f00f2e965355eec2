"""Tables: the records of csv, tsv and jsonl files as rows with a stable identity."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from pipeline.plan.evaluation import TemplateFault
from pipeline.plan.flaw import Flaw, Flawed, nearest
from pipeline.plan.resources import ResourceMissing, Resources
from pipeline.plan.scalar import text_of
from pipeline.plan.template import Expression, compile_expression
from pipeline.spec.job import Inputs
from pipeline.values.digest import JSON

ENDINGS: Final = (".csv", ".tsv", ".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in source order. *Shape* - ids, cells: one per row; cells: one per column, None marks an absent key."""

    columns: tuple[str, ...]
    ids: tuple[str, ...]
    cells: tuple[tuple[JSON, ...], ...]
    #: Keys that a row lacks (jsonl only): {row index: names}.
    absent: dict[int, frozenset[str]]

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, index: int) -> dict[str, JSON]:
        """{column: value} of one row."""
        made = dict(zip(self.columns, self.cells[index], strict=True))
        for name in self.absent.get(index, ()):
            del made[name]
        return made

    def only(self, kept: Sequence[int]) -> Table:
        """The rows with these numbers."""
        absent = {new: self.absent[old] for new, old in enumerate(kept) if old in self.absent}
        cells = tuple(self.cells[index] for index in kept)
        return Table(self.columns, tuple(self.ids[index] for index in kept), cells, absent)


def read_table(inputs: Inputs, resources: Resources) -> Table:
    """The rows that `inputs` names, after `where`. *Raises* Flawed with every flaw found."""
    ending = next((ending for ending in ENDINGS if inputs.source.lower().endswith(ending)), None)
    if ending is None:
        raise Flawed(Flaw("inputs.from", f"'{inputs.source}' is no table that can be read", "known: csv, tsv, jsonl"))
    try:
        text = resources.text(inputs.source)
    except ResourceMissing as missing:
        raise Flawed(Flaw("inputs.from", f"cannot read '{missing.path}': {missing.why}")) from missing
    match ending:
        case ".csv":
            table = _flat(inputs.source, _csv_records(inputs.source, text))
        case ".tsv":
            table = _flat(inputs.source, _tsv_records(text))
        case _:
            table = _jsonl(inputs.source, text)
    if not table.cells:
        raise Flawed(Flaw("inputs.from", f"'{inputs.source}' has no records"))
    return _where(inputs, _with_ids(inputs, table))


def _bad(source: str, line: int, what: str, remedy: str = "") -> NoReturn:
    raise Flawed(Flaw("inputs.from", f"{source}:{line}: {what}", remedy))


def _csv_records(source: str, text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        for record in reader:
            if record:
                yield reader.line_num, record
    except csv.Error as error:
        _bad(source, reader.line_num, f"not csv: {error}", "quote cells with commas, quotes or line breaks")


def _tsv_records(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        whole = line.removesuffix("\r")
        if whole:
            yield number, whole.split("\t")


def _flat(source: str, records: Iterator[tuple[int, list[str]]]) -> Table:
    _, header = next(records, (1, []))
    if not header:
        _bad(source, 1, "the file is empty", "its first line names the columns")
    for name in header:
        if not name.strip():
            _bad(source, 1, "a column has no name")
        if header.count(name) > 1:
            _bad(source, 1, f"column '{name}' stands twice")
    cells: list[tuple[JSON, ...]] = []
    for line, record in records:
        if len(record) != len(header):
            _bad(source, line, f"{len(record)} cells, but {len(header)} columns")
        cells.append(tuple(record))
    return Table(tuple(header), (), tuple(cells), {})


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _object(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _jsonl(source: str, text: str) -> Table:
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
    records: list[dict[str, JSON]] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = decoder.decode(line)
        except (ValueError, RecursionError) as error:
            _bad(source, number, f"not JSON: {error}", "one object per line")
        if not isinstance(record, dict):
            _bad(source, number, "not an object", 'one object per line: {"id": "a", "text": "..."}')
        records.append(record)
        columns.update(dict.fromkeys(record))
    names = tuple(columns)
    absent = {
        index: frozenset(columns.keys() - record.keys())
        for index, record in enumerate(records)
        if len(record) < len(names)
    }
    return Table(names, (), tuple(tuple(map(record.get, names)) for record in records), absent)


def _with_ids(inputs: Inputs, table: Table) -> Table:
    if inputs.id is None:
        ids = tuple(str(number) for number in range(1, len(table.cells) + 1))
        return Table(table.columns, ids, table.cells, table.absent)
    if inputs.id not in table.columns:
        known = nearest(inputs.id, table.columns)
        raise Flawed(Flaw("inputs.id", f"'{inputs.source}' has no column '{inputs.id}'", known))
    column = table.columns.index(inputs.id)
    ids = tuple(text_of(cells[column]) for cells in table.cells)
    seen: dict[str, int] = {}
    flaws = []
    for number, name in enumerate(ids, 1):
        if not name:
            flaws.append(Flaw("inputs.id", f"record {number} has an empty '{inputs.id}'", "every row needs its own id"))
        elif name in seen:
            what = f"records {seen[name]} and {number} have the same '{inputs.id}': {name}"
            flaws.append(Flaw("inputs.id", what, "ids must be unique"))
        seen.setdefault(name, number)
    if flaws:
        raise Flawed(*flaws[:10])
    return Table(table.columns, ids, table.cells, table.absent)


def check_columns(path: str, expression: Expression, table: Table | None) -> list[Flaw]:
    """Flaws for every `row.x` that no row has."""
    flaws = []
    for look in expression.looks:
        if look.root != "row":
            flaws.append(Flaw(path, f"'{look.root}' is undefined here", "columns are written row.name"))
        elif look.attribute is not None and table is not None and look.attribute not in table.columns:
            known = nearest(look.attribute, table.columns)
            flaws.append(Flaw(path, f"there is no column '{look.attribute}'", known))
    return flaws


def _where(inputs: Inputs, table: Table) -> Table:
    if inputs.where is None:
        return table
    path = "inputs.where"
    try:
        expression = compile_expression(inputs.where)
        flaws = check_columns(path, expression, table)
        if flaws:
            raise Flawed(*flaws)
        kept = [index for index in range(len(table)) if expression.holds({"row": table.row(index)})]
    except TemplateFault as fault:
        raise Flawed(Flaw(path, fault.what, fault.remedy)) from fault
    if not kept:
        raise Flawed(Flaw(path, f"no record of '{inputs.source}' is kept", "see which values the columns have"))
    return table.only(kept)
