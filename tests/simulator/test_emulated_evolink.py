"""Evolink's emulator: as strict as the pages, and stricter where they are silent; and its adapter understands it."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from PIL import Image

from pipeline.providers import evolink
from pipeline.simulator.exchange import Exchange, WireRequest
from pipeline.simulator.faults import parse_faults
from pipeline.simulator.world import World
from pipeline.values.money import Money
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl, Placed, UploadFailed
from pipeline.values.reply import (
    Balance,
    FaultKind,
    Gone,
    OperationFailed,
    Pending,
    PollReply,
    Ready,
    Refused,
    Reply,
    Unknown,
)
from pipeline.values.task import LocalInput, Picture, Task
from pipeline.values.wire import Answered, Broken, Outcome, Request
from tests.providers.tongues import card, task

CARD = card("evolink")
SUBMIT = "/v1/images/generations"
FILES = "/api/v1/files"
HEADERS = {"authorization": "Bearer sk-evo-x", "content-type": "application/json", "user-agent": "pipeline"}
URL = "https://example.com/a.jpg"
PLUS: dict[str, Any] = {"model": "qwen-image-edit-plus", "prompt": "x", "image_urls": [URL]}
NEW: dict[str, Any] = {"model": "qwen-image-3.0", "prompt": "x"}
PRO: dict[str, Any] = {"model": "qwen-image-3.0-pro", "prompt": "x"}

LOCAL = LocalInput("a.png", Picture("a" * 64, "image/png", 9_000, 400, 400))


@lru_cache
def picture(width: int = 400, height: int = 400, sort: str = "PNG") -> bytes:
    """A picture of this size."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(file, sort)
    return file.getvalue()


