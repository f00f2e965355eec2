"""Words to a living run: `pause`, `resume`, `drain`, `budget`."""

from __future__ import annotations

from getpass import getuser
from pathlib import Path

import click

from pipeline.cli import place
from pipeline.cli.exits import Exit
from pipeline.cli.options import json_option, run_argument
from pipeline.cli.output import answer, answer_json

_LANE = click.option("--lane", metavar="NAME", help="Only this lane, such as mulerouter/qwen-image-max.")


@click.command()
@run_argument
@_LANE
@json_option
def pause(run: str, *, lane: str | None, as_json: bool) -> Exit:
    """Send nothing new in RUN, which is alive, for now; what was sent is followed to its end."""
    return _tell(run, "pause", lane=lane, as_json=as_json)


@click.command()
@run_argument
@_LANE
@json_option
def resume(run: str, *, lane: str | None, as_json: bool) -> Exit:
    """Let RUN, which is alive and paused, go on; without --lane, lift every pause."""
    return _tell(run, "resume", lane=lane, as_json=as_json)


@click.command()
@run_argument
@json_option
def drain(run: str, *, as_json: bool) -> Exit:
    """End RUN in order, as its first Ctrl-C would: nothing new is sent, what was sent is awaited."""
    return _tell(run, "drain", as_json=as_json)


@click.command()
@run_argument
@click.argument("amount")
@json_option
def budget(run: str, amount: str, *, as_json: bool) -> Exit:
    """Set the budget of RUN while it is alive: AMOUNT is the new limit ("10 USD"), or what to add ("+5 USD")."""
    return _tell(run, "budget", amount=amount, as_json=as_json)


def _tell(run: str, what: str, *, lane: str | None = None, amount: str | None = None, as_json: bool) -> Exit:
    from pipeline.errors import RunError
    from pipeline.runtime.control import DONE_S, request_of
    from pipeline.values.folder import CONTROL

    folder = place.folder_of(run)
    request = {"do": what, "lane": lane, "amount": amount, "by": f"command line, user {_user()}"}
    found = request_of(folder / CONTROL, request, timeout_s=DONE_S)
    if found is None:
        raise RunError(_nobody(folder, what, amount))
    if not found.get("ok"):
        raise RunError(str(found.get("said")))
    if as_json:
        answer_json({"folder": str(folder), "said": found["said"]})
    else:
        answer(str(found["said"]))
    return Exit.COMPLETE


def _nobody(folder: Path, what: str, amount: str | None) -> str:
    """Why nobody answered, and what does the same."""
    from pipeline.cli.run import command
    from pipeline.runtime import inspect
    from pipeline.store.lock import is_held
    from pipeline.values.folder import LOCK

    if is_held(folder / LOCK):
        return (
            f"the run in {folder} is alive and does not answer: it is opening or closing, or of another version; say "
            "it again in a moment, or press Ctrl-C where it runs"
        )
    origin = inspect.origin(folder)
    again = command(origin.spec, origin.options)
    if what == "budget" and amount and not amount.startswith("+"):
        again += f' --budget "{amount}"'
        return f"no run is alive in {folder}, so nobody hears of a budget; it is set by going on with it: {again}"
    return f"no run is alive in {folder}: there is nothing to {what}; to go on with it: {again}"


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):
        return "unknown"
