"""HTTP as plain values: what is asked, what came back, and how an exchange can end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Request:
    """A question to a gateway. It holds no secret: transport adds the key. `path` is below the gateway's base URL."""

    gateway: str
    method: str
    path: str
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    #: "" is the gateway's API; otherwise one of the further addresses on its card.
    base: str = ""
    #: A whole https address that the gateway itself named, for an upload elsewhere: asked without the key.
    url: str = ""
    #: It buys nothing and may be repeated.
    free: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer. Header names are lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NotSent:
    """Proof that nothing left: no connection was made (refused, no name, connect timeout)."""

    why: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete answer arrived."""

    response: Response


@dataclass(frozen=True, slots=True)
class Broken:
    """Bytes may have left and no complete answer came: timeout, reset, end of stream, too large, unparsable framing."""

    why: str
    #: It was read as far as is allowed, and went on.
    too_large: bool = False


Outcome: TypeAlias = NotSent | Answered | Broken


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A result link's body was written to the end. *Units* - size_bytes: bytes."""

    status: int
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DownloadRefused:
    """The link answered with a status other than 200; `gone` when asking again needs a fresh link (403, 404, 410)."""

    status: int
    gone: bool


@dataclass(frozen=True, slots=True)
class DownloadBroken:
    """The body did not arrive whole, or the address is not allowed (`blocked`)."""

    why: str
    blocked: bool = False


DownloadOutcome: TypeAlias = Downloaded | DownloadRefused | DownloadBroken