def ask(world: World, method: str, target: str, body: object = None, now: float = 0.0, **more: str) -> Exchange:
    """One request with good headers, or the given ones; `base` names a further address."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    base = more.pop("base", "")
    headers = {**HEADERS, **{name.replace("_", "-"): value for name, value in more.items()}}
    return world.handle("evolink", WireRequest(method, target, headers, data, base), now)


def told(exchange: Exchange) -> tuple[int, Any]:
    """Status and decoded body."""
    assert exchange.response is not None
    return exchange.response.status, json.loads(exchange.response.body)


def accepted(world: World, body: object, now: float = 0.0, **more: str) -> dict[str, Any]:
    """The answer to an accepted submit."""
    status, answer = told(ask(world, "POST", SUBMIT, body, now, **more))
    assert status == 200, answer
    return dict(answer)


def ended(world: World, body: object, now: float = 100.0) -> dict[str, Any]:
    """How a task of now stands later."""
    answer = told(ask(world, "GET", f"/v1/tasks/{accepted(world, body)['id']}", now=now))[1]
    return dict(answer)


def upload(world: World, data: bytes, name: str = "a.png", now: float = 0.0) -> tuple[int, Any]:
    """One upload in Base64."""
    body = {"base64_data": base64.b64encode(data).decode(), "file_name": name}
    return told(ask(world, "POST", f"{FILES}/upload/base64", body, now, base="files"))


def stands_at(world: World) -> dict[str, Any]:
    """Evolink's part of the bill."""
    gateways: Any = world.bill()["gateways"]
    return dict(gateways["evolink"])


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", None, "one JSON object"),
        (b"[" * 100_000, None, "one JSON object"),
        (b"\xff", None, "one JSON object"),
        ({"prompt": "x"}, "model", "must be one of qwen-image-edit-plus"),
        ({**PLUS, "model": "qwen-image-max"}, "model", "must be one of"),
        ({**PLUS, "prompt": " "}, "prompt", "non-empty"),
        ({**PLUS, "prompt": "x" * 2001}, "prompt", "at most 2000 characters, has 2001"),
        ({**NEW, "prompt": "x" * 4501}, "prompt", "at most 4500"),
        ({**PLUS, "negative_prompt": None}, "negative_prompt", "must be a string"),
        ({**PLUS, "image_urls": None}, "image_urls", "an array of 1 to 3"),
        ({**PLUS, "image_urls": []}, "image_urls", "an array of 1 to 3"),
        ({**PLUS, "image_urls": [URL] * 4}, "image_urls", "an array of 1 to 3"),
        ({**NEW, "image_urls": [URL] * 4}, "image_urls", "an array of 0 to 3"),
        ({**PLUS, "image_urls": [7]}, "image_urls[0]", "must be a string"),
        ({**PLUS, "image_urls": ["data:image/png;base64,AAAA"]}, "image_urls[0]", "base64 is not supported"),
        ({**PLUS, "image_urls": ["ftp://a.example/b"]}, "image_urls[0]", "http or https"),
        ({**PLUS, "image_urls": ["https://10.0.0.1/a.png"]}, "image_urls[0]", "directly accessible"),
        ({**PLUS, "image_urls": ["https://evolink-files.simulator.invalid/f/x/a.png"]}, "image_urls[0]", "not there"),
        ({**PLUS, "image_urls": ["https://a.invalid/a.png"]}, "image_urls[0]", "directly accessible"),
        ({**PLUS, "image_urls": ["https://a.example/a.gif?x"]}, "image_urls[0]", "supported formats"),
        ({**PLUS, "n": 7}, "n", "from 1 to 6"),
        ({**PLUS, "n": True}, "n", "from 1 to 6"),
        ({**PLUS, "size": "1024*1024"}, "size", "WIDTHxHEIGHT"),
        ({**PLUS, "size": "511x512"}, "size", "each from 512 to 2048"),
        ({**PLUS, "size": "16:9"}, "size", "WIDTHxHEIGHT"),
        ({**PLUS, "size": "1024x1024", "n": 2}, "size", "only available when n is 1"),
        ({**NEW, "size": "7:5"}, "size", "must be auto, a ratio"),
        ({**NEW, "size": "500x500"}, "size", "an area from 262144"),
        ({**NEW, "size": "2049x2048"}, "size", "an area from 262144 to 4194304"),
        ({**NEW, "size": "8192x511"}, "size", "a ratio up to 16"),
        ({**NEW, "size": "14x20000"}, "size", "sides above 14"),
        ({**NEW, "quality": "4K"}, "quality", "1K or 2K"),
        ({**PLUS, "quality": "1K"}, "quality", "unknown field"),
        ({**PLUS, "model": "qwen-image-edit", "n": 1}, "n", "unknown field"),
        ({**PLUS, "model": "qwen-image-edit", "seed": 1}, "seed", "unknown field"),
        ({**PLUS, "seed": 2_147_483_648}, "seed", "from 0 to 2147483647"),
        ({**PLUS, "seed": 1.0}, "seed", "must be an integer"),
        ({**PLUS, "prompt_extend": "true"}, "prompt_extend", "true or false"),
        ({**PLUS, "watermark": 1}, "watermark", "true or false"),
        ({**PLUS, "callback_url": "http://a.example/"}, "callback_url", "HTTPS"),
        ({**PLUS, "callback_url": "https://127.0.0.1/"}, "callback_url", "not internal"),
        ({**PLUS, "callback_url": "https://172.31.0.1:8443/x"}, "callback_url", "not internal"),
        ({**PLUS, "callback_url": "https://localhost/"}, "callback_url", "not internal"),
        ({**PLUS, "callback_url": "https://u:p@a.example/"}, "callback_url", "not internal"),
        ({**PLUS, "callback_url": "https://a.example/" + "x" * 2048}, "callback_url", "at most 2048"),
    ],
)
def test_a_body_against_the_page_is_refused_with_the_field_and_the_rule(
    body: object, param: str | None, words: str
) -> None:
    """400 with code, type and param as the page on errors has them, and nothing on the bill."""
    world = World()
    status, answer = told(ask(world, "POST", SUBMIT, body))
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"].get("param") == param
    assert words in answer["error"]["message"]
    assert world.bill()["gateways"] == {}


