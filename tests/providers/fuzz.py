"""Structured fuzz of what gateways answer: `python -m tests.providers.fuzz [--examples N] [--seed S]`.

Any status, bytes and headers have a meaning, the meaning is never lighter with money than the table, and every text
in it can be stored and shown. One example is replayed with `--gateway G --seed S --only N`. What each gateway's answers
look like stands in `tongues.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pipeline.providers.answers import BODY_MAX
from pipeline.values.provider import CarriedBytes, Placed, UploadFailed
from pipeline.values.reply import (
    Balance,
    EvidenceBroken,
    Fault,
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
)
from pipeline.values.task import Task
from pipeline.values.wire import Answered, Request, Response
from tests.providers.tongues import TONGUES, Tongue

_PNG: Final = CarriedBytes("image/png", b"\x89PNG")

_TEXTS: Final = (
    *("", "x", "..", "../..", "a b", "a/b?c#d", "%2e%2e", "\ud800", "\udfff\ud800", "\x00", "\x1b[2J", "\u202e", "é墨"),
    *("https://x.example/0.png", "http://169.254.169.254/", "file:///etc/passwd", "x" * 300, "y" * 9000, "3c90-36a"),
    *("pending", "completed", "failed", "prohibited", "Invalid Request"),
)
_SCALARS: Final = (None, True, False, 0, -1, 7, 400, 10**17, 10**18, 10**30, -0.0, 1e308, 0.1)
#: JSON that `json.dumps` would not write.
_RAW: Final = ("NaN", "-Infinity", "1e999", "-1e999", "9" * 5000, "-" + "9" * 5000, "1" * 4299, "01", "0x1", "'a'")
_HEADERS: Final = ("content-type", "retry-after", "date", "location", "content-length", "x-odd")
_HEADER_TEXTS: Final = (
    *("", "3", "-1", "1e9", "inf", "nan", "9" * 400, "Wed, 21 Oct 2026 07:28:00 GMT", "Mon, 99 X 0 GMT", "0.5", "٣"),
    *("text/html", "application/json", "TEXT/HTML; charset=\x00", "é", "\ufffd", "x" * 10_000, "Wed, 21 Oct 9999 GMT"),
)
_STATUSES: Final = (
    *(200, 201, 202, 204, 206, 301, 307, 400, 401, 402, 403, 404, 405, 406, 409, 422, 429, 451),
    *(500, 502, 503),
)

#: Under these a released body says nothing.
_NAMES_OF_WORK: Final = frozenset(
    {
        *("id", "task_id", "uuid", "task_info", "aiRecord", "usage", "credits_used", "image_count", "results"),
        *("result_data", "resultObject", "images", "choices", "output", "temporaryUrl", "image_url"),
    }
)
_NOTHING: Final = frozenset({"null", "false", "0", "-0.0", "0.0", '""', "[]", "{}"})


class Fuzz:
    """Answers drawn from a seed. It writes JSON by hand, because most of it is not what a library would write."""

    def __init__(self, seed: int, tongue: Tongue, *, large: bool = True) -> None:
        self._draw = random.Random(seed)
        self._tongue = tongue
        #: Whether one in 400 is about as large as an answer may be, which costs as much as the 399 others.
        self._large = large

    def response(self) -> Response:
        """One answer."""
        draw = self._draw
        sort = draw.random()
        status = draw.choice((200, 202) if sort < 0.5 else _STATUSES) if sort < 0.9 else draw.randint(0, 1099)
        names = (*_HEADERS, *self._tongue.headers)
        headers = {draw.choice(names): draw.choice(_HEADER_TEXTS) for _ in range(draw.randint(0, 3))}
        return Response(status, self._spoilt(self._body()), headers)

    def task(self) -> Task:
        """The call that is answered."""
        return replace(self._tongue.task, n=self._draw.randint(1, 6))

    def _body(self) -> bytes:
        kinds: tuple[tuple[Callable[[], bytes], int], ...] = (
            (self._honest, 280),
            (lambda: self._text(4).encode(errors="surrogatepass"), 80),
            (lambda: self._draw.randbytes(self._draw.randint(0, 200)), 24),
            (self._deep, 12),
            (self._at_the_cap, int(self._large)),
            (lambda: b"<!DOCTYPE html><p>1010", 12),
            (lambda: self._text(3).encode(self._draw.choice(("utf-16", "utf-32", "utf-8-sig")), "replace"), 12),
        )
        (made,) = self._draw.choices([make for make, _ in kinds], [weight for _, weight in kinds])
        return made()

    def _honest(self) -> bytes:
        """Nearly what the vendor writes, with something odd in one of its places."""
        draw = self._draw
        links = [f"https://x.example/{number}" for number in range(draw.choice((0, 1, 2, 3, 6, 7, 12, 13, 5000)))]
        links += draw.choices(_TEXTS, k=draw.randint(0, 2))
        places = {
            '"ID"': self._odd(self._tongue.identity),
            '"STATUS"': self._odd(draw.choice(self._tongue.states)),
            '"IMAGES"': self._odd(links),
            '"ERROR"': self._odd({"code": 400, "title": "Bad", "detail": "no"}),
            '"DETAIL"': self._odd("no"),
        }
        text = draw.choice(self._tongue.shapes)
        for place, value in places.items():
            text = text.replace(place, value)
        return text.encode(errors="surrogatepass")

    def _odd(self, usual: object) -> str:
        return json.dumps(usual) if self._draw.random() < 0.7 else self._text(2)

    def _text(self, depth: int) -> str:
        """Any JSON, and things that only look like it."""
        draw = self._draw
        sort = draw.randint(0, 7 if depth else 4)
        match sort:
            case 0 | 1:
                return json.dumps(draw.choice(_TEXTS), ensure_ascii=draw.random() < 0.5)
            case 2 | 3:
                return json.dumps(draw.choice(_SCALARS))
            case 4:
                return draw.choice(_RAW)
            case 5:
                return "[" + ",".join(self._text(depth - 1) for _ in range(draw.randint(0, 3))) + "]"
            case _:
                pairs = (
                    f"{json.dumps(draw.choice(self._tongue.keys))}:{self._text(depth - 1)}"
                    for _ in range(draw.randint(0, 5))
                )
                return "{" + ",".join(pairs) + "}"

    def _deep(self) -> bytes:
        draw = self._draw
        depth = draw.choice((50, 900, 1_100, 100_000))
        opening, closing = draw.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'{"task_info":', b"}"), (b'[{"a":', b"}]")))
        inner = draw.choice((b"", b"0", b'"x"'))
        whole = opening * depth + inner + (closing * depth if draw.random() < 0.7 else b"")
        return whole if draw.random() < 0.5 else self._tongue.start + b',"more":' + whole + b"}"

    def _at_the_cap(self) -> bytes:
        draw = self._draw
        honest = self._honest()
        size = BODY_MAX + draw.choice((-1, 0, 1, BODY_MAX))
        if draw.random() < 0.5:
            return honest.ljust(size)
        return self._tongue.start + b',"more":[' + b"[]," * ((size - 100) // 3) + b"0]}"

    def _spoilt(self, body: bytes) -> bytes:
        """Sometimes cut, doubled, or with flipped bits."""
        draw = self._draw
        chance = draw.random()
        if not body or chance > 0.3:
            return body
        place = draw.randrange(len(body))
        if chance < 0.1:
            return body[:place]
        if chance < 0.2:
            return body[:place] + bytes([body[place] ^ (1 << draw.randrange(8))]) + body[place + 1 :]
        if chance < 0.25:
            return body + body
        return body[:place] + draw.randbytes(draw.randint(1, 4)) + body[place:]


def judge(tongue: Tongue, task: Task, response: Response) -> None:
    """Every meaning of an answer. *Raises* AssertionError for one that could cost money or break a store."""
    module, outcome = tongue.module, Answered(response)
    _judge_reply(tongue, task, response, module.submitted(task, outcome, tongue.card.not_billed))
    _judge_poll_reply(task, response, module.polled(task, outcome))
    match module.upload(task.model, _PNG, "a.png", [outcome]):
        case Placed(location, lives_s):
            assert 200 <= response.status < 300, "kept without a 2xx"
            assert location.isprintable(), "no location"
            location.encode()
            assert lives_s is None or (math.isfinite(lives_s) and lives_s >= 0), "a life without end"
        case UploadFailed(fault):
            _judge_fault(fault)
        case Request():
            pass
    match module.balanced(outcome):
        case Balance(unit, used):
            assert 200 <= response.status < 300, "a balance without a 2xx"
            assert unit, "a balance in nothing"
            assert 0 <= used < 2**62, "a balance that cannot be stored"
        case EvidenceBroken(fault):
            _judge_fault(fault)
    match module.listed(outcome):
        case ListedPage(operations):
            assert 200 <= response.status < 300, "a list without a 2xx"
            for each in operations:
                each.operation.encode()
        case EvidenceBroken(fault):
            _judge_fault(fault)


def _judge_reply(tongue: Tongue, task: Task, response: Response, reply: Reply) -> None:
    match reply:
        case Pending(operation):
            assert 200 <= response.status < 300, "accepted without a 2xx"
            head, _, tail = tongue.module.poll(task, operation).path.rpartition("/")
            assert head == tongue.module.poll(task, "x").path.rpartition("/")[0], "the id leads elsewhere"
            assert not set("%?#/\\. \r\n").intersection(tail[:1]), "the id leads elsewhere"
        case Ready():
            _judge_poll_reply(task, response, reply)
        case Refused(fault):
            rows = tongue.card.not_billed
            # A vendor that bills no error may send one with a 2xx: then the table must know its code.
            by_code = tongue.card.errors_unbilled and 200 <= response.status < 300
            released = (
                fault.code in {row.code for row in rows} if by_code else response.status in {r.status for r in rows}
            )
            assert released, "money released without a row"
            assert fault.status == response.status, "another status than the answer's"
            assert response.body, "money released on an empty answer"
            _judge_released(response)
            _judge_fault(fault)
        case Unknown(fault):
            _judge_fault(fault)
        case _:
            raise AssertionError(f"no meaning of an answer: {reply}")


def _judge_released(response: Response) -> None:
    """A released body names no id, no usage and no result, anywhere. Written without a look at the adapters' guard."""
    body = response.body
    if body[:64].lstrip().lower().startswith(b"<") or "html" in response.headers.get("content-type", "").lower():
        return  # A page in front of the API, which has its own row.
    left: list[tuple[str, object]] = [("", json.loads(body.decode("utf-8-sig")))]
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left += value.items()
        elif isinstance(value, list):
            left += [(name, each) for each in value]
        elif isinstance(value, str):
            assert "task-unified-" not in value, "released, though the body names a task"
        told = name in _NAMES_OF_WORK and json.dumps(value) not in _NOTHING
        assert not told or not _leaves(value), f"released, though the body has {name}"


