"""How 1min.ai talks: pictures go up to its Asset API first, then one synchronous POST answers with the pictures made.

*Source* - the vendor's page for IMAGE_EDITOR / qwen-image-edit-plus and its Asset API page, as of 2026-11; statuses
and error bodies were observed by other clients. There is no operation, no list, no balance: a lost answer stays lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, assert_never
from urllib.parse import unquote, urlsplit

from pipeline.errors import Bug
from pipeline.providers.answers import (
    NAME_MAX,
    believable,
    broken,
    find_row,
    is_link,
    is_page,
    is_success,
    not_sent,
    read_object,
    speaks_of_work,
    words,
)
from pipeline.providers.forms import form
from pipeline.providers.onemin_answers import (
    code_of,
    fault_of,
    message_of,
    priced,
    record_of,
    request_id_of,
    texts_of,
)
from pipeline.providers.onemin_refusals import about_a_lost_asset, about_the_content, about_the_request
from pipeline.values.card import NotBilled
from pipeline.values.digest import JSON
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl, Placed, UploadFailed, UploadStep
from pipeline.values.reply import (
    BalanceReply,
    EvidenceBroken,
    Fault,
    FaultKind,
    ListReply,
    PollBroken,
    PollReply,
    Ready,
    Refused,
    Reply,
    Unknown,
    Unsent,
)
from pipeline.values.task import Task
from pipeline.values.wire import Answered, Broken, NotSent, Outcome, Request, Response

NAME: Final = "1min"

#: The card's further address below which a result's key may answer: a link `asset:KEY`.
ASSET: Final = "asset"

_FEATURES: Final = "/api/features"
_ASSETS: Final = "/api/assets"
_KEY_MAX: Final = 1_024
#: What an upload's status means. Uploads cost nothing, so that these release nothing either.
_OF_AN_UPLOAD: Final[Mapping[int, FaultKind]] = MappingProxyType(
    {
        400: FaultKind.REJECTED,
        401: FaultKind.UNAUTHORIZED,
        403: FaultKind.UNAUTHORIZED,
        406: FaultKind.OUT_OF_CREDIT,
        413: FaultKind.REJECTED,
        415: FaultKind.REJECTED,
        422: FaultKind.REJECTED,
        429: FaultKind.RATE_LIMITED,
    }
)


# --- questions ----------------------------------------------------------------------------------------------------


def submit(task: Task, inputs: Sequence[Carried], tag: str = "") -> Request:
    """The POST that buys this task. Only what the task says is sent, and `n`, which the page requires."""
    del tag  # No idempotency key is documented.
    wanted: dict[str, JSON] = dict(task.params)
    wanted["prompt"] = task.prompt
    wanted["n"] = task.n
    paths = [_path(picture) for picture in inputs]
    if paths:
        wanted["imageUrl"] = paths[0]
    if paths[1:]:
        wanted["additional_images"] = [*paths[1:]]
    if task.size is not None:
        width, _, height = task.size.partition("x")
        wanted |= {"width": int(width), "height": int(height)}
    if task.negative_prompt is not None:
        wanted["negative_prompt"] = task.negative_prompt
    if task.seed is not None:
        wanted["seed"] = task.seed
    body: JSON = {"type": "IMAGE_EDITOR", "model": task.model, "promptObject": wanted}
    return Request(
        gateway=task.gateway,
        method="POST",
        path=_FEATURES,
        body=json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(),
        headers=(("Content-Type", "application/json"), ("Accept", "application/json")),
    )


def upload(model: str, asset: CarriedBytes, name: str, told: Sequence[Outcome]) -> UploadStep:
    """One form with one file; its answer names the path that a submit names. *Source* - Asset API page."""
    del model  # A path serves every model of the account.
    if not told:
        return _form(asset, name)
    match told[-1]:
        case NotSent() as outcome:
            return UploadFailed(not_sent(outcome))
        case Broken() as outcome:
            return UploadFailed(broken(outcome))
        case Answered(response):
            return _placed(response)
        case outcome:
            assert_never(outcome)


def _form(asset: CarriedBytes, name: str) -> Request:
    body, kind = form({}, "asset", name, asset)
    headers = (("Content-Type", kind), ("Accept", "application/json"))
    return Request(NAME, "POST", _ASSETS, body, headers=headers, free=True)


def _path(picture: Carried) -> str:
    match picture:
        case CarriedUrl(location):
            return location
        case CarriedBytes():
            raise Bug("1min.ai takes no picture inside a body: it is uploaded first")
    assert_never(picture)


def poll(task: Task, operation: str) -> Request:
    """Never asked: the POST's answer holds the pictures. *Raises* Bug."""
    raise Bug(f"1min.ai has no operations, so none to ask for: {operation[:40]} of task {task.number}")


def listing(model: str, since: int, until: int, page: str | None) -> None:
    """1min.ai documents no list of records."""


def balance() -> None:
    """1min.ai documents no balance."""


# --- answers ------------------------------------------------------------------------------------------------------


def submitted(task: Task, outcome: Outcome, not_billed: Sequence[NotBilled]) -> Reply:
    """What the outcome of that POST means; the default is Unknown, which keeps the money.

    Left out of the card's table on purpose: 403, 404 and 5xx, of which nobody says that no credits were taken.
    """
    match outcome:
        case NotSent():
            return Unsent(not_sent(outcome))
        case Broken():
            return Unknown(broken(outcome))
        case Answered(response):
            return _recorded(task, response) if is_success(response) else _not_accepted(task, response, not_billed)
    assert_never(outcome)