@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "code"),
    [
        ("POST", SUBMIT, {"authorization": ""}, 401, "unauthorized"),
        ("POST", SUBMIT, {"authorization": "sk-evo-x"}, 401, "unauthorized"),
        ("GET", "/v1/tasks/task-unified-1-abcdefgh", {"authorization": ""}, 401, "unauthorized"),
        ("GET", "/v1/credits", {"authorization": ""}, 401, 401),
        ("POST", SUBMIT, {"content-type": "text/plain"}, 400, "invalid_parameters"),
        ("POST", SUBMIT, {"idempotency-key": "é"}, 400, "invalid_parameters"),
        ("POST", "/v1/chat/completions", {}, 404, "not_found"),
        ("POST", "/v1/tasks/task-unified-1-abcdefgh/cancel", {}, 404, "not_found"),
        ("GET", "/v1/tasks/3c90c3cc", {}, 400, "invalid_task_id"),
        ("GET", "/v1/tasks/task-unified-1-abcdefgh", {}, 404, "task_not_found"),
    ],
)
def test_a_wrong_door_or_key_is_refused(
    method: str, target: str, headers: dict[str, str], status: int, code: object
) -> None:
    """The documented codes, as words and as a number, with an id to quote."""
    exchange = ask(World(), method, target, PLUS, 0.0, **headers)
    assert told(exchange)[0] == status
    assert told(exchange)[1]["error"]["code"] == code
    assert exchange.response is not None
    assert len(exchange.response.headers["x-request-id"]) == 24


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (PLUS, (1024, 1024)),
        ({**PLUS, "size": "640x512"}, (640, 512)),
        ({**PLUS, "model": "qwen-image-edit"}, (1024, 1024)),
        ({**NEW, "size": "9:16"}, (800, 1424)),
        ({**NEW, "size": "16:9", "quality": "2K"}, (2720, 1530)),
        ({**NEW, "size": "21:9"}, (1568, 672)),
        ({**NEW, "size": "5:4", "quality": "1K", "n": 2}, (1120, 896)),
        ({**NEW, "size": "1600x200", "n": 3}, (1600, 200)),
        ({**NEW, "size": "auto"}, (2048, 2048)),
        (PRO, (2048, 2048)),
    ],
)
def test_a_task_becomes_pictures_of_the_asked_size(body: dict[str, Any], size: tuple[int, int]) -> None:
    """Sizes in pixels, ratios by the published table, `auto`; with 3.0 size and n are independent."""
    world = World()
    answer = ended(world, body)
    assert (answer["status"], answer["progress"]) == ("completed", 100)
    links = answer["results"] or [entry["image_url"] for entry in answer["result_data"]]
    assert len(links) == body.get("n", 1)
    for link in links:
        response = world.fetch(link, 110.0).response
        assert response is not None
        with Image.open(io.BytesIO(response.body)) as made:
            assert made.size == size


@pytest.mark.parametrize(
    ("body", "credit"),
    [
        ({**PLUS, "n": 4}, 6.0),
        ({**PLUS, "model": "qwen-image-edit"}, 2.3),
        ({**NEW, "n": 2}, 3.672),
        ({**NEW, "n": 3, "image_urls": [URL, URL]}, 5.8752),
        ({**PRO, "size": "1:1"}, 2.448),
        ({**PRO, "size": "9:16", "n": 2}, 4.896),
        ({**PRO, "size": "1:1", "quality": "2K"}, 4.59),
        ({**PRO, "size": "1024x1024"}, 2.448),
        ({**PRO, "size": "1040x1024"}, 4.59),
        ({**PRO, "image_urls": [URL], "n": 2}, 9.3636),
    ],
)
def test_the_bill_is_the_published_price_and_so_are_the_credits(body: dict[str, Any], credit: float) -> None:
    """Reserved when accepted, used when made; the credits of the key, the task and the bill agree."""
    world = World()
    first = accepted(world, body)
    assert first["usage"]["credits_reserved"] == credit
    reserved = told(ask(world, "GET", "/v1/credits", now=1.0))[1]["data"]
    assert reserved["token"]["used_credits"] == reserved["user"]["used_credits"] == credit
    assert stands_at(world)["micros"] == 0
    answer = told(ask(world, "GET", f"/v1/tasks/{first['id']}", now=100.0))[1]
    assert answer["usage"]["credits_used"] == credit
    assert told(ask(world, "GET", "/v1/credits", now=100.0))[1]["data"]["token"]["used_credits"] == credit
    assert stands_at(world)["micros"] == round(credit * 1_000_000)
    assert stands_at(world)["unit"] == "evolink-credit"


