"""DashScope's language as tables: task -> body, answer -> meaning; each row with where we know it from."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from pipeline.plan.price import in_region
from pipeline.providers import PROVIDERS, dashscope
from pipeline.providers.answers import BODY_MAX
from pipeline.providers.dashscope_answers import KINDS
from pipeline.values.digest import JSON
from pipeline.values.evidence import ListedOperation
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl, Placed, Provider, UploadFailed
from pipeline.values.reply import (
    EvidenceBroken,
    Fault,
    FaultKind,
    Gone,
    ListedPage,
    OperationFailed,
    Pending,
    PollBroken,
    PollReply,
    Ready,
    Refused,
    Reply,
    StillRunning,
    Unknown,
    Unsent,
)
from pipeline.values.task import LocalInput, Picture, Task, UrlInput
from pipeline.values.wire import Answered, Broken, NotSent, Outcome, Request, Response
from tests.providers.tongues import card, task

CARD = card("dashscope")
EDIT = replace(task("dashscope", "qwen-image-edit-max"), prompt="Dress Image 1 in Image 2")
PLAIN = replace(EDIT, model="qwen-image-edit")
DRAW = replace(EDIT, model="qwen-image-max", operation="image.generate", prompt="A red panda")
BY_TASK = replace(DRAW, model="qwen-image-plus")
FUSED = replace(DRAW, model="qwen-image-2.0-pro")
PNG = CarriedBytes("image/png", b"\x89PNG")
PNG_URI = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
#: Travels inside the body: there is nothing to upload again.
SMALL = LocalInput("b.png", Picture("b" * 64, "image/png", 9_000, 800, 500))
#: Travels by an upload.
LOCAL = LocalInput("a.png", Picture("a" * 64, "image/png", 9_000_000, 1800, 1500))
URL = CarriedUrl("https://example.com/1.png")
PLACED = CarriedUrl("oss://dashscope-instant/1/2026-11-21/2/a.png")
CALL = "/services/aigc/multimodal-generation/generation"
TASKS = "/services/aigc/text2image/image-synthesis"
ID = "0385dc79-5ff8-4d82-bcb6-4f1a3c90b36a"
#: What every answer repeats.
ASKED = "a16e6902-0000"
LINK = "https://dashscope-result-sz.oss-cn-shenzhen.aliyuncs.com/x/1.png?Expires=1&Signature=S"
OTHER = LINK.replace("/1.png", "/2.png")


def answer(status: int, body: JSON | bytes, **headers: str) -> Answered:
    """An outcome with this status and body; header names with underscores for hyphens."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answered(Response(status, data, {name.replace("_", "-"): value for name, value in headers.items()}))


def error(code: str, message: str = "no", **more: JSON) -> dict[str, JSON]:
    """An error as the vendor writes it."""
    return {"request_id": ASKED, "code": code, "message": message, **more}


def called(*parts: JSON, usage: JSON = None, **more: JSON) -> dict[str, JSON]:
    """The answer to a call: these parts in one choice."""
    choice: JSON = {"finish_reason": "stop", "message": {"role": "assistant", "content": list(parts)}}
    made: dict[str, JSON] = {"output": {"choices": [choice], **more}, "request_id": ASKED}
    return made if usage is None else {**made, "usage": usage}


def stands(status: str, usage: JSON = None, **more: JSON) -> dict[str, JSON]:
    """The answer to a question about a task."""
    made: dict[str, JSON] = {"request_id": ASKED, "output": {"task_id": ID, "task_status": status, **more}}
    return made if usage is None else {**made, "usage": usage}


def said(*content: JSON) -> JSON:
    """One message with this content."""
    return {"messages": [{"role": "user", "content": list(content)}]}


# --- what is sent -------------------------------------------------------------------------------------------------

