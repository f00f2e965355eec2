"""Options that several commands share, and the texts that become values."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from click.shell_completion import CompletionItem

_Command = TypeVar("_Command", bound=Callable[..., object])

#: A plan of faults is a page, not a book (bytes).
FAULTS_MAX = 1024 * 1024


class _SpecPath(click.Path):
    """A spec's path; where there is none, the specs that lie there are named."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, exists=True, dir_okay=False)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            asked = Path(value)
            if asked.exists():
                raise
            there = sorted(str(each) for each in asked.parent.glob("*.y*ml"))[:_NAMED_MAX]
            near = difflib.get_close_matches(str(asked), there, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(there)}" if there else ""
            raise click.UsageError(
                f"there is no spec {str(asked)!r}; {hint or '`pipeline init` writes a first one'}", ctx
            ) from None


#: So many specs are named in place of one that is not there.
_NAMED_MAX = 8
SPEC = _SpecPath()


def spec_argument(command: _Command) -> _Command:
    """The job spec."""
    return click.argument("spec", type=SPEC)(command)


def run_argument(command: _Command) -> _Command:
    """A run folder, by its path, its job's name or its spec; a shell completes what stands in ./runs."""
    return click.argument("run", shell_complete=_runs)(command)


def _runs(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    from pipeline.cli.place import RUNS

    found = sorted(str(folder) for folder in RUNS.glob("*/")) if RUNS.is_dir() else []
    names = [name for name in found if name.startswith(begun)]
    # Nothing of ours fits: any path may be meant.
    return [CompletionItem(name) for name in names] or [CompletionItem(begun, type="dir")]


def json_option(command: _Command) -> _Command:
    """--json: one object on stdout, all else on stderr."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, all else on stderr.")(
        command
    )


def spec_options(command: _Command) -> _Command:
    """--set and --allow-path: what a spec may be changed by and may read."""
    command = click.option(
        "--allow-path",
        "allow_paths",
        multiple=True,
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        metavar="DIR",
        help="Let the spec read files below DIR too; otherwise only below its own folder.",
    )(command)
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY.PATH=VALUE",
        callback=_settings,
        help="Change one key of the spec for this command, such as --set samples=2.",
    )(command)


def run_dir_option(command: _Command) -> _Command:
    """--run-dir: the run folder itself."""
    return click.option(
        "--run-dir",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="The run folder itself; runs/NAME by default.",
    )(command)


def running_options(command: _Command) -> _Command:
    """--yes, --display and --quiet: how a run asks and what it shows."""
    command = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")(command)
    command = click.option(
        "--display",
        type=click.Choice(["auto", "live", "plain", "none"]),
        default="auto",
        help="What is shown on stderr meanwhile.",
    )(command)
    return click.option("--yes", is_flag=True, help="Agree beforehand to what would be asked.")(command)


def _settings(
    _context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    return tuple(setting(text) for text in texts)


def setting(text: str) -> tuple[str, str]:
    """`matrix.color=[red]` as key and value. *Raises* BadParameter without a key or an equals sign."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise click.BadParameter(f"{text!r} is not KEY.PATH=VALUE, such as --set samples=2")
    return key.strip(), value


def budget(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """An amount with a unit, checked here so that a slip costs no planning. *Raises* BadParameter with the remedy."""
    from pipeline.values.money import parse_money

    if text is None:
        return None
    try:
        parse_money(text)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc
    return text


def check_faults(file: Path | None) -> None:
    """Read a --faults file before anything begins. *Raises* UsageError that names the key and what can be written."""
    if file is None:
        return
    import yaml

    from pipeline.runtime.resources import read_plain
    from pipeline.simulator.faults import parse_faults

    try:
        found = yaml.safe_load(read_plain(file, FAULTS_MAX).decode("utf-8"))
        if not isinstance(found, dict | None):
            raise click.UsageError(f"--faults {file}: must be a mapping such as `rate_limited: 0.1`")
        parse_faults(found or {})
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as exc:
        raise click.UsageError(f"--faults {file}: {exc}") from exc
