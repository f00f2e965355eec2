"""MuleRouter's emulator: as strict as the pages, and stricter where they are silent."""

from __future__ import annotations

import base64
import io
import json
from functools import lru_cache
from typing import Any

import pytest
from PIL import Image

from pipeline.simulator.exchange import Exchange, WireRequest
from pipeline.simulator.faults import parse_faults
from pipeline.simulator.world import World

SUBMIT = "/vendors/alibaba/v1/qwen-image-max/generation"
EDIT = "/vendors/alibaba/v1/qwen-image-edit-max/generation"
HEADERS = {"authorization": "Bearer sk-mr-x", "content-type": "application/json", "user-agent": "pipeline"}
SIZES = "1664*928, 1472*1104, 1328*1328, 1104*1472, 928*1664"


@lru_cache
def picture(width: int = 400, height: int = 400, sort: str = "PNG", media_type: str = "image/png") -> str:
    """A data URI with a picture of this size."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(file, sort)
    return f"data:{media_type};base64,{base64.b64encode(file.getvalue()).decode()}"


def ask(world: World, method: str, target: str, body: object = None, now: float = 0.0, **headers: str) -> Exchange:
    """One request with good headers, or the given ones."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return world.handle("mulerouter", WireRequest(method, target, {**HEADERS, **headers}, data), now)


def told(exchange: Exchange) -> tuple[int, Any]:
    """Status and decoded body."""
    assert exchange.response is not None
    return exchange.response.status, json.loads(exchange.response.body)


def accepted_id(world: World, target: str, body: object, now: float = 0.0) -> str:
    """The id of an accepted submit."""
    status, answer = told(ask(world, "POST", target, body, now))
    assert status == 202, answer
    return str(answer["task_info"]["id"])


@pytest.mark.parametrize(
    ("target", "body", "detail"),
    [
        (SUBMIT, b"", "one JSON object"),
        (SUBMIT, b"[" * 100_000, "one JSON object"),
        (SUBMIT, b"\xff", "one JSON object"),
        (SUBMIT, {}, "prompt: field required"),
        (SUBMIT, {"prompt": " "}, "prompt: value must be a non-empty string"),
        (SUBMIT, {"prompt": "x" * 801}, "prompt: at most 800 characters, has 801"),
        (SUBMIT, {"prompt": "x", "negative_prompt": "x" * 501}, "negative_prompt: at most 500"),
        (SUBMIT, {"prompt": "x", "negative_prompt": 1}, "negative_prompt: value must be a string or null"),
        (SUBMIT, {"prompt": "x", "size": "1024*1024"}, f"size: value must be one of {SIZES}"),
        (SUBMIT, {"prompt": "x", "size": "1664x928"}, f"size: value must be one of {SIZES}"),
        (SUBMIT, {"prompt": "x", "size": None}, f"size: value must be one of {SIZES}"),
        (SUBMIT, {"prompt": "x", "n": 1}, "n: unknown field"),
        (SUBMIT, {"prompt": "x", "images": []}, "images: unknown field"),
        (SUBMIT, {"prompt": "x", "seed": 2_147_483_648}, "seed: value must be an integer from 0 to 2147483647"),
        (SUBMIT, {"prompt": "x", "seed": 1.0}, "seed: value must be an integer"),
        (SUBMIT, {"prompt": "x", "seed": True}, "seed: value must be an integer"),
        (SUBMIT, {"prompt": "x", "prompt_extend": "true"}, "prompt_extend: value must be true or false"),
        (SUBMIT, {"prompt": "x", "safety_filter": 1}, "safety_filter: value must be true, false or null"),
        (EDIT, {"prompt": "x"}, "images: field required"),
        (EDIT, {"prompt": "x", "images": []}, "images: value must be an array of 1 to 3 strings"),
        (EDIT, {"prompt": "x", "images": ["http://a"] * 4}, "images: value must be an array of 1 to 3 strings"),
        (EDIT, {"prompt": "x", "images": [1]}, "images[0]: must be a non-empty string"),
        (EDIT, {"prompt": "x", "images": ["ftp://a.example/b"]}, "images[0]: must be a public URL or Base64"),
        (EDIT, {"prompt": "x", "images": ["data:image/png,abc"]}, "images[0]: must be a data URI of the form"),
        (
            EDIT,
            {"prompt": "x", "images": ["data:image/png;base64,AAAA"]},
            "images[0]: the image data cannot be decoded",
        ),
        (EDIT, {"prompt": "x", "images": [picture(383, 400)]}, "are 383*400"),
        (EDIT, {"prompt": "x", "images": [picture(400, 3073)]}, "are 400*3073"),
        (EDIT, {"prompt": "x", "images": [picture(400, 400, "PPM", "image/png")]}, "is PPM"),
        (EDIT, {"prompt": "x", "images": [picture(400, 400, "JPEG", "image/png")]}, "says image/png, the data is JPEG"),
        (EDIT, {"prompt": "x", "images": [picture()[:-400] + "AA=="]}, "images[0]: the image data cannot be decoded"),
        (EDIT, {"prompt": "x", "images": ["http://a"], "size": "511*512"}, "each from 512 to 2048"),
        (EDIT, {"prompt": "x", "images": ["http://a"], "size": "512*2049"}, "each from 512 to 2048"),
        (EDIT, {"prompt": "x", "images": ["http://a"], "n": 0}, "n: value must be an integer from 1 to 6"),
        (EDIT, {"prompt": "x", "images": ["http://a"], "n": 7}, "n: value must be an integer from 1 to 6"),
    ],
)
def test_a_body_against_the_page_is_refused_with_what_would_be_accepted(target: str, body: object, detail: str) -> None:
    """400, a problem that names the field and the rule, and nothing on the bill."""
    world = World()
    status, problem = told(ask(world, "POST", target, body))
    assert status == 400
    assert problem["status"] == 400
    assert detail in problem["detail"]
    assert world.bill()["gateways"] == {}