SENT: list[tuple[str, Task, tuple[Carried, ...], str, JSON]] = [
    (
        "editing page: images in their order, then the text; n is always said",
        EDIT,
        (URL, PNG),
        CALL,
        {
            "model": "qwen-image-edit-max",
            "input": said({"image": URL.url}, {"image": PNG_URI}, {"text": "Dress Image 1 in Image 2"}),
            "parameters": {"n": 1},
        },
    ),
    (
        "editing page: every parameter, size W*H",
        replace(
            EDIT,
            n=2,
            size="1024x1536",
            negative_prompt="blur",
            seed=42,
            params={"prompt_extend": True, "watermark": False},
        ),
        (URL,),
        CALL,
        {
            "model": "qwen-image-edit-max",
            "input": said({"image": URL.url}, {"text": "Dress Image 1 in Image 2"}),
            "parameters": {
                "n": 2,
                "size": "1024*1536",
                "negative_prompt": "blur",
                "prompt_extend": True,
                "watermark": False,
                "seed": 42,
            },
        },
    ),
    (
        "editing page: qwen-image-edit makes one picture, and is told no n",
        replace(PLAIN, params={"watermark": True}),
        (PNG,),
        CALL,
        {
            "model": "qwen-image-edit",
            "input": said({"image": PNG_URI}, {"text": "Dress Image 1 in Image 2"}),
            "parameters": {"watermark": True},
        },
    ),
    (
        "API reference: text to image has one text and no image",
        replace(DRAW, size="1664x928", seed=0),
        (),
        CALL,
        {
            "model": "qwen-image-max",
            "input": said({"text": "A red panda"}),
            "parameters": {"size": "1664*928", "seed": 0},
        },
    ),
    (
        "API reference: 2.0 makes several pictures of a text alone",
        replace(FUSED, n=6, size="2048x2048"),
        (),
        CALL,
        {
            "model": "qwen-image-2.0-pro",
            "input": said({"text": "A red panda"}),
            "parameters": {"n": 6, "size": "2048*2048"},
        },
    ),
    (
        "asynchronous page: prompt in input, the rest in parameters; the client has the negative prompt in input",
        replace(
            BY_TASK,
            size="1664x928",
            negative_prompt="blur",
            seed=7,
            params={"prompt_extend": True, "watermark": False},
        ),
        (),
        TASKS,
        {
            "model": "qwen-image-plus",
            "input": {"prompt": "A red panda", "negative_prompt": "blur"},
            "parameters": {"size": "1664*928", "seed": 7, "prompt_extend": True, "watermark": False},
        },
    ),
    (
        "a snapshot goes the way of its model",
        replace(BY_TASK, model="qwen-image-plus-2026-01-09"),
        (),
        TASKS,
        {"model": "qwen-image-plus-2026-01-09", "input": {"prompt": "A red panda"}, "parameters": {}},
    ),
    (
        "a parameter never takes the place of what the task says; letters beyond ASCII stay themselves",
        replace(FUSED, prompt="墨水", n=2, params={"n": 6}),
        (),
        CALL,
        {"model": "qwen-image-2.0-pro", "input": said({"text": "墨水"}), "parameters": {"n": 2}},
    ),
]


@pytest.mark.parametrize(("asked", "inputs", "path", "body"), [row[1:] for row in SENT], ids=[row[0] for row in SENT])
def test_a_task_is_sent_as_the_vendors_pages_say(
    asked: Task, inputs: tuple[Carried, ...], path: str, body: JSON
) -> None:
    """The body holds what the task says and nothing else."""
    request = dashscope.submit(asked, inputs, "a1b2")
    assert (request.method, request.path, request.base, request.url, request.free) == ("POST", path, "", "", False)
    assert json.loads(request.body or b"") == body
    assert ("Content-Type", "application/json") in request.headers
    assert (("X-DashScope-Async", "enable") in request.headers) == (path == TASKS)
    assert not any(name.lower() == "authorization" for name, _ in request.headers)


def test_every_parameter_of_the_card_is_sent_in_a_row() -> None:
    """What the card offers is proven to arrive, for calls and for tasks."""
    for path in (CALL, TASKS):
        sent = {name for _, asked, _, where, _ in SENT if where == path for name in asked.params}
        by_task = {"qwen-image", "qwen-image-plus", "qwen-image-plus-2026-01-09"}
        offered = {
            name
            for model, each in CARD.models.items()
            if (model in by_task) == (path == TASKS)
            for name in each.parameters
        }
        assert offered <= sent


def test_the_card_calls_synchronous_what_goes_by_the_synchronous_path() -> None:
    """A model whose POST answers with the pictures says so, and the other way round; only tasks can be listed."""
    for name, model in CARD.models.items():
        asked = replace(EDIT, model=name)
        assert model.synchronous == (dashscope.submit(asked, ()).path == CALL)
        assert model.synchronous == (dashscope.listing(name, 0, 1, None) is None)


def test_an_upload_is_named_with_the_header_that_resolves_it() -> None:
    """*Source* - page on temporary URLs: without the header `oss://` is refused. Nothing else gets it."""
    header = ("X-DashScope-OssResourceResolve", "enable")
    assert header in dashscope.submit(EDIT, (URL, PLACED)).headers
    assert header not in dashscope.submit(EDIT, (URL, PNG)).headers
    assert header not in dashscope.submit(replace(EDIT, prompt="oss://x"), (URL,)).headers


@pytest.mark.parametrize(("operation", "path"), [(ID, f"/tasks/{ID}"), ("a/b?c#d", "/tasks/a%2Fb%3Fc%23d")])
def test_questions_about_a_task_never_lead_elsewhere(operation: str, path: str) -> None:
    """Poll and cancel ask for exactly their task."""
    asked = dashscope.poll(BY_TASK, operation)
    assert (asked.method, asked.path, asked.body, asked.free) == ("GET", path, None, True)
    taken_back = dashscope.cancel(BY_TASK, operation)
    assert (taken_back.method, taken_back.path, taken_back.free) == ("POST", f"{path}/cancel", True)


# --- answers to a submit ------------------------------------------------------------------------------------------


def refused(kind: FaultKind, status: int, code: str, message: str = "no", **more: Any) -> Refused:
    """A refusal with the gateway's words."""
    return Refused(Fault(kind, message, code=code, status=status, request_id=ASKED, **more))


def ready(*links: str, billed: int = 0, **more: Any) -> Ready:
    """Pictures with the request's id."""
    return Ready(links, billed or len(links), request_id=ASKED, **more)


