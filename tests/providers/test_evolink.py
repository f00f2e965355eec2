"""Evolink's language as tables: task -> body, answer -> meaning; each row with where we know it from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Bug
from pipeline.providers import PROVIDERS, evolink, evolink_answers
from pipeline.providers.answers import BODY_MAX
from pipeline.values.digest import JSON
from pipeline.values.money import Money
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl, Placed, Provider, UploadFailed
from pipeline.values.reply import (
    Balance,
    EvidenceBroken,
    Fault,
    FaultKind,
    Gone,
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
from pipeline.values.task import Input, LocalInput, Picture, Price, Task, UrlInput
from pipeline.values.wire import Answered, Broken, NotSent, Outcome, Request, Response
from tests.providers.tongues import card, task

CARD = card("evolink")
#: A picture of this machine: Evolink's go up before.
LOCAL = LocalInput("a.png", Picture("a" * 64, "image/png", 9_000, 800, 500))
PLUS = replace(task("evolink", "qwen-image-edit-plus"), prompt="Replace the background", inputs=(LOCAL,))
PLAIN = replace(PLUS, model="qwen-image-edit")
NEW = replace(PLUS, model="qwen-image-3.0", operation="image.generate")
PRO = replace(NEW, model="qwen-image-3.0-pro")
URL = CarriedUrl("https://example.com/1.png")
PLACED = CarriedUrl("https://files.example.com/a1.jpg")
HOOK = "https://hooks.example.com/evolink"
ID = "task-unified-1757156493-imcg5zqt"


def answer(status: int, body: JSON | bytes, **headers: str) -> Answered:
    """An outcome with this status and body; header names with underscores for hyphens."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answered(Response(status, data, {name.replace("_", "-"): value for name, value in headers.items()}))


def told(status: str, **more: JSON) -> dict[str, JSON]:
    """A task object as the vendor writes it."""
    return {
        "created": 1757156493,
        "id": ID,
        "object": "image.generation.task",
        "status": status,
        "type": "image",
        **more,
    }


def error(code: JSON, message: str = "no", **more: JSON) -> dict[str, JSON]:
    """An error as the vendor writes it."""
    return {"error": {"code": code, "message": message, "type": "invalid_request_error", **more}}


def schema(model: str) -> Any:
    """The shipped schema of a model's request body."""
    file = Path(__file__).parents[2] / "schemas" / "requests" / f"evolink.{model}.json"
    return json.loads(file.read_text())


SENT: list[tuple[str, Task, tuple[Carried, ...], dict[str, JSON]]] = [
    (
        "page of qwen-image-edit-plus: required fields; n is always said",
        PLUS,
        (URL,),
        {"model": "qwen-image-edit-plus", "prompt": "Replace the background", "image_urls": [URL.url], "n": 1},
    ),
    (
        "page of qwen-image-edit-plus: every field, size WxH with n = 1",
        replace(
            PLUS,
            size="1024x1024",
            seed=12345,
            negative_prompt="blurry",
            params={"prompt_extend": True, "watermark": False, "callback_url": HOOK},
        ),
        (URL, PLACED),
        {
            "model": "qwen-image-edit-plus",
            "prompt": "Replace the background",
            "image_urls": [URL.url, PLACED.url],
            "n": 1,
            "size": "1024x1024",
            "seed": 12345,
            "negative_prompt": "blurry",
            "prompt_extend": True,
            "watermark": False,
            "callback_url": HOOK,
        },
    ),
    (
        "page of qwen-image-edit: model, prompt, image_urls, callback_url, and no n",
        replace(PLAIN, params={"callback_url": HOOK}),
        (URL,),
        {
            "model": "qwen-image-edit",
            "prompt": "Replace the background",
            "image_urls": [URL.url],
            "callback_url": HOOK,
        },
    ),
    (
        "schema of qwen-image-3.0: text to image has no image_urls; a ratio as a word, with quality",
        replace(NEW, n=4, size="16:9", params={"quality": "2K", "prompt_extend": True, "watermark": True}),
        (),
        {
            "model": "qwen-image-3.0",
            "prompt": "Replace the background",
            "n": 4,
            "size": "16:9",
            "quality": "2K",
            "prompt_extend": True,
            "watermark": True,
        },
    ),
    (
        "schema of qwen-image-3.0: auto as a word; seed 0 is a seed",
        replace(NEW, size="auto", seed=0, params={"callback_url": HOOK}),
        (),
        {
            "model": "qwen-image-3.0",
            "prompt": "Replace the background",
            "n": 1,
            "size": "auto",
            "seed": 0,
            "callback_url": HOOK,
        },
    ),
    (
        "schema of qwen-image-3.0-pro: edits; size in pixels and n are independent",
        replace(
            PRO,
            operation="image.edit",
            n=3,
            size="1536x640",
            params={"quality": "1K", "prompt_extend": False, "watermark": False, "callback_url": HOOK},
        ),
        (PLACED,),
        {
            "model": "qwen-image-3.0-pro",
            "prompt": "Replace the background",
            "image_urls": [PLACED.url],
            "n": 3,
            "size": "1536x640",
            "quality": "1K",
            "prompt_extend": False,
            "watermark": False,
            "callback_url": HOOK,
        },
    ),
    (
        "a parameter never takes the place of what the task says",
        replace(PLUS, params={"prompt": "another", "model": "dearer", "n": 6, "image_urls": []}),
        (URL,),
        {"model": "qwen-image-edit-plus", "prompt": "Replace the background", "image_urls": [URL.url], "n": 1},
    ),
]


