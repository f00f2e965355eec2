"""What people are told when something goes wrong, word for word: `PIPELINE_GOLDEN=write` takes the words of today."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.misfortunes import STORIES, Stage, play

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_every_misfortune_is_told_in_the_agreed_words(
    story: Callable[[Stage], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happened, whether money was taken, what to do next: as in the golden file, on the real command line."""
    said = play(story, tmp_path, monkeypatch)
    golden = GOLDEN / f"{story.__name__}.txt"
    if os.environ.get("PIPELINE_GOLDEN") == "write":
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")


def test_no_golden_file_is_left_over() -> None:
    """Each file is some story's."""
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {story.__name__ for story in STORIES}
