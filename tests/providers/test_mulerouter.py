"""MuleRouter's language as two tables: task -> body, answer -> meaning; each row with where we know it from."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.providers import PROVIDERS, mulerouter
from pipeline.providers.answers import BODY_MAX
from pipeline.values.card import NotBilled
from pipeline.values.digest import JSON
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl, Provider
from pipeline.values.reply import (
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
from pipeline.values.task import Price, Task
from pipeline.values.wire import Answered, Broken, NotSent, Outcome, Response
from tests.plan.jobs import CARD
from tests.providers.tongues import task

SCHEMAS = Path(__file__).parents[2] / "schemas" / "requests"
PRICE = Price("USD", 75_000, 0, "USD", 75_000, "the vendor's page")
GENERATE = task("mulerouter", "qwen-image-max", operation="image.generate", prompt="A lighthouse", price=PRICE)
EDIT = replace(GENERATE, operation="image.edit", model="qwen-image-edit-max", prompt="Make it snow")
PLUS = replace(EDIT, model="qwen-image-edit-plus")
PNG = CarriedBytes("image/png", b"\x89PNG")
URL = CarriedUrl("https://example.com/a.jpg")
PNG_URI = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
HTML_403 = Response(403, b"<!DOCTYPE html><title>error code: 1010</title>", {"content-type": "text/html"})


def answer(status: int, body: JSON | bytes, **headers: str) -> Answered:
    """An outcome with this status and body; header names with underscores for hyphens."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answered(Response(status, data, {name.replace("_", "-"): value for name, value in headers.items()}))


def info(status: str | None = "pending", identity: JSON = "3c90c3cc", **more: JSON) -> dict[str, JSON]:
    """A task_info as the vendor writes it."""
    return {"task_info": {"id": identity, "status": status, **more}}


@pytest.mark.parametrize(
    ("task", "inputs", "body"),
    [
        pytest.param(GENERATE, (), {"prompt": "A lighthouse"}, id="nothing is added that was not asked for"),
        pytest.param(
            replace(GENERATE, size="1664x928", seed=7, negative_prompt="blurry", params={"prompt_extend": False}),
            (),
            {
                "prompt": "A lighthouse",
                "size": "1664*928",
                "seed": 7,
                "negative_prompt": "blurry",
                "prompt_extend": False,
            },
            id="page of qwen-image-max: size W*H, no n",
        ),
        pytest.param(
            replace(EDIT, n=2, size="1024x768", seed=0),
            (URL, PNG),
            {
                "images": ["https://example.com/a.jpg", PNG_URI],
                "prompt": "Make it snow",
                "n": 2,
                "size": "1024*768",
                "seed": 0,
            },
            id="page of qwen-image-edit-max: images in order, n, size",
        ),
        pytest.param(
            replace(PLUS, prompt="墨水 und Öl"),
            (URL,),
            {"images": ["https://example.com/a.jpg"], "prompt": "墨水 und Öl", "n": 1},
            id="edit-plus talks as edit-max: inferred",
        ),
        pytest.param(
            replace(GENERATE, params={"prompt": "another", "safety_filter": None}),
            (),
            {"prompt": "A lighthouse", "safety_filter": None},
            id="a parameter never takes the place of what the task says",
        ),
    ],
)
def test_a_task_is_sent_as_the_vendors_page_says(task: Task, inputs: tuple[Carried, ...], body: JSON) -> None:
    """The body holds what the task says and nothing else, and the request schema accepts it."""
    request = mulerouter.submit(task, inputs)
    assert request.method == "POST"
    assert request.path == f"/vendors/alibaba/v1/{task.model}/generation"
    assert request.body is not None
    sent = json.loads(request.body)
    assert sent == body
    schema = json.loads((SCHEMAS / f"mulerouter.{task.model}.json").read_text())
    jsonschema.validate(sent, schema)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("qwen-image-max", {"prompt": "x", "size": "1024*1024"}),
        ("qwen-image-max", {"prompt": "x", "n": 1}),
        ("qwen-image-max", {"prompt": "x" * 801}),
        ("qwen-image-edit-max", {"prompt": "x"}),
        ("qwen-image-edit-max", {"prompt": "x", "images": ["http://a"] * 4}),
        ("qwen-image-edit-max", {"prompt": "x", "images": ["http://a"], "size": "511*512"}),
        ("qwen-image-edit-max", {"prompt": "x", "images": ["http://a"], "size": "512*2049"}),
        ("qwen-image-edit-plus", {"prompt": "x", "images": ["http://a"], "n": 7}),
        ("qwen-image-edit-plus", {"prompt": "x", "images": ["http://a"], "seed": -1}),
    ],
)
def test_the_request_schemas_refuse_what_the_pages_refuse(model: str, body: JSON) -> None:
    """Each bound of the pages is a bound of the schema."""
    schema = json.loads((SCHEMAS / f"mulerouter.{model}.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, schema)


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        ("3c90-36a", "/vendors/alibaba/v1/qwen-image-max/generation/3c90-36a"),
        ("a/b?c#d", "/vendors/alibaba/v1/qwen-image-max/generation/a%2Fb%3Fc%23d"),
    ],
)
def test_a_poll_asks_for_exactly_its_operation(operation: str, path: str) -> None:
    """An id can never lead the GET to another place."""
    request = mulerouter.poll(GENERATE, operation)
    assert (request.method, request.path, request.body) == ("GET", path, None)


