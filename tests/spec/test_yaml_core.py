"""YAML is read as 1.2 core says: nothing is guessed, nothing is lost, nothing explodes."""

from __future__ import annotations

import time

import pytest

from pipeline.errors import SpecError
from pipeline.spec.job import ListAxis
from pipeline.spec.load import decode_spec
from tests.spec.specs import HEAD, load, mistakes, report


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("16:9", "16:9"),
        ("1:1", "1:1"),
        ("9:16", "9:16"),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("off", "off"),
        ("Y", "Y"),
        ("0123", "0123"),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01 10:00:00", "2026-01-01 10:00:00"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("0o17", 15),
        ("0x1F", 31),
        ("+12", 12),
        ("-3", -3),
        ("0", 0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("true", True),
        ("False", False),
        ("'true'", "true"),
        ('"1"', "1"),
        ("!!str 12", "12"),
        ("!!int 12", 12),
        ("!!float 12", 12.0),
        ("! 12", "12"),
        ("=", "="),
    ],
)
def test_scalars_stay_what_the_writer_wrote(written: str, meant: object) -> None:
    """Every row of the trap table, as an axis value."""
    axis = load(f"{HEAD}matrix:\n  a:\n  - {written}\n").matrix.axes[0]
    assert isinstance(axis, ListAxis)
    assert (axis.values[0], type(axis.values[0])) == (meant, type(meant))


def test_keys_are_words_too() -> None:
    """A key such as `on` or `1` is its text."""
    assert list(load(f"{HEAD}params: {{on: 1, no: 2, 0123: 3, 1: 4, 16:9: 5}}\n").params) == [
        "on",
        "no",
        "0123",
        "1",
        "16:9",
    ]


def test_merge_keys_lay_written_keys_over_merged_ones() -> None:
    """`<<` takes a map or a list of maps; what is written wins, then the earlier map."""
    text = f"""{HEAD}matrix:
  base:
  - &a {{id: a, light: warm, lens: wide}}
  - &b {{id: b, light: cold, grain: fine}}
  - {{<<: [*a, *b], id: c}}
  - {{id: d, <<: *b, light: dim}}
"""
    axis = load(text).matrix.axes[0]
    assert isinstance(axis, ListAxis)
    assert axis.values[2:] == (
        {"id": "c", "light": "warm", "lens": "wide", "grain": "fine"},
        {"id": "d", "light": "dim", "grain": "fine"},
    )


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: 1\n---\nb: 2\n", (2, 1), "a second document begins here"),
        ("", (1, 1), "the spec is empty"),
        ("# nothing\n", (1, 1), "the spec is empty"),
        ("- a\n", (1, 1), "the spec must be a map of keys and values, not a list"),
        (HEAD + "params: {a: !local x}\n", (5, 13), "the tag !local is not supported"),
        (
            HEAD + "params: {a: !!python/name:os.system x}\n",
            (5, 13),
            "the tag !!python/name:os.system is not supported",
        ),
        (HEAD + "params: {a: !!binary eA==}\n", (5, 13), "the tag !!binary is not supported"),
        (HEAD + "params: {a: !!int x}\n", (5, 13), "this is no !!int"),
        (HEAD + "params: {a: .nan}\n", (5, 13), "infinity and not-a-number are no values here"),
        (HEAD + "params: {a: 1e999}\n", (5, 13), "this number is too large"),
        (HEAD + "params: {a: " + "9" * 5000 + "}\n", (5, 13), "a number has at most 300 digits"),
        (HEAD + "params: {? [a] : 1}\n", (5, 12), "a list or map cannot be a key"),
        (HEAD + 'params: {a: "\\0"}\n', (5, 13), "this text holds a control character"),
        (HEAD + "params: {a: *b}\n", (5, 13), "nothing above is anchored as &b"),
        (HEAD + "params: {a: &b [*b]}\n", (5, 17), "&b contains itself"),
        (HEAD + "params: {<<: 3}\n", (5, 14), "<< takes a map or a list of maps"),
        (HEAD + "params: {a: 1, b: {c: 1, c: 2}}\n", (5, 26), "key 'c' given twice"),
        (HEAD + "name: cups\n", (5, 1), "key 'name' given twice"),
        ("a: b\x07\n", (1, 5), "control character U+0007"),
        ("a: b\n\x00c\n", (2, 1), "control character U+0000"),
        ("a: b\ufeff\n", (1, 5), "control character U+FEFF"),
        ("a: b\udc80\n", (1, 5), "control character U+DC80"),
        ("a: [b\n", (1, 4), "this bracket is never closed"),
        ("a: [b\nc: d]\n", (2, 2), "a comma or a closing bracket is missing"),
        ('a: ["b" "c"]\n', (1, 9), "a comma or a closing bracket is missing"),
        ('a: "b\nc: d\n', (1, 4), "this quote is never closed"),
        ("a:\n\t- b\n", (2, 1), "a tab cannot indent YAML"),
        ("a: @b\n", (1, 4), "a value cannot begin with @"),
        ("a: b: c\n", (1, 5), "': ' is not allowed inside this value"),
        ("a: 1\nb\nc: 2\n", (2, 1), "a key without ': ' and a value"),
        ("a: 'b' c\n", (1, 8), "this is neither part of the value before it nor a new key"),
    ],
)
def test_what_is_no_spec_is_refused_at_its_place(text: str, where: tuple[int, int], what: str) -> None:
    """Each fault of YAML has its line, column and a sentence of ours."""
    found = {((m.place.line, m.place.column), m.what) for m in mistakes(text)}
    assert (where, what) in found, report(text)


