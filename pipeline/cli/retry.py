"""`retry`: the failed tasks of a run, or those that a review rejects, go again; or what that would cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import place, words
from pipeline.cli.exits import Exit
from pipeline.cli.options import json_option, run_argument, running_options
from pipeline.cli.output import answer, answer_json, say

if TYPE_CHECKING:
    from pipeline.runtime.inspect import Origin
    from pipeline.runtime.retries import Meant, Prospect

# Written out, so that `retry --help` imports nothing; a test compares it with FaultKind.
FAULT_KINDS = (
    "rate_limited",
    "transient",
    "timeout",
    "malformed",
    "rejected",
    "moderated",
    "unauthorized",
    "out_of_credit",
    "closed",
    "expired",
    "lost",
    "not_sent",
    "short",
    "upstream",
    "unknown",
)


@click.command()
@run_argument
@click.option(
    "--fault",
    "kinds",
    multiple=True,
    type=click.Choice(FAULT_KINDS),
    help="Only tasks that failed like this; may be repeated.",
)
@click.option(
    "--model", "models", multiple=True, metavar="NAME", help="Only failed tasks of this model; may be repeated."
)
@click.option(
    "--gateway", "gateways", multiple=True, metavar="NAME", help="Only failed tasks of this gateway; may be repeated."
)
@click.option(
    "--rejected",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Buy the done tasks again whose pictures this review.csv rejects; what they made is kept.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go again and what it costs at most.")
@running_options
@json_option
def retry(
    run: str,
    *,
    kinds: tuple[str, ...],
    models: tuple[str, ...],
    gateways: tuple[str, ...],
    rejected: Path | None,
    dry_run: bool,
    yes: bool,
    display: str,
    quiet: bool,
    as_json: bool,
) -> Exit:
    """Send the failed tasks of RUN again and go on with it, as it was run before, under the budget that it has."""
    from pipeline.cli.rejected import agreed
    from pipeline.runtime import inspect
    from pipeline.runtime.retries import Meant
    from pipeline.values.reply import FaultKind

    filtered = kinds or models or gateways
    if rejected is not None and filtered:
        given = "--fault" if kinds else "--model" if models else "--gateway"
        raise click.UsageError(f"{given} speaks of failed tasks and --rejected of done ones: give one of them")
    folder, meant = place.folder_of(run), Meant(tuple(FaultKind(kind) for kind in kinds), gateways, models)
    if dry_run:
        return _would(folder, meant, rejected, as_json=as_json)
    if rejected is not None:
        number, followed, sort = agreed(folder, rejected, yes=yes, quiet=quiet), 0, "rejected task"
    else:
        number, followed = inspect.retry(folder, meant.kinds, gateways=gateways, models=models)
        sort = "failed task"
        if followed and not quiet:
            say(_followed(followed))
    if not number and not followed:
        if as_json:
            answer_json({"folder": str(folder), "retried": 0})
        else:
            answer(_none(sort, folder, meant))
        return Exit.COMPLETE
    return _go_on(folder, number, sort, yes=yes, display=display, quiet=quiet, as_json=as_json)


def _go_on(folder: Path, number: int, sort: str, *, yes: bool, display: str, quiet: bool, as_json: bool) -> Exit:
    """Run the spec again, as it was run before, unless it is another one by now."""
    from pipeline.cli.run import command, perform
    from pipeline.runtime import inspect

    origin = inspect.origin(folder)
    words_of_it = f"{words.count(number, sort)} will go again"
    if why := _changed(origin):
        if as_json:
            answer_json({"folder": str(folder), "retried": number})
        else:
            answer(f"{words_of_it} with the next run; {why}")
            answer(f"next:  {words.clean(command(origin.spec, origin.options))}")
        return Exit.COMPLETE
    if not quiet:
        say(words_of_it)
    options = replace(origin.options, yes=yes)
    return perform(origin.spec, options, display=display, quiet=quiet, as_json=as_json, more={"retried": number})


def _changed(origin: Origin) -> str:
    """Why the spec that a folder belongs to is not simply run again; empty when nothing speaks against it."""
    from pipeline.errors import SpecError
    from pipeline.runtime import prepare

    spec = words.clean(origin.spec)
    if not origin.spec.is_file():
        return f"its spec is gone: {spec}"
    try:
        job = prepare.load(origin.spec, origin.options.settings)
    except SpecError:
        return f"its spec has faults now; `pipeline validate {spec}` names them"
    return "" if origin.is_of(job) else f"its spec changed since; `pipeline plan {spec}` says what that costs"


def _followed(followed: int) -> str:
    return (
        "left as they are, an operation of them was found late and the next run follows it first: "
        f"{words.count(followed, 'task')}"
    )


def _none(sort: str, folder: Path, meant: Meant) -> str:
    """What is said when nothing goes again; where a name was given, which ones would find something."""
    from pipeline.runtime.retries import look

    named = [*meant.kinds, *meant.gateways, *meant.models]
    said = f"no {sort} to send again" + (f" for {', '.join(map(words.clean, named))}" if named else "")
    if meant.gateways or meant.models:
        failed = look(folder, meant).failed
        said += f"; there are failed tasks of {', '.join(map(words.clean, failed))}" if failed else ""
    return said


def _would(folder: Path, meant: Meant, rejected: Path | None, *, as_json: bool) -> Exit:
    """`--dry-run`: the figures of what would go again; nothing is booked and nothing is sent."""
    if rejected is not None:
        return _would_buy_again(folder, rejected, as_json=as_json)
    from pipeline.runtime.retries import look

    found = look(folder, meant)
    if as_json:
        answer_json(
            {
                "folder": str(folder),
                "dry_run": True,
                "tasks": found.tasks,
                "followed": found.followed,
                "lanes": found.lanes,
                "cost_micros": found.cost_micros,
                "free_micros": found.free_micros,
            }
        )
        return Exit.COMPLETE
    lines = _told(found) if found.tasks else [_none("failed task", folder, meant)]
    lines += [_followed(found.followed)] if found.followed else []
    answer("\n".join([*lines, "nothing was booked, nothing was sent"]))
    return Exit.COMPLETE


def _told(found: Prospect) -> list[str]:
    from pipeline.cli.rejected import beyond

    lanes = ", ".join(f"{count:,} of {words.clean(lane)}" for lane, count in sorted(found.lanes.items()))
    lines = [
        f"{words.count(found.tasks, 'failed task')} would go again: at most {words.money(found.cost_micros)} more",
        f"  {lanes}",
    ]
    return [*lines, *beyond(found.cost_micros, found.free_micros)]


def _would_buy_again(folder: Path, rejected: Path, *, as_json: bool) -> Exit:
    from pipeline.cli.rejected import told
    from pipeline.runtime import rejections

    found = rejections.look(folder, rejections.read_review_file(rejected))
    if as_json:
        answer_json(
            {
                "folder": str(folder),
                "dry_run": True,
                "tasks": len(found.tasks),
                "pictures": found.pictures,
                "left": found.left,
                "cost_micros": found.cost_micros,
                "free_micros": found.free_micros,
            }
        )
    else:
        lines = told(found) if found.tasks else ["no rejected task to send again", *told(found)]
        answer("\n".join([*map(words.clean, lines), "nothing was booked, nothing was sent"]))
    return Exit.COMPLETE
