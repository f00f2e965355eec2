"""S7: 500 hostile texts through every field that strangers fill: the report's scripts hold JSON and nothing else."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest

from pipeline.cli import words
from pipeline.manifest.rows import image_cells
from pipeline.plan.review import parse_review
from pipeline.report import single
from pipeline.report.data import Entry, Links, row_chunk, script
from pipeline.report.pages import META, SITE, chunk_name, src_of
from pipeline.report.review import review_csv
from pipeline.report.summary import Tally, meta
from pipeline.values.sheet import unguarded
from tests.report.rows import START, Saying, Store, of_image, of_task, task

PAYLOADS: Final = (
    # HTML and the ends of a script
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</ScRiPt ><img src=x onerror=alert(1)>",
    "<!--<script>",
    "--><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script xlink:href=data:,alert(1)></script></svg>",
    "<math><mtext></mtext><mglyph><style><img src=x onerror=alert(1)>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'>",
    "<object data=data:text/html,<script>alert(1)</script>>",
    "<meta http-equiv=refresh content=0;url=https://evil.example>",
    "<base href=https://evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import 'https://evil.example'</style>",
    "<form action=https://evil.example><button>",
    "<a href=javascript:alert(1)>x</a>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;",
    # attributes
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "` onerror=alert(1) `",
    '"><img src=x onerror=alert(1)>',
    'x" style="background:url(https://evil.example)',
    # URLs
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "https://evil.example/?q=%3Cscript%3E",
    "//evil.example/x.js",
    "../../../../etc/passwd",
    "file:///etc/passwd",
    "vbscript:msgbox(1)",
    # out of JSON, out of the script
    '"});alert(1);//',
    '\\"});alert(1);//',
    "\\u0022});alert(1);//",
    "\\",
    "\\\\",
    "\\x3cscript\\x3e",
    "'});alert(1)//",
    "*/alert(1)/*",
    "\u2028alert(1)\u2029",
    "\r\nalert(1)\r\n",
    "\x00\x01\x02",
    "\ud800",
    "\udfff\ud800",
    "__proto__",
    "constructor",
    "NaN",
    # templates and Markdown
    "{{ constructor.constructor('alert(1)')() }}",
    "${alert(1)}",
    "<%= 7*7 %>",
    "#{7*7}",
    "[x](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    # terminals and direction
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31m",
    "\u202egnp.exe",
    "\u2066\u2067abc\u2069",
    # spreadsheets
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    '=HYPERLINK("https://evil.example")',
    "=cmd|'/C calc'!A0",
    ";=1+1",
    ",=1+1",
    '"=1+1',
    "\n=1+1",
)


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _slots(text: str) -> dict[str, Store]:
    """{where a stranger may write: a store in which this text stands there}."""
    fault: dict[str, object] = {"fault": "rejected", "fault_message": text}
    made: dict[str, tuple[dict[str, object], dict[str, object], dict[str, object]]] = {
        "prompt": ({"prompt": text, "negative_prompt": text}, {}, {}),
        "names of rows and axes": ({"row_id": text, "row": {text: text}, "axes": {text: text}}, {}, {}),
        # Half a pair is in no parameter: it has no digest, so no task has it.
        "parameters": ({"params": {_whole(text): _whole(text)}, "step": text}, {}, {}),
        "an error": ({}, fault, {}),
        "an operation": ({}, {"operation_id": text}, {"operation_id": text}),
        "a revised prompt": ({}, {}, {"revised_prompt": text}),
        "a file name": ({}, {}, {"path": f"images/{text}/{text}.png"}),
    }
    stores = {}
    for name, (record, row, image) in made.items():
        known = task(**record)  # type: ignore[arg-type]  # fields of a task
        failed = of_task(task(1, **record), "failed", **fault, **{k: v for k, v in row.items() if k not in fault})  # type: ignore[arg-type]
        stores[name] = Store([of_task(known, **row), failed], [of_image(known, **image)])  # type: ignore[arg-type]
    return stores


CASES: Final = [(slot, text) for text in PAYLOADS for slot in _slots(text)]


# --- a tokenizer of our own: what JSON is, and that there is nothing else --------------------------------------------

_TOKEN: Final = re.compile(
    r'(?P<string>"(?:[ !#-%\'-;=?-\[\]-~]|\\["\\/bfnrt]|\\u[0-9a-f]{4})*")'
    r"|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<word>true|false|null)|(?P<sign>[\[\]{},:])",
    re.ASCII,
)
_START: Final = "(window.PIPELINE_DATA=window.PIPELINE_DATA||[]).push("
_END: Final = ");\n"


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None, f"no JSON at {at}: {text[at : at + 40]!r}"
        yield str(match.lastgroup), match[0]
        at = match.end()


def _check_json(text: str) -> None:
    """One value, by its grammar: a pushdown automaton with what may come next."""
    stack: list[str] = []
    state = "value"
    for kind, token in _tokens(text):
        if state in {"value", "value or ]"} and (kind in {"string", "number", "word"} or token in "[{"):
            if token in "[{":
                stack.append(token)
                state = "value or ]" if token == "[" else "key or }"
            else:
                state = "after"
        elif state == "value or ]" and token == "]":
            stack.pop()
            state = "after"
        elif state in {"key or }", "key"} and kind == "string":
            state = "colon"
        elif state == "key or }" and token == "}":
            stack.pop()
            state = "after"
        elif state == "colon" and token == ":":
            state = "value"
        elif state == "after" and token == "," and stack:
            state = "value" if stack[-1] == "[" else "key"
        elif state == "after" and stack and token == {"[": "]", "{": "}"}[stack[-1]]:
            stack.pop()
        else:
            raise AssertionError(f"{token!r} where {state} was expected")
    assert state == "after" and not stack  # noqa: PT018 - the end of one value


def _inside(data: bytes) -> Any:
    """The one value that a data file hands over, when it is a script with nothing but that."""
    text = data.decode("ascii")
    assert text.startswith(_START)
    assert text.endswith(_END)
    body = text[len(_START) : -len(_END)]
    assert not re.search(r"[<>&\x00-\x1f\x7f]", body)
    _check_json(body)
    return json.loads(body)


@pytest.mark.parametrize("text", ['{"a":1,}', "[1,]", '{"a"}', "[1]]", '"a', "alert(1)", '{"a":b}', '"<"', "[1 2]"])
def test_the_tokenizer_refuses_what_is_no_json(text: str) -> None:
    """The check can fail."""
    with pytest.raises(AssertionError):
        _check_json(text)


def test_there_are_five_hundred() -> None:
    """As many as S7 asks for, at least."""
    assert len(CASES) >= 500


def _links(entry: Entry) -> Links:
    return Links() if entry.image is None else Links(src_of(entry.image.artifact.path))


def _written(store: Store) -> dict[str, bytes]:
    tally = Tally(START, START + 100_000_000)
    entries = store.entries()
    for entry in entries:
        tally.add(entry)
    rows = row_chunk(entries, 0, _links)
    return {META: script(meta(Saying().told(), tally, ())), chunk_name(0): script(rows)}


@pytest.mark.parametrize(("slot", "text"), CASES, ids=[f"{slot}-{number}" for number, (slot, _) in enumerate(CASES)])
def test_a_data_script_is_json_and_nothing_else(slot: str, text: str) -> None:
    """Whoever wrote it, and wherever it stands: it arrives as the same text and never as anything else."""
    store = _slots(text)[slot]
    written = _written(store)
    told, rows = (_inside(data) for data in written.values())
    first, second = (dict(zip(rows["columns"], row, strict=True)) for row in rows["rows"])
    image = store.images[0]
    cells = image_cells(image)
    for name in ("prompt", "negative_prompt", "revised_prompt", "row_id", "params", "operation_id"):
        assert first[name] == cells[name]
    assert list(first["axes"].values()) == [value for _, value in image.task.axes.items()]
    assert "__proto__" not in {*first["row"], *first["axes"]}
    assert second["fault_message"] == store.tasks[1].fault_message == told["failures"][0]["message"]
    # An address is ASCII, leads below the run folder, and ends nowhere early.
    assert re.fullmatch(r"\.\./images/[A-Za-z0-9_.~/%-]*\.png", first["src"], re.ASCII)


class _Tags(HTMLParser):
    """The elements of a page, and what its scripts hold."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.tags.append(tag)
        found = dict(attrs)
        if tag == "script":
            assert not found, "a script of the one file is written in"
            self.scripts.append("")
        if found.get("http-equiv", "") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_data(self, data: str) -> None:
        """Text, of a script or of the page."""
        if self.lasttag == "script" and self.scripts and not self.scripts[-1]:
            self.scripts[-1] = data


