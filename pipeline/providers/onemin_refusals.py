"""Which 400 of 1min.ai speaks of the request alone. Nobody says that a failed call is free, so only whole shapes count.

A shape is the name of a field that we send, and a rule that it breaks: then no work was begun (inferred). Words about
anything else may come after the credits were taken: a filter's verdict, a provider's failure, a count of pictures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_TEXTS: Final = r"prompt|negative_prompt"
_OTHERS: Final = r"type|model|promptObject|imageUrl|additional_images(?:\[\d\]|\.\d)?|n|width|height|seed|prompt_extend"
_PLACE: Final = r"[\"'`]?(?:promptObject\.)?"
_ANY: Final = rf"{_PLACE}(?:{_TEXTS}|{_OTHERS})[\"'`]?"
#: Of a text, "invalid" may be a filter's word.
_NO_TEXT: Final = rf"{_PLACE}(?:{_OTHERS})[\"'`]?"
_PICTURE: Final = r"[\"'`]?(?:promptObject\.)?(?:imageUrl|additional_images(?:\[\d\]|\.\d)?)[\"'`]?"
_BOUND: Final = (
    r"(?:must|should|cannot|can't)(?: not)?(?: both)? be (?:an?|one of|at (?:most|least)|less|greater|shorter|longer|"
    r"from|between|empty|null|non-empty|the path|numbers?|strings?|IMAGE_EDITOR|qwen-[a-z0-9.-]+|\d+)\b"
)
_RULE: Final = (
    rf"(?:(?:is |are )?(?:required|missing|unknown(?: field)?|unsupported|not supported|too (?:large|long|many|small|"
    rf"short)|out of range|not an? (?:number|integer|string|boolean|array|object))\b|{_BOUND})"
)
_LOST: Final = r"(?:not found|(?:does|do) not exist|doesn't exist|(?:has |is )?expired|no longer exists?)"
#: How a rule may go on: figures and choices.
_REST: Final = r"(?:[,:(. ][^\n]{0,300})?"
_SHAPES: Final = tuple(
    re.compile(shape, re.ASCII | re.IGNORECASE)
    for shape in (
        # A field and its rule: "promptObject.n: required".
        rf"{_ANY}(?:, {_ANY})*:? (?:both )?{_RULE}{_REST}",
        # A rule and its field: "unsupported model".
        rf"(?:missing|required|unknown|unsupported)(?: required)?(?: (?:field|parameter|property))?:? {_ANY}{_REST}",
        rf"invalid(?: (?:field|parameter|property|value for))?:? {_NO_TEXT}{_REST}",
        rf"{_NO_TEXT}:? (?:is )?invalid{_REST}",
        rf"model:? (?:[\w.-]{{1,80}} )?{_LOST}\.?",
        r"property [\w.]{1,60} should not exist\.?",
    )
)
_GONE: Final = re.compile(
    rf"(?:{_PICTURE}:? (?:asset )?{_LOST}|(?:the )?asset(?: [\w./-]{{1,200}})? {_LOST})\.?", re.ASCII | re.IGNORECASE
)
#: Words of work, of filters and of money: where one stands, no shape is believed.
_NOT_OF_THE_REQUEST: Final = re.compile(
    r"generat|output|result|content|polic|prohibit|violat|flag|safe|moderat|sensitiv|inappropriat|provider|upstream|"
    r"credit|charg|bill|process|timed? ?out|fail|error|abort|complet|success|partial|\bgot\b|\bmade\b",
    re.IGNORECASE,
)
#: What many servers write beside the words that count.
_EMPTY: Final = frozenset({"bad request", "validation failed", "invalid request"})
#: Words by which a text tells that a filter refused the content; no page shows such an answer (inferred).
_MODERATION: Final = re.compile(
    r"prohibit|moderat|content|inappropriat|sensitiv|safety|flagged|violat|polic(?:y|ies)", re.IGNORECASE
)


def about_the_request(texts: Sequence[str]) -> bool:
    """Whether every sentence says which field breaks which rule, or which asset is gone, and nothing says more."""
    parts = _parts(texts)
    return bool(parts) and all(
        not _NOT_OF_THE_REQUEST.search(part) and any(shape.fullmatch(part) for shape in (*_SHAPES, _GONE))
        for part in parts
    )


def about_a_lost_asset(texts: Sequence[str]) -> bool:
    """Whether an asset that was sent is not there any more. How long one is kept is on no page (inferred)."""
    return about_the_request(texts) and any(_GONE.fullmatch(part) for part in _parts(texts))


def about_the_content(texts: Sequence[str]) -> bool:
    """Whether a filter speaks. That changes what is told, and never what is released."""
    return any(_MODERATION.search(text) for text in texts)


def _parts(texts: Sequence[str]) -> list[str]:
    """The sentences, without what says nothing."""
    parts = [part.strip() for text in texts for part in text.split(";")]
    return [part for part in parts if part and part.lower() not in _EMPTY]
