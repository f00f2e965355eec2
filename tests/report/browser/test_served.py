"""The page as `pipeline view` serves it: behind a token, with a review that another browser finds again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.plan.review import parse_review
from tests.report.browser.conftest import Opener, hide, hideable, until


@pytest.fixture
def address(run_folder: Path) -> Iterator[str]:
    """Where the run's page is served, with the token."""
    whole = [sys.executable, "-m", "pipeline", "view", str(run_folder), "--no-open", "--port", "0"]
    with subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            lines = iter(server.stdout.readline, "")
            yield next(word for line in lines for word in line.split() if word.startswith("http://"))
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)


def test_review_is_found_by_another_browser(address: str, run_folder: Path, reader: Opener) -> None:
    """A rating on the served page is a line of RUN/review.csv at once, and the next browser shows it."""
    one = reader(address)
    page = one.open()
    until(page, "location.search === '' && location.pathname === '/'")
    page.click("#tab-gallery")
    until(page, "[...document.querySelectorAll('#gallery img')].filter((i) => i.naturalWidth > 0).length === 4")
    page.locator("#gallery .pic:has(img)").first.focus()
    page.keyboard.press("2")
    page.keyboard.press("x")
    until(page, "!!Pipeline.reviewCount()")
    for _ in range(200):
        if (run_folder / "review.csv").exists():
            break
        page.wait_for_timeout(20)
    rejected = parse_review((run_folder / "review.csv").read_text("utf-8"))
    assert len(rejected.pictures) == 1

    other = reader(address)
    page = other.open()
    until(page, "Pipeline.reviewCount() === 1")
    page.click("#tab-gallery")
    assert "rejected" in page.locator("#gallery .pic.rejected .marks").inner_text()


def test_six_tabs_behind_another_leave_it_its_connections(address: str, reader: Opener) -> None:
    """All tabs of a browser share six connections to one address; without one, a seventh page would never load."""
    one = reader(address)
    page = one.open()
    behind = [page]
    for _ in range(6):
        until(behind[-1], "document.querySelector('#line').textContent !== ''")
        another = one.context.new_page()
        hideable(another)
        another.goto(one.address.partition("?")[0], timeout=10_000)
        another.wait_for_selector("body[data-ready=all]", timeout=10_000, state="attached")
        hide(another)
        behind.append(another)
    last = one.context.new_page()
    last.goto(one.address.partition("?")[0] + "#gallery", timeout=10_000)
    until(last, "[...document.querySelectorAll('#gallery img')].filter((i) => i.naturalWidth > 0).length === 4")
    until(last, "document.querySelector('#line').textContent === 'the run has ended'")