@pytest.mark.parametrize(("one", "inputs", "body"), [row[1:] for row in SENT], ids=[row[0] for row in SENT])
def test_a_task_is_sent_as_the_vendors_page_says(one: Task, inputs: tuple[Carried, ...], body: JSON) -> None:
    """One path for all models; the body holds what the task says and nothing else."""
    request = evolink.submit(one, inputs, "0af3")
    assert (request.method, request.path, request.base, request.url) == ("POST", "/v1/images/generations", "", "")
    assert request.body is not None
    assert json.loads(request.body) == body
    jsonschema.validate(body, schema(one.model))
    assert not request.free
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Idempotency-Key": "0af3",
    }


WRONG: list[tuple[str, dict[str, JSON]]] = [
    ("qwen-image-edit-plus", {"size": "1024x1024", "n": 2}),
    ("qwen-image-edit-plus", {"size": "511x512"}),
    ("qwen-image-edit-plus", {"size": "1024*1024"}),
    ("qwen-image-edit-plus", {"size": "16:9"}),
    ("qwen-image-edit-plus", {"image_urls": []}),
    ("qwen-image-edit-plus", {"image_urls": [URL.url] * 4}),
    ("qwen-image-edit-plus", {"image_urls": ["data:image/png;base64,AAAA"]}),
    ("qwen-image-edit-plus", {"prompt": "x" * 2001}),
    ("qwen-image-edit-plus", {"quality": "1K"}),
    ("qwen-image-edit-plus", {"callback_url": "http://hooks.example.com"}),
    ("qwen-image-edit", {"n": 1}),
    ("qwen-image-edit", {"prompt": "x" * 1001}),
    ("qwen-image-3.0", {"n": 7}),
    ("qwen-image-3.0", {"quality": "4K"}),
    ("qwen-image-3.0", {"size": "7:5"}),
    ("qwen-image-3.0-pro", {"seed": -1}),
    ("qwen-image-3.0-pro", {"prompt": "x" * 4501}),
]


@pytest.mark.parametrize(("model", "more"), WRONG)
def test_the_request_schemas_refuse_what_the_pages_refuse(model: str, more: dict[str, JSON]) -> None:
    """Each bound of the pages is a bound of the schema."""
    good: dict[str, JSON] = {"model": model, "prompt": "x", "image_urls": [URL.url]}
    jsonschema.Draft7Validator.check_schema(schema(model))
    jsonschema.validate(good, schema(model))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**good, **more}, schema(model))


def test_every_parameter_of_the_card_occurs_in_a_row() -> None:
    """Nothing can be written into a spec of which nobody has seen how it is sent."""
    shown = {(one.model, name) for _, one, _, _ in SENT for name in one.params}
    wanted = {(model.name, name) for model in CARD.models.values() for name in model.parameters}
    assert wanted <= shown
    assert {one.model for _, one, _, _ in SENT} == set(CARD.models)


def test_without_a_tag_no_key_is_sent_and_a_tag_changes_nothing_else() -> None:
    """The same purchase asked for again has the same body, so the vendor can see that it is the same."""
    plain, tagged = evolink.submit(PLUS, (URL,)), evolink.submit(PLUS, (URL,), "ab")
    assert "Idempotency-Key" not in dict(plain.headers)
    assert plain.body == tagged.body


