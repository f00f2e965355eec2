"""The command `pipeline`: the group, its help, and the one place where errors become exit codes."""

from __future__ import annotations

import difflib
import importlib
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final, NoReturn

import click

from pipeline.cli import exits, failures, output
from pipeline.cli.exits import Exit

#: {command: where its click command stands}, in the order of the help.
COMMANDS: Final = {
    "init": "pipeline.cli.init:init",
    "validate": "pipeline.cli.plan:validate",
    "plan": "pipeline.cli.plan:plan",
    "run": "pipeline.cli.run:run",
    "status": "pipeline.cli.folders:status",
    "ls": "pipeline.cli.folders:ls",
    "retry": "pipeline.cli.retry:retry",
    "resolve": "pipeline.cli.folders:resolve",
    "verify": "pipeline.cli.folders:verify",
    "manifest": "pipeline.cli.folders:manifest",
    "export": "pipeline.cli.export:export",
    "report": "pipeline.cli.report:report",
    "view": "pipeline.cli.view:view",
    "pause": "pipeline.cli.steer:pause",
    "resume": "pipeline.cli.steer:resume",
    "drain": "pipeline.cli.steer:drain",
    "budget": "pipeline.cli.steer:budget",
    "models": "pipeline.cli.catalog:models",
    "schema": "pipeline.cli.catalog:schema",
    "simulate": "pipeline.cli.simulate:simulate",
    "doctor": "pipeline.cli.doctor:doctor",
    "completions": "pipeline.cli.completions:completions",
}


#: What the list of commands says where a command's own first sentence is too long for 80 columns.
SHORT: Final = {
    "run": "Run SPEC, or go on with it.",
    "status": "States, money, rates and faults of RUN, also while it is alive.",
    "retry": "Send the failed or the rejected tasks of RUN again.",
    "resolve": "List what is in doubt in RUN, or book what the vendor says.",
    "verify": "Check files, manifest, store and money against one another.",
    "manifest": "(Re)build images.arrow, images.parquet and tasks.arrow.",
    "export": "Write the pictures of RUN as a dataset, or their table as CSV.",
    "report": "Write the gallery of RUN as files that open by a double click.",
    "view": "Serve the gallery of RUN on 127.0.0.1, live while it runs.",
    "pause": "Send nothing new in RUN, which is alive, for now.",
    "resume": "Let RUN, which is alive and paused, go on.",
    "drain": "End RUN, which is alive, in order, as a first Ctrl-C would.",
    "budget": "Set the budget of RUN while it is alive.",
    "models": "Gateways, models, limits and prices, with source and date.",
    "doctor": "Look at keys, addresses, proxies, disk and clock.",
    "completions": "Print what makes a shell complete commands and options.",
}


class PipelineGroup(click.Group):
    """A group that imports a command when it is asked for, suggests near names and owns the exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The order of the help is the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command's module; it must import no more than click and the standard library itself."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"not a command: {COMMANDS[cmd_name]}")
        command.short_help = SHORT.get(cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """An unknown command is answered with the nearest known one."""
        name = args[0] if args else ""
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f" (there are: {', '.join(COMMANDS)})"
            ctx.fail(f"there is no command {name!r}{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a reader of its result that went away (`| head`) has had enough, which is no error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            output.reader_gone()
            return Exit.COMPLETE

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Run one command and leave with its exit code; every exception is explained here and nowhere else."""
        given = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            result = super().main(given, prog_name or "pipeline", **extra)
            code = int(result) if isinstance(result, int) else Exit.COMPLETE
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last frame: it must become words
            code = failures.report(error, json_wanted=_wants_json(given))
        sys.exit(code)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether --json stands among the options, even when they could not be parsed."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"pipeline {version()}")
        ctx.exit()


def version() -> str:
    """The version that is installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("image-batch-pipeline")
    except PackageNotFoundError:
        return "unknown (not installed)"


_HELP = """Images by the batch: a YAML spec in, pictures and an Arrow manifest out, never above the budget.

\b
First steps:
  pipeline init mugs
  pipeline plan mugs/spec.yaml
  pipeline run mugs/spec.yaml --simulate
"""
_EPILOG = "\b\nExit codes:\n" + exits.table()


@click.group(
    name="pipeline",
    cls=PipelineGroup,
    invoke_without_command=True,
    help=_HELP,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Say the version.")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Say the help when no command is named."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(Exit.INVALID)


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> NoReturn:
    """The installed command. A run replaces the handler by its own, which drains first."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _terminated)
    cli.main()
    raise AssertionError("unreachable: the group leaves by sys.exit")