@pytest.mark.parametrize("fault", ["failed", "moderated"])
def test_a_failed_task_returns_its_reservation(fault: str) -> None:
    """Failed tasks are not charged: the credits are back when the end has come."""
    world = World(faults=parse_faults({fault: 1, "generation_s": 20}))
    first = accepted(world, PLUS)
    used = [told(ask(world, "GET", "/v1/credits", now=now))[1]["data"]["token"]["used_credits"] for now in (19.0, 20.0)]
    assert used == [1.5, 0.0]
    answer = told(ask(world, "GET", f"/v1/tasks/{first['id']}", now=20.0))[1]
    assert (answer["status"], answer["error"]["type"], "results" in answer) == ("failed", "task_error", False)


def test_a_task_is_pending_then_processing_then_completed() -> None:
    """States, progress and fields as the pages show them."""
    world = World(faults=parse_faults({"generation_s": 20}))
    first = accepted(world, PLUS, 1_757_156_493.0)
    assert first["id"].startswith("task-unified-1757156493-")
    assert (first["object"], first["type"], first["created"]) == ("image.generation.task", "image", 1757156493)
    assert first["usage"]["billing_rule"] == "per_call"
    seen = []
    for later in (1.0, 10.0, 19.99, 20.0):
        answer = told(ask(world, "GET", f"/v1/tasks/{first['id']}", now=1_757_156_493.0 + later))[1]
        seen.append((answer["status"], answer["progress"], answer["task_info"]["can_cancel"]))
    assert seen == [
        ("pending", 0, True),
        ("processing", 50, True),
        ("processing", 99, True),
        ("completed", 100, False),
    ]


def test_links_die_after_a_day_and_tasks_are_forgotten_after_three() -> None:
    """24 h for links, as documented."""
    world = World(faults=parse_faults({"generation_s": 20}))
    first = accepted(world, PLUS)
    link = told(ask(world, "GET", f"/v1/tasks/{first['id']}", now=30.0))[1]["results"][0]
    found = [world.fetch(link, now).response for now in (86_000.0, 86_420.0)]
    assert [response.status for response in found if response] == [200, 403]
    statuses = [told(ask(world, "GET", f"/v1/tasks/{first['id']}", now=now))[0] for now in (259_000.0, 259_220.0)]
    assert statuses == [200, 404]


def test_the_same_key_and_body_is_the_same_task_and_another_body_a_conflict() -> None:
    """One purchase for each key, also in a world that was killed; a refused body leaves the key free."""
    world = World(faults=parse_faults({"cut_after": {"first": 1}}))
    assert told(ask(world, "POST", SUBMIT, {**PLUS, "n": 9}, idempotency_key="k"))[0] == 400
    assert ask(world, "POST", SUBMIT, PLUS, idempotency_key="k").cut == "after"
    again = ask(world, "POST", SUBMIT, PLUS, 5.0, idempotency_key="k")
    world = World.load(world.lines())
    later = ask(world, "POST", SUBMIT, PLUS, 50.0, idempotency_key="k")
    for exchange in (again, later):
        assert exchange.response is not None
        assert exchange.response.headers["idempotency-replayed"] == "true"
    assert told(again) == told(later)
    other = ask(world, "POST", SUBMIT, {**PLUS, "n": 2}, 60.0, idempotency_key="k")
    assert told(other)[0] == 409
    assert told(other)[1]["error"]["code"] == "idempotency_conflict"
    fresh = ask(world, "POST", SUBMIT, PLUS, 60.0, idempotency_key="l")
    assert fresh.response is not None
    assert "idempotency-replayed" not in fresh.response.headers
    assert stands_at(world)["accepted"] == 2


# --- the file service ---------------------------------------------------------------------------------------------


