"""DashScope's emulator: as strict as the pages, and stricter where they are silent."""

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

ROOT = "/api/v1"
CALL = f"{ROOT}/services/aigc/multimodal-generation/generation"
TASK = f"{ROOT}/services/aigc/text2image/image-synthesis"
HEADERS = {"authorization": "Bearer sk-x", "content-type": "application/json", "user-agent": "pipeline"}
ASYNC: dict[str, Any] = {"x-dashscope-async": "enable"}
RESOLVE: dict[str, Any] = {"x-dashscope-ossresourceresolve": "enable"}
URL = "https://example.com/a.png"
PENDING_PART, DAY = 0.1, 86_400.0
#: A moment with a date of its own: 2026-11-21 04:00:00 of UTC, noon in Beijing.
NOON = 1_795_233_600.0


@lru_cache
def picture(width: int = 400, height: int = 400, sort: str = "PNG", media_type: str = "image/png") -> str:
    """A data URI with a picture of this size."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(file, sort)
    return f"data:{media_type};base64,{base64.b64encode(file.getvalue()).decode()}"


def world(**faults: Any) -> World:
    """A world where a picture takes 20 s."""
    return World(1, parse_faults({"generation_s": 20, "latency_s": 0, **faults}))


def ask(at: World, method: str, target: str, body: object = None, now: float = NOON, **headers: str) -> Exchange:
    """One request with good headers, or the given ones (underscores for hyphens)."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return at.handle("dashscope", WireRequest(method, target, {**HEADERS, **given}, data), now)


def told(exchange: Exchange) -> tuple[int, Any]:
    """Status and decoded body."""
    assert exchange.response is not None
    return exchange.response.status, json.loads(exchange.response.body)


def said(*content: object, model: str = "qwen-image-max", **parameters: object) -> dict[str, Any]:
    """A call's body."""
    asked = {"messages": [{"role": "user", "content": list(content)}]}
    return {"model": model, "input": asked, "parameters": parameters}


def drawn(model: str = "qwen-image-plus", prompt: str = "x", **parameters: object) -> dict[str, Any]:
    """A task's body."""
    return {"model": model, "input": {"prompt": prompt}, "parameters": parameters}


def begun(at: World, body: object = None, now: float = NOON) -> str:
    """The id of an accepted task."""
    status, answer = told(ask(at, "POST", TASK, body or drawn(), now, **ASYNC))
    assert (status, answer["output"]["task_status"]) == (200, "PENDING"), answer
    return str(answer["output"]["task_id"])


