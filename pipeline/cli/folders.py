"""Commands about a run folder: `status`, `ls`, `resolve`, `verify`, `manifest`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from pipeline.cli import place, words
from pipeline.cli.exits import Exit
from pipeline.cli.options import json_option, run_argument
from pipeline.cli.output import answer, answer_json, for_screen, say
from pipeline.cli.standing import list_of

_NEXT_VERDICT = (
    "look each call up in the vendor's own records, such as its usage page, and say what they show\n"
    "next:  pipeline resolve {run} --attempt {attempt} --billed (or --not-billed, or --operation ID) "
    '--why "how you know"'
)


@click.command()
@run_argument
@click.option(
    "--csv", "as_csv", is_flag=True, help="The account instead, for spreadsheets: a line for each movement of money."
)
@json_option
def status(run: str, *, as_csv: bool, as_json: bool) -> Exit:
    """States, money, rates and faults of RUN (a folder, a job's name or its spec), also while it is alive."""
    from pipeline.cli.statement import render_status
    from pipeline.runtime import inspect

    if as_csv and as_json:
        raise click.UsageError("--csv and --json contradict each other: give one of them")
    folder = place.folder_of(run)
    found = inspect.status(folder)
    if as_csv:
        return _account(folder, list_of(found.get("damage")))
    if as_json:
        answer_json(found)
    else:
        answer(for_screen(render_status(found, str(folder), _command(folder)), sys.stdout))
    return Exit.STORAGE_FAILED if found.get("damage") else Exit.COMPLETE


def _account(folder: Path, damage: Sequence[object]) -> Exit:
    """The statement on stdout; of a store that is not to be trusted there is none."""
    from pipeline.cli.ledger import statement

    odd = [*map(str, damage)] or statement(folder, sys.stdout.buffer)
    for line in odd:
        say(words.clean(line))
    return Exit.STORAGE_FAILED if odd else Exit.COMPLETE


def _command(folder: Path) -> str:
    """The command that goes on with a run, as far as its store tells."""
    from pipeline.cli.run import command
    from pipeline.errors import PipelineError
    from pipeline.runtime import inspect

    try:
        origin = inspect.origin(folder)
        return command(origin.spec, origin.options)
    except (PipelineError, ValueError):
        return "pipeline run SPEC"


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
    return Exit.STORAGE_FAILED if any(run.get("damage") for run in found) else Exit.COMPLETE


@click.command()
@run_argument
@click.option(
    "--attempt", type=click.IntRange(min=1), metavar="A", help="The attempt to judge; without it and --all, list them."
)
@click.option("--all", "every", is_flag=True, help="Judge every attempt in doubt alike.")
@click.option("--billed", is_flag=True, help="The vendor billed it and its pictures cannot be had: book it as spent.")
@click.option(
    "--not-billed", is_flag=True, help="The vendor did not bill it: free the money, buy again with the next run."
)
@click.option(
    "--operation", metavar="ID", default="", help="The vendor's id of it: fetch its pictures with the next run."
)
@click.option("--why", metavar="TEXT", default="", help="The evidence, kept in the ledger; required with a verdict.")
@json_option
def resolve(
    run: str,
    *,
    attempt: int | None,
    every: bool,
    billed: bool,
    not_billed: bool,
    operation: str,
    why: str,
    as_json: bool,
) -> Exit:
    """List what is in doubt in RUN, or book what the vendor's own records say about it."""
    from pipeline.runtime import inspect

    folder = place.folder_of(run)
    given = billed + not_billed + bool(operation)
    if not given and attempt is None and not every:
        found = inspect.doubts(folder)
        if as_json:
            answer_json({"folder": str(folder), "in_doubt": found})
        else:
            lines = [doubt_line(doubt) for doubt in found] or [f"{words.clean(folder)}: nothing is in doubt"]
            if unanswered := inspect.unanswered(folder):
                lines.append(
                    f"{words.count(unanswered, 'call')} had no answer when the run was killed: run it again first, "
                    "which looks for their answers and puts the others in doubt"
                )
            if found:
                lines.append(_NEXT_VERDICT.format(run=words.clean(folder), attempt=found[0]["attempt"]))
            answer("\n".join(lines))
        return Exit.IN_DOUBT if found else Exit.COMPLETE
    if fault := _verdict_fault(given, attempt, every=every, why=why):
        raise click.UsageError(fault)
    if operation and every:
        raise click.UsageError("--operation names one purchase: give it with --attempt")
    verdict = "billed" if billed else "not_billed"
    number = inspect.resolve(folder, attempt=attempt, verdict=verdict, why=why, operation=operation)
    if as_json:
        answer_json({"folder": str(folder), "resolved": number})
    else:
        answer(f"{words.count(number, 'attempt')} resolved; nothing was sent")
        answer(f"next:  {words.clean(_command(folder))}   goes on from there")
        if operation:
            answer(
                "it asks the gateway for this operation; one that the gateway does not know for 10 minutes is in doubt "
                "again, and takes another verdict"
            )
    return Exit.COMPLETE


def _verdict_fault(given: int, attempt: int | None, *, every: bool, why: str) -> str:
    """What is missing from a verdict, or contradicts itself; empty for a whole one."""
    if given > 1:
        return "--billed, --not-billed and --operation contradict one another: give one of them"
    if attempt is not None and every:
        return "--attempt A and --all contradict each other: give one of them"
    if not given:
        return "say what the vendor's records show: --billed, --not-billed, or --operation ID"
    if attempt is None and not every:
        return "say which attempts: --attempt A, or --all; without a verdict, they are listed"
    if not why.strip():
        return 'say how you know, such as --why "not in the usage page of 21 Nov"; it is kept in the ledger'
    return ""


def doubt_line(doubt: dict[str, object]) -> str:
    """One attempt in doubt: its number, its task, what it can have cost, when it was sent, and why nobody knows."""
    money = words.money({str(doubt["currency"]): int(str(doubt["micros"]))})
    parts = [f"attempt {doubt['attempt']}", f"task {str(doubt['task_id'])[:16]}", money]
    parts += [f"sent {doubt['sent_at']}"] if doubt.get("sent_at") else []
    parts += [f"request {doubt['request_id']}"] if doubt.get("request_id") else []
    parts += [f"operation {doubt['operation']}"] if doubt.get("operation") else []
    return words.clean("  ".join([*parts, str(doubt["why"])]))


@click.command()
@run_argument
@json_option
def verify(run: str, as_json: bool) -> Exit:
    """Check files against manifest, manifest against store, money against entries."""
    from pipeline.runtime import inspect, remains

    folder = place.folder_of(run)
    faults = inspect.verify(folder)
    if as_json:
        answer_json({"folder": str(folder), "faults": faults, "whole": not faults})
    elif faults:
        answer("\n".join(words.clean(fault) for fault in faults))
        say(f"{words.count(len(faults), 'fault')} in {words.clean(folder)}; nothing was changed")
        if any(map(remains.is_of_store, faults)) and not any("whole copy" in fault for fault in faults):
            say(f"  {words.clean(remains.remedy(folder))}")
    else:
        answer(f"{words.clean(folder)}: files, manifest, store and money agree")
    return Exit.FAILED_TASKS if faults else Exit.COMPLETE


@click.command()
@run_argument
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
