"""`inputs.exclude_from`: what a review rejected is left out, by task, by picture and by row."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from time import process_time

import pytest

from pipeline.errors import PlanError
from pipeline.plan.expand import Plan
from pipeline.plan.make import make_plan
from pipeline.plan.review import Review, parse_review, without_rejected
from pipeline.plan.table import read_table
from tests.plan.jobs import CARDS, Memory
from tests.spec.specs import load

A, B = "a" * 64, "b" * 64
HEAD = "task_id,image_index,rating,reject,note,prompt\n"

READ = {
    "as the page writes it": (f'\ufeff{HEAD}{A},0,5,,fine,"a, b"\r\n{B},1,,yes,"two\nlines",c\r\n', {(B, 1)}),
    "as a spreadsheet writes it": (f"\ufeffTask_ID;Image_Index;Reject\r\n{A};0;TRUE\r\n{B};;no\r\n", {(A, 0)}),
    "tabs, and a whole task": (f"reject\ttask_id\nx\t{A}\n\n", {(A, None)}),
    "guarded cells": (f"{HEAD}{A},0,,yes,'=1+1,'@x\n", {(A, 0)}),
}
REFUSED = {
    "": "1: a review has the columns",
    "task_id,reject\nshort,yes\n": "2: a task_id has 64",
    f"task_id,image_index,reject\n{A},0.0,yes\n": "2: an image_index is a number",
    f"task_id,reject\n{A},perhaps\n": "2: reject is yes or empty, not 'perhaps'",
    "task_id,row_id,reject\n,,yes\n": "2: rejected, and neither",
    f'task_id,reject\n{A},"yes\n': "not csv",
}


@pytest.mark.parametrize("name", READ)
def test_a_review_is_read_as_people_save_it(name: str) -> None:
    """Comma, semicolon or tab; a byte order mark; quotes; yes in several words."""
    text, pictures = READ[name]
    assert parse_review(text).pictures == pictures


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_review_is_refused_with_its_line(text: str) -> None:
    """Nothing is guessed: a rejection that cannot be understood would be one that is lost."""
    with pytest.raises(ValueError, match=r"^\d+: ") as found:
        parse_review(text)
    assert str(found.value).startswith(REFUSED[text]) or REFUSED[text] in str(found.value)


def test_one_rejected_picture_rejects_its_task() -> None:
    """A call is bought whole."""
    review = Review(frozenset({(A, 1)}))
    assert review.tasks == {A}
    assert [review.rejects(A, index) for index in (0, 1)] == [False, True]


SPEC = """\
version: 1
name: mugs
model: mulerouter/qwen-image-max
{inputs}
matrix: {{color: [red, teal, black]}}
prompt: "{prompt}"
samples: 2
{more}
budget: 5.00 USD
"""


def _spec(inputs: str, prompt: str = "a {{ color }} mug", more: str = "") -> str:
    return SPEC.format(inputs=inputs, prompt=prompt, more=more)


def expand(text: str, files: Mapping[str, str] | None = None) -> Plan:
    """The plan of a spec's text with these files beside it."""
    return make_plan(load(text), CARDS, Memory(files or {}))


@pytest.mark.parametrize("more", ["", "order: even"])
def test_rejected_tasks_are_left_out_and_the_others_close_up(more: str) -> None:
    """Numbers stay without a gap, order stays, and the plan has another digest."""
    whole = expand(_spec("", more=more))
    ids = [task.id for task in whole.tasks()]
    review = HEAD + f"{ids[0]},0,,yes,,\n{ids[3]},0,,yes,,\n{ids[5]},0,4,,,\n"
    plan = expand(_spec("inputs: {exclude_from: review.csv}", more=more), {"review.csv": review})
    assert [task.id for task in plan.tasks()] == [each for each in ids if each not in {ids[0], ids[3]}]
    assert [task.number for task in plan.tasks()] == list(range(4))
    assert (plan.left_out, len(plan)) == (2, 4)
    assert plan.digest != whole.digest
    with pytest.raises(IndexError):
        plan.task(4)


