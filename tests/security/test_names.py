"""S5: names out of prompts and cells become files below images/, whatever they say, and never one file for two."""

from __future__ import annotations

import os
import random
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

import pytest

from pipeline.errors import PlanError
from pipeline.plan.check import check
from pipeline.plan.flaw import Flawed
from pipeline.plan.naming import names_of, safe_path
from pipeline.store.blobs import Blobs
from pipeline.store.folder import RunFolder
from tests.plan.jobs import CARDS, Memory, job, matrix
from tests.store.stories import task

SEED: Final = int(os.environ.get("PIPELINE_SEED") or 1)
#: How many names are judged; a hundred thousand have been, once.
NAMES: Final = int(os.environ.get("PIPELINE_NAMES") or 20_000)
#: Pieces that have led programs astray, alone and put together.
PIECES: Final = (
    "..", ".", "/", "\\", "//", "../", "..\\", "~", "-", "--", "-rf", " ", "  ", "\t", "\n", "\r", "\0", "\x1b[2J",
    "\x7f",
    ":", "::$DATA", ":x", "*", "?", '"', "<", ">", "|", "$(id)", "`id`", ";", "&", "'", "%2e%2e", "%00", "con", "NUL",
    "com1", "COM\u00b9", "lpt9", "aux.txt", "con .x", "conin$", ".png", ".PNG", "a.png", ".hidden", "...", "a.", "a ",
    "\u202e", "\u2066", "\u200f", "\u200b", "\ufeff", "\u00ad", "\u2028", "\uff0e\uff0e", "\uff0f", "\u2215", "\u29f5",
    "\ud800", "e\u0301", "\u00e9", "\u212b", "\u00c5", "\u00df", "SS", "\ufb01", "fi", "\u0130", "i\u0307",
    "\u0131", "K",
    "\u212a", "a", "A", "b", "0", "9", "x" * 99, "\u732b" * 66, "\U0001f469\u200d\U0001f680", "{{x}}",
    "images", "state.db",
)  # fmt: skip
_DEVICE: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$)\s*(\..*)?")


def hostile(count: int) -> Iterator[str]:
    """Names of one to six such pieces."""
    dice = random.Random(SEED)
    for _ in range(count):
        yield "".join(dice.choices(PIECES, k=dice.randint(1, 6)))


def harmless(path: str) -> None:
    """What must hold of a path that a picture gets."""
    assert 0 < len(path) <= 210
    assert not PurePosixPath(path).is_absolute()
    assert not PureWindowsPath(path).drive + PureWindowsPath(path).root
    assert path.isprintable() or set(path) <= {*filter(str.isprintable, path), *"\u200b\u200c\u200d\ufeff\u00ad\u3000"}
    for name in path.split("/"):
        assert name.strip() not in {"", ".", ".."}
        assert name[0] not in ".- "
        assert name[-1] not in ". "
        assert len(name.encode()) <= 210
        assert not set(name) & set('\\:*?"<>|\0\n\r\t\x1b\x7f\u202e\u2066\u2028')
        assert not _DEVICE.fullmatch(name)
    for folder in path.split("/")[:-1]:
        assert not folder.lower().endswith((".png", ".jpg", ".webp", ".bin", ".avif"))


