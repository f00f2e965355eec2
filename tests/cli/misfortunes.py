"""Every fault that a person can meet, brought about on the real command line in a folder of its own.

Each story is a function that calls commands; what they say is compared with a file in `golden`. Where the world has to
be wrong in a way that the emulators do not know (a key of another region), a server of one answer plays the gateway.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from pipeline.cli.main import cli
from pipeline.errors import StorageFailed
from pipeline.store.folder import RunFolder
from pipeline.store.journal import Journal
from pipeline.store.lock import RunLock
from pipeline.store.room import Disk, Room

MUGS: Final = """\
version: 1
name: mugs
model: mulerouter/qwen-image-max
matrix:
  color: [red, teal, black]
prompt: "A {{ color }} mug"
budget: 1.00 USD
"""
#: A picture of 1 x 1, and the keys that a story must not find in the environment.
_KEYS: Final = ("MULEROUTER", "DASHSCOPE", "EVOLINK", "ONEMIN")


@dataclass(slots=True)
class Stage:
    """A working directory and what was typed and said in it so far."""

    folder: Path
    patch: pytest.MonkeyPatch
    said: list[str] = field(default_factory=list)

    def call(self, *arguments: str) -> int:
        """Type one command; its words and its exit code are kept."""
        result = CliRunner().invoke(cli, arguments)
        shown = " ".join(f'"{word}"' if " " in word else word for word in arguments)
        self.said.append(f"$ pipeline {shown}\n{plain(result.output, self.folder)}exit code {result.exit_code}\n")
        return int(result.exit_code)

    def quietly(self, *arguments: str) -> None:
        """What happened before the story begins."""
        CliRunner().invoke(cli, arguments)

    def write(self, name: str, text: str) -> None:
        """Write a file of the story."""
        (self.folder / name).write_text(text)

    def rehearse(self, faults: str, *more: str, spec: str = MUGS) -> None:
        """Rehearse the job with these faults."""
        self.write("mugs.yaml", spec)
        self.write("faults.yaml", faults)
        self.call("run", "mugs.yaml", "--simulate", "--faults", "faults.yaml", *more)

    def key(self, name: str, base: str = "") -> None:
        """Set a gateway's key, and where it is played."""
        self.patch.setenv(f"{name}_API_KEY", "sk-of-a-story-1234567890")
        if base:
            self.patch.setenv("DASHSCOPE_HTTP_BASE_URL" if name == "DASHSCOPE" else f"{name}_BASE_URL", base)

    def real(self) -> None:
        """A finished run in runs/mugs: a rehearsal that is told it was real, so that nothing is bought for a test."""
        self.write("mugs.yaml", MUGS)
        self.quietly("run", "mugs.yaml", "--simulate", "--run-dir", "runs/mugs")
        journal = Journal.open(self.folder / "runs/mugs/state.db", run_id="", clock=lambda: 2**50)
        journal.set_meta({"simulate": "0"})
        journal.close(clean=True)


