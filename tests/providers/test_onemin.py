"""1min.ai's language as tables: task -> request, answer -> meaning; each row with where we know it from."""

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
from pipeline.plan.catalog import read_card
from pipeline.providers import PROVIDERS, onemin
from pipeline.providers.answers import BODY_MAX
from pipeline.runtime.history import remedy_of
from pipeline.values.digest import JSON
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl, Placed, UploadFailed, UploadStep
from pipeline.values.reply import (
    PRICE_TOO_LOW,
    EvidenceBroken,
    Fault,
    FaultKind,
    PollBroken,
    Ready,
    Refused,
    Reply,
    Unknown,
    Unsent,
)
from pipeline.values.task import Price, Task
from pipeline.values.wire import Answered, Broken, NotSent, Outcome, Request, Response
from tests.providers.tongues import task

SCHEMAS = Path(__file__).parents[2] / "schemas"
CARD = read_card((SCHEMAS / "gateways" / "1min.json").read_text(), "1min.json")
MODEL = CARD.models["qwen-image-edit-plus"]
CREDITS = Price("1min-credit", 100_000_000, 0, "1min-credit", 100_000_000, "stated in the spec")
EDIT = task("1min", "qwen-image-edit-plus", prompt="Make it snow", price=CREDITS)
ONE = CarriedUrl("images/2026_01_10_22_07_53_181_a.png")
TWO = CarriedUrl("images/2026_01_10_22_07_26_478_b.webp")
THREE = CarriedUrl("development/images/2026_01_10_22_07_28_777_c.webp")
PNG = CarriedBytes("image/png", b"\x89PNG\r\n--\r\n\x00")


