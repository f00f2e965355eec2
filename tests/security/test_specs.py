"""S4, T15: whatever a spec's file is and holds, it becomes a job or a list of mistakes, soon and in little memory."""

from __future__ import annotations

import copy
import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from pipeline.cli.failures import explain, render
from pipeline.errors import PlanError, SpecError
from pipeline.plan.check import check
from pipeline.plan.make import make_plan
from pipeline.spec.load import decode_spec, load_job
from tests.plan.jobs import CARDS, Memory
from tests.spec.specs import EVERYTHING, HEAD, MINIMAL, SCHEMA, TYPICAL

ROOT: Final = Path(__file__).resolve().parents[2]
SEED: Final = int(os.environ.get("PIPELINE_SEED") or 1)
#: Examples of each of the three fuzzers.
EXAMPLES: Final = int(os.environ.get("PIPELINE_FUZZ") or 700)
SHIPPED: Final = [path.read_text() for path in sorted((ROOT / "specs").glob("*.yaml"))]
FILES: Final = Memory(
    {"assets/photos.csv": (ROOT / "specs/assets/photos.csv").read_text(), "products.csv": "sku,photo\na,p.png\n"},
    {f"assets/{name}": b"png 512x512" for name in ("astronaut.png", "coffee.png", "rocket.jpg")},
)


# --- what the file is -------------------------------------------------------------------------------------------------


def fifo(path: Path) -> None:
    """A pipe that nobody ever writes to."""
    os.mkfifo(path)


def listening(path: Path) -> None:
    """A socket."""
    line = socket.socket(socket.AF_UNIX)
    line.bind(os.fspath(path))
    line.close()


def gigabyte(path: Path) -> None:
    """A sparse file of 1 GB."""
    with path.open("wb") as file:
        file.truncate(1 << 30)


