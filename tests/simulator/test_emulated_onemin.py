"""1min.ai's emulator: assets first, then one strict synchronous call; and the adapter, which understands it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from pipeline.providers import onemin
from pipeline.simulator.exchange import Exchange, WireRequest
from pipeline.simulator.faults import parse_faults
from pipeline.simulator.forms import Part, read_form
from pipeline.simulator.world import World
from pipeline.values.provider import CarriedBytes, CarriedUrl, Placed, UploadFailed
from pipeline.values.reply import FaultKind, Ready, Refused, Reply, Unknown
from pipeline.values.task import Task
from pipeline.values.wire import Answered, Broken, Outcome, Request
from tests.providers.test_onemin import CARD, EDIT

HEADERS = {"api-key": "rehearsal", "content-type": "application/json", "user-agent": "pipeline"}
FEATURES = "/api/features"
CREDITS = 100_000_000


@lru_cache
def picture(width: int = 400, height: int = 400, sort: str = "PNG") -> CarriedBytes:
    """A picture to be uploaded."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(file, sort)
    return CarriedBytes(f"image/{sort.lower()}", file.getvalue())


def carry(world: World, request: Request, now: float) -> Outcome:
    """What a door does: add the key where it belongs, lower the names, and tell a cut apart from an answer."""
    headers = {name.lower(): value for name, value in request.headers}
    keyed = {} if request.base else {"api-key": "rehearsal"}
    wire = WireRequest(request.method, request.path, {**headers, **keyed}, request.body or b"", request.base)
    exchange: Exchange = world.handle(request.gateway, wire, now)
    if exchange.response is None or exchange.cut != "none":
        return Broken(f"cut {exchange.cut}")
    return Answered(exchange.response)


def place(world: World, asset: CarriedBytes | None = None, now: float = 0.0, name: str = "") -> str:
    """The path of an upload."""
    asset = asset or picture()
    name = name or f"a.{asset.media_type.removeprefix('image/')}"
    request = onemin.upload("qwen-image-edit-plus", asset, name, ())
    assert isinstance(request, Request)
    step = onemin.upload("qwen-image-edit-plus", asset, name, (carry(world, request, now),))
    assert isinstance(step, Placed), step
    return step.location


def submit(world: World, task: Task = EDIT, now: float = 10.0, *paths: str) -> Reply:
    """One submit, understood."""
    inputs = tuple(map(CarriedUrl, paths or (place(world),)))
    return onemin.submitted(task, carry(world, onemin.submit(task, inputs), now), CARD.not_billed)


def fetch(world: World, link: str, now: float = 100.0) -> tuple[int, bytes]:
    """A download, as the doors make it: a key goes below the asset host, without credentials."""
    if link.startswith("asset:"):
        wire = WireRequest("GET", "/" + quote(link.removeprefix("asset:"), safe="/-_.~"), {}, b"", "asset")
        response = world.handle("1min", wire, now).response
    else:
        response = world.fetch(link, now).response
    assert response is not None
    return response.status, response.body


def book(world: World) -> dict[str, Any]:
    """The gateway's bill."""
    gateways = world.bill()["gateways"]
    assert isinstance(gateways, dict)
    found = gateways.get("1min", {"micros": 0, "accepted": 0, "uploads": 0})
    assert isinstance(found, dict)
    return found


