"""The page opens by a double click, says what the run's own files say, and asks for nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from pyarrow import feather

from tests.report.browser.conftest import Opener, Writer, until
from tests.report.browser.fixtures import bare, mixed, row


def test_counts_are_those_of_the_manifest(run_folder: Path, reader: Opener) -> None:
    """The head, the gallery and the failures count what images.arrow and tasks.arrow hold."""
    images = feather.read_table(run_folder / "images.arrow").to_pylist()
    tasks = feather.read_table(run_folder / "tasks.arrow").to_pylist()
    states = Counter(task["state"] for task in tasks)
    assert states == {"done": 4, "failed": 4}
    opened = reader(run_folder / "report" / "index.html")
    page = opened.open("#gallery")
    assert page.locator("#gallery .pic img").count() == len(images)
    assert page.locator("#gallery .pic").count() == len(images) + states["failed"]
    counted = {re.sub(r"\s+", " ", text) for text in page.locator(".count-button").all_inner_texts()}
    assert counted == {"4 \u2713 done", "4 \u2715 failed"}
    settled = sum(task["settled_micros"] for task in tasks)
    assert page.locator(".sum.settled strong").inner_text() == f"{settled / 1e6:.2f}"
    assert page.locator("#failures-count").inner_text() == "4"
    shown = page.evaluate("[...document.querySelectorAll('#gallery img')].map((i) => i.complete && i.naturalWidth > 0)")
    assert all(shown), "every thumbnail of the first screen was found on disk"
    # Below its report's folder a page shows the full pictures, which stand beside it.
    page.locator("#gallery .pic").first.click()
    until(page, "document.querySelector('#stage img').naturalWidth === 928")
    opened.requests[:] = [url for url in opened.requests if not url.startswith((run_folder / "images").as_uri())]


def test_nothing_but_own_files_may_run(report: Writer) -> None:
    """The policy is in force from a file: a script that is written into the page does not run."""
    opened = report([row(1)])
    page = opened.open()
    policy = page.locator("meta[http-equiv]").get_attribute("content") or ""
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.head.append(s)"
    )
    assert page.evaluate("window.ran === undefined")
    assert len(opened.complaints) == 1
    assert "Content Security Policy" in opened.complaints.pop()


def test_half_finished_run(report: Writer) -> None:
    """Half-way through, what is missing has its place, its word and its symbol, and the resume command is at hand."""
    rows = [row(0), row(1), bare(2, "running"), bare(3, "waiting"), bare(4, "in_doubt", "timeout")]
    opened = report(rows, state="running", options={"permissions": ["clipboard-read", "clipboard-write"]})
    page = opened.open()
    assert page.locator("#state").inner_text().split("\n")[:2] == ["\u25b8", "running"]
    words = page.locator("#grid td .badge").all_inner_texts()
    assert {re.sub(r"\s+", " ", text) for text in words} == {"? in doubt: timeout", "\u25cb waiting", "\u25b8 running"}
    page.click("#resume")
    assert page.evaluate("navigator.clipboard.readText()") == "pipeline run specs/invented.yaml"
    assert "pipeline run specs/invented.yaml" in page.locator("#said").inner_text()


def test_all_failed(report: Writer) -> None:
    """A run of which nothing came says so by reason, each with a sentence and a command to copy."""
    rows = [bare(n, "failed", "moderated" if n % 3 else "rejected") for n in range(12)]
    page = report(rows, options={"permissions": ["clipboard-read", "clipboard-write"]}).open("#failures")
    cards = page.locator(".failure")
    assert cards.count() == 2
    assert "8 tasks" in cards.filter(has_text="moderated").inner_text()
    cards.filter(has_text="moderated").get_by_role("button", name="copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == "pipeline retry runs/invented --fault moderated"
    cards.filter(has_text="rejected").get_by_role("button", name="show them").click()
    assert page.locator("#gallery .pic").count() == 4
    assert page.locator(".chip").count() == 2
    page.click("#tab-failures")
    cards.first.locator(".example").first.click()
    assert "the gateway said" in page.locator("#stage").inner_text()
    page.keyboard.press("Escape")


def test_empty_run(report: Writer) -> None:
    """A run that was not begun opens, and says that there is nothing."""
    page = report([]).open("#grid")
    assert "0 tasks" in page.locator("#progress").inner_text()
    assert page.locator("#grid-empty").is_visible()
    for tab in ("gallery", "failures", "charts"):
        page.click(f"#tab-{tab}")
    assert page.locator("#charts-body section").count() == 3


def test_missing_data_is_said(report: Writer) -> None:
    """A page without its data says what is missing and how to make it."""
    opened = report(mixed(20))
    (Path(opened.address.removeprefix("file://")).parent / "data-meta.js").unlink()
    opened.page.goto(opened.address)
    assert "data-meta.js" in opened.page.locator("#when").inner_text()
    opened.complaints.clear()


def test_charts_have_their_figures(report: Writer) -> None:
    """Three drawings, each with a label for the ear and a table of the same figures."""
    page = report(mixed(120)).open("#charts")
    assert page.locator("#charts-body svg").count() == 3
    for drawing in page.locator("#charts-body svg").all():
        assert drawing.get_attribute("aria-label")
    assert page.locator("#charts-body table").count() == 3
    assert page.locator("#charts-body table").nth(2).locator("tbody tr").count() == 2
    assert (page.locator("svg text.value").first.text_content() or "").endswith("USD")


def test_one_file_for_mailing(run_folder: Path, reader: Opener) -> None:
    """The single file shows its pictures from within itself, and asks for nothing at all."""
    whole = [sys.executable, "-m", "pipeline", "report", str(run_folder), "--single-file"]
    assert subprocess.run(whole, capture_output=True, check=False).returncode == 0
    opened = reader(run_folder / "report.html")
    page = opened.open("#gallery")
    until(page, "[...document.querySelectorAll('#gallery img')].filter((i) => i.naturalWidth > 0).length === 4")
    page.locator("#gallery .pic:has(img)").first.click()
    until(page, "document.querySelector('#stage img').naturalWidth > 0")
    assert [url for url in opened.requests if not url.startswith("data:")] == [opened.address]