def test_bytes_are_never_sent_to_a_model() -> None:
    """Links only: a picture that was not uploaded is our mistake, not a body for the vendor to refuse."""
    with pytest.raises(Bug):
        evolink.submit(PLUS, (CarriedBytes("image/png", b"\x89PNG"),))


@pytest.mark.parametrize(
    ("operation", "path"), [(ID, f"/v1/tasks/{ID}"), ("task-unified-a/b?c#d", "/v1/tasks/task-unified-a%2Fb%3Fc%23d")]
)
def test_a_poll_asks_for_exactly_its_task(operation: str, path: str) -> None:
    """An id can never lead the GET to another place."""
    request = evolink.poll(PLUS, operation)
    assert (request.method, request.path, request.body) == ("GET", path, None)


# --- answers to the POST ------------------------------------------------------------------------------------------


def refused(kind: FaultKind, status: int, code: str, message: str = "no", **more: Any) -> Refused:
    """A refusal with the gateway's words."""
    return Refused(Fault(kind, message, code=code, status=status, **more))


FIRST = told("pending", progress=0, usage={"billing_rule": "per_call", "credits_reserved": 1.5})
SUBMITTED: list[tuple[str, Outcome, Reply]] = [
    ("no connection", NotSent("refused"), Unsent(Fault(FaultKind.NOT_SENT, "refused"))),
    ("200 with an id (documented)", answer(200, FIRST), Pending(ID)),
    ("202 with an id", answer(202, FIRST), Pending(ID)),
    (
        "replayed: the header of the vendor's client (observed)",
        answer(200, FIRST, idempotency_replayed="true"),
        Pending(ID, replayed=True),
    ),
    ("replayed: another value", answer(200, FIRST, idempotency_replayed="false"), Pending(ID)),
    ("the largest body that is read", answer(200, json.dumps(FIRST).encode().ljust(BODY_MAX)), Pending(ID)),
    (
        "400 (documented)",
        answer(400, error("invalid_parameters", param="size")),
        refused(FaultKind.REJECTED, 400, "invalid_parameters"),
    ),
    (
        "400 for what was uploaded and is gone (inferred)",
        answer(400, error("resource_not_found")),
        refused(FaultKind.EXPIRED, 400, "resource_not_found"),
    ),
    (
        "400 by the filter (inferred)",
        answer(400, error("content_policy_violation")),
        refused(FaultKind.MODERATED, 400, "content_policy_violation"),
    ),
    (
        "400 before dispatch: worth another try (observed)",
        answer(400, error("no_available_channel")),
        refused(FaultKind.UPSTREAM, 400, "no_available_channel"),
    ),
    ("401 (documented)", answer(401, error("unauthorized")), refused(FaultKind.UNAUTHORIZED, 401, "unauthorized")),
    ("401 with a number as code (documented)", answer(401, error(401)), refused(FaultKind.UNAUTHORIZED, 401, "401")),
    (
        "402 (documented)",
        answer(402, error("quota_exceeded")),
        refused(FaultKind.OUT_OF_CREDIT, 402, "quota_exceeded"),
    ),
    (
        "402 for the key's own daily limit (observed)",
        answer(402, error("key_daily_quota_exhausted", reset_timezone="UTC")),
        refused(FaultKind.OUT_OF_CREDIT, 402, "key_daily_quota_exhausted"),
    ),
    (
        "402 for a disabled key (observed)",
        answer(402, error("key_disabled")),
        refused(FaultKind.UNAUTHORIZED, 402, "key_disabled"),
    ),
    (
        "403 (documented)",
        answer(403, error("permission_denied")),
        refused(FaultKind.UNAUTHORIZED, 403, "permission_denied"),
    ),
    ("404 (inferred)", answer(404, error("not_found")), refused(FaultKind.REJECTED, 404, "not_found")),
    ("413 (observed)", answer(413, {"message": "too large"}), refused(FaultKind.REJECTED, 413, "", "too large")),
    (
        "429 (documented)",
        answer(429, error("rate_limit_exceeded")),
        refused(FaultKind.RATE_LIMITED, 429, "rate_limit_exceeded"),
    ),
    (
        "429 with a number and a header",
        answer(429, error(429), retry_after="7"),
        refused(FaultKind.RATE_LIMITED, 429, "429", retry_after_s=7.0),
    ),
    (
        "429 with a wait in words (observed)",
        answer(429, error("rate_limit_exceeded", fallback_suggestion="retry after 60 seconds")),
        refused(FaultKind.RATE_LIMITED, 429, "rate_limit_exceeded", retry_after_s=60.0),
    ),
    (
        "an id to quote (observed)",
        answer(400, error("x"), x_request_id="req-1"),
        refused(FaultKind.REJECTED, 400, "x", request_id="req-1"),
    ),
]