def answer(status: int, body: JSON | bytes, **headers: str) -> Answered:
    """An outcome with this status and body; header names with underscores for hyphens."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answered(Response(status, data, {name.replace("_", "-"): value for name, value in headers.items()}))


REQUESTS: list[tuple[str, Task, tuple[Carried, ...], dict[str, JSON]]] = [
    (
        "the page's required fields: imageUrl, prompt, n; nothing is added that was not asked for",
        EDIT,
        (ONE,),
        {"imageUrl": ONE.url, "prompt": "Make it snow", "n": 1},
    ),
    (
        "the page's table: width and height as numbers, two additional images, seed, negative prompt, prompt_extend",
        replace(EDIT, n=6, size="1024x1021", seed=2, negative_prompt="blurry", params={"prompt_extend": True}),
        (ONE, TWO, THREE),
        {
            "imageUrl": ONE.url,
            "additional_images": [TWO.url, THREE.url],
            "prompt": "Make it snow",
            "n": 6,
            "width": 1024,
            "height": 1021,
            "seed": 2,
            "negative_prompt": "blurry",
            "prompt_extend": True,
        },
    ),
    (
        "the page's bounds: the least side, the greatest seed; false is said",
        replace(EDIT, size="512x2048", seed=2_147_483_647, negative_prompt="", params={"prompt_extend": False}),
        (ONE,),
        {
            "imageUrl": ONE.url,
            "prompt": "Make it snow",
            "n": 1,
            "width": 512,
            "height": 2048,
            "seed": 2_147_483_647,
            "negative_prompt": "",
            "prompt_extend": False,
        },
    ),
    (
        "text is UTF-8 as it is written",
        replace(EDIT, prompt="墨水 und Öl", seed=0),
        (ONE,),
        {"imageUrl": ONE.url, "prompt": "墨水 und Öl", "n": 1, "seed": 0},
    ),
    (
        "a parameter never takes the place of what the task says",
        replace(EDIT, params={"prompt": "another", "n": 5}),
        (ONE,),
        {"imageUrl": ONE.url, "prompt": "Make it snow", "n": 1},
    ),
]


@pytest.mark.parametrize(("task", "inputs", "wanted"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
def test_a_task_is_sent_as_the_vendors_page_says(task: Task, inputs: tuple[Carried, ...], wanted: JSON) -> None:
    """POST /api/features with type, model and promptObject; the request schema accepts it."""
    request = onemin.submit(task, inputs, "0123abcd")
    assert (request.gateway, request.method, request.path, request.base) == ("1min", "POST", "/api/features", "")
    assert ("Content-Type", "application/json") in request.headers
    assert not request.free
    assert request.body is not None
    sent = json.loads(request.body)
    assert sent == {"type": "IMAGE_EDITOR", "model": "qwen-image-edit-plus", "promptObject": wanted}
    assert b"0123abcd" not in request.body
    schema = json.loads((SCHEMAS / "requests" / "1min.qwen-image-edit-plus.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(sent, schema)


def test_every_parameter_of_the_card_occurs_in_a_row() -> None:
    """What the card offers is sent somewhere in the table, and so is every optional part of a task."""
    sent = {key for _, task, _, _ in REQUESTS for key in task.params}
    assert set(MODEL.parameters) <= sent
    wanted = {key for row in REQUESTS for key in row[3]}
    assert {"seed", "negative_prompt", "width", "height", "additional_images", "n"} <= wanted


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"imageUrl": "a.png", "prompt": "x"},
        {"imageUrl": "a.png", "prompt": "", "n": 1},
        {"imageUrl": "a.png", "prompt": "x", "n": 7},
        {"imageUrl": "a.png", "prompt": "x", "n": 1, "additional_images": ["b", "c", "d"]},
        {"imageUrl": "a.png", "prompt": "x", "n": 1, "width": 511, "height": 512},
        {"imageUrl": "a.png", "prompt": "x", "n": 1, "width": 512, "height": 2049},
        {"imageUrl": "a.png", "prompt": "x", "n": 1, "width": 512},
        {"imageUrl": "a.png", "prompt": "x", "n": 1, "negative_prompt": "x" * 501},
        {"imageUrl": "a.png", "prompt": "x", "n": 1, "seed": 2_147_483_648},
        {"imageUrl": "a.png", "prompt": "x", "n": 1, "size": "1024x1024"},
    ],
)
def test_the_request_schema_refuses_what_the_page_refuses(wanted: dict[str, JSON]) -> None:
    """Each bound of the page is a bound of the schema."""
    schema = json.loads((SCHEMAS / "requests" / "1min.qwen-image-edit-plus.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"type": "IMAGE_EDITOR", "model": "qwen-image-edit-plus", "promptObject": wanted}, schema)


def test_a_picture_in_a_body_is_our_mistake() -> None:
    """Pictures are uploaded first: bytes that come here would be sent as nothing."""
    with pytest.raises(Bug, match="uploaded first"):
        onemin.submit(EDIT, (PNG,))


# --- uploads --------------------------------------------------------------------------------------------------------


def test_an_upload_is_one_form_with_one_file() -> None:
    """The Asset API page: multipart field `asset`, a file name with an extension. RFC 7578: the bytes as they are."""
    request = onemin.upload("qwen-image-edit-plus", PNG, "0f3c.png", ())
    assert isinstance(request, Request)
    assert (request.gateway, request.method, request.path, request.base) == ("1min", "POST", "/api/assets", "")
    assert request.free
    kind = dict(request.headers)["Content-Type"]
    boundary = kind.removeprefix("multipart/form-data; boundary=")
    assert request.body == (
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="asset"; filename="0f3c.png"\r\n'
            "Content-Type: image/png\r\n\r\n"
        ).encode()
        + PNG.data
        + f"\r\n--{boundary}--\r\n".encode()
    )
    assert onemin.upload("qwen-image-edit-plus", PNG, "0f3c.png", ()) == request


@pytest.mark.parametrize("name", ['a".png', "a\r\nX: y.png", "../a.png", "ä b.png"])
def test_no_file_name_leaves_its_quotes(name: str) -> None:
    """Whatever the name is, the form has one part with one header of two lines."""
    request = onemin.upload("qwen-image-edit-plus", PNG, name, ())
    assert isinstance(request, Request)
    assert request.body is not None
    head = request.body.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert len(head) == 3
    assert head[1].count(b'"') == 4
    assert head[1].endswith(b'.png"')


KEPT: dict[str, JSON] = {
    "asset": {"fieldname": "asset", "key": "images/2024_09_30_10_00_00_000_example.png", "acl": "private"},
    "fileContent": {"uuid": "1", "path": "images/2024_09_30_10_00_00_000_example.png", "type": "png"},
}
PATH = "images/2024_09_30_10_00_00_000_example.png"
UPLOADED: list[tuple[str, Outcome, UploadStep]] = [
    ("the page's sample: fileContent.path", answer(200, KEPT), Placed(PATH)),
    ("201", answer(201, KEPT), Placed(PATH)),
    ("asset.key, which the page says is the same", answer(200, {"asset": KEPT["asset"]}), Placed(PATH)),
    ("no connection", NotSent("dns"), UploadFailed(Fault(FaultKind.NOT_SENT, "dns"))),
    ("cut", Broken("reset"), UploadFailed(Fault(FaultKind.TIMEOUT, "reset"))),
    (
        "no extension (observed)",
        answer(400, {"message": "Unsupported file type"}),
        UploadFailed(Fault(FaultKind.REJECTED, "Unsupported file type", status=400)),
    ),
    (
        "a bad key (observed)",
        answer(401, {"message": "Invalid API key"}),
        UploadFailed(Fault(FaultKind.UNAUTHORIZED, "Invalid API key", status=401)),
    ),
    ("413", answer(413, {"message": "x"}), UploadFailed(Fault(FaultKind.REJECTED, "x", status=413))),
    (
        "too fast",
        answer(429, {"message": "x"}, retry_after="3"),
        UploadFailed(Fault(FaultKind.RATE_LIMITED, "x", status=429, retry_after_s=3.0)),
    ),
    (
        "no credits",
        answer(406, {"errorCode": "INSUFFICIENT_CREDITS", "message": "x"}),
        UploadFailed(Fault(FaultKind.OUT_OF_CREDIT, "x", code="INSUFFICIENT_CREDITS", status=406)),
    ),
    ("503", answer(503, {"message": "x"}), UploadFailed(Fault(FaultKind.TRANSIENT, "x", status=503))),
    (
        "a page in front of the API is nobody's verdict on the picture",
        answer(400, b"<html>nginx</html>"),
        UploadFailed(Fault(FaultKind.TRANSIENT, "the upload was refused", status=400)),
    ),
    (
        "a path that cannot be one",
        answer(200, {"fileContent": {"path": "a\r\nb"}}),
        UploadFailed(Fault(FaultKind.MALFORMED, "an upload's answer without a path", status=200)),
    ),
    (
        "half an answer",
        answer(200, b'{"asset":{"key":"ima'),
        UploadFailed(Fault(FaultKind.MALFORMED, "an upload's answer without a path", status=200)),
    ),
]


@pytest.mark.parametrize(("outcome", "step"), [row[1:] for row in UPLOADED], ids=[row[0] for row in UPLOADED])
def test_an_answer_to_an_upload_means(outcome: Outcome, step: UploadStep) -> None:
    """The table of what the Asset API's answers mean."""
    assert onemin.upload("qwen-image-edit-plus", PNG, "0f3c.png", (outcome,)) == step