SUBMITTED: list[tuple[str, Outcome, Reply]] = [
    ("no connection", NotSent("refused"), Unsent(Fault(FaultKind.NOT_SENT, "refused"))),
    (
        "several images in one choice (documented)",
        answer(200, called({"image": LINK}, {"image": OTHER}, usage={"width": 1, "height": 1, "image_count": 2})),
        ready(LINK, OTHER),
    ),
    (
        "one image per choice (clients expect it)",
        answer(
            200,
            {
                "request_id": ASKED,
                "output": {"choices": [{"message": {"content": [{"image": link}]}} for link in (LINK, OTHER)]},
            },
        ),
        ready(LINK, OTHER),
    ),
    (
        "parts with text only are no pictures (observed)",
        answer(200, called({"text": "here"}, {"image": LINK}, {"text": "done"})),
        ready(LINK),
    ),
    (
        "newer answers: a type in each part, other names in the usage (observed)",
        answer(200, called({"image": LINK, "type": "image"}, usage={"output_image_count": 1, "output_width": 1})),
        ready(LINK),
    ),
    (
        "task_metric where there is no usage",
        answer(200, called({"image": LINK}, task_metric={"TOTAL": 2, "SUCCEEDED": 2, "FAILED": 0})),
        ready(LINK, billed=2),
    ),
    (
        "the vendor's count is the bill, also above the links",
        answer(200, called({"image": LINK}, usage={"image_count": 2})),
        ready(LINK, billed=2),
    ),
    (
        "a count that nobody can believe is none: the picture is kept, and booked as asked",
        answer(200, called({"image": LINK}, usage={"image_count": 50})),
        ready(LINK, billed=2),
    ),
    (
        "a count below the links is not believed",
        answer(200, called({"image": LINK}, {"image": OTHER}, usage={"image_count": 1})),
        ready(LINK, OTHER),
    ),
    (
        "a picture without a usable link is on the bill",
        answer(200, called({"image": LINK}, {"image": "file:///etc/passwd"}, {"image": None})),
        ready(LINK, billed=3),
    ),
    ("a task (documented)", answer(200, stands("PENDING")), Pending(ID)),
    ("the largest body that is read", answer(200, json.dumps(stands("PENDING")).encode().ljust(BODY_MAX)), Pending(ID)),
    (
        "HTTP 200 with an error's code, as the vendor's client handles it",
        answer(200, error("DataInspectionFailed")),
        refused(FaultKind.MODERATED, 200, "DataInspectionFailed"),
    ),
    (
        "msg for message",
        answer(400, {"request_id": ASKED, "code": "InvalidParameter", "msg": "url error"}),
        refused(FaultKind.REJECTED, 400, "InvalidParameter", "url error"),
    ),
    (
        "the request id of a header where the body's fault is read",
        answer(400, error("BadRequest.EmptyInput")),
        refused(FaultKind.REJECTED, 400, "BadRequest.EmptyInput"),
    ),
    (
        "429 with milliseconds to wait, as the client reads them",
        answer(429, error("Throttling"), retry_after_ms="1500", retry_after="9"),
        refused(FaultKind.RATE_LIMITED, 429, "Throttling", retry_after_s=1.5),
    ),
    (
        "429 with seconds",
        answer(429, error("Throttling.BurstRate"), retry_after="12"),
        refused(FaultKind.RATE_LIMITED, 429, "Throttling.BurstRate", retry_after_s=12.0),
    ),
]


@pytest.mark.parametrize(("outcome", "reply"), [row[1:] for row in SUBMITTED], ids=[row[0] for row in SUBMITTED])
def test_an_answer_to_a_submit_means(outcome: Outcome, reply: Reply) -> None:
    """Each answer that is understood, with its exact meaning."""
    assert dashscope.submitted(replace(EDIT, n=2), outcome, CARD.not_billed) == reply


