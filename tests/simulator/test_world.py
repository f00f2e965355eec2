"""A simulated world: its faults strike as planned, its bill adds up, and it survives being killed."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from pipeline.simulator.exchange import Exchange, WireRequest
from pipeline.simulator.faults import FAULT_KEYS, FaultPlan, RateLimit, Span, Trigger, parse_faults
from pipeline.simulator.world import World

SUBMIT = "/vendors/alibaba/v1/qwen-image-max/generation"
EDIT = "/vendors/alibaba/v1/qwen-image-edit-max/generation"
PLUS = "/vendors/alibaba/v1/qwen-image-edit-plus/generation"
HEADERS = {"authorization": "Bearer k", "content-type": "application/json"}
URL = "https://example.com/a.jpg"


def post(world: World, prompt: str, now: float = 0.0, target: str = SUBMIT, **more: object) -> Exchange:
    """Submit a prompt."""
    body = json.dumps({"prompt": prompt, **more}).encode()
    return world.handle("mulerouter", WireRequest("POST", target, HEADERS, body), now)


def get(world: World, target: str, now: float) -> Exchange:
    """Ask the API."""
    return world.handle("mulerouter", WireRequest("GET", target, HEADERS), now)


def told(exchange: Exchange) -> tuple[int, Any]:
    """Status and decoded body."""
    assert exchange.response is not None
    return exchange.response.status, json.loads(exchange.response.body)


def ended(world: World, prompt: str = "x", now: float = 100.0, target: str = SUBMIT, **more: object) -> dict[str, Any]:
    """The answer to a poll at `now` of a task submitted at 0."""
    identity = told(post(world, prompt, 0.0, target, **more))[1]["task_info"]["id"]
    answer: dict[str, Any] = told(get(world, f"{target}/{identity}", now))[1]
    return answer


def book(world: World) -> dict[str, int]:
    """MuleRouter's part of the bill."""
    gateways: Any = world.bill()["gateways"]
    found: dict[str, int] = gateways.get("mulerouter", {})
    assert found.pop("unit", "USD") == "USD"
    assert found.pop("uploads", 0) == 0
    return found


def test_the_bill_charges_pictures_that_were_made_and_nothing_else() -> None:
    """$0.075 for max and edit-max, $0.03 for plus; each image counts; failed, moderated and stuck cost nothing."""
    triggers = {key: {"prompt": key} for key in ("failed", "moderated", "stuck", "fewer", "vanished")}
    world = World(faults=parse_faults(triggers))
    post(world, "fine")
    post(world, "fine", 0.0, EDIT, images=[URL], n=4)
    post(world, "fine", 0.0, PLUS, images=[URL], n=2)
    for key in ("failed", "moderated", "stuck"):
        post(world, key)
    post(world, "vanished")
    post(world, "too long " * 100)
    assert book(world) == {"accepted": 7, "completed": 0, "failed": 0, "running": 7, "images": 0, "micros": 0}
    get(world, SUBMIT + "/nothing", 100.0)
    micros = 75_000 + 4 * 75_000 + 2 * 30_000 + 75_000
    assert book(world) == {"accepted": 7, "completed": 4, "failed": 2, "running": 1, "images": 8, "micros": micros}
    entries: Any = told(get(world, "/__bill?operations=1", 100.0))[1]["operations"]
    assert sum(entry["micros"] for entry in entries) == micros
    made = len(ended(world, "fewer", 200.0, EDIT, images=[URL], n=6)["images"])
    assert 1 <= made < 6
    assert book(world)["micros"] == micros + made * 75_000


@pytest.mark.parametrize(
    ("fault", "status", "cut", "accepted"),
    [
        ("rate_limited", 429, "none", 0),
        ("server_error_before", 503, "none", 0),
        ("cut_before", None, "before", 0),
        ("server_error_after", 502, "none", 1),
        ("cut_after", None, "after", 1),
        ("cut_mid", 202, "mid", 1),
        ("malformed_submit", 202, "none", 1),
    ],
)
def test_a_submit_breaks_before_or_after_it_was_accepted(
    fault: str, status: int | None, cut: str, accepted: int
) -> None:
    """The name of the fault says whether the task exists, and with it whether it is billed."""
    world = World(faults=parse_faults({fault: {"first": 1}}))
    first, second = post(world, "x"), post(world, "x")
    assert (first.response.status if first.response else None) == status
    assert first.cut == cut
    assert told(second)[0] == 202
    assert book(world)["accepted"] == accepted + 1
    if fault == "malformed_submit":
        assert first.response is not None
        with pytest.raises(ValueError, match=r"delimiter|Unterminated|Expecting"):
            json.loads(first.response.body)


