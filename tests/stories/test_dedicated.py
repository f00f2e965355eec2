"""Stories of keys that buy for one job alone: the gateways' own books end its doubts, to the last credit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.runtime import inspect, wiring
from pipeline.runtime.history import Result
from pipeline.transport.memory import MemoryDoor, open_world
from pipeline.values.wire import Answered, Broken, Outcome, Request
from tests.stories.jobs import failing, faults, rehearse

SPEC = """\
version: 1
name: story
model: MODEL
matrix:
  color: [red, teal, black, white, green, blue]
  scene: [desk, sink, shelf]
prompt: "A {{ color }} mug on a {{ scene }}"
"""
#: (model, its price in the gateway's unit, in 10^-6)
EVOLINK, CREDIT = "evolink/qwen-image-3.0", 1_836_000
DASHSCOPE, CENT = "dashscope/qwen-image-plus", 30_000
#: Some submits are lost on their way, and some answers on theirs.
BOTH_WAYS = 'cut_before: {prompt: "teal mug"}\ncut_after: {prompt: "sink"}\n'
LOST_AT_FIRST = "cut_before: {first: 3}\n"
UNHEARD = 'cut_after: {prompt: "teal mug"}\n'


def job(folder: Path, model: str, more: str) -> Path:
    """A spec of 18 pictures, small ones where the model makes small ones for the same price."""
    path, size = folder / "spec.yaml", "size: 512x512\n" * (model == EVOLINK)
    path.write_text(SPEC.replace("MODEL", model) + size + more)
    return path


def bill(folder: Path, gateway: str) -> tuple[int, int]:
    """(operations accepted, micro-units billed), as the emulator's own book has it."""
    book = open_world(folder / "run" / "world.jsonl").bill()["gateways"][gateway]  # type: ignore[index]  # plain JSON
    return int(book["accepted"]), int(book["micros"])


def money(result: Result, unit: str) -> tuple[int, int, int]:
    """(settled, held, in doubt), in micro-units."""
    account = result.status["money"][unit]  # type: ignore[index]  # plain JSON
    return account["settled_micros"], account["held_micros"], account["doubt_micros"]


# --- DashScope: a list ---


def test_lost_answers_are_found_in_the_list(tmp_path: Path) -> None:
    """Nobody has to say that the account is ours: a task repeats its prompt. Done, paid once, without a person."""
    path = job(tmp_path, DASHSCOPE, "budget: 2 USD\n")
    result = rehearse(path, faults=faults(tmp_path, UNHEARD))
    assert (result.state, result.exit_code, result.status["images"]) == ("complete", 0, 18)
    assert bill(tmp_path, "dashscope") == (18, 18 * CENT)
    assert money(result, "USD") == (18 * CENT, 0, 0)
    assert inspect.verify(tmp_path / "run") == []


@pytest.mark.parametrize("dedicated", [True, False])
def test_a_list_proves_what_never_arrived_only_of_an_account_that_is_ours(tmp_path: Path, *, dedicated: bool) -> None:
    """Three submits got lost: proven absent and bought, or left to a person."""
    path = job(tmp_path, DASHSCOPE, "budget: 2 USD\n" + "dedicated: [dashscope]\n" * dedicated)
    result = rehearse(path, faults=faults(tmp_path, LOST_AT_FIRST))
    if dedicated:
        assert (result.exit_code, result.status["images"]) == (0, 18)
        assert bill(tmp_path, "dashscope") == (18, 18 * CENT)
        assert money(result, "USD") == (18 * CENT, 0, 0)
    else:
        assert (result.exit_code, result.status["images"]) == (5, 15)
        assert money(result, "USD") == (15 * CENT, 0, 3 * CENT)
    assert inspect.verify(tmp_path / "run") == []


def test_a_task_that_failed_unheard_cost_nothing(tmp_path: Path) -> None:
    """The list shows that it failed; failed calls are not billed, so its money is free and it is bought again."""
    plan = faults(tmp_path, "cut_after: {first: 2}\nfailed: {first: 2}\n")
    result = rehearse(job(tmp_path, DASHSCOPE, "budget: 2 USD\ndedicated: [dashscope]\n"), faults=plan)
    assert (result.exit_code, result.status["images"]) == (0, 18)
    assert bill(tmp_path, "dashscope") == (20, 18 * CENT)
    assert money(result, "USD") == (18 * CENT, 0, 0)


# --- Evolink: a meter ---


@pytest.mark.parametrize("budget", ["100 evolink-credit", "2 USD"])
def test_a_meter_that_shows_nothing_buys_again(tmp_path: Path, budget: str) -> None:
    """Lost on the way to the gateway, whatever money the cap is in: all are made, and paid once."""
    path = job(tmp_path, EVOLINK, f"budget: {budget}\ndedicated: [evolink]\n")
    result = rehearse(path, faults=faults(tmp_path, LOST_AT_FIRST))
    assert (result.state, result.exit_code, result.status["images"]) == ("complete", 0, 18)
    assert bill(tmp_path, "evolink") == (18, 18 * CREDIT)
    unit = budget.split()[1]
    assert money(result, unit) == (18 * (CREDIT if unit != "USD" else 27_000), 0, 0)
    assert inspect.verify(tmp_path / "run") == []


