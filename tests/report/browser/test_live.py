"""A run that is alive: rows and sums change beneath the reader, and her word reaches the run after a question."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.report.browser.conftest import Opener, Reader, hide, hideable, until
from tests.report.browser.fixtures import bare, meta, row, rows_object, write_rows
from tests.report.browser.server import Served, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

LANE = {"name": "mulerouter/qwen-image-max", "rate": "60/min", "submits": 7, "rate_limited": 1, "in_flight": 3}
LIVE = {
    "live": True,
    "state": "running",
    "lanes": [LANE | {"why": "waits for its rate"}],
    "axes": meta([row(n) for n in range(8)])["axes"],
}
BEGUN = [row(0), bare(1, "running"), bare(2, "waiting"), bare(3, "waiting")]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """The page of a run of four tasks, one of them done, with a stream of events."""
    write_rows(tmp_path / "report", BEGUN, **LIVE)
    with serving(tmp_path / "report") as running:
        yield running


@pytest.fixture
def live(served: Served, reader: Opener) -> Reader:
    """Its reader."""
    return reader(served.address)


def said(page: Page, words: str) -> None:
    """Wait for a message."""
    until(page, "(words) => document.querySelector('#said').textContent.includes(words)", words)


def test_rows_come_in_place(served: Served, live: Reader) -> None:
    """A picture takes the place of its task, counts and money follow, and focus and place of the reader stay."""
    page = live.open("#gallery")
    assert page.locator("#gallery img").count() == 1
    page.locator("#gallery .pic").nth(3).focus()
    after = [BEGUN[0], row(1), bare(2, "running"), bare(3, "waiting")]
    served.tell("rows", rows_object([row(1), bare(2, "running")]))
    served.tell("meta", meta(after, **LIVE))
    until(page, "document.querySelectorAll('#gallery img').length === 2")
    order = page.locator("#gallery .pic").evaluate_all("(all) => all.map((one) => one.dataset.n)")
    assert order == ["0", "1", "2", "3"]
    assert page.evaluate("document.activeElement.dataset.n") == "3"
    assert page.evaluate("Pipeline.rows.length") == 4
    until(page, "document.querySelector('#progress').textContent.includes('2 pictures')")
    assert "running" in page.locator('#gallery .pic[data-n="2"]').inner_text()
    assert "waits for its rate" in page.locator("#lanes").inner_text()

    served.tell("rows", rows_object([row(4), row(5)]))
    until(page, "document.querySelectorAll('#gallery img').length === 4")
    page.click("#tab-grid")
    assert page.locator("#grid img").count() == 4
    served.tell("rows", rows_object([row(2)]))
    until(page, "document.querySelectorAll('#grid img').length === 5")


def test_an_open_picture_follows(served: Served, live: Reader) -> None:
    """Who looks at a task that runs sees its picture when it comes."""
    page = live.open("#gallery")
    page.locator("#gallery .pic").nth(1).click()
    assert page.locator("#stage img").count() == 0
    served.tell("rows", rows_object([row(1)]))
    until(page, "document.querySelectorAll('#stage img').length === 1")
    assert page.locator("#place").inner_text() == "2 of 4"


def test_each_control_asks_first(served: Served, live: Reader) -> None:
    """Nothing is sent before it was confirmed; then it carries the header that no other page can set."""
    page = live.open()
    page.click("#do-pause")
    page.click("#confirm-no")
    page.click("#do-drain")
    page.keyboard.press("Escape")
    assert served.posts.empty()
    cases = [
        ("#do-pause", {"action": "pause", "lane": None, "amount": None}),
        ("#do-resume", {"action": "resume", "lane": None, "amount": None}),
        ("#do-drain", {"action": "drain", "lane": None, "amount": None}),
        ("#lanes button >> nth=0", {"action": "pause", "lane": LANE["name"], "amount": None}),
    ]
    for control, wanted in cases:
        page.click(control)
        page.click("#confirm-yes")
        path, headers, body = served.posts.get(timeout=5)
        assert (path, headers["x-pipeline"], body) == ("/control", "1", wanted)
        said(page, "as you say")
    page.click("#do-budget")
    page.keyboard.type("much")
    page.keyboard.press("Enter")
    assert page.locator("#confirm").evaluate("(box) => box.open"), "an amount has a number and a unit"
    page.fill("#amount", "7.50 USD")
    page.keyboard.press("Enter")
    assert served.posts.get(timeout=5)[2] == {"action": "budget", "lane": None, "amount": "7.50 USD"}
    served.answer = {"ok": False, "said": "the run has ended"}
    page.click("#do-pause")
    page.click("#confirm-yes")
    said(page, "not done: the run has ended")


def test_review_goes_to_the_server(served: Served, live: Reader) -> None:
    """Served, a rating is saved beside the run as well, several of them in one word."""
    page = live.open("#gallery")
    page.locator("#gallery .pic").first.focus()
    page.keyboard.press("4")
    page.keyboard.press("x")
    path, headers, body = served.posts.get(timeout=5)
    assert (path, headers["x-pipeline"]) == ("/review", "1")
    assert body == [{"id": BEGUN[0]["id"], "rating": 4, "reject": True, "note": ""}]


def test_the_end_of_the_run(served: Served, live: Reader) -> None:
    """When the run ends the controls go, and the page stays."""
    page = live.open()
    rows = [row(n) for n in range(4)]
    served.tell("rows", rows_object(rows))
    served.tell("meta", meta(rows, live=False))
    until(page, "document.querySelector('#live').hidden")
    until(page, "document.querySelectorAll('#grid img').length === 4")
    assert page.locator("#state").inner_text().split("\n")[1] == "complete"


def test_a_page_that_nobody_looks_at_gives_its_connection_back(served: Served, live: Reader) -> None:
    """A browser has six of them to one address; looked at again, the page hears what it missed, from where it was."""
    hideable(live.page)
    page = live.open("#gallery")
    served.tell("rows", rows_object([row(1)]), 7)
    until(page, "document.querySelectorAll('#gallery img').length === 2")
    assert served.streams == ["/events"]
    hide(page)
    _wait_for_streams(served, page, 0)
    hide(page, hidden=False)
    _wait_for_streams(served, page, 1)
    assert served.streams[0] == "/events"
    assert served.streams[1] in {"/events?after=7", "/events?after=8"}
    served.tell("rows", rows_object([row(2)]), 9)
    until(page, "document.querySelectorAll('#gallery img').length === 3")


def _wait_for_streams(served: Served, page: Page, number: int) -> None:
    for _ in range(100):
        if served.open_streams == number:
            return
        served.tell("meta", meta(BEGUN, **LIVE), 8)  # a server learns that nobody reads when it writes
        page.wait_for_timeout(50)
    raise AssertionError(f"{served.open_streams} streams are open")


def test_tasks_that_failed_since_are_counted_before_their_reasons_come(served: Served, live: Reader) -> None:
    """The cards say that they lag behind, and by how much."""
    page = live.open("#failures")
    assert "Nothing failed" in page.locator("#failures-body").inner_text()
    told = meta(BEGUN, **LIVE)
    served.tell("meta", told | {"tasks": told["tasks"] | {"failed": 2}})
    until(page, "document.querySelector('#failures-body').innerText.includes('2 more tasks since')")
