"""What an unquoted word of YAML means: the core types of YAML 1.2, and nothing that 1.1 guessed."""

from __future__ import annotations

import math
import re
from typing import Final, TypeAlias

CORE: Final = "tag:yaml.org,2002:"

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
# A number with leading zeros is a name more often than a number (0123 is an article number): it stays text.
_INT: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_BASED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
_DIGITS_MAX: Final = 300

#: What a scalar can mean.
Value: TypeAlias = bool | int | float | str | None


def resolve(text: str) -> Value:
    """The value of an unquoted scalar. *Raises* ValueError for numbers that JSON does not know."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text[0] not in "-+.0123456789":
        return text
    return _number(text)


def _number(text: str) -> Value:
    if _INT.fullmatch(text):
        return int(_short(text))
    if _BASED.fullmatch(text):
        return int(_short(text), 0)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("infinity and not-a-number are no values here")
    if not _FLOAT.fullmatch(text):
        return text
    value = float(_short(text))
    if math.isinf(value):
        raise ValueError("this number is too large")
    return value


def _short(text: str) -> str:
    if len(text) > _DIGITS_MAX:
        raise ValueError(f"a number has at most {_DIGITS_MAX} digits")
    return text


def resolve_tagged(text: str, tag: str) -> Value:
    """The value of a scalar with an explicit core tag, such as `!!str`. *Raises* ValueError when they do not agree."""
    kind = tag.removeprefix(CORE)
    if tag == "!" or kind == "str":
        return text
    value = resolve(text)
    name = "null" if value is None else type(value).__name__
    if kind == "float" and name == "int":
        return float(text)
    if kind != name:
        raise ValueError(f"this is no !!{kind}")
    return value
