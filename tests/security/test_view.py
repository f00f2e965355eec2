"""`pipeline view` is for one browser of one person: other hosts, pages, users and names of files get nothing."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.plan.review import parse_review
from pipeline.runtime import answering, hub
from pipeline.runtime.door import Door
from pipeline.runtime.guard import HEADERS, Guard
from pipeline.runtime.portrait import REVIEW
from pipeline.runtime.view import serving
from tests.runtime.browsing import Browser, rehearsed

OTHER = "0" * 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three pictures."""
    return rehearsed(tmp_path_factory.mktemp("viewed"))


@asynccontextmanager
async def viewed(folder: Path, *, entered: bool = True) -> AsyncIterator[Browser]:
    """A browser that shows this run."""
    async with serving(folder, port=0, resume="pipeline run mugs.yaml") as address:
        browser = Browser(address)
        if entered:
            assert (await browser.enter()).status == 200
        yield browser


async def test_the_address_is_exchanged_for_a_cookie_that_scripts_and_other_sites_cannot_use(folder: Path) -> None:
    """The first answer holds nothing but the way to the page; the cookie is HttpOnly and SameSite=Strict."""
    async with viewed(folder, entered=False) as browser:
        reply = await browser.enter()
        kept = reply.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(kept.split("; "))
        assert b'url=/"' in reply.body
        assert b"token" not in reply.body
        assert (await browser.get("/")).status == 200


@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong", "?token=%00", "?tokens=x"])
async def test_without_the_token_there_is_nothing(folder: Path, query: str) -> None:
    """No page, no data, no picture, no event, and no cookie."""
    async with viewed(folder, entered=False) as browser:
        reply = await browser.get("/" + query)
        assert (reply.status, "set-cookie" in reply.headers) == (403, False)
        for name in ("/app.js", "/data-meta.js", "/data-000.js", "/events", "/images/x.png", "/nothing"):
            assert (await browser.get(name)).status == 403
        assert (await browser.post("/control", {"action": "drain"})).status == 403


async def test_a_cookie_of_another_server_opens_nothing(folder: Path) -> None:
    """Neither its token nor its name fits."""
    async with viewed(folder) as first, viewed(folder) as second:
        assert first.cookie != second.cookie
        first.cookie, second.cookie = second.cookie, first.cookie
        assert (await first.get("/")).status == 403
        value = second.cookie.partition("=")[2]
        second.cookie = f"pipeline_view_{second.port}={value}"
        assert (await second.get("/")).status == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost", "127.0.0.1.evil.example:{port}", ""]
)
async def test_another_host_is_refused_even_with_the_token(folder: Path, host: str) -> None:
    """A name that was made to lead to this machine (DNS rebinding) is nobody here."""
    async with viewed(folder) as browser:
        said = {"Host": host.format(port=browser.port)}
        for target in ("/", "/?" + browser.address.partition("?")[2], "/data-meta.js"):
            reply = await browser.get(target, **said)
            assert reply.status in (400, 421), reply
            assert "set-cookie" not in reply.headers
        assert (await browser.get("/", Host=f"localhost:{browser.port}")).status == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"X-Pipeline": ""},
        {"X-Pipeline": "2"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
    ids=str,
)
async def test_another_page_cannot_change_anything(folder: Path, changed: dict[str, str]) -> None:
    """With the cookie, even: an Origin of its own, a form's type or no mark is refused before the body is read."""
    async with viewed(folder) as browser:
        for target in ("/control", "/review"):
            told = {name: value.format(port=browser.port) for name, value in changed.items()}
            assert (await browser.post(target, [], **told)).status == 403
        assert not (folder / REVIEW).exists()


async def test_what_another_site_embeds_is_refused(folder: Path) -> None:
    """A picture or script of ours in another page gets nothing, where the browser says so.

    Another port of this machine is the same site, and gets our cookie: it is another page all the same.
    """
    async with viewed(folder) as browser:
        for target in ("/app.js", "/data-000.js", "/events"):
            for site in ("cross-site", "same-site"):
                said = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
                assert (await browser.get(target, **said)).status == 403


CLIMBING = [
    "/state.db",
    "/../state.db",
    "/images/../state.db",
    "/images/%2e%2e/state.db",
    "/images/..%2fstate.db",
    "/images/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd",
    "//etc/passwd",
    "/images//etc/passwd",
    "/images/",
    "/images",
    "/thumbs/",
    "/thumbs/../../state.db",
    f"/thumbs/00/{OTHER}.webp",
    f"/thumbs/ff/{OTHER}.webp",
    f"/thumbs/00/{OTHER}.webp/../../../state.db",
    f"/inputs/00/{OTHER}.webp",
    "/log.jsonl",
    "/spec.yaml",
    "/world.jsonl",
    "/blackbox",
    "/control",
    "/report/index.html",
    "/data-001.js",
    "/data--01.js",
    "/data-../../state.db",
    "/data-000.js%00",
    "/app.js/",
    "/%00",
    "/.",
    "/..",
    "/~root",
]


