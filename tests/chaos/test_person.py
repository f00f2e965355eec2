"""A person's word survives a death between its commit and the command's end."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import pipeline
from pipeline import failpoints
from pipeline.runtime import inspect
from pipeline.runtime.history import Result
from pipeline.runtime.prepare import Options

SPEC = """\
version: 1
name: word
model: mulerouter/qwen-image-max
matrix: {color: [red, teal]}
prompt: "A {{ color }} mug"
budget: 2.00 USD
"""


class Died(BaseException):
    """Stands for the end of the process."""


def rehearse(folder: Path, faults: str = "") -> Result:
    """Run the spec in virtual time, in `run` beside it."""
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "faults.yaml").write_text(faults)
    options = Options(simulate=True, run_dir=folder / "run", faults=folder / "faults.yaml" if faults else None)
    return pipeline.run_sync(pipeline.plan(pipeline.load(folder / "spec.yaml")), options)


def die_at(name: str) -> None:
    """Let the next process-to-be end where this is reached."""

    def action(reached: str) -> None:
        if reached == name:
            raise Died

    failpoints.arm(action)


@pytest.mark.parametrize("place", ["amend.committed", "amend.told"])
def test_a_retry_that_died_after_its_commit_is_acted_on_by_the_next_run(tmp_path: Path, place: str) -> None:
    """The finished run does not count as finished any more from the moment on at which the word could be durable."""
    assert rehearse(tmp_path, 'moderated: {prompt: "teal"}\n').exit_code == 4
    die_at(place)
    try:
        with pytest.raises(Died):
            inspect.retry(tmp_path / "run")
    finally:
        failpoints.arm(None)
    assert inspect.verify(tmp_path / "run") == [], "the manifest may be behind, which is no fault"
    assert rehearse(tmp_path).exit_code == 0


def test_verify_finds_no_fault_between_a_persons_word_and_the_next_run(tmp_path: Path) -> None:
    """A booked verdict puts the manifest behind the store until the next command, `verify` being one."""
    assert rehearse(tmp_path, 'cut_after: {prompt: "teal"}\n').exit_code == 5
    assert inspect.resolve(tmp_path / "run", attempt=None, verdict="billed", why="the invoice") == 1
    assert inspect.verify(tmp_path / "run") == []
    assert inspect.status(tmp_path / "run")["state"] == "stopped"


SHORT = """\
version: 1
name: word
model: mulerouter/qwen-image-edit-max
images: [photo.png]
size: 512x512
matrix: {color: [red, teal]}
prompt: "A {{ color }} mug"
n: 4
budget: 3.00 USD
"""


@pytest.mark.parametrize(
    ("fault", "code"), [("cut_after", 5), ("moderated", 4), ("rate_limited: {first: 1}\nmalformed_submit", 5)]
)
def test_a_short_task_that_is_sent_again_may_be_lost_or_refused_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, code: int
) -> None:
    """It keeps the pictures that it has; a lost answer is a doubt for everybody to see, a refusal leaves it short."""
    monkeypatch.setattr(f"{__name__}.SPEC", SHORT)
    Image.new("RGB", (400, 400)).save(tmp_path / "photo.png")
    assert rehearse(tmp_path, 'fewer: {prompt: "teal"}\n').exit_code == 4
    assert inspect.retry(tmp_path / "run").tasks == 1
    assert rehearse(tmp_path, fault + ': {prompt: "teal"}\n').exit_code == code
    assert rehearse(tmp_path).exit_code == code
    assert inspect.verify(tmp_path / "run") == []