@pytest.mark.parametrize(("outcome", "reply"), [row[1:] for row in SUBMITTED], ids=[row[0] for row in SUBMITTED])
def test_an_answer_to_a_submit_means(outcome: Outcome, reply: Reply) -> None:
    """The table of what Evolink's answers mean."""
    assert evolink.submitted(PLUS, outcome, CARD.not_billed) == reply


@pytest.mark.parametrize(
    "outcome",
    [
        Broken("reset"),
        answer(200, {}),
        answer(200, told("pending") | {"id": "3c90c3cc"}),
        answer(200, told("pending") | {"id": 7}),
        answer(200, told("pending") | {"id": "task-unified-"}),
        answer(200, told("pending") | {"id": "task-unified-../../credits"}),
        answer(200, told("pending") | {"id": "task-unified-a b"}),
        answer(200, told("pending") | {"id": "task-unified-" + "x" * 181}),
        answer(200, f'{{"id":"{ID}","id":"{ID}2"}}'.encode()),
        answer(200, json.dumps(FIRST).encode() + b" " * BODY_MAX),
        answer(200, json.dumps(FIRST).encode()[:40]),
        answer(204, b""),
        answer(302, error("x"), location="https://elsewhere.example"),
        answer(400, b"<html>nginx</html>"),
        answer(403, b"<!DOCTYPE html><title>error code: 1010</title>"),
        answer(400, b"[]"),
        answer(400, {"trace": 1}),
        answer(400, error("x") | {"id": ID}),
        answer(400, error("x", task_id=ID)),
        answer(409, error("idempotency_conflict")),
        answer(400, error("idempotency_conflict")),
        answer(429, error("paid_outcome_unknown")),
        answer(402, error("PAID_OUTCOME_UNKNOWN")),
        answer(422, error("x")),
        answer(500, error("internal_error")),
        answer(502, error("upstream_error")),
        answer(503, error("no_available_channel")),
    ],
)
def test_an_answer_nobody_vouches_for_keeps_the_money(outcome: Outcome) -> None:
    """Whatever does not prove that nothing was billed is Unknown."""
    assert isinstance(evolink.submitted(PLUS, outcome, CARD.not_billed), Unknown)


@pytest.mark.parametrize(
    ("outcome", "repeats"),
    [
        (answer(409, error("idempotency_conflict")), True),
        (answer(409, error("IDEMPOTENCY_CONFLICT")), True),
        (answer(400, error("idempotency_conflict")), False),
        (answer(409, error("paid_outcome_unknown")), False),
        (answer(409, b"<html>idempotency_conflict</html>"), False),
        (answer(502, error("idempotency_conflict")), False),
    ],
)
def test_only_a_conflict_over_the_key_says_that_a_repeat_bought_nothing(outcome: Outcome, repeats: bool) -> None:  # noqa: FBT001 - a row of the table
    """The engine frees the repeat's money by it, and keeps the first attempt in doubt. *Source* - client (observed)."""
    reply = evolink.submitted(PLUS, outcome, CARD.not_billed)
    assert isinstance(reply, Unknown)
    assert reply.repeats is repeats


@pytest.mark.parametrize("status", range(400, 600))
def test_only_rows_of_the_cards_table_release_money(status: int) -> None:
    """Every error status with a well-formed body: Refused with its row's kind where there is one, Unknown elsewhere."""
    rows = {row.status: row.kind for row in CARD.not_billed if row.code is None}
    reply = evolink.submitted(PLUS, answer(status, error("other")), CARD.not_billed)
    assert isinstance(reply, Refused if status in rows else Unknown)
    assert not isinstance(reply, Refused) or reply.fault.kind is rows[status]
    assert isinstance(evolink.submitted(PLUS, answer(status, error("other")), ()), Unknown)


@pytest.mark.parametrize("row", CARD.not_billed, ids=lambda row: f"{row.status} {row.code}")
def test_every_row_of_the_cards_table_is_reached(row: Any) -> None:
    """A row behind one that takes all codes of its status would never be read."""
    reply = evolink.submitted(PLUS, answer(row.status, error(row.code or "other")), CARD.not_billed)
    assert isinstance(reply, Refused)
    assert reply.fault.kind is row.kind


# --- answers to the GET -------------------------------------------------------------------------------------------