def test_a_file_is_kept_for_three_days_and_can_be_named() -> None:
    """Upload, use, expiry; the same also after the world was killed."""
    world = World()
    status, answer = upload(world, picture(800, 400, "JPEG"), "photo.jpg", 1000.5)
    assert (status, answer["success"], answer["code"]) == (200, True, 200)
    data = answer["data"]
    assert (data["mime_type"], data["file_name"]) == ("image/jpeg", "photo.jpg")
    assert data["file_size"] == len(picture(800, 400, "JPEG"))
    assert (data["upload_time"], data["expires_at"]) == ("1970-01-01T00:16:40Z", "1970-01-04T00:16:40Z")
    body = {**PLUS, "image_urls": [data["file_url"]]}
    assert len(ended(world, body, 2000.0)["results"]) == 1
    world = World.load(world.lines())
    seen = world.fetch(data["file_url"], 2000.0).response
    assert seen is not None
    assert seen.status == 200
    alive = ask(world, "POST", SUBMIT, body, 260_200.0)
    gone = ask(world, "POST", SUBMIT, body, 260_200.5)
    assert told(alive)[0] == 200
    assert (told(gone)[0], told(gone)[1]["error"]["code"]) == (400, "resource_not_found")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (picture(400, 400, "BMP"), 400, 40002),
        (picture(400, 400, "TIFF"), 400, 40002),
        (b"no picture", 400, 40002),
        (picture(400, 400, "GIF"), 200, 200),
        (picture(100, 100), 200, 200),
        (picture(400, 400, "WEBP"), 200, 200),
    ],
)
def test_the_service_keeps_what_its_page_lists(data: bytes, status: int, code: int) -> None:
    """jpeg, png, gif and webp, of any size; bmp and tiff are refused."""
    assert upload(World(), data)[0] == status
    assert upload(World(), data)[1]["code"] == code


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (picture(400, 400, "GIF"), "supported formats"),
        (picture(383, 400), "are 383x400"),
        (picture(400, 3073), "are 400x3073"),
    ],
)
def test_a_model_takes_less_than_the_service_keeps(data: bytes, words: str) -> None:
    """The vendor's two lists of formats differ: gif is kept, and no model takes it."""
    world = World()
    link = upload(world, data)[1]["data"]["file_url"]
    status, answer = told(ask(world, "POST", SUBMIT, {**PLUS, "image_urls": [link]}))
    assert status == 400
    assert words in answer["error"]["message"]


def test_a_guessed_link_leads_nowhere() -> None:
    """Only the link that was given names the file."""
    world = World()
    link = upload(world, picture())[1]["data"]["file_url"]
    for wrong in (link + "x", link.replace("a.png", "b.png"), link.rpartition("/")[0]):
        assert told(ask(world, "POST", SUBMIT, {**PLUS, "image_urls": [wrong]}))[0] == 400


def test_forms_urls_lists_and_quotas() -> None:
    """The three ways in, and what is told about what is kept."""
    world = World()
    form = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        + picture()
        + b'\r\n--b\r\nContent-Disposition: form-data; name="fileName"\r\n\r\nnamed.png\r\n--b--\r\n'
    )
    kind = "multipart/form-data; boundary=b"
    streamed = told(ask(world, "POST", f"{FILES}/upload/stream", form, base="files", content_type=kind))[1]
    assert streamed["data"]["file_name"] == "named.png"
    copied = told(
        ask(world, "POST", f"{FILES}/upload/url", {"file_url": streamed["data"]["file_url"]}, 5.0, base="files")
    )[1]
    assert copied["data"]["file_url"] != streamed["data"]["file_url"]
    quota = told(ask(world, "GET", f"{FILES}/quota", base="files"))[1]["data"]
    assert (quota["used_files"], quota["remain_files"]) == (2, 98)
    page = told(ask(world, "GET", f"{FILES}/list?page=2&pageSize=1", base="files"))[1]["data"]
    assert (page["total"], [file["file_id"] for file in page["files"]]) == (2, [copied["data"]["file_id"]])