def ask(world: World, body: object, now: float = 1.0, **headers: str) -> tuple[int, Any]:
    """Status and decoded body of one raw call."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = world.handle("1min", WireRequest("POST", FEATURES, {**HEADERS, **headers}, data), now).response
    assert response is not None
    return response.status, json.loads(response.body)


# --- the adapter and the emulator -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "inputs", "size"),
    [
        (EDIT, (picture(),), (1024, 1024)),
        (
            replace(EDIT, n=3, size="768x512", seed=7, negative_prompt="fog"),
            (picture(), picture(600, 400, "JPEG")),
            None,
        ),
        (
            replace(EDIT, n=6, params={"prompt_extend": False}),
            (picture(800, 400, "WEBP"), picture(), picture(400, 500)),
            (1456, 720),
        ),
    ],
)
def test_a_task_becomes_pictures_of_the_asked_size(
    task: Task, inputs: tuple[CarriedBytes, ...], size: tuple[int, int] | None
) -> None:
    """Upload, submit, links, PNG; the first by a signed link, the others as keys; and the credits are n pictures'."""
    world = World()
    paths = [place(world, asset, now=number) for number, asset in enumerate(inputs)]
    reply = submit(world, task, 10.0, *paths)
    assert isinstance(reply, Ready)
    assert reply.billed_images == len(reply.links) == task.n
    assert reply.links[0].startswith("https://1min-s3.simulator.invalid/asset.1min.ai/images/")
    assert all(link.startswith("asset:images/") for link in reply.links[1:])
    for link in reply.links:
        status, body = fetch(world, link)
        assert status == 200
        with Image.open(io.BytesIO(body)) as made:
            made.load()
            assert made.size == (size or (768, 512))
    assert book(world)["micros"] == task.n * CREDITS
    assert book(world)["unit"] == "1min-credit"
    assert book(world)["uploads"] == len(inputs)


@pytest.mark.parametrize(
    ("faults", "kind", "micros"),
    [
        ({"rate_limited": 1}, FaultKind.RATE_LIMITED, 0),
        ({"onemin_credits": 99}, FaultKind.OUT_OF_CREDIT, 0),
        ({"lost_upload": 1}, FaultKind.EXPIRED, 0),
        ({"server_error_before": 1}, FaultKind.TRANSIENT, 0),
        ({"cut_before": 1}, FaultKind.TIMEOUT, 0),
        ({"moderated": 1}, FaultKind.MODERATED, 0),
        ({"failed": 1}, FaultKind.UPSTREAM, 0),
        ({"stuck": 1}, FaultKind.TIMEOUT, 0),
        ({"server_error_after": 1}, FaultKind.TRANSIENT, CREDITS),
        ({"cut_after": 1}, FaultKind.TIMEOUT, CREDITS),
        ({"cut_mid": 1}, FaultKind.TIMEOUT, CREDITS),
        ({"malformed_submit": 1}, FaultKind.MALFORMED, CREDITS),
    ],
)
def test_a_broken_call_is_refused_or_unknown(faults: dict[str, object], kind: FaultKind, micros: int) -> None:
    """Only a refusal before the work releases money; a cut after it is a doubt that costs credits."""
    world = World(faults=parse_faults(faults))
    reply = submit(world)
    fetch(world, "https://1min-s3.simulator.invalid/", now=1_000.0)
    assert isinstance(reply, Refused | Unknown), reply
    assert reply.fault.kind is kind
    assert isinstance(reply, Refused) == (kind in {FaultKind.RATE_LIMITED, FaultKind.OUT_OF_CREDIT, FaultKind.EXPIRED})
    assert book(world)["micros"] == micros


def test_fewer_and_more_pictures_than_asked() -> None:
    """Fewer cost as many as were asked for, on both sides; one more is a link more."""
    task, path = replace(EDIT, n=4), "x"
    world = World(faults=parse_faults({"fewer": 1}))
    reply = submit(world, task)
    assert isinstance(reply, Ready)
    assert len(reply.links) < 4 == reply.billed_images
    fetch(world, path, now=1_000.0)
    assert book(world)["micros"] == 4 * CREDITS
    world = World(faults=parse_faults({"more": 1}))
    reply = submit(world, task)
    assert isinstance(reply, Ready)
    assert len(reply.links) == reply.billed_images == 5
    fetch(world, path, now=1_000.0)
    assert book(world)["micros"] == 5 * CREDITS


def test_the_answer_comes_when_the_work_is_done() -> None:
    """One synchronous call: the generation time is inside it."""
    world = World(faults=parse_faults({"generation_s": 30, "latency_s": 0.5}))
    request = onemin.submit(EDIT, (CarriedUrl(place(world)),))
    wire = WireRequest("POST", request.path, HEADERS, request.body or b"")
    assert world.handle("1min", wire, 10.0).delay_s == pytest.approx(30.5)