#: The vendor's error codes and what each means here, code by code.
CODES: list[tuple[int, str, FaultKind]] = [
    (400, "InvalidParameter", FaultKind.REJECTED),
    (400, "InvalidParameter.DataInspection", FaultKind.TRANSIENT),
    (400, "DataInspectionFailed", FaultKind.MODERATED),
    (400, "IPInfringementSuspect", FaultKind.MODERATED),
    (400, "CustomRoleBlocked", FaultKind.MODERATED),
    (400, "FaqRuleBlocked", FaultKind.MODERATED),
    (400, "Arrearage", FaultKind.OUT_OF_CREDIT),
    (400, "InvalidURL", FaultKind.REJECTED),
    (400, "BadRequest.TooLarge", FaultKind.REJECTED),
    (400, "UnsupportedOperation", FaultKind.REJECTED),
    (401, "InvalidApiKey", FaultKind.UNAUTHORIZED),
    (401, "NOT AUTHORIZED", FaultKind.UNAUTHORIZED),
    (403, "AccessDenied", FaultKind.CLOSED),
    (403, "AccessDenied.Unpurchased", FaultKind.OUT_OF_CREDIT),
    (403, "Model.AccessDenied", FaultKind.CLOSED),
    (403, "Workspace.AccessDenied", FaultKind.UNAUTHORIZED),
    (403, "AllocationQuota.FreeTierOnly", FaultKind.CLOSED),
    (404, "ModelNotFound", FaultKind.REJECTED),
    (404, "Model.NotExist", FaultKind.REJECTED),
    (404, "WorkSpaceNotFound", FaultKind.REJECTED),
    (404, "NotFound", FaultKind.REJECTED),
    (409, "Conflict", FaultKind.REJECTED),
    (429, "Throttling", FaultKind.RATE_LIMITED),
    (429, "Throttling.RateQuota", FaultKind.RATE_LIMITED),
    (429, "LimitRequests", FaultKind.RATE_LIMITED),
    (429, "Throttling.BurstRate", FaultKind.RATE_LIMITED),
    (429, "Throttling.AllocationQuota", FaultKind.RATE_LIMITED),
    (429, "insufficient_quota", FaultKind.RATE_LIMITED),
    (429, "CommodityNotPurchased", FaultKind.OUT_OF_CREDIT),
    (429, "PrepaidBillOverdue", FaultKind.OUT_OF_CREDIT),
    (429, "PostpaidBillOverdue", FaultKind.OUT_OF_CREDIT),
    (500, "InternalError", FaultKind.TRANSIENT),
    (500, "InternalError.Algo", FaultKind.TRANSIENT),
    (500, "InternalError.Timeout", FaultKind.TRANSIENT),
    (500, "SystemError", FaultKind.TRANSIENT),
    (500, "ModelServiceFailed", FaultKind.TRANSIENT),
    (500, "RequestTimeOut", FaultKind.TRANSIENT),
    (500, "RewriteFailed", FaultKind.TRANSIENT),
    (503, "ModelServingError", FaultKind.TRANSIENT),
    (503, "ModelUnavailable", FaultKind.TRANSIENT),
    (503, "ServiceUnavailable", FaultKind.TRANSIENT),
]


@pytest.mark.parametrize(("status", "code", "kind"), CODES)
def test_a_complete_error_is_definite_and_means_what_its_code_says(status: int, code: str, kind: FaultKind) -> None:
    """*Source* - error code page; that failed calls are not billed: editing page, Billing."""
    reply = dashscope.submitted(EDIT, answer(status, error(code)), CARD.not_billed)
    assert reply == refused(kind, status, code)


@pytest.mark.parametrize(
    ("source", "code", "message", "kind"),
    [
        (LOCAL, "InvalidParameter", "url error, please check url\uff01", FaultKind.EXPIRED),
        (LOCAL, "InvalidParameter", "download image failed", FaultKind.EXPIRED),
        (LOCAL, "BadRequest.InputDownloadFailed", "Failed to download the input file", FaultKind.EXPIRED),
        (LOCAL, "InvalidParameter", "messages length only support 1", FaultKind.REJECTED),
        (LOCAL, "DataInspectionFailed", "url error", FaultKind.MODERATED),
        (UrlInput("https://example.com/a.png"), "InvalidParameter", "url error", FaultKind.REJECTED),
        (SMALL, "InvalidParameter", "url error", FaultKind.REJECTED),
    ],
)
def test_a_picture_of_ours_that_cannot_be_fetched_is_uploaded_again(
    source: LocalInput | UrlInput, code: str, message: str, kind: FaultKind
) -> None:
    """Only what we put there can be put there again: a URL of the spec stays wrong."""
    asked = replace(EDIT, inputs=(source,))
    reply = dashscope.submitted(asked, answer(400, error(code, message)), CARD.not_billed)
    assert reply == refused(kind, 400, code, message)


def test_only_the_cards_table_releases_money() -> None:
    """Without rows every error keeps the money; each coded row says what the code says everywhere."""
    for status, code, _ in CODES:
        assert isinstance(dashscope.submitted(EDIT, answer(status, error(code)), ()), Unknown)
    assert CARD.errors_unbilled
    for row in CARD.not_billed:
        assert row.code is None or KINDS[row.code] is row.kind
    assert {row.code for row in CARD.not_billed} - {None} == set(KINDS)


DOUBTFUL: list[tuple[str, Outcome]] = [
    ("a timeout", Broken("TimeoutError")),
    ("5xx without a body", answer(500, b"")),
    ("5xx that is no JSON", answer(502, b"<html>Bad Gateway</html>", content_type="text/html")),
    ("5xx with a page's type around an error", answer(500, error("InternalError"), content_type="text/html")),
    ("an error without a request id", answer(500, {"code": "InternalError", "message": "no"})),
    ("an error without a code", answer(400, {"request_id": ASKED, "message": "no"})),
    ("half an error", answer(500, json.dumps(error("InternalError")).encode()[:-5])),
    ("a status that the table does not have", answer(502, error("InternalError"))),
    ("an error that names a task", answer(500, error("InternalError", output={"task_id": ID}))),
    ("an error that tells of pictures", answer(400, error("DataInspectionFailed", output={"results": [{}]}))),
    ("an error with a bill", answer(400, error("DataInspectionFailed", usage={"image_count": 1}))),
    ("HTTP 200 with a code that nobody knows", answer(200, error("Success"))),
    ("HTTP 200 without a picture", answer(200, called({"text": "done"}, usage={"image_count": 0}))),
    ("HTTP 200 without a usable link", answer(200, called({"image": "x"}))),
    ("HTTP 200 with an empty body", answer(200, b"")),
    ("a key that stands twice", answer(200, b'{"output":{"task_id":"a","task_id":"b"}}')),
    ("an id that leads elsewhere", answer(200, {"output": {"task_id": "../x"}})),
    (
        "more pictures than can have been made",
        answer(200, called(*({"image": f"{LINK}{number}"} for number in range(20)))),
    ),
    ("HTTP 200 with a throttling code: no row of the table is that code", answer(200, error("Throttling.RateQuota"))),
    ("HTTP 200 with an internal error", answer(200, error("InternalError"))),
    ("a redirect", answer(307, error("InvalidParameter"))),
]


