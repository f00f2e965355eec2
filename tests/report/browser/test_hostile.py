"""Words that came from elsewhere are shown as words: nothing in a row, a fault or a note is ever run or followed."""

from __future__ import annotations

import pytest

from tests.report.browser.conftest import Writer
from tests.report.browser.fixtures import Row, bare, digest, row

PROMPTS = (
    "</script><script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 1'>",
    "<svg onload=window.ran=1><!--",
    "\"><iframe srcdoc='<script>parent.ran=1</script>'>",
    "javascript:window.ran=1",
    "]]>{{constructor.constructor('window.ran=1')()}}",
    "\u202egnp.exe\u202c and \u2066isolated\u2069 \u200fright to left\u200e",
    "line\u2028separator\u2029paragraph\r\nand\ttab\x00\x07\x1b[31m",
    "\ud800 a lone surrogate",
    "\U0001f98a\u200d\u2764\ufe0f\u200d\U0001f525 \U0001f469\U0001f3fd\u200d\U0001f680 emoji",
    "x" * 10_000,
    "__proto__",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "z\u0351\u036b\u0343\u036a\u0302" * 40,
)


def hostile() -> list[Row]:
    """Each payload in every text that a row has."""
    rows = []
    for number, words in enumerate(PROMPTS):
        axes = {"model": words, "size": "1x1", "mood": words}
        rows.append(
            row(
                number,
                prompt=words,
                negative_prompt=words,
                revised_prompt=words,
                row_id=words,
                row={words: words, "__proto__": words},
                axes=axes | {"__proto__": words},
                model=words,
                gateway=words,
                size=words,
                operation_id=words,
                flags=[words],
                inputs=[
                    {"name": words, "src": "pictures/0-0.png", "thumb": "pictures/0-0.png", "sha256": digest(number)}
                ],
            )
        )
        rows.append(bare(100 + number, "failed", words, prompt=words, fault_message=words))
    return rows


@pytest.mark.parametrize("tab", ["grid", "gallery", "failures", "charts"])
def test_nothing_runs(report: Writer, tab: str) -> None:
    """In every view, every payload stays text."""
    page = report(hostile(), job=PROMPTS[1], folder=PROMPTS[0], versions={PROMPTS[0]: PROMPTS[1]}).open(f"#{tab}")
    assert page.evaluate("window.ran === undefined")
    assert page.evaluate("document.querySelectorAll('iframe, object, embed, #tiles svg, #grid svg').length") == 0
    assert page.locator("#job").text_content() == PROMPTS[1]
    handlers = (
        "[...document.querySelectorAll('*')].filter((n) => [...n.attributes].some((a) => /^on|^style$/.test(a.name)"
    )
    assert page.evaluate(f"{handlers} && a.name !== 'style')).length") == 0
    assert page.evaluate("document.querySelectorAll('a[href^=javascript]').length") == 0


def test_each_prompt_is_shown_as_it_was_sent(report: Writer) -> None:
    """The lightbox shows each prompt letter by letter, its row as a table, and goes on to the next."""
    rows = hostile()
    page = report(rows).open("#gallery")
    page.locator("#gallery .pic").first.click()
    for each in rows:
        shown = page.locator("#known .text .prompt").first.text_content()
        assert shown == each["prompt"]
        assert page.evaluate("window.ran === undefined")
        page.locator("#next").press("ArrowRight")
    page.keyboard.press("Escape")
    for words in PROMPTS[:6]:
        page.fill("#search", words)
        page.keyboard.press("Enter")
    assert page.evaluate("window.ran === undefined")


def test_address_is_no_way_in(report: Writer) -> None:
    """What stands behind the # chooses a view at most."""
    opened = report([row(1)])
    for place in (
        "#gallery?q=<img src=x onerror=window.ran=1>&f.model=</script><script>window.ran=1</script>",
        "#__proto__?rows=__proto__&columns=constructor&sort=__proto__&open=__proto__",
        "#grid?rows=<b>&columns=model*size*<i>&f.__proto__=1",
    ):
        opened.page.goto("about:blank")
        page = opened.open(place)
        assert page.evaluate("window.ran === undefined")
        assert page.evaluate("({}).polluted === undefined")
    opened.requests[:] = [url for url in opened.requests if url != "about:blank"]