X = {"text": "x"}
IMAGE = {"image": URL}
EDIT = "qwen-image-edit-plus"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "one JSON object"),
        (b"[" * 100_000, "one JSON object"),
        ({"input": {}}, "Required parameter(model) missing"),
        ({**said(X), "stream": True}, "unknown field stream"),
        ({**said(X), "input": {"prompt": "x"}}, "input.messages, and nothing else in input, is needed"),
        ({**said(X), "input": {"messages": []}}, "messages length only support 1"),
        ({**said(X), "input": {"messages": [{"role": "user", "content": [X]}] * 2}}, "messages length only support 1"),
        ({**said(X), "input": {"messages": [{"role": "system", "content": [X]}]}}, "a message has the role user"),
        ({**said(X), "input": {"messages": [{"role": "user", "content": "x"}]}}, "content must be a list of parts"),
        (said({"text": "x", "image": URL}), "a part of content is one text or one image"),
        (said({"video": "x"}), "a part of content is one text or one image"),
        (said({"text": " "}), "text must be a text"),
        (said(), "lack of image or text"),
        (said(X, X), "content length only support 1, of which one is a text"),
        (said(IMAGE, X), "content length only support 1"),
        (said(X, model=EDIT), "lack of image or text"),
        (said(IMAGE, model=EDIT), "lack of image or text"),
        (said(*[IMAGE] * 4, X, model=EDIT), "content length only support 4"),
        (said({"image": "a.png"}, X, model=EDIT), "url error, please check url\uff01"),
        (said({"image": "oss://x/a.png"}, X, model=EDIT), "url error, please check url\uff01"),
        (said({"image": "data:image/png,abc"}, X, model=EDIT), "must be a data URI of the form"),
        (said({"image": "data:image/png;base64," + "A" * 10_485_760}, X, model=EDIT), "per data-uri item : 10485760"),
        (said({"image": picture(383, 400)}, X, model=EDIT), "are 383*400"),
        (said({"image": picture(400, 400, "PPM")}, X, model=EDIT), "is PPM"),
        (said({"image": picture(400, 400, "JPEG")}, X, model=EDIT), "image/png, the data is JPEG"),
        (said(X, style="oil"), "parameters.style is not supported by qwen-image-max"),
        (said(IMAGE, X, model="qwen-image-edit", size="1024*1024"), "parameters.size is not supported"),
        (said(IMAGE, X, model="qwen-image-edit", prompt_extend=True), "parameters.prompt_extend is not supported"),
        (said(X, negative_prompt=1), "negative_prompt must be a text"),
        (said(X, watermark="no"), "watermark must be true or false"),
        (said(X, prompt_extend=1), "prompt_extend must be true or false"),
        (said(X, seed=2_147_483_648), "seed must be an integer from 0 to 2147483647"),
        (said(X, seed=True), "seed must be an integer"),
        (said(X, n=2), "num_images_per_prompt must be 1"),
        (said(IMAGE, X, model="qwen-image-edit", n=2), "num_images_per_prompt must be 1"),
        (said(IMAGE, X, model=EDIT, n=7), "num_images_per_prompt must be from 1 to 6"),
        (said(X, model="qwen-image-2.0", n=0), "num_images_per_prompt must be from 1 to 6"),
        (said(X, size="1024*1024"), "the size does not match the allowed size 1664*928"),
        (said(X, size="1664x928"), "the size does not match the allowed size"),
        (said(IMAGE, X, model=EDIT, size="511*512"), "must be between 512 and 2048"),
        (said(IMAGE, X, model=EDIT, size="1024"), "size must be width*height"),
        (said(X, model="qwen-image-2.0", size="511*512"), "between 512*512 and 2048*2048"),
        (said(X, model="qwen-image-2.0", size="2049*2048"), "between 512*512 and 2048*2048"),
        ({**said(X), "parameters": []}, "parameters must be an object"),
    ],
)
def test_a_body_against_the_pages_is_refused_completely(body: object, message: str) -> None:
    """400 with a code, a request id and the rule; nothing on the bill."""
    at = world()
    status, answer = told(ask(at, "POST", CALL, body))
    assert status == 400
    assert answer["code"].startswith(("InvalidParameter", "BadRequest."))
    assert answer["request_id"]
    assert message in answer["message"]
    assert at.bill()["gateways"] == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": "qwen-image", "input": {}}, "Required parameter(prompt) missing"),
        (said(X, model="qwen-image"), "input holds prompt, and negative_prompt"),
        (drawn(n=2), "num_images_per_prompt must be 1"),
        (drawn(size="1024*1024"), "the size does not match"),
        (
            {
                "model": "qwen-image",
                "input": {"prompt": "x", "negative_prompt": "a"},
                "parameters": {"negative_prompt": "b"},
            },
            "negative_prompt stands twice",
        ),
    ],
)
def test_a_tasks_body_has_rules_of_its_own(body: object, message: str) -> None:
    """A prompt and no messages; the negative prompt in one of two places."""
    status, answer = told(ask(world(), "POST", TASK, body, **ASYNC))
    assert (status, answer["code"]) == (400, "InvalidParameter")
    assert message in answer["message"]


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "status", "code"),
    [
        ("POST", CALL, said(X), {"authorization": ""}, 401, "InvalidApiKey"),
        ("POST", CALL, said(X), {"authorization": "sk-x"}, 401, "InvalidApiKey"),
        ("POST", CALL, said(X), {"authorization": "Bearer "}, 401, "InvalidApiKey"),
        ("GET", f"{ROOT}/tasks/x", None, {"authorization": ""}, 401, "InvalidApiKey"),
        ("GET", f"{ROOT}/tasks/", None, {"authorization": ""}, 401, "InvalidApiKey"),
        ("POST", f"{ROOT}/tasks/x/cancel", None, {"authorization": ""}, 401, "InvalidApiKey"),
        (
            "GET",
            f"{ROOT}/uploads?action=getPolicy&model=qwen-image-edit",
            None,
            {"authorization": ""},
            401,
            "InvalidApiKey",
        ),
        ("POST", CALL, said(X), {"content_type": "text/plain"}, 400, "BadRequest.UnsupportedFileFormat"),
        ("POST", CALL, said(X, model="qwen-image-mini"), {}, 404, "ModelNotFound"),
        ("POST", CALL, said(X, model="qwen-image-max-2020-01-01"), {}, 404, "ModelNotFound"),
        # The two modes are two paths, not one with a switch.
        ("POST", CALL, said(X), ASYNC, 403, "AccessDenied"),
        ("POST", CALL, said(X, model="qwen-image"), ASYNC, 403, "AccessDenied"),
        ("POST", TASK, drawn(), {}, 403, "AccessDenied"),
        ("POST", TASK, drawn("qwen-image-max"), ASYNC, 403, "AccessDenied"),
        ("POST", f"{ROOT}/services/aigc/image-generation/generation", said(X), ASYNC, 400, "InvalidParameter"),
        ("GET", CALL, None, {}, 400, "InvalidParameter"),
        ("GET", "/tasks/x", None, {}, 404, "NotFound"),
        ("DELETE", f"{ROOT}/tasks/x", None, {}, 404, "NotFound"),
        ("GET", f"{ROOT}/uploads?model=qwen-image-edit", None, {}, 400, "InvalidParameter"),
        ("GET", f"{ROOT}/uploads?action=getPolicy&model=x", None, {}, 404, "ModelNotFound"),
        ("POST", f"{ROOT}/tasks/x/cancel", None, {}, 400, "UnsupportedOperation"),
    ],
)
def test_wrong_keys_paths_models_and_modes(  # noqa: PLR0917 - a row of a table
    method: str, target: str, body: object, headers: dict[str, Any], status: int, code: str
) -> None:
    """Each with its status and code, complete."""
    at = world()
    found, answer = told(
        ask(at, method, target, body, **{name.replace("-", "_"): value for name, value in headers.items()})
    )
    assert (found, answer["code"]) == (status, code)
    assert answer["request_id"]
    assert at.bill()["gateways"] == {}