@pytest.mark.parametrize("outcome", [row[1] for row in DOUBTFUL], ids=[row[0] for row in DOUBTFUL])
def test_everything_less_keeps_the_money(outcome: Outcome) -> None:
    """Unknown is the default."""
    assert isinstance(dashscope.submitted(EDIT, outcome, CARD.not_billed), Unknown)


# --- answers to a poll --------------------------------------------------------------------------------------------

RESULT: JSON = {"orig_prompt": "A red panda", "actual_prompt": "A detailed  red panda", "url": LINK}
BAD: JSON = {"code": "DataInspectionFailed", "message": "Output data may contain inappropriate content."}


def failed(kind: FaultKind, message: str, code: str = "", *, billed: bool | None = False) -> OperationFailed:
    """An end without pictures."""
    return OperationFailed(Fault(kind, message, code=code, status=200, request_id=ASKED), billed)


POLLED: list[tuple[str, Outcome, PollReply]] = [
    ("waiting (documented)", answer(200, stands("PENDING")), StillRunning()),
    ("running (documented)", answer(200, stands("RUNNING", submit_time="2025-09-09 13:41:25.100")), StillRunning()),
    ("suspended (client)", answer(200, stands("SUSPENDED")), StillRunning()),
    ("a state that nobody documented", answer(200, stands("QUEUED")), StillRunning()),
    (
        "succeeded, with the prompt as it was rewritten (documented)",
        answer(200, stands("SUCCEEDED", results=[RESULT], usage={"image_count": 1})),
        ready(LINK, revised_prompt="A detailed red panda"),
    ),
    (
        "some pictures failed by themselves (documented)",
        answer(
            200,
            stands(
                "SUCCEEDED",
                results=[{"url": LINK}, BAD],
                task_metrics={"TOTAL": 2, "SUCCEEDED": 1, "FAILED": 1},
                usage={"image_count": 1},
            ),
        ),
        ready(LINK),
    ),
    (
        "the same without any count",
        answer(200, stands("SUCCEEDED", results=[{"url": LINK}, BAD])),
        ready(LINK),
    ),
    (
        "every picture failed by itself, but one is on the bill: its money is in doubt",
        answer(200, stands("SUCCEEDED", results=[BAD, BAD], usage={"image_count": 1})),
        failed(FaultKind.SHORT, "succeeded without a picture, but with one on the bill", billed=None),
    ),
    (
        "a count that nobody can believe, beside a picture",
        answer(200, stands("SUCCEEDED", results=[{"url": LINK}], usage={"image_count": 50})),
        ready(LINK),
    ),
    (
        "every picture failed by itself",
        answer(200, stands("SUCCEEDED", results=[BAD, BAD])),
        failed(FaultKind.MODERATED, "DataInspectionFailed"),
    ),
    (
        "pictures in choices, as the newer protocol has them",
        answer(200, stands("SUCCEEDED", choices=[{"message": {"content": [{"image": LINK}]}}])),
        ready(LINK),
    ),
    (
        "failed by moderation (documented)",
        answer(200, stands("FAILED", code="DataInspectionFailed", message="Input data may contain it.")),
        failed(FaultKind.MODERATED, "Input data may contain it.", "DataInspectionFailed"),
    ),
    (
        "failed inside (documented)",
        answer(200, stands("FAILED", code="InternalError.Timeout", message="too long")),
        failed(FaultKind.UPSTREAM, "too long", "InternalError.Timeout"),
    ),
    (
        "failed, a bad field",
        answer(200, stands("FAILED", code="InvalidParameter", message="size")),
        failed(FaultKind.REJECTED, "size", "InvalidParameter"),
    ),
    (
        "failed without a word",
        answer(200, stands("FAILED")),
        failed(FaultKind.UPSTREAM, "the task failed"),
    ),
    (
        "failed, and billed all the same: nobody knows",
        answer(200, stands("FAILED", code="InternalError", usage={"image_count": 1})),
        failed(FaultKind.UPSTREAM, "the task failed", "InternalError", billed=None),
    ),
    ("canceled (documented)", answer(200, stands("CANCELED")), failed(FaultKind.REJECTED, "the task was canceled")),
    (
        "a vanished task is UNKNOWN with status 200 (documented)",
        answer(200, stands("UNKNOWN")),
        Gone(Fault(FaultKind.LOST, "DashScope does not know this task", status=200, request_id=ASKED)),
    ),
    (
        "succeeded with an empty list",
        answer(200, stands("SUCCEEDED", results=[])),
        failed(FaultKind.SHORT, "succeeded without any picture", billed=None),
    ),
    (
        "succeeded without a usable link: ask again",
        answer(200, stands("SUCCEEDED", results=[{"url": "x"}])),
        PollBroken(Fault(FaultKind.MALFORMED, "succeeded, but without a usable link", status=200, request_id=ASKED)),
    ),
    (
        "a wrong key parks",
        answer(401, error("InvalidApiKey")),
        PollBroken(Fault(FaultKind.UNAUTHORIZED, "no", "InvalidApiKey", 401, request_id=ASKED)),
    ),
    (
        "an error with HTTP 200",
        answer(200, error("Throttling.RateQuota")),
        PollBroken(Fault(FaultKind.RATE_LIMITED, "no", "Throttling.RateQuota", 200, request_id=ASKED)),
    ),
    ("away", answer(503, b""), PollBroken(Fault(FaultKind.TRANSIENT, "no usable answer to a poll", status=503))),
    ("cut", Broken("reset"), PollBroken(Fault(FaultKind.TIMEOUT, "reset"))),
    ("no connection", NotSent("refused"), PollBroken(Fault(FaultKind.NOT_SENT, "refused"))),
]