def refused(kind: FaultKind, status: int, message: str, **more: Any) -> Refused:
    """A refusal with the gateway's words."""
    return Refused(Fault(kind, message, status=status, **more))


PROBLEM: Mapping[str, JSON] = {"type": "about:blank", "title": "Bad", "status": 4, "detail": "no"}
SUBMITTED: list[tuple[str, Outcome, Reply]] = [
    ("no connection", NotSent("refused"), Unsent(Fault(FaultKind.NOT_SENT, "refused"))),
    ("202 with an id (documented)", answer(202, info()), Pending("3c90c3cc")),
    ("200 with an id", answer(200, info()), Pending("3c90c3cc")),
    ("an id as a number", answer(202, info(identity=7)), Pending("7")),
    ("an id with a colon", answer(202, info(identity="task:7.a-b_c")), Pending("task:7.a-b_c")),
    ("the largest body that is read", answer(202, json.dumps(info()).encode().ljust(BODY_MAX)), Pending("3c90c3cc")),
    ("400 (documented)", answer(400, PROBLEM), refused(FaultKind.REJECTED, 400, "no")),
    ("401 (documented)", answer(401, PROBLEM), refused(FaultKind.UNAUTHORIZED, 401, "no")),
    ("402 (documented)", answer(402, PROBLEM), refused(FaultKind.OUT_OF_CREDIT, 402, "no")),
    ("403 (documented)", answer(403, PROBLEM), refused(FaultKind.UNAUTHORIZED, 403, "no")),
    ("404 (observed)", answer(404, PROBLEM), refused(FaultKind.REJECTED, 404, "no")),
    ("405 (documented)", answer(405, PROBLEM), refused(FaultKind.REJECTED, 405, "no")),
    ("422 (inferred)", answer(422, PROBLEM), refused(FaultKind.REJECTED, 422, "no")),
    ("451 (documented)", answer(451, PROBLEM), refused(FaultKind.MODERATED, 451, "no")),
    ("429 without a wait", answer(429, PROBLEM), refused(FaultKind.RATE_LIMITED, 429, "no")),
    (
        "429 with seconds",
        answer(429, PROBLEM, retry_after="12"),
        refused(FaultKind.RATE_LIMITED, 429, "no", retry_after_s=12.0),
    ),
    (
        "429 with a date, measured from the answer's own",
        answer(429, PROBLEM, retry_after="Wed, 21 Oct 2026 07:28:30 GMT", date="Wed, 21 Oct 2026 07:28:00 GMT"),
        refused(FaultKind.RATE_LIMITED, 429, "no", retry_after_s=30.0),
    ),
    (
        "429 with a date and nothing to measure it from",
        answer(429, PROBLEM, retry_after="Wed, 21 Oct 2026 07:28:30 GMT"),
        refused(FaultKind.RATE_LIMITED, 429, "no"),
    ),
    (
        "the client's order of words: error, then message",
        answer(400, {"error": {"code": 400, "message": "bad size"}}, traceparent="00-ab-cd-01"),
        refused(FaultKind.REJECTED, 400, "bad size", code="400", request_id="00-ab-cd-01"),
    ),
    (
        "the CDN's page (observed)",
        Answered(HTML_403),
        refused(
            FaultKind.UNAUTHORIZED,
            403,
            "the CDN in front of MuleRouter refused this client with a page; the API never saw the request",
        ),
    ),
]