LINKS: list[JSON] = ["https://cdn.example.com/0.png", "https://cdn.example.com/1.png"]
POLLED: list[tuple[str, Outcome, PollReply]] = [
    ("pending (documented)", answer(200, told("pending", progress=0)), StillRunning()),
    ("processing (documented)", answer(200, told("processing", progress=45)), StillRunning()),
    ("a word that nobody documented", answer(200, told("simmering")), StillRunning()),
    (
        "completed (documented)",
        answer(200, told("completed", results=LINKS), x_request_id="r"),
        Ready(("https://cdn.example.com/0.png", "https://cdn.example.com/1.png"), 2, request_id="r"),
    ),
    (
        "completed, with the sum that the vendor took (observed)",
        answer(200, told("completed", results=LINKS[:1], usage={"credits_reserved": 9, "credits_used": 1.5})),
        Ready(("https://cdn.example.com/0.png",), 1, charged=Money(1_500_000, "evolink-credit")),
    ),
    (
        "completed, with a sum that is no number: the price list holds",
        answer(200, told("completed", results=LINKS[:1], usage={"credits_used": "much"})),
        Ready(("https://cdn.example.com/0.png",), 1),
    ),
    (
        "completed, with what was reserved only: the price list holds",
        answer(200, told("completed", results=LINKS[:1], usage={"credits_reserved": 1.5})),
        Ready(("https://cdn.example.com/0.png",), 1),
    ),
    (
        "completed with nothing: nobody says that it is free",
        answer(200, told("completed", results=[])),
        OperationFailed(Fault(FaultKind.SHORT, "completed without any picture", status=200), billed=None),
    ),
    (
        "failed without a reason",
        answer(200, told("failed")),
        OperationFailed(Fault(FaultKind.UPSTREAM, "the task failed", status=200), billed=False),
    ),
    (
        "cancelled, as the words about callbacks say: what it costs is unknown",
        answer(200, told("cancelled")),
        OperationFailed(Fault(FaultKind.UPSTREAM, "cancelled", status=200), billed=None),
    ),
    (
        "request_cancelled (documented): what it costs is unknown",
        answer(200, told("failed", error={"code": "request_cancelled", "message": "Cancelled."})),
        OperationFailed(Fault(FaultKind.UPSTREAM, "Cancelled.", "request_cancelled", 200), billed=None),
    ),
    (
        "unknown id (documented)",
        answer(404, error("task_not_found")),
        Gone(Fault(FaultKind.LOST, "no", code="task_not_found", status=404)),
    ),
    ("no connection", NotSent("dns"), PollBroken(Fault(FaultKind.NOT_SENT, "dns"))),
    ("cut", Broken("reset"), PollBroken(Fault(FaultKind.TIMEOUT, "reset"))),
    ("429", answer(429, error(429)), PollBroken(Fault(FaultKind.RATE_LIMITED, "no", code="429", status=429))),
    ("401", answer(401, error(401)), PollBroken(Fault(FaultKind.UNAUTHORIZED, "no", code="401", status=401))),
    ("500", answer(500, error("e")), PollBroken(Fault(FaultKind.TRANSIENT, "no", code="e", status=500))),
    (
        "invalid_task_id (documented): no evidence about a task",
        answer(400, error("invalid_task_id")),
        PollBroken(Fault(FaultKind.UNKNOWN, "no", code="invalid_task_id", status=400)),
    ),
]


@pytest.mark.parametrize(("outcome", "reply"), [row[1:] for row in POLLED], ids=[row[0] for row in POLLED])
def test_an_answer_to_a_poll_means(outcome: Outcome, reply: PollReply) -> None:
    """The table of how a task stands."""
    assert evolink.polled(PLUS, outcome) == reply


#: The vendor's page of task error codes: (code, what it means, seconds to wait).
TASK_ERRORS: list[tuple[str, FaultKind, float | None]] = [
    ("content_policy_violation", FaultKind.MODERATED, None),
    ("invalid_parameters", FaultKind.REJECTED, None),
    ("image_processing_error", FaultKind.REJECTED, None),
    ("image_dimension_mismatch", FaultKind.REJECTED, None),
    ("resource_not_found", FaultKind.EXPIRED, None),
    ("generation_failed_no_content", FaultKind.UPSTREAM, None),
    ("generation_timeout", FaultKind.UPSTREAM, None),
    ("service_error", FaultKind.UPSTREAM, 60.0),
    ("service_unavailable", FaultKind.UPSTREAM, 120.0),
    ("resource_exhausted", FaultKind.UPSTREAM, 60.0),
    ("unknown_error", FaultKind.UPSTREAM, 60.0),
    ("quota_exceeded", FaultKind.RATE_LIMITED, 60.0),
    ("what_no_page_lists", FaultKind.UPSTREAM, None),
]