async def test_nothing_of_the_folder_has_a_name_but_what_the_page_needs(folder: Path) -> None:
    """No climbing, no listing, no store, no log: there is no such file."""
    async with viewed(folder) as browser:
        for target in CLIMBING:
            reply = await browser.get(target)
            assert reply.status in (400, 404), target
            assert b"SQLite" not in reply.body
            assert b"root:" not in reply.body


async def test_a_link_in_the_place_of_a_picture_is_no_picture(folder: Path, tmp_path: Path) -> None:
    """What the store names and a file system leads elsewhere is not followed."""
    async with viewed(folder) as browser:
        rows = (await browser.get("/data-000.js")).data()
        src = rows["rows"][0][rows["columns"].index("src")].removeprefix("..")
        assert (await browser.get(src)).headers["content-type"] == "image/png"
        (tmp_path / "secret").write_text("a secret")
        place = folder / src[1:]
        kept = place.read_bytes()
        place.unlink()
        place.symlink_to(tmp_path / "secret")
        try:
            reply = await browser.get(src)
            assert (reply.status, b"secret" in reply.body) == (404, False)
        finally:
            place.unlink()
            place.write_bytes(kept)


async def test_every_answer_has_the_headers_that_keep_a_browser_in_bounds(folder: Path) -> None:
    """CSP, nosniff and the rest, with a page, a picture, an event, a refusal and an error alike."""
    async with viewed(folder) as browser:
        rows = (await browser.get("/data-000.js")).data()
        src, thumb = (rows["rows"][0][rows["columns"].index(name)] for name in ("src", "thumb"))
        asked = ["/", "/app.css", "/data-meta.js", src.removeprefix(".."), f"/{thumb}", "/nothing", "/?token=x"]
        replies = [await browser.get(target) for target in asked]
        replies.append(await browser.ask("DELETE", "/", browser.own()))
        replies.append(await browser.post("/control", {"action": "pause"}))
        replies.append(await browser.ask("POST", "/control", browser.own(), b"no json"))
        for reply in replies:
            assert {name.lower(): value for name, value in HEADERS.items()}.items() <= reply.headers.items(), reply
        assert [reply.status for reply in replies] == [200] * 5 + [404, 403, 405, 200, 400]
        types = [reply.headers["content-type"].partition(";")[0] for reply in replies[:5]]
        assert types == ["text/html", "text/css", "text/javascript", "image/png", "image/webp"]


async def test_prompts_cannot_end_the_script_they_travel_in(folder: Path) -> None:
    """Data files hold no angle bracket at all."""
    async with viewed(folder) as browser:
        body = (await browser.get("/data-000.js")).body
        assert b"\\u003cscript" in body
        assert b"<" not in body


async def test_oversized_and_odd_requests_end_by_themselves(folder: Path) -> None:
    """Long addresses, headers and bodies, bodies that lie about their length, and what is no HTTP."""
    async with viewed(folder) as browser:
        assert (await browser.get("/" + "a" * 100_000)).status == 400
        assert (await browser.get("/", Long="a" * 100_000)).status == 400
        large = b"[" + b" " * 20_000 + b"]"
        assert (await browser.ask("POST", "/control", browser.own(), large)).status == 413
        lying = {**browser.own(), "Content-Length": "99999999999"}
        assert (await browser.ask("POST", "/review", lying, b"[")).status == 413
        reader, writer = await asyncio.open_connection("127.0.0.1", browser.port)
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert b"400" in (await asyncio.wait_for(reader.read(), 10))[:30]
        writer.close()
        for body in (b"", b"{", b'"x"', b"[1]", b"[" * 10_000):
            reply = await browser.ask("POST", "/review", browser.own(), body)
            assert reply.status == 400, body
        assert (await browser.get("/")).status == 200


async def test_a_browser_that_takes_nothing_holds_up_nobody(folder: Path) -> None:
    """Twenty readers that stall in the middle of a picture, and the page is there at once."""
    async with viewed(folder) as browser:
        stalled = [await browser.send("GET", "/data-000.js") for _ in range(20)]
        begun = [await browser.send("POST", "/review", {**browser.own(), "Content-Length": "100"}) for _ in range(5)]
        async with asyncio.timeout(5):
            assert (await browser.get("/data-meta.js")).status == 200
        for _, writer in (*stalled, *begun):
            writer.close()


