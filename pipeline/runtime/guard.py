"""Who may ask the page's server for anything: one browser of one person, and no other page in it."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Final

#: Sent with every answer, whatever it is.
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Server": "pipeline",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
#: What a request that changes something must say besides: another page's form cannot.
MARK: Final = "X-Pipeline"


_ELSEWHERE: Final = frozenset({"cross-site", "same-site"})


class Guard:
    """The token of one server, and the names it answers to."""

    def __init__(self, port: int, token: str = "") -> None:
        self.token = token or secrets.token_urlsafe(32)
        #: Browsers do not keep the cookies of two ports apart.
        self.cookie = f"pipeline_view_{port}"
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        self._origins = frozenset(f"http://{host}" for host in self._hosts)

    def is_token(self, given: str | None) -> bool:
        """Compared in constant time."""
        return hmac.compare_digest((given or "").encode(errors="replace"), self.token.encode())

    def refusal(self, method: str, headers: Mapping[str, str], cookies: Mapping[str, str]) -> tuple[int, str] | None:
        """Why a request is refused: status and words; None when it may go on."""
        if fault := self.strange_host(headers):
            return fault
        if not self.is_token(cookies.get(self.cookie)):
            return 403, "open the address that `pipeline view` printed: it has a token"
        return self._changing(headers) if method not in ("GET", "HEAD") else None

    def strange_host(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Another name that was made to lead here would be another page's way in."""
        if headers.get("Host") not in self._hosts:
            return 421, "this server answers to 127.0.0.1 and localhost only"
        # Another port of this machine is the same site to a browser, which sends our cookie along.
        if headers.get("Sec-Fetch-Site") in _ELSEWHERE and headers.get("Sec-Fetch-Mode") != "navigate":
            return 403, "another page has no business here"
        return None

    def _changing(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        if headers.get("Origin") not in self._origins:
            return 403, "only the page itself may do this"
        if headers.get(MARK) != "1" or headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
            return 403, f"what changes something is JSON with the header {MARK}: 1"
        return None
