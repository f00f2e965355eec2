"""What docs/ shows of the terminal is what the terminal shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.habits import consoles
from tests.habits.warm import warm


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a page's shell finds our command."""
    with warm(tmp_path_factory.mktemp("bin")) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("page", consoles.PAGES, ids=lambda page: page.stem)
def test_each_console_of_a_page_prints_what_the_page_says(page: Path, tmp_path: Path, scripts: Path) -> None:
    """Every command of a page, run in order in an empty folder; seconds, times of day and sizes may differ."""
    text = page.read_text(encoding="utf-8")
    now = consoles.played(text, tmp_path, consoles.variables_for(tmp_path, scripts))
    assert consoles.comparable(now) == consoles.comparable(text), "run: python -m tests.habits.consoles"


def test_no_console_shows_an_escape_or_a_place_of_the_machine_that_drew_it() -> None:
    """Pages are drawn without a terminal, and folders stand in them as a reader's own."""
    assert len(consoles.PAGES) >= 4
    for page in consoles.PAGES:
        text = page.read_text(encoding="utf-8")
        assert "\x1b" not in text
        assert "/tmp/" not in text
        assert "/home/" not in text


def test_a_slow_machine_prints_the_same_page() -> None:
    """Lines that say how a run is getting on come with the seconds that it takes."""
    page = "$ pipeline run\nrehearsal\ndone: 24 images in 3 s\n"
    line = "21:20:07 10/24 done, 6 active, 0 failed, 0.34 USD spent\n"
    slow = page.replace("done:", f"{line}done:").replace("3 s", "41 s")
    assert consoles.comparable(slow) == consoles.comparable(page)