def test_a_byte_order_mark_is_accepted_and_moves_no_column() -> None:
    """Editors of Windows write one."""
    assert load("\ufeff" + HEAD).name == "mugs"
    assert mistakes("\ufeffnaem: x\n" + HEAD)[0].place.column == 1


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_are_counted_alike_with_every_kind_of_newline(newline: str) -> None:
    """Places and carets agree with what an editor shows."""
    (mistake,) = mistakes((HEAD + "budgt: 1 USD\n").replace("\n", newline))
    assert (mistake.place.line, mistake.place.text) == (5, "budgt: 1 USD")


@pytest.mark.parametrize(
    ("data", "where", "what"),
    [
        (HEAD.encode("utf-16"), (1, 1), "the spec is UTF-16"),
        (b"name: mugs\nprompt: caf\xe9\n", (2, 12), "byte 0xE9 is not UTF-8"),
        (b"\xef\xbb\xbfab\xff", (1, 3), "byte 0xFF is not UTF-8"),
    ],
)
def test_bytes_that_are_not_utf_8_are_refused_at_their_place(data: bytes, where: tuple[int, int], what: str) -> None:
    """A spec in another encoding is named as such."""
    with pytest.raises(SpecError) as caught:
        decode_spec(data, "spec.yaml")
    (mistake,) = caught.value.mistakes
    assert ((mistake.place.line, mistake.place.column), mistake.what) == (where, what)


def test_decoded_bytes_load() -> None:
    """A mark of byte order and every letter survive the way from bytes."""
    assert (
        load(decode_spec(b"\xef\xbb\xbf" + HEAD.replace("a mug", "a müg 猫").encode(), "spec.yaml")).prompt
        == "a müg 猫"
    )


_LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(_LAUGHS, id="billion laughs"),
        pytest.param("a: &a {b: c}\nd: [" + "*a," * 300_000, id="many aliases"),
        pytest.param("a: " + "[" * 3_000, id="3,000 lists deep"),
        pytest.param("[" * 1_000_000, id="a million lists deep"),
        pytest.param("{a: " * 250_000, id="maps deep"),
        pytest.param("- " * 500_000, id="block lists deep"),
        pytest.param("? " * 500_000, id="keys deep"),
        pytest.param(
            "a: &a [b]\n" + "".join(f"b{i}: &b{i} [*{'a' if not i else f'b{i - 1}'}]\n" for i in range(99)),
            id="deep by alias",
        ),
        pytest.param("".join(f"key{i}: 1\n" for i in range(100_000)), id="100k keys"),
        pytest.param("".join(f"key{i}: 1\n" for i in range(24_000)), id="24k unknown keys"),
        pytest.param("k: 1\n" * 200_000, id="one key 200k times"),
        pytest.param("[" + "a," * 500_000, id="500k values"),
        pytest.param(HEAD + "matrix:\n  c:\n" + "    - {a: b}\n" * 12_000, id="12k wrong values"),
        pytest.param(HEAD + "overrides:\n" + "  - 1\n" * 49_000, id="49k wrong overrides"),
        pytest.param("a: " + "b" * 10_000_001, id="beyond 10 MB"),
        pytest.param("a: " + "b" * 1_000_000, id="one long scalar"),
        pytest.param("a: " + "1" * 1_000_000, id="one long number"),
        pytest.param('a: "' + "b\n" * 400_000, id="a quote never closed"),
        pytest.param("a: {{ x }}\n" * 80_000, id="templates without quotes"),
        pytest.param("sk-" * 333_000, id="nearly a key, all along"),
        pytest.param("&a " * 300_000, id="anchors"),
        pytest.param("!" * 1_000_000, id="tags"),
        pytest.param("\t" * 1_000_000, id="tabs"),
        pytest.param(":" * 1_000_000, id="colons"),
    ],
)
def test_hostile_yaml_is_refused_at_a_place_in_bounded_time(text: str) -> None:
    """A megabyte of malice takes under a second of processor time (measured 0.7 s at worst) and few words."""
    begun = time.process_time()
    found = mistakes(text)
    spent = time.process_time() - begun
    assert found
    assert all(m.place.line >= 1 and m.place.column >= 1 for m in found)
    assert len(found) <= 101
    assert sum(len(m.render()) for m in found) < 100_000
    assert spent < 2, f"{spent:.2f} s"  # twice the promise: a shared machine


def test_fifty_levels_are_enough_and_allowed() -> None:
    """The bound on depth lets everything sensible through."""
    assert load(f"{HEAD}params: {{a: {'[' * 48}1{']' * 48}}}\n").params
    assert "nested more than 50 deep" in report(f"{HEAD}params: {{a: {'[' * 49}1{']' * 49}}}\n")
