"""One question to an address: does anything answer there? Asked without a key, a proxy or a redirect."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from yarl import URL

TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of it. *Units* - date_s: seconds since 1970 by the other side's clock; None: it did not say."""

    #: HTTP status; 0 when nothing answered.
    status: int
    #: Why nothing did.
    why: str = ""
    date_s: float | None = None


async def probe(url: URL, user_agent: str, *, timeout_s: float = TIMEOUT_S) -> Probe:
    """One GET of an address. Whatever status comes, somebody is there."""
    headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
    try:
        async with (
            asyncio.timeout(timeout_s),
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            return Probe(response.status, date_s=_date_s(response.headers.get("Date", "")))
    except TimeoutError:
        return Probe(0, f"nothing came within {timeout_s:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        inner = getattr(error, "os_error", None)
        named = type(inner if isinstance(inner, OSError) else error).__name__
        return Probe(0, "its name cannot be looked up" if named == "gaierror" else named)


def _date_s(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text.endswith("GMT") else None
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
