"""Where the served page finds a row's pictures: by names that are made into files when they are asked for."""

from __future__ import annotations

from typing import Final

from pipeline.report.data import Entry, Links
from pipeline.report.gallery import INPUTS, THUMBS
from pipeline.report.inputs import Sources
from pipeline.report.pages import src_of

#: Thumbnails and previews are named by what they show: `thumbs/ab/ab...webp`.
_TAIL: Final = "{head}/{digest}.webp"


def links(entry: Entry) -> Links:
    """Links without a look at the disk: the server answers 404 for what is not there after all."""
    src = thumb = None
    if entry.image is not None:
        artifact = entry.image.artifact
        src, thumb = src_of(artifact.path), thumb_of(artifact.sha256)
    inputs: dict[int, tuple[str | None, str | None]] = {}
    for place, source in enumerate(entry.task.task.inputs):
        digest = Sources.digest(source)
        if digest is not None:
            inputs[place] = (f"{INPUTS}/{_tail(digest)}", thumb_of(digest))
    return Links(src, thumb, (), inputs)


def thumb_of(digest: str) -> str:
    """The URL of a thumbnail, relative to the page."""
    return f"{THUMBS}/{_tail(digest)}"


def _tail(digest: str) -> str:
    return _TAIL.format(head=digest[:2], digest=digest)
