"""Money as integers: micro-units, 10^-6 of the billing unit (0.075 USD is 75,000)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

MICROS: Final = 1_000_000
UNITS: Final = ("USD", "CNY", "1min-credit", "evolink-credit")
#: The cap of a run with `budget: none`: no sum of holds reaches it, and SQLite still holds it.
UNLIMITED: Final = 2**62

_AMOUNT: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s+(\S+)\s*", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount in one unit. *Units* - micros: 10^-6 of `unit`."""

    micros: int
    unit: str

    def __str__(self) -> str:
        return format_money(self.micros, self.unit)


def micros_from_text(text: str) -> int:
    """Decimal text to micro-units, exactly. *Raises* ValueError when it is no such number."""
    if not re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        raise ValueError(f"not a decimal amount: {text}")
    scaled = Decimal(text).scaleb(6)
    if len(text) > 24 or scaled != int(scaled):
        raise ValueError(f"finer than a millionth, or too large: {text}")
    micros = int(scaled)
    if micros >= UNLIMITED:
        raise ValueError(f"too large: {text}")
    return micros


def parse_money(text: str) -> Money:
    """`2.00 USD` to Money. *Raises* ValueError with the remedy as its message."""
    match = _AMOUNT.fullmatch(text)
    if match is None and text.lstrip().startswith("-"):
        raise ValueError(f"an amount is never below zero: {text}")
    if match is None:
        raise ValueError(f"an amount needs a unit, such as 2.00 USD (units: {', '.join(UNITS)})")
    if match[2] not in UNITS:
        raise ValueError(f"unknown unit {match[2]} (units: {', '.join(UNITS)})")
    return Money(micros_from_text(match[1]), match[2])


def format_micros(micros: int) -> str:
    """At least two decimals, as many as it takes to be exact."""
    sign, whole = ("-" if micros < 0 else ""), abs(micros)
    decimals = f"{whole % MICROS:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole // MICROS}.{decimals}"


def format_money(micros: int, unit: str) -> str:
    """`0.075 USD`; an unlimited cap is `no limit`."""
    return "no limit" if micros >= UNLIMITED else f"{format_micros(micros)} {unit}"


def convert_up(micros: int, rate: Fraction) -> int:
    """Micro-units times a rate, rounded up, so that a cap in the other unit is never passed."""
    product = micros * rate
    return -(-product.numerator // product.denominator)
