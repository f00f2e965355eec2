"""`report`: the gallery of a run as static files, which open by a double click."""

from __future__ import annotations

import click

from pipeline.cli import place, words
from pipeline.cli.exits import Exit
from pipeline.cli.options import json_option
from pipeline.cli.output import answer, answer_json


@click.command()
@click.argument("run")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N rows; the sums are of all.")
@json_option
def report(run: str, *, limit: int | None, as_json: bool) -> Exit:
    """Write the gallery of RUN as static files that open by a double click, also while it is alive."""
    from pipeline.cli.run import command
    from pipeline.report.write import write
    from pipeline.runtime import inspect
    from pipeline.runtime.portrait import sources_of, told_of
    from pipeline.runtime.remains import reading

    folder = place.folder_of(run)
    origin = inspect.origin(folder)
    with reading(folder) as journal:
        told = told_of(folder, journal, command(origin.spec, origin.options), run=run)
        written = write(folder, journal, told, sources_of(journal), limit=limit)
    if as_json:
        answer_json({"folder": str(folder), "page": str(written.page), "rows": written.rows, "images": written.images})
    else:
        answer(f"{words.count(written.images, 'image')} in {words.clean(written.page)}")
    return Exit.COMPLETE
