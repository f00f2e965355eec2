"""What stands beside the store in a run folder: lock, black box, story, and the folder itself."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

from pipeline.engine.facts import Draining, LaneCooled, LinksRenewed, PictureStored, TaskMoved
from pipeline.engine.phases import Phase
from pipeline.errors import RunError, RunLocked, RunNotFound
from pipeline.store.blackbox import BlackBox, answered, damage
from pipeline.store.folder import RunFolder
from pipeline.store.lock import RunLock, file_system_of
from pipeline.store.redact import without_queries
from pipeline.store.story import Story
from pipeline.values.wire import Response
from tests.store.stories import FAULT, LINK, START, artifact, made

ANSWER = Response(200, b'{"id": "op-1"}\n\x00\xff', {"content-type": "application/json"})


# --- folder ---


def test_the_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """Run folder 0700, the spec in it 0600, the folder above as usual."""
    before = os.umask(0)
    try:
        folder = RunFolder.create(tmp_path / "runs" / "one")
        assert folder.write_spec("name: one\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.spec.stat().st_mode) == 0o600


def test_the_same_spec_is_not_written_again(tmp_path: Path) -> None:
    """A spec that stands there already is left alone, another one replaces it."""
    folder = RunFolder.create(tmp_path / "one")
    assert [folder.write_spec(text) for text in ("a", "a", "b")] == [True, False, True]
    assert folder.spec.read_text() == "b"
    assert [each.name for each in folder.path.iterdir()] == ["spec.yaml"]


def test_only_a_folder_with_a_store_is_a_run(tmp_path: Path) -> None:
    """`find` says what is missing; a file in the folder's place is an error with a remedy."""
    with pytest.raises(RunNotFound):
        RunFolder.find(tmp_path)
    (tmp_path / "state.db").touch()
    assert RunFolder.find(tmp_path).path == tmp_path
    with pytest.raises(RunError, match="move it away"):
        RunFolder.create(tmp_path / "state.db")


def test_an_old_run_is_put_aside_beside_the_others(tmp_path: Path) -> None:
    """Nothing is written over: the first free number is taken."""
    asides = [RunFolder.create(tmp_path / "one").set_aside().name for _ in range(2)]
    assert asides == ["one.1", "one.2"]


# --- lock ---

