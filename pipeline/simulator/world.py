"""The other end of the wire: every emulated gateway, their files, and their bills, as a function of requests and time.

    world = World(seed=1, faults=parse_faults({"cut_after": 0.01}))
    exchange = world.handle("mulerouter", WireRequest("POST", "/vendors/...", headers, body), now)

`now` is float seconds of the world's clock. Whoever carries the answers decides what that is, waits (or jumps) for
`exchange.delay_s`, and writes `world.lines()` down before the answer leaves: then a killed rehearsal can go on.

An emulator is a module with `NAME` and `handle(books, request, now)`. `request.target` is path and query as on the
vendor's own host, the base URL's path included (`/api/v1/...`); `request.base` says which of the gateway's addresses
was asked: "" is the API, another name is a base on the card or one that `books.address(NAME, name)` made. What gateways
do alike is in `desk`; a picture behind a link of a gateway's own form is `results.picture`. Links that `books.link`
makes are answered here, before the emulator is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from pipeline.simulator import dashscope, evolink, mulerouter, onemin
from pipeline.simulator.books import Books
from pipeline.simulator.exchange import Exchange, WireRequest, json_response, page_response
from pipeline.simulator.faults import Dice, FaultPlan
from pipeline.simulator.results import picture

#: {gateway: what answers for it}.
EMULATORS: Final[Mapping[str, Callable[[Books, WireRequest, float], Exchange]]] = {
    mulerouter.NAME: mulerouter.handle,
    dashscope.NAME: dashscope.handle,
    evolink.NAME: evolink.handle,
    onemin.NAME: onemin.handle,
}
#: Hosts of result links when nothing listens on a port; `.invalid` never resolves (RFC 2606).
LINKS_BASE: Final = "https://{gateway}.simulator.invalid"

_FILE: Final = re.compile(
    r"/files/([0-9A-Za-z_-]{1,80})/image_(\d{1,3})\.png\?expires=(\d{1,15})&signature=([0-9a-f]{16})", re.ASCII
)
_NAMES: Final = re.escape("{gateway}")


class World:
    """All gateways of one simulated world. Same seed, same requests at the same times: same answers, byte for byte."""

    def __init__(self, seed: int = 0, faults: FaultPlan | None = None, *, links_base: str = LINKS_BASE) -> None:
        """Make an empty world. `links_base` holds `{gateway}`: `http://127.0.0.1:8080/{gateway}` over HTTP."""
        self._books = Books(Dice(seed), faults or FaultPlan(), links_base)
        if "{gateway}" not in links_base:
            raise ValueError("the base of links must hold {gateway}, or nobody knows whose they are")
        place = re.escape(links_base.rstrip("/")).replace(_NAMES, r"(?P<name>[a-z0-9]+(-[a-z0-9]+)?)")
        self._places = re.compile(f"{place}(?P<target>/.*)?", re.ASCII)

    @classmethod
    def load(
        cls, lines: Iterable[str], *, seed: int = 0, faults: FaultPlan | None = None, links_base: str = LINKS_BASE
    ) -> World:
        """A world that goes on from its journal. The journal's seed wins, so that its pictures stay what they were.

        *Raises* ValueError that names a line which cannot be read; a torn last line is passed over.
        """
        world = cls(seed, faults, links_base=links_base)
        world._books.replay(lines)
        return world

    @property
    def clock(self) -> float:
        """The latest `now` that the world was told, in seconds: a resumed clock starts here or later."""
        return self._books.clock

    def lines(self) -> list[str]:
        """Journal lines for everything new since the last call, without newlines; [] when nothing happened."""
        return self._books.lines()

    def bill(self, *, operations: bool = False) -> dict[str, object]:
        """The vendors' own books at `clock`, with an entry for each operation if asked.

        *Units* - micros: 10^-6 of the gateway's `unit`. *Shape* - {"clock", "gateways": {name: {"unit", "micros",
        "accepted", "completed", "failed", "running", "images", "uploads"}}}.
        """
        return self._books.bill(operations=operations)

    def handle(self, gateway: str, request: WireRequest, now: float) -> Exchange:
        """Answer one request to a gateway. `/files/...` are its result links, `/__bill` is the book of all gateways.

        `request.target` may be a whole URL of this world, as a gateway named it; it says gateway and base then.
        """
        self._books.tick(now)
        if request.target.startswith(("http://", "https://")):
            found = self._places.fullmatch(request.target)
            if found is None:
                return Exchange(0.0, page_response(404, "Not found"))
            gateway, base = split_name(found["name"])
            request = replace(request, base=base, target=found["target"] or "/")
        path, _, query = request.target.partition("?")
        if path == "/__bill":
            return Exchange(0.0, json_response(200, self.bill(operations="operations" in query)))  # type: ignore[arg-type]  # plain JSON values
        if path.startswith("/files/") and not request.base:
            if any(name in request.headers for name in ("authorization", "api-key")):
                return Exchange(0.0, page_response(400, "Only one way to authenticate is allowed: the link is signed"))
            return self._file(request.target, now)
        emulator = EMULATORS.get(gateway)
        if emulator is None:
            known = ", ".join(EMULATORS)
            return Exchange(0.0, json_response(404, {"detail": f"no gateway is emulated here, only {known}"}))
        return emulator(self._books, request, now)

    def fetch(self, link: str, now: float) -> Exchange:
        """Answer a GET of a result link, given whole or as its path and query. Needs no key, and wants none."""
        self._books.tick(now)
        found = self._places.fullmatch(link)
        if found is not None and "-" in found["name"]:
            return self.handle("", WireRequest("GET", link, {}), now)
        return self._file(link[link.find("/files/") :] if "/files/" in link else link, now)

    def _file(self, target: str, now: float) -> Exchange:
        books = self._books
        delay_s = books.latency_s(target, now)
        found = _FILE.fullmatch(target)
        operation = books.operations.get(found[1]) if found else None
        if found is None or operation is None or not int(found[2]) < operation.billed_images(now):
            return Exchange(delay_s, page_response(404, "Not found"))
        index, expires = int(found[2]), int(found[3])
        if found[4] != books.signature(operation.id, index, expires) or now >= expires:
            return Exchange(delay_s, page_response(403, "The link has expired"))
        return picture(books, operation, index, delay_s, now)


def split_name(name: str) -> tuple[str, str]:
    """`evolink-files` as gateway and base; a gateway's own name holds no hyphen."""
    gateway, _, base = name.partition("-")
    return gateway, base
