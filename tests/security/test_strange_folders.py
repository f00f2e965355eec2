"""A run folder may come from a stranger: whatever its store and its links name, only its own pictures are shown."""

from __future__ import annotations

import os
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import cli
from pipeline.runtime.guard import HEADERS
from pipeline.runtime.view import serving
from pipeline.store.inside import Pictures, is_picture_name, open_picture
from tests.runtime.browsing import Browser, rehearsed

SECRET = b"a secret of whoever looks at the run"


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three pictures, to be copied."""
    return rehearsed(tmp_path_factory.mktemp("honest"))


@pytest.fixture
def folder(honest: Path, tmp_path: Path) -> Path:
    """A copy of it, and a secret beside it."""
    (tmp_path / "secret").write_bytes(SECRET)
    return Path(shutil.copytree(honest, tmp_path / "runs" / "mugs.sim"))


def edit(folder: Path, words: str, *values: object) -> None:
    """As a stranger would have edited the store."""
    store = sqlite3.connect(folder / "state.db")
    store.execute(words, values)
    store.commit()
    store.close()


def first_path(folder: Path) -> str:
    """The first picture's name in the store."""
    store = sqlite3.connect(folder / "state.db")
    (found,) = store.execute("SELECT path FROM picture WHERE attempt = 1").fetchone()
    store.close()
    return str(found)


def renamed(name: str) -> Callable[[Path], None]:
    """The store gives the first picture this name; `{top}` is the folder that holds the secret."""
    return lambda folder: edit(
        folder, "UPDATE picture SET path = ? WHERE attempt = 1", name.format(top=folder.parents[1])
    )


def led_away(folder: Path) -> None:
    """The folder of pictures is a link to a folder with the secret under the picture's name."""
    place = folder / first_path(folder)
    away = folder.parents[1] / "away"
    away.mkdir()
    (away / place.name).write_bytes(SECRET)
    shutil.rmtree(place.parent)
    place.parent.symlink_to(away)


