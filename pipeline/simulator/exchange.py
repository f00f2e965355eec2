"""What passes through a simulated gateway's front door: a request as it came, an answer and how it is delivered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pipeline.values.digest import JSON
from pipeline.values.wire import Response

#: How the connection behaves. `before`: it breaks and the gateway never saw the request. `after`: the gateway did
#: its work and the answer is lost. `mid`: only a part of the answer arrives. `none`: all is well.
Cut: TypeAlias = Literal["none", "before", "after", "mid"]


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request as a gateway receives it. `target` is path and query; header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    #: "" is the gateway's API; otherwise one of its further addresses, such as `files`.
    base: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the gateway does. *Units* - delay_s: seconds until the answer (or the cut); response None: no byte comes."""

    delay_s: float
    response: Response | None
    cut: Cut = "none"


def json_response(status: int, value: JSON, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, body, {"content-type": "application/json", **(headers or {})})


def page_response(status: int, title: str) -> Response:
    """An answer as a web page, as gatekeepers and storage servers send."""
    body = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>".encode()
    return Response(status, body, {"content-type": "text/html; charset=utf-8"})