@pytest.mark.parametrize(("outcome", "reply"), [row[1:] for row in POLLED], ids=[row[0] for row in POLLED])
def test_an_answer_to_a_poll_means(outcome: Outcome, reply: PollReply) -> None:
    """Each state, with its exact meaning."""
    assert dashscope.polled(BY_TASK, outcome) == reply


@pytest.mark.parametrize(
    ("outcome", "meaning"),
    [
        (answer(200, {"request_id": ASKED}), True),
        (answer(400, error("UnsupportedOperation")), False),
        (answer(200, error("Throttling")), None),
        (answer(200, {}), None),
        (answer(503, {"request_id": ASKED}), None),
        (answer(200, b"x"), None),
        (Broken("reset"), None),
    ],
)
def test_a_cancel_is_told_or_not(outcome: Outcome, meaning: bool | None) -> None:  # noqa: FBT001
    """*Source* - page on asynchronous tasks: a bare request id, or UnsupportedOperation."""
    assert dashscope.cancelled(outcome) is meaning


# --- the list of tasks --------------------------------------------------------------------------------------------

#: 2026-11-21 04:00:00 of UTC, which is noon in Beijing; microseconds.
NOON = 1_795_233_600_000_000
HOUR = 3_600_000_000


def listed_page(*rows: JSON, page: int = 1, pages: int = 1, size: int = 100) -> Answered:
    """A page of the list, as the vendor writes it."""
    return answer(
        200,
        {
            "total": len(rows),
            "data": list(rows),
            "total_page": pages,
            "page_no": page,
            "page_size": size,
            "request_id": ASKED,
        },
    )


def row(identity: str = ID, status: str = "RUNNING") -> JSON:
    """A task in a list."""
    return {"task_id": identity, "gmt_create": 1745568428109, "status": status, "model_name": "qwen-image"}


@pytest.mark.parametrize(
    ("since", "page", "path"),
    [
        (
            NOON - HOUR,
            None,
            "/tasks/?start_time=20261121110000&end_time=20261121120000&model_name=qwen-image&page_no=1&page_size=100",
        ),
        (
            NOON - 24 * HOUR,
            "2",
            "/tasks/?start_time=20261120120000&end_time=20261121120000&model_name=qwen-image&page_no=2&page_size=100",
        ),
        (
            NOON - 30 * HOUR,
            None,
            "/tasks/?start_time=20261120120000&end_time=20261121120000&model_name=qwen-image&page_no=1&page_size=99",
        ),
        (NOON, f"task:{ID}", f"/tasks/{ID}"),
        (NOON, "task:../x", "/tasks/..%2Fx"),
    ],
)
def test_a_list_is_asked_for_as_the_page_says(since: int, page: str | None, path: str) -> None:
    """At most a day, in the vendor's own time; one page after the other, or one task."""
    asked = dashscope.listing("qwen-image", since, NOON, page)
    assert asked is not None
    assert (asked.method, asked.path, asked.free) == ("GET", path, True)


def found(identity: str = ID, *, unbilled: bool = False) -> ListedOperation:
    """A task as the list tells it: nothing of what was asked."""
    return ListedOperation(identity, 1745568428109000, None, None, None, page=f"task:{identity}", unbilled=unbilled)


@pytest.mark.parametrize(
    ("outcome", "reply"),
    [
        (listed_page(row(), row("b")), ListedPage((found(), found("b")), None, whole=True)),
        (listed_page(row(), page=1, pages=3), ListedPage((found(),), "2", whole=True)),
        (listed_page(row(), page=3, pages=3), ListedPage((found(),), None, whole=True)),
        (listed_page(row(status="FAILED")), ListedPage((found(unbilled=True),), None, whole=True)),
        (listed_page(row(status="CANCELED")), ListedPage((found(unbilled=True),), None, whole=True)),
        (listed_page(pages=0), ListedPage((), None, whole=True)),
        (listed_page(page=1, pages=1), ListedPage((), None, whole=False)),
        (listed_page(row(), size=99), ListedPage((found(),), None, whole=False)),
        (listed_page(row(), {"task_id": "b"}), ListedPage((found(),), None, whole=False)),
    ],
)
def test_a_page_of_the_list_means(outcome: Outcome, reply: ListedPage) -> None:
    """A page that was cut, or that holds what is not understood, is not the whole."""
    assert dashscope.listed(outcome) == reply