def polled(task: Task, outcome: Outcome) -> PollReply:
    """Never asked: whatever comes says nothing."""
    del task, outcome
    return PollBroken(Fault(FaultKind.UNKNOWN, "1min.ai has no operations"))


def listed(outcome: Outcome) -> ListReply:
    """Never asked."""
    del outcome
    return EvidenceBroken(Fault(FaultKind.UNKNOWN, "1min.ai lists no records"))


def balanced(outcome: Outcome) -> BalanceReply:
    """Never asked."""
    del outcome
    return EvidenceBroken(Fault(FaultKind.UNKNOWN, "1min.ai tells no balance"))


def _recorded(task: Task, response: Response) -> Reply:
    """A 2xx: the record's pictures, or Unknown: what became of the credits is said nowhere."""
    record = record_of(read_object(response.body))
    if record is None:
        return Unknown(fault_of(FaultKind.MALFORMED, response, "answered without a record"))
    status = words(record.get("status"), NAME_MAX)
    if status.upper() != "SUCCESS":
        told = f"the record's status is {status or 'missing'}, and nobody says whether that costs credits"
        message = message_of(read_object(response.body) or {})
        return Unknown(fault_of(FaultKind.UPSTREAM, response, told, f"{told}: {message}" if message else told))
    keys, signed = _keys(record), record.get("temporaryUrl")
    if not keys and not (is_link(signed)):
        return Unknown(fault_of(FaultKind.MALFORMED, response, "a record without any picture"))
    if not believable(len(keys), task.n):
        # A number that the vendor cannot have made is no bill: the hold stays whole, and somebody has to look.
        many = f"a record with {len(keys)} pictures for {task.n}, which nobody can believe"
        return Unknown(fault_of(FaultKind.MALFORMED, response, many))
    links = _links(keys or [""], signed)
    if not links:
        return Unknown(fault_of(FaultKind.MALFORMED, response, "a record without a usable link or key"))
    # Credits are asked for before the work, for all of `n`: that some come back when fewer are made is said nowhere.
    billed = max(len(links), task.n)
    return Ready(links=links, billed_images=billed, request_id=request_id_of(response))


def _keys(record: Mapping[str, object]) -> list[object]:
    detail = record.get("aiRecordDetail")
    keys = detail.get("resultObject") if isinstance(detail, dict) else None
    # One key in the place of a list is one picture.
    return [keys] if isinstance(keys, str) and keys else keys if isinstance(keys, list) else []


def _links(keys: Sequence[object], temporary: object) -> tuple[str, ...]:
    """A link for each picture: the signed one where it belongs, by its path, and `asset:KEY` for the others."""
    links = [_asset_link(key) for key in keys]
    if is_link(temporary):
        links[_place_of(temporary, keys)] = temporary
    return tuple(dict.fromkeys(link for link in links if link))


def _place_of(link: str, keys: Sequence[object]) -> int:
    """Which of the keys a signed link is for. A link for none of them is the first one's, as the page shows it."""
    try:
        path = "/" + unquote(urlsplit(link).path).lstrip("/")
    except ValueError:
        return 0
    return next((at for at, key in enumerate(keys) if isinstance(key, str) and key and path.endswith("/" + key)), 0)


def _asset_link(key: object) -> str:
    """`asset:KEY`, a path below the asset host; empty for what is no key. A whole link stays one."""
    if not isinstance(key, str) or not 0 < len(key) <= _KEY_MAX or not key.isprintable():
        return ""
    if "://" in key:
        return key if is_link(key) else ""
    if key.startswith("/") or "\\" in key or any(part in {"", ".", ".."} for part in key.split("/")):
        return ""
    return f"{ASSET}:{key}"


def _not_accepted(task: Task, response: Response, not_billed: Sequence[NotBilled]) -> Reply:
    page, answer = is_page(response), read_object(response.body) or {}
    texts = texts_of(answer)
    believable = not page and bool(texts) and not speaks_of_work(answer)
    if response.status == 400:
        believable = believable and about_the_request(texts)
    row = find_row(not_billed, response.status, code_of(answer), page=page) if believable else None
    if row is not None:
        gone = response.status == 400 and row.kind is FaultKind.REJECTED and about_a_lost_asset(texts)
        return Refused(priced(task, fault_of(FaultKind.EXPIRED if gone else row.kind, response, "refused")))
    kind = FaultKind.TRANSIENT if response.status >= 500 else FaultKind.UNKNOWN
    kind = FaultKind.MODERATED if response.status == 400 and about_the_content(texts) else kind
    return Unknown(fault_of(kind, response, "an answer that is not in the not-billed table"))


def _placed(response: Response) -> UploadStep:
    """The path of an upload: `fileContent.path`, or `asset.key`, which is the same."""
    if not is_success(response):
        status = response.status
        kind = _OF_AN_UPLOAD.get(status, FaultKind.TRANSIENT if status >= 500 else FaultKind.UNKNOWN)
        if is_page(response):
            kind = FaultKind.TRANSIENT  # Somebody in front of the API, who may be gone the next time.
        return UploadFailed(fault_of(kind, response, "the upload was refused"))
    answer = read_object(response.body) or {}
    for holder, name in (("fileContent", "path"), ("asset", "key")):
        part = answer.get(holder)
        path = part.get(name) if isinstance(part, dict) else None
        if isinstance(path, str) and 0 < len(path) <= _KEY_MAX and path.isprintable() and " " not in path:
            return Placed(path)
    return UploadFailed(fault_of(FaultKind.MALFORMED, response, "an upload's answer without a path"))