@pytest.mark.parametrize(("outcome", "reply"), [row[1:] for row in SUBMITTED], ids=[row[0] for row in SUBMITTED])
def test_an_answer_to_a_submit_means(outcome: Outcome, reply: Reply) -> None:
    """The table of what MuleRouter's answers mean."""
    assert mulerouter.submitted(GENERATE, outcome, CARD.not_billed) == reply


@pytest.mark.parametrize(
    "outcome",
    [
        Broken("reset"),
        answer(202, {}),
        answer(202, info(identity="")),
        answer(202, info(identity=-7)),
        answer(202, info(identity=10**18)),
        answer(202, info(identity=7.0)),
        answer(202, info(identity=True)),
        answer(202, info(identity="a b")),
        answer(202, info(identity=".")),
        answer(202, info(identity="..")),
        answer(202, info(identity="../../v1/keys")),
        answer(202, info(identity="a/b")),
        answer(202, info(identity="a%2fb")),
        answer(202, info(identity="a?b=c")),
        answer(202, info(identity="a#b")),
        answer(202, info(identity="a\\b")),
        answer(202, info(identity="a\r\nX: y")),
        answer(202, info(identity="a\0")),
        answer(202, info(identity="\u202ea")),
        answer(202, info(identity="x" * 201)),
        answer(202, info(identity="x" * 1_000_000)),
        answer(202, b'{"task_info":{"id":"x","id":"y","status":"pending"}}'),
        answer(202, json.dumps(info()).encode() + b" " * BODY_MAX),
        answer(202, b'{"task_info":{"id":"3c90'),
        answer(202, b"[" * 100_000),
        answer(202, b'{"task_info":{"id":"x","progress":NaN}}'),
        answer(202, b'{"task_info":{"id":"x","progress":' + b"9" * 5000 + b"}}"),
        answer(202, b'{"task_info":{"id":"\xff"}}'),
        answer(204, b""),
        answer(302, PROBLEM, location="https://elsewhere.example"),
        answer(400, b"<html>nginx</html>"),
        answer(400, b"[]"),
        answer(400, {"trace": 1}),
        answer(400, {**PROBLEM, **info()}),
        answer(409, PROBLEM),
        answer(423, PROBLEM),
        answer(500, PROBLEM),
        answer(502, b"<html>Bad gateway</html>"),
        answer(503, PROBLEM),
    ],
)
def test_an_answer_nobody_vouches_for_keeps_the_money(outcome: Outcome) -> None:
    """Whatever does not prove that nothing was billed is Unknown."""
    assert isinstance(mulerouter.submitted(GENERATE, outcome, CARD.not_billed), Unknown)


