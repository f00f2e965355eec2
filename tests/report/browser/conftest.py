"""A real browser, where there is one: the tests of the page skip with a reason where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.browser.fixtures import Row, write_rows

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
#: An item is marked slow: each opens pages, which takes a second or so.
MARK = pytest.mark.slow


def find_browser() -> str | None:
    """Where a Chromium stands, or None."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Everything in this folder is slow; items of other folders are seen here too and left alone."""
    for item in filter(_is_ours, items):
        item.add_marker(MARK)


def _is_ours(item: pytest.Item) -> bool:
    return Path(__file__).parent in item.path.parents


@pytest.fixture(scope="package")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """One browser for this folder: it keeps an event loop running in this thread, so no test elsewhere may see it."""
    wish = os.environ.get("PIPELINE_BROWSER", "")
    # CI runs these in a step of their own, and there they must run.
    lacking = pytest.fail if wish == "must" else pytest.skip
    if wish == "no":
        pytest.skip("PIPELINE_BROWSER=no: the browser has a step of its own")
    if "PYTEST_XDIST_WORKER" in os.environ and not all(map(_is_ours, request.session.items)):
        pytest.skip("several workers mix these with other tests, which may see no loop: pytest tests/report/browser")
    if find_spec("playwright") is None:
        lacking("playwright is not installed: pip install -e '.[e2e]'")
    where = find_browser()
    if where is None:
        lacking(f"no Chromium here: set CHROMIUM, or install one of {', '.join(NAMES)}")
    api = import_module("playwright.sync_api")
    with api.sync_playwright() as playwright:
        # No sandbox: in a container, root has no namespaces to make one of; the pages are this suite's own.
        started: Browser = playwright.chromium.launch(executable_path=where, args=["--no-sandbox"])
        yield started
        started.close()


def until(page: Page, expression: str, arg: Any = None) -> None:
    """Wait until an expression holds, ten seconds at most; the page's policy forbids a wait that evaluates inside."""
    for _ in range(500):
        if page.evaluate(expression, arg):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"never came true: {expression}")


#: A browser without a screen hides no tab: what a page asks to know whether it is looked at, for `hide` to answer.
_HIDING = """
Object.defineProperty(document, "hidden", { get: () => Boolean(window.isHidden) });
window.hide = (hidden) => { window.isHidden = hidden; document.dispatchEvent(new Event("visibilitychange")); };
"""


def hideable(page: Page) -> None:
    """From its next load on, `hide(page)` puts a page behind another tab as far as it can tell."""
    page.add_init_script(_HIDING)


def hide(page: Page, *, hidden: bool = True) -> None:
    """Nobody looks at this page now, or somebody does again."""
    page.evaluate("(hidden) => window.hide(hidden)", hidden)


@dataclass(slots=True)
class Reader:
    """A page in a browser, with everything it asked for and every complaint it made."""

    page: Page
    context: BrowserContext
    #: The address of the page.
    address: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, place: str = "", *, ready: str = "all") -> Page:
        """The page at a place such as `#gallery`, once all its rows are there."""
        self.page.goto(self.address + place)
        self.page.wait_for_selector(f"body[data-ready={ready}]", timeout=20_000, state="attached")
        return self.page

    def outside(self) -> list[str]:
        """Requests that left the page's own directory."""
        home = self.address.rpartition("/")[0] + "/"
        return [url for url in self.requests if not url.startswith((home, "data:", "blob:"))]


Opener = Callable[..., Reader]


@pytest.fixture
def reader(browser: Browser) -> Iterator[Opener]:
    """Opens a page's address for reading; afterwards nothing may have been complained of, nor asked for elsewhere."""
    readers: list[Reader] = []

    def start(page: Path | str, *, width: int = 1280, height: int = 800, **options: Any) -> Reader:
        address = page.as_uri() if isinstance(page, Path) else page
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        made = Reader(context.new_page(), context, address)
        context.on("request", lambda request: made.requests.append(request.url))
        context.on("weberror", lambda error: made.complaints.append(str(error.error)))
        made.page.on(
            "console", lambda said: made.complaints.append(said.text) if said.type in {"error", "warning"} else None
        )
        made.page.on("dialog", lambda dialog: made.complaints.append(f"a dialog: {dialog.message}"))
        readers.append(made)
        return made

    yield start
    for made in readers:
        made.context.close()
    for made in readers:
        assert made.complaints == [], "the console is silent"
        assert made.outside() == [], "no request leaves the page's own folder"


#: Makes a report of rows and opens it.
Writer = Callable[..., Reader]


@pytest.fixture
def report(tmp_path: Path, reader: Opener) -> Writer:
    """Writes a report of rows and hands its reader out."""

    def write(rows: Sequence[Row], *, options: dict[str, Any] | None = None, **given: Any) -> Reader:
        return reader(write_rows(tmp_path / "report", rows, **given), **(options or {}))

    return write


SPEC = """
version: 1
name: foxes
model: mulerouter/qwen-image-max
matrix:
  subject: [a fox, "<b>two</b> foxes"]
  light: [dawn, dusk]
prompt: "A photograph of {{ subject }} at {{ light }}."
size: 928x1664
samples: 2
budget: 5.00 USD
"""


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A rehearsed run with its report, made by the commands that people use."""
    (tmp_path / "foxes.yaml").write_text(SPEC)
    (tmp_path / "faults.yaml").write_text("moderated: {prompt: two}\n")
    for command, code in (
        (["run", "foxes.yaml", "--simulate", "--faults", "faults.yaml", "--display", "none"], 4),
        (["report", "runs/foxes.sim"], 0),
    ):
        # In processes of their own: a browser's test has an event loop already.
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *command], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == code, done.stderr.decode()
    return tmp_path / "runs" / "foxes.sim"