def test_all_faults_of_a_body_are_told_at_once() -> None:
    """One answer names every field that is wrong."""
    _, problem = told(ask(World(), "POST", EDIT, {"prompt": "", "n": 9, "size": "1*1", "seed": -1}))
    assert [part.split(":")[0] for part in problem["detail"].split("; ")] == ["prompt", "seed", "images", "size", "n"]


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("POST", SUBMIT, {"authorization": ""}, 401),
        ("POST", SUBMIT, {"authorization": "sk-mr-x"}, 401),
        ("POST", SUBMIT, {"authorization": "Bearer "}, 401),
        ("GET", SUBMIT + "/x", {"authorization": ""}, 401),
        ("POST", SUBMIT, {"content-type": "text/plain"}, 400),
        ("POST", "/vendors/alibaba/v1/qwen-image-mini/generation", {}, 404),
        ("POST", "/v1/images", {}, 404),
        ("GET", SUBMIT + "/3c90c3cc-0d44-4b50-8888-8dd25736052a", {}, 404),
        ("GET", SUBMIT, {}, 405),
        ("POST", SUBMIT + "/x", {}, 405),
    ],
)
def test_a_wrong_door_or_key_is_refused(method: str, target: str, headers: dict[str, str], status: int) -> None:
    """Each refusal is a JSON problem with a trace to quote."""
    exchange = ask(World(), method, target, {"prompt": "x"}, 0.0, **headers)
    assert told(exchange)[0] == status
    assert exchange.response is not None
    assert exchange.response.headers["traceparent"].startswith("00-")


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ({"images": [picture(400, 400)]}, (1024, 1024)),
        ({"images": [picture(400, 400), picture(800, 400)]}, (1456, 720)),
        ({"images": [picture(400, 400, "JPEG", "image/jpeg")], "size": "640*512"}, (640, 512)),
        ({"images": ["https://example.com/a.jpg"]}, (1024, 1024)),
        ({"images": [picture(400, 400, "WEBP", "image/webp").partition(",")[2]], "n": 3}, (1024, 1024)),
    ],
)
def test_an_edit_has_the_asked_size_or_the_last_pictures_ratio(body: dict[str, Any], size: tuple[int, int]) -> None:
    """URLs, data URIs and bare Base64 are taken; without a size the area is near 1024*1024."""
    world = World()
    identity = accepted_id(world, EDIT, {"prompt": "snow", **body})
    _, answer = told(ask(world, "GET", f"{EDIT}/{identity}", now=50.0))
    assert len(answer["images"]) == body.get("n", 1)
    for link in answer["images"]:
        response = world.fetch(link, 60.0).response
        assert response is not None
        with Image.open(io.BytesIO(response.body)) as made:
            assert made.size == size