IMAGES: list[JSON] = ["https://x.example/0.png", "https://x.example/1.png"]
POLLED: list[tuple[str, Outcome, PollReply]] = [
    ("pending", answer(200, info("pending")), StillRunning()),
    ("processing", answer(200, info("processing")), StillRunning()),
    ("queued (the vendor's client)", answer(200, info("queued")), StillRunning()),
    ("any other word (the vendor's client)", answer(200, info("simmering")), StillRunning()),
    (
        "completed",
        answer(200, {**info("completed"), "images": IMAGES}, traceparent="00-1"),
        Ready(("https://x.example/0.png", "https://x.example/1.png"), 2, request_id="00-1"),
    ),
    (
        "succeeded (the vendor's client)",
        answer(200, {**info("succeeded"), "images": IMAGES[:1]}),
        Ready(("https://x.example/0.png",), 1),
    ),
    (
        "moderated (documented sample)",
        answer(
            200,
            info(
                "failed",
                error={"code": 3001, "title": "Invalid Request", "detail": "The prompt contains prohibited content"},
            ),
        ),
        OperationFailed(
            Fault(FaultKind.MODERATED, "The prompt contains prohibited content", code="3001", status=200), billed=False
        ),
    ),
    (
        "a bad picture (documented sample)",
        answer(200, info("failed", error={"code": 400, "title": "Invalid Request", "detail": "unsupported format"})),
        OperationFailed(Fault(FaultKind.REJECTED, "unsupported format", code="400", status=200), billed=False),
    ),
    (
        "failed while made (documented sample)",
        answer(200, info("failed", error={"code": 3001, "title": "Task Execution Error", "detail": "oops"})),
        OperationFailed(Fault(FaultKind.UPSTREAM, "oops", code="3001", status=200), billed=False),
    ),
    (
        "failed without a reason",
        answer(200, info("failed")),
        OperationFailed(Fault(FaultKind.UPSTREAM, "the operation failed", status=200), billed=False),
    ),
    (
        "completed with nothing: nobody says that it is free",
        answer(200, {**info("completed"), "images": []}),
        OperationFailed(Fault(FaultKind.SHORT, "completed without any picture", status=200), billed=None),
    ),
    (
        "unknown id (documented)",
        answer(404, {"detail": "The task id x does not exist"}),
        Gone(Fault(FaultKind.LOST, "The task id x does not exist", status=404)),
    ),
    ("no connection", NotSent("dns"), PollBroken(Fault(FaultKind.NOT_SENT, "dns"))),
    ("cut", Broken("reset"), PollBroken(Fault(FaultKind.TIMEOUT, "reset"))),
    (
        "429",
        answer(429, PROBLEM, retry_after="2"),
        PollBroken(Fault(FaultKind.RATE_LIMITED, "no", status=429, retry_after_s=2.0)),
    ),
    ("401", answer(401, PROBLEM), PollBroken(Fault(FaultKind.UNAUTHORIZED, "no", status=401))),
    ("500", answer(500, PROBLEM), PollBroken(Fault(FaultKind.TRANSIENT, "no", status=500))),
]


@pytest.mark.parametrize(("outcome", "reply"), [row[1:] for row in POLLED], ids=[row[0] for row in POLLED])
def test_an_answer_to_a_poll_means(outcome: Outcome, reply: PollReply) -> None:
    """The table of how an operation stands."""
    assert mulerouter.polled(GENERATE, outcome) == reply


@pytest.mark.parametrize(
    "outcome",
    [
        answer(200, b"<html>"),
        answer(200, {}),
        answer(200, info(None)),
        answer(200, info("completed")),
        answer(200, {**info("completed"), "images": "https://x.example"}),
        answer(200, {**info("completed"), "images": [{"url": "https://x.example"}]}),
        answer(200, {**info("completed"), "images": ["https://x.example/a b"]}),
        answer(200, {**info("completed"), "images": ["https://x.example/" + "a" * 100_000]}),
        answer(200, {**info("completed"), "images": [7, None, ""]}),
        answer(404, b"<html>not here</html>"),
        answer(302, b""),
    ],
)
def test_a_poll_without_a_usable_answer_says_nothing_about_the_operation(outcome: Outcome) -> None:
    """It is asked again, and no money moves."""
    assert isinstance(mulerouter.polled(GENERATE, outcome), PollBroken)


A, B, C = ("https://x.example/a", "https://x.example/b", "https://x.example/c")
LONG = "https://x.example/" + "a" * 100_000
LINKS: list[tuple[str, int, list[JSON], tuple[str, ...], int]] = [
    ("one more than asked is billed in full", 2, [A, B, C], (A, B, C), 3),
    ("fewer than asked", 3, [A, B], (A, B), 2),
    ("one picture named twice: the second one is missing", 2, [A, A], (A,), 2),
    ("one picture named twice is not one more than asked", 1, [A, A], (A,), 1),
    ("a link of 100 KB is a picture that is not delivered", 2, [LONG, B], (B,), 2),
    ("so is what is no link", 2, [A, 7], (A,), 2),
    (
        "six is what one call can make",
        1,
        [f"{A}{number}" for number in range(6)],
        tuple(f"{A}{n}" for n in range(6)),
        6,
    ),
]


