"""How things are said to people: amounts, durations, counts, tables, and text that cannot move the cursor."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.values.money import UNLIMITED, format_money

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
#: The width of a label with its gap in the pages of `run` and `status`; narrower terminals than this are left alone.
_LABEL: Final = 12
_FOLDS_FROM: Final = 30


def clean(text: object) -> str:
    """One line without control, bidirectional or unassigned characters: safe to print, whoever wrote it."""
    return clean_lines(str(text).replace("\n", " ").replace("\t", " ").replace("\r", " "))


def clean_lines(text: str) -> str:
    """As `clean`, but line breaks and tabs stay."""
    return "".join(letter for letter in text if letter in "\n\t" or _prints(letter))


def _prints(letter: str) -> bool:
    # Cc and Cs: escape sequences and halves of pairs. Zl and Zp break lines in some terminals.
    # Of Cf only the joiners stay: emoji and several scripts need them, the others reorder or hide text.
    match unicodedata.category(letter):
        case "Cc" | "Cs" | "Cn" | "Co" | "Zl" | "Zp":
            return False
        case "Cf":
            return letter in "\u200c\u200d"
        case _:
            return True


def short(text: object, width: int) -> str:
    """`clean`, cut to `width` characters with three dots."""
    line = clean(text)
    return line if len(line) <= width else line[: width - 3].rstrip() + "..."


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min 20 s`, `5 h 10 min`, `2 d 3 h`."""
    if seconds < 10:
        tenths = f"{max(seconds, 0):.1f}"
        return ("10" if tenths == "10.0" else tenths.removesuffix(".0")) + " s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return _pair(whole, _MINUTE, "min", 1, "s")
    if whole < _DAY:
        return _pair(whole, _HOUR, "h", _MINUTE, "min")
    return _pair(whole, _DAY, "d", _HOUR, "h")


def _pair(whole: int, big: int, big_name: str, small: int, small_name: str) -> str:
    rest = whole % big // small
    return f"{whole // big} {big_name}" + (f" {rest} {small_name}" if rest else "")


#: A command is never broken: whoever copies it copies all of it. Nor is a figure from its unit.
_PIECE: Final = re.compile(r"pipeline (?:\S+ )*?\S+(?=   |$)|\(?\d[\d.,]* (?:s|min|h|d|[KMG]B|USD|CNY)\b\S*|\S+")
#: Where the words of a labelled line begin.
_LABELLED: Final = re.compile(r" {2}\w+(?: \w+)? {2,}(?=\S)")


def fold(text: str, width: int) -> str:
    """Lines broken between words for a terminal of this width, what follows indented below what was said."""
    return "\n".join(_folded(line, width) for line in text.split("\n"))


def _folded(line: str, width: int) -> str:
    if len(line) <= width or width < _FOLDS_FROM:
        return line
    label = _LABELLED.match(line)
    lead = label[0] if label is not None and len(label[0]) == _LABEL else line[: len(line) - len(line.lstrip())]
    lines, current = [], lead
    last = len(lead)
    for piece in _PIECE.finditer(line, len(lead)):
        gap = line[last : piece.start()]
        last = piece.end()
        if current.strip() and len(current) + len(gap) + len(piece[0]) > width:
            lines.append(current)
            current, gap = " " * max(len(lead), 2), ""
        current += gap + piece[0]
    return "\n".join([*lines, current])


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 task`, `1,632 tasks`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def money(amounts: Mapping[str, int]) -> str:
    """Sums by unit: `0.90 USD + 20.00 CNY`; nothing at all is `nothing`."""
    return " + ".join(format_money(micros, unit) for unit, micros in sorted(amounts.items())) or "nothing"


def cap(micros: int, unit: str) -> str:
    """`2.00 USD`, or `no limit`."""
    return "no limit" if micros >= UNLIMITED else format_money(micros, unit)


def table(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset(), indent: str = "  ") -> str:
    """Columns of cleaned cells, three spaces apart; `right` columns (from 0) are aligned to the right."""
    if not rows:
        return ""
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + "   ".join(parts)).rstrip())
    return "\n".join(lines)
