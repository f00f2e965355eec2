"""Words of the world made fit to be kept: no link keeps its query, where signatures stand."""

from __future__ import annotations

import re
from typing import Final

#: Scheme, rest up to the query, then the query (or fragment) that is cut.
_QUERY: Final = re.compile(r"(https?://[^\s?#\"'<>]*)[?#][^\s\"'<>]*", re.IGNORECASE)
#: User and password before a host.
_USER: Final = re.compile(r"(https?://)[^\s/@\"'<>]*@", re.IGNORECASE)


def without_queries(text: str) -> str:
    """The text with every link in it cut before its query, and without user names."""
    if "://" not in text:
        return text
    return _USER.sub(r"\1", _QUERY.sub(r"\1", text))
