"""MuleRouter's second site, and the name under which its CDN knows us."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.providers import mulerouter
from pipeline.runtime.serve import Server, environment
from pipeline.simulator.faults import parse_faults
from pipeline.transport.gateways import base_url
from pipeline.transport.http import HttpDoor
from pipeline.transport.memory import World, open_world
from pipeline.values.digest import JSON
from pipeline.values.reply import Pending, Refused
from pipeline.values.task import Task
from pipeline.values.wire import Answered
from tests.plan.jobs import CARD
from tests.providers.test_mulerouter import EDIT, GENERATE, PLUS, URL

#: What libraries call themselves: refused by the vendor's CDN with 403 and a page (observed).
LIBRARIES = ["python-requests", "Python/3", "aiohttp", "curl", "httpx", "node-fetch", "Go-http-client"]


@pytest.mark.parametrize("site", ["https://api.mulerouter.ai", "https://api.mulerun.com", "https://api.mulerun.com/"])
def test_either_site_is_a_base_url(site: str) -> None:
    """MULEROUTER_BASE_URL names the second site; without it the first is meant."""
    assert str(base_url(CARD, {})) in {"https://api.mulerouter.ai", "https://api.mulerouter.ai/"}
    assert str(base_url(CARD, {"MULEROUTER_BASE_URL": site})).rstrip("/") == site.rstrip("/")
    assert any("api.mulerun.com" in note for note in CARD.notes)


def test_our_name_is_no_library_s() -> None:
    """A product with a version, as RFC 9110 has it; nothing that a bot filter knows."""
    assert re.fullmatch(r"[a-z-]+/[0-9.]+", CARD.user_agent)
    assert not any(name.lower() in CARD.user_agent.lower() for name in LIBRARIES)


async def test_the_cdn_lets_our_name_pass_and_no_library_s() -> None:
    """Over HTTP, against an emulator that refuses library defaults: ours is taken on, theirs gets the page."""

    def world(links_base: str) -> World:
        plan = parse_faults({"latency_s": 0, "generation_s": 0, "banned_user_agents": LIBRARIES})
        return open_world(None, seed=3, faults=plan, links_base=links_base)

    async with Server(world) as server:
        replies = []
        for agent in (CARD.user_agent, *LIBRARIES):
            door = HttpDoor({"mulerouter": replace(CARD, user_agent=agent)}, environment(server.port), {})
            try:
                outcome = await door.exchange(mulerouter.submit(GENERATE, ()), timeout_s=10)
            finally:
                await door.close()
            assert isinstance(outcome, Answered)
            replies.append(mulerouter.submitted(GENERATE, outcome, CARD.not_billed))
    assert isinstance(replies[0], Pending)
    assert [type(reply) for reply in replies[1:]] == [Refused] * len(LIBRARIES)


@pytest.mark.parametrize("task", [GENERATE, EDIT, PLUS], ids=lambda task: str(task.model))
@pytest.mark.parametrize("value", [True, False])
def test_the_safety_filter_is_sent_when_it_is_said(task: Task, value: JSON) -> None:
    """A parameter of every model, by the model pages; never sent unless the spec says it."""
    inputs = (URL,) if task.operation == "image.edit" else ()
    said = mulerouter.submit(replace(task, params={"safety_filter": value}), inputs)
    plain = mulerouter.submit(task, inputs)
    assert said.body is not None
    assert plain.body is not None
    sent: Mapping[str, JSON] = json.loads(said.body)
    assert sent["safety_filter"] is value
    assert "safety_filter" not in json.loads(plain.body)
    rule = CARD.models[task.model].parameters["safety_filter"]
    assert (rule.kind, rule.default, rule.always) == ("boolean", True, None)


def test_every_parameter_of_a_card_occurs_in_its_request_schema() -> None:
    """What a card offers is what the request schemas, written from the pages, let through."""
    folder = Path(__file__).parents[2] / "schemas" / "requests"
    for name, model in CARD.models.items():
        schema = json.loads((folder / f"mulerouter.{name}.json").read_text(encoding="utf-8"))
        assert set(model.parameters) <= set(schema["properties"])