def test_a_single_task_tells_the_prompt_that_the_list_does_not() -> None:
    """*Source* - asynchronous page: results repeat `orig_prompt`. It proves nothing about what else there is."""
    asked_about = dashscope.listed(answer(200, stands("SUCCEEDED", results=[RESULT])))
    assert asked_about == ListedPage((ListedOperation(ID, 0, "A red panda", None, None),), None, whole=False)
    running = dashscope.listed(answer(200, stands("RUNNING")))
    assert running == ListedPage((ListedOperation(ID, 0, None, None, None),), None, whole=False)


@pytest.mark.parametrize(
    "outcome",
    [
        Broken("reset"),
        answer(200, b"x"),
        answer(200, {}),
        answer(200, error("Throttling")),
        answer(503, {"data": [], "page_no": 1, "total_page": 1}),
        answer(200, {"data": {}, "page_no": 1, "total_page": 1}),
        answer(200, {"data": [], "page_no": "1", "total_page": 1}),
        answer(200, {"output": {"task_status": "RUNNING"}}),
    ],
)
def test_a_list_that_is_not_understood_proves_nothing(outcome: Outcome) -> None:
    """Least of all that something is absent."""
    assert isinstance(dashscope.listed(outcome), EvidenceBroken)
    assert isinstance(dashscope.balanced(outcome), EvidenceBroken)
    assert PROVIDERS["dashscope"].balance() is None


# --- uploads ------------------------------------------------------------------------------------------------------

TERMS: dict[str, JSON] = {
    "policy": "eyJ0",
    "signature": "c2ln/+=",
    "upload_dir": "dashscope-instant/1/2026-11-21/2",
    "upload_host": "https://dashscope-file-1.oss-ap-southeast-1.aliyuncs.com",
    "expire_in_seconds": 300,
    "max_file_size_mb": 100,
    "oss_access_key_id": "LTAI",
    "x_oss_object_acl": "private",
    "x_oss_forbid_overwrite": "true",
}


def terms(**changed: JSON) -> Answered:
    """What the gateway allows."""
    return answer(200, {"request_id": ASKED, "data": {**TERMS, **changed}})


def test_an_upload_is_a_policy_then_a_form_then_a_place() -> None:
    """*Source* - page on temporary URLs and the vendor's client: names and order of the fields; no key goes along."""
    asked = dashscope.upload("qwen-image-edit", PNG, "a.png", ())
    assert asked == Request(
        "dashscope",
        "GET",
        "/uploads?action=getPolicy&model=qwen-image-edit",
        headers=(("Accept", "application/json"),),
        free=True,
    )
    form = dashscope.upload("qwen-image-edit", PNG, "a.png", (terms(),))
    assert isinstance(form, Request)
    assert (form.method, form.url, form.path, form.free) == ("POST", TERMS["upload_host"], "", True)
    kind, _, boundary = dict(form.headers)["Content-Type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    parts = (form.body or b"").split(f"--{boundary}".encode())
    assert (parts[0], parts[-1]) == (b"", b"--\r\n")
    fields = [part.strip(b"\r\n").partition(b"\r\n\r\n") for part in parts[1:-1]]
    names = [head.decode().split('name="')[1].split('"')[0] for head, _, _ in fields]
    values = [value.decode("latin-1") for _, _, value in fields]
    assert list(zip(names, values, strict=True)) == [
        ("OSSAccessKeyId", "LTAI"),
        ("Signature", "c2ln/+="),
        ("policy", "eyJ0"),
        ("key", "dashscope-instant/1/2026-11-21/2/a.png"),
        ("x-oss-object-acl", "private"),
        ("x-oss-forbid-overwrite", "true"),
        ("success_action_status", "200"),
        ("x-oss-content-type", "image/png"),
        ("file", "\x89PNG"),
    ]
    placed = dashscope.upload("qwen-image-edit", PNG, "a.png", (terms(), answer(200, b"")))
    assert placed == Placed("oss://dashscope-instant/1/2026-11-21/2/a.png", 172_800.0)


def test_a_forms_boundary_stands_nowhere_in_the_picture() -> None:
    """A picture that holds the boundary which it would get, gets another one."""
    first = dashscope.upload("m", CarriedBytes("image/png", b"x"), "a.png", (terms(),))
    assert isinstance(first, Request)
    boundary = dict(first.headers)["Content-Type"].partition("boundary=")[2]
    nasty = CarriedBytes("image/png", b"x" + boundary.encode())
    second = dashscope.upload("m", nasty, "a.png", (terms(),))
    assert isinstance(second, Request)
    mark = dict(second.headers)["Content-Type"].partition("boundary=")[2].encode()
    assert mark not in nasty.data
    assert (second.body or b"").count(mark) == 10


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ((NotSent("refused"),), FaultKind.NOT_SENT),
        ((Broken("reset"),), FaultKind.TIMEOUT),
        ((answer(401, error("InvalidApiKey")),), FaultKind.UNAUTHORIZED),
        ((answer(404, error("ModelNotFound")),), FaultKind.REJECTED),
        ((answer(400, error("InvalidParameter")),), FaultKind.REJECTED),
        ((answer(429, error("Throttling")),), FaultKind.RATE_LIMITED),
        ((answer(503, b""),), FaultKind.TRANSIENT),
        ((answer(200, error("Throttling")),), FaultKind.RATE_LIMITED),
        ((answer(200, {}),), FaultKind.MALFORMED),
        ((terms(policy=None),), FaultKind.MALFORMED),
        ((terms(policy='a"\r\nb'),), FaultKind.MALFORMED),
        ((terms(upload_host="ftp://x"),), FaultKind.MALFORMED),
        ((terms(upload_host="https://x.example"),), FaultKind.MALFORMED),
        ((terms(upload_host="https://aliyuncs.com.x.example"),), FaultKind.MALFORMED),
        ((terms(upload_host="https://xaliyuncs.com"),), FaultKind.MALFORMED),
        ((terms(upload_host="https://a.aliyuncs.com@x.example"),), FaultKind.MALFORMED),
        ((terms(upload_host="http://a.oss.aliyuncs.com"),), FaultKind.MALFORMED),
        ((terms(upload_host="https://a.oss.aliyuncs.com:8443"),), FaultKind.MALFORMED),
        ((terms(upload_host="https://[::1"),), FaultKind.MALFORMED),
        ((terms(upload_host="http://10.0.0.1"),), FaultKind.MALFORMED),
        ((terms(max_file_size_mb=0.000001),), FaultKind.REJECTED),
        ((terms(), NotSent("refused")), FaultKind.NOT_SENT),
        ((terms(), Broken("reset")), FaultKind.TIMEOUT),
        ((terms(), answer(403, b"<Code>AccessDenied</Code> Policy expired")), FaultKind.TRANSIENT),
        ((terms(), answer(409, b"<Code>FileAlreadyExists</Code>")), FaultKind.TRANSIENT),
        ((terms(), answer(503, b"<Code>SlowDown</Code>")), FaultKind.TRANSIENT),
        ((terms(), answer(400, b"<Code>EntityTooLarge</Code>")), FaultKind.REJECTED),
        ((terms(), answer(204, b"")), FaultKind.TRANSIENT),
    ],
)
def test_an_upload_that_failed_says_whether_to_try_again(told: tuple[Outcome, ...], kind: FaultKind) -> None:
    """What the storage says is nothing of the account: only the gateway's own answer parks it."""
    step = dashscope.upload("qwen-image-edit", PNG, "a.png", told)
    assert isinstance(step, UploadFailed)
    assert step.fault.kind is kind


