"""`report`: the gallery of a run as static files, which open by a double click."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from pipeline.cli import place, words
from pipeline.cli.exits import Exit
from pipeline.cli.options import json_option
from pipeline.cli.output import answer, answer_json, say

#: Pauses between two lines of progress (seconds).
_PACE_S = 5.0


@click.command()
@click.argument("run")
@click.option(
    "--single-file", "single", is_flag=True, help="One file for mailing, RUN/report.html, with up to 500 thumbnails."
)
@click.option("--zip", "zipped", is_flag=True, help="Pack report and pictures as well: RUN/report.zip.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N rows; the sums are of all.")
@json_option
def report(run: str, *, single: bool, zipped: bool, limit: int | None, as_json: bool) -> Exit:
    """Write the gallery of RUN as static files that open by a double click, also while it is alive."""
    from pipeline.cli.run import command
    from pipeline.report.write import write, write_single
    from pipeline.runtime import inspect
    from pipeline.runtime.portrait import sources_of, told_of
    from pipeline.runtime.remains import reading
    from pipeline.runtime.sound import Rows, check_told, sound

    if single and zipped:
        raise click.UsageError("--single-file and --zip contradict each other: give one of them")
    folder = place.folder_of(run)
    with sound(folder):
        origin = inspect.origin(folder)
    resume = command(origin.spec, origin.options, anywhere=True)
    with reading(folder) as journal:
        with sound(folder):
            told, sources = check_told(told_of(folder, journal, resume)), sources_of(journal)
        rows, progress = Rows(folder, journal), _progress(_number(inspect.status(folder).get("images")))
        if single:
            written = write_single(folder, rows, told, sources, limit=limit, progress=progress)
        else:
            written = write(folder, rows, told, sources, limit=limit, progress=progress, zipped=zipped)
    if as_json:
        answer_json(
            {
                "folder": str(folder),
                "page": str(written.page),
                "rows": written.rows,
                "images": written.images,
                "thumbnails_made": written.made,
            }
        )
    else:
        answer(f"{words.count(written.images, 'image')} in {words.clean(written.page)}")
    return Exit.COMPLETE


def _number(found: object) -> int:
    return found if isinstance(found, int) else 0


def _progress(pictures: int) -> Callable[[int], None]:
    """A line now and then, with the end in sight: a hundred thousand thumbnails take a while."""
    last = time.monotonic()

    def tell(made: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _PACE_S:
            last = time.monotonic()
            say(f"{words.count(made, 'thumbnail')} made, of {words.count(max(pictures, made), 'picture')}")

    return tell
