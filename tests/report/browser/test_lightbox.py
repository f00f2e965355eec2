"""One picture at full size: its slider, its facts, its neighbours, its way out, and a spec that makes it again."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipeline
from pipeline.report.data import COLUMNS
from tests.report.browser.conftest import Writer
from tests.report.browser.fixtures import Row, bare, digest, mixed, row

CUT = "getComputedStyle(document.querySelector('.compare')).getPropertyValue('--cut')"
OPEN = "document.querySelector('#lightbox').open"


def edit(number: int) -> Row:
    """A picture that was made of another."""
    source = {"name": "photos/fox.png", "src": "pictures/1-0.png", "thumb": "pictures/1-0.png", "sha256": digest("fox")}
    return row(number, inputs=[source])


def test_slider_over_input_and_result(report: Writer) -> None:
    """The input lies over the result up to a line, which a hand drags and arrow keys move."""
    page = report([edit(0), edit(2)]).open("#gallery")
    page.locator("#gallery .pic").first.click()
    assert page.evaluate(CUT).strip() == "50%"
    frame = page.locator(".compare").bounding_box()
    assert frame is not None
    middle = frame["y"] + frame["height"] / 2
    page.mouse.move(frame["x"] + frame["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] / 4, middle)
    page.mouse.up()
    assert page.evaluate(CUT).strip() == "25%"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(CUT).strip() == "27%"
    assert page.locator("#place").inner_text() == "1 of 2", "on the slider the arrows move the slider"
    clip = page.locator(".compare .over").evaluate("(node) => getComputedStyle(node).clipPath")
    assert clip.startswith("inset(0px ")
    page.get_by_role("button", name="side by side").click()
    assert page.locator("#stage figure").count() == 2
    page.get_by_role("button", name="result only").click()
    assert page.locator("#stage img").count() == 1
    page.locator("#next").press("ArrowRight")
    assert page.locator("#place").inner_text() == "2 of 2"


def test_all_that_is_known(report: Writer) -> None:
    """The panel names seed, cost, attempts, operation and digest, and the whole row stands in a table."""
    one = row(3, revised_prompt="a longer prompt", negative_prompt="blurry", attempts=2, flags=["blank"])
    page = report([one], options={"permissions": ["clipboard-read", "clipboard-write"]}).open("#gallery")
    page.locator("#gallery .pic").click()
    words = page.locator("#known").inner_text()
    for known in ("seed", "cost_micros", "operation_id", "sha256", "revised_prompt", "negative_prompt"):
        value = one[known] if known != "cost_micros" else f"{one[known] / 1e6:g} USD"
        assert str(value) in words, known
    page.locator(".whole summary").click()
    cells = page.locator(".whole tr").all_inner_texts()
    assert [cell.split("\t")[0] for cell in cells] == list(COLUMNS)
    page.locator("#known dd", has_text=one["sha256"]).get_by_role("button").click()
    assert page.evaluate("navigator.clipboard.readText()") == one["sha256"]


def test_focus_stays_and_comes_back(report: Writer) -> None:
    """Tab goes round within an open picture, both ways; Esc closes it, and the focus is on the picture it came from."""
    page = report(mixed(20)).open("#gallery")
    page.locator('#gallery .pic[data-n="2"]').focus()
    page.keyboard.press("Enter")
    for key in ["Tab"] * 30 + ["Shift+Tab"] * 30:
        page.keyboard.press(key)
        assert page.evaluate("document.querySelector('#lightbox').contains(document.activeElement)")
    page.locator("#close").focus()
    page.keyboard.press("Escape")
    assert not page.evaluate(OPEN)
    assert page.evaluate("document.activeElement.dataset.n") == "2"


def test_next_goes_through_what_was_found(report: Writer) -> None:
    """The arrows follow the filtered list in its order, in gallery and grid, and stop at its ends."""
    rows = mixed(60)
    page = report(rows).open("#gallery?f.mood=lamp&sort=cheap")
    wanted = page.evaluate("Pipeline.find()")
    assert 0 < len(wanted) < len(rows)
    page.locator("#gallery .pic").first.click()
    seen = [page.evaluate("Pipeline.openNumber()")]
    for _ in wanted:
        page.keyboard.press("ArrowRight")
        seen.append(page.evaluate("Pipeline.openNumber()"))
    assert seen == [*wanted, wanted[-1]]
    assert page.locator("#next").is_disabled()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("Pipeline.openNumber()") == wanted[-2]


def test_the_address_opens_the_picture(report: Writer) -> None:
    """The address keeps tab, filters and picture: opened again it shows the same."""
    opened = report(mixed(60))
    page = opened.open("#gallery?f.state=done")
    page.locator("#gallery .pic").nth(4).click()
    number = page.evaluate("Pipeline.openNumber()")
    address = page.url
    page.goto("about:blank")
    opened.requests.clear()
    page.goto(address)
    page.wait_for_selector("#lightbox[open]")
    assert page.evaluate("Pipeline.openNumber()") == number
    assert page.locator(".chip").count() == 1


HARD = 'say "hi": {{ row.x }} {% if %} {# no #} # not a comment\n  \\ \u2028 \xa0 \U0001f98a - end'


@pytest.mark.parametrize("prompt", ["A photograph of a fox", HARD, "- [a, b]: {c}", "yes"])
def test_copy_as_spec(report: Writer, tmp_path: Path, prompt: str) -> None:
    """The copied spec is one that the program takes, of one task, with this prompt, model, size and seed."""
    one = row(0, prompt=prompt, negative_prompt="blur: {{ x }}", params='{"prompt_extend":false}')
    page = report([one], options={"permissions": ["clipboard-read", "clipboard-write"]}).open("#gallery")
    page.locator("#gallery .pic").click()
    page.get_by_role("button", name="copy as spec").click()
    text = page.evaluate("navigator.clipboard.readText()")
    spec = tmp_path / "one.yaml"
    spec.write_text(text)
    (task,) = pipeline.plan(pipeline.load(spec)).tasks()
    sent = (task.prompt, task.negative_prompt, task.model, task.size, task.seed, dict(task.params))
    full = (prompt, "blur: {{ x }}", "qwen-image-max", one["size"], one["seed"], {"prompt_extend": False})
    assert sent == full


def test_a_task_without_picture(report: Writer) -> None:
    """A task that failed opens too: what the gateway said, and no stars to give."""
    page = report([bare(0, "failed", "moderated")]).open("#gallery")
    page.locator("#gallery .pic").click()
    assert "the gateway said moderated" in page.locator("#stage").inner_text()
    assert not page.locator("#rate").is_visible()
    page.keyboard.press("3")
    assert page.evaluate("Pipeline.reviewCount()") == 0


def test_flags_are_said_in_words_and_lead_to_what_they_name(report: Writer) -> None:
    """No digest is shown where a sentence belongs; a picture that looks like an earlier one has a way to it."""
    one = row(3)
    two = row(5, flags=["blank", f"near-duplicate:{one['id']}", "input-changed:2", "of a later version"])
    page = report([one, two]).open("#gallery")
    page.locator("#gallery .pic").nth(1).click()
    assert page.locator("#lightbox .flags li").all_inner_texts() == [
        "nothing can be seen on it",
        "looks like an earlier picture",
        "input picture 2 is no longer what was sent",
        "of a later version",
    ]
    page.get_by_role("button", name="looks like an earlier picture", exact=True).click()
    assert page.locator("#place").inner_text() == "1 of 2"
    assert page.locator("#lightbox .flags").count() == 0


def test_rejected_does_not_cover_before(report: Writer) -> None:
    """Over a slider the word stands in the lower corner: the upper one says which side is the input."""
    page = report([edit(0), edit(2)]).open("#gallery")
    page.locator("#gallery .pic").first.click()
    page.keyboard.press("x")
    page.wait_for_selector("#stage.rejected")
    assert page.evaluate("getComputedStyle(document.querySelector('#stage'), '::after').bottom") == "24px"