@pytest.mark.parametrize(("code", "kind", "wait_s"), TASK_ERRORS)
def test_a_failed_task_is_not_billed_and_says_why(code: str, kind: FaultKind, wait_s: float | None) -> None:
    """A failed task costs nothing (a release note, observed); whether another try is worth it hangs on the code."""
    reply = evolink.polled(
        PLUS, answer(200, told("failed", error={"code": code, "message": "m", "type": "task_error"}))
    )
    assert reply == OperationFailed(Fault(kind, "m", code, 200, retry_after_s=wait_s), billed=False)


@pytest.mark.parametrize(
    "outcome",
    [
        answer(200, b"<html>"),
        answer(200, {}),
        answer(200, {"status": None}),
        answer(200, told("completed")),
        answer(200, told("completed", results="https://x.example")),
        answer(200, told("completed", results=[{"image_url": "https://x.example"}])),
        answer(200, told("completed", results=["https://x.example/a b"])),
        answer(200, told("completed", results=[7, None, ""])),
        answer(404, b"<html>not here</html>"),
        answer(302, b""),
    ],
)
def test_a_poll_without_a_usable_answer_says_nothing_about_the_task(outcome: Outcome) -> None:
    """It is asked again, and no money moves."""
    assert isinstance(evolink.polled(PLUS, outcome), PollBroken)


A, B, C = ("https://x.example/a", "https://x.example/b", "https://x.example/c")
COUNTED: list[tuple[str, int, list[JSON], tuple[str, ...], int]] = [
    ("one more than asked is billed in full", 2, [A, B, C], (A, B, C), 3),
    ("fewer than asked: settlement uses what was made (documented)", 3, [A, B], (A, B), 2),
    ("one picture named twice: the second one is missing", 2, [A, A], (A,), 2),
    ("what is no link is a picture that is not delivered", 2, [A, 7], (A,), 2),
]


@pytest.mark.parametrize(
    ("n", "links", "taken", "billed"), [row[1:] for row in COUNTED], ids=[row[0] for row in COUNTED]
)
def test_links_are_counted(n: int, links: list[JSON], taken: tuple[str, ...], billed: int) -> None:
    """What can be had is collected, what the vendor can have billed is booked, and no link is fetched twice."""
    assert evolink.polled(replace(PLUS, n=n), answer(200, told("completed", results=links))) == Ready(taken, billed)


@pytest.mark.parametrize(("n", "count"), [(1, 7), (6, 13)])
def test_a_count_that_nobody_can_believe_is_no_bill(n: int, count: int) -> None:
    """The hold stays whole and in doubt, and nothing above it is booked."""
    many: list[JSON] = [f"{A}{number}" for number in range(count)]
    reply = evolink.polled(replace(PLUS, n=n), answer(200, told("completed", results=many)))
    assert isinstance(reply, OperationFailed)
    assert (reply.billed, reply.fault.kind) == (None, FaultKind.MALFORMED)


@pytest.mark.parametrize(
    ("used", "booked"),
    [(1.5, 1.5), (3.0, 3.0), (15.0, 15.0), (15.0001, 15.0), (1e8, 15.0), (15_000, 1.5), (24_480, 2.448)],
)
def test_a_sum_far_above_the_price_list_is_bounded_and_its_pictures_are_kept(used: float, booked: float) -> None:
    """10,000 internal units are a credit (study 2.6, observed); any other sum is booked up to ten times the list."""
    priced = replace(PLUS, price=Price("USD", 22_059, 0, "evolink-credit", 1_500_000, "a list"))
    reply = evolink.polled(priced, answer(200, told("completed", results=[A], usage={"credits_used": used})))
    assert reply == Ready((A,), 1, charged=Money(round(booked * 1_000_000), "evolink-credit"))


ROWS = [{"image_url": A}, {"image_url": B}]
DATA: list[tuple[str, dict[str, JSON], PollReply]] = [
    ("result_data alone (observed with other models)", {"result_data": ROWS}, Ready((A, B), 2)),
    ("beside results, of the same pictures", {"results": [A, B], "result_data": ROWS}, Ready((A, B), 2)),
    ("beside results that are empty", {"results": [], "result_data": ROWS}, Ready((A, B), 2)),
    ("beside results without a usable link", {"results": [None, 7], "result_data": ROWS}, Ready((A, B), 2)),
    ("one entry is no link: a picture that is not delivered", {"result_data": [ROWS[0], {}]}, Ready((A,), 2)),
]