# --- answers --------------------------------------------------------------------------------------------------------

KEY = "images/2026_01_12_17_02_11_069_503598.png"
OTHER = "images/2026_01_12_17_02_11_070_503599.png"
THIRD = "images/2026_01_12_17_02_11_071_503600.png"
SIGNED: str = "https://s3.us-east-1.amazonaws.com/asset.1min.ai/{}?X-Amz-Expires=604800&X-Amz-Signature=SIGNATURE"
FIRST = SIGNED.format(KEY)


def record(keys: JSON, link: JSON = FIRST, status: JSON = "SUCCESS", **more: JSON) -> dict[str, JSON]:
    """A record as the page shows it."""
    return {
        "aiRecord": {
            "uuid": "f85656ed",
            "model": "qwen-image-edit-plus",
            "type": "IMAGE_EDITOR",
            "status": status,
            "aiRecordDetail": {"promptObject": {"n": 1}, "resultObject": keys, "responseObject": {}},
            "temporaryUrl": link,
            **more,
        }
    }


def made(links: tuple[str, ...], billed: int) -> Ready:
    """Pictures of the page's record."""
    return Ready(links, billed, request_id="f85656ed")


PICTURES: list[tuple[str, int, JSON, Reply]] = [
    ("the page's sample", 1, record([KEY]), made((SIGNED.format(KEY),), 1)),
    (
        "n: 2: the second is a key below the asset host (observed with one client)",
        2,
        record([KEY, OTHER]),
        made((SIGNED.format(KEY), f"asset:{OTHER}"), 2),
    ),
    (
        "the signed link belongs to the key that its path names",
        3,
        record([OTHER, KEY, THIRD]),
        made((f"asset:{OTHER}", SIGNED.format(KEY), f"asset:{THIRD}"), 3),
    ),
    (
        "a path with escapes names its key too",
        2,
        record([OTHER, "images/a b.png"], SIGNED.format("images/a%20b.png")),
        made((f"asset:{OTHER}", SIGNED.format("images/a%20b.png")), 2),
    ),
    (
        "a link for no key is the first one's, as in the sample",
        2,
        record([KEY, OTHER], SIGNED.format("images/else.png")),
        made((SIGNED.format("images/else.png"), f"asset:{OTHER}"), 2),
    ),
    ("no signed link: keys alone", 1, record([KEY], None), made((f"asset:{KEY}",), 1)),
    ("a signed link that is none", 1, record([KEY], "s3://x"), made((f"asset:{KEY}",), 1)),
    (
        "a whole link in the place of a key",
        1,
        record(["https://x.example/1.png"], ""),
        made(("https://x.example/1.png",), 1),
    ),
    (
        "fewer than asked are booked in full: nobody says that credits come back",
        3,
        record([KEY]),
        made((SIGNED.format(KEY),), 3),
    ),
    (
        "one more than asked is booked above the hold",
        1,
        record([KEY, OTHER]),
        made((SIGNED.format(KEY), f"asset:{OTHER}"), 2),
    ),
    (
        "a key named twice is one picture",
        2,
        record([KEY, KEY], None),
        made((f"asset:{KEY}",), 2),
    ),
    (
        "keys that lead out of the asset host are pictures that cannot be had",
        3,
        record([KEY, "../../etc/passwd", "/a"]),
        made((SIGNED.format(KEY),), 3),
    ),
    (
        "keys that are missing: the signed link is a picture all the same",
        2,
        record([]),
        made((SIGNED.format(KEY),), 2),
    ),
    ("one key in the place of the list", 1, record(KEY), made((SIGNED.format(KEY),), 1)),
    ("one key in the place of the list, without a link", 1, record(KEY, None), made((f"asset:{KEY}",), 1)),
    ("no detail at all, but a signed link", 1, record(None), made((SIGNED.format(KEY),), 1)),
    ("status in lower case", 1, record([KEY], status="success"), made((SIGNED.format(KEY),), 1)),
]


