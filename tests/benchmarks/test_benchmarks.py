"""The benchmarks measure what they say: the stub speaks and counts, the tables draw, a small round adds up exactly."""

from __future__ import annotations

import asyncio
import http.client
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.benchmarks import __main__ as command
from tests.benchmarks import flight, gateways, pictures, throughput
from tests.benchmarks.bare import DASHSCOPE, MULEROUTER
from tests.benchmarks.processes import StubProcess, stub
from tests.benchmarks.project import Job, remove_card
from tests.benchmarks.stub import Connection, Stub
from tests.benchmarks.table import Reached, number, summary, tables


class Wire(asyncio.Transport):
    """The other side of a connection: keeps what the stub writes."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As every transport's."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.sent += bytes(data)

    def close(self) -> None:
        """Remember it."""
        self.closed = True


def spoken(stubbed: Stub, *pieces: bytes) -> Wire:
    """What the stub answers to these pieces on one connection."""
    wire, connection = Wire(), Connection(stubbed)
    connection.connection_made(wire)
    for piece in pieces:
        connection.data_received(piece)
    return wire


def bodies(sent: bytes) -> list[Any]:
    """The JSON answers in what was sent."""
    found = []
    while sent:
        head, _, rest = sent.partition(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        found.append(json.loads(rest[:length]))
        sent = rest[length:]
    return found


def post(path: str, body: bytes = b"{}") -> bytes:
    """A POST as clients send it."""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def test_the_stub_counts_each_request_of_both_gateways() -> None:
    """A purchase, a poll and a picture are told apart, whatever pieces they come in; what nobody knows is strange."""
    stubbed = Stub()
    stubbed.origin = b"http://127.0.0.1:9"
    whole = post(MULEROUTER)
    wire = spoken(stubbed, whole[:30], whole[30:-1], whole[-1:], post(DASHSCOPE) + b"GET /nowhere HTTP/1.1\r\n\r\n")
    accepted, made, nothing = bodies(wire.sent)
    operation = accepted["task_info"]["id"]
    assert operation == gateways.operation_id(1)
    assert made["output"]["choices"][0]["message"]["content"] == [{"image": "http://127.0.0.1:9/pictures/2.png"}]
    assert nothing == {}
    told = spoken(stubbed, f"GET {MULEROUTER}/{operation} HTTP/1.1\r\n\r\n".encode()).sent
    assert bodies(told)[0]["images"] == ["http://127.0.0.1:9/pictures/1.png"]
    picture = spoken(stubbed, b"GET /pictures/1.png HTTP/1.1\r\n\r\n").sent
    assert picture.endswith(pictures.picture("1KB").data)
    books = stubbed.books.told()
    names = ("submits", "polls", "downloads", "strange", "requests", "unanswered_max", "open_max")
    assert [books[name] for name in names] == [2, 1, 1, 1, 5, 1, 2]


def test_an_operation_that_takes_its_time_is_in_flight_until_a_poll_tells_its_end() -> None:
    """The most in flight is counted at the gateway, where a client cannot flatter itself."""
    stubbed = Stub()
    stubbed.reset({"latency_s": "60"})
    spoken(stubbed, post(MULEROUTER), post(MULEROUTER))
    poll = f"GET {MULEROUTER}/{gateways.operation_id(1)} HTTP/1.1\r\n\r\n".encode()
    assert bodies(spoken(stubbed, poll).sent)[0]["task_info"]["status"] == "processing"
    stubbed.books.done_at[1] = 0.0
    assert bodies(spoken(stubbed, poll).sent)[0]["task_info"]["status"] == "completed"
    spoken(stubbed, post(MULEROUTER))
    assert (stubbed.books.open, stubbed.books.open_max) == (2, 2)


@pytest.mark.parametrize(
    ("name", "least", "most"), [("1KB", 900, 1200), ("1MB", 1e6, 1.1e6), ("1MB-stored", 1e6, 1.1e6)]
)
def test_every_picture_decodes(name: str, least: float, most: float, tmp_path: Path) -> None:
    """What is downloaded in a benchmark is a whole PNG of the size that it is named for."""
    png = pictures.picture(name)
    path = tmp_path / "picture.png"
    path.write_bytes(png.data)
    with Image.open(path) as image:
        image.load()
        assert image.size == (png.width, png.height)
    assert least < len(png.data) < most
    assert struct.unpack(">II", png.data[16:24]) == (png.width, png.height)


def test_a_goal_is_met_by_its_median_and_a_miss_says_by_how_much() -> None:
    """Tables name the goal, the spread and the miss; figures without a goal are never missed."""
    met = Reached("P1", "sync", 0.55, (0.5, 0.6, 0.7), "of bare", note="beside")
    missed = Reached("P6", "10,000 again", 0.8, (1.2,), "s", at_least=False)
    none = Reached("P6", "requests", 0, (3,), "", at_least=False)
    bare = Reached("P7", "aiolimiter", None, (0.99,))
    assert met.cells() == ("sync", ">= 0.55 of bare", "0.6 (0.5 to 0.7) of bare", "reached", "beside")
    assert [line.verdict for line in (missed, none, bare)] == ["missed by 50%", "missed by 3", ""]
    drawn = tables([met, missed, none, bare])
    assert [line[:7] for line in drawn.splitlines() if line.startswith("###")] == ["### P1.", "### P6.", "### P7."]
    assert "| P6   | 0 of 2  | 10,000 again: missed by 50%; requests: missed by 3 |" in summary([met, missed, none])
    assert [number(value) for value in (0.12345, 12345.6, 3.0)] == ["0.123", "12,346", "3"]


def test_full_waves_without_a_pause_are_all_of_the_ideal() -> None:
    """The first wave comes at once in the ideal; half the speed is half the share."""
    ideal = [wave * 0.2 for wave in range(5) for _ in range(64)]
    assert flight.share_of_ideal(ideal, 64, 0.2) == pytest.approx(1.0)
    assert flight.share_of_ideal([2 * at for at in ideal], 64, 0.2) == pytest.approx(0.5)
    assert flight.share_of_ideal(ideal[:64], 64, 0.2) == 0.0


@pytest.mark.slow
def test_a_job_has_as_many_tasks_as_it_says(tmp_path: Path) -> None:
    """Its two axes multiply to the number asked for, and what is planned is the same number."""
    from pipeline.runtime import prepare

    for tasks in (1, 50, 2000, 4400, 1_010_400, 10_000_000):
        (tmp_path / "spec.yaml").write_text(Job("async3", tasks).text())
        assert len(prepare.plan(prepare.load(tmp_path / "spec.yaml"))) == tasks


def test_unknown_goals_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A slip in `--only` does not measure nothing in silence."""
    with pytest.raises(SystemExit):
        command.options(["--only", "P1,P99"])
    assert "no such goal: P99" in capsys.readouterr().err


