"""What vendors may say and no page shows: the emulators say it, and the adapters lose neither money nor pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.providers import evolink, onemin
from pipeline.simulator.exchange import WireRequest
from pipeline.simulator.faults import parse_faults
from pipeline.simulator.world import World
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl, Placed
from pipeline.values.reply import FaultKind, OperationFailed, Pending, PollReply, Ready, Refused, Reply, Unknown
from pipeline.values.task import Task
from pipeline.values.wire import Answered, Request
from tests.providers.tongues import TONGUES, task
from tests.simulator.test_emulated_onemin import picture

EDITS: dict[str, Task] = {
    "mulerouter": replace(task("mulerouter", "qwen-image-max"), operation="image.generate"),
    "evolink": task("evolink", "qwen-image-3.0"),
    "1min": task("1min", "qwen-image-edit-plus"),
    "dashscope": task("dashscope", "qwen-image-2.0"),
}


def carry(world: World, request: Request, now: float) -> Answered:
    """What a door does, where nothing breaks."""
    key = "api-key" if request.gateway == "1min" else "authorization"
    headers = {name.lower(): value for name, value in request.headers}
    headers[key] = "rehearsal" if key == "api-key" else "Bearer rehearsal"
    path = f"/api/v1{request.path}" if request.gateway == "dashscope" else request.path
    exchange = world.handle(
        request.gateway, WireRequest(request.method, path, headers, request.body or b"", request.base), now
    )
    assert exchange.response is not None
    return Answered(exchange.response)


def submit(world: World, one: Task) -> tuple[Answered, Reply]:
    """One submit and its answer, as the adapter understands it; at 1min.ai a picture goes up before."""
    tongue, inputs = TONGUES[one.gateway], list[Carried]()
    if one.gateway == "1min":
        asset: CarriedBytes = picture()
        asked = onemin.upload(one.model, asset, "a.png", ())
        assert isinstance(asked, Request)
        placed = onemin.upload(one.model, asset, "a.png", (carry(world, asked, 0.0),))
        assert isinstance(placed, Placed)
        inputs = [CarriedUrl(placed.location)]
    told = carry(world, tongue.module.submit(one, inputs, "0f"), 1.0)
    return told, tongue.module.submitted(one, told, tongue.card.not_billed)


@pytest.mark.parametrize(("gateway", "wordings"), [("mulerouter", 5), ("evolink", 4), ("1min", 10), ("dashscope", 4)])
def test_a_400_after_the_acceptance_never_releases_what_is_billed(gateway: str, wordings: int) -> None:
    """In every wording: the gateway bills, and the adapter keeps the money in doubt."""
    seen: set[str] = set()
    for seed in range(80):
        world = World(seed=seed, faults=parse_faults({"bad_request_after": 1}))
        answer, reply = submit(world, EDITS[gateway])
        assert answer.response.status == 400
        assert isinstance(reply, Unknown), answer.response.body
        world.fetch("/files/x", 10_000.0)
        gateways: Any = world.bill()["gateways"]
        assert gateways[gateway]["micros"] > 0
        seen.add(_shape(json.loads(answer.response.body)))
    assert len(seen) == wordings, seen


def _shape(value: Any) -> str:
    """A body without what differs from one operation to the next."""
    if isinstance(value, dict):
        return str({key: _shape(each) for key, each in value.items()})
    if isinstance(value, list):
        return str([*map(_shape, value)])
    text = str(value)
    return "*" if any(letter.isdigit() for letter in text) and " 3 " not in text else text


def _called(count: Callable[[dict[str, Any]], bool], faults: dict[str, object]) -> list[Reply]:
    """What the adapter makes of DashScope's answers of one shape."""
    found = []
    for seed in range(60):
        world = World(seed=seed, faults=parse_faults(faults))
        answer, reply = submit(world, replace(EDITS["dashscope"], n=3))
        if count({**json.loads(answer.response.body), "status": answer.response.status}):
            found.append(reply)
    assert found, "the emulator never says so"
    return found


def test_dashscope_answers_in_each_shape_that_clients_expect() -> None:
    """One choice per picture, words beside pictures, numbers of a task in the place of usage: three pictures each."""
    shapes: list[Callable[[dict[str, Any]], bool]] = [
        lambda told: len(told["output"]["choices"]) == 3,
        lambda told: "text" in told["output"]["choices"][0]["message"]["content"][0],
        lambda told: "task_metric" in told["output"] and "usage" not in told,
        lambda told: len(told["output"]["choices"]) == 1 and "usage" in told,
    ]
    for shape in shapes:
        for reply in _called(shape, {}):
            assert isinstance(reply, Ready)
            assert len(reply.links) == reply.billed_images == 3


def test_dashscope_sends_a_refusal_with_a_200_too() -> None:
    """As its own client expects it; the table knows its code, so that nothing is billed on either side."""
    for reply in _called(lambda told: told["status"] == 200, {"moderated": 1}):
        assert isinstance(reply, Refused)
        assert reply.fault.kind is FaultKind.MODERATED


def test_evolink_fails_with_every_code_and_tells_links_in_either_place() -> None:
    """quota_exceeded, request_cancelled (nobody says whether it is charged), and result_data[].image_url."""
    codes: dict[str, OperationFailed] = {}
    for seed in range(120):
        body, reply = _polled(World(seed=seed, faults=parse_faults({"failed": 1})))
        assert isinstance(reply, OperationFailed)
        codes[body["error"]["code"]] = reply
    assert codes["quota_exceeded"].fault.kind is FaultKind.RATE_LIMITED
    assert codes["quota_exceeded"].billed is False
    assert codes["request_cancelled"].billed is None
    places: set[tuple[bool, bool]] = set()
    for seed in range(60):
        body, reply = _polled(World(seed=seed))
        assert isinstance(reply, Ready)
        assert len(reply.links) == 1
        places.add((bool(body["results"]), "result_data" in body))
    assert places == {(True, False), (True, True), (False, True)}


def _polled(world: World) -> tuple[dict[str, Any], PollReply]:
    """How Evolink's task stands at its end."""
    one = EDITS["evolink"]
    _, accepted = submit(world, one)
    assert isinstance(accepted, Pending)
    answer = carry(world, evolink.poll(one, accepted.operation), 1_000.0)
    body: dict[str, Any] = json.loads(answer.response.body)
    return body, evolink.polled(one, answer)
