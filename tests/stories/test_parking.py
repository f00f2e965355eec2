"""Stories of parking: what goes away stops a lane, costs no attempt, and the same command finishes the job later."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import pipeline.runtime.session as sessions
from pipeline.runtime import inspect, wiring
from pipeline.runtime.history import Result
from pipeline.store.journal import Journal
from pipeline.store.room import Disk, Room
from pipeline.transport.memory import MemoryDoor
from pipeline.values.wire import Answered, NotSent, Outcome, Request, Response
from tests.stories.jobs import bill, failing, faults, money, rehearse, spec

LANE = "mulerouter/qwen-image-max"
#: One attempt a task: whatever cost one would end it.
ONCE = "retry: {attempts: 1}\n"
Weather = Callable[[Request, float], Outcome | None]


class WeatherDoor(MemoryDoor):
    """Passes requests on, unless the weather between here and the gateway answers them."""

    def __init__(self, door: MemoryDoor, weather: Weather, clock: Any) -> None:
        self.__dict__.update(door.__dict__)
        self.weather, self.wall, self.begun = weather, clock, clock.now()

    async def _exchange(self, request: Request, timeout_s: float, body_max: int) -> Outcome:
        outcome = self.weather(request, self.wall.now() - self.begun)
        return await super()._exchange(request, timeout_s, body_max) if outcome is None else outcome


def under(weather: Weather, patch: pytest.MonkeyPatch, path: Path, **options: object) -> Result:
    """One run in this weather."""
    usual = wiring.door

    def door(plan: Any, chosen: Any, place: Path, clock: Any) -> WeatherDoor:
        made = usual(plan, chosen, place, clock)
        assert isinstance(made, MemoryDoor)
        return WeatherDoor(made, weather, clock)

    with patch.context() as inner:
        inner.setattr(wiring, "door", door)
        return rehearse(path, **options)


def refusal(status: int, words: str) -> Answered:
    """The gateway's own error body."""
    body = {"type": "error", "title": words, "status": status, "detail": words}
    return Answered(Response(status, json.dumps(body).encode(), {"content-type": "application/json"}))


def attempts_used(path: Path) -> int:
    """How many attempts of the store used up one of `retry.attempts` without a picture."""
    journal = Journal.open_read_only(path.parent / "run" / "state.db")
    try:
        return sum(row.counts and row.images == 0 and row.state == "VOID" for row in journal.attempt_rows())
    finally:
        journal.close(clean=False)


def assert_parked(result: Result, path: Path, remedy: str) -> None:
    """Exit 6 with the reason and what to do, now and for whoever asks later; nothing is held and no try was used."""
    assert (result.state, result.exit_code) == ("parked", 6)
    parked = result.status["parked"]
    assert isinstance(parked, list)
    assert [each["lane"] for each in parked] == [LANE]
    assert remedy in parked[0]["remedy"]
    told = inspect.status(path.parent / "run")
    assert (told["state"], told["parked"]) == ("parked", parked)
    assert attempts_used(path) == 0
    assert money(result)["doubt_micros"] == 0


def assert_finished(path: Path, **options: object) -> None:
    """The same command finishes the job: six pictures, six purchases, one attempt each."""
    result = rehearse(path, **options)
    assert (result.exit_code, result.status["images"]) == (0, 6)
    assert bill(path.parent) == (6, 450_000)
    assert inspect.verify(path.parent / "run") == []


def test_a_network_that_is_gone_parks_the_lane_after_ten_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be reached: tried for ten minutes and not for ever, nothing is bought, nothing is used up."""
    path = spec(tmp_path, more=ONCE)
    result = under(lambda *_: NotSent("ConnectionRefusedError"), monkeypatch, path)
    assert_parked(result, path, "can be reached")
    assert money(result)["held_micros"] == 0
    assert 600 <= (result.simulated_s or 0) < 1200
    assert_finished(path)


def test_a_network_that_goes_and_comes_back_is_not_even_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five minutes without a network in the middle of the job: it ends complete, one attempt a task."""
    path = spec(tmp_path, more=ONCE)
    result = under(lambda _, at: NotSent("gaierror") if 2 < at < 302 else None, monkeypatch, path)
    assert result.exit_code == 0
    assert attempts_used(path) == 0
    assert_finished(path)