def test_the_module_is_a_provider() -> None:
    """It is registered by its name."""
    provider: Provider = PROVIDERS["dashscope"]
    assert provider is PROVIDERS[dashscope.NAME]


# --- the card -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "unit", "most", "plain"),
    [
        ("https://dashscope-intl.aliyuncs.com/api/v1", "USD", "0.075", "0.035"),
        ("https://ws-1.ap-southeast-1.maas.aliyuncs.com/api/v1", "USD", "0.075", "0.035"),
        ("https://dashscope.aliyuncs.com/api/v1", "CNY", "0.5", None),
        ("https://ws-1.cn-beijing.maas.aliyuncs.com/api/v1", "CNY", "0.5", None),
        ("https://cn-hongkong.dashscope.aliyuncs.com/api/v1", "USD", None, None),
        ("https://ws-1.us-east-1.maas.aliyuncs.com/api/v1", "USD", None, None),
        ("https://dashscope.example.com/api/v1", "USD", None, None),
    ],
)
def test_a_site_has_its_own_money(host: str, unit: str, most: str | None, plain: str | None) -> None:
    """*Source* - price page: USD abroad, CNY in Beijing, where of qwen-image nothing exact is known; else unknown."""
    there = in_region(CARD, host)
    for name, price in (("qwen-image-max", most), ("qwen-image", plain)):
        assert there.models[name].price_per_image == price, name
    assert {model.price_unit for model in there.models.values()} == {unit}


def test_a_snapshot_that_is_another_model_has_its_own_lane() -> None:
    """Another name of a model is sent as that model; a later snapshot is not the same, and is never replaced by it."""
    names = {alias for model in CARD.models.values() for alias in model.aliases}
    assert names == {
        "qwen-image-2.0-pro-2026-03-03",
        "qwen-image-2.0-2026-03-03",
        "qwen-image-max-2025-12-30",
        "qwen-image-edit-max-2026-01-16",
        "qwen-image-edit-plus-2025-10-30",
    }
    for later in ("qwen-image-2.0-pro-2026-04-22", "qwen-image-edit-plus-2025-12-15", "qwen-image-plus-2026-01-09"):
        assert later in CARD.models


def test_the_card_and_the_adapter_agree_on_what_travels_inside_a_call() -> None:
    """What the adapter takes for an upload is what the card sends by one."""
    pictures = [model.pictures for model in CARD.models.values() if model.pictures is not None]
    assert pictures
    assert {(rule.carry, rule.inline_bytes_max) for rule in pictures} == {("auto", dashscope.INLINE_MAX)}
