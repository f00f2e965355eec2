"""Keys: found where they are said to be, and shown nowhere."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import logging
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.errors import SecretMissing
from pipeline.transport.http import HttpDoor
from pipeline.transport.secrets import RedactingFilter, Secret, find_key, hide, need_key, read_dotenv
from tests.transport.servers import CANARY, card

NAME = "ACME_API_KEY"


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        lambda secret: f"{secret}",
        lambda secret: f"{secret!r:>40}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - one more way to print
        lambda secret: repr([secret]),
        lambda secret: json.dumps(secret, default=str),
    ],
)
def test_a_secret_shows_nothing(show: Callable[[Secret], str]) -> None:
    """However it is printed, the key does not appear."""
    assert CANARY not in show(Secret(CANARY))
    assert Secret(CANARY).reveal() == CANARY


@pytest.mark.parametrize("give", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars])
def test_a_secret_does_not_travel(give: Callable[[Secret], object]) -> None:
    """It cannot be pickled, copied or written as JSON, and has no dictionary."""
    with pytest.raises(TypeError):
        give(Secret(CANARY))


def test_a_key_is_found_in_the_variable_then_the_file_then_dotenv(tmp_path: Path) -> None:
    """The nearest wins; white space around it is nobody's key; empty is not set."""
    file = tmp_path / "key"
    file.write_text("\ufeff from-file \n", encoding="utf-8")
    environ, dotenv = {NAME: " from-variable\n", f"{NAME}_FILE": str(file)}, {NAME: "from-dotenv"}
    seen = []
    for drop in (None, NAME, f"{NAME}_FILE"):
        environ.pop(drop or "", None)
        key = find_key(NAME, environ, dotenv)
        seen.append(key.reveal() if key else None)
    assert seen == ["from-variable", "from-file", "from-dotenv"]
    assert find_key(NAME, {NAME: "  "}, {}) is None
    assert find_key("AWS_SECRET", {}, {"AWS_SECRET": "x"}) is None, ".env sets API keys only"


@pytest.mark.parametrize(
    "value",
    [f"{CANARY}\n{CANARY}", f"{CANARY}\r\nX: y", f"{CANARY}\u00fc", f"{CANARY} b", f"{CANARY}\x00", f"{CANARY}\x7f"],
)
def test_what_cannot_be_a_key_is_refused_without_showing_it(value: str, tmp_path: Path) -> None:
    """A key is one line of printable ASCII: anything else would break a header, or add one."""
    file = tmp_path / "key"
    file.write_text(value, encoding="utf-8")
    for environ, dotenv in (({NAME: value}, {}), ({f"{NAME}_FILE": str(file)}, {}), ({}, {NAME: value})):
        with pytest.raises(SecretMissing, match=NAME) as caught:
            find_key(NAME, environ, dotenv)
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"k" * 9000, b"\xff\xfe\x00"])
def test_a_key_file_that_cannot_be_used_is_named_by_its_variable(content: bytes | None, tmp_path: Path) -> None:
    """Missing, too long, no text."""
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SecretMissing, match=f"{NAME}_FILE"):
        find_key(NAME, {f"{NAME}_FILE": str(file)}, {})


def test_a_missing_key_names_the_variable_and_the_remedies() -> None:
    """Where it could stand: the variable, a file, .env."""
    with pytest.raises(SecretMissing) as caught:
        need_key(NAME, "Acme", {}, {})
    assert all(word in str(caught.value) for word in ("Acme", NAME, f"{NAME}_FILE", ".env"))


def test_dotenv_sets_the_tables_keys_and_nothing_else(tmp_path: Path) -> None:
    """A .env from elsewhere cannot point a gateway away, and a dollar sign is a dollar sign."""
    (tmp_path / ".env").write_text(
        f"{NAME}=a$HOME-b\nACME_BASE_URL=https://evil.example\nOTHER_API_KEY=x\nexport PATH=/x\n"
    )
    assert read_dotenv({NAME, "ACME_BASE_URL"}, tmp_path) == {NAME: "a$HOME-b"}
    assert read_dotenv({NAME}, tmp_path / "nowhere") == {}


def rendered(message: str, *values: object, error: BaseException | None = None) -> str:
    """What a handler would write of one record after the filter."""
    info = (type(error), error, error.__traceback__) if error is not None else None
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, message, values, info)
    assert RedactingFilter([Secret(CANARY + "/+")]).filter(record)
    return logging.Formatter().format(record)


def test_the_filter_takes_keys_tokens_and_signatures_out() -> None:
    """Whatever form a key took, in the message, its values or a traceback."""
    key = CANARY + "/+"
    forms = [
        key,
        quote(key, safe=""),
        base64.b64encode(key.encode()).decode(),
        base64.urlsafe_b64encode(key.encode()).decode(),
    ]
    text = rendered("sent %s", forms)
    assert not any(form in text for form in forms)
    assert "abcdef123456" not in rendered("Authorization: Bearer abcdef123456")
    assert "abcdef123456" not in rendered("{'API-KEY': 'abcdef123456'}")
    assert rendered("GET https://cdn.example/a.png?Signature=abc now") == "GET https://cdn.example/a.png?[hidden] now"
    try:
        raise RuntimeError(key)  # noqa: TRY301
    except RuntimeError:
        assert key not in rendered("failed", error=sys.exc_info()[1])
    assert rendered("task=%d done", 7) == "task=7 done"


@pytest.mark.parametrize("form", ["sk-canary/12345678", "sk-canary%2F12345678", "c2stY2FuYXJ5LzEyMzQ1Njc4"])
def test_a_key_that_a_gateway_echoes_is_hidden_from_its_answer(form: str) -> None:
    """What is no longer in the answer cannot reach a ledger, a manifest or a log."""
    answer = hide(Secret("sk-canary/12345678"), f'{{"detail": "bad key Bearer {form}!"}}'.encode())
    assert form.encode() not in answer
    assert answer.startswith(b'{"detail": "bad key Bearer ')


def test_a_short_key_hides_nothing() -> None:
    """A text that short might be a word of an honest answer, and the emulators take any key."""
    assert hide(Secret("any"), b"any answer") == b"any answer"


async def test_while_a_door_is_open_nobody_logs_its_key(caplog: pytest.LogCaptureFixture) -> None:
    """What the loop and the client say of a lost exception goes through the filter; a closed door takes it away."""
    loop, key = asyncio.get_running_loop(), "sk-canary/12345678"
    door = HttpDoor({"acme": card()}, {"ACME_API_KEY": key}, {})
    loop.call_exception_handler({"message": "lost", "exception": RuntimeError(f"headers: Bearer {key}")})
    logging.getLogger("aiohttp.client").warning("odd request %s", {"Authorization": key})
    assert len(caplog.records) == 2
    assert key not in caplog.text
    assert "[hidden]" in caplog.text
    await door.close()
    logging.getLogger("aiohttp.client").warning("the canary %s itself", key)
    assert key in caplog.text
