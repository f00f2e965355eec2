"""The first five minutes on a terminal of 80 columns, as they are left on the screen.

`PIPELINE_GOLDEN=write` takes the screen of today.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.cli.terminal import COLUMNS, Screen, typed

GOLDEN = Path(__file__).parent / "golden/terminal/first_five_minutes.txt"
SCRIPT = (
    "pipeline init mug-shots",
    "pipeline plan mug-shots/spec.yaml",
    "pipeline run mug-shots/spec.yaml --simulate --limit 4",
    "pipeline status mug-shots",
    "pipeline report mug-shots",
    "pipeline run mug-shots/spec.yaml",
)


def play(script: Sequence[str], folder: Path, screen: Screen, variables: Mapping[str, str]) -> list[int]:
    """Type commands one after another; each leaves the cursor to be seen at the beginning of a line."""
    codes = []
    for command in script:
        codes.append(typed(command, folder, screen, variables))
        assert (screen.column, screen.hidden) == (0, False), command
    return codes


def plain(screen: Screen, folder: Path) -> str:
    """The screen without the one figure that machines do not have alike: how long a rehearsal really took."""
    assert str(folder) not in screen.text().replace("\n", "")
    return re.sub(r"(?<=done in )[\d.]+ s", "1 s", screen.text())


@pytest.mark.slow
def test_the_first_five_minutes_are_left_on_the_screen_as_agreed(tmp_path: Path) -> None:
    """Init, plan, rehearse, status, report, and a run without a key."""
    screen = Screen()
    codes = play(SCRIPT, tmp_path, screen, {})
    said = plain(screen, tmp_path)
    assert codes == [0, 0, 0, 0, 0, 2], said
    if os.environ.get("PIPELINE_GOLDEN") == "write":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(said, encoding="utf-8")
    assert said == GOLDEN.read_text(encoding="utf-8")
    assert screen.coloured


@pytest.mark.slow
def test_without_colour_the_same_words_are_left_on_the_screen(tmp_path: Path) -> None:
    """NO_COLOR takes the colour and nothing else: what draws in place stays in place."""
    for command in (SCRIPT[0], SCRIPT[2], SCRIPT[-1]):
        screen = Screen()
        play([command], tmp_path, screen, {"NO_COLOR": "1"})
        assert plain(screen, tmp_path) in GOLDEN.read_text(encoding="utf-8")
        assert not screen.coloured, command


def test_the_screen_is_a_terminal_s() -> None:
    """Lines wrap where they are full, what is drawn again replaces what stood there, and surprises are refused."""
    screen = Screen()
    screen.feed("x" * (COLUMNS + 1) + "\r\nold\r\nbelow\r\x1b[1A\x1b[2Knew\r\n\x1b[1;31mred\x1b[0m")
    assert screen.text() == "x" * COLUMNS + "\nx\nnew\nredow\n"
    assert screen.coloured
    for surprise in ("\x1b]0;title\x07", "\x1b[2J", "\x07", "\x1b[99A"):
        with pytest.raises(AssertionError):
            Screen().feed(surprise)