def test_an_operation_is_pending_then_processing_then_completed_for_a_day() -> None:
    """States, timestamps and links as the pages show them; after 24 h nobody knows it, and its link is refused."""
    world = World(faults=parse_faults({"generation_s": 20}))
    at = 1_700_000_000.0
    identity = accepted_id(world, SUBMIT, {"prompt": "x"}, at)
    seen = []
    for later in (0.0, 1.0, 3.0, 19.0, 20.0, 86_000.0):
        status, answer = told(ask(world, "GET", f"{SUBMIT}/{identity}", now=at + later))
        seen.append((status, answer["task_info"]["status"], "images" in answer))
    assert seen == [
        (200, "pending", False),
        (200, "pending", False),
        (200, "processing", False),
        (200, "processing", False),
        (200, "completed", True),
        (200, "completed", True),
    ]
    assert answer["task_info"]["created_at"] == "2023-11-14T22:13:20Z"
    assert answer["task_info"]["updated_at"] == "2023-11-14T22:13:40Z"
    link = answer["images"][0]
    statuses = [world.fetch(link, at + later).response for later in (86_000.0, 86_420.0)]
    assert [response.status for response in statuses if response] == [200, 403]
    assert told(ask(world, "GET", f"{SUBMIT}/{identity}", now=at + 86_420.0))[0] == 404


def test_an_operation_is_asked_for_under_its_own_model() -> None:
    """The path of another model does not know it."""
    world = World()
    identity = accepted_id(world, SUBMIT, {"prompt": "x"})
    assert told(ask(world, "GET", f"{EDIT}/{identity}"))[0] == 404


def test_links_are_signed_and_want_no_key() -> None:
    """A changed link is refused, an unmade picture unknown, and credentials on a signed link are an error."""
    world = World()
    identity = accepted_id(world, SUBMIT, {"prompt": "x"})
    _, answer = told(ask(world, "GET", f"{SUBMIT}/{identity}", now=50.0))
    link = answer["images"][0]
    assert link.startswith("https://mulerouter.simulator.invalid/files/")
    path = link[link.index("/files/") :]
    plain = WireRequest("GET", path, {})
    keyed = WireRequest("GET", path, {"authorization": "Bearer x"})
    wrong = path[:-1] + ("0" if path[-1] != "0" else "1")
    found = [
        world.handle("mulerouter", plain, 60.0),
        world.handle("mulerouter", keyed, 60.0),
        world.fetch(wrong, 60.0),
        world.fetch(link.replace("image_0", "image_1"), 60.0),
        world.fetch("https://mulerouter.simulator.invalid/", 60.0),
    ]
    assert [exchange.response.status for exchange in found if exchange.response] == [200, 400, 403, 404, 404]


def test_links_can_name_a_port() -> None:
    """Over HTTP the links lead back to the port that serves the world."""
    world = World(links_base="http://127.0.0.1:8080/{gateway}")
    identity = accepted_id(world, SUBMIT, {"prompt": "x"})
    _, answer = told(ask(world, "GET", f"{SUBMIT}/{identity}", now=50.0))
    assert answer["images"][0].startswith("http://127.0.0.1:8080/mulerouter/files/")
