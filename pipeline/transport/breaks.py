"""How a connection broke, in words for people: the class of an exception is kept, its text never is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: {class of an exception: what it says of an exchange}; its text and repr may hold headers, so a key.
WORDS: Final[Mapping[str, str]] = {
    "ServerDisconnectedError": "the connection was closed before the answer was there",
    "ClientPayloadError": "the connection was closed in the middle of the answer",
    "ConnectionResetError": "the connection was reset before the answer was there",
    "BrokenPipeError": "the connection was closed while the request was being sent",
    "ClientOSError": "the connection broke",
    "ConnectionRefusedError": "nothing takes connections there",
    "ConnectionAbortedError": "the connection was given up",
    "gaierror": "its name cannot be looked up; is there a network?",
    "ClientConnectorDNSError": "its name cannot be looked up; is there a network?",
    "ClientConnectorError": "it cannot be reached; is there a network?",
    "TimeoutError": "no answer came in time",
    "ServerTimeoutError": "no answer came in time",
    "SocketTimeoutError": "no answer came in time",
    "ConnectionTimeoutError": "no connection came about in time",
    "SSLCertVerificationError": "its certificate is not to be trusted",
    "ClientConnectorCertificateError": "its certificate is not to be trusted",
}


def named(error: BaseException) -> str:
    """The class of an exception and of the system's own below it, never its text."""
    inner = getattr(error, "os_error", None)
    return type(inner if isinstance(inner, OSError) and type(inner) is not OSError else error).__name__


def at(name: str, where: str) -> str:
    """`HOST: the connection was closed before the answer was there (ServerDisconnectedError)`."""
    return f"{where}: {WORDS[name]} ({name})" if name in WORDS else f"{where}: {name}"