def laughs() -> str:
    """The billion laughs."""
    rows = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    rows += [f"{b}: &{b} [{','.join(['*' + a] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    return "\n".join(rows)


def text(content: str | bytes) -> Callable[[Path], object]:
    """A file that holds this."""
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def axes_of_two(count: int) -> str:
    """A matrix of 2 to the power of `count` combinations."""
    return "matrix:\n" + "".join(f"  a{number}: [1, 2]\n" for number in range(count)) + "budget: 1 USD\n"


#: {what stands where a spec should: (how it gets there, a word of the refusal)}
HOSTILE: Final[dict[str, tuple[Callable[[Path], object], str]]] = {
    "a pipe": (fifo, "it is a pipe"),
    "a socket": (listening, "it is a socket"),
    "a folder": (Path.mkdir, "is a directory"),
    "an endless device": (lambda path: path.symlink_to("/dev/zero"), "it is a device"),
    "a random device": (lambda path: path.symlink_to("/dev/urandom"), "it is a device"),
    "the environment": (lambda path: path.symlink_to("/proc/self/environ"), ":1:"),
    "the memory": (lambda path: path.symlink_to("/proc/self/mem"), "cannot be read"),
    "a link to itself": (lambda path: path.symlink_to(path), "there is no spec"),
    "a gigabyte": (gigabyte, "larger than 10 MB"),
    "nothing": (text(""), ":1:1: error: the spec is empty"),
    "utf-16": (text(MINIMAL.encode("utf-16")), ":1:1: error: the spec is UTF-16"),
    "utf-16 unmarked": (text(MINIMAL.encode("utf-16-le")), ":1:2: error: control character U+0000"),
    "latin-1": (text(b"version: 1\nname: m\xfcg\n"), ":2:8: error: byte 0xFC is not UTF-8"),
    "a NUL": (text("version: 1\nname: a\0b\n"), ":2:8: error: control character U+0000"),
    "two documents": (text(MINIMAL + "---\nversion: 1\n"), "a second document"),
    "a picture": (text((ROOT / "specs/assets/coffee.png").read_bytes()), ":1:1: error: byte 0x89"),
    "a billion laughs": (text(laughs()), "aliases stand for more than"),
    "3,000 levels": (text(HEAD + "params: {a: " + "[" * 3000), "nested more than 50 deep"),
    "100,000 keys": (text("".join(f"k{i}: 1\n" for i in range(100_000))), "more than 50,000 values"),
    "a twin key deep inside": (text(HEAD + "params: {a: [{b: {c: 1, c: 2}}]}\n"), "key 'c' given twice"),
    "a tag that makes objects": (text(HEAD + "params: {a: !!python/object/apply:os.getcwd []}\n"), "tag !!python"),
    "a scalar of 10 MB": (text("name: " + "b" * 9_999_000), ":1:"),
    "a name of 10 MB in quotes": (text('name: "' + "\\u00e9" * 1_600_000 + '"\nversion: 1'), ":1:"),
    "a matrix without end": (text(HEAD + axes_of_two(70)), "more than 1,000,000,000,000 tasks"),
    "a matrix of a life's work": (text(HEAD + axes_of_two(30)), "more than 10,000,000 tasks"),
    "a name that moves the cursor": (text('version: 1\nname: "\\e[2J"\n'), "control character"),
}

_JUDGE: Final = """
import json, resource, sys, time
from click.testing import CliRunner
from pipeline.cli.main import cli
from pipeline.runtime import prepare
prepare.schema(), prepare.cards()
CliRunner().invoke(cli, ["validate", "sound.yaml"])
lowest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in json.load(sys.stdin):
    begun = time.process_time()
    result = CliRunner().invoke(cli, ["validate", name])
    spent = time.process_time() - begun
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - lowest
    print(json.dumps([result.exit_code, result.stdout, result.stderr[:20_000], spent, grown]), flush=True)
"""


@pytest.mark.slow
def test_whatever_stands_where_a_spec_should_is_refused_soon_and_in_little_memory(tmp_path: Path) -> None:
    """Exit 2 with a place or a clear word, in about a second of processor time and below 200 MB."""
    (tmp_path / "sound.yaml").write_text(HEAD + "budget: 1 USD\n")
    names = [f"{number}.yaml" for number in range(len(HOSTILE))]
    for name, (plant, _) in zip(names, HOSTILE.values(), strict=True):
        plant(tmp_path / name)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", _JUDGE],
        check=True, input=json.dumps(names), text=True, capture_output=True, cwd=tmp_path, env=environ, timeout=120,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(HOSTILE)
    for (what, (_, word)), (code, out, err, spent, grown) in zip(HOSTILE.items(), answers, strict=True):
        assert (code, out) == (2, ""), (what, err)
        assert word in err, (what, err[:500])
        assert err.isascii() or "\x1b" not in err, what
        assert spent < 2, (what, spent)  # twice the promise: a shared machine
        assert grown < 200 * 1024, (what, grown)


# --- what it holds: three fuzzers -------------------------------------------------------------------------------------


def swallow(data: bytes) -> None:
    """A spec's whole way to a checked plan: nothing is raised but refusals, each with its places."""
    try:
        job = load_job(decode_spec(data, "spec.yaml"), "spec.yaml", SCHEMA)
        plan = make_plan(job, CARDS, FILES)
        if len(plan) <= 200:
            check(plan)
    except (SpecError, PlanError) as refusal:
        found = refusal
    else:
        return
    assert found.mistakes
    for mistake in found.mistakes:
        assert mistake.place.line >= 1
        assert mistake.place.column >= 1
        assert "\n" not in mistake.what + mistake.remedy
    shown = render(explain(found))
    assert shown.encode()
    assert "\x1b" not in shown


FUZZ: Final = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
PIECES: Final = st.sampled_from(
    [*"{}[]:,-#'\"&*!|>%@\n\t ~?<=\\", "\r\n", "\0", "\ufeff", "\x85", "\u2028", "{{", "}}"]
)
_WORDS: Final = """
version name model prompt matrix inputs overrides params budget outputs seed n 1 -1 0o17 1e999 .nan null no
12:30:45 2026-11-21 !!int !!binary << *a &a --- ... {{color}} mulerouter/qwen-image-max sk- \U0001f95c
"""
WORDS: Final = st.sampled_from([*_WORDS.split(), "%YAML 1.1", "{{ color }}", "{% x %}", "1.00 USD"])


@pytest.mark.slow
@seed(SEED)
@FUZZ
@given(st.one_of(st.binary(max_size=200), st.data()))
def test_bytes_become_a_job_or_mistakes_laws(data: bytes | st.DataObject) -> None:
    """Random bytes, and sound specs with bytes flipped, cut out and put in."""
    if not isinstance(data, bytes):
        raw = bytearray(data.draw(st.sampled_from([MINIMAL, TYPICAL, EVERYTHING, *SHIPPED])).encode())
        for _ in range(data.draw(st.integers(1, 8))):
            at = data.draw(st.integers(0, len(raw)))
            raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6))
        data = bytes(raw)
    swallow(data)