@pytest.fixture(scope="module")
def served() -> Iterator[StubProcess]:
    """The stub in a process of its own, and the copied card taken away in the end."""
    with stub() as running:
        yield running
    remove_card()


@pytest.mark.slow
def test_the_stub_serves_over_sockets_and_forgets_when_told(served: StubProcess) -> None:
    """Connections are kept alive, and a reset begins new books."""
    served.reset(latency_s=0.05)
    host = served.origin.removeprefix("http://")
    client = http.client.HTTPConnection(host, timeout=10)
    for _ in range(2):
        client.request("POST", DASHSCOPE, body=b"{}")
        assert json.load(client.getresponse())["usage"]["image_count"] == 1
    client.close()
    told = served.stats()
    # The second connection is that of the question.
    assert (told["submits"], told["unanswered_max"], told["open_max"]) == (2, 1, 1)
    assert told["seconds"] >= 0.05
    assert len(served.arrivals()) == 2
    served.reset()
    assert served.stats()["requests"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "async3"])
def test_a_round_of_fifty_makes_exactly_the_requests_of_fifty_lives(
    served: StubProcess, kind: str, tmp_path: Path
) -> None:
    """Bare loop and project make the same requests, which is what a ratio between them rests on."""
    tasks = 50
    served.reset()
    bare = throughput.bare_lap(served, kind, tasks, 16, tmp_path)
    served.reset()
    own = throughput.project_lap(served, Job(kind, tasks, 16), tmp_path)
    for lap in (bare, own):
        assert (lap.submits, lap.requests) == (tasks, tasks * throughput.REQUESTS[kind])
        assert lap.open_max <= 16
        assert lap.seconds > 0
    (line, *_) = throughput.lines(kind, Job(kind, tasks, 16), [throughput.Round(bare, own, 0.0, 0.0)])
    assert line.goal == "P1"
    assert line.values[0] > 0