STRANGE: dict[str, Callable[[Path], None]] = {
    "absolute": renamed("{top}/secret"),
    "a step up": renamed("../../secret"),
    "a step up among the pictures": renamed("images/../../../secret"),
    "the store": renamed("state.db"),
    "a page": renamed("report/index.html"),
    "nothing": renamed(""),
    "a NUL": renamed("images/a\0b.png"),
    "a line break": renamed("images/\r\nX: y.png"),
    "very long": renamed("images/" + "a" * 5000),
    "a folder that is a link": led_away,
    "no digest": lambda folder: edit(folder, "UPDATE picture SET sha256 = '../../x' WHERE attempt = 1"),
    "a page's type": lambda folder: edit(folder, "UPDATE picture SET media_type = 'text/html' WHERE attempt = 1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
async def test_what_a_strangers_store_names_is_neither_served_nor_packed(
    folder: Path, strange: Callable[[Path], None]
) -> None:
    """The page and the archive stand, with the two other pictures and nothing from outside; names stay inside."""
    strange(folder)
    async with serving(folder, port=0, resume="") as address:
        browser = Browser(address)
        await browser.enter()
        rows = (await browser.get("/data-000.js")).data()
        shown = [row[rows["columns"].index("src")] for row in rows["rows"]]
        asked = [(each or "/nothing").removeprefix("..") for each in shown]
        found = [await browser.get(each if each.startswith("/") else f"/{each}") for each in asked]
        found += [await browser.get(f"/{folder.parents[1]}/secret"), await browser.get("/state.db")]
    assert not any(SECRET in reply.body or b"SQLite" in reply.body for reply in found)
    assert [reply.status for reply in found].count(200) == 2
    told = CliRunner().invoke(cli, ["report", str(folder), "--zip"])
    assert told.exit_code == 0, told.output
    with zipfile.ZipFile(folder / "report.zip") as archive:
        names = archive.namelist()
        assert not any(SECRET in archive.read(name) for name in names)
    pictures = [name for name in names if name.startswith("mugs.sim/images/")]
    assert len(pictures) >= 2
    assert all(name.startswith(("mugs.sim/report/", "mugs.sim/images/")) and ".." not in name for name in names)


async def test_a_store_that_no_run_wrote_ends_no_server_and_tells_no_insides(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same headers as ever, words without a trace, one line for whoever runs the server; the page itself stays."""
    monkeypatch.delenv("PIPELINE_DEBUG", raising=False)
    edit(folder, "UPDATE meta SET v = 'many\n\x1b[31m' WHERE k = 'total'")
    async with serving(folder, port=0, resume="") as address:
        browser = Browser(address)
        await browser.enter()
        for target in ("/data-meta.js", "/data-000.js", "/events", "/images/x.png"):
            reply = await browser.get(target)
            assert reply.status == 503
            assert {name.lower(): value for name, value in HEADERS.items()}.items() <= reply.headers.items()
            assert b"Traceback" not in reply.body
        assert (await browser.get("/")).status == 200
    assert "Traceback" not in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("place", ["report", "report/thumbs", "report/inputs"])
async def test_a_link_in_the_place_of_thumbnails_leads_nothing_of_ours_away(folder: Path, place: str) -> None:
    """Neither the page nor the report writes through it; the report says what is in the way."""
    away = folder.parents[1] / "away"
    away.mkdir()
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).symlink_to(away)
    async with serving(folder, port=0, resume="") as address:
        browser = Browser(address)
        await browser.enter()
        rows = (await browser.get("/data-000.js")).data()
        thumb = rows["rows"][0][rows["columns"].index("thumb")]
        assert (await browser.get(f"/{thumb}")).status == (200 if place == "report/inputs" else 404)
    told = CliRunner().invoke(cli, ["report", str(folder)])
    assert told.exit_code == (0 if place == "report/inputs" else 70), told.output
    assert list(away.iterdir()) == []


@pytest.mark.slow
def test_a_report_leaves_files_that_are_not_its_own(folder: Path) -> None:
    """Another's page is not written over, another's data is not cleared away, and a pipe is not waited for."""
    place = folder / "report"
    place.mkdir()
    mine = {name: name.encode() for name in ("notes.txt", "data-2024.js", "index.html")}
    for name, text in mine.items():
        (place / name).write_bytes(text)
    told = CliRunner().invoke(cli, ["report", str(folder)])
    assert (told.exit_code, "none of ours; move it away" in told.output) == (70, True), told.output
    assert {path.name: path.read_bytes() for path in place.iterdir()} == mine
    (place / "index.html").unlink()
    os.mkfifo(place / "data-900.js")
    for _ in range(2):
        told = CliRunner().invoke(cli, ["report", str(folder)])
        assert told.exit_code == 0, told.output
    assert (place / "data-2024.js").read_bytes() == mine["data-2024.js"]
    assert (place / "notes.txt").read_bytes() == mine["notes.txt"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "images", "images/", "/images/a", "images//a", "images/./a", "images/../a", "IMAGES/a", "images/\0", "a"],
)
def test_names_that_are_no_pictures(tmp_path: Path, name: str) -> None:
    """Refused by their letters alone, whatever stands there."""
    assert not is_picture_name(name)
    with pytest.raises(OSError, match="no "):
        open_picture(tmp_path, name)
    with pytest.raises(OSError, match="no "):
        Pictures(tmp_path).look(name)


def test_only_a_plain_file_below_plain_folders_is_opened(tmp_path: Path) -> None:
    """A link anywhere on the way, a folder and a pipe are no pictures."""
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "b.png").write_bytes(b"b")
    (tmp_path / "images" / "link").symlink_to("a")
    (tmp_path / "images" / "c.png").symlink_to("a/b.png")
    os.mkfifo(tmp_path / "images" / "pipe.png")
    os.close(open_picture(tmp_path, "images/a/b.png"))
    for name in ("images/link/b.png", "images/c.png", "images/pipe.png", "images/a"):
        with pytest.raises(OSError, match=r".+"):
            open_picture(tmp_path, name)
    assert Pictures(tmp_path).look("images/a/b.png").st_size == 1
    with pytest.raises(OSError, match="no picture"):
        Pictures(tmp_path).look("images/link/b.png")