@pytest.mark.slow
@seed(SEED)
@FUZZ
@given(st.lists(st.one_of(PIECES, WORDS, st.text(max_size=4)), max_size=60).map("".join), st.sampled_from(["", HEAD]))
def test_yaml_grammar_becomes_a_job_or_mistakes_laws(written: str, head: str) -> None:
    """The marks and words of YAML in any order, alone and behind a sound beginning."""
    swallow((head + written).encode("utf-8", "surrogatepass"))


_VALUES: Final[list[Any]] = [
    None, True, 0, -1, 1, 2**31, 10**40, 1.5, -0.0, 1e308, "", " ", "x" * 3000, "\u202e", "a/../b", "/etc/passwd",
    "{{ color }}", "{{ row.x }}", "{{ a.__class__ }}", "{{ 'x' | replace('x', 'yy') }}", "{{", "}}", "{% for %}",
    "{{ row.photo | join }}", "1024x1024", "0x0", "1x99999999999", "16:9", "mulerouter/qwen-image-edit-max", "a/b", "/",
    "1.00 USD", "0 USD", "-1 USD", "9e9 USD", "1 XYZ", "none", "60/min", "0/s", "hold", [], {}, [[]], [{}], [None],
    {"id": "a"}, [{"id": "a"}, {"id": "a"}], {"from": "assets/photos.csv"}, {"glob": "**/*"}, {"lines": "nowhere.txt"},
    {"limits": ["1 USD", "2 USD"]}, {"derive": 1}, {"derive": "x"}, "row.kind == 1", "row.kind in row", "not row",
    "data:image/png;base64,AAAA", "https://user:pw@example.com/a.png", "file:///etc/passwd", ["a", "a"], [1, "1", 1.0],
]  # fmt: skip
_KEYS: Final = sorted(
    {*SCHEMA["properties"], "color", "size", "id", "text", "when", "set", "include", "exclude", "zip"}
)


def mutate(spec: Any, dice: random.Random) -> Any:
    """One change somewhere in a spec: a value, a key or a whole part exchanged, left out, doubled, moved or renamed."""
    spec = copy.deepcopy(spec)
    holders = [spec]
    for holder in holders:
        inner = holder.values() if isinstance(holder, dict) else holder
        holders += [value for value in inner if isinstance(value, dict | list)]
    holder = dice.choice(holders)
    value = copy.deepcopy(dice.choice([*_VALUES, *holders[1:]]))
    if isinstance(holder, dict):
        key = dice.choice([*holder, dice.choice(_KEYS)]) if holder else dice.choice(_KEYS)
        match dice.randrange(4):
            case 0:
                holder.pop(key, None)
            case 1:
                holder[dice.choice(_KEYS)] = holder.pop(key, value)
            case _:
                holder[key] = value
    else:
        at = dice.randrange(len(holder) + 1)
        holder[at : at + dice.randrange(2)] = [value] * dice.randrange(3)
    return spec


#: What is mutated; read once, since reading takes longer than all else that the test does.
WHOLE: Final = [yaml.safe_load(text) for text in (MINIMAL, TYPICAL, EVERYTHING, *SHIPPED)]


@pytest.mark.slow
@seed(SEED)
@FUZZ
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_mutated_specs_become_a_job_or_mistakes_laws(number: int, changes: int) -> None:
    """The shipped specs and the one with every key, with some parts changed for others that the schema knows."""
    dice = random.Random(number)
    spec = copy.deepcopy(dice.choice(WHOLE))
    for _ in range(changes):
        spec = mutate(spec, dice)
    swallow(yaml.safe_dump(spec, sort_keys=False, allow_unicode=True).encode())