def test_rows_are_left_out_by_id_and_as_pictures_of_another_run() -> None:
    """A table exported from a run names its pictures: those that the review rejects are not worked on."""
    table = f"task_id,image_index,text\n{A},0,first\n{A},1,second\n{B},0,third\n"
    review = f"task_id,image_index,row_id,reject\n{A},1,,yes\n,,3,yes\n"
    inputs = "inputs: {from: rows.csv, exclude_from: review.csv}"
    plan = expand(_spec(inputs, "{{ row.text }} {{ color }}"), {"rows.csv": table, "review.csv": review})
    assert {task.row["text"] for task in plan.tasks()} == {"first"}


FAULTS = {
    "no such file": ({}, "cannot read 'review.csv'"),
    "no review": ({"review.csv": "a,b\n"}, "review.csv:1: a review has the columns"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_review_is_told_at_its_key(name: str) -> None:
    """With the line and the column of `exclude_from`."""
    files, words = FAULTS[name]
    with pytest.raises(PlanError, match=words) as found:
        expand(_spec("inputs: {exclude_from: review.csv}"), files)
    assert (found.value.mistakes[0].place.line, found.value.mistakes[0].place.column) == (4, 24)


def test_a_review_that_rejects_everything_is_told() -> None:
    """Nothing would be left to make."""
    ids = [task.id for task in expand(_spec("")).tasks()]
    review = HEAD + "".join(f"{each},0,,yes,,\n" for each in ids)
    with pytest.raises(PlanError, match="rejects every task"):
        expand(_spec("inputs: {exclude_from: review.csv}"), {"review.csv": review})


def test_a_review_of_another_job_is_told_with_counts() -> None:
    """It leaves nothing out, and whoever wrote the spec believes that it does."""
    review = HEAD + "".join(f"{number:064x},0,,yes,,\n" for number in range(12)) + f"{A},0,5,,,\n"
    plan = expand(_spec("inputs: {exclude_from: review.csv}"), {"review.csv": review})
    assert (len(plan), plan.left_out) == (6, 0)
    assert plan.unheeded.startswith("review.csv: 12 tasks rejected, 0 of them of this spec, so nothing is left out")
    of_this = HEAD + f"{plan.task(0).id},0,,yes,,\n"
    for text in (of_this, of_this + f"{A},0,,yes,,\n", HEAD, HEAD + f"{A},0,5,,,\n"):
        assert not expand(_spec("inputs: {exclude_from: review.csv}"), {"review.csv": text}).unheeded


def test_rows_that_a_review_names_are_heeded() -> None:
    """Rows count as well as tasks: by id, and as pictures that a table names."""
    table, inputs = f"task_id,text\n{A},first\n{B},second\n", "inputs: {from: rows.csv, exclude_from: review.csv}"
    for line, heeded in ((f"{A},,yes\n", True), (",2,yes\n", True), (",9,yes\n", False), (f"{'c' * 64},,yes\n", False)):
        files = {"rows.csv": table, "review.csv": "task_id,row_id,reject\n" + line}
        plan = expand(_spec(inputs, "{{ row.text }} {{ color }}"), files)
        assert bool(plan.unheeded) is not heeded, line
    assert plan.unheeded.startswith("review.csv: 1 task rejected, 0 of them")


@pytest.mark.slow
def test_a_review_of_a_hundred_thousand_lines_costs_no_more_than_reading_it() -> None:
    """Lines that reject nothing are hardly looked at, and a table is compared with the review once, not once a row."""
    lines = [f"{number:064x},0,,{'yes' if number % 100 == 0 else ''},,words\n" for number in range(100_000)]
    text = HEAD + "".join(lines)
    begun = process_time()
    for _ in csv.reader(io.StringIO(text, newline="")):
        pass
    reading, begun = process_time() - begun, process_time()
    review = parse_review(text)
    assert process_time() - begun < 6 * reading + 0.05
    rows = "task_id,text\n" + "".join(f"{number:064x},word\n" for number in range(2_000))
    table = read_table(load(_spec("inputs: {from: rows.csv}")).inputs, Memory({"rows.csv": rows}))  # type: ignore[arg-type]
    begun = process_time()
    assert len(without_rejected(table, review)) == 1_980
    assert process_time() - begun < reading + 0.05
