"""1min.ai's card, adapter and emulator over HTTP: the key goes to the API and nowhere else, keys become links."""

from __future__ import annotations

import io
from dataclasses import replace

from PIL import Image

from pipeline.providers import onemin
from pipeline.runtime.serve import Server, environment
from pipeline.simulator.faults import parse_faults
from pipeline.transport.http import HttpDoor
from pipeline.transport.memory import World, open_world
from pipeline.values.provider import CarriedBytes, CarriedUrl, Placed
from pipeline.values.reply import FaultKind, Ready, Refused
from pipeline.values.wire import Downloaded, DownloadRefused, Request
from tests.providers.test_onemin import CARD, EDIT

#: Nothing takes time, so that no test waits.
FAST = {"latency_s": 0, "generation_s": 0}


def world(links_base: str) -> World:
    """A team with credits for two pictures, where one kind of prompt makes pictures that the asset host refuses."""
    plan = parse_faults({**FAST, "onemin_credits": 450, "asset_refused": {"prompt": "refused"}})
    return open_world(None, seed=3, faults=plan, links_base=links_base)


def photo() -> CarriedBytes:
    """A picture to be uploaded."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((400, 400)).save(file, "PNG")
    return CarriedBytes("image/png", file.getvalue())


async def test_pictures_are_uploaded_made_and_fetched_over_http() -> None:
    """Upload, call, a signed link and a key; a key that is refused; and a team that runs out of credits."""
    async with Server(world) as server:
        door = HttpDoor({"1min": CARD}, environment(server.port), {})
        try:
            request = onemin.upload("qwen-image-edit-plus", photo(), "a.png", ())
            assert isinstance(request, Request)
            placed = onemin.upload(
                "qwen-image-edit-plus", photo(), "a.png", (await door.exchange(request, timeout_s=10),)
            )
            assert isinstance(placed, Placed)
            replies = []
            for prompt in ("snow", "refused", "more"):
                task = replace(EDIT, n=2, prompt=prompt)
                outcome = await door.exchange(onemin.submit(task, (CarriedUrl(placed.location),)), timeout_s=10)
                replies.append(onemin.submitted(task, outcome, CARD.not_billed))
            fetched = []
            for reply in replies[:2]:
                assert isinstance(reply, Ready)
                assert reply.links[0].startswith(f"http://127.0.0.1:{server.port}/1min-s3/asset.1min.ai/images/")
                assert reply.links[1].startswith("asset:images/")
                fetched += [
                    await door.download("1min", link, len, timeout_s=10, size_max=10**8) for link in reply.links
                ]
        finally:
            await door.close()
    # The emulator answers 400 to a key beside a link, so that each of these proves that none was sent.
    assert [type(one) for one in fetched] == [Downloaded, Downloaded, Downloaded, DownloadRefused]
    assert fetched[3] == DownloadRefused(403, gone=True)
    assert isinstance(replies[2], Refused)
    assert replies[2].fault.kind is FaultKind.OUT_OF_CREDIT


def test_the_port_serves_every_address_of_the_card() -> None:
    """`pipeline simulate` prints the lines that lead API and asset host to this machine."""
    lines = environment(8080)
    assert lines["ONEMIN_BASE_URL"] == "http://127.0.0.1:8080/1min"
    assert lines["ONEMIN_ASSET_BASE_URL"] == "http://127.0.0.1:8080/1min-asset"