@pytest.mark.parametrize(("n", "body", "reply"), [row[1:] for row in PICTURES], ids=[row[0] for row in PICTURES])
def test_a_record_is_a_link_for_each_picture(n: int, body: JSON, reply: Reply) -> None:
    """The table of what a 200 means."""
    assert onemin.submitted(replace(EDIT, n=n), answer(200, body), CARD.not_billed) == reply


def refused(kind: FaultKind, status: int, message: str, **more: Any) -> Refused:
    """A refusal with the gateway's words."""
    return Refused(Fault(kind, message, status=status, **more))


POOR = "The feature requires 95 credits, but the x team only has 35 credits"
SUBMITTED: list[tuple[str, Outcome, Reply]] = [
    ("no connection", NotSent("refused"), Unsent(Fault(FaultKind.NOT_SENT, "refused"))),
    (
        "406 (observed)",
        answer(406, {"errorCode": "INSUFFICIENT_CREDITS", "message": POOR}),
        refused(FaultKind.OUT_OF_CREDIT, 406, POOR, code="INSUFFICIENT_CREDITS"),
    ),
    ("401 (observed)", answer(401, {"message": "bad key"}), refused(FaultKind.UNAUTHORIZED, 401, "bad key")),
    (
        "400 about an asset that is gone (inferred): it is uploaded again",
        answer(400, {"message": "imageUrl: asset not found"}),
        refused(FaultKind.EXPIRED, 400, "imageUrl: asset not found"),
    ),
    (
        "400 about a model that is gone (observed: ids are removed without notice)",
        answer(400, {"message": "model not found"}),
        refused(FaultKind.REJECTED, 400, "model not found"),
    ),
    (
        "400 with the field that is wrong",
        answer(400, {"errorCode": "BAD_REQUEST", "message": "promptObject.n: required"}),
        refused(FaultKind.REJECTED, 400, "promptObject.n: required", code="BAD_REQUEST"),
    ),
    (
        "other clients' order of words: message, error, detail",
        answer(400, {"detail": "Bad Request", "error": {"message": "unsupported model"}}),
        refused(FaultKind.REJECTED, 400, "unsupported model"),
    ),
    (
        "a list of words",
        answer(400, {"message": ["n must be a number", "seed must not be less than 0"], "error": "Bad Request"}),
        refused(FaultKind.REJECTED, 400, "n must be a number"),
    ),
    ("429", answer(429, {"message": "slow"}), refused(FaultKind.RATE_LIMITED, 429, "slow")),
    (
        "429 with seconds",
        answer(429, {"message": "slow"}, retry_after="12"),
        refused(FaultKind.RATE_LIMITED, 429, "slow", retry_after_s=12.0),
    ),
]


