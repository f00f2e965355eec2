"""`pipeline run`: plan, check, run or continue."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import options as shared
from pipeline.cli.exits import Exit

if TYPE_CHECKING:
    from pipeline.runtime.prepare import Options


#: The job's name as nearly every spec writes it; nothing else can stand at the beginning of a line there.
_NAME = re.compile(r"^name:[ \t]+([a-z0-9][a-z0-9_-]{0,63})[ \t]*(?:#.*)?$", re.MULTILINE)


@click.command()
@shared.spec_argument
@click.option("--simulate", is_flag=True, help="Rehearse the whole job in no time: no key, no spend, no waiting.")
@click.option(
    "--faults",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="With --simulate: what shall go wrong.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="With --simulate: the seed of what happens.")
@shared.run_dir_option
@click.option(
    "--budget",
    callback=shared.budget,
    metavar='"5 USD"',
    help="Lower or raise the cap; kept until the spec's own budget changes.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N tasks.")
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="N", help="Only N tasks, drawn from all; more N later keeps these."
)
@click.option("--sample-seed", type=click.IntRange(min=0), metavar="S", default=0, help="With --sample: which ones.")
@click.option("--probe", is_flag=True, help="Only a few tasks that together have every value of every axis.")
@shared.spec_options
@click.option("--fresh", is_flag=True, help="Rename the old run folder and start anew.")
@shared.running_options
@shared.json_option
def run(
    *,
    spec: Path,
    simulate: bool,
    faults: Path | None,
    seed: int,
    run_dir: Path | None,
    budget: str | None,
    limit: int | None,
    sample: int | None,
    sample_seed: int,
    probe: bool,
    settings: tuple[tuple[str, str], ...],
    allow_paths: tuple[Path, ...],
    yes: bool,
    fresh: bool,
    display: str,
    quiet: bool,
    as_json: bool,
) -> Exit:
    """Run SPEC, or go on with it: the same command continues after Ctrl-C, a crash or a power cut."""
    if not simulate and (faults is not None or seed):
        raise click.UsageError("--faults and --seed belong to --simulate; add it, or leave them out")
    if (limit is not None) + (sample is not None) + probe > 1:
        raise click.UsageError("--limit, --sample and --probe each say which tasks are wanted: give one of them")
    if sample_seed and sample is None:
        raise click.UsageError("--sample-seed belongs to --sample; add it, or leave it out")
    shared.check_faults(faults)
    _refuse_held(spec, run_dir, settings, simulate=simulate)
    from pipeline.runtime.prepare import Options

    chosen = Options(
        simulate=simulate,
        faults=faults,
        seed=seed,
        run_dir=run_dir,
        budget=budget,
        limit=limit,
        sample=sample,
        sample_seed=sample_seed,
        probe=probe,
        settings=settings,
        yes=yes,
        fresh=fresh,
        allow_paths=allow_paths,
    )
    return perform(spec, chosen, display=display, quiet=quiet, as_json=as_json)


def _refuse_held(spec: Path, run_dir: Path | None, settings: Sequence[tuple[str, str]], *, simulate: bool) -> None:
    """Before anything heavy is imported: a folder in use is refused at once, where the spec's name is plain to see.

    It is looked at again later, when the spec is understood. *Raises* RunLocked.
    """
    from pipeline.store.lock import RunLock, is_held
    from pipeline.values.folder import LOCK

    folder = run_dir or _own_folder(spec, settings, simulate=simulate)
    if folder is not None and is_held(folder / LOCK):
        RunLock.take(folder / LOCK).release()


def _own_folder(spec: Path, settings: Sequence[tuple[str, str]], *, simulate: bool) -> Path | None:
    """The run folder that a spec leads to by itself, without reading it as a spec; None where that is not plain."""
    if any(key == "name" for key, _ in settings):
        return None
    with suppress(OSError, ValueError):
        names = _NAME.findall(spec.read_text(encoding="utf-8"))
        if len(names) == 1:
            return Path("runs") / (f"{names[0]}.sim" if simulate else names[0])
    return None


def perform(
    spec: Path,
    options: Options,
    *,
    display: str,
    quiet: bool,
    as_json: bool,
    more: Mapping[str, object] | None = None,
) -> Exit:
    """Plan, run with a display, say how it ended, and hand back the runtime's own exit code.

    `more` is what the JSON answer says besides.
    """
    from pipeline.cli import display as displays
    from pipeline.cli.output import answer_json, for_screen, say
    from pipeline.cli.patience import check_all, warn
    from pipeline.cli.statement import Ending, render_end
    from pipeline.runtime import prepare
    from pipeline.runtime.run import run_sync

    job = prepare.load(spec, options.settings)
    plan = prepare.plan(job, allow_paths=options.allow_paths)
    check_all(plan, quiet=quiet)
    if not quiet:
        warn(plan)
    terminal = sys.stderr.isatty()
    kind = displays.choose(displays.Kind(display), quiet=quiet, is_terminal=terminal, environment=os.environ)
    screen = displays.open_display(kind, str(prepare.run_folder(job, options)), rehearsal=options.simulate)
    try:
        result = run_sync(plan, options, screen.show, confirmer())
    except KeyboardInterrupt as error:
        raise _stopped(prepare.run_folder(job, options)) from error
    finally:
        with suppress(OSError):  # a terminal that went away
            screen.close()
    ending = Ending(
        result.status,
        result.folder,
        result.seconds,
        result.simulated_s,
        options.simulate,
        command(spec, options),
        result.notes,
    )
    if as_json:
        answer_json(
            {
                **result.status,
                "exit_code": result.exit_code,
                "seconds": round(result.seconds, 3),
                "simulated_s": result.simulated_s,
                "notes": list(result.notes),
                **(more or {}),
            }
        )
    if not quiet:
        say(for_screen(render_end(ending), sys.stderr))
    return Exit(result.exit_code)


def _stopped(folder: Path) -> Exception:
    """A signal that came before the run was at work, or for the second time: what is out all the same."""
    from pipeline.cli.lines import out_lines
    from pipeline.cli.standing import standing
    from pipeline.errors import PipelineError, RunStopped
    from pipeline.runtime import inspect

    try:
        found = inspect.status(folder)
    except PipelineError:
        return RunStopped("stopped; nothing more was sent")
    lines = [line.split(None, 1)[1] for line in out_lines(found, standing({**found, "state": "stopped"}))]
    return RunStopped("; ".join(["stopped; nothing more was sent", *(f"still out: {line}" for line in lines)]))


def confirmer() -> Callable[[str], bool] | None:
    """Asks on the terminal; None when nobody could answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    from pipeline.cli.words import clean_lines

    return lambda question: click.confirm(clean_lines(question), err=True)