def _page(text: str) -> _Tags:
    everywhere = Store(
        [task_row for store in _slots(text).values() for task_row in store.tasks],
        [image for store in _slots(text).values() for image in store.images],
    )
    tags = _Tags()
    tags.feed(single.page(_written(everywhere)).decode())
    return tags


@pytest.mark.slow
def test_the_one_file_has_the_same_elements_whatever_is_written_in_it() -> None:
    """No text adds an element or a script, and each script is named by its digest in a policy that allows no other."""
    plain = _page("a mug")
    for text in PAYLOADS:
        hostile = _page(text)
        assert hostile.tags == plain.tags, text
        for body in hostile.scripts:
            digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in hostile.policy, (text, body[:60])
        assert "'unsafe" not in hostile.policy
        assert hostile.policy.startswith("default-src 'none'; ")


def test_the_shipped_page_allows_its_own_files_and_nothing_else() -> None:
    """No inline script or style, no event handler, no address of anybody else, in any of its files."""
    html = (SITE / "index.html").read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    assert "'unsafe" not in policy[1]
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", html)
    risky = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|setAttribute\(.style"
    for file in SITE.glob("*.js"):
        assert not re.search(risky, file.read_text()), file.name
    for file in SITE.glob("*"):
        addresses = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", file.read_text())
        assert set(addresses) <= {"http://www.w3.org"}, file.name


@pytest.mark.parametrize("text", PAYLOADS)
def test_a_review_is_never_computed_by_a_spreadsheet(text: str) -> None:
    """No cell begins like a formula, for any separator; and it is read back as it was."""
    data = review_csv([("a" * 64, "0", "5", "yes", text, text)])
    lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert [len(line) for line in lines] == [6, 6]
    assert not [cell for line in lines for cell in line if re.match(r"[=+\-@\t\r]", cell)]
    assert [unguarded(cell) for cell in lines[1][4:]] == [text.encode("utf-8", "backslashreplace").decode()] * 2
    assert parse_review(data.decode()).pictures == {("a" * 64, 0)}


@pytest.mark.parametrize("text", PAYLOADS)
def test_terminals_are_told_without_control_characters(text: str) -> None:
    """What the command says of such a run moves no cursor and turns no line."""
    said = words.clean(Path("runs") / text.replace("\x00", "") / "report")
    assert said.isprintable() or set(said) & set("\u200c\u200d")
