"""One object of a gateway's card: every key is taken exactly once, by its kind, and what is left over is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NoReturn, cast, get_args

from pipeline.errors import CardError
from pipeline.plan.flaw import nearest
from pipeline.values.card import Certainty, Figure
from pipeline.values.digest import JSON
from pipeline.values.money import micros_from_text


class CardPart:
    """One object of a card. Each method *raises* CardError, with file and key, when the key is not of its kind."""

    def __init__(self, file: str, path: str, data: Mapping[str, JSON]) -> None:
        self._file, self._path, self._data = file, path, data
        self._taken: set[str] = set()

    def fail(self, key: str, what: str) -> NoReturn:
        """Refuse a key. *Raises* CardError, always."""
        fail(self._file, f"{self._path}{key}", what)

    def names(self) -> list[str]:
        """The keys as they are written."""
        return list(self._data)

    def has(self, key: str) -> bool:
        """Whether a key is written."""
        return key in self._data

    def done(self) -> None:
        """The end of this object. *Raises* CardError for a key that nobody took."""
        for key in self._data:
            if key not in self._taken:
                self.fail(key, f"unknown key; {nearest(key, self._taken)}")

    def take(self, key: str) -> JSON:
        """Whatever stands under a key."""
        if key not in self._data:
            self.fail(key, "is missing")
        self._taken.add(key)
        return self._data[key]

    def part(self, key: str) -> CardPart:
        """The object under a key."""
        value = self.take(key)
        if not isinstance(value, dict):
            self.fail(key, "must be an object")
        return CardPart(self._file, f"{self._path}{key}.", cast("Mapping[str, JSON]", value))

    def parts(self, key: str) -> list[CardPart]:
        """The list of objects under a key."""
        value = self.take(key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.fail(key, "must be a list of objects")
        rows = cast("list[Mapping[str, JSON]]", value)
        return [CardPart(self._file, f"{self._path}{key}.{number}.", row) for number, row in enumerate(rows)]

    def part_or_none(self, key: str) -> CardPart | None:
        """The object under a key; None for null."""
        return None if self.take(key) is None else self.part(key)

    def text(self, key: str, *, empty: bool = False) -> str:
        """The text under a key."""
        value = self.take(key)
        if not isinstance(value, str) or not (value or empty):
            self.fail(key, "must be text")
        return value

    def texts(self, key: str, allowed: Sequence[str] = ()) -> tuple[str, ...]:
        """The list of texts under a key."""
        value = self.take(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.fail(key, "must be a list of texts")
        for item in cast("list[str]", value):
            if allowed and item not in allowed:
                self.fail(key, f"unknown value '{item}'; {nearest(item, allowed)}")
        return tuple(cast("list[str]", value))

    def one_of(self, key: str, allowed: Sequence[str]) -> str:
        """One of the allowed words."""
        value = self.text(key)
        if value not in allowed:
            self.fail(key, f"unknown value '{value}'; {nearest(value, allowed)}")
        return value

    def whole(self, key: str, least: int = 0) -> int:
        """A whole number, `least` or above."""
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self.fail(key, f"must be a whole number from {least}")
        return value

    def whole_or_none(self, key: str) -> int | None:
        """A whole number; None for null."""
        return None if self.take(key) is None else self.whole(key)

    def number_or_none(self, key: str) -> int | float | None:
        """A number; None for null."""
        value = self.take(key)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            self.fail(key, "must be a number or null")
        return value

    def seconds(self, key: str, *, above_zero: bool = False) -> float:
        """A duration. *Units* - seconds."""
        value = self.number_or_none(key)
        if value is None or value < 0 or (above_zero and not value):
            self.fail(key, "must be a number of seconds")
        return float(cast("float", value))

    def truth(self, key: str) -> bool:
        """True or false."""
        value = self.take(key)
        if not isinstance(value, bool):
            self.fail(key, "must be true or false")
        return value

    def truth_or_none(self, key: str) -> bool | None:
        """True or false; None when nobody knows."""
        value = self.take(key)
        if value is not None and not isinstance(value, bool):
            self.fail(key, "must be true, false, or null when nobody knows")
        return value

    def amount(self, key: str) -> str:
        """A price: decimal text, so that nothing is rounded."""
        value = self.take(key)
        if not isinstance(value, str):
            self.fail(key, 'must be decimal text, such as "0.075"')
        try:
            micros_from_text(value)
        except ValueError as error:
            self.fail(key, str(error))
        return value

    def amount_or_none(self, key: str) -> str | None:
        """A price; None for null."""
        return None if self.take(key) is None else self.amount(key)

    def amounts(self, key: str) -> dict[str, str]:
        """{name: a rate above zero as text}."""
        part = self.part(key)
        made = {}
        for name in part.names():
            made[name] = part.text(name)
            # A quotient, such as 1/68, where a decimal number would have to be rounded.
            if not re.fullmatch(r"[0-9]+(\.[0-9]+)?|[1-9][0-9]*/[1-9][0-9]*", made[name]) or not Fraction(made[name]):
                part.fail(name, 'must be a rate above zero as text, such as "0.14" or "1/68"')
        return made

    def figure(self, key: str) -> Figure:
        """A figure with how sure it is, its source and its date."""
        part = self.part(key)
        value = part.number_or_none("value")
        certainty = part.one_of("certainty", get_args(Certainty))
        made = Figure(value, cast("Certainty", certainty), part.text("source"), part.text("date"))
        part.done()
        if value is not None and value <= 0:
            part.fail("value", "must be above zero, or null when it is unknown")
        return made


def fail(file: str, key: str, what: str) -> NoReturn:
    """*Raises* CardError, always."""
    raise CardError(f"{file}: {key + ': ' if key else ''}{what}")