@pytest.mark.parametrize(
    ("way", "body", "status", "code"),
    [
        ("url", {"file_url": "https://elsewhere.example/a.png"}, 400, 40004),
        ("url", {}, 400, 400),
        ("base64", {"base64_data": "%%"}, 400, 400),
        ("base64", {"base64_data": "AAAA", "more": 1}, 400, 400),
        ("base64", {"base64_data": "AAAA", "file_name": "../a.png"}, 400, 400),
        ("stream", b"", 400, 400),
        ("ftp", {}, 404, 404),
    ],
)
def test_a_wrong_upload_is_refused(way: str, body: object, status: int, code: int) -> None:
    """The service's own form of an error."""
    exchange = ask(World(), "POST", f"{FILES}/upload/{way}", body, base="files")
    assert told(exchange)[0] == status
    assert (told(exchange)[1]["success"], told(exchange)[1]["code"]) == (False, code)


def test_uploads_need_the_key_and_stop_at_the_quota() -> None:
    """401 without one; 40003 above 100 files, until the first ones are gone."""
    world = World()
    refusal = ask(world, "POST", f"{FILES}/upload/base64", {"base64_data": "AAAA"}, base="files", authorization="")
    assert told(refusal)[0] == 401
    for number in range(100):
        assert upload(world, picture(), f"{number}.png", float(number))[0] == 200
    assert upload(world, picture(), "more.png", 200.0)[1]["code"] == 40003
    assert upload(world, picture(), "more.png", 259_200.0)[0] == 200


# --- the adapter and the emulator, two readers of one manual --------------------------------------------------------

EDIT: Task = replace(task("evolink", "qwen-image-edit-plus"), prompt="snow", n=3, seed=7)
GENERATE: Task = replace(EDIT, model="qwen-image-3.0", operation="image.generate", size="16:9")


def carry(world: World, request: Request, now: float = 0.0) -> Outcome:
    """What a door does: add the key, lower the names, and tell a cut apart from an answer."""
    headers = {name.lower(): value for name, value in request.headers} | {"authorization": "Bearer rehearsal"}
    wire = WireRequest(request.method, request.path, headers, request.body or b"", request.base)
    exchange = world.handle(request.gateway, wire, now)
    if exchange.response is None or exchange.cut != "none":
        return Broken(f"cut {exchange.cut}")
    return Answered(exchange.response)


def submit(world: World, one: Task, inputs: tuple[Carried, ...] = (CarriedUrl(URL),), tag: str = "") -> Reply:
    """One submit, understood."""
    given = inputs if one.operation == "image.edit" else ()
    return evolink.submitted(one, carry(world, evolink.submit(one, given, tag)), CARD.not_billed)


def poll(world: World, reply: Reply, one: Task, now: float = 100.0) -> PollReply:
    """One poll, understood."""
    assert isinstance(reply, Pending)
    return evolink.polled(one, carry(world, evolink.poll(one, reply.operation), now))


def place(world: World, data: bytes, media_type: str = "image/png", now: float = 0.0) -> Placed | UploadFailed:
    """An upload, brought to its end."""
    asset, outcomes = CarriedBytes(media_type, data), list[Outcome]()
    while isinstance(step := evolink.upload("any", asset, "0a.png", outcomes), Request):
        outcomes.append(carry(world, step, now))
    return step


@pytest.mark.parametrize(
    ("one", "micros"),
    [
        (EDIT, 4_500_000),
        (
            replace(EDIT, n=1, size="768x512", params={"watermark": True, "callback_url": "https://a.example/h"}),
            1_500_000,
        ),
        (replace(EDIT, model="qwen-image-edit", n=1, seed=None), 2_300_000),
        (GENERATE, 5_508_000),
        (replace(GENERATE, operation="image.edit", size="auto"), 5_691_600),
        (replace(GENERATE, model="qwen-image-3.0-pro", params={"quality": "2K"}), 13_770_000),
        (replace(GENERATE, model="qwen-image-3.0-pro", size=None), 13_770_000),
    ],
)
def test_a_task_that_is_sent_is_understood_made_and_billed(one: Task, micros: int) -> None:
    """An uploaded picture where one is needed; submit, poll, links, PNG; and the meter shows what the bill shows."""
    world = World()
    placed = place(world, picture(600, 400))
    assert isinstance(placed, Placed)
    assert placed.lives_s == CARD.upload_lives_s
    reply = poll(world, submit(world, one, (CarriedUrl(placed.location),), "tag"), one)
    assert isinstance(reply, Ready)
    assert reply.billed_images == len(reply.links) == one.n
    assert reply.charged == Money(micros, "evolink-credit")
    assert all(world.fetch(link, 110.0).response for link in reply.links)
    assert stands_at(world)["micros"] == micros
    assert evolink.balanced(carry(world, evolink.balance(), 110.0)) == Balance("evolink-credit", micros)