def test_a_task_can_fail_be_refused_hang_or_vanish() -> None:
    """Failed ones say why in the vendor's words; a stuck one is processing for ever; a vanished one is unknown."""
    keys = ("failed", "moderated", "stuck", "vanished", "more")
    world = World(faults=parse_faults({key: {"prompt": key} for key in keys}))
    failed, moderated = ended(world, "failed")["task_info"], ended(world, "moderated")["task_info"]
    assert (failed["status"], failed["error"]["title"]) == ("failed", "Task Execution Error")
    assert (moderated["status"], moderated["error"]["code"]) == ("failed", 3001)
    assert "prohibited content" in moderated["error"]["detail"]
    assert ended(world, "stuck", 1e6)["task_info"]["status"] == "processing"
    assert ended(world, "vanished")["status"] == 404
    assert len(ended(world, "more")["images"]) == 2


@pytest.mark.parametrize(
    ("fault", "status", "cut"),
    [("server_error_poll", 503, "none"), ("cut_poll", None, "after"), ("malformed_poll", 200, "none")],
)
def test_a_poll_breaks_and_the_next_one_answers(fault: str, status: int | None, cut: str) -> None:
    """Nothing about the operation changes."""
    world = World(faults=parse_faults({fault: {"first": 1}}))
    identity = told(post(world, "x"))[1]["task_info"]["id"]
    broken = get(world, f"{SUBMIT}/{identity}", 100.0)
    assert (broken.response.status if broken.response else None, broken.cut) == (status, cut)
    assert told(get(world, f"{SUBMIT}/{identity}", 101.0))[1]["task_info"]["status"] == "completed"


def test_expired_links_are_renewed_by_asking_again() -> None:
    """The first links are refused with 403; the next poll's links work."""
    world = World(faults=parse_faults({"expired_links": {"first": 1}}))
    answer = ended(world)
    stale = world.fetch(answer["images"][0], 101.0).response
    identity = answer["task_info"]["id"]
    fresh = world.fetch(told(get(world, f"{SUBMIT}/{identity}", 102.0))[1]["images"][0], 103.0).response
    assert stale is not None
    assert fresh is not None
    assert (stale.status, fresh.status) == (403, 200)


