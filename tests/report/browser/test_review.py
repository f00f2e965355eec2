"""A review without a mouse: rated, rejected and noted by keys, kept by the browser, written down and read back."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.plan.review import COLUMNS, parse_review
from tests.report.browser.conftest import Writer, until
from tests.report.browser.fixtures import Row, bare, row

if TYPE_CHECKING:
    from playwright.sync_api import Page

GREETING = '=HYPERLINK("http://127.0.0.1/") and a "quote",\nand a line'


def rows_to_review() -> list[Row]:
    """Eight pictures and a failure; one prompt begins like a formula."""
    return [row(0, prompt=GREETING), *(row(n) for n in range(1, 8)), bare(8, "failed", "moderated")]


def saved(page: Page) -> str:
    """The text of review.csv as it lands on disk."""
    with page.expect_download() as download:
        page.get_by_role("button", name="review.csv").press("Enter")
    assert download.value.suggested_filename == "review.csv"
    return Path(download.value.path()).read_bytes().decode("utf-8")


def test_round_trip_by_keys_alone(report: Writer) -> None:
    """Tab, arrows, digits and letters are enough, and the table is what `retry --rejected` understands."""
    rows = rows_to_review()
    page = report(rows).open("#gallery")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#gallery .pic')"):
            break
    focused = "Number(document.activeElement.closest('.pic')?.dataset.n)"
    assert page.evaluate(focused) == 0
    page.keyboard.press("4")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("5")
    page.keyboard.press("5")  # the same again takes it back
    page.keyboard.press("Enter")
    assert page.locator("#lightbox").evaluate("(box) => box.open")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("2")
    page.keyboard.press("x")
    page.keyboard.press("n")
    page.keyboard.type("-1 hand too many, 5 x")
    page.keyboard.press("Escape")  # leaves the note
    page.keyboard.press("Escape")  # leaves the picture
    assert not page.locator("#lightbox").evaluate("(box) => box.open")
    assert page.evaluate(focused) == 3, "the focus is where the reader was"
    marks = page.locator('#gallery .pic[data-n="3"] .marks').inner_text()
    assert "2" in marks
    assert "rejected" in marks

    text = saved(page)
    assert text.startswith("\ufeff" + ",".join(COLUMNS) + "\r\n")
    lines = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert [(line["task_id"], line["rating"], line["reject"], line["note"]) for line in lines] == [
        (rows[0]["task_id"], "4", "", ""),
        (rows[1]["task_id"], "", "yes", ""),
        (rows[3]["task_id"], "2", "yes", "'-1 hand too many, 5 x"),
    ]
    assert lines[0]["prompt"] == "'" + GREETING, "no cell is a formula"
    rejected = parse_review(text)
    assert rejected.pictures == {(rows[1]["task_id"], 0), (rows[3]["task_id"], 0)}


def test_kept_by_the_browser(report: Writer) -> None:
    """A page that is opened again has the ratings still; another job's page has not."""
    opened = report(rows_to_review())
    page = opened.open("#gallery")
    page.locator('#gallery .pic[data-n="2"]').focus()
    page.keyboard.press("3")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    until(page, "Object.keys(localStorage).some((key) => key.includes('invented:invented.sim'))")
    page = opened.open("#gallery")
    assert "3" in page.locator('#gallery .pic[data-n="2"] .marks').inner_text()
    assert page.locator("#review-count").inner_text() == "1"


def test_read_back(report: Writer, tmp_path: Path) -> None:
    """A table that a spreadsheet saved anew, with semicolons, comes back as ratings."""
    rows = rows_to_review()
    page = report(rows).open("#gallery")
    lines = ["task_id;image_index;rating;reject;note;prompt"]
    lines += [f"{rows[5]['task_id']};0;5;yes;'=1+1;x", f"{rows[6]['task_id']};0;9;no;;", f"{'0' * 64};0;5;;;"]
    file = tmp_path / "colleague.csv"
    file.write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n").encode())
    page.set_input_files("#review-file", file)
    until(page, "document.querySelector('#said').textContent.includes('2 pictures')")
    assert page.evaluate(f"Pipeline.reviewOf('{rows[5]['id']}')") == {"rating": 5, "reject": True, "note": "=1+1"}
    assert page.evaluate(f"Pipeline.reviewOf('{rows[6]['id']}')") is None
    file.write_text("a,b\n1,2\n")
    page.set_input_files("#review-file", [])
    page.set_input_files("#review-file", file)
    until(page, "document.querySelector('#said').textContent.includes('no review')")


def test_a_browser_that_keeps_nothing(report: Writer) -> None:
    """Where the browser forbids keeping, ratings work until the page is closed, and it is said."""
    opened = report(rows_to_review())
    opened.context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })"
    )
    page = opened.open("#gallery")
    page.locator('#gallery .pic[data-n="2"]').focus()
    page.keyboard.press("3")
    until(page, "document.querySelector('#said').textContent.includes('download review.csv')")
    assert rows_to_review()[2]["task_id"] in saved(page)