@pytest.mark.parametrize(("outcome", "reply"), [row[1:] for row in SUBMITTED], ids=[row[0] for row in SUBMITTED])
def test_an_answer_to_a_submit_means(outcome: Outcome, reply: Reply) -> None:
    """The table of what refusals mean."""
    assert onemin.submitted(EDIT, outcome, CARD.not_billed) == reply


KEEPS: list[tuple[str, Outcome, FaultKind]] = [
    ("a lost answer", Broken("reset"), FaultKind.TIMEOUT),
    ("moderation: nobody says that it is free", answer(400, {"message": "prohibited content"}), FaultKind.MODERATED),
    ("a 400 about the work", answer(400, {"message": "Image generation failed"}), FaultKind.UNKNOWN),
    (
        "a 400 about a picture that could not be read (observed): whether before or after, nobody says",
        answer(400, {"message": "Media analysis failed"}),
        FaultKind.UNKNOWN,
    ),
    (
        "a 400 of which one sentence is about the work",
        answer(400, {"message": ["n must be a number", "Generation failed"]}),
        FaultKind.UNKNOWN,
    ),
    ("a 400 without words", answer(400, {"trace": 1}), FaultKind.UNKNOWN),
    ("a 400 with a record", answer(400, {"message": "invalid", **record([KEY])}), FaultKind.UNKNOWN),
    ("a page", answer(400, b"<html>invalid</html>"), FaultKind.UNKNOWN),
    ("a page of a gatekeeper", answer(429, b"<!doctype html>"), FaultKind.UNKNOWN),
    ("406 for another reason", answer(406, {"errorCode": "NOT_ACCEPTABLE", "message": "no"}), FaultKind.UNKNOWN),
    ("406 without a code", answer(406, {"message": POOR}), FaultKind.UNKNOWN),
    ("403: nobody documents it", answer(403, {"message": "no"}), FaultKind.UNKNOWN),
    ("404: nobody documents it", answer(404, {"message": "not found"}), FaultKind.UNKNOWN),
    ("409", answer(409, {"message": "no"}), FaultKind.UNKNOWN),
    ("422", answer(422, {"message": "invalid"}), FaultKind.UNKNOWN),
    ("a redirect", answer(302, b""), FaultKind.UNKNOWN),
    ("500", answer(500, {"message": "invalid"}), FaultKind.TRANSIENT),
    ("504, after the work", answer(504, b"<html>"), FaultKind.TRANSIENT),
    ("a record that failed", answer(200, record([], status="FAILED")), FaultKind.UPSTREAM),
    ("a record that failed with pictures", answer(200, record([KEY], status="FAILED")), FaultKind.UPSTREAM),
    ("a record without a status", answer(200, record([KEY], status=None)), FaultKind.UPSTREAM),
    ("a record without pictures", answer(200, record([], None)), FaultKind.MALFORMED),
    ("keys that are no list", answer(200, record(7, None)), FaultKind.MALFORMED),
    ("keys that are none", answer(200, record([7, None, ""], None)), FaultKind.MALFORMED),
    ("more than anybody can make", answer(200, record([f"a{n}.png" for n in range(7)])), FaultKind.MALFORMED),
    ("no record", answer(200, {}), FaultKind.MALFORMED),
    ("a record that is none", answer(200, {"aiRecord": []}), FaultKind.MALFORMED),
    ("half a record", answer(200, json.dumps(record([KEY])).encode()[:99]), FaultKind.MALFORMED),
    ("a key that stands twice", answer(200, b'{"aiRecord":{},"aiRecord":{}}'), FaultKind.MALFORMED),
    ("more than is read", answer(200, json.dumps(record([KEY])).encode().ljust(BODY_MAX + 1)), FaultKind.MALFORMED),
    ("nothing", answer(204, b""), FaultKind.MALFORMED),
]