@pytest.mark.parametrize("budget", ["100 evolink-credit", "2 USD"])
def test_a_meter_books_exactly_what_was_billed(tmp_path: Path, budget: str) -> None:
    """Both mixed: so many were billed, nobody can say which. The sum is right, the rest free, none bought twice."""
    path = job(tmp_path, EVOLINK, f"budget: {budget}\ndedicated: [evolink]\n")
    result = rehearse(path, faults=faults(tmp_path, BOTH_WAYS))
    accepted, billed = bill(tmp_path, "evolink")
    assert (accepted, billed) == (15, 15 * CREDIT)
    assert (result.state, result.exit_code) == ("failed_tasks", 4)
    each = CREDIT if budget.endswith("credit") else 27_000
    assert money(result, budget.split()[1]) == (15 * each, 0, 0)
    assert inspect.verify(tmp_path / "run") == []


def test_what_the_meter_has_shown_is_remembered(tmp_path: Path) -> None:
    """Sent again, lost again: the second remainder is told apart from the first."""
    path = job(tmp_path, EVOLINK, "budget: 200 evolink-credit\ndedicated: [evolink]\n")
    assert rehearse(path, faults=faults(tmp_path, BOTH_WAYS)).exit_code == 4
    failed = inspect.retry(tmp_path / "run").tasks
    assert failed == 8
    again = rehearse(path, faults=faults(tmp_path, BOTH_WAYS))
    assert again.exit_code == 4
    accepted, billed = bill(tmp_path, "evolink")
    assert billed == accepted * CREDIT
    assert money(again, "evolink-credit") == (billed, 0, 0)
    assert inspect.retry(tmp_path / "run").tasks == 8
    last = rehearse(path, faults=faults(tmp_path, ""))
    assert (last.exit_code, last.status["images"]) == (0, 18)
    assert money(last, "evolink-credit") == (bill(tmp_path, "evolink")[1], 0, 0)


@pytest.mark.parametrize("plan", [LOST_AT_FIRST, BOTH_WAYS])
def test_a_shared_key_leaves_all_of_it_to_a_person(tmp_path: Path, plan: str) -> None:
    """The same without `dedicated`: nothing is believed, nobody waits for a meter, and the run says 5."""
    result = rehearse(job(tmp_path, EVOLINK, "budget: 100 evolink-credit\n"), faults=faults(tmp_path, plan))
    assert result.exit_code == 5
    settled, held, doubt = money(result, "evolink-credit")
    assert (settled + doubt, held) == (18 * CREDIT, 0)
    assert settled <= bill(tmp_path, "evolink")[1] <= settled + doubt
    assert result.simulated_s is not None
    assert result.simulated_s < 600


@pytest.mark.parametrize(("model", "each", "unit"), [(EVOLINK, CREDIT, "evolink-credit"), (DASHSCOPE, CENT, "USD")])
def test_a_run_that_was_left_with_doubts_looks_again_when_it_may(
    tmp_path: Path, *, model: str, each: int, unit: str
) -> None:
    """`dedicated` comes later, and was true all along: the same folder ends its doubts, and buys what is missing."""
    path, plan = job(tmp_path, model, f"budget: 100 {unit}\n"), faults(tmp_path, LOST_AT_FIRST)
    assert rehearse(path, faults=plan).exit_code == 5
    gateway = model.partition("/")[0]
    path.write_text(path.read_text() + f"dedicated: [{gateway}]\n")
    result = rehearse(path, faults=plan)
    assert (result.state, result.exit_code, result.status["images"]) == ("complete", 0, 18)
    assert bill(tmp_path, gateway) == (18, 18 * each)
    assert money(result, unit) == (18 * each, 0, 0)


@pytest.mark.parametrize("where", ["submit.sending", "submit.answered"])
@pytest.mark.parametrize(("model", "each", "unit"), [(EVOLINK, CREDIT, "evolink-credit"), (DASHSCOPE, CENT, "USD")])
def test_what_a_dead_process_left_in_doubt_ends_by_the_books(
    tmp_path: Path, *, model: str, each: int, unit: str, where: str
) -> None:
    """It died before or after its POST, nobody knows which: the next run asks, and books what was billed, no more."""
    gateway = model.partition("/")[0]
    path = job(tmp_path, model, f"budget: 100 {unit}\ndedicated: [{gateway}]\n")
    with failing(where, RuntimeError("as a kill would"), after=4), pytest.raises(RuntimeError):
        rehearse(path)
    result = rehearse(path)
    accepted, billed = bill(tmp_path, gateway)
    assert billed == accepted * each
    assert money(result, unit) == (billed, 0, 0)
    assert accepted == 18
    found = gateway == "dashscope" or where == "submit.sending"
    assert result.exit_code == (0 if found else 4)
    assert inspect.verify(tmp_path / "run") == []