@pytest.mark.parametrize(
    ("body", "size", "micros"),
    [
        (said(X), (1664, 928), 75_000),
        (said(X, model="qwen-image-max-2025-12-30", size="928*1664", n=1), (928, 1664), 75_000),
        (said(X, model="qwen-image"), (1664, 928), 35_000),
        (said(X, model="qwen-image-2.0-pro", n=2), (2048, 2048), 150_000),
        (said(X, model="qwen-image-2.0", size="1033*1032"), (1040, 1024), 35_000),
        (said({"image": picture(600, 500)}, X, model="qwen-image-2.0"), (608, 496), 35_000),
        (said({"image": picture(600, 400)}, X, model=EDIT, n=3), (1248, 832), 90_000),
        (said(IMAGE, {"image": picture(400, 600)}, X, model="qwen-image-edit-max"), (832, 1248), 75_000),
        (said(IMAGE, X, model="qwen-image-edit"), (1024, 1024), 45_000),
    ],
)
def test_a_call_is_answered_when_its_pictures_are_made(
    body: dict[str, Any], size: tuple[int, int], micros: int
) -> None:
    """After 20 s: all pictures in one choice, a usage, a bill by the price list; the links hold what was made."""
    at = world()
    exchange = ask(at, "POST", CALL, body)
    assert exchange.delay_s == pytest.approx(20)
    status, answer = told(exchange)
    assert status == 200
    (choice,) = answer["output"]["choices"]
    links = [part["image"] for part in choice["message"]["content"]]
    assert len(links) == body["parameters"].get("n", 1)
    usage = answer["usage"]
    assert usage.get("image_count", usage.get("output_image_count")) == len(links)
    fetched = at.fetch(links[-1], NOON + 21).response
    assert fetched is not None
    with Image.open(io.BytesIO(fetched.body)) as made:
        assert made.size == size
    assert at.bill()["gateways"]["dashscope"]["micros"] == micros  # type: ignore[index]  # plain JSON
    late = at.fetch(links[0], NOON + 20 + DAY).response
    assert late is not None
    assert late.status == 403


def test_what_is_too_long_is_cut_without_a_word() -> None:
    """*Source* - API reference: 800 characters of a prompt, 500 of a negative one. A task repeats what is left."""
    at = world()
    identity = begun(at, drawn(prompt="墨" * 900, negative_prompt="b" * 600, prompt_extend=False))
    _, answer = told(ask(at, "GET", f"{ROOT}/tasks/{identity}", now=NOON + 20))
    (result,) = answer["output"]["results"]
    assert result["orig_prompt"] == result["actual_prompt"] == "墨" * 800


