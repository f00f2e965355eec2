"""Laws of MuleRouter's module: total, and never lighter with money than its table."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.providers import mulerouter
from pipeline.values.reply import (
    Gone,
    OperationFailed,
    Pending,
    PollBroken,
    Ready,
    Refused,
    StillRunning,
    Unknown,
)
from pipeline.values.wire import Answered, Response
from tests.plan.jobs import CARD
from tests.providers.tongues import task

TASK = task("mulerouter", "qwen-image-max", operation="image.generate")
NASTY: list[object] = [
    None,
    True,
    0,
    -1,
    10**30,
    1e300,
    "",
    "x",
    "..",
    "a b",
    "\ud800",
    "\x1b[2J",
    [],
    ["x"],
    [{}],
    {},
    {"id": "x"},
]
VALUES = st.sampled_from(NASTY) | st.text(max_size=8)
ERRORS = VALUES | st.fixed_dictionaries({"code": VALUES, "title": VALUES, "detail": VALUES})
STATES = st.sampled_from(["pending", "completed", "failed", "succeeded"]) | VALUES
INFOS = st.fixed_dictionaries({"id": VALUES, "status": STATES}, optional={"error": ERRORS})
LINKS = st.lists(st.sampled_from(["https://x.example/0", "/0", "", "a b", "\ud800", 7]), max_size=3)
NAMED = st.fixed_dictionaries(
    {},
    optional={
        "task_info": INFOS | VALUES,
        "images": LINKS | VALUES,
        "detail": VALUES,
        "error": ERRORS,
        "message": VALUES,
    },
)
WRITTEN = NAMED.map(lambda value: json.dumps(value).encode())
TORN = st.builds(lambda data, cut: data[:cut], WRITTEN, st.integers(0, 60))
BODIES = WRITTEN | TORN | st.binary(max_size=40)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "retry-after", "date", "traceparent"]),
    st.text(max_size=12)
    | st.sampled_from(["text/html", "3", "-1", "1e9", "inf", "Wed, 21 Oct 2026 07:28:00 GMT", "Mon, 99 X 0 GMT"]),
)
STATUSES = st.integers(100, 599) | st.sampled_from([200, 202, 400, 403, 404, 409, 429, 500])
RESPONSES = st.builds(Response, STATUSES, BODIES, HEADERS)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(RESPONSES)
def test_any_bytes_have_a_meaning_and_only_the_table_releases_money_laws(response: Response) -> None:
    """Submits: total; Refused comes from a status of the table, Pending from a 2xx with an id, else Unknown."""
    match mulerouter.submitted(TASK, Answered(response), CARD.not_billed):
        case Refused(fault):
            assert response.status in {row.status for row in CARD.not_billed}
            assert fault.status == response.status
            assert len(fault.message) <= 500
            assert fault.retry_after_s is None or 0 <= fault.retry_after_s <= 86_400
        case Pending(operation):
            assert 200 <= response.status < 300
            assert str(json.loads(response.body)["task_info"]["id"]) == operation
        case reply:
            assert isinstance(reply, Unknown)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(RESPONSES)
def test_any_bytes_are_an_answer_to_a_poll_laws(response: Response) -> None:
    """Polls: total; pictures and ends come only with a 2xx, and texts of it can be stored."""
    reply = mulerouter.polled(TASK, Answered(response))
    match reply:
        case Ready(links, billed):
            assert 200 <= response.status < 300
            assert 0 < len(links) <= billed <= 6
            assert len(set(links)) == len(links)
            assert "".join(links).encode()
        case OperationFailed() | StillRunning():
            assert 200 <= response.status < 300
        case Gone():
            assert response.status == 404
        case _:
            assert isinstance(reply, PollBroken)
    if not isinstance(reply, Ready | StillRunning):
        reply.fault.message.encode()
        reply.fault.request_id.encode()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.from_regex(r"\A[!-~]{1,60}\Z"))
def test_a_poll_never_leaves_its_models_path_laws(operation: str) -> None:
    """Whatever id a gateway gives, the GET goes below the model's path and carries the id back whole."""
    path = mulerouter.poll(TASK, operation).path
    head, _, tail = path.rpartition("/")
    assert head == "/vendors/alibaba/v1/qwen-image-max/generation"
    assert not set("?#/\\ ") & set(tail)