def plain(text: str, folder: Path) -> str:
    """Words without what differs from one machine and moment to the next."""
    text = text.replace(str(folder), "FOLDER")
    text = re.sub(r"(?m)^\d\d:\d\d:\d\d .*\n", "", text)
    text = re.sub(r"(done(?: again)?) in \d[\d.]* (?:s|min)(?: \d+ s)?;", r"\1 in 1 s;", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8399", text)
    text = re.sub(r"pid \d+", "pid 4711", text)
    assert "sk-of-a-story" not in text, "a key was said"
    assert "\x1b" not in text
    return text if not text or text.endswith("\n") else text + "\n"


@contextmanager
def gateway(status: int, answer: dict[str, object]) -> Iterator[str]:
    """A server on this machine that answers everything alike; yields its base URL."""
    body = json.dumps(answer).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- before anything is sent ---


def missing_key(stage: Stage) -> None:
    """No key in the environment."""
    stage.write("mugs.yaml", MUGS)
    stage.call("run", "mugs.yaml")


def unknown_price(stage: Stage) -> None:
    """A model whose price nobody has published."""
    stage.write("mug.png", "")
    shutil.copy(Path(__file__).parents[2] / "specs/assets/coffee.png", stage.folder / "mug.png")
    stage.write(
        "mugs.yaml",
        'version: 1\nname: mugs\nmodel: 1min/qwen-image-edit-plus\nprompt: "In snow"\nimages: [mug.png]\n'
        "budget: 5 USD\n",
    )
    stage.call("plan", "mugs.yaml")


def small_picture(stage: Stage) -> None:
    """An input picture below what the model takes."""
    from PIL import Image

    Image.new("RGB", (64, 64)).save(stage.folder / "mug.png")
    stage.write(
        "mugs.yaml",
        'version: 1\nname: mugs\nmodel: dashscope/qwen-image-edit-plus\nprompt: "In snow"\nimages: [mug.png]\n'
        "budget: 5 USD\n",
    )
    stage.call("plan", "mugs.yaml")


def bad_spec(stage: Stage) -> None:
    """Several slips in one spec, all told at once."""
    stage.write(
        "mugs.yaml",
        "version: 1\nname: Mugs!\nmodel: mulerouter/qwen-image-maxx\nmatrix:\n  colour: [red, on]\n"
        'promt: "A {{ color }} mug"\nbudget: 5\n',
    )
    stage.call("validate", "mugs.yaml")
    stage.write("mugs.yaml", "version: 1\nname: mugs\n\tmodel: x\n")
    stage.call("validate", "mugs.yaml")
    stage.write("mugs.yaml", "- a list\n")
    stage.call("validate", "mugs.yaml")
    stage.write("mugs.yaml", "")
    stage.call("validate", "mugs.yaml")
    stage.call("validate", "cups.yaml")


def no_budget(stage: Stage) -> None:
    """A paid run without a cap."""
    stage.write("mugs.yaml", MUGS.replace("budget: 1.00 USD\n", ""))
    stage.key("MULEROUTER", "http://127.0.0.1:9")
    stage.call("run", "mugs.yaml")


def slips(stage: Stage) -> None:
    """Words that the command line does not know."""
    stage.write("mugs.yaml", MUGS)
    stage.call("rnu", "mugs.yaml")
    stage.call("run", "mugs.yaml", "--budget", "5")
    stage.call("run", "mugs.yaml", "--simulat")
    stage.call("status", "cups")
    stage.write("faults.yaml", "moderatd: 1\n")
    stage.call("run", "mugs.yaml", "--simulate", "--faults", "faults.yaml")


# --- the gateway says no ---


def wrong_region(stage: Stage) -> None:
    """DashScope's key belongs to another region."""
    stage.write("mugs.yaml", MUGS.replace("mulerouter/qwen-image-max", "dashscope/qwen-image-plus"))
    answer: dict[str, object] = {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "4f0e"}
    with gateway(401, answer) as base:
        stage.key("DASHSCOPE", f"{base}/api/v1")
        stage.call("run", "mugs.yaml")


def refused_key(stage: Stage) -> None:
    """The gateway does not take the key."""
    stage.write("mugs.yaml", MUGS)
    with gateway(401, {"error": {"code": "unauthorized", "message": "Invalid token"}}) as base:
        stage.key("MULEROUTER", base)
        stage.call("run", "mugs.yaml")
        stage.call("status", "mugs")


def out_of_credit(stage: Stage) -> None:
    """The account is empty."""
    stage.write("mugs.yaml", MUGS.replace("mulerouter/qwen-image-max", "dashscope/qwen-image-plus"))
    answer: dict[str, object] = {
        "code": "Arrearage",
        "message": "Access denied, please make sure your account is in good standing.",
        "request_id": "4f0e",
    }
    with gateway(400, answer) as base:
        stage.key("DASHSCOPE", f"{base}/api/v1")
        stage.call("run", "mugs.yaml")


def moderation(stage: Stage) -> None:
    """The vendor's filter refuses one prompt."""
    stage.rehearse("moderated: {prompt: teal}\n")
    stage.call("status", "mugs.sim")


def rate_limited(stage: Stage) -> None:
    """Nothing but 429 for ten minutes."""
    stage.rehearse("rate_limited: 1\n")


def unreachable(stage: Stage) -> None:
    """No connection reaches the gateway for ten minutes (half a second here)."""
    stage.patch.setattr("pipeline.engine.answers.UNREACHABLE_S", 0.5)
    stage.write("mugs.yaml", MUGS)
    stage.key("MULEROUTER", "http://127.0.0.1:9")
    stage.call("run", "mugs.yaml")


def expired_links(stage: Stage) -> None:
    """Paid pictures whose links have expired, and stay so."""
    stage.rehearse("expired_links: 1\n")


def lost_pictures(stage: Stage) -> None:
    """Paid pictures whose files are web pages."""
    stage.rehearse("page_picture: {prompt: teal}\n")


def failing_vendor(stage: Stage) -> None:
    """Operations that the vendor accepts and cannot make."""
    stage.rehearse("failed: {prompt: teal}\n")


# --- money ---


def budget_reached(stage: Stage) -> None:
    """The cap has no room for the next task."""
    stage.rehearse("latency_s: 0.1\n", spec=MUGS.replace("1.00 USD", "0.20 USD"))
    stage.call("status", "mugs.sim")


def doubt(stage: Stage) -> None:
    """A call whose answer was lost."""
    stage.rehearse("cut_after: {prompt: teal}\n")
    stage.call("resolve", "mugs.sim")
    stage.call("resolve", "mugs.sim", "--attempt", "2", "--billed")
    stage.call("resolve", "mugs.sim", "--attempt", "2", "--not-billed", "--why", "not in the usage page of 21 Nov")


def vanished_operation(stage: Stage) -> None:
    """An operation that the gateway accepted, and does not know any more."""
    stage.rehearse("vanished: {prompt: teal}\n")


# --- the folder and the disk ---


def locked_folder(stage: Stage) -> None:
    """Another process works in the folder."""
    stage.rehearse("latency_s: 0.1\n")
    stage.said.clear()
    lock = RunLock.take(RunFolder(stage.folder / "runs/mugs.sim").lock)
    stage.call("run", "mugs.yaml", "--simulate")
    stage.call("retry", "mugs.sim")
    lock.release()


def edited_spec(stage: Stage) -> None:
    """The spec has changed since, and costs more than goes unasked."""
    stage.real()
    stage.key("MULEROUTER", "http://127.0.0.1:9")
    many = ", ".join(f"c{number}" for number in range(20))
    stage.write("mugs.yaml", MUGS.replace("red, teal, black", f"red, teal, {many}").replace("1.00 USD", "5.00 USD"))
    stage.call("run", "mugs.yaml")


def another_spec(stage: Stage) -> None:
    """Two specs with one name."""
    stage.rehearse("latency_s: 0.1\n")
    stage.said.clear()
    stage.write("cups.yaml", MUGS.replace("mug", "cup").replace("name: cups", "name: mugs"))
    stage.call("run", "cups.yaml", "--simulate")


def full_disk(stage: Stage) -> None:
    """No room for pictures."""
    stage.patch.setattr(Room.__init__, "__kwdefaults__", {"ask": lambda _folder: Disk(10**12, 12_000_000, None)})
    stage.rehearse("latency_s: 0.1\n")


def storage_failed(stage: Stage) -> None:
    """The disk refuses a write of the store."""

    def refuse(*_: object, **__: object) -> None:
        raise StorageFailed("the store refused a commit (disk I/O error): runs/mugs.sim/state.db")

    stage.write("mugs.yaml", MUGS)
    stage.patch.setattr(Journal, "commit", refuse)
    stage.call("run", "mugs.yaml", "--simulate")


def damaged_store(stage: Stage) -> None:
    """A byte of the store is not what was written."""
    stage.rehearse("latency_s: 0.1\n")
    stage.said.clear()
    store = stage.folder / "runs/mugs.sim/state.db"
    data = bytearray(store.read_bytes())
    data[len(data) // 2] ^= 1
    store.write_bytes(data)
    stage.call("run", "mugs.yaml", "--simulate", "--set", "samples=2")
    stage.call("status", "mugs.sim")


def strange_row(stage: Stage) -> None:
    """A row that no run writes: the prompt is a number."""
    stage.rehearse("latency_s: 0.1\n")
    stage.said.clear()
    with closing(sqlite3.connect(stage.folder / "runs/mugs.sim/state.db", isolation_level=None)) as db:
        db.execute("UPDATE task SET record = json_set(record, '$.prompt', 5)")
    stage.call("report", "mugs.sim")


def store_gone(stage: Stage) -> None:
    """Pictures without the store that knows what they cost."""
    stage.rehearse("latency_s: 0.1\n")
    stage.said.clear()
    for each in (stage.folder / "runs/mugs.sim").glob("state.db*"):
        each.unlink()
    stage.call("run", "mugs.yaml", "--simulate")


def a_copy(stage: Stage) -> None:
    """A copied folder beside its original."""
    stage.real()
    stage.key("MULEROUTER", "http://127.0.0.1:9")
    shutil.copytree(stage.folder / "runs/mugs", stage.folder / "runs/again")
    stage.call("run", "mugs.yaml", "--run-dir", "runs/again", "--set", "samples=2")


def fresh_refused(stage: Stage) -> None:
    """Starting anew would forget what may have been bought."""
    stage.rehearse("cut_after: {prompt: teal}\n")
    stage.said.clear()
    stage.call("run", "mugs.yaml", "--simulate", "--fresh")


def wrong_sort(stage: Stage) -> None:
    """A real run into a rehearsal's folder."""
    stage.rehearse("latency_s: 0.1\n")
    stage.said.clear()
    stage.key("MULEROUTER", "http://127.0.0.1:9")
    stage.call("run", "mugs.yaml", "--run-dir", "runs/mugs.sim")


def picture_gone(stage: Stage) -> None:
    """Somebody removed a picture."""
    stage.rehearse("latency_s: 0.1\n")
    stage.said.clear()
    next((stage.folder / "runs/mugs.sim/images").rglob("*.png")).unlink()
    stage.call("verify", "mugs.sim")
    stage.call("run", "mugs.yaml", "--simulate", "--faults", "faults.yaml")


#: Every story, in the order of the page on faults.
STORIES: Final[tuple[Callable[[Stage], None], ...]] = (
    missing_key,
    bad_spec,
    slips,
    no_budget,
    unknown_price,
    small_picture,
    refused_key,
    wrong_region,
    out_of_credit,
    moderation,
    failing_vendor,
    rate_limited,
    unreachable,
    expired_links,
    lost_pictures,
    budget_reached,
    doubt,
    vanished_operation,
    locked_folder,
    edited_spec,
    another_spec,
    a_copy,
    fresh_refused,
    wrong_sort,
    full_disk,
    storage_failed,
    damaged_store,
    strange_row,
    store_gone,
    picture_gone,
)


def play(story: Callable[[Stage], None], folder: Path, patch: pytest.MonkeyPatch) -> str:
    """Everything that was typed and said in one story."""
    patch.chdir(folder)
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    patch.setenv("COLUMNS", "100")
    for name in [name for name in os.environ if name.startswith(_KEYS)]:
        patch.delenv(name)
    stage = Stage(folder, patch)
    story(stage)
    return "\n".join(stage.said)
