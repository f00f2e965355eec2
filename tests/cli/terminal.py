"""A terminal of 80 columns: commands are typed on a real pseudo-terminal, and a small screen shows what is left of it.

The screen knows the few movements that we use and refuses all others: a new one is a decision, not an accident.
"""

from __future__ import annotations

import errno
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
COLUMNS: Final = 80
LINES: Final = 24
#: A piece of output: a movement or style (CSI), another sequence, a control character, or text.
_PIECE: Final = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|(\x1b.?)|([\x00-\x1f\x7f])|([^\x00-\x1f\x7f]+)")
_COLOURS: Final = range(30, 108)


@dataclass(slots=True)
class Screen:
    """What a terminal shows, with all that has scrolled out of it above."""

    rows: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0
    hidden: bool = False
    coloured: bool = False

    def feed(self, text: str) -> None:
        """Take output as a terminal does. *Raises* AssertionError for what a terminal here is not sent."""
        for found in _PIECE.finditer(text):
            numbers, letter, other, control, plain = found.groups()
            if letter is not None:
                self._move(numbers, letter)
            elif plain is not None:
                self._write(plain)
            else:
                assert other is None, f"a sequence that no terminal is sent by us: {found[0]!r}"
                self._control(control)

    def text(self) -> str:
        """All rows, without blanks at their ends."""
        return "\n".join(row.rstrip() for row in self.rows).rstrip("\n") + "\n"

    def _move(self, numbers: str, letter: str) -> None:
        match letter:
            case "A":
                self.row -= int(numbers or 1)
                assert self.row >= max(0, len(self.rows) - LINES), "drawn above what is on the screen"
            case "K":
                assert numbers == "2", "only whole lines are cleared"
                self.rows[self.row] = ""
            case "h" | "l":
                assert numbers == "?25", f"a mode that we do not use: {numbers}"
                self.hidden = letter == "l"
            case "m":
                self.coloured |= any(int(each) in _COLOURS for each in numbers.split(";") if each)
            case _:
                raise AssertionError(f"a movement that we do not use: {numbers}{letter}")

    def _control(self, control: str) -> None:
        match control:
            case "\r":
                self.column = 0
            case "\n":
                self._down()
            case _:
                raise AssertionError(f"a control character on the terminal: {control!r}")

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")

    def _write(self, text: str) -> None:
        for letter in text:
            if self.column == COLUMNS:
                self.column = 0
                self._down()
            line = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = line[: self.column] + letter + line[self.column + 1 :]
            self.column += 1


def typed(command: str, folder: Path, screen: Screen, variables: Mapping[str, str]) -> int:
    """Type one `pipeline` command on a terminal, let the screen take what comes, and hand back the exit code."""
    ours, its = pty.openpty()
    ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    screen.feed(f"$ {command}\r\n")
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", *command.split()],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder), **_TERMINAL, **variables},
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
        )
    finally:
        os.close(its)
    try:
        screen.feed(_all_of(ours))
        return child.wait(timeout=60)
    finally:
        os.close(ours)
        child.kill()
        child.wait()


_TERMINAL: Final[Mapping[str, str]] = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _all_of(terminal: int) -> str:
    """Everything until the other end is closed, which a terminal tells as an error."""
    found, deadline = b"", time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            piece = os.read(terminal, 65536)
        except OSError as error:
            if error.errno == errno.EIO:
                break
            raise
        if not piece:
            break
        found += piece
    return found.decode()
