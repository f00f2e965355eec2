"""The adapter and the emulator, two readers of one manual, understand each other."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image

from pipeline.providers import mulerouter
from pipeline.simulator.exchange import Exchange, WireRequest
from pipeline.simulator.faults import parse_faults
from pipeline.simulator.world import World
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl
from pipeline.values.reply import FaultKind, Gone, OperationFailed, Pending, PollReply, Ready, Refused, Reply, Unknown
from pipeline.values.task import Price, Task
from pipeline.values.wire import Answered, Broken, Outcome, Request
from tests.plan.jobs import CARD
from tests.providers.tongues import task

GENERATE = task(
    "mulerouter",
    "qwen-image-max",
    operation="image.generate",
    prompt="A lighthouse",
    negative_prompt="fog",
    size="928x1664",
    seed=7,
    params={"prompt_extend": False},
    price=Price("USD", 75_000, 0, "USD", 75_000, "the vendor's page"),
)
EDIT = replace(GENERATE, operation="image.edit", model="qwen-image-edit-max", size="768x512", n=3)
PLUS = replace(EDIT, model="qwen-image-edit-plus", size=None, n=1)


def jpeg(width: int, height: int) -> CarriedBytes:
    """A picture carried in the body."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(file, "JPEG")
    return CarriedBytes("image/jpeg", file.getvalue())


def carry(world: World, request: Request, now: float) -> Outcome:
    """What a door does: add the key, lower the names, and tell a cut apart from an answer."""
    headers = {name.lower(): value for name, value in request.headers}
    wire = WireRequest(
        request.method, request.path, {**headers, "authorization": "Bearer rehearsal"}, request.body or b""
    )
    exchange: Exchange = world.handle(request.gateway, wire, now)
    if exchange.response is None or exchange.cut != "none":
        return Broken(f"cut {exchange.cut}")
    return Answered(exchange.response)


def submit(world: World, task: Task = GENERATE, inputs: tuple[Carried, ...] = ()) -> Reply:
    """One submit, understood."""
    return mulerouter.submitted(task, carry(world, mulerouter.submit(task, inputs), 0.0), CARD.not_billed)


def poll(world: World, reply: Reply, task: Task = GENERATE, now: float = 100.0) -> PollReply:
    """One poll, understood."""
    assert isinstance(reply, Pending)
    return mulerouter.polled(task, carry(world, mulerouter.poll(task, reply.operation), now))


@pytest.mark.parametrize(
    ("task", "inputs", "size"),
    [
        (GENERATE, (), (928, 1664)),
        (replace(GENERATE, size=None, seed=None, negative_prompt=None, params={}), (), (1664, 928)),
        (EDIT, (jpeg(400, 500), CarriedUrl("https://example.com/a.png")), (768, 512)),
        (PLUS, (jpeg(400, 400), jpeg(800, 600)), (1184, 880)),
    ],
)
def test_a_task_becomes_pictures_of_the_asked_size(
    task: Task, inputs: tuple[Carried, ...], size: tuple[int, int]
) -> None:
    """Submit, poll, links, PNG; and the emulator bills what the task expects."""
    world = World()
    reply = poll(world, submit(world, task, inputs), task)
    assert isinstance(reply, Ready)
    assert reply.billed_images == len(reply.links) == task.n
    assert reply.request_id.startswith("00-")
    for link in reply.links:
        response = world.fetch(link, 110.0).response
        assert response is not None
        with Image.open(io.BytesIO(response.body)) as picture:
            picture.load()
            assert picture.size == size
    bill = world.bill()["gateways"]
    assert isinstance(bill, dict)
    price = 30_000 if task is PLUS else 75_000
    assert bill["mulerouter"]["micros"] == task.n * price


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        ({"rate_limited": 1}, FaultKind.RATE_LIMITED),
        ({"banned_user_agents": ["x"]}, None),
        ({"server_error_before": 1}, FaultKind.TRANSIENT),
        ({"server_error_after": 1}, FaultKind.TRANSIENT),
        ({"cut_before": 1}, FaultKind.TIMEOUT),
        ({"cut_after": 1}, FaultKind.TIMEOUT),
        ({"malformed_submit": 1}, FaultKind.MALFORMED),
    ],
)
def test_a_broken_submit_is_refused_or_unknown(faults: dict[str, object], kind: FaultKind | None) -> None:
    """Only a proof releases money: a 429 does, everything else that breaks leaves it in doubt."""
    reply = submit(World(faults=parse_faults(faults)))
    match reply:
        case Pending():
            assert kind is None
        case Refused(fault):
            assert fault.kind is kind is FaultKind.RATE_LIMITED
        case _:
            assert isinstance(reply, Unknown)
            assert reply.fault.kind is kind


def test_a_wrong_request_is_rejected_with_the_vendors_words() -> None:
    """What the emulator refuses, the adapter reads as REJECTED, and says why."""
    reply = submit(World(), replace(GENERATE, size="1024x1024"))
    assert isinstance(reply, Refused)
    assert reply.fault.kind is FaultKind.REJECTED
    assert "1664*928" in reply.fault.message


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("failed", FaultKind.UPSTREAM), ("moderated", FaultKind.MODERATED), ("vanished", FaultKind.LOST)],
)
def test_an_end_without_pictures_says_why(fault: str, kind: FaultKind) -> None:
    """Failed and moderated end the operation unbilled; a vanished one is gone."""
    world = World(faults=parse_faults({fault: 1}))
    reply = poll(world, submit(world))
    assert isinstance(reply, OperationFailed | Gone)
    assert reply.fault.kind is kind
    assert isinstance(reply, Gone) or reply.billed is False
