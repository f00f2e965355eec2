"""How Evolink talks: one POST for all image models makes a task, a GET with its id says how it stands.

*Source* - the vendor's API page for qwen-image-edit-plus, its pages on tasks, task errors and credits, and clients
under its licence header, as of 2026-11. The marks documented, observed and inferred say how sure we are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final, assert_never
from urllib.parse import quote

from pipeline.errors import Bug
from pipeline.providers import evolink_files
from pipeline.providers.answers import (
    OF_THE_ACCOUNT,
    broken,
    find_row,
    is_page,
    is_success,
    not_sent,
    read_object,
    refused_id,
    speaks_of_work,
    words,
)
from pipeline.providers.evolink_answers import (
    UNIT,
    code_of,
    fault_of,
    for_uploads_only,
    message_of,
    micros_told,
    not_told,
    object_in,
    stands,
)
from pipeline.values.card import NotBilled
from pipeline.values.digest import JSON
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl, UploadStep
from pipeline.values.reply import (
    Balance,
    BalanceReply,
    EvidenceBroken,
    Fault,
    FaultKind,
    ListReply,
    Pending,
    PollBroken,
    PollReply,
    Refused,
    Reply,
    Unknown,
    Unsent,
)
from pipeline.values.task import Task
from pipeline.values.wire import Answered, Broken, NotSent, Outcome, Request, Response

NAME: Final = "evolink"
#: The model whose only fields are model, prompt, image_urls and callback_url (observed): it makes one picture.
_PLAIN: Final = "qwen-image-edit"
#: Ids begin so, or the vendor answers `invalid_task_id` (documented).
_ID: Final = re.compile(r"task-unified-[A-Za-z0-9_-]{1,180}", re.ASCII)
#: Codes that speak of a purchase which may exist; nothing is released for them, whatever the status (observed).
_CONFLICT: Final = "idempotency_conflict"
_PAID_BEFORE: Final = frozenset({_CONFLICT, "paid_outcome_unknown"})


def submit(task: Task, inputs: Sequence[Carried], tag: str = "") -> Request:
    """The POST that buys this task. *Source* - API page of qwen-image-edit-plus; the key: the vendor's client."""
    body: dict[str, JSON] = {**task.params, "model": task.model, "prompt": task.prompt}
    if inputs:
        body["image_urls"] = [_url(picture) for picture in inputs]
    if task.model != _PLAIN:
        body["n"] = task.n
    if task.negative_prompt is not None:
        body["negative_prompt"] = task.negative_prompt
    if task.size is not None:
        body["size"] = task.size
    if task.seed is not None:
        body["seed"] = task.seed
    key = (("Idempotency-Key", tag),) if tag else ()
    return Request(
        gateway=task.gateway,
        method="POST",
        path="/v1/images/generations",
        body=json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(),
        headers=(("Content-Type", "application/json"), ("Accept", "application/json"), *key),
    )


def upload(model: str, asset: CarriedBytes, name: str, told: Sequence[Outcome]) -> UploadStep:
    """One multipart POST to the file service; any model can use what it keeps."""
    del model
    return evolink_files.upload(NAME, asset, name, told)


def submitted(task: Task, outcome: Outcome, not_billed: Sequence[NotBilled]) -> Reply:
    """What the outcome of that POST means; the default is Unknown, which keeps the money.

    Left out of the card's table on purpose: 409, and all 5xx, also with codes that the vendor's client takes for free.
    """
    match outcome:
        case NotSent():
            return Unsent(not_sent(outcome))
        case Broken():
            return Unknown(broken(outcome))
        case Answered(response):
            return _accepted(response) if is_success(response) else _not_accepted(task, response, not_billed)
    assert_never(outcome)


def poll(task: Task, operation: str) -> Request:
    """The GET that asks how a task stands."""
    return Request(
        gateway=task.gateway,
        method="GET",
        path=f"/v1/tasks/{quote(operation, safe='')}",
        headers=(("Accept", "application/json"),),
        free=True,
    )


def polled(task: Task, outcome: Outcome) -> PollReply:
    """What a poll's outcome means. A state that nobody documented is no end."""
    match outcome:
        case NotSent():
            return PollBroken(not_sent(outcome))
        case Broken():
            return PollBroken(broken(outcome))
        case Answered(response):
            return stands(task, response) if is_success(response) else not_told(response)
    assert_never(outcome)


def listing(model: str, since: int, until: int, page: str | None) -> None:
    """A list of tasks was observed, but no page of the vendor promises what it leaves out: it proves nothing."""


def listed(outcome: Outcome) -> ListReply:
    """Never asked."""
    return EvidenceBroken(Fault(FaultKind.UNKNOWN, "Evolink documents no list of tasks"))


def balance() -> Request:
    """The GET that tells how much the key has used. *Source* - the vendor's page on credits (documented)."""
    return Request(gateway=NAME, method="GET", path="/v1/credits", headers=(("Accept", "application/json"),), free=True)


def balanced(outcome: Outcome) -> BalanceReply:
    """The credits that this key has used so far; numbers come with four decimals."""
    match outcome:
        case NotSent(why) | Broken(why):
            return EvidenceBroken(Fault(FaultKind.TIMEOUT, words(why) or "no complete answer came"))
        case Answered(response):
            answer = read_object(response.body) or {}
            token = object_in(object_in(answer.get("data")).get("token"))
            used = micros_told(token.get("used_credits"))
            if response.status == 200 and answer.get("success") is not False and used is not None:
                return Balance(UNIT, used)
            kind = OF_THE_ACCOUNT.get(response.status, FaultKind.UNKNOWN)
            return EvidenceBroken(fault_of(kind, response, "no usable answer about credits"))
    assert_never(outcome)


# --- questions ----------------------------------------------------------------------------------------------------


def _url(picture: Carried) -> str:
    match picture:
        case CarriedUrl(url):
            return url
        case CarriedBytes():
            raise Bug("Evolink takes links only: a picture of this machine is uploaded first")
    assert_never(picture)


# --- answers to the POST ------------------------------------------------------------------------------------------


def _accepted(response: Response) -> Reply:
    """A 2xx: Pending if it carries an id that can be asked about, else nobody knows."""
    operation = (read_object(response.body) or {}).get("id")
    if isinstance(operation, str) and _ID.fullmatch(operation):
        replayed = response.headers.get("idempotency-replayed", "").strip().lower() == "true"
        return Pending(operation, replayed)
    told = f"accepted, but without an id that can be asked about{refused_id(operation)}"
    return Unknown(fault_of(FaultKind.MALFORMED, response, told))


def _not_accepted(task: Task, response: Response, not_billed: Sequence[NotBilled]) -> Reply:
    answer = read_object(response.body) or {}
    code = code_of(answer)
    believable = message_of(answer) != "" and not speaks_of_work(answer) and code.lower() not in _PAID_BEFORE
    page = is_page(response)
    row = find_row(not_billed, response.status, code, page=page) if believable and not page else None
    if row is not None:
        return Refused(for_uploads_only(task, fault_of(row.kind, response, "refused")))
    kind = FaultKind.TRANSIENT if response.status >= 500 else FaultKind.UNKNOWN
    why = fault_of(kind, response, "an answer that is not in the not-billed table")
    # Another body under the key of an earlier POST: this one bought nothing (observed in the vendor's client).
    return Unknown(why, repeats=response.status == 409 and code.lower() == _CONFLICT and not page)