def test_a_task_is_pending_then_running_then_succeeded_then_unknown() -> None:
    """With the vendor's times in Beijing's zone, prompts as written and rewritten, and 24 h of memory."""
    at = world()
    identity = begun(at)
    states = []
    for after in (0, 1, 3, 19, 20, 20 + DAY - 1, 20 + DAY):
        status, answer = told(ask(at, "GET", f"{ROOT}/tasks/{identity}", now=NOON + after))
        assert status == 200
        states.append(answer["output"]["task_status"])
    assert states == ["PENDING", "PENDING", "RUNNING", "RUNNING", "SUCCEEDED", "SUCCEEDED", "UNKNOWN"]
    _, answer = told(ask(at, "GET", f"{ROOT}/tasks/{identity}", now=NOON + 30))
    output = answer["output"]
    assert output["submit_time"] == "2026-11-21 12:00:00.000"
    assert (output["scheduled_time"], output["end_time"]) == ("2026-11-21 12:00:02.000", "2026-11-21 12:00:20.000")
    (result,) = output["results"]
    assert result["orig_prompt"] == "x"
    assert result["actual_prompt"] != "x"
    assert (answer["usage"], output["task_metrics"]) == ({"image_count": 1}, {"TOTAL": 1, "SUCCEEDED": 1, "FAILED": 0})


@pytest.mark.parametrize(("fault", "code"), [("moderated", "DataInspectionFailed"), ("failed", "InternalError.Algo")])
def test_what_fails_is_told_completely_and_not_billed(fault: str, code: str) -> None:
    """A call with an error's status, a task with FAILED and the code inside."""
    at = world(**{fault: 1.0})
    status, answer = told(ask(at, "POST", CALL, said(X)))
    assert (status, answer["code"]) == (400 if fault == "moderated" else 500, code)
    assert answer["request_id"]
    identity = begun(at)
    _, answer = told(ask(at, "GET", f"{ROOT}/tasks/{identity}", now=NOON + 30))
    assert (answer["output"]["task_status"], answer["output"]["code"]) == ("FAILED", code)
    assert at.bill()["gateways"]["dashscope"]["micros"] == 0  # type: ignore[index]  # plain JSON


def test_a_task_is_cancelled_only_while_it_waits() -> None:
    """CANCELED, unbilled, and so it stays in a world that was killed and goes on."""
    at = world()
    waiting, running = begun(at, drawn(prompt="a")), begun(at, drawn(prompt="b"))
    assert told(ask(at, "POST", f"{ROOT}/tasks/{waiting}/cancel", now=NOON + 1))[0] == 200
    status, answer = told(ask(at, "POST", f"{ROOT}/tasks/{running}/cancel", now=NOON + 3))
    assert (status, answer["code"]) == (400, "UnsupportedOperation")
    assert told(ask(at, "POST", f"{ROOT}/tasks/{waiting}/cancel", now=NOON + 1))[0] == 400
    again = World.load(at.lines(), faults=parse_faults({}))
    for each in (at, again):
        _, answer = told(ask(each, "GET", f"{ROOT}/tasks/{waiting}", now=NOON + 30))
        assert answer["output"]["task_status"] == "CANCELED"
        book: Any = each.bill()["gateways"]["dashscope"]  # type: ignore[index]  # plain JSON
        assert (book["accepted"], book["failed"], book["completed"], book["micros"]) == (2, 1, 1, 30_000)
    assert not [line for line in again.lines() if '"canceled"' in line]


def test_a_list_is_filtered_and_paged() -> None:
    """By model, status, id and time; every task in exactly one page, latest first; calls are no tasks."""
    at = world()
    ids = [begun(at, drawn("qwen-image", prompt=str(number)), NOON + 60 * number) for number in range(5)]
    other = begun(at, drawn(), NOON + 400)
    ask(at, "POST", CALL, said(X), NOON + 400)

    def rows(query: str, now: float = NOON + 401) -> list[str]:
        status, answer = told(ask(at, "GET", f"{ROOT}/tasks/?{query}", now=now))
        assert status == 200, answer
        return [row["task_id"] for row in answer["data"]]

    assert rows("") == [other, *ids[::-1]]
    assert rows("model_name=qwen-image&page_size=2&page_no=1") == ids[:2:-1]
    assert rows("model_name=qwen-image&page_size=2&page_no=3") == ids[:1]
    assert rows("status=PENDING") == [other]
    assert rows("status=SUCCEEDED&model_name=qwen-image") == ids[::-1]
    assert rows(f"task_id={ids[2]}") == [ids[2]]
    assert rows("start_time=20261121120100&end_time=20261121120200") == [ids[2], ids[1]]
    assert rows("end_time=20261121120000") == ids[:1]
    assert rows("", NOON + DAY + 100) == [other, *ids[:1:-1]], "the last day, and what is not forgotten"
    _, answer = told(ask(at, "GET", f"{ROOT}/tasks?model_name=qwen-image&page_size=2", now=NOON + 401))
    assert (answer["total"], answer["total_page"], answer["page_no"], answer["page_size"]) == (5, 3, 1, 2)
    assert answer["data"][0]["gmt_create"] == (NOON + 240) * 1000


