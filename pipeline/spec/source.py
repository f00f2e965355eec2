"""The text of a spec before it is YAML: its lines, its places, and what no spec may hold (control characters, keys)."""

from __future__ import annotations

import re
from typing import Final

from pipeline.errors import Mistake, Place, SpecError

CHARACTERS_MAX: Final = 10_000_000
_SHOWN_MAX: Final = 160
_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
#: A key as the gateways hand them out; it has a digit too, which words with hyphens have not.
_SECRET: Final = re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{16,}", re.ASCII)
_DIGIT: Final = re.compile("[0-9]")


def find_secret(text: str) -> int | None:
    """Where something in it begins that looks like an API key."""
    if "sk-" not in text:
        return None
    return next((match.start() for match in _SECRET.finditer(text) if _DIGIT.search(match[0])), None)


def holds_secret(text: str) -> bool:
    """Whether something in it looks like an API key."""
    return find_secret(text) is not None


def without_secret(text: str) -> str:
    """The same text in one line, with keys and what a terminal could obey replaced."""
    return printable(_SECRET.sub(lambda match: "(hidden)" if _DIGIT.search(match[0]) else match[0], text)).replace(
        "\n", " "
    )


def printable(text: str) -> str:
    """The same text with what a terminal could obey replaced."""
    return _FORBIDDEN.sub("\ufffd", text)


class Source:
    """A text with its lines, which gives places. Lines that hold something like a key are never shown."""

    def __init__(self, file: str, text: str, first_line: int = 1) -> None:
        self.file = file
        self.text = text.removeprefix("\ufeff")
        self.first_line = first_line
        #: Zero-based lines that are never shown.
        self.hidden: set[int] = set()
        self.lines = _BREAK.split(self.text)
        self.mistakes: list[Mistake] = []
        for number, line in enumerate(self.lines):
            if (found := find_secret(line)) is not None:
                self.report_secret(number, found, number)

    def report_secret(self, line: int, column: int, line_end: int) -> None:
        """A key stands at this zero-based place: say so once a line, and hide the lines."""
        if line in self.hidden:
            return
        self.hidden.update(range(line, line_end + 1))
        self.mistakes.append(
            Mistake(
                self.place(line, column),
                "this looks like an API key, which a spec must never hold",
                "remove it: keys and base URLs come from the environment only",
            )
        )

    def place(self, line: int, column: int) -> Place:
        """The place of a zero-based line and column, with the line's text when it may and can be shown."""
        shown = ""
        if line < len(self.lines) and line not in self.hidden and column < _SHOWN_MAX:
            shown = printable(self.lines[line][:_SHOWN_MAX])
        return Place(self.file, line + self.first_line, column + 1, shown)

    def place_at(self, offset: int) -> Place:
        """The place of a character, counted from 0."""
        before = _BREAK.split(self.text[:offset])
        return self.place(len(before) - 1, len(before[-1]))

    def unreadable(self) -> Mistake | None:
        """The first reason not even to begin with YAML: too large, or a control character."""
        if len(self.text) > CHARACTERS_MAX:
            return Mistake(
                Place(self.file, self.first_line, 1),
                f"the spec has {len(self.text):,} characters, the most is {CHARACTERS_MAX:,}",
                "put long lists into files: {lines: FILE} or inputs",
            )
        found = _FORBIDDEN.search(self.text)
        if found is None:
            return None
        if found[0] == "\0":
            remedy = "is the file UTF-16? save it as UTF-8"
        else:
            remedy = "remove it; in double quotes it may be escaped" if found[0] != "\ufeff" else "remove it"
        return Mistake(self.place_at(found.start()), f"control character U+{ord(found[0]):04X}", remedy)


def decode_spec(data: bytes, file: str) -> str:
    """The bytes of a spec as text. *Raises* SpecError with a place when they are not UTF-8."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise SpecError((Mistake(Place(file, 1, 1), "the spec is UTF-16", "save it as UTF-8"),))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        place = Source(file, before).place_at(len(before.removeprefix("\ufeff")))
        what = f"byte 0x{data[error.start]:02X} is not UTF-8"
        raise SpecError((Mistake(Place(file, place.line, place.column), what, "save the spec as UTF-8"),)) from error