@pytest.mark.parametrize(("more", "reply"), [row[1:] for row in DATA], ids=[row[0] for row in DATA])
def test_links_in_result_data_are_collected(more: dict[str, JSON], reply: PollReply) -> None:
    """`result_data[].image_url` (study 2.4, observed): paid pictures are had wherever their links stand."""
    assert evolink.polled(replace(PLUS, n=2), answer(200, told("completed", **more))) == reply


FOREIGN = UrlInput("https://example.com/a.png")


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [((), FaultKind.REJECTED), ((FOREIGN,), FaultKind.REJECTED), ((FOREIGN, LOCAL), FaultKind.EXPIRED)],
)
def test_only_what_was_uploaded_can_be_uploaded_again(inputs: tuple[Input, ...], kind: FaultKind) -> None:
    """A URL of the spec that is not there is refused: another submit of the same would end alike."""
    task = replace(PLUS, inputs=inputs)
    refusal = evolink.submitted(task, answer(400, error("resource_not_found")), CARD.not_billed)
    assert isinstance(refusal, Refused)
    assert refusal.fault.kind is kind
    end = evolink.polled(task, answer(200, told("failed", error={"code": "resource_not_found", "message": "m"})))
    assert isinstance(end, OperationFailed)
    assert (end.fault.kind, end.billed) == (kind, False)


# --- the file service ---------------------------------------------------------------------------------------------

PNG = CarriedBytes("image/png", b"\x89PNG\r\n--pipeline-\x00")
KEPT: Mapping[str, JSON] = {
    "file_id": "file_abc123",
    "file_url": "https://files.example.com/a1.png",
    "upload_time": "2026-02-26T10:30:00Z",
    "expires_at": "2026-03-01T10:30:00Z",
}


def kept(**more: JSON) -> dict[str, JSON]:
    """An upload's answer as the vendor writes it."""
    return {"success": True, "code": 200, "msg": "File uploaded successfully", "data": {**KEPT, **more}}


def test_an_upload_is_one_form_with_one_file() -> None:
    """The documented stream upload: multipart, field `file`, at the file service, free, and no key of ours in it."""
    request = evolink.upload("qwen-image-edit-plus", PNG, 'a"b\r\n.png', ())
    assert isinstance(request, Request)
    assert (request.method, request.base, request.path) == ("POST", "files", "/api/v1/files/upload/stream")
    assert request.free
    kind = dict(request.headers)["Content-Type"]
    assert request.body is not None
    boundary = kind.removeprefix("multipart/form-data; boundary=").encode()
    assert boundary not in PNG.data
    assert len(boundary) <= 70, "RFC 2046"
    head, _, rest = request.body.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"--" + boundary,
        b'Content-Disposition: form-data; name="file"; filename="a-b--.png"',
        b"Content-Type: image/png",
    ]
    assert rest == PNG.data + b"\r\n--" + boundary + b"--\r\n"


@pytest.mark.parametrize(
    ("outcome", "end"),
    [
        (answer(200, kept()), Placed("https://files.example.com/a1.png", 259_200.0)),
        (answer(200, kept(expires_at=None)), Placed("https://files.example.com/a1.png", None)),
        (answer(200, kept(expires_at="2026-03-01T10:30:00")), Placed("https://files.example.com/a1.png", None)),
        (answer(200, kept(expires_at="2026-02-01T10:30:00Z")), Placed("https://files.example.com/a1.png", 0.0)),
        (answer(200, kept(expires_at="9999-03-01T10:30:00Z")), Placed("https://files.example.com/a1.png", 2_592_000.0)),
        (NotSent("dns"), FaultKind.NOT_SENT),
        (Broken("reset"), FaultKind.TIMEOUT),
        (answer(200, kept(file_url="file:///etc/passwd")), FaultKind.MALFORMED),
        (answer(200, kept(file_url="https://a.example/a b")), FaultKind.MALFORMED),
        (answer(200, {"success": True}), FaultKind.MALFORMED),
        (answer(200, {"success": False, "code": 40001, "msg": "large"}), FaultKind.REJECTED),
        (answer(400, {"success": False, "code": 40002, "msg": "type"}), FaultKind.REJECTED),
        (answer(400, {"success": False, "code": 40003, "msg": "quota"}), FaultKind.CLOSED),
        (answer(400, {"success": False, "code": 40004, "msg": "source"}), FaultKind.UPSTREAM),
        (answer(500, {"success": False, "code": 50001, "msg": "storage"}), FaultKind.TRANSIENT),
        (answer(200, {"success": False, "code": 401, "msg": "key"}), FaultKind.UNAUTHORIZED),
        (answer(401, error("unauthorized")), FaultKind.UNAUTHORIZED),
        (answer(413, b"<html>"), FaultKind.REJECTED),
        (answer(429, error(429)), FaultKind.RATE_LIMITED),
        (answer(502, b"<html>"), FaultKind.TRANSIENT),
        (answer(418, b""), FaultKind.UNKNOWN),
    ],
)
def test_an_upload_ends(outcome: Outcome, end: Placed | FaultKind) -> None:
    """The vendor's own moments say how long it is kept; its codes say whether another try can help."""
    found = evolink.upload("qwen-image-3.0", PNG, "a.png", [outcome])
    if isinstance(end, Placed):
        assert found == end
    else:
        assert isinstance(found, UploadFailed)
        assert found.fault.kind is end


