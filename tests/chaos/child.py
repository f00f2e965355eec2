"""The command line in a child that may be told to die: `python -m tests.chaos.child --die NAME:N -- run spec.yaml`.

Nothing of this is in the product: a test's own process arms the failpoints and then calls the command line's main.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn, Self

import pipeline.store.file as file_module
from pipeline import failpoints

#: A run of a few tasks folds its log, as one of thousands does. *Units* - bytes.
FOLD_AT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """The N-th time that a failpoint is reached, from 1."""

    name: str
    occurrence: int

    @classmethod
    def read(cls, text: str) -> Self:
        """`NAME:N`. *Raises* ValueError for a name that is not registered."""
        name, _, occurrence = text.partition(":")
        if name not in failpoints.NAMES:
            raise ValueError(f"no failpoint {name}")
        return cls(name, int(occurrence or 1))

    def __str__(self) -> str:
        return f"{self.name}:{self.occurrence}"


@dataclass(slots=True)
class Watch:
    """What a reached failpoint sets off: nothing, a Ctrl-C, or death."""

    die: Place | None = None
    drain: Place | None = None
    counts: Counter[str] = field(default_factory=Counter)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, name: str) -> None:
        """Count, and do what was asked for here. Failpoints are reached from several threads."""
        with self._guard:
            self.counts[name] += 1
            here = Place(name, self.counts[name])
            if here == self.drain:
                os.kill(os.getpid(), signal.SIGINT)
            if here == self.die:
                # Under the guard: no other thread gets past a failpoint any more.
                os.kill(os.getpid(), signal.SIGKILL)


def run(
    arguments: list[str],
    *,
    die: Place | None = None,
    drain: Place | None = None,
    counts: Path | None = None,
    unfolded: bool = False,
    parts: bool = False,
) -> int:
    """Arm, run one command in this process, and tell its exit code; `counts` gets {failpoint: how often reached}.

    `unfolded`: the log is folded where the product folds it, so that a small run leaves one. `parts`: every picture has
    a name on its way in, as large ones have.
    """
    from pipeline.cli import main
    from pipeline.runtime import shelf

    if parts:
        keeping: Any = shelf
        keeping.IN_MEMORY_MAX = 10

    if not unfolded:
        small: Any = file_module
        small._FOLD_AT = FOLD_AT
    watch = Watch(die, drain)
    failpoints.arm(watch)
    try:
        main.cli.main(arguments)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    else:
        code = 0
    finally:
        failpoints.arm(None)
        if counts is not None:
            counts.write_text(json.dumps(watch.counts))
    return code


def main() -> NoReturn:
    """Parse our own options; what stands behind `--` is the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.child", description=__doc__)
    parser.add_argument("--die", type=Place.read)
    parser.add_argument("--drain", type=Place.read)
    parser.add_argument("--counts", type=Path)
    parser.add_argument("--unfolded", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    command = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    sys.exit(run(command, die=asked.die, drain=asked.drain, counts=asked.counts, unfolded=asked.unfolded))


if __name__ == "__main__":
    main()