def test_a_team_runs_out_of_credits() -> None:
    """Two calls of 100 credits from 250, and the third is told what it needs and what there is."""
    world = World(faults=parse_faults({"onemin_credits": 250}))
    path = place(world)
    replies = [submit(world, replace(EDIT, seed=seed), 10.0 + seed, path) for seed in range(3)]
    assert [type(reply) for reply in replies] == [Ready, Ready, Refused]
    assert isinstance(replies[2], Refused)
    assert replies[2].fault.kind is FaultKind.OUT_OF_CREDIT
    assert "requires 100 credits" in replies[2].fault.message
    assert "only has 50 credits" in replies[2].fault.message


def test_the_price_of_a_picture_is_the_worlds() -> None:
    """The real figure is unknown, so a faults file may say another."""
    world = World(faults=parse_faults({"onemin_credits_per_image": 12.5}))
    submit(world, replace(EDIT, n=2))
    fetch(world, "x", now=1_000.0)
    assert book(world)["micros"] == 25_000_000


# --- links ----------------------------------------------------------------------------------------------------------


def test_a_signed_link_lives_seven_days_and_a_key_as_long_as_anybody_knows() -> None:
    """The signature is the link's own: another key, a later end or a key beside it are refused."""
    world = World(faults=parse_faults({"generation_s": 20}))
    reply = submit(world, replace(EDIT, n=2))
    assert isinstance(reply, Ready)
    signed, key = reply.links
    week = 604_800
    assert [fetch(world, signed, now)[0] for now in (30.0, 29.0 + week, 30.0 + week)] == [200, 200, 403]
    assert fetch(world, key, 31.0 + week)[0] == 200
    assert fetch(world, signed.replace("_0.png", "_1.png"))[0] == 403
    assert fetch(world, signed.replace("604800", "904800"))[0] == 403
    assert fetch(world, signed.partition("?")[0])[0] == 403
    target = signed[signed.index("/asset.1min.ai") :]
    keyed = world.handle("1min", WireRequest("GET", target, {"api-key": "x"}, b"", "s3"), 40.0).response
    assert keyed is not None
    assert keyed.status == 400


def test_the_asset_host_knows_results_only_and_wants_no_key() -> None:
    """An uploaded asset is private, a key that nobody made is refused, and credentials are an error."""
    world = World()
    path = place(world)
    reply = submit(world, replace(EDIT, n=2), 10.0, path)
    assert isinstance(reply, Ready)
    assert fetch(world, f"asset:{path}")[0] == 403
    assert fetch(world, "asset:images/nothing.png")[0] == 403
    assert fetch(world, reply.links[1].replace("_1.png", "_2.png"))[0] == 403
    wire = WireRequest("GET", "/" + reply.links[1].removeprefix("asset:"), {"api-key": "x"}, b"", "asset")
    answered = world.handle("1min", wire, 100.0).response
    assert answered is not None
    assert answered.status == 400


def test_the_asset_host_can_refuse_for_good() -> None:
    """The switch of the faults plan: the first picture comes, the others never, at any time."""
    world = World(faults=parse_faults({"asset_refused": 1}))
    reply = submit(world, replace(EDIT, n=3))
    assert isinstance(reply, Ready)
    found = [[fetch(world, link, now)[0] for link in reply.links] for now in (100.0, 200.0, 5_000.0)]
    assert found == [[200, 403, 403]] * 3


def test_a_refused_key_stays_refused_and_the_others_stay_open() -> None:
    """With a chance, what strikes is the key and not the moment."""
    world = World(seed=3, faults=parse_faults({"asset_refused": 0.5}))
    path = place(world)
    replies = [submit(world, replace(EDIT, n=6, seed=seed), 10.0, path) for seed in range(4)]
    links = [link for reply in replies if isinstance(reply, Ready) for link in reply.links[1:]]
    first, second = ([fetch(world, link, now)[0] for link in links] for now in (100.0, 9_000.0))
    assert first == second
    assert set(first) == {200, 403}


# --- strictness -----------------------------------------------------------------------------------------------------