def test_a_download_breaks_in_five_ways_and_then_works() -> None:
    """503, cut, half a file, another size, a web page: each once, then the picture."""
    faults = ("server_error_download", "page_picture", "wrong_size_picture", "truncated_picture", "cut_download")
    whole = World()
    good = whole.fetch(ended(whole)["images"][0], 101.0).response
    assert good is not None
    found = {}
    for fault in faults:
        world = World(faults=parse_faults({fault: {"first": 1}}))
        link = ended(world)["images"][0]
        found[fault] = world.fetch(link, 101.0)
        assert world.fetch(link, 102.0).response == good
    bodies = {fault: exchange.response.body for fault, exchange in found.items() if exchange.response}
    assert found["cut_download"].cut == "mid"
    assert bodies["truncated_picture"] == good.body[: len(good.body) // 2]
    assert b"<html>" in bodies["page_picture"]
    assert found["server_error_download"].response is not None
    assert found["server_error_download"].response.status == 503
    with Image.open(io.BytesIO(bodies["wrong_size_picture"])) as picture:
        assert picture.size == (832, 464)


def test_the_rate_limit_is_a_hard_sliding_window_for_each_model() -> None:
    """Evenly spaced requests at the limit pass; one more in any window does not, and is told how long to wait."""
    limit = {"requests": 2, "period_s": 10, "retry_after_s": "window"}
    world = World(faults=parse_faults({"rate_limit": limit}))
    statuses = [told(post(world, "x", now))[0] for now in (0.0, 5.0, 9.0, 10.0, 15.0, 19.999)]
    assert statuses == [202, 202, 429, 202, 202, 429]
    refused = post(world, "x", 16.5)
    assert refused.response is not None
    assert refused.response.headers["retry-after"] == "4"
    assert told(post(world, "x", 16.5, EDIT, images=[URL]))[0] == 202
    silent = World(faults=parse_faults({"rate_limit": {"requests": 1, "period_s": 1}}))
    answers = [post(silent, "x").response, post(silent, "x").response]
    assert answers[1] is not None
    assert "retry-after" not in answers[1].headers


def test_a_banned_client_gets_the_cdns_page() -> None:
    """403 with code 1010 and no JSON."""
    world = World(faults=parse_faults({"banned_user_agents": ["python-"]}))
    request = WireRequest("POST", SUBMIT, {**HEADERS, "user-agent": "python-x/3"}, b'{"prompt":"x"}')
    response = world.handle("mulerouter", request, 0.0).response
    assert response is not None
    assert (response.status, b"1010" in response.body) == (403, True)


def test_chances_do_not_depend_on_the_order_of_requests() -> None:
    """Which tasks fail, and how long each takes, hangs on the seed and the task, not on who came first."""
    plan = parse_faults({"failed": 0.3, "rate_limited": 0.2})
    prompts = [f"prompt {number}" for number in range(40)]

    def fates(order: list[str], seed: int) -> dict[str, tuple[int, str, str]]:
        world, found = World(seed, plan), {}
        for prompt in order:
            status, answer = told(post(world, prompt))
            if status == 202:
                info = told(get(world, f"{SUBMIT}/{answer['task_info']['id']}", 100.0))[1]["task_info"]
                found[prompt] = (status, info["status"], info["updated_at"])
            else:
                found[prompt] = (status, "", "")
        return found

    one = fates(prompts, 1)
    assert fates(prompts[::-1], 1) == one
    assert fates(prompts, 2) != one
    assert {fate[0] for fate in one.values()} == {202, 429}
    assert {fate[1] for fate in one.values()} >= {"failed", "completed"}


def life(world: World, start: int, stop: int) -> list[Exchange]:
    """Submits, polls and downloads, one of each a second."""
    exchanges = []
    for second in range(start, stop):
        exchange = post(world, f"prompt {second}", float(second), EDIT, images=[URL], n=2)
        # The same body again and again: its chances hang on how often it came, which must outlive the world.
        exchanges += [exchange, post(world, "again", float(second))]
        entries: Any = world.bill(operations=True).get("operations")
        for entry in entries[-8:]:
            target = f"/vendors/alibaba/v1/{entry['model']}/generation/{entry['id']}"
            exchanges.append(get(world, target, second + 0.5))
            response = exchanges[-1].response
            if second % 5 == 4 and response is not None and response.body.startswith(b"{"):
                exchanges += [
                    world.fetch(link, second + 0.7) for link in json.loads(response.body).get("images", [])[:1]
                ]
    return exchanges


def test_a_world_goes_on_from_its_journal_as_if_it_had_never_died() -> None:
    """Killed and loaded after every part of its life, it gives the same answers, byte for byte, and the same bill."""
    plan = parse_faults(
        {"failed": {"every": 5}, "cut_after": 0.1, "fewer": 0.2, "generation_s": [1, 5], "malformed_poll": {"every": 7}}
    )
    unbroken = World(5, plan)
    want = life(unbroken, 0, 16)
    world, journal, got = World(5, plan), list[str](), list[Exchange]()
    for start in (0, 4, 8, 12):
        got += life(world, start, start + 4)
        journal += world.lines()
        assert world.lines() == []
        world = World.load([*journal, '{"v":1,"kind":"acc'], faults=plan)
        assert world.lines() == []
    assert got == want
    assert world.bill(operations=True) == unbroken.bill(operations=True)
    assert world.clock == unbroken.clock
    billed = [json.loads(line)["id"] for line in journal if '"kind":"billed"' in line]
    assert len(billed) == len(set(billed)) > 8


def test_input_pictures_outlive_the_world_as_thumbnails() -> None:
    """An edit draws the same picture after a reload, and its input stands in the journal once."""
    file = io.BytesIO()
    Image.radial_gradient("L").resize((640, 480)).save(file, "JPEG")
    uri = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    world = World()
    link = ended(world, "a", 100.0, EDIT, images=[uri])["images"][0]
    ended(world, "b", 100.0, EDIT, images=[uri])
    lines = world.lines()
    assert sum('"kind":"picture"' in line for line in lines) == 1
    assert world.fetch(link, 200.0) == World.load(lines).fetch(link, 200.0)


@pytest.mark.parametrize("line", ['{"v":1,"kind":"nonsense"}', '{"v":1,"kind":"accepted"}', "[]"])
def test_a_journal_that_cannot_be_read_is_refused(line: str) -> None:
    """The message names the line."""
    with pytest.raises(ValueError, match="line 1 of the world's journal"):
        World.load([line, '{"v":1,"kind":"seen","counts":{}}'])


def test_an_unknown_gateway_is_told_so() -> None:
    """404 with the names of those that exist."""
    status, answer = told(World().handle("nobody", WireRequest("GET", "/", {}), 0.0))
    assert status == 404
    assert "mulerouter" in answer["detail"]


def test_a_fault_plan_is_read_with_all_its_forms() -> None:
    """Numbers, mappings and pairs; what is left out keeps its default."""
    plan = parse_faults(
        {
            "rate_limit": {"requests": 3, "period_s": 1.5, "retry_after_s": 2},
            "failed": 0.25,
            "stuck": {"every": 3, "first": 1, "prompt": "x", "probability": 1},
            "latency_s": 0.5,
            "generation_s": [1, 2],
            "banned_user_agents": ["curl"],
        }
    )
    assert plan == FaultPlan(
        rate_limit=RateLimit(3, 1.5, 2.0),
        failed=Trigger(0.25),
        stuck=Trigger(1.0, 3, 1, "x"),
        latency_s=Span(0.5, 0.5),
        generation_s=Span(1.0, 2.0),
        banned_user_agents=("curl",),
    )
    assert parse_faults({}) == FaultPlan()


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"fail": 1}, "unknown fault fail; known are rate_limit, "),
        ({"failed": 2}, "failed must be from 0.0 to 1.0, not 2"),
        ({"failed": "often"}, "failed must be a number"),
        ({"failed": True}, "failed must be a number"),
        ({"failed": {"often": 1}}, "unknown key often in failed; known are probability, every, first, prompt"),
        ({"failed": {"every": 0}}, "failed.every must be a whole number from 1 on"),
        ({"failed": {"prompt": 1}}, "failed.prompt must be a text"),
        ({"latency_s": [2, 1]}, "latency_s must not begin above its end"),
        ({"latency_s": [1]}, "latency_s must be a number or"),
        ({"latency_s": float("nan")}, "latency_s must be a number"),
        ({"rate_limit": 3}, "rate_limit must be a mapping of requests, period_s, retry_after_s"),
        ({"rate_limit": {"requests": 3}}, "rate_limit.period_s must be a number, not None"),
        ({"rate_limit": {"requests": 3, "period_s": 1, "retry_after_s": "soon"}}, "rate_limit.retry_after_s"),
        ({"banned_user_agents": "curl"}, "banned_user_agents must be a list of texts"),
    ],
)
def test_a_wrong_fault_plan_is_refused_by_key(mapping: dict[str, object], message: str) -> None:
    """The message names the key, what is wrong, and what can be written."""
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.").replace("[", r"\[")):
        parse_faults(mapping)


def test_every_fault_of_the_plan_is_a_key() -> None:
    """What can be set can be read."""
    assert {"rate_limit", "cut_after", "wrong_size_picture", "expired_links"} < set(FAULT_KEYS)
    for key in FAULT_KEYS:
        if isinstance(getattr(FaultPlan(), key), Trigger):
            assert getattr(parse_faults({key: 0.5}), key) == Trigger(0.5)