def test_a_key_that_is_refused_parks_at_the_first_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """401 to a paid call: parked with the gateway's words, and nothing waits."""
    path = spec(tmp_path, more=ONCE)
    result = under(lambda *_: refusal(401, "Unauthorized"), monkeypatch, path)
    assert_parked(result, path, "key")
    assert (result.simulated_s or 0) < 30
    assert_finished(path)


def test_a_key_that_expires_in_the_middle_fails_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running operations cannot be asked about: they stay accepted, for the next run."""
    path = spec(tmp_path, more=ONCE)
    result = under(lambda _, at: refusal(401, "Token expired") if at > 3 else None, monkeypatch, path)
    assert_parked(result, path, "key")
    assert result.status["tasks"]["running"] >= 1  # type: ignore[index]  # a plain JSON object
    assert_finished(path)


def test_an_overdue_account_parks_and_what_is_paid_is_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """402 to new calls only: what runs is fetched, the rest waits."""
    path = spec(tmp_path, more=ONCE)

    def weather(request: Request, at: float) -> Outcome | None:
        return refusal(402, "Insufficient balance") if request.method == "POST" and at > 2.5 else None

    result = under(weather, monkeypatch, path)
    assert_parked(result, path, "settle the account")
    accepted, billed = bill(tmp_path)
    assert 0 < accepted < 6
    assert result.status["images"] == accepted
    assert billed == money(result)["settled_micros"]
    assert_finished(path)


@pytest.mark.slow
def test_an_operation_without_an_end_parks_after_a_day_and_keeps_its_money(tmp_path: Path) -> None:
    """The others are done; the stuck one stays held, is not bought again, and is asked about by the next run."""
    path = spec(tmp_path, more=ONCE)
    wrong = faults(tmp_path, 'stuck: {prompt: "teal mug on a desk"}\n')
    result = rehearse(path, faults=wrong)
    assert_parked(result, path, "operation")
    assert (result.status["images"], money(result)["held_micros"]) == (5, 75_000)
    assert 86_400 <= (result.simulated_s or 0) < 2 * 86_400
    again = rehearse(path, faults=wrong)
    assert again.exit_code == 6
    assert bill(tmp_path)[0] == 6


def test_a_disk_that_is_filling_up_stops_new_purchases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room: nothing is bought, the run ends parked and says what to do; with room the job is done."""
    path = spec(tmp_path, more=ONCE)
    small = partial(Room, ask=lambda _: Disk(2 << 30, 8 << 20, None))
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "Room", small)
        result = rehearse(path)
    assert (result.state, result.exit_code) == ("parked", 6)
    parked = result.status["parked"]
    assert isinstance(parked, list)
    assert (parked[0]["fault"], parked[0]["lane"]) == ("disk", "")
    assert "make room" in parked[0]["remedy"]
    assert "8.0 MB left" in parked[0]["why"]
    assert inspect.status(tmp_path / "run")["parked"] == parked
    assert bill(tmp_path) == (0, 0)
    assert money(result)["held_micros"] == 0
    assert_finished(path)


def test_a_picture_that_finds_no_room_is_fetched_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC on a part is no fail-stop: the part goes, nothing new is bought, and no picture is given up."""
    path = spec(tmp_path, more=ONCE)
    with monkeypatch.context() as patch, failing("fetch.opened", OSError(errno.ENOSPC, "No space left on device"), 2):
        patch.setattr(sessions, "Room", partial(Room, ask=lambda _: Disk(2 << 30, 1 << 30, None)))
        result = rehearse(path)
    assert result.exit_code == 6
    assert list((tmp_path / "run" / ".parts").glob("*.part")) == []
    assert result.status["images"] == 2
    assert_finished(path)


def test_a_lane_that_is_parked_when_nothing_waits_there_ends_a_whole_job(tmp_path: Path) -> None:
    """A picture too many stops buying as long as there is something to buy; then the job is complete, and says why."""
    path = spec(tmp_path, more="limits: {mulerouter: {in_flight: 1}}\n")
    plenty = faults(tmp_path, "more: 1.0\n")
    ends = [rehearse(path, faults=plenty) for _ in range(6)]
    assert [(end.state, end.exit_code) for end in ends] == [("parked", 6)] * 5 + [("complete", 0)]
    told = inspect.status(path.parent / "run")
    for status in (ends[-1].status, told):
        parked = status["parked"][0]  # type: ignore[index]  # a plain JSON object
        assert "it made 2 pictures where 1 were asked for" in parked["why"]
    again = rehearse(path)
    assert (again.state, again.status["parked"]) == ("complete", told["parked"])
