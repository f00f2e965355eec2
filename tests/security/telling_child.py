"""A process that runs commands of the pipeline and tells all that can be told of them: logs at DEBUG, tracebacks with
every local variable, the repr of every object. What it writes is searched for canaries.

`python -m tests.security.telling_child FILE` reads a list of {argv, env, crash} from stdin, and writes logs and
tracebacks into FILE and one line of exit codes to fd 1 at its end.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import aiohttp

from pipeline.cli import failures
from pipeline.cli.exits import Exit
from pipeline.cli.main import cli
from pipeline.errors import CardError, MistakesError
from pipeline.runtime import prepare, wiring
from pipeline.transport import gateways, http, receiving


def main(told: Path) -> None:
    """Run every command of stdin."""
    orders: list[dict[str, Any]] = json.load(sys.stdin)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - for the rest of the process
    logging.basicConfig(filename=told, level=logging.DEBUG, format="%(asctime)s %(name)s %(message)s")
    _hurry()
    _tell_everything(told)
    codes = []
    for order in orders:
        os.environ.update(order.get("env", {}))
        mend = _break(order.get("crash", ""))
        try:
            cli.main(order["argv"], prog_name="pipeline")
        except SystemExit as ended:
            codes.append(int(ended.code or 0))
        finally:
            mend()
    sys.stdout.flush()
    print(json.dumps({"codes": codes}), flush=True)


def _hurry() -> None:
    """Polls come every tenth of a second: the same cards, less patience."""
    cards = prepare.cards

    def quick() -> dict[str, Any]:
        return {
            name: dataclasses.replace(
                card,
                models={
                    key: dataclasses.replace(model, poll_first_s=0.05, poll_every_s=0.1)
                    for key, model in card.models.items()
                },
            )
            for name, card in cards().items()
        }

    prepare.cards = quick


def _tell_everything(told: Path) -> None:
    """Keep the traceback of each failure with and without locals, and what a curious log line says of the door."""
    report, door = failures.report, wiring.door

    def tell(error: BaseException, *, json_wanted: bool) -> Exit:
        with told.open("a", encoding="utf-8", errors="backslashreplace") as file:
            # What a person got wrong is shown to them with its place; locals are told of what nobody foresaw.
            for with_locals in (False, not isinstance(error, MistakesError | CardError)):
                made = traceback.TracebackException.from_exception(error, capture_locals=with_locals)
                file.writelines(made.format(chain=True))
            file.write(f"{error!r} {error} {error.args!r} {vars(error)!r}\n")
        return report(error, json_wanted=json_wanted)

    def curious(*args: Any, **more: Any) -> Any:
        made = door(*args, **more)
        logging.getLogger("curious").debug("%r %s %r %r", made, made, vars(made), prepare.environment({}))
        return made

    failures.report = tell
    wiring.door = curious


def _break(crash: str) -> Any:
    """Let our own code, or a library's, fail where the key is at hand; a Bug, not a fault of the world."""

    def fail(*_args: object, **_more: object) -> Any:
        raise AssertionError("a bug of the test's making")

    owner: Any
    match crash:
        case "":
            return lambda: None
        case "headers":
            owner, name = http, "_body"
        case "library":
            owner, name = aiohttp.ClientRequest, "update_body_from_data"
            owner = owner if hasattr(owner, name) else aiohttp.ClientResponse
            name = name if hasattr(owner, name) else "start"
        case "answer":
            owner, name = receiving, "_plain"
        case "opening":
            owner, name = gateways, "base_url"
        case "secret":
            owner, name = gateways, "need_key"
        case _:
            raise ValueError(crash)
    kept = getattr(owner, name)
    setattr(owner, name, fail)
    return lambda: setattr(owner, name, kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