@pytest.mark.parametrize(
    "query",
    [
        "start_time=2026-11-21",
        "start_time=20261341000000",
        "start_time=20261120000000&end_time=20261121000001",
        "start_time=20261121000000&end_time=20261120000000",
        "page_no=0",
        "page_size=101",
        "page_size=x",
        "status=DONE",
        "prompt=x",
    ],
)
def test_a_list_refuses_what_is_not_on_the_page(query: str) -> None:
    """Spans above a day, odd times and pages, unknown parameters."""
    status, answer = told(ask(world(), "GET", f"{ROOT}/tasks/?{query}"))
    assert (status, answer["code"]) == (400, "InvalidParameter")


# --- the temporary storage ----------------------------------------------------------------------------------------

MODEL = "qwen-image-edit"


def policy(at: World, now: float = NOON, model: str = MODEL) -> dict[str, Any]:
    """What getPolicy gives."""
    status, answer = told(ask(at, "GET", f"{ROOT}/uploads?action=getPolicy&model={model}", now=now))
    assert status == 200
    return dict(answer["data"])


def png(width: int = 400, height: int = 400) -> bytes:
    """A picture's bytes."""
    return base64.b64decode(picture(width, height).partition(",")[2])


def form(terms: dict[str, Any], data: bytes, **changed: str | None) -> bytes:
    """The form that the storage wants; None leaves a field out."""
    fields: dict[str, Any] = {
        "OSSAccessKeyId": terms["oss_access_key_id"],
        "Signature": terms["signature"],
        "policy": terms["policy"],
        "key": f"{terms['upload_dir']}/a.png",
        "x-oss-object-acl": terms["x_oss_object_acl"],
        "x-oss-forbid-overwrite": terms["x_oss_forbid_overwrite"],
        "success_action_status": "200",
        "x-oss-content-type": "image/png",
        **changed,
    }
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
        if value is not None
    ]
    head = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return "".join(parts).encode() + head.encode() + data + b"\r\n--b--\r\n"


def post(at: World, terms: dict[str, Any], body: bytes, now: float = NOON, **headers: str) -> tuple[int, bytes]:
    """Post a form to the host that the policy names."""
    given = {"content-type": "multipart/form-data; boundary=b", **headers}
    answer = at.handle("dashscope", WireRequest("POST", terms["upload_host"], given, body), now).response
    assert answer is not None
    return answer.status, answer.body


def edit(at: World, key: str, now: float = NOON, model: str = MODEL, **headers: Any) -> tuple[int, Any]:
    """A call that names an upload."""
    body = said({"image": f"oss://{key}"}, X, model=model)
    return told(ask(at, "POST", CALL, body, now, **{name.replace("-", "_"): value for name, value in headers.items()}))


def test_an_upload_serves_one_model_for_48_hours_with_the_header() -> None:
    """200 with an empty body; then named as `oss://`, of this model, in time, and resolved by the header."""
    at = world()
    terms = policy(at)
    assert terms["upload_dir"] != policy(at)["upload_dir"], "a folder that nobody has used"
    assert post(at, terms, form(terms, png())) == (200, b"")
    key = f"{terms['upload_dir']}/a.png"
    assert edit(at, key, **RESOLVE)[0] == 200
    assert edit(at, key, NOON + 172_799, **RESOLVE)[0] == 200
    status, answer = edit(at, key)
    assert (status, "url error" in answer["message"]) == (400, True)
    for moment, model in ((NOON + 172_800, MODEL), (NOON, EDIT)):
        status, answer = edit(at, key, moment, model, **RESOLVE)
        assert (status, answer["code"], "download image failed" in answer["message"]) == (400, "InvalidParameter", True)
    assert edit(at, f"{key}x", **RESOLVE)[0] == 400
    again = World.load(at.lines(), faults=parse_faults({}))
    assert edit(again, key, NOON + 100, **RESOLVE)[0] == 200