# --- credits ------------------------------------------------------------------------------------------------------


def test_the_balance_is_asked_for_where_the_page_says() -> None:
    """A GET that buys nothing."""
    request = evolink.balance()
    assert (request.method, request.path, request.gateway) == ("GET", "/v1/credits", "evolink")


@pytest.mark.parametrize(
    ("used", "micros"),
    [(0, 0), (1.5, 1_500_000), (0.1836, 183_600), (123456.7891, 123_456_789_100), (2.2999, 2_299_900)],
)
def test_credits_are_read_to_their_four_decimals(used: float, micros: int) -> None:
    """The token's own use, as exact micro-units: binary fractions leave nothing behind."""
    body: JSON = {"success": True, "data": {"user": {"used_credits": 9}, "token": {"used_credits": used}}}
    assert evolink.balanced(answer(200, body)) == Balance("evolink-credit", micros)


@pytest.mark.parametrize(
    "outcome",
    [
        Broken("reset"),
        answer(200, {"success": False, "data": {"token": {"used_credits": 1}}}),
        answer(200, {"success": True, "data": {"user": {"used_credits": 1}}}),
        answer(200, {"success": True, "data": {"token": {"used_credits": -1}}}),
        answer(200, {"success": True, "data": {"token": {"used_credits": "1"}}}),
        answer(200, {"success": True, "data": {"token": {"used_credits": True}}}),
        answer(200, b'{"success":true,"data":{"token":{"used_credits":1e999}}}'),
        answer(401, error(401)),
    ],
)
def test_a_balance_that_is_not_told_proves_nothing(outcome: Outcome) -> None:
    """No number, no evidence."""
    assert isinstance(evolink.balanced(outcome), EvidenceBroken)


def test_a_list_of_tasks_is_no_evidence() -> None:
    """It was observed and is not documented: nothing is asked, and whatever came back would prove nothing."""
    assert evolink.listing("qwen-image-3.0", 0, 1, None) is None  # type: ignore[func-returns-value]
    assert isinstance(evolink.listed(answer(200, {"data": []})), EvidenceBroken)
    assert (CARD.lists_operations, CARD.tells_balance) == (False, True)


def test_the_module_is_registered_under_its_cards_name() -> None:
    """A spec's `evolink/...` reaches it."""
    module: Provider = PROVIDERS["evolink"]
    assert module is evolink
    assert CARD.name == evolink.NAME


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 10**13))
def test_credits_survive_json_laws(units: int) -> None:
    """Ten thousand of the vendor's units are one credit: each count of them comes through a JSON number unchanged."""
    assert evolink_answers.micros_told(json.loads(json.dumps(units / 10_000))) == units * 100


def test_a_full_file_service_is_said_in_words_that_help() -> None:
    """It is no network that is down, and no pause of minutes mends it: this model's lane is parked by it."""
    asset = CarriedBytes("image/png", b"x")
    full = answer(400, {"success": False, "code": 40003, "msg": "file quota exceeded: 100 files"})
    step = evolink.upload("qwen-image-edit-plus", asset, "a.png", (full,))
    assert isinstance(step, UploadFailed)
    assert step.fault.kind is FaultKind.CLOSED
    for words in ("file quota exceeded: 100 files", "delete some there", "72 hours"):
        assert words in step.fault.message