def wanted(**more: object) -> dict[str, object]:
    """A body, changed; a value of `...` leaves the field out."""
    made: dict[str, object] = {"imageUrl": "PATH", "prompt": "x", "n": 1, **more}
    kept = {key: value for key, value in made.items() if value is not ...}
    return {"type": "IMAGE_EDITOR", "model": "qwen-image-edit-plus", "promptObject": kept}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "one JSON object"),
        (b"[" * 100_000, "one JSON object"),
        ({}, "type: must be IMAGE_EDITOR"),
        ({**wanted(), "type": "IMAGE_GENERATOR"}, "type: must be IMAGE_EDITOR"),
        ({**wanted(), "model": "qwen-image-max"}, "model: must be qwen-image-edit-plus"),
        ({**wanted(), "promptObject": []}, "promptObject: required"),
        ({**wanted(), "stream": False}, "stream: unknown field"),
        (wanted(watermark=False), "promptObject.watermark: unknown field"),
        (wanted(imageUrl=...), "promptObject.imageUrl: required"),
        (wanted(imageUrl="https://example.com/a.png"), "promptObject.imageUrl: asset not found"),
        (wanted(imageUrl="images/other.png"), "promptObject.imageUrl: asset not found"),
        (wanted(prompt=" "), "promptObject.prompt: required"),
        (wanted(n=...), "promptObject.n: required"),
        (wanted(n=0), "promptObject.n: required, must be a number from 1 to 6"),
        (wanted(n=7), "promptObject.n: required, must be a number from 1 to 6"),
        (wanted(n=True), "promptObject.n: required"),
        (wanted(additional_images=["PATH"] * 3), "additional_images: must be an array of at most 2 paths"),
        (wanted(additional_images="PATH"), "additional_images: must be an array"),
        (wanted(additional_images=[7]), "promptObject.additional_images[0]: required"),
        (wanted(width=1024), "both must be numbers from 512 to 2048"),
        (wanted(width=511, height=512), "both must be numbers from 512 to 2048"),
        (wanted(width=512, height=2049), "both must be numbers from 512 to 2048"),
        (wanted(width="512", height="512"), "both must be numbers"),
        (wanted(prompt_extend="true"), "promptObject.prompt_extend: must be a boolean"),
        (wanted(negative_prompt="x" * 501), "at most 500 characters"),
        (wanted(negative_prompt=None), "promptObject.negative_prompt: must be a string"),
        (wanted(seed=-1), "promptObject.seed: must be a number"),
        (wanted(seed=2_147_483_648), "promptObject.seed: must be a number"),
    ],
)
def test_a_body_against_the_page_is_refused(body: object, message: str) -> None:
    """400 with words that name the field, nothing on the bill; and the adapter reads it as its own mistake."""
    world = World()
    path = place(world)
    if isinstance(body, dict):
        body = json.loads(json.dumps(body).replace("PATH", path))
    status, told = ask(world, body)
    assert status == 400
    assert message in told["message"]
    assert book(world)["accepted"] == 0


def test_a_body_by_the_page_is_accepted() -> None:
    """The page's own sample, with empty lists and texts."""
    world = World()
    body = wanted(
        imageUrl=place(world),
        additional_images=[],
        prompt_extend=True,
        negative_prompt="",
        seed=2,
        width=1024,
        height=1021,
    )
    status, told = ask(world, body)
    assert status == 200
    record = told["aiRecord"]
    assert record["status"] == "SUCCESS"
    assert record["aiRecordDetail"]["promptObject"] == body["promptObject"]
    assert len(record["aiRecordDetail"]["resultObject"]) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"api-key": ""}, 401),
        ({"api-key": "", "authorization": "Bearer x"}, 401),
        ({"api-key": "a b"}, 401),
        ({"content-type": "text/plain"}, 400),
    ],
)
def test_a_wrong_key_or_type_is_refused(headers: dict[str, str], status: int) -> None:
    """The feature pages' header is API-KEY; the intro page's Bearer is not taken."""
    assert ask(World(), wanted(), 1.0, **headers)[0] == status


@pytest.mark.parametrize(("method", "target"), [("GET", FEATURES), ("POST", "/api/x"), ("GET", "/api/tasks/1")])
def test_there_is_nothing_else(method: str, target: str) -> None:
    """No task, no poll, no list."""
    response = World().handle("1min", WireRequest(method, target, HEADERS), 1.0).response
    assert response is not None
    assert response.status == 404


