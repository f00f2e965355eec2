"""Filters, search, order and the compare grid, judged by the same questions asked of the rows in Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from tests.report.browser.conftest import Writer, until
from tests.report.browser.fixtures import MODELS, MOODS, SIZES, Row, mixed

SOUGHT = "(text) => document.querySelector('.chip .words')?.textContent === text"
PAGE = "Pipeline.find().map((number) => Pipeline.rows[number][0])"


def ids(rows: Sequence[Row], keep: Callable[[Row], bool]) -> list[str]:
    """The oracle: ids of the rows that pass, in their order."""
    return [each["id"] for each in rows if keep(each)]


def holds(each: Row, *words: str) -> bool:
    """The oracle of search: every word is in one of the texts, whatever its case."""
    texts = [each[name] for name in ("prompt", "negative_prompt", "revised_prompt", "gateway", "model", "size", "step")]
    texts += [each[name] for name in ("row_id", "state", "fault", "fault_message", "operation_id")]
    texts += [str(each["seed"]), *each["row"].values(), *each["axes"].values()]
    whole = "\n".join(text for text in texts if text).lower()
    # Digests answer to longer words only: every short one of digits would be found in some.
    digests = f"{each['id']}\n{each['sha256']}"
    return all(word.lower() in whole or (len(word) > 5 and word in digests) for word in words)


def test_each_filter(report: Writer) -> None:
    """Each value of each filter keeps just the rows that have it, its count is theirs, and its chip takes it back."""
    rows = mixed(300)
    page = report(rows).open("#gallery")
    cases: dict[tuple[str, str], Callable[[Row], bool]] = {}
    for model in MODELS:
        cases["model", model] = lambda each, model=model: each["axes"]["model"] == model  # type: ignore[misc]
    for size in SIZES:
        cases["size", size] = lambda each, size=size: each["size"] == size  # type: ignore[misc]
    for mood in MOODS:
        cases["mood", mood] = lambda each, mood=mood: each["axes"]["mood"] == mood  # type: ignore[misc]
    for state in ("done", "failed", "in_doubt", "waiting"):
        cases["state", state] = lambda each, state=state: each["state"] == state  # type: ignore[misc]
    for flag in ("blank", "near-duplicate"):
        cases["flags", flag] = lambda each, flag=flag: any(f.startswith(flag) for f in each["flags"])  # type: ignore[misc]
    cases["fault", "moderated"] = lambda each: each["fault"] == "moderated"
    cases["row", "row-7"] = lambda each: each["row_id"] == "row-7"
    cases["gateway", "dashscope"] = lambda each: each["gateway"] == "dashscope"
    for (facet, value), keep in cases.items():
        wanted = ids(rows, keep)
        assert wanted, "a case that keeps nothing proves nothing"
        label = page.locator(f'fieldset[data-facet="{facet}"] label', has=page.locator(f'[title="{value}"]'))
        assert label.locator(".count").text_content() == str(len(wanted))
        label.locator("input").check(force=True)
        assert page.evaluate(PAGE) == wanted, (facet, value)
        assert page.locator("#gallery .pic").count() == min(len(wanted), page.locator("#gallery .pic").count())
        page.locator(".chip").click()
        assert page.locator(".chip").count() == 0
    assert page.evaluate(PAGE) == [each["id"] for each in rows]


def test_filters_together(report: Writer) -> None:
    """Values of one filter widen it, filters narrow each other, and counts are told under all the others."""
    rows = mixed(300)
    page = report(rows).open("#gallery")
    for facet, value in (("mood", "snow"), ("mood", "lamp"), ("state", "done"), ("model", MODELS[0])):
        page.evaluate("([facet, value]) => Pipeline.choose(facet, value)", [facet, value])
    page.fill("#search", "teapot")
    until(page, "document.querySelectorAll('.chip').length === 5")

    def keep(each: Row, moods: tuple[str, ...]) -> bool:
        axes = each["axes"]
        return (
            axes["mood"] in moods and each["state"] == "done" and axes["model"] == MODELS[0] and holds(each, "teapot")
        )

    wanted = ids(rows, lambda each: keep(each, ("snow", "lamp")))
    assert page.evaluate(PAGE) == wanted
    assert page.locator("#gallery .tile").count() == len(wanted) > 0
    other = page.locator('fieldset[data-facet="mood"] label', has_text="sunset").locator(".count").text_content()
    assert other == str(len(ids(rows, lambda each: keep(each, ("sunset",)))))
    assert page.locator("#found").inner_text() == f"{len(wanted)} pictures of {len(rows)}"
    page.get_by_role("button", name="clear all").click()
    assert page.evaluate(PAGE) == [each["id"] for each in rows]


def test_search(report: Writer) -> None:
    """Every word counts, in whatever case and text: prompts, rows, models, faults, seeds, digests."""
    rows = mixed(300)
    rows[5]["revised_prompt"] = "A GROSSE Brücke über den Fluß, 東京の橋"
    rows[6]["negative_prompt"] = "low quality (blurry)"
    page = report(rows).open("#gallery")
    asked = [
        "orchard",
        "ORCHARD lamp",
        "qwen-image-2.0 teapot",
        "moderated",
        "number 12",
        "row-3",
        "brücke",
        "東京",
        "(blurry)",
    ]
    asked += [
        str(rows[40]["seed"]),
        rows[41]["sha256"][:12],
        rows[42]["task_id"],
        rows[43]["operation_id"],
        "no such words",
    ]
    for text in asked:
        page.fill("#search", text)
        until(page, SOUGHT, text)
        assert page.evaluate(PAGE) == ids(rows, lambda each, text=text: holds(each, *text.split())), text  # type: ignore[misc]
    page.wait_for_selector("#gallery-empty:not([hidden])")


def ranked(rows: Sequence[Row], key: Callable[[Row], float | None], *, down: bool) -> list[str]:
    """The oracle of orders: what is unknown comes last, equals stay as they were."""
    known = [each for each in rows if key(each) is not None]
    sign = -1 if down else 1
    known.sort(key=lambda each: sign * (key(each) or 0))
    return [each["id"] for each in known] + [each["id"] for each in rows if key(each) is None]


def test_each_order(report: Writer) -> None:
    """Cost, time, rating, rejection, flags and age put the rows in order, and the unknown last."""
    rows = mixed(150)
    page = report(rows).open("#gallery")
    ratings = {rows[n]["id"]: n % 5 + 1 for n in (0, 4, 8, 19, 21, 22, 24, 100)}
    rejected = {rows[n]["id"] for n in (7, 30)}
    page.evaluate(
        "([ratings, rejected]) => { for (const [id, rating] of Object.entries(ratings)) "
        "Pipeline.review(Pipeline.numberOf(id), {rating}); "
        "for (const id of rejected) Pipeline.review(Pipeline.numberOf(id), {reject: true}); }",
        [ratings, sorted(rejected)],
    )

    def took(each: Row) -> float | None:
        return None if each["completed_at"] is None else (each["completed_at"] - each["submitted_at"]) / 1e6

    cases: dict[str, tuple[Callable[[Row], float | None], bool]] = {
        "dear": (lambda each: each["cost_micros"], True),
        "cheap": (lambda each: each["cost_micros"], False),
        "slow": (took, True),
        "fast": (took, False),
        "best": (lambda each: ratings.get(each["id"]), True),
        "worst": (lambda each: ratings.get(each["id"]), False),
        "rejected": (lambda each: each["id"] in rejected, True),
        "flags": (lambda each: len(each["flags"]), True),
        "newest": (lambda each: each["stored_at"], True),
        "spec": (lambda _each: 0, False),
    }
    assert set(page.locator("#sort option").evaluate_all("(all) => all.map((one) => one.value)")) == set(cases)
    for name, (key, down) in cases.items():
        page.select_option("#sort", name)
        wanted = ranked(rows, key, down=down)
        assert page.evaluate(PAGE) == wanted, name
        numbers = page.locator("#gallery .pic").evaluate_all("(all) => all.map((one) => Number(one.dataset.n))")
        assert [rows[n]["id"] for n in numbers] == wanted[: len(numbers)], name
    for facet, value, count in (("review", "rejected", 2), ("review", "5 stars", 3)):
        page.evaluate("([facet, value]) => Pipeline.choose(facet, value, true)", [facet, value])
        assert len(page.evaluate(PAGE)) == count, value


def cells(page: Any) -> list[list[str]]:
    """The grid as texts: the head, and for each line its head and how many pictures each cell holds."""
    read = """(table) => [...table.rows].map((row) => [...row.cells].map((cell) =>
        cell.tagName === "TH" ? cell.innerText : String(cell.querySelectorAll(".pic").length)))"""
    found: list[list[str]] = page.locator("#grid-table").evaluate(read)
    return found


def test_compare_grid(report: Writer) -> None:
    """Rows and columns are chosen from the axes; each cell holds the pictures that have both values, and only them."""
    rows = mixed(96)
    page = report(rows).open()
    assert page.locator("#grid-columns").input_value() == "model*size"
    head, *lines = cells(page)
    assert len(head) == 1 + len(MODELS) * len(SIZES)
    assert [text.split("\n")[:2] for text in head[1:]] == [[m.partition("/")[2], s] for m in MODELS for s in SIZES]
    assert len(lines) == len({(each["row_id"], each["axes"]["mood"]) for each in rows})
    page.select_option("#grid-rows", "mood")
    page.select_option("#grid-columns", "model")
    _, *lines = cells(page)
    for mood, line in zip(MOODS, lines, strict=True):
        assert line[0].startswith(mood)
        wanted = [sum(e["axes"]["mood"] == mood and e["axes"]["model"] == model for e in rows) for model in MODELS]
        # A full cell shows twelve until it is asked for the others.
        assert line[1:] == [str(min(12, count)) for count in wanted]
    page.get_by_role("button", name=re.compile(r"^all \d")).first.click()
    assert cells(page)[1][1] == str(sum(e["axes"]["mood"] == "snow" and e["axes"]["model"] == MODELS[0] for e in rows))
    page.click("#grid-swap")
    head, *lines = cells(page)
    assert len(head) == 4
    assert len(lines) == 2
    scopes = page.locator("#grid-table th").evaluate_all("(all) => all.map((one) => one.scope)")
    assert scopes == ["col"] * 4 + ["row"] * 2, "its heads are heads"
