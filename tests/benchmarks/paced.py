"""DashScope's synchronous call behind the hard window of `counting`: `python -m tests.benchmarks.paced --limit 50`."""

from __future__ import annotations

from tests.benchmarks import gateways
from tests.benchmarks.counting import Counter, answer_bytes, main
from tests.benchmarks.pictures import picture


class PacedGateway(Counter):
    """One connection: purchases pass the window, pictures are free."""

    png = picture("1KB")

    def _respond(self, method: str, path: str, body: bytes, now: float) -> bytes:
        said = super()._respond(method, path, body, now)
        if not said.startswith(b"HTTP/1.1 429"):
            return said
        # A refusal in the vendor's own words; anything less would be a doubt.
        words = b'{"code":"Throttling.RateQuota","message":"Requests rate limit exceeded","request_id":"refused-%d"}'
        return answer_bytes(429, words % len(self.window.refused), ("Retry-After: 1",))

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        """A purchase that the window let in, or a picture."""
        if method != "POST":
            return answer_bytes(200, self.png.data, kind="image/png")
        number = len(self.window.stamps)
        assert self._transport is not None
        port = self._transport.get_extra_info("sockname")[1]
        link = b"http://127.0.0.1:%d/pictures/%d.png" % (port, number)
        return answer_bytes(200, gateways.made(gateways.operation_id(number), link, self.png.width, self.png.height))


if __name__ == "__main__":
    main(PacedGateway, __doc__)
