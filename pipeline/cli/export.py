"""`export`: the pictures of a run as a dataset for loaders, or as a table for spreadsheets."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import place, words
from pipeline.cli.exits import Exit
from pipeline.cli.options import json_option, run_argument
from pipeline.cli.output import answer, answer_json, say

if TYPE_CHECKING:
    from pipeline.export.rows import Survey
    from pipeline.export.write import Exported

# Written out, so that `export --help` imports nothing; a test compares it with Format.
FORMATS = ("imagefolder", "webdataset", "parquet", "csv")
#: Pauses between two lines of progress (seconds).
_PACE_S = 5.0


@click.command()
@run_argument
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--to", "form", required=True, type=click.Choice(FORMATS), help="What to write.")
@click.option(
    "--review",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Leave out the pictures that this review.csv rejects.",
)
@click.option(
    "--all", "every", is_flag=True, help="Superseded pictures and those that left the spec as well; none is left out."
)
@click.option(
    "--shard-mb",
    type=click.IntRange(min=1, max=100_000),
    default=500,
    metavar="MB",
    help="Of webdataset and parquet: about how long a file gets, 500 by default.",
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@json_option
def export(
    run: str, dest: Path, *, form: str, review: Path | None, every: bool, shard_mb: int, quiet: bool, as_json: bool
) -> Exit:
    """Write the pictures of RUN to DEST, as they were delivered, with what is known of each; RUN is only read."""
    from pipeline.errors import StorageFailed
    from pipeline.export.rows import Choice
    from pipeline.export.write import Format
    from pipeline.export.write import export as write
    from pipeline.runtime.rejections import read_review_file
    from pipeline.runtime.remains import reading

    folder = place.folder_of(run)
    choice = Choice(None if review is None else read_review_file(review), every)
    with reading(folder) as journal:
        try:
            made = write(
                folder,
                journal,
                dest,
                Format(form),
                choice,
                shard_mb=shard_mb,
                progress=None if quiet else _progress(),
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # Rows that cannot be: a store that was damaged, or made up.
            raise StorageFailed(f"a row of the store cannot be read ({error}): {folder}") from error
    if as_json:
        answer_json(
            {
                "folder": str(folder),
                "dest": str(dest),
                "format": form,
                "pictures": made.pictures,
                "bytes": made.size_bytes,
                "left_out": dict(made.left_out),
                "spoilt": made.spoilt,
                "faults": made.told,
                "already": made.already,
                "kept": made.kept,
            }
        )
    elif not quiet:
        answer("\n".join(words.clean(line) for line in told(made)))
    _tell_spoilt(made, folder)
    return Exit.FAILED_TASKS if made.spoilt else Exit.COMPLETE


def told(made: Exported) -> list[str]:
    """What was written, and what was left out on purpose."""
    lines = ["an earlier try had been cut off: its rest was dropped"] if made.begun_anew else []
    lines += [f"an earlier try had been cut off: {words.count(made.kept, 'picture')} of it kept"] if made.kept else []
    what = f"{words.count(made.pictures, 'picture')}"
    lines.append(
        f"nothing to do: {made.place} holds this very export already, {what}"
        if made.already
        else f"{what} named in {made.place}"
        if made.named_only
        else f"{what}, {_size(made.size_bytes)}, in {made.place}"
    )
    lines += [f"left out, {why}: {words.count(count, 'picture')}" for why, count in made.left_out.items()]
    return lines


def _tell_spoilt(made: Exported, folder: Path) -> None:
    """Pictures that should be in and are not are told whatever is quiet."""
    for line in made.told:
        say(words.clean(line))
    if made.spoilt:
        if more := made.spoilt - len(made.told):
            say(f"... and {more:,} more")
        are = "1 picture is" if made.spoilt == 1 else f"{made.spoilt:,} pictures are"
        say(f"{are} missing or damaged and not in it; put copies back (`pipeline verify {words.clean(folder)}`)")


def _size(size_bytes: int) -> str:
    for unit, each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= each:
            return f"{size_bytes / each:,.1f} {unit}"
    return f"{size_bytes} bytes"


def _progress() -> Callable[[Exported, Survey], None]:
    """A line now and then, with the end in sight."""
    last = time.monotonic()

    def tell(made: Exported, found: Survey) -> None:
        nonlocal last
        if time.monotonic() - last >= _PACE_S:
            last = time.monotonic()
            say(f"{made.pictures:,} of {words.count(found.pictures, 'picture')} written, {_size(made.size_bytes)}")

    return tell
