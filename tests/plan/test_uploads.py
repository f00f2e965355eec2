"""A plan says beforehand when a job has more pictures to upload than an account may keep at its gateway."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.plan.check import check
from pipeline.plan.make import make_plan
from pipeline.values.card import Figure
from tests.plan.jobs import CARDS, Memory, job, matrix

EDIT = "mulerouter/qwen-image-edit-max"
QUOTA = Figure(3, "documented", "the page on files", "2026-11")


def notes(
    pictures: int, uploads_max: Figure | None, carry: str = "upload", images: str = "{{ photo }}"
) -> tuple[str, ...]:
    """What the plan of an edit of so many pictures notes; two tasks for each."""
    card = CARDS["mulerouter"]
    models = {
        name: replace(
            model,
            pictures=None if model.pictures is None else replace(model.pictures, carry=carry),  # type: ignore[arg-type]  # of the three words
        )
        for name, model in card.models.items()
    }
    names = [f"{number}.png" for number in range(pictures)]
    files = Memory(pictures={name: f"png 512x512 {name}".encode() for name in names})
    spec = job(model=EDIT, images=(images,), matrix=matrix(photo=names, mood=["snow", "rain"]), prompt="{{ mood }}")
    cards = {card.name: replace(card, models=models, uploads_max=uploads_max, upload_lives_s=259_200.0)}
    return check(make_plan(spec, cards, files)).notes


@pytest.mark.parametrize(
    ("pictures", "quota", "carry", "images"),
    [
        (3, QUOTA, "upload", "{{ photo }}"),
        (4, None, "upload", "{{ photo }}"),
        (4, QUOTA, "inline", "{{ photo }}"),
        (4, QUOTA, "upload", "https://pictures.example.com/{{ photo }}"),
        (4, QUOTA, "upload", "0.png"),
    ],
)
def test_a_job_that_fits_is_told_nothing(pictures: int, quota: Figure | None, carry: str, images: str) -> None:
    """Each picture is uploaded once, however many tasks want it; a URL and a picture in the body are no upload."""
    assert notes(pictures, quota, carry, images) == ()


def test_a_job_with_more_pictures_than_an_account_keeps_is_told_so() -> None:
    """With both numbers, what will happen, and where the number stands."""
    (note,) = notes(4, QUOTA)
    assert note == (
        "4 pictures are uploaded to MuleRouter, which keeps 3 files for an account at once (documented: the page on "
        "files, 2026-11), yours of before among them: uploads beyond that park the run, which goes on with the same "
        "command once files are deleted there, or gone, 72 h after their upload"
    )
