"""What went wrong, as an exit code and in words: sentence, cause, remedy; with --json as one object."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass

import click

from pipeline.cli.exits import Exit
from pipeline.cli.output import answer_json, for_screen, say
from pipeline.cli.words import clean, clean_lines
from pipeline.errors import (
    MistakesError,
    PipelineError,
    RunLocked,
    RunNotFound,
    RunStopped,
    SecretMissing,
    StorageFailed,
)

#: Set it to see where an unexpected error comes from.
DEBUG_VARIABLE = "PIPELINE_DEBUG"
#: What a refusal means for money: each is said before anything is sent.
_NOTHING = "nothing was sent, nothing was charged"
_LOCKED = "this command sent nothing and changed nothing; `pipeline status` shows how the other one stands"
_STORAGE = (
    "nothing more was sent after that, and what is paid stands in the run folder; see to the disk, then run the same "
    "command again: it collects what is out"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as people and scripts see it."""

    code: Exit
    kind: str
    message: str
    remedy: str = ""
    mistakes: tuple[dict[str, object], ...] = ()


def explain(error: BaseException) -> Failure:
    """Any exception as a failure; what nobody foresaw is our own bug."""
    kind = type(error).__name__
    match error:
        case MistakesError():
            return _mistakes(error)
        case SecretMissing():
            # The message says already where a key may stand.
            return Failure(Exit.INVALID, kind, str(error), f"{_NOTHING}; a rehearsal needs no key: --simulate")
        case RunLocked():
            return Failure(Exit.RUN_LOCKED, kind, str(error), _LOCKED)
        case RunStopped():
            return Failure(Exit.STOPPED, "Stopped", str(error), "run the same command to go on")
        case StorageFailed():
            return Failure(Exit.STORAGE_FAILED, kind, str(error), "" if _says_enough(str(error)) else _STORAGE)
        case RunNotFound():
            return Failure(Exit.INVALID, kind, str(error))
        case PipelineError():
            return Failure(Exit.INVALID, kind, str(error), _NOTHING)
        case click.Abort() | KeyboardInterrupt():
            return Failure(Exit.STOPPED, "Stopped", "stopped; nothing more was sent", "run the same command to go on")
        case click.UsageError():
            return Failure(Exit.INVALID, "UsageError", error.format_message(), _help_line(error))
        case click.ClickException():
            return Failure(Exit.INVALID, kind, error.format_message())
        case BaseExceptionGroup() if len(error.exceptions) == 1:
            return explain(error.exceptions[0])
        case _:
            message = f"an unexpected error, which is our own mistake: {kind}: {_first_line(error)}"
            remedy = f"resuming is safe: run the same command again; {DEBUG_VARIABLE}=1 shows where it comes from"
            return Failure(Exit.UNEXPECTED, "Bug", message, remedy)


def _says_enough(message: str) -> bool:
    """Whether a storage failure comes with a remedy of its own: a store that is not opened, answers to keep."""
    return any(
        words in message.lower()
        for words in ("nothing was sent", "nothing is sent", "nothing was booked", "pipeline resolve ")
    )


def _mistakes(error: MistakesError) -> Failure:
    listed = tuple(
        {
            "file": mistake.place.file,
            "line": mistake.place.line,
            "column": mistake.place.column,
            "what": mistake.what,
            "remedy": mistake.remedy,
        }
        for mistake in error.mistakes
    )
    return Failure(Exit.INVALID, type(error).__name__, str(error), "", listed)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "(it said nothing)"


def _help_line(error: click.UsageError) -> str:
    context = error.ctx
    return f"see {context.command_path} --help" if context is not None else "see pipeline --help"


def render(failure: Failure) -> str:
    """`error: sentence`, then the remedy, indented; a spec's mistakes come as they are, with a count at the end."""
    if failure.mistakes:
        number = len(failure.mistakes)
        tail = "1 error; nothing was sent" if number == 1 else f"{number} errors; nothing was sent"
        return f"{clean_lines(failure.message)}\n{tail}"
    head = f"error: {clean_lines(failure.message)}"
    return f"{head}\n  {clean(failure.remedy)}" if failure.remedy else head


def as_json(failure: Failure) -> dict[str, object]:
    """The object that `--json` prints in place of a result."""
    return {
        "error": {
            "kind": failure.kind,
            "exit_code": int(failure.code),
            "message": failure.message,
            "remedy": failure.remedy,
            "mistakes": list(failure.mistakes),
        }
    }


def report(error: BaseException, *, json_wanted: bool) -> Exit:
    """Say it on stderr, answer it on stdout if JSON is wanted, and return the exit code."""
    failure = explain(error)
    if failure.code is Exit.UNEXPECTED and os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error, file=sys.stderr)
    text = render(failure)
    # The caret below a line of the spec must stay below it.
    say(text if failure.mistakes else for_screen(text, sys.stderr))
    if json_wanted:
        answer_json(as_json(failure))
    return failure.code