@pytest.mark.parametrize(("outcome", "kind"), [row[1:] for row in KEEPS], ids=[row[0] for row in KEEPS])
def test_an_answer_nobody_vouches_for_keeps_the_money(outcome: Outcome, kind: FaultKind) -> None:
    """Whatever does not prove that no credits were taken is Unknown, with words."""
    reply = onemin.submitted(EDIT, outcome, CARD.not_billed)
    assert isinstance(reply, Unknown)
    assert reply.fault.kind is kind
    assert reply.fault.message


OF_THE_WORK = [
    *("An unknown error occurred while generating the image", "The provider returned an invalid response"),
    *("Generation failed: output missing", "Expected 3 images, got 1", "Image generation exceeds time limit"),
    *("This content is not allowed", "Your prompt was flagged and must be changed", "prompt is not allowed"),
    *("violates policy: unsupported content", "Invalid API key: key does not exist", "prompt: invalid"),
    *("model: required output missing", "n: required, but the provider failed", "The result image was not found"),
    *("imageUrl: required; generation failed", "image not found in the output", "prompt must be changed"),
    *("Unknown error", "invalid", "File not found", "key does not exist", "n must match the pictures that were made"),
    *("prompt is unsupported content", "imageUrl is missing from the results", "seed 7 is too large for what we did"),
]


@pytest.mark.parametrize("told", OF_THE_WORK)
def test_a_400_that_may_speak_of_the_work_keeps_the_money(told: str) -> None:
    """Billing of failed and of moderated calls is unknown (study 3.4, 3.5): only a field and its rule release."""
    for body in ({"message": told}, {"error": {"message": told}}, {"message": "n is required", "detail": told}):
        reply = onemin.submitted(EDIT, answer(400, body), CARD.not_billed)
        assert isinstance(reply, Unknown), reply