def _leaves(value: object) -> bool:
    """Whether anything is said in it."""
    if isinstance(value, dict):
        return any(map(_leaves, value.values()))
    return bool(value.strip() if isinstance(value, str) else value)


def _judge_poll_reply(task: Task, response: Response, reply: PollReply) -> None:
    match reply:
        case Ready(links, billed):
            assert 200 <= response.status < 300, "pictures without a 2xx"
            assert 0 < len(links) <= billed <= max(6, 2 * task.n), "a count that nobody can believe"
            assert len(set(links)) == len(links), "a link twice"
            assert all(link.isprintable() and len(link) <= 8192 for link in links), "no link"
            "".join(links).encode()
            reply.request_id.encode()
            assert reply.charged is None or 0 < reply.charged.micros < 2**53, "a sum that no book can hold"
        case StillRunning():
            assert 200 <= response.status < 300, "a state without a 2xx"
        case OperationFailed(fault, _):
            assert 200 <= response.status < 300, "an end without a 2xx"
            _judge_fault(fault)
        case Gone(fault):
            told = response.status == 404 or (response.status < 300 and b"UNKNOWN" in response.body)
            assert told, "gone without a 404, or a word of it"
            _judge_fault(fault)
        case PollBroken(fault):
            _judge_fault(fault)
        case _:
            raise AssertionError(f"no meaning of an answer: {reply}")