async def test_connections_that_say_nothing_are_few_and_end_by_themselves() -> None:
    """Silent ones and those that drip are closed at the deadline, or sooner to make room for one that asks."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="here")

    runner = web.ServerRunner(Door(answer, most=8, head_s=0.3))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = int(runner.addresses[0][1])
    try:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        for _, writer in held[4:]:
            writer.write(b"GET / HTTP/1.1\r\nHo")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in await asyncio.wait_for(reader.readline(), 10)
        assert len(runner.server.connections) <= 8  # type: ignore[union-attr]  # it was set up
        for _, dripping in held[4:]:
            dripping.write(b"s")  # a letter at a time does not put the deadline off
        for each, _ in held:
            assert await _end_of(each) == b""
        held.append((reader, writer))
    finally:
        for _, writer in held:
            writer.close()
        await runner.cleanup()


async def test_connections_that_were_answered_make_room_for_one_that_asks() -> None:
    """A browser keeps its connections open: those that say nothing more keep nobody out."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="here")

    runner = web.ServerRunner(Door(answer, most=2))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    held = []
    try:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(runner.addresses[0][1]))
            held.append(writer)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"here"), 10)).startswith(b"HTTP/1.1 200")
    finally:
        for writer in held:
            writer.close()
        await runner.cleanup()


async def _end_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other end is gone, however it goes."""
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""


async def test_a_picture_that_shrinks_on_its_way_ends_the_connection(folder: Path, tmp_path: Path) -> None:
    """Less than was promised must not be made up for by the next answer."""
    place = tmp_path / "shrinking"
    place.write_bytes(b"x" * 4_000_000)
    opened = os.open(place, os.O_RDONLY)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return await answering.send(request, lambda: opened, "image/png", {})

    runner = web.ServerRunner(Door(answering.safely(answer)))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(runner.addresses[0][1]), limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        os.truncate(place, 1000)
        assert len(await _end_of(reader)) < 4_000_000
        writer.close()
    finally:
        await runner.cleanup()


async def test_nothing_that_was_drawn_for_pages_outlives_the_server(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts are in it: the drawings before the last one go as well, however soon the server ends."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with viewed(folder) as browser:
        for _ in range(3):
            os.utime(folder / "state.db")
            monkeypatch.setattr(hub, "FRESH_S", 0.0)
            monkeypatch.setattr(hub, "FRESH_TIMES", 0.0)
            assert (await browser.get("/data-meta.js")).status == 200
        assert len(_names(tmp_path)) == 3
    assert _names(tmp_path) == []


def _names(place: Path) -> list[str]:
    return [path.name for path in place.iterdir()]


def test_tokens_are_long_and_new_and_their_place_is_this_machine() -> None:
    """256 bits; another for each server."""
    assert len({Guard(1).token for _ in range(50)}) == 50
    assert all(len(Guard(1).token) >= 43 for _ in range(50))


async def test_the_server_listens_on_this_machine_only(folder: Path) -> None:
    """The port is bound to 127.0.0.1, not to every address."""
    async with viewed(folder) as browser:
        assert _listening(browser.port) == ["0100007F"]


def _listening(port: int) -> list[str]:
    """Addresses on which somebody listens at this port, as the kernel writes them."""
    lines = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [local[:8] for local, _, state in lines if state == "0A" and int(local[9:], 16) == port]


async def test_a_review_is_saved_beside_the_run_and_only_of_its_own_pictures(folder: Path) -> None:
    """What the page sends is merged into review.csv; formulas are guarded; a file of somebody else's is left alone."""
    async with viewed(folder) as browser:
        rows = (await browser.get("/data-000.js")).data()
        first, second, _ = (row[rows["columns"].index("id")] for row in rows["rows"])
        place = folder / REVIEW
        try:
            entry = {"id": first, "rating": 5, "reject": False, "note": '=HYPERLINK("x")'}
            other = {**entry, "id": second, "rating": None, "reject": True}
            for entries in ([entry], [other]):
                assert (await browser.post("/review", entries)).status == 200
            told = place.read_bytes()
            assert told.startswith(b"\xef\xbb\xbf")
            lines = list(csv.DictReader(io.StringIO(told.decode("utf-8-sig"), newline="")))
            assert [(line["rating"], line["reject"]) for line in lines] == [("5", ""), ("", "yes")]
            assert {line["note"] for line in lines} == {'\'=HYPERLINK("x")'}
            assert lines[0]["prompt"] == "A red mug"
            assert place.stat().st_mode & 0o777 == 0o600
            assert parse_review(told.decode()).pictures == {(second.partition("#")[0], 0)}
            taken_back = {"id": first, "rating": None, "reject": False, "note": ""}
            assert (await browser.post("/review", [taken_back])).json()["said"] == "1 picture in review.csv"
            assert (await browser.post("/review", [{**entry, "id": f"{OTHER}#0"}])).status == 400
            place.write_text("my,own,table\n1,2,3\n")
            assert (await browser.post("/review", [entry])).status == 400
            assert place.read_text() == "my,own,table\n1,2,3\n"
        finally:
            place.unlink(missing_ok=True)