@pytest.mark.parametrize(
    "told",
    [
        "promptObject.n: required, must be a number from 1 to 6",
        "promptObject.width, promptObject.height: both must be numbers from 512 to 2048",
        "imageUrl should not be empty",
        "Missing required field: imageUrl",
        "Unsupported model",
        "prompt is too long, at most 800 characters",
        "width must not be greater than 2048",
        "model: must be qwen-image-edit-plus; promptObject.seed: must be a number from 0 to 2147483647",
        "promptObject.additional_images[1]: too large, at most 10 MB",
        "Invalid value for seed",
    ],
)
def test_a_400_that_names_a_field_and_its_rule_releases(told: str) -> None:
    """Then no work was begun (inferred)."""
    reply = onemin.submitted(EDIT, answer(400, {"message": told}), CARD.not_billed)
    assert reply == refused(FaultKind.REJECTED, 400, told)


@pytest.mark.parametrize(
    ("requires", "n", "low"),
    [("300", 2, True), ("200", 2, False), ("200.5", 2, True), ("105", 1, True), ("1", 1, False)],
)
def test_a_406_that_asks_more_than_the_price_says_that_the_price_is_too_low(
    requires: str, n: int, *, low: bool
) -> None:
    """What a call costs is told nowhere else: the price has to be mended, not only the account."""
    told = f"The feature requires {requires} credits, but the x team only has 35 credits"
    reply = onemin.submitted(
        replace(EDIT, n=n), answer(406, {"errorCode": "INSUFFICIENT_CREDITS", "message": told}), CARD.not_billed
    )
    assert isinstance(reply, Refused)
    assert reply.fault.kind is FaultKind.OUT_OF_CREDIT
    assert told in reply.fault.message
    assert (reply.fault.code == PRICE_TOO_LOW) is low
    assert ("`prices:` is too low" in reply.fault.message) is low
    if requires == "300":
        assert "asks 300.00 1min-credit for this call, the spec gives 200.00" in reply.fault.message
        assert "state 150.00 1min-credit an image" in reply.fault.message
        assert "prices" in remedy_of(reply.fault)
        assert "settle" not in remedy_of(reply.fault)


def test_a_record_that_failed_says_its_own_word() -> None:
    """The status that nobody documents is told to the person who has to look."""
    reply = onemin.submitted(EDIT, answer(200, record([], status="QUEUED")), CARD.not_billed)
    assert isinstance(reply, Unknown)
    assert "QUEUED" in reply.fault.message
    assert reply.fault.request_id == "f85656ed"


@pytest.mark.parametrize("status", range(400, 600))
def test_only_rows_of_the_cards_table_release_money(status: int) -> None:
    """Every error status with words about the request and a code: Refused where there is a row, else Unknown."""
    rows: Mapping[int, FaultKind] = {row.status: row.kind for row in CARD.not_billed}
    body: JSON = {"errorCode": "INSUFFICIENT_CREDITS", "message": "n is required"}
    reply = onemin.submitted(EDIT, answer(status, body), CARD.not_billed)
    assert isinstance(reply, Refused if status in rows else Unknown)
    assert not isinstance(reply, Refused) or reply.fault.kind is rows[status]
    assert isinstance(onemin.submitted(EDIT, answer(status, body), ()), Unknown)


def test_nothing_is_polled_listed_or_weighed() -> None:
    """There is no operation, no list and no balance: nothing is asked, and what came back would prove nothing."""
    with pytest.raises(Bug, match="no operations"):
        onemin.poll(EDIT, "x")
    assert isinstance(onemin.polled(EDIT, answer(200, record([KEY]))), PollBroken)
    assert onemin.listing("qwen-image-edit-plus", 0, 1, None) is None  # type: ignore[func-returns-value]
    assert onemin.balance() is None  # type: ignore[func-returns-value]
    assert isinstance(onemin.listed(answer(200, {})), EvidenceBroken)
    assert isinstance(onemin.balanced(answer(200, {})), EvidenceBroken)