class DeafDoor(MemoryDoor):
    """No question for a list or a meter is answered."""

    def __init__(self, door: MemoryDoor) -> None:
        self.__dict__.update(door.__dict__)

    async def _exchange(self, request: Request, timeout_s: float, body_max: int) -> Outcome:
        if "/tasks/?" in request.path or request.path == "/v1/credits":
            return Broken("TimeoutError")
        return await super()._exchange(request, timeout_s, body_max)


def test_a_list_that_could_not_be_read_is_read_by_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway was away when it was asked: nothing is believed; the same command asks again and ends the doubts."""
    path, usual = job(tmp_path, DASHSCOPE, "budget: 2 USD\n"), wiring.door
    monkeypatch.setattr(wiring, "door", lambda *given: DeafDoor(usual(*given)))  # type: ignore[arg-type]  # a rehearsal's
    assert rehearse(path, faults=faults(tmp_path, UNHEARD)).exit_code == 5
    monkeypatch.setattr(wiring, "door", usual)
    again = rehearse(path, faults=faults(tmp_path, ""))
    assert (again.exit_code, again.status["images"]) == (0, 18)
    assert bill(tmp_path, "dashscope") == (18, 18 * CENT)


def test_a_meter_that_was_not_read_in_time_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was away when the folder was born: what it says later proves nothing, and the run says so."""
    path, usual = job(tmp_path, EVOLINK, "budget: 100 evolink-credit\ndedicated: [evolink]\n"), wiring.door
    monkeypatch.setattr(wiring, "door", lambda *given: DeafDoor(usual(*given)))  # type: ignore[arg-type]  # a rehearsal's
    assert rehearse(path, faults=faults(tmp_path, LOST_AT_FIRST)).exit_code == 5
    monkeypatch.setattr(wiring, "door", usual)
    again = rehearse(path, faults=faults(tmp_path, ""))
    assert again.exit_code == 5
    assert any("the meter of evolink was not read before" in note for note in again.notes)
    assert money(again, "evolink-credit") == (15 * CREDIT, 0, 3 * CREDIT)


# --- a declaration that is not true ---

STRANGE = {
    "evolink": ("/v1/images/generations", {"model": "qwen-image-3.0", "prompt": "a stranger's wish"}),
    "dashscope": (
        "/api/v1/services/aigc/text2image/image-synthesis",
        {"model": "qwen-image-plus", "input": {"prompt": "a stranger's wish"}, "parameters": {"n": 1}},
    ),
}


class SharedDoor(MemoryDoor):
    """Somebody else buys with the same key, as many times as asked for, when the run makes its fifth request."""

    def __init__(self, door: MemoryDoor, gateway: str, times: int) -> None:
        self.__dict__.update(door.__dict__)
        self.gateway, self.times, self.asked = gateway, times, 0

    async def _exchange(self, request: Request, timeout_s: float, body_max: int) -> Outcome:
        self.asked += 1
        if self.asked == 5:
            path, body = STRANGE[self.gateway]
            headers = (("Content-Type", "application/json"), ("X-DashScope-Async", "enable"))
            theirs = Request(self.gateway, "POST", path, json.dumps(body).encode(), headers)
            for _ in range(self.times):
                assert isinstance(await super()._exchange(theirs, timeout_s, body_max), Answered)
        return await super()._exchange(request, timeout_s, body_max)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("plan", [LOST_AT_FIRST, UNHEARD, BOTH_WAYS])
@pytest.mark.parametrize(("model", "each"), [(EVOLINK, CREDIT), (DASHSCOPE, CENT)])
def test_a_stranger_on_a_key_that_was_called_dedicated_frees_no_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, model: str, each: int, plan: str, times: int
) -> None:
    """Figures that contradict one another move nothing: whatever we bought is in our books, settled or in doubt."""
    gateway, usual = model.partition("/")[0], wiring.door

    def door(*given: Any) -> SharedDoor:
        made = usual(*given)
        assert isinstance(made, MemoryDoor)
        return SharedDoor(made, gateway, times)

    monkeypatch.setattr(wiring, "door", door)
    unit = "evolink-credit" if gateway == "evolink" else "USD"
    path = job(tmp_path, model, f"budget: 100 {unit}\ndedicated: [{gateway}]\n")
    result = rehearse(path, faults=faults(tmp_path, plan))
    accepted, billed = bill(tmp_path, gateway)
    ours = billed - times * each
    assert accepted * each == billed
    settled, held, doubt = money(result, unit)
    assert held == 0
    assert settled + doubt >= ours
    assert result.exit_code in {0, 4, 5}
    assert (result.exit_code == 5) is (doubt > 0)
    assert inspect.verify(tmp_path / "run") == []
