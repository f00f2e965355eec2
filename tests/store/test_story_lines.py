"""`log.jsonl`: each sort of fact is one line, whatever a vendor writes in it, and holds no link's query."""

from __future__ import annotations

import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from pipeline.engine import facts
from pipeline.engine.facts import Fact, TaskAdmitted
from pipeline.engine.phases import Phase
from pipeline.store.story import Story
from pipeline.values.artifact import Artifact
from pipeline.values.reply import Fault, FaultKind
from tests.store.stories import task

HOSTILE = 'line\nline\r\x1b[2J\u2028\u202e"}{ https://user:pw@x.example/a.png?Signature=SECRET#SECRET ' + "x" * 400
FAULT = Fault(FaultKind.REJECTED, HOSTILE, code=HOSTILE, request_id=HOSTILE)
_VALUES: dict[object, object] = {
    int: 7,
    float: 1.5,
    bool: True,
    str: HOSTILE,
    Fault: FAULT,
    Phase: Phase.FAILED,
    Artifact: Artifact("ab" * 32, "image/png", 10, 1, 1, f"images/{HOSTILE}", 5),
}


def _value(hint: Any) -> object:
    if get_origin(hint) in (Union, UnionType):
        return _value(next(each for each in get_args(hint) if each is not NoneType))
    if get_origin(hint) is tuple:
        return (HOSTILE, HOSTILE)
    return _VALUES[hint]


def _hostile(sort: type[Any]) -> Fact:
    if sort is TaskAdmitted:
        return TaskAdmitted(task(0, prompt="SECRETPROMPT"))
    hints = get_type_hints(sort, vars(facts))
    made: Fact = sort(**{name: _value(hints[name]) for name in sort.__slots__})
    return made


def _strings(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case list() | dict():
            inner = value.values() if isinstance(value, dict) else value
            return [each for part in inner for each in _strings(part)]
        case _:
            return [""]


@pytest.mark.parametrize("sort", get_args(Fact), ids=lambda sort: sort.__name__)
def test_each_sort_of_fact_is_one_line_without_links_queries_and_prompts(tmp_path: Path, sort: type[Any]) -> None:
    """Line ends of every sort are escaped or stay within the JSON; queries, users and prompts are gone."""
    path = tmp_path / "log.jsonl"
    fact = _hostile(sort)
    with Story(path, clock=lambda: 5) as story:
        story.tell([fact, fact])
    data = path.read_bytes()
    assert data.count(b"\n") == 2
    assert data.endswith(b"\n")
    assert data.isascii()
    assert len(data.decode().splitlines()) == 2
    assert b"\x1b" not in data
    for bad in (b"SECRET", b"user:pw", b"SECRETPROMPT"):
        assert bad not in data
    lines = [json.loads(line) for line in data.split(b"\n")[:-1]]
    assert [line["fact"] for line in lines] == [sort.__name__] * 2
    assert max(map(len, _strings(lines))) <= 300
