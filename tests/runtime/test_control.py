"""A living run and its control socket: who may ask, what is answered, and what a pause, a drain or a budget leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import cli
from pipeline.runtime.control import CLIENTS_MAX, REQUEST_MAX, address_of, ask, request_of
from pipeline.values.folder import CONTROL, LOG
from tests.runtime.living import LANES, WHO, Living, living, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alive(tmp_path_factory: pytest.TempPathFactory, exports: dict[str, str]) -> Iterator[Living]:
    """A run of which several tests ask something; the last of them ends it."""
    with living(tmp_path_factory.mktemp("alive"), exports, cups=40, rate="60/min") as run:
        run.until(lambda status: status["gateways"])
        yield run


def connected(run: Living) -> socket.socket:
    """A client that has said nothing yet."""
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(20)
    with address_of(run.folder / CONTROL) as address:
        line.connect(address)
    return line


def said_by(run: Living, data: bytes) -> list[object]:
    """Every line that is answered to this, until the run closes the conversation."""
    with connected(run) as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        with line.makefile("r") as answers:
            return [json.loads(text) for text in answers]


def test_pause_continue_budget_and_drain_are_done_told_and_kept(tmp_path: Path, exports: dict[str, str]) -> None:
    """Each is answered once it is durable, says who and when in store and log, and the run obeys."""
    with living(tmp_path, exports, cups=40, rate="300/min") as run:
        run.until(lambda status: status["images"] >= 2)
        assert run.do("pause")["ok"]
        paused = run.until(lambda status: not any(each["in_flight"] for each in status["gateways"].values()))
        assert [(each["lane"], each["why"]) for each in paused["paused"]] == [(None, WHO)]
        assert paused["state"] == "running"
        assert paused["money"]["USD"]["held_micros"] == 0, "what was held is free"
        sent = {lane: each["submits"] for lane, each in paused["gateways"].items()}
        assert "paused already" in run.do("pause")["said"]
        assert run.do("budget", amount="+1.50 USD")["said"].startswith("the budget is 51.50 USD now, it was 50.00 USD")
        assert "below what is spent" in run.do("budget", amount="0.01 USD")["said"]
        assert run.do("budget", amount="5 USD")["ok"], "lowering works as well"
        still = run.ask(ask="status")
        assert {lane: each["submits"] for lane, each in still["gateways"].items()} == sent
        assert still["money"]["USD"]["limit_micros"] == 5_000_000
        assert run.do("resume")["said"] == "the run goes on"
        run.until(lambda status: sum(each["submits"] for each in status["gateways"].values()) > sum(sent.values()) + 2)
        assert run.do("drain")["ok"]
        code, err = run.ended()
        assert code == 130, err
        with run.store() as journal:
            said = [(each.what, each.lane, each.why) for each in journal.said_rows()]
            assert said == [("pause", None, WHO), ("continue", None, WHO), ("drain", None, WHO)]
            caps = [(row.cap_micros, row.why) for row in journal.cap_rows()]
            assert caps == [(50_000_000, "the spec's budget"), (51_500_000, WHO), (10_000, WHO), (5_000_000, WHO)]
            assert all(each.at > 0 for each in journal.said_rows())
            assert journal.integrity_check() == []
        lines = [json.loads(text) for text in (run.folder / LOG).read_text().splitlines()]
        told = [(line["fact"], line["why"]) for line in lines if line.get("why") == WHO]
        assert [fact for fact, _ in told] == ["Paused", *["CapSet"] * 3, "Continued", "DrainNoted"]
        assert not (run.folder / CONTROL).exists()
        # The same command goes on: not paused, and under the budget that was said.
        again = start("run", "cups.yaml", "--json", folder=tmp_path, environment=exports)
        out, err = again.communicate(timeout=60)
        assert json.loads(out)["money"]["USD"]["limit_micros"] == 5_000_000, err
        assert again.returncode == 3, err


def test_one_lane_waits_and_the_other_does_all_of_its_work(tmp_path: Path, exports: dict[str, str]) -> None:
    """Tasks of the paused lane are passed over, whatever their place in the plan, and done when it goes on."""
    with living(tmp_path, exports, cups=12, rate="1200/min") as run:
        run.until(lambda status: status["gateways"])
        assert LANES[0] in run.do("pause", lane=LANES[0])["said"]
        half = run.until(lambda status: status["tasks"].get("done", 0) >= 12)
        stuck = half["gateways"][LANES[0]]
        run.until(lambda status: status["tasks"].get("done", 0) == 12 + stuck["submits"])
        assert run.process.poll() is None, "it waits for its other half"
        assert "still paused" in [run.do("pause"), run.do("resume", lane=LANES[0])][1]["said"]
        assert run.do("resume")["ok"]
        code, err = run.ended()
        assert code == 0, err
        with run.store() as journal:
            assert [row.phase for row in journal.task_rows()] == ["done"] * 24


def test_many_clients_and_stalled_ones_cost_the_run_nothing(tmp_path: Path, exports: dict[str, str]) -> None:
    """Silent ones are told the status, as ever; those that take nothing are left behind; the run ends in order."""
    with living(tmp_path, exports, cups=6, rate="120/min") as run:
        run.until(lambda status: status["images"] >= 1)
        place = run.folder / CONTROL
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert stat.S_IMODE(run.folder.stat().st_mode) == 0o700
        with connected(run) as silent, silent.makefile("r") as answers:
            assert json.loads(answers.read())["state"] == "running"
        crowd = [connected(run) for _ in range(CLIENTS_MAX + 10)]
        for line in crowd[: CLIENTS_MAX // 2]:
            line.sendall(b'{"ask": "watch"}\n')
        for line in crowd[CLIENTS_MAX // 2 : CLIENTS_MAX]:
            line.sendall(b'{"ask": "status"}\n' * 500)
        code, err = run.ended()
        assert code == 0, err
        for line in crowd:
            line.close()
        assert (ask(place), request_of(place, {"do": "pause"})) == (None, None)


def test_rows_are_told_since_a_cursor_and_once_each(tmp_path: Path, exports: dict[str, str]) -> None:
    """Without a cursor there is only a place to begin; from there on, each answer has what changed since the last."""
    with living(tmp_path, exports, cups=8, rate="120/min") as run:
        run.until(lambda status: status["gateways"])
        cursor = run.ask(ask="rows")["cursor"]
        seen: dict[str, str] = {}
        for _ in run.watched():
            if run.process.poll() is not None:
                break
            answer = request_of(run.folder / CONTROL, {"ask": "rows", "since": cursor})
            if answer is None:
                break
            rows = answer["rows"]
            assert isinstance(rows, dict)
            named = [dict(zip(rows["columns"], row, strict=True)) for row in rows["rows"]]
            seen |= {row["id"]: row["state"] for row in named}
            cursor = answer["cursor"]
            assert answer["more"] is False
            for foreign in ("", "x.1", "999.0", f"{cursor}999", 7):
                reset = request_of(run.folder / CONTROL, {"ask": "rows", "since": foreign})
                assert reset is None or (reset["rows"], reset["cursor"]) == (None, None)
        assert run.ended()[0] == 0
        done = [name for name, state in seen.items() if state == "done"]
        assert len(done) >= 8, "all but what ended with the run"


def test_what_cannot_be_done_is_refused_in_words(alive: Living) -> None:
    """Unknown lanes, units, amounts and words; requests that are none; and too much of them."""
    run = alive
    run.do("pause")
    refused = {
        "has no lane x": run.do("pause", lane="x"),
        "not in CNY": run.do("budget", amount="1 CNY"),
        "an amount needs a unit": run.do("budget", amount="much"),
        "below zero": run.do("budget", amount="-1 USD"),
        "a run can be told": run.do("explode"),
        "lane is a text": run.do("pause", lane=7),
        "unknown request": run.ask(ask="everything"),
    }
    for words, answer in refused.items():
        assert (answer["ok"], words in str(answer["said"])) == (False, True), (words, answer)
    for data in (b"{\n", b"[]\n", b"7\n", b"x" * (2 * REQUEST_MAX), b"[" * 5000 + b"\n"):
        (told,) = said_by(run, data)
        assert isinstance(told, dict)
        assert told["ok"] is False
    several = said_by(run, b'{"ask": "status"}\n{"ask": "rows"}\n{"do": "resume", "by": "a\\nb\\u001b[31m"}\n')
    assert len(several) == 3
    assert run.ask(ask="status")["paused"] == []
    with run.store() as journal:
        assert [each.why for each in journal.said_rows()] == [WHO, "ab[31m"], "no line break, no escape"


def test_the_command_line_says_the_same_and_ctrl_c_ends_a_paused_run(
    alive: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pause`, `resume`, `budget`, `drain` by the job's name; clear words when nobody is alive.

    Whoever paused a run may be gone: the terminal has the last word.
    """
    run = alive
    monkeypatch.chdir(run.folder.parents[1])

    def said(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, arguments)
        return result.exit_code, result.output

    code, words = said("pause", "cups", "--lane", LANES[1])
    assert (code, f"{LANES[1]} is paused" in words) == (0, True), words
    code, words = said("budget", "cups", "7 USD", "--json")
    assert (code, "the budget is 7.00 USD now" in json.loads(words)["said"]) == (0, True), words
    assert said("resume", "cups")[0] == said("pause", "cups")[0] == 0
    run.until(lambda status: not any(each["in_flight"] for each in status["gateways"].values()))
    os.kill(run.process.pid, signal.SIGINT)
    assert run.ended()[0] == 130
    with run.store() as journal:
        assert [each.why.partition(" user ")[0] for each in journal.said_rows()][-3:] == ["command line,"] * 3
    code, words = said("drain", "cups")
    assert (code, "no run is alive in runs/cups: there is nothing to drain" in words) == (2, True), words
    code, words = said("budget", "cups", "9 USD")
    assert (code, '--budget "9 USD"' in words) == (2, True), words