@pytest.mark.slow
def test_thousands_of_hostile_names_stay_below_and_never_meet_unnoticed() -> None:
    """Each is refused or harmless; two that a file system could take for one have one folded name, which is noticed."""
    refused, folded, kept = 0, dict[str, str](), dict[str, str]()
    for name in hostile(NAMES):
        try:
            path = safe_path(name)
        except Flawed:
            refused += 1
            continue
        harmless(path)
        # Making it safe twice changes nothing, so a path is its own.
        assert safe_path(path) == path, name
        (fold,) = names_of(path, 1)
        # As file systems compare: exactly; without case; decomposed; without what is not seen.
        for view in (
            path, path.lower(), path.upper(), unicodedata.normalize("NFD", path),
            unicodedata.normalize("NFC", path.lower()),
            path.replace("\u200b", "").replace("\ufeff", "").replace("\u00ad", ""),
        ):  # fmt: skip
            assert folded.setdefault(view, fold) == fold, (name, view)
        kept[path] = fold
    assert refused < 0.6 * NAMES
    assert len(kept) > 0.2 * NAMES


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Fox", "fox"), ("caf\u00e9", "cafe\u0301"), ("stra\u00dfe", "STRASSE"), ("a\u200bb", "ab"),
        ("\u212b", "\u00e5"),
        ("a:b", "a*b"), ("a", "a."), ("\u0130", "i\u0307"), ("con", "_con"), ("x/a", "x/A"), ("\ufb01n", "fin"),
    ],
)  # fmt: skip
def test_names_that_some_disk_takes_for_one_are_refused_before_any_money_moves(one: str, two: str) -> None:
    """A plan in which two different pictures would have one name is a mistake that names it."""
    from pipeline.plan.make import make_plan

    wanted = job(prompt="a {{ x }}", matrix=matrix(x=[one, two]), output_path="{{ x }}")
    if safe_path(one) == safe_path(two) or names_of(safe_path(one), 1) == names_of(safe_path(two), 1):
        with pytest.raises(PlanError, match="different pictures would have one name"):
            check(make_plan(wanted, CARDS, Memory()))
    else:
        assert len({safe_path(one), safe_path(two)}) == 2


@pytest.mark.parametrize(
    ("one", "two"), [("a", "a.png/b"), ("fox", "fox.PNG/fox"), ("x/a", "x/a.webp/c"), ("a", "a.bin/b")]
)
def test_a_folder_is_never_in_the_way_of_a_picture(tmp_path: Path, one: str, two: str) -> None:
    """`a` becomes a.png, so no folder is called so."""
    blobs = Blobs(RunFolder.create(tmp_path / "run"))
    for number, name in enumerate((one, two, one.upper())):
        wanted = task(number, path=safe_path(name), n=1)
        part = blobs.part(wanted.id, 0, number + 1)
        with part.open() as sink:
            sink.write(name.encode())
        made = blobs.keep(part, wanted, 0, "image/png")
        assert (tmp_path / "run" / made).read_bytes() == name.encode()
    assert len(list(blobs.files())) == 3


@pytest.mark.slow
def test_files_of_hostile_names_are_below_images_and_nowhere_else(tmp_path: Path) -> None:
    """Five hundred of them, really written: each is its own file, and nothing stands beside images/."""
    folder = RunFolder.create(tmp_path / "run")
    blobs = Blobs(folder)
    before = {path.name for path in tmp_path.iterdir()}
    written = 0
    for number, name in enumerate(hostile(300)):
        try:
            wanted = task(number, path=safe_path(name), n=1)
        except Flawed:
            continue
        part = blobs.part(wanted.id, 0, number)
        with part.open() as sink:
            sink.write(str(number).encode())
        made = folder.path / blobs.keep(part, wanted, 0, "image/png")
        assert made.resolve() == made.absolute()
        assert made.is_relative_to(folder.images)
        assert made.read_bytes() == str(number).encode()
        written += 1
    assert len(list(blobs.files())) == written > 80
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["/etc/passwd", "../a", "a/../../b", "", " ", "/", "a//b", ".", "a/./b", "x" * 300])
def test_names_without_a_meaning_are_mistakes(name: str) -> None:
    """An absolute path, a step up, an empty part, three hundred letters: said, not guessed at."""
    with pytest.raises(Flawed):
        safe_path(name)


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("-rf", "_rf"), ("a:b", "a_b"), ("file::$DATA", "file__$DATA"), ("con", "_con"),
        ("COM\u00b9.x", "_COM\u00b9.x"),
        ("con .txt", "_con .txt"), ("a. ", "a_"), (".git/x", "_git/x"), ("a\nb", "a_b"), ("a.png/b", "a.png_/b"),
        ("gpj.\u202efox", "gpj._fox"), ("v1.2/x", "v1.2/x"), ("sku-1/red fox", "sku-1/red fox"), ("\u732b", "\u732b"),
    ],
)  # fmt: skip
def test_names_are_mended_as_little_as_can_be(written: str, made: str) -> None:
    """What is safe stays as it was written; of what is not, one letter gives way."""
    assert safe_path(written) == made
