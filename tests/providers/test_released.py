"""What no gateway's adapter releases: an error body that names, anywhere, an id, a usage or a result."""

from __future__ import annotations

import copy
import json

import pytest

from pipeline.providers.answers import speaks_of_work
from pipeline.values.digest import JSON
from pipeline.values.reply import Refused, Unknown
from pipeline.values.wire import Answered, Response
from tests.providers.tongues import TONGUES

#: {gateway: an error about the request, as its adapter knows to release it}.
CLEAN: dict[str, dict[str, JSON]] = {
    "mulerouter": {"type": "about:blank", "title": "Invalid Request", "status": 400, "detail": "n: too large"},
    "evolink": {"error": {"code": "invalid_parameters", "message": "n: too large", "type": "invalid_request_error"}},
    "1min": {"errorCode": "BAD_REQUEST", "message": "n is required"},
    "dashscope": {"request_id": "0385dc79-5ff8-4d82-bcb6-4f1a3c90b36a", "code": "InvalidParameter", "message": "n"},
}
#: What may be added to it, and then says that work was begun.
SPOILT: list[dict[str, JSON]] = [
    {"id": "x1"},
    {"data": {"id": "task-1"}},
    {"data": [{"task": {"uuid": 7}}]},
    {"taskId": "1"},
    {"task_id": "1"},
    {"operationId": 12},
    {"usage": {"credits_used": 1.5}},
    {"meta": {"usage": {"image_count": 1}}},
    {"credits_used": 1.5},
    {"results": ["https://x.example/1"]},
    {"data": {"results": [{"url": "https://x.example/1"}]}},
    {"data": {"result_data": [{"image_url": "https://x.example/1"}]}},
    {"data": ["https://x.example/1.png?Signature=1"]},
    {"output": {"choices": [{"message": {"content": [{"image": "https://x.example/1"}]}}]}},
    {"images": ["https://x.example/1"]},
    {"aiRecord": {"uuid": "1"}},
    {"temporaryUrl": "https://x.example/1"},
    {"resultObject": ["images/1.png"]},
    {"task_info": {"status": "failed"}},
    {"info": {"status": "processing"}},
    {"hint": "ask for task-unified-1757156493-imcg5zqt"},
    {"hint": "the task id 41 failed"},
    {"hint": "see 3c90c3cc-0d44-4b50-8888-8dd25736052a"},
]
#: What says nothing of work.
HARMLESS: list[dict[str, JSON]] = [
    {"traceId": "3c90c3cc-0d44-4b50-8888-8dd25736052a"},
    {"request-id": "1"},
    {"team_id": "1"},
    {"id": None},
    {"usage": {}},
    {"usage": {"image_count": 0, "more": [], "less": False, "words": " "}},
    {"output": {}},
    {"results": []},
    {"paid": "no"},
    {"help": "https://docs.example/errors"},
]


def bodies(gateway: str, more: dict[str, JSON]) -> list[dict[str, JSON]]:
    """The clean body with this beside its words, and within its own objects."""
    made = [{**copy.deepcopy(CLEAN[gateway]), **more}]
    inner = CLEAN[gateway].get("error")
    if isinstance(inner, dict):
        made.append({"error": {**inner, **more}})
    return made


def reply(gateway: str, body: JSON) -> object:
    """What the adapter makes of this body with a 400."""
    tongue = TONGUES[gateway]
    outcome = Answered(Response(400, json.dumps(body).encode(), {}))
    return tongue.module.submitted(tongue.task, outcome, tongue.card.not_billed)


@pytest.mark.parametrize("gateway", TONGUES)
def test_an_error_about_the_request_alone_is_released(gateway: str) -> None:
    """The rows below are worth something only if the clean body is released."""
    assert isinstance(reply(gateway, CLEAN[gateway]), Refused)


@pytest.mark.parametrize("gateway", TONGUES)
@pytest.mark.parametrize("more", SPOILT, ids=json.dumps)
def test_an_error_that_speaks_of_work_keeps_the_money(gateway: str, more: dict[str, JSON]) -> None:
    """Names work, so not free: wherever in the body that stands."""
    for body in bodies(gateway, more):
        assert isinstance(reply(gateway, body), Unknown), body


@pytest.mark.parametrize("gateway", TONGUES)
@pytest.mark.parametrize("more", HARMLESS, ids=json.dumps)
def test_an_error_with_harmless_fields_is_still_released(gateway: str, more: dict[str, JSON]) -> None:
    """Ids of requests and accounts, nulls, zeros and links to help are no work."""
    for body in bodies(gateway, more):
        assert isinstance(reply(gateway, body), Refused), body


def test_the_guard_follows_any_depth_without_recursion() -> None:
    """As deep as a body can be read."""
    deep: dict[str, object] = {"id": 1}
    for _ in range(50_000):
        deep = {"a": deep}
    assert speaks_of_work(deep)
    while deep:  # taken apart by hand: freeing it whole would recurse
        deep = deep.get("a", {})  # type: ignore[assignment]  # only dicts stand there