def test_a_lost_answer_is_found_again_by_its_key() -> None:
    """The second POST with the tag of the doubtful one buys nothing."""
    world = World(faults=parse_faults({"cut_after": {"first": 1}}))
    assert isinstance(submit(world, EDIT, tag="ab"), Unknown)
    found = submit(world, EDIT, tag="ab")
    assert isinstance(found, Pending)
    assert found.replayed
    assert isinstance(poll(world, found, EDIT), Ready)
    assert stands_at(world)["accepted"] == 1


def test_a_key_for_another_purchase_releases_nothing() -> None:
    """A conflict says that the key bought something: the money stays in doubt."""
    world = World()
    assert isinstance(submit(world, EDIT, tag="ab"), Pending)
    assert isinstance(submit(world, replace(EDIT, n=2), tag="ab"), Unknown)


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        ({"rate_limited": 1}, FaultKind.RATE_LIMITED),
        ({"server_error_before": 1}, None),
        ({"server_error_after": 1}, None),
        ({"cut_before": 1}, None),
        ({"cut_after": 1}, None),
        ({"cut_mid": 1}, None),
        ({"malformed_submit": 1}, None),
    ],
)
def test_a_broken_submit_is_refused_or_unknown(faults: dict[str, object], kind: FaultKind | None) -> None:
    """Only a proof releases money: a 429 does, everything else that breaks leaves it in doubt."""
    reply = submit(World(faults=parse_faults(faults)), EDIT)
    match reply:
        case Refused(fault):
            assert fault.kind is kind
        case _:
            assert isinstance(reply, Unknown)
            assert kind is None


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [("failed", {FaultKind.UPSTREAM}), ("moderated", {FaultKind.MODERATED}), ("vanished", {FaultKind.LOST})],
)
def test_an_end_without_pictures_says_why(fault: str, kinds: set[FaultKind]) -> None:
    """Failed and moderated end the task unbilled; a vanished one is gone."""
    world = World(faults=parse_faults({fault: 1}))
    reply = poll(world, submit(world, EDIT), EDIT)
    assert isinstance(reply, OperationFailed | Gone)
    assert reply.fault.kind in kinds
    assert isinstance(reply, Gone) or reply.billed is False


def test_what_was_uploaded_and_is_gone_is_told_from_a_wrong_request() -> None:
    """EXPIRED asks for another upload; REJECTED would give the task up."""
    world = World(faults=parse_faults({"lost_upload": {"first": 1}}))
    placed = place(world, picture())
    assert isinstance(placed, Placed)
    lost = submit(world, replace(EDIT, inputs=(LOCAL,)), (CarriedUrl(placed.location),))
    assert isinstance(lost, Refused)
    assert lost.fault.kind is FaultKind.EXPIRED
    wrong = submit(world, replace(EDIT, size="1024x1024"))
    assert isinstance(wrong, Refused)
    assert wrong.fault.kind is FaultKind.REJECTED
    assert "only available when n is 1" in wrong.fault.message
    assert isinstance(submit(world, EDIT, (CarriedUrl(placed.location),)), Pending)


@pytest.mark.parametrize(
    ("faults", "data", "kind"),
    [
        ({"server_error_upload": 1}, picture(), FaultKind.TRANSIENT),
        ({"cut_upload": 1}, picture(), FaultKind.TIMEOUT),
        ({}, picture(400, 400, "TIFF"), FaultKind.REJECTED),
    ],
)
def test_an_upload_that_fails_says_whether_to_try_again(
    faults: dict[str, object], data: bytes, kind: FaultKind
) -> None:
    """Storage trouble passes, a format does not."""
    failed = place(World(faults=parse_faults(faults)), data)
    assert isinstance(failed, UploadFailed)
    assert failed.fault.kind is kind
