"""`pipeline validate` and `pipeline plan`: what a spec means and costs, before anything is sent."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import options as shared
from pipeline.cli import words
from pipeline.cli.exits import Exit
from pipeline.cli.output import answer, answer_json, for_screen, json_line

if TYPE_CHECKING:
    from pipeline.cli.outlook import Outlook
    from pipeline.plan.expand import Plan
    from pipeline.plan.summary import Summary
    from pipeline.runtime.comparison import Comparison
    from pipeline.runtime.prepare import Options
    from pipeline.spec.job import JobSpec
    from pipeline.values.task import Task


@click.command()
@shared.spec_argument
@shared.spec_options
@shared.json_option
def validate(
    *, spec: Path, settings: tuple[tuple[str, str], ...], allow_paths: tuple[Path, ...], as_json: bool
) -> Exit:
    """Check form and meaning of SPEC, every task of it, offline."""
    from pipeline.cli.patience import check_all, warn
    from pipeline.runtime import prepare

    made = prepare.plan(prepare.load(spec, settings), allow_paths=allow_paths)
    check_all(made)
    warn(made)
    if as_json:
        answer_json({"valid": True, "job": made.name, "tasks": len(made)})
    else:
        answer(f"{words.clean(spec)}: valid, {words.count(len(made), 'task')}")
    return Exit.COMPLETE


@click.command()
@shared.spec_argument
@click.option("--expand", is_flag=True, help="Print the spec with every default written out, and nothing else.")
@click.option("--tasks", is_flag=True, help="Print each task as one line of JSON, and nothing else.")
@click.option(
    "--forecast",
    "forecasts",
    is_flag=True,
    help="Rehearse the whole job as well, and say how long it takes and what it costs; nothing of it is kept.",
)
@shared.run_dir_option
@shared.spec_options
@shared.json_option
def plan(
    *,
    spec: Path,
    expand: bool,
    tasks: bool,
    forecasts: bool,
    run_dir: Path | None,
    settings: tuple[tuple[str, str], ...],
    allow_paths: tuple[Path, ...],
    as_json: bool,
) -> Exit:
    """Say what SPEC would do and cost at most. Sends nothing, needs no key; over budget is said, not an error."""
    if expand + tasks + as_json > 1:
        raise click.UsageError("--expand, --tasks and --json each print something of their own: choose one")
    if forecasts and (expand or tasks):
        raise click.UsageError("--forecast belongs to the page of figures: leave out --expand and --tasks")
    from pipeline.cli.patience import check_all
    from pipeline.runtime import prepare

    job = prepare.load(spec, settings)
    if expand:
        from pipeline.spec.long_form import long_form

        answer(long_form(job).rstrip("\n"))
        return Exit.COMPLETE
    made = prepare.plan(job, allow_paths=allow_paths)
    checked = check_all(made)
    if tasks:
        for task in made.tasks():
            answer(json_line(task_object(task)))
        return Exit.COMPLETE
    from pipeline.cli.outlook import as_json as outlook_object
    from pipeline.cli.outlook import render

    given = prepare.Options(run_dir=run_dir, settings=settings, allow_paths=allow_paths)
    found = survey(job, made, checked, spec, given)
    if forecasts:
        from pipeline.cli.forecast import forecast

        found = replace(found, forecast=forecast(made, given))
    if as_json:
        answer_json(outlook_object(found))
    else:
        answer(for_screen(render(found), sys.stdout))
    return Exit.COMPLETE


def survey(job: JobSpec, made: Plan, checked: Summary, spec: Path, given: Options) -> Outlook:
    """Everything that `plan` says, with one look at the run folder; reads only."""
    from pipeline.cli.outlook import Outlook
    from pipeline.cli.run import command
    from pipeline.runtime import inspect, prepare
    from pipeline.runtime.comparison import compare
    from pipeline.store.folder import has_store

    folder = prepare.run_folder(job, given)
    against = compare(made, folder) if folder.is_dir() else None
    # A rehearsal comes first, in a folder of its own; a folder that is named and holds a run goes on as what it is.
    fresh = given.run_dir is None or not has_store(folder)
    step = command(spec, replace(given, simulate=fresh or inspect.origin(folder).simulate))
    odd = (*warnings(made, checked), *little_room(checked.disk_bytes, against, checked.tasks, folder))
    left = None if against is None else left_of(made, against, given, folder)
    return Outlook(made.name, str(spec), shape(made), checked, against, str(folder), step, odd, left)


def left_of(made: Plan, against: Comparison, given: Options, folder: Path) -> dict[str, int] | None:
    """{currency: what the caps in force leave}, by the spec or by what was said to the run; None without any cap."""
    from pipeline.errors import PlanError
    from pipeline.runtime import prepare
    from pipeline.values.money import UNLIMITED

    try:
        caps = prepare.caps(made, given, folder)
    except PlanError:
        return None  # No budget is written, which the page says.
    if any(cap >= UNLIMITED for cap in caps.values()):
        return None
    return {unit: cap - against.gone_micros.get(unit, 0) for unit, cap in caps.items()}


#: A plan wants so much more room than its pictures: the store, what is under way, the manifest.
_SPARE = 1.2


def little_room(disk_bytes: int, against: Comparison | None, tasks: int, folder: Path) -> tuple[str, ...]:
    """What is said of a disk that cannot take what is still to be made; a run would stop there and wait for room."""
    still = disk_bytes * (1 if against is None else against.new / max(1, tasks)) * _SPARE
    place = next((each for each in (folder, *folder.absolute().parents) if each.is_dir()), Path())
    free = shutil.disk_usage(place).free
    if still <= free:
        return ()
    here, wanted = (f"{size / 1e9:,.1f} GB" for size in (free, still))
    stops = "a run stops buying when the disk is full, and loses nothing"
    first = "make room first, or choose another disk with --run-dir"
    return (f"the disk has {here} free here, and what is still to be made needs about {wanted}: {first}; {stops}",)


def warnings(made: Plan, checked: Summary) -> tuple[str, ...]:
    """What the cards say against calls for more than one picture, for each model asked so; base URLs; a strange review.

    *Raises* CardError for a base URL that a run would refuse.
    """
    from pipeline.runtime import prepare

    odd = prepare.doubtful_addresses({lane.partition("/")[0] for lane in checked.lanes}, os.environ)
    risky = (name for name, lane in checked.lanes.items() if lane.images > lane.tasks)
    said = (f"{name}: {made.lanes[name].card.n_warning}" for name in risky if made.lanes[name].card.n_warning)
    return (*odd, *said, *([made.unheeded] if made.unheeded else []))


def task_object(task: Task) -> dict[str, object]:
    """One line of `--tasks`."""
    from pipeline.values.task import input_identity

    return {
        "number": task.number,
        "task_id": task.id,
        "step": task.step,
        "operation": task.operation,
        "gateway": task.gateway,
        "model": task.model,
        "prompt": task.prompt,
        "negative_prompt": task.negative_prompt,
        "size": task.size,
        "n": task.n,
        "seed": task.seed,
        "params": task.params,
        "inputs": [input_identity(source) for source in task.inputs],
        "row_id": task.row_id,
        "row": task.row,
        "axes": task.axes,
        "sample": task.sample,
        "path": task.path,
        "hold_micros": task.price.hold(task.n),
        "currency": task.price.currency,
    }


def shape(made: Plan) -> str:
    """`120 rows x 3 color x 2 scene`: where the number of tasks comes from."""
    from pipeline.spec.job import ListedSeeds

    job = made.job
    parts = [words.count(made.rows, "row")] if job.inputs is not None else []
    seeds = job.seed.values if isinstance(job.seed, ListedSeeds) else ()
    for group in made.groups:
        names = "+".join(axis.name for axis in group.axes)
        # A list of seeds is an axis too, and is said below.
        if not (seeds and names == "seed"):
            parts.append(f"{group.length:,} {names}")
    if seeds:
        parts.append(words.count(len(seeds), "seed"))
    if isinstance(job.samples, int) and job.samples > 1:
        parts.append(words.count(job.samples, "sample"))
    apart = (" - excluded ones" if job.matrix.exclude else "") + (" + included ones" if job.matrix.include else "")
    return " x ".join(parts) + apart if len(parts) > 1 or apart else ""