def command(spec: Path, options: Options, *, anywhere: bool = False) -> str:
    """The command that goes on with this run, as one would type it; without what was meant for this time only.

    Paths are said from the working directory, and a run folder that the spec leads to is left out. A command that is
    read elsewhere (`anywhere`, a page) names everything whole: from another directory a short one finds no run folder,
    begins a second run, and buys all again.
    """
    path = os.path.abspath if anywhere else _typed
    parts = ["pipeline", "run", path(spec)]
    parts += ["--simulate"] if options.simulate else []
    parts += ["--faults", path(options.faults)] if options.faults else []
    parts += ["--seed", str(options.seed)] if options.seed else []
    folder = options.run_dir
    if folder is not None and (anywhere or not _is_own(folder, spec, options)):
        parts += ["--run-dir", path(folder)]
    parts += ["--limit", str(options.limit)] if options.limit else []
    parts += ["--sample", str(options.sample)] if options.sample else []
    parts += ["--sample-seed", str(options.sample_seed)] if options.sample_seed else []
    parts += ["--probe"] if options.probe else []
    for key, value in options.settings:
        parts += ["--set", f"{key}={value}"]
    for allowed in options.allow_paths:
        parts += ["--allow-path", path(allowed)]
    return shlex.join(parts)


def _is_own(folder: Path, spec: Path, options: Options) -> bool:
    own = _own_folder(spec, options.settings, simulate=options.simulate)
    return own is not None and folder.absolute() == own.absolute()


def _typed(path: Path) -> str:
    """A path from the working directory if it lies below; as it is elsewhere, or if it would look like an option."""
    here = Path.cwd()
    if not path.is_absolute() or not path.is_relative_to(here):
        return str(path)
    near = str(path.relative_to(here))
    return str(path) if near.startswith("-") else near
