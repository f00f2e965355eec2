"""What is only said of a run never ends it, and is never blamed on somebody else."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipeline
from pipeline.runtime import alive, metrics
from pipeline.runtime.history import Result
from pipeline.runtime.prepare import Options
from pipeline.runtime.progress import View
from tests.stories.jobs import spec

pytestmark = pytest.mark.slow


class Display:
    """A terminal that may go away."""

    def __init__(self, *, breaks: bool = False) -> None:
        """Whether it breaks at once."""
        self.states: list[str] = []
        self._breaks = breaks

    def __call__(self, view: View) -> None:
        """Shown a view."""
        self.states.append(view.state)
        if self._breaks:
            raise OSError(5, "the terminal is gone")


@pytest.fixture(autouse=True)
def _at_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listeners are spared in real time, of which a rehearsal has next to none."""
    monkeypatch.setattr("pipeline.runtime.audience.TELL_EVERY_S", 0.0)
    monkeypatch.setattr(metrics, "EVERY_S", 0.0)


def _rehearsed(folder: Path, display: Display) -> tuple[Result, str]:
    """The result, and the last word of its metrics."""
    options = Options(simulate=True, run_dir=folder / "run")
    result = pipeline.run_sync(pipeline.plan(pipeline.load(spec(folder))), options, display)
    file = folder / "run" / "metrics.prom"
    return result, file.read_text() if file.exists() else ""


def test_a_display_that_breaks_is_left_off_and_the_metrics_go_on(tmp_path: Path) -> None:
    """The run ends as ever, and says of the display what it was; the file has the last state."""
    display = Display(breaks=True)
    result, file = _rehearsed(tmp_path, display)
    assert display.states == ["running"], "it is left alone"
    assert (result.state, result.status["images"]) == ("complete", 6)
    assert result.notes == ("the display broke and was left off: OSError: [Errno 5] the terminal is gone",)
    assert 'state="complete"} 1\n' in file


def test_our_own_mistake_is_called_that_and_the_next_change_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view that cannot be made is no broken display: that one, and the file, hear of all that comes after."""
    honest, asked = alive.view_of, 0

    def mistaken(*given: object) -> View:
        nonlocal asked
        asked += 1
        if asked <= 3:
            raise KeyError("lane")
        return honest(*given)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(alive, "view_of", mistaken)
    display = Display()
    result, file = _rehearsed(tmp_path, display)
    assert result.state == "complete"
    assert display.states[-1] == "complete"
    assert "running" in display.states
    (note,) = result.notes
    assert "which is our own mistake: KeyError: 'lane'" in note
    assert 'state="complete"} 1\n' in file


def test_a_mistake_in_the_metrics_leaves_the_display_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The display is told first."""

    def mistaken(*_: object) -> str:
        raise ZeroDivisionError("no lane")

    monkeypatch.setattr(metrics, "text_of", mistaken)
    display = Display()
    result, file = _rehearsed(tmp_path, display)
    assert (result.state, file) == ("complete", "")
    assert display.states[-1] == "complete"
    assert [note for note in result.notes if "display" in note] == []
    assert ["ZeroDivisionError: no lane" in note for note in result.notes] == [True]