@pytest.mark.parametrize(
    ("asset", "name", "message"),
    [
        (picture(), "a", "Unsupported file type"),
        (picture(), ".png", "Unsupported file type"),
        (picture(), "a.exe", "Unsupported file type"),
        (picture(400, 400, "BMP"), "a.bmp", "Unsupported file type"),
        (picture(400, 400, "JPEG"), "a.png", "its name says image/png"),
        (replace(picture(), media_type="image/jpeg"), "a.png", "its name says image/png"),
        (CarriedBytes("image/png", b"nonsense"), "a.png", "invalid file"),
    ],
)
def test_an_upload_against_the_page_is_refused(asset: CarriedBytes, name: str, message: str) -> None:
    """A name without an extension, or one that lies; nothing is kept."""
    world = World()
    request = onemin.upload("qwen-image-edit-plus", asset, name, ())
    assert isinstance(request, Request)
    step = onemin.upload("qwen-image-edit-plus", asset, name, (carry(world, request, 0.0),))
    assert isinstance(step, UploadFailed)
    assert step.fault.kind is FaultKind.REJECTED
    assert message in step.fault.message
    assert book(world)["uploads"] == 0


def test_two_uploads_at_one_moment_are_two_assets() -> None:
    """Keys are stamped with the moment, and never taken twice."""
    world = World()
    assert place(world) != place(world)
    assert book(world)["uploads"] == 2


@pytest.mark.parametrize(("fault", "kind"), [("server_error_upload", "transient"), ("cut_upload", "timeout")])
def test_a_broken_upload_may_be_tried_again(fault: str, kind: str) -> None:
    """Uploads are free."""
    world = World(faults=parse_faults({fault: {"first": 1}}))
    request = onemin.upload("qwen-image-edit-plus", picture(), "a.png", ())
    assert isinstance(request, Request)
    steps = [
        onemin.upload("qwen-image-edit-plus", picture(), "a.png", (carry(world, request, float(now)),))
        for now in (0, 9)
    ]
    assert isinstance(steps[0], UploadFailed)
    assert steps[0].fault.kind == kind
    assert isinstance(steps[1], Placed)


def test_a_world_goes_on_after_a_kill() -> None:
    """Uploads, records, links and the bill survive in the journal's lines."""
    world = World(seed=4, faults=parse_faults({"asset_refused": 0.5}))
    path = place(world)
    reply = submit(world, replace(EDIT, n=6), 10.0, path)
    assert isinstance(reply, Ready)
    later = World.load(world.lines(), faults=parse_faults({"asset_refused": 0.5}))
    assert [fetch(later, link) for link in reply.links] == [fetch(world, link) for link in reply.links]
    assert isinstance(submit(later, EDIT, 200.0, path), Ready)
    assert book(later)["uploads"] == 1


# --- forms ----------------------------------------------------------------------------------------------------------

KIND = "multipart/form-data; boundary=B"
HEAD = b'--B\r\nContent-Disposition: form-data; name="asset"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
FILE = HEAD + b"A\r\n\r\nB\r\n"


def test_a_form_is_read_to_the_byte() -> None:
    """RFC 7578: fields in their order, bytes as they are, blank lines inside included."""
    field = b'--B\r\nContent-Disposition: form-data; name="key"\r\n\r\nvalue\r\n'
    assert read_form(KIND, field + FILE + b"--B--\r\n") == [
        Part("key", None, "", b"value"),
        Part("asset", "a.png", "image/png", b"A\r\n\r\nB"),
    ]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", FILE + b"--B--"),
        ("multipart/form-data", FILE + b"--B--"),
        (KIND, b""),
        (KIND, b"--B--"[:3]),
        (KIND, FILE),
        (KIND, b"x" + FILE + b"--B--"),
        (KIND, FILE + b"--B--trailing"),
        (KIND, b"--B\r\nA\r\n--B--"),
        (KIND, b"--B\r\nContent-Type: image/png\r\n\r\nA\r\n--B--"),
        (KIND, b"--B\r\nbroken\r\n\r\nA\r\n--B--"),
    ],
)
def test_a_form_that_is_none_is_told_in_words(kind: str, body: bytes) -> None:
    """Nothing is guessed of a torn form."""
    assert isinstance(read_form(kind, body), str)
