"""The other end of the wire: every emulated gateway, their files, and one bill, as a function of requests and time.

    world = World(seed=1, faults=parse_faults({"cut_after": 0.01}))
    exchange = world.handle("mulerouter", WireRequest("POST", "/vendors/...", headers, body), now)

`now` is float seconds of the world's clock. Whoever carries the answers decides what that is, waits (or jumps) for
`exchange.delay_s`, and writes `world.lines()` down before the answer leaves: then a killed rehearsal can go on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from pipeline.simulator import mulerouter
from pipeline.simulator.books import Books, Operation
from pipeline.simulator.exchange import Exchange, WireRequest, json_response, page_response
from pipeline.simulator.faults import Dice, FaultPlan
from pipeline.simulator.pixels import Scene, draw
from pipeline.values.wire import Response

#: {gateway: what answers for it}.
EMULATORS: Final[Mapping[str, Callable[[Books, WireRequest, float], Exchange]]] = {
    mulerouter.NAME: mulerouter.handle,
}
#: Hosts of result links when nothing listens on a port; `.invalid` never resolves (RFC 2606).
LINKS_BASE: Final = "https://{gateway}.simulator.invalid"

_FILE: Final = re.compile(
    r"/files/([0-9a-f-]{36})/image_(\d{1,3})\.png\?expires=(\d{1,15})&signature=([0-9a-f]{16})", re.ASCII
)


class World:
    """All gateways of one simulated world. Same seed, same requests at the same times: same answers, byte for byte."""

    def __init__(self, seed: int = 0, faults: FaultPlan | None = None, *, links_base: str = LINKS_BASE) -> None:
        """Make an empty world. `links_base` may hold `{gateway}`: `http://127.0.0.1:8080/{gateway}` over HTTP."""
        self._books = Books(Dice(seed), faults or FaultPlan(), links_base)

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
        """The vendors' own book at `clock`, with an entry for each operation if asked. *Units* - micros: 10^-6 USD.

        *Shape* - {"gateways": {name: {"accepted", "completed", "failed", "running", "images", "micros"}}}.
        """
        return self._books.bill(operations=operations)

    def handle(self, gateway: str, request: WireRequest, now: float) -> Exchange:
        """Answer one request to a gateway. `/files/...` are its result links, `/__bill` is the book of all gateways."""
        self._books.tick(now)
        path, _, query = request.target.partition("?")
        if path == "/__bill":
            return Exchange(0.0, json_response(200, self.bill(operations="operations" in query)))  # type: ignore[arg-type]  # plain JSON values
        if path.startswith("/files/"):
            if "authorization" in request.headers:
                return Exchange(0.0, page_response(400, "Only one way to authenticate is allowed: the link is signed"))
            return self.fetch(request.target, now)
        emulator = EMULATORS.get(gateway)
        if emulator is None:
            known = ", ".join(EMULATORS)
            return Exchange(0.0, json_response(404, {"detail": f"no gateway is emulated here, only {known}"}))
        return emulator(self._books, request, now)

    def fetch(self, link: str, now: float) -> Exchange:
        """Answer a GET of a result link, given whole or as its path and query. Needs no key, and wants none."""
        books = self._books
        books.tick(now)
        delay_s = books.latency_s(link, now)
        found = _FILE.fullmatch(link[link.find("/files/") :]) if "/files/" in link else None
        operation = books.operations.get(found[1]) if found else None
        if found is None or operation is None or not int(found[2]) < operation.billed_images(now):
            return Exchange(delay_s, page_response(404, "Not found"))
        index, expires = int(found[2]), int(found[3])
        if found[4] != books.signature(operation.id, index, expires) or now >= expires:
            return Exchange(delay_s, page_response(403, "The link has expired"))
        return self._picture(operation, index, delay_s, now)

    def _picture(self, operation: Operation, index: int, delay_s: float, now: float) -> Exchange:
        books, prompt = self._books, operation.order.prompt
        occasion = f"{operation.id}/{index}/{now:.3f}"
        if books.strikes("server_error_download", occasion, prompt):
            return Exchange(delay_s, page_response(503, "Service unavailable"))
        if books.strikes("page_picture", occasion, prompt):
            return Exchange(delay_s, page_response(200, "One moment, please"))
        wrong = books.strikes("wrong_size_picture", occasion, prompt)
        data = draw(self._scene(operation, index, wrong_size=wrong))
        if books.strikes("truncated_picture", occasion, prompt):
            data = data[: len(data) // 2]
        cut = books.strikes("cut_download", occasion, prompt)
        return Exchange(delay_s, Response(200, data, {"content-type": "image/png"}), "mid" if cut else "none")

    def _scene(self, operation: Operation, index: int, *, wrong_size: bool) -> Scene:
        order = operation.order
        seed = str(order.seed) if order.seed is not None else f"random {operation.id}"
        return Scene(
            width=order.width // 2 if wrong_size else order.width,
            height=order.height // 2 if wrong_size else order.height,
            prompt=order.prompt,
            negative_prompt=order.negative_prompt,
            model=order.model,
            seed=seed,
            index=index,
            count=operation.images,
            inputs=tuple(self._books.pictures[digest].thumbnail for digest in order.inputs),
            edits=bool(order.inputs),
        )