@pytest.mark.parametrize(
    ("changed", "after", "status", "code"),
    [
        ({"Signature": "eA=="}, 0, 403, "SignatureDoesNotMatch"),
        ({"policy": "e30="}, 0, 403, "SignatureDoesNotMatch"),
        ({"OSSAccessKeyId": "x"}, 0, 403, "SignatureDoesNotMatch"),
        ({}, 300, 403, "Policy expired"),
        ({"key": "elsewhere/a.png"}, 0, 403, "Policy Condition failed"),
        ({"x-oss-object-acl": "public-read"}, 0, 403, "Policy Condition failed"),
        ({"policy": None}, 0, 400, "in this order"),
        ({"extra": "x"}, 0, 400, "in this order"),
    ],
)
def test_a_form_against_its_policy_is_refused_in_xml(
    changed: dict[str, str | None], after: float, status: int, code: str
) -> None:
    """What OSS says, for a form that is not what was signed, or too late."""
    at = world()
    terms = policy(at)
    found, body = post(at, terms, form(terms, png(), **changed), NOON + after)
    assert (found, code in body.decode()) == (status, True), body


def test_the_storage_takes_no_key_gives_nothing_out_and_overwrites_nothing() -> None:
    """A key of the gateway is refused, a plain GET too, and a name is used once."""
    at = world()
    terms = policy(at)
    assert post(at, terms, form(terms, png()), authorization="Bearer sk-x")[0] == 400
    assert post(at, terms, b"x")[0] == 400
    assert post(at, terms, form(terms, png()))[0] == 200
    assert post(at, terms, form(terms, png(500)))[0] == 409
    key = f"{terms['upload_host']}{terms['upload_dir']}/a.png"
    answer = at.handle("dashscope", WireRequest("GET", key, {}), NOON).response
    assert answer is not None
    assert answer.status == 403


def test_the_storage_looks_at_nothing_but_a_model_does() -> None:
    """Anything is kept with 200; a submit that names it is refused for what it is."""
    at = world()
    for data in (b"no picture", png(300, 400)):
        terms = policy(at)
        assert post(at, terms, form(terms, data))[0] == 200
        status, answer = edit(at, f"{terms['upload_dir']}/a.png", **RESOLVE)
        assert (status, answer["code"]) == (400, "InvalidParameter")


# --- shared faults ------------------------------------------------------------------------------------------------


def test_an_error_that_comes_after_acceptance_is_not_one_of_the_api() -> None:
    """The vendor bills no error of its own: what is lost on the way and billed is a page, a cut, or half an answer."""
    for fault in ("server_error_after", "cut_after", "cut_mid", "malformed_submit"):
        at = world(**{fault: 1.0})
        exchange = ask(at, "POST", CALL, said(X))
        at.fetch("https://dashscope.simulator.invalid/files/x", NOON + 30)
        assert at.bill()["gateways"]["dashscope"]["micros"] == 75_000, fault  # type: ignore[index]  # plain JSON
        if exchange.response is not None and exchange.cut == "none":
            with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
                json.loads(exchange.response.body)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("rate_limited", 429, "Throttling.RateQuota"),
        ("server_error_before", 503, "ServiceUnavailable"),
    ],
)
def test_an_error_before_acceptance_is_complete_and_free(fault: str, status: int, code: str) -> None:
    """With its code and request id, as the vendor writes it."""
    at = world(**{fault: 1.0})
    headers: dict[str, Any]
    for path, body, headers in ((CALL, said(X), {}), (TASK, drawn(), ASYNC)):
        found, answer = told(ask(at, "POST", path, body, **headers))
        assert (found, answer["code"], bool(answer["request_id"])) == (status, code, True)
    assert at.bill()["gateways"] == {}


def test_a_lost_upload_and_a_vanished_task() -> None:
    """What was uploaded is gone when it is named; a task is UNKNOWN, in no list, and billed all the same."""
    at = world(lost_upload=1.0, vanished=1.0)
    terms = policy(at)
    post(at, terms, form(terms, png()))
    status, answer = edit(at, f"{terms['upload_dir']}/a.png", **RESOLVE)
    assert (status, "download image failed" in answer["message"]) == (400, True)
    identity = begun(at)
    _, answer = told(ask(at, "GET", f"{ROOT}/tasks/{identity}", now=NOON + 30))
    assert answer["output"] == {"task_id": identity, "task_status": "UNKNOWN"}
    _, answer = told(ask(at, "GET", f"{ROOT}/tasks/", now=NOON + 30))
    assert answer["data"] == []
    assert at.bill()["gateways"]["dashscope"]["micros"] == 30_000  # type: ignore[index]  # plain JSON
