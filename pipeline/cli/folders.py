"""Commands about a run folder: `status`, `ls`, `retry`, `verify`, `manifest`."""

from __future__ import annotations

import shlex

import click

from pipeline.cli import place, words
from pipeline.cli.exits import Exit
from pipeline.cli.options import json_option
from pipeline.cli.output import answer, answer_json, say

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
    "expired",
    "lost",
    "not_sent",
    "short",
    "upstream",
    "unknown",
)


@click.command()
@click.argument("run")
@json_option
def status(run: str, as_json: bool) -> Exit:
    """States, money, rates and faults of RUN (a folder, a job's name or its spec), also while it is alive."""
    from pipeline.cli.statement import render_status
    from pipeline.runtime import inspect

    folder = place.folder_of(run)
    found = inspect.status(folder)
    if as_json:
        answer_json(found)
    else:
        answer(render_status(found, str(folder)))
    return Exit.COMPLETE


@click.command()
@json_option
def ls(as_json: bool) -> Exit:
    """The runs in ./runs, by name."""
    from pipeline.cli.statement import render_runs
    from pipeline.runtime import inspect

    found = inspect.ls(place.RUNS) if place.RUNS.is_dir() else []
    if as_json:
        answer_json({"runs": found})
    else:
        answer(render_runs(found) if found else "no runs yet; they appear in runs/ below the working directory")
    return Exit.COMPLETE


@click.command()
@click.argument("run")
@click.option(
    "--fault",
    "kinds",
    multiple=True,
    type=click.Choice(FAULT_KINDS),
    help="Only tasks that failed like this; may be repeated.",
)
@json_option
def retry(run: str, kinds: tuple[str, ...], as_json: bool) -> Exit:
    """Send the failed tasks of RUN again, with the next `pipeline run`."""
    from pipeline.runtime import inspect
    from pipeline.values.reply import FaultKind

    folder = place.folder_of(run)
    number = inspect.retry(folder, tuple(FaultKind(kind) for kind in kinds))
    if as_json:
        answer_json({"folder": str(folder), "retried": number})
    elif number:
        origin = inspect.origin(folder)
        mode = " --simulate" if origin.simulate else ""
        answer(f"{words.count(number, 'failed task')} will go again with the next run")
        answer(f"next:  pipeline run {words.clean(shlex.quote(str(origin.spec)))}{mode}")
    else:
        answer("no failed task to send again" + (f" for {', '.join(kinds)}" if kinds else ""))
    return Exit.COMPLETE


@click.command()
@click.argument("run")
@json_option
def verify(run: str, as_json: bool) -> Exit:
    """Check files against manifest, manifest against store, money against entries."""
    from pipeline.runtime import inspect

    folder = place.folder_of(run)
    faults = inspect.verify(folder)
    if as_json:
        answer_json({"folder": str(folder), "faults": faults, "whole": not faults})
    elif faults:
        answer("\n".join(words.clean(fault) for fault in faults))
        say(f"{words.count(len(faults), 'fault')} in {words.clean(folder)}; nothing was changed")
    else:
        answer(f"{words.clean(folder)}: files, manifest, store and money agree")
    return Exit.FAILED_TASKS if faults else Exit.COMPLETE


@click.command()
@click.argument("run")
@json_option
def manifest(run: str, as_json: bool) -> Exit:
    """(Re)build images.arrow, images.parquet and tasks.arrow of RUN from its store."""
    from pipeline.runtime import inspect

    folder = place.folder_of(run)
    written = inspect.rebuild_manifest(folder)
    if as_json:
        answer_json({"folder": str(folder), "images": written.images, "tasks": written.tasks})
    else:
        images = words.clean(folder / "images.arrow")
        tasks = words.clean(folder / "tasks.arrow")
        answer(f"{words.count(written.images, 'image')} in {images}, {words.count(written.tasks, 'task')} in {tasks}")
    return Exit.COMPLETE
