"""S1: a secret is shown by nothing that holds it, and stays nowhere once it has served."""

from __future__ import annotations

import copy
import json
import os
import pickle
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.facts import CapSet, Settled
from pipeline.runtime import prepare
from pipeline.transport.http import HttpDoor
from pipeline.transport.secrets import Environment, Header, Secret, find_key, hide, read_dotenv
from tests.chaos import secrets as campaign
from tests.security.canaries import Canaries, forms, search
from tests.store.stories import LINK, artifact, made, opened
from tests.transport.servers import card

CANARIES = Canaries.hatch(4711, "key", "signature")
KEY = CANARIES["key"]


def door() -> HttpDoor:
    """A door with a canary for a key."""
    return HttpDoor({"acme": card()}, {"ACME_API_KEY": KEY}, {})


#: {what holds a key: how to make it}
HOLDERS: dict[str, Callable[[], object]] = {
    "secret": lambda: Secret(KEY),
    "found": lambda: find_key("ACME_API_KEY", {"ACME_API_KEY": KEY}, {}),
    "header": lambda: [("Authorization", Header(f"Bearer {KEY}"))],
    "environment": lambda: Environment({"ACME_API_KEY": KEY}),
    "door": door,
    "gateway": lambda: next(iter(door()._gateways.values())),
    "headers": lambda: next(iter(door()._gateways.values())).headers((), keyed=True),
}
WAYS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "format": "{0} {0!r} {0!s:>9}".format,
    "percent": lambda held: "%s %r %a" % (held, held, held),  # noqa: UP031 - one more way
    "exception": lambda held: repr(RuntimeError(held)),
    "inside": lambda held: repr({"a": [held, (held,)]}),
    "dir": dir,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("holder", HOLDERS)
def test_what_holds_a_key_shows_nothing_of_it(holder: str, way: str) -> None:
    """Printed, formatted, nested or raised, no form of the key appears."""
    assert CANARIES.hits(str(WAYS[way](HOLDERS[holder]())).encode()) == []


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps])
@pytest.mark.parametrize("holder", ["secret", "found", "gateway"])
def test_what_holds_a_key_does_not_travel(holder: str, way: Callable[[object], object]) -> None:
    """It is neither copied, pickled nor written as JSON; where copying the outside works, the copy shows nothing."""
    try:
        gone = way(HOLDERS[holder]())
    except TypeError:
        return
    assert CANARIES.hits(gone if isinstance(gone, bytes) else repr(gone).encode()) == []


def test_variables_and_dotenv_come_wrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process and `.env` hold is a mapping whose values no traceback shows, and a plain mapping to ask."""
    (tmp_path / ".env").write_text(f"ACME_API_KEY='{KEY}'\nOTHER={KEY}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_API_KEY", KEY)
    environ, dotenv = prepare.environment({"acme": card()})
    assert (environ["ACME_API_KEY"], dict(dotenv)) == (KEY, {"ACME_API_KEY": KEY})
    assert CANARIES.hits(f"{environ} {environ!r} {dotenv} {dotenv!r}".encode()) == []
    assert read_dotenv({"OTHER", "PATH"}) == {}


@pytest.mark.parametrize("form", sorted(set(forms(KEY)) - {"reversed", "wide"}))
def test_an_echo_is_hidden_in_every_form(form: str) -> None:
    """Whichever way a gateway repeats the key, whole or masked, before or behind other text: it is taken out."""
    echo = b'{"detail": "bad key ' + forms(KEY)[form] + b' here"}'
    assert CANARIES.hits(hide(Secret(KEY), echo)) == []


def test_words_of_an_honest_answer_stay() -> None:
    """A key that begins like a word hides no word: the word could stand in the link to a paid picture."""
    answer = b'{"images": ["https://cdn.example/pipeline-images/1.png"], "detail": "pipeline"}'
    assert hide(Secret("pipeline-0123456789-abcdef"), answer) == answer


def test_links_of_stored_pictures_are_erased_from_the_store_s_free_pages_too(tmp_path: Path) -> None:
    """A link's signature is in the store until its picture is; then not even deleted cells hold it after the close."""
    journal = opened(tmp_path / "state.db")
    signature = CANARIES["signature"]
    journal.commit([CapSet("USD", 100_000_000, "the spec's budget")])
    for number in range(30):
        pictures = [artifact(f"images/{number}-{index}.png") for index in range(2)]
        facts = made(number, number + 1, stored=pictures)
        # Links of many pages, of different lengths, so that rows move when they shrink.
        long = [LINK.replace("secret", signature + "x" * 97 * number) for _ in range(2)]
        facts = [replace(fact, links=tuple(long)) if isinstance(fact, Settled) else fact for fact in facts]
        journal.commit(facts[:-3])
        if number == 0:
            assert search(CANARIES, tmp_path)
        journal.commit(facts[-3:])
    assert not journal.pending_pictures()
    journal.close(clean=True)
    assert search(CANARIES, tmp_path) == []
    with sqlite3.connect(tmp_path / "state.db") as db:
        assert db.execute("SELECT count(*) FROM picture WHERE state='STORED'").fetchone() == (60,)


@pytest.mark.slow
def test_no_artefact_of_the_program_holds_a_secret() -> None:
    """The small campaign: run, refused, crashed, killed, resumed; every byte of what it left and said is searched."""
    report = campaign.campaign("small", int(os.environ.get("PIPELINE_SEED") or 1))
    assert report.violations == ()