def _judge_fault(fault: Fault) -> None:
    for text, length in ((fault.message, 500), (fault.code, 128), (fault.request_id, 128)):
        assert len(text) <= length, "a text without end"
        assert text.isprintable(), "a text that moves a terminal's cursor"
        text.encode()
    assert fault.message, "a fault without a word"
    wait = fault.retry_after_s
    assert wait is None or (math.isfinite(wait) and 0 <= wait <= 86_400), "a wait without end"


def run(examples: int, seed: int, tongue: Tongue, *, large: bool = True) -> list[str]:
    """Judge so many answers; a line for each that has no proper meaning."""
    found = []
    for number in range(examples):
        fuzz = Fuzz(seed * 1_000_003 + number, tongue, large=large)
        response = fuzz.response()
        try:
            judge(tongue, fuzz.task(), response)
        except BaseException as error:  # noqa: BLE001 - a RecursionError is as wrong as a failed assertion
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {error} ({where.name})"
            which = f"--gateway {tongue.card.name} --seed {seed} --only {number}"
            found.append(f"{which}: {response.status} {response.body[:200]!r}: {what}")
            if isinstance(error, KeyboardInterrupt):
                break
    return found


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("PIPELINE_SEED") or 1))
    parser.add_argument("--gateway", choices=list(TONGUES), action="append", help="this one alone; may be repeated")
    parser.add_argument("--only", type=int, help="show this one example and judge it")
    asked = parser.parse_args()
    tongues = [TONGUES[name] for name in asked.gateway or TONGUES]
    if asked.only is not None:
        fuzz = Fuzz(asked.seed * 1_000_003 + asked.only, tongues[0])
        response = fuzz.response()
        print(response.status, response.headers, response.body[:2000])
        judge(tongues[0], fuzz.task(), response)
        return 0
    wrong = 0
    for tongue in tongues:
        found = run(asked.examples, asked.seed, tongue)
        wrong += len(found)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        for line in found[:20]:
            print(line)
        told = f"{asked.examples} answers of {tongue.card.title}, seed {asked.seed}, {peak} MB at most"
        print(f"fuzz: {told}; {len(found)} violations")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