@pytest.mark.parametrize(("n", "told", "links", "billed"), [row[1:] for row in LINKS], ids=[row[0] for row in LINKS])
def test_links_are_counted(n: int, told: list[JSON], links: tuple[str, ...], billed: int) -> None:
    """What can be had is collected, what the vendor can have billed is booked, and no link is fetched twice."""
    reply = mulerouter.polled(replace(EDIT, n=n), answer(200, {**info("completed"), "images": told}))
    assert reply == Ready(links, billed)


@pytest.mark.parametrize(("n", "count"), [(1, 7), (2, 7), (2, 5_000), (6, 13)])
def test_a_count_that_nobody_can_believe_is_no_bill(n: int, count: int) -> None:
    """5,000 links for two pictures: the hold stays whole and in doubt, and nothing above it is booked."""
    told: list[JSON] = [f"{A}{number}" for number in range(count)]
    reply = mulerouter.polled(replace(EDIT, n=n), answer(200, {**info("completed"), "images": told}))
    assert isinstance(reply, OperationFailed)
    assert (reply.billed, reply.fault.kind) == (None, FaultKind.MALFORMED)


def test_words_from_outside_are_cut_and_made_printable() -> None:
    """No answer can write control characters or half letters into a terminal or a store."""
    body = b'{"detail":"a\\u001b[31m\\ud800' + b"x" * 2000 + b'"}'
    reply = mulerouter.submitted(GENERATE, answer(400, body), CARD.not_billed)
    assert isinstance(reply, Refused)
    assert len(reply.fault.message) == 500
    assert reply.fault.message.isprintable()
    reply.fault.message.encode()


STATUSES = range(400, 500)


@pytest.mark.parametrize("status", STATUSES)
def test_only_rows_of_the_cards_table_release_money(status: int) -> None:
    """Every 4xx with a well-formed error body: Refused with the row's kind where there is a row, Unknown elsewhere."""
    rows = {row.status: row.kind for row in CARD.not_billed if row.body == "error"}
    reply = mulerouter.submitted(GENERATE, answer(status, PROBLEM), CARD.not_billed)
    assert isinstance(reply, Refused if status in rows else Unknown)
    assert not isinstance(reply, Refused) or reply.fault.kind is rows[status]
    assert isinstance(mulerouter.submitted(GENERATE, answer(status, PROBLEM), ()), Unknown)


def test_a_row_with_a_code_needs_that_code() -> None:
    """A vendor that tells cases apart by its own code gets a row for each; the rest of the status stays in doubt."""
    row = NotBilled(409, "no_such_model", "error", FaultKind.REJECTED, "documented", "a page", "2026-11")
    told = {"error": {"code": "no_such_model", "message": "no"}}
    assert isinstance(mulerouter.submitted(GENERATE, answer(409, told), (row,)), Refused)
    for other in ({"error": {"code": "exists", "message": "no"}}, {"error": {"message": "no"}}, PROBLEM):
        assert isinstance(mulerouter.submitted(GENERATE, answer(409, dict(other)), (row,)), Unknown)


def test_a_page_is_refused_only_where_the_table_says_so() -> None:
    """The CDN's 403 page has its row; any other page comes from somebody of whom we know nothing."""
    for status in STATUSES:
        page = Answered(replace(HTML_403, status=status))
        reply = mulerouter.submitted(GENERATE, page, CARD.not_billed)
        assert isinstance(reply, Refused if status == 403 else Unknown), status


def test_mulerouter_offers_no_evidence_about_doubts() -> None:
    """No list and no balance is documented: nothing is asked, and whatever came back would prove nothing."""
    assert mulerouter.listing("qwen-image-max", 0, 1, None) is None  # type: ignore[func-returns-value]
    assert mulerouter.balance() is None  # type: ignore[func-returns-value]
    assert isinstance(mulerouter.listed(answer(200, {})), EvidenceBroken)
    assert isinstance(mulerouter.balanced(answer(200, {})), EvidenceBroken)


def test_every_gateway_has_a_module_and_the_module_the_protocols_functions() -> None:
    """The table of modules has the four gateways, in the order of the documentation."""
    assert tuple(PROVIDERS) == ("mulerouter", "evolink", "1min", "dashscope")
    module: Provider = PROVIDERS["mulerouter"]
    assert module is mulerouter