def test_the_card_offers_what_is_known_and_states_no_price() -> None:
    """Credits are unknown, t2i is not offered, results are fetched without the key from an address of their own."""
    assert list(CARD.models) == ["qwen-image-edit-plus"]
    assert MODEL.price_per_image is None
    assert MODEL.price_unit == "1min-credit"
    assert MODEL.synchronous
    assert "lost" in MODEL.n_warning
    assert (CARD.auth_header, CARD.auth_prefix, CARD.key_env) == ("API-KEY", "", "ONEMIN_API_KEY")
    assert CARD.bases[onemin.ASSET].keyed is False
    assert CARD.bases[onemin.ASSET].env == "ONEMIN_ASSET_BASE_URL"
    assert MODEL.pictures is not None
    assert (MODEL.pictures.carry, MODEL.pictures.urls) == ("upload", False)
    assert any("qwen-image-plus" in note for note in CARD.notes)
    assert PROVIDERS["1min"] is onemin
    card = json.loads((SCHEMAS / "gateways" / "1min.json").read_text())
    jsonschema.validate(card, json.loads((SCHEMAS / "gateways" / "card.schema.json").read_text()))


# --- laws -----------------------------------------------------------------------------------------------------------

NASTY: list[object] = [None, True, 0, -1, 10**30, 1e300, "", "x", "..", "a b", "\ud800", "\x1b[2J", [], [KEY], {}]
VALUES = st.sampled_from(NASTY) | st.text(max_size=8)
DETAILS = st.fixed_dictionaries({"resultObject": st.lists(VALUES | st.just(KEY), max_size=9) | VALUES})
RECORDS = st.fixed_dictionaries(
    {"status": st.just("SUCCESS") | VALUES, "aiRecordDetail": DETAILS | VALUES},
    optional={"uuid": VALUES, "temporaryUrl": VALUES | st.just(SIGNED.format(KEY))},
)
BODIES = st.fixed_dictionaries(
    {},
    optional={"aiRecord": RECORDS | VALUES, "message": VALUES, "error": VALUES, "errorCode": VALUES},
).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
RESPONSES = st.builds(
    Response,
    st.integers(100, 599) | st.sampled_from([200, 200, 400, 401, 406, 429]),
    BODIES,
    st.dictionaries(st.sampled_from(["content-type", "retry-after"]), st.text(max_size=9)),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(RESPONSES, st.integers(1, 6))
def test_any_bytes_have_a_meaning_and_only_the_table_releases_money_laws(response: Response, n: int) -> None:
    """Total; Ready comes with a 2xx and books at least what was asked; Refused from a status of the table."""
    match onemin.submitted(replace(EDIT, n=n), Answered(response), CARD.not_billed):
        case Ready(links, billed):
            assert 200 <= response.status < 300
            assert n <= billed <= max(6, 2 * n)
            assert 0 < len(links) <= billed
            assert len(set(links)) == len(links)
            "".join(links).encode()
        case Refused(fault):
            assert response.status in {row.status for row in CARD.not_billed}
            fault.message.encode()
        case reply:
            assert isinstance(reply, Unknown)
            reply.fault.message.encode()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(RESPONSES)
def test_any_bytes_are_an_answer_to_an_upload_laws(response: Response) -> None:
    """Total: a path comes with a 2xx only and can be sent; all else is a failure with words."""
    step = onemin.upload("qwen-image-edit-plus", PNG, "a.png", (Answered(response),))
    match step:
        case Placed(location):
            assert 200 <= response.status < 300
            onemin.submit(EDIT, (CarriedUrl(location),))
        case _:
            assert isinstance(step, UploadFailed)
            assert step.fault.message.isprintable()
            step.fault.message.encode()