HOLDER = """
import sys
from pathlib import Path
from typing import Self
from pipeline.store.lock import RunLock
lock = RunLock.take(Path(sys.argv[1]))
print("taken", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """The message names the holder; kill -9 frees the lock at once."""
    lock = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "taken\n"
    with pytest.raises(RunLocked, match=f"pid {holder.pid}"):
        RunLock.take(lock)
    holder.kill()
    holder.wait(30)
    holder.communicate()
    with RunLock.take(lock), pytest.raises(RunLocked):
        RunLock.take(lock)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert lock.read_bytes() == b"", "after a release nothing of it is left in the folder"


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/share /share nfs4 rw 0 0
/dev/sdb1 /share/local\\040disk xfs rw 0 0
tmpfs /shared tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/runs", "ext4"),
        ("/share/me/runs", "nfs4"),
        ("/share/local disk/runs", "xfs"),
        ("/shared", "tmpfs"),
        ("/", "ext4"),
    ],
)
def test_the_file_system_is_the_deepest_mount(path: str, kind: str) -> None:
    """Mount points are whole path names, with their octal escapes."""
    assert file_system_of(Path(path), MOUNTS) == kind


def test_a_network_file_system_is_refused(tmp_path: Path) -> None:
    """No lock is taken where a lock means nothing; the message says what to do."""
    with pytest.raises(RunError, match="--run-dir"):
        RunLock.take(tmp_path / "lock", mounts=lambda: f"server:/x {tmp_path} nfs4 rw 0 0\n")
    assert not (tmp_path / "lock").exists()


# --- black box ---


def test_an_answer_is_read_back_as_it_was_received(tmp_path: Path) -> None:
    """Status, headers and every byte of the body; cookies are not kept; the file is private."""
    with BlackBox(tmp_path / "blackbox") as box:
        box.append(7, Response(200, ANSWER.body, {**ANSWER.headers, "set-cookie": "session=1"}))
        assert box.read() == [(7, ANSWER)]
    assert stat.S_IMODE((tmp_path / "blackbox").stat().st_mode) == 0o600
    assert b"session" not in (tmp_path / "blackbox").read_bytes()


def test_any_torn_tail_costs_only_the_torn_answer(tmp_path: Path) -> None:
    """Cut at every byte: what was whole is read, and what is appended after the cut is read as well."""
    path = tmp_path / "blackbox"
    with BlackBox(path) as box:
        box.append(1, ANSWER)
        first = path.stat().st_size
        box.append(2, ANSWER)
    data = path.read_bytes()
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        with BlackBox(path) as box:
            whole = [1] * (cut >= first - 1) + [2] * (cut >= len(data) - 1)
            assert [attempt for attempt, _ in box.read()] == whole
            box.append(3, ANSWER)
            assert [attempt for attempt, _ in box.read()] == [*whole, 3]


def test_a_flipped_bit_is_no_evidence(tmp_path: Path) -> None:
    """A damaged answer is skipped, its neighbours are read."""
    path = tmp_path / "blackbox"
    with BlackBox(path) as box:
        for attempt in (1, 2, 3):
            box.append(attempt, ANSWER)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert [attempt for attempt, _ in box.read()] == [1, 3]


def test_damaged_lines_are_told(tmp_path: Path) -> None:
    """Any flipped bit is told or changes nothing, newlines included; so is a line that ends too early."""
    path = tmp_path / "blackbox"
    with BlackBox(path) as box:
        for attempt in (1, 2):
            box.append(attempt, ANSWER)
        known = box.read()
    whole = path.read_bytes()
    assert damage(path) == []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert damage(path), f"byte {place}"
    path.write_bytes(whole[:-9])
    assert damage(path)[0].startswith("blackbox: line 2 is damaged or torn")
    path.write_bytes(whole[:-1])
    with BlackBox(path) as box:
        assert (box.read(), damage(path)) == (known, [])


class FullDisk:
    """A disk with no room for the black box: writes are refused until there is relief, by the kernel itself."""

    def __init__(self, limit: int) -> None:
        """No file may grow beyond `limit` bytes."""
        self.limit = limit

    def __enter__(self) -> Self:
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.signal = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self.before[1]))
        return self

    def __exit__(self, *exc: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)
        signal.signal(signal.SIGXFSZ, self.signal)


def test_an_answer_that_finds_no_room_is_kept_in_memory_or_after_relief(tmp_path: Path) -> None:
    """Without relief the answer is in `unkept` until it is in the store, and no half of it stays on the disk."""
    path = tmp_path / "blackbox"
    with BlackBox(path) as box:
        box.append(1, ANSWER)
        size = path.stat().st_size
        with FullDisk(size + 20):
            box.append(2, ANSWER)
        box.meant(1, "op-1")
        box.meant(2, "op-2")
        assert (box.unkept, path.stat().st_size, damage(path)) == ({2: "op-2"}, size, [])
        box.committed(2)
        assert box.unkept == {}
    room = FullDisk(size + 20)

    def relief() -> bool:
        room.__exit__()
        return True

    with BlackBox(path, relief=relief) as box, room:
        box.append(3, ANSWER)
        assert (box.unkept, [attempt for attempt, _ in box.read()]) == ({}, [1, 3])


def test_segments_go_when_their_answers_are_committed(tmp_path: Path) -> None:
    """Rotated at a size, read in order, deleted once nothing in them waits; also across a restart."""
    path = tmp_path / "blackbox"
    with BlackBox(path, segment_max=250) as box:
        for attempt in range(1, 6):
            box.append(attempt, ANSWER)
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["blackbox", "blackbox.1", "blackbox.2"]
    with BlackBox(path, segment_max=250) as box:
        assert [attempt for attempt, _ in box.read()] == [1, 2, 3, 4, 5]
        for attempt in (1, 2, 5):
            box.committed(attempt)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["blackbox", "blackbox.2"]
        assert path.stat().st_size == 0
        box.append(6, ANSWER)
        assert [attempt for attempt, _ in box.read()] == [3, 4, 6]
        box.clear()
        assert box.read() == []
    assert [each.name for each in tmp_path.iterdir()] == ["blackbox"]


# --- story ---


def test_the_story_has_no_links_and_no_prompts(tmp_path: Path) -> None:
    """One line of JSON a fact, without what is secret or long."""
    path = tmp_path / "log.jsonl"
    path.write_text('{"torn": ')
    story = Story(path, clock=lambda: START)
    facts = [
        *made(0, 1, prompt="SECRETPROMPT", stored=[artifact("images/a.png")]),
        LinksRenewed(1, (LINK, LINK)),
        TaskMoved(0, Phase.FAILED, FAULT),
        LaneCooled("mulerouter/m", 12.5, FAULT),
        Draining(),
    ]
    story.tell(facts)
    story.tell([])
    story.close()
    text = path.read_text()
    lines = [json.loads(line) for line in text.splitlines()[1:]]
    assert [line["fact"] for line in lines] == [type(fact).__name__ for fact in facts]
    assert all(line["at"] == START for line in lines)
    assert all(word not in text for word in ("Signature", "secret", "SECRETPROMPT", "a red fox"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    stored = next(line for line in lines if line["fact"] == PictureStored.__name__)
    assert stored["artifact"]["path"] == "images/a.png"


def test_a_story_on_a_full_disk_says_later_how_much_it_missed(tmp_path: Path) -> None:
    """No half line, no failure: the store is the truth. The next line that finds room is the count of those that did
    not.
    """
    path = tmp_path / "log.jsonl"
    with Story(path, clock=lambda: START) as story:
        story.tell([Draining()])
        size = path.stat().st_size
        with FullDisk(size + 20):
            story.tell([Draining(), Draining()])
            story.tell([Draining()])
            assert path.stat().st_size == size
        story.tell([Draining()])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["fact"], line.get("missed")) for line in lines] == [
        ("Draining", None),
        ("Missed", 3),
        ("Draining", None),
    ]


def test_a_story_is_written_once_on_room_that_was_made(tmp_path: Path) -> None:
    """What a short write left is taken back before the whole is written again."""
    path = tmp_path / "log.jsonl"
    room = FullDisk(100)

    def relief() -> bool:
        room.__exit__()
        return True

    with Story(path, clock=lambda: START, relief=relief) as story, room:
        story.tell([Draining() for _ in range(9)])
    assert [json.loads(line)["fact"] for line in path.read_text().splitlines()] == ["Draining"] * 9


@pytest.mark.parametrize("torn", [b'{"at": 1, "fa', b""])
def test_a_torn_end_needs_no_room_to_be_opened(tmp_path: Path, torn: bytes) -> None:
    """Black box and story of a killed run are opened on a disk that is still full; the next line stands by itself."""
    for name in ("blackbox", "log.jsonl"):
        (tmp_path / name).write_bytes(torn)
    with FullDisk(len(torn)):
        box, story = BlackBox(tmp_path / "blackbox"), Story(tmp_path / "log.jsonl", clock=lambda: START)
        box.append(1, ANSWER)
        story.tell([Draining()])
    assert set(box.unkept) == {1}
    box.append(2, ANSWER)
    story.tell([Draining()])
    box.close()
    story.close()
    assert answered(tmp_path / "blackbox") == {2}
    assert [line[:8] for line in (tmp_path / "log.jsonl").read_text().splitlines()][bool(torn) :] == ['{"at":17'] * 2


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("see https://a.example/p?X-Amz-Signature=abc, again", "see https://a.example/p again"),
        ('{"url":"https://u:p@a.example/p?k=v"}', '{"url":"https://a.example/p"}'),
        ("https://a.example/#frag", "https://a.example/"),
        ("no link? none", "no link? none"),
    ],
)
def test_links_lose_their_queries(text: str, clean: str) -> None:
    """What the world says is kept, signatures in it are not."""
    assert without_queries(text) == clean
