"""Pictures on disk: whole or absent, never over one another, never outside their folder."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Bug, StorageFailed
from pipeline.store import blobs as blobs_module
from pipeline.store import shelves as shelves_module
from pipeline.store.blobs import Blobs, Seen, Wanted
from pipeline.store.folder import RunFolder
from pipeline.store.kept import Kept, Notes
from pipeline.store.part import give_name
from tests.store.stories import task


@dataclass
class Known:
    """What a store would say of pictures."""

    stored: set[str] = field(default_factory=set)
    pending: set[tuple[int, int]] = field(default_factory=set)

    def has_picture(self, path: str) -> bool:
        """Stored."""
        return path in self.stored

    def pending_pictures(self) -> set[tuple[int, int]]:
        """Pending."""
        return self.pending


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """An empty run folder."""
    return RunFolder.create(tmp_path / "run")


def received(blobs: Blobs, data: bytes, *, attempt: int = 1, index: int = 0, path: str = "") -> str:
    """A picture, received and kept; its path."""
    wanted = task(0, path=path)
    part = blobs.part(wanted.id, index, attempt)
    with part.open() as sink:
        sink.write(data)
    return blobs.keep(part, wanted, index, "image/png")


def open_files() -> int:
    """How many files this process has open."""
    return len([*Path("/proc/self/fd").iterdir()])


def filled(blobs: Blobs, data: bytes, attempt: int, path: str = "fox") -> Wanted:
    """A picture that came whole and wants its name."""
    part = blobs.part("x", 0, attempt)
    part.fill(data)
    return Wanted(part, task(0, path=path), 0, Seen("image/png", hashlib.sha256(data).hexdigest(), len(data)))


@pytest.mark.parametrize(
    ("path", "media_type", "expected"),
    [
        ("", "image/png", "images/00/0000000000000000-1.png"),
        ("fox", "image/jpeg", "images/fox-1.jpg"),
        ("ink/red/fox", "image/webp", "images/ink/red/fox-1.webp"),
        ("fox", "application/x-new", "images/fox-1.bin"),
    ],
)
def test_names_follow_the_task(folder: RunFolder, path: str, media_type: str, expected: str) -> None:
    """As `outputs.path` says, else by digest; the extension by what the picture is."""
    blobs = Blobs(folder)
    wanted = task(0, path=path)
    part = blobs.part(wanted.id, 1, 1)
    with part.open() as sink:
        sink.write(b"picture")
    assert blobs.keep(part, wanted, 1, media_type) == expected
    assert (folder.path / expected).read_bytes() == b"picture"
    assert not part.path.exists()
    part.discard()


def test_pictures_and_their_folders_are_private(folder: RunFolder) -> None:
    """0600 and 0700 whatever the umask."""
    before = os.umask(0)
    try:
        path = folder.path / received(Blobs(folder), b"picture", path="ink/fox")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for above in (path.parent, folder.images, folder.parts):
        assert stat.S_IMODE(above.stat().st_mode) == 0o700


def test_a_taken_name_is_never_written_over(folder: RunFolder) -> None:
    """A second attempt of a task, even with the same bytes, gets names of its own."""
    blobs = Blobs(folder)
    paths = [received(blobs, data, attempt=attempt, path="fox") for attempt, data in [(1, b"a"), (4, b"b"), (4, b"a")]]
    assert paths == ["images/fox-0.png", "images/fox-0.4.png", "images/fox-0.4.2.png"]
    assert [(folder.path / path).read_bytes() for path in paths] == [b"a", b"b", b"a"]


def test_two_threads_that_want_one_name_do_not_meet(folder: RunFolder) -> None:
    """The name is given in one step that fails when somebody was faster; the part is kept for the next name."""
    blobs = Blobs(folder)
    first = received(blobs, b"first", path="fox")
    part = blobs.part("x", 0, 2)
    with part.open() as sink:
        sink.write(b"second")
    handle = os.open(folder.images, os.O_RDONLY)
    assert not give_name(part.path, handle, "fox-0.png")
    os.close(handle)
    assert ((folder.path / first).read_bytes(), part.path.read_bytes()) == (b"first", b"second")


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL])
def test_what_came_whole_has_no_name_before_its_own_where_that_can_be(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """With it, or on a file system that has no such files: the same picture, private, and nothing is left open."""
    opened, refused = os.open, []

    def without(path: str, flags: int, *more: object, **named: object) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            refused.append(path)
            raise OSError(number, os.strerror(number))
        return opened(path, flags, *more, **named)  # type: ignore[arg-type]  # passed on as they came

    for name in ("fox", "hen"):
        blobs, before = Blobs(folder), open_files()
        part = blobs.part("x", 0, len(name))
        umask = os.umask(0o777)
        try:
            part.fill(b"picture")
        finally:
            os.umask(umask)
        seen = Seen("image/png", hashlib.sha256(b"picture").hexdigest(), 7)
        blobs.keep_all([wanted := Wanted(part, task(0, path=name), 0, seen)])
        assert wanted.path == f"images/{name}-0.png"
        assert stat.S_IMODE((folder.path / wanted.path).stat().st_mode) == 0o600
        assert list(folder.parts.glob("*.part")) == []
        dropped = blobs.part("x", 1, 1)
        dropped.fill(b"given up")
        dropped.discard()
        assert open_files() == before
        monkeypatch.setattr(os, "open", without)
    assert refused


def test_a_group_keeps_few_files_open_and_none_in_the_end(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each picture until it has its name, and one for each folder from then on."""
    blobs, link, seen = Blobs(folder), os.link, []
    blobs.keep_all([filled(blobs, b"warm", 1)])
    before = open_files()

    def counted(*given: Any, **named: Any) -> None:
        seen.append(open_files() - before)
        link(*given, **named)

    group = [filled(blobs, b"%d" % number, number + 2, f"{number}/fox") for number in range(12)]
    group[3].part.fill(b"again")
    monkeypatch.setattr(os, "link", counted)
    blobs.keep_all(group)
    assert [each.path for each in group] == [f"images/{number}/fox-0.png" for number in range(12)]
    assert len(seen) == 12
    assert max(seen) <= 12 + 2
    assert open_files() == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE])
def test_a_full_disk_says_nothing_about_names(folder: RunFolder, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What fails for want of room is told, and tried anew when there is some."""
    blobs = Blobs(folder)

    def full(*_given: Any, **_named: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        with pytest.raises(OSError, match=os.strerror(number)):
            filled(blobs, b"picture", 1)
    assert filled(blobs, b"picture", 1).part.nameless == nameless_here(folder)


def nameless_here(folder: RunFolder) -> bool:
    """Whether this file system has nameless files."""
    try:
        os.close(os.open(folder.parts, os.O_TMPFILE | os.O_WRONLY))
    except OSError:
        return False
    return True


def test_without_links_a_name_that_is_taken_is_not_written_over(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a name can only be given by renaming, it is looked at before."""

    def none(*_given: Any, **_named: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    blobs = Blobs(folder)
    blobs.keep_all([first := filled(blobs, b"first", 1), second := filled(blobs, b"second", 2)])
    assert [(folder.path / each.path).read_bytes() for each in (first, second)] == [b"first", b"second"]


def test_where_nameless_files_cannot_be_named_there_are_none(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems make them, and refuse the name when all is paid and written: that is tried before."""
    link = os.link

    def refusing(source: Any, name: Any, **more: Any) -> None:
        if str(source).startswith("/proc/"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        link(source, name, **more)

    monkeypatch.setattr(os, "link", refusing)
    blobs = Blobs(folder)
    blobs.keep_all([wanted := filled(blobs, b"picture", 1)])
    assert (wanted.error, wanted.path) == (None, "images/fox-0.png")
    assert [each.name for each in folder.parts.iterdir()] == ["kept.jsonl"]


def test_a_folder_that_is_taken_away_meanwhile_is_made_again(folder: RunFolder) -> None:
    """Somebody tidies up while the run goes on: the next picture is kept all the same."""
    blobs = Blobs(folder)
    first = received(blobs, b"first", path="ink/fox")
    (folder.path / first).unlink()
    (folder.images / "ink").rmdir()
    second = received(blobs, b"second", attempt=2, path="ink/hen")
    assert (folder.path / second).read_bytes() == b"second"


def test_folders_that_are_taken_away_within_a_group_are_made_again(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the way to the name, not only the last of them."""
    blobs, link = Blobs(folder), os.link
    group = [filled(blobs, b"%d" % number, number, f"a/b/{number}") for number in (1, 2)]

    def tidied(source: Any, name: Any, **more: Any) -> None:
        if name == "2-0.png" and (folder.images / "a").exists() and not (folder.path / "moved").exists():
            (folder.images / "a").rename(folder.path / "moved")
            (folder.path / "moved" / "b" / "1-0.png").unlink()
            (folder.path / "moved" / "b").rmdir()
        link(source, name, **more)

    monkeypatch.setattr(os, "link", tidied)
    blobs.keep_all(group)
    assert (folder.path / group[1].path).read_bytes() == b"2"


def test_a_picture_whose_name_or_note_the_disk_refuses_is_not_told_as_kept(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W6: no row without a durable name, also for an adopted one; and no name without a note that explains it."""
    blobs, sync = Blobs(folder), os.fsync
    blobs.keep_all([filled(blobs, b"warm", 9)])

    def failing(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        sync(handle)

    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        blobs.keep_all([unsynced := filled(blobs, b"unsynced", 1)])
        with pytest.raises(OSError, match="Input/output error"):
            blobs.adopt(Known(pending={(1, 0)}))
    assert isinstance(unsynced.error, OSError)
    (folder.parts / "kept.jsonl").unlink()
    (folder.parts / "kept.jsonl").mkdir()
    blobs.keep_all([unnoted := filled(blobs, b"unnoted", 2)])
    assert isinstance(unnoted.error, StorageFailed)
    assert sorted(blobs.files()) == ["images/fox-0.1.png", "images/fox-0.png"]
    assert open_files() == before


@pytest.mark.parametrize("path", ["../fox", "/etc/fox", "a/../../fox", "a/\0fox"])
def test_a_path_cannot_leave_the_folder(folder: RunFolder, path: str) -> None:
    """A path that leads out is our mistake, and nothing is written."""
    with pytest.raises(Bug):
        received(Blobs(folder), b"picture", path=path)
    assert list(Blobs(folder).files()) == []


def test_links_are_not_followed(folder: RunFolder, tmp_path: Path) -> None:
    """A symbolic link among the folders, in the place of images/ or of a part, ends the write."""
    outside = tmp_path / "outside"
    outside.mkdir()
    blobs = Blobs(folder)
    (folder.images / "ink").symlink_to(outside)
    with pytest.raises(StorageFailed, match=r"move it away: .*ink"):
        received(blobs, b"picture", path="ink/fox")
    (folder.parts / "9-0.part").symlink_to(outside / "part")
    with pytest.raises(StorageFailed, match=r"move it away: .*part"):
        received(blobs, b"picture", attempt=9)
    assert list(outside.iterdir()) == []
    (folder.images / "ink").unlink()
    folder.images.rmdir()
    folder.images.symlink_to(outside)
    with pytest.raises(StorageFailed, match="move it away"):
        Blobs(folder)


def test_pictures_on_another_file_system_are_refused_before_anything_is_bought(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No name can be given across: that is said at once, and not when the first picture is paid."""
    Blobs(folder)
    known = os.stat

    def mounted(path: Any, **more: Any) -> os.stat_result:
        found = known(path, **more)
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:])) if path == folder.images else found

    monkeypatch.setattr(os, "stat", mounted)
    with pytest.raises(StorageFailed, match=r"move the whole folder: .*images"):
        Blobs(folder)


def test_recovery_drops_parts_and_moves_strangers_away(folder: RunFolder) -> None:
    """What the store names stays; the rest is in quarantine/, none of it deleted; a second time changes nothing."""
    blobs = Blobs(folder)
    kept = received(blobs, b"kept", path="ink/fox")
    received(blobs, b"stranger", path="ink/hen")
    (folder.images / "hen-0.png").write_bytes(b"planted")
    (folder.images / "link").symlink_to(folder.path)
    with blobs.part("x", 0, 5).open() as sink:
        sink.write(b"half")
    notes = Blobs(folder).recover(Known({kept}))
    assert [note.split(" ")[0] for note in notes] == ["1", "3"]
    assert list(blobs.files()) == [kept]
    assert list(folder.parts.iterdir()) == []
    names = {each.name for each in folder.quarantine.iterdir()}
    assert names == {"ink__hen-0.png", "hen-0.png", "link"}
    assert Blobs(folder).recover(Known({kept})) == []
    (folder.images / "hen-0.png").write_bytes(b"planted again")
    Blobs(folder).recover(Known({kept}))
    assert (folder.quarantine / "hen-0.png").read_bytes() == b"planted"
    assert (folder.quarantine / "hen-0.png.2").read_bytes() == b"planted again"


def test_a_picture_named_just_before_a_kill_is_adopted(folder: RunFolder) -> None:
    """It is paid for and whole, so it is not fetched again; its hash must fit and its row must be pending."""
    path = received(Blobs(folder), b"whole", attempt=3, index=1, path="fox")
    pending = Known(pending={(3, 1)})
    again = Blobs(folder)
    (adopted,) = again.adoptable(pending)
    assert (adopted.attempt, adopted.index, adopted.path, adopted.size_bytes) == (3, 1, path, 5)
    assert adopted.sha256 == hashlib.sha256(b"whole").hexdigest()
    assert again.recover(pending) == []
    assert received(again, b"whole", attempt=3, index=1, path="fox") == path, "fetched again after all: the same name"
    assert again.adoptable(Known({path})) == []
    (folder.path / path).write_bytes(b"other")
    assert again.adoptable(pending) == []
    assert len(again.recover(pending)) == 1


def test_a_file_is_adopted_for_one_picture_only(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two attempts may bring equal pictures, both noted for one name: after a kill it is the one's, not both's."""

    class Killed(BaseException):
        pass

    def kill(name: str) -> None:
        if name == "keep.named":
            raise Killed

    blobs = Blobs(folder)
    group = [filled(blobs, b"same", attempt) for attempt in (3, 4)]
    with monkeypatch.context() as patch:
        patch.setattr(blobs_module, "reach", kill)
        with pytest.raises(Killed):
            blobs.keep_all(group)
    assert len(list(blobs.files())) == 1
    pending = Known(pending={(3, 0), (4, 0)})
    assert [each.path for each in Blobs(folder).adopt(pending)] == ["images/fox-0.png"]


def test_a_name_that_another_file_had_is_not_taken_for_ours(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes are equal and we noted the name, but did not get it: when it is fetched again it is another's still."""
    blobs, link = Blobs(folder), os.link
    blobs.keep_all([first := filled(blobs, b"same", 4)])

    def full(source: str, name: str, **more: Any) -> None:
        if ".3." in name:
            raise OSError(errno.ENOSPC, "No space left on device")
        link(source, name, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        patch.setattr(os, "rename", full)
        blobs.keep_all([second := filled(blobs, b"same", 3)])
    assert (first.path, second.path, type(second.error)) == ("images/fox-0.png", "", OSError)
    blobs.keep_all([again := filled(blobs, b"same", 3)])
    assert again.path == "images/fox-0.3.png"


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(folder: RunFolder, tmp_path: Path) -> None:
    """Somebody moves a folder to where there is more room, and leaves a link: nothing is written behind it."""
    blobs, moved = Blobs(folder), tmp_path / "moved"
    received(blobs, b"first", path="ink/fox")
    (folder.images / "ink").rename(moved)
    (folder.images / "ink").symlink_to(moved)
    with pytest.raises(StorageFailed, match=r"move it away: .*ink"):
        received(blobs, b"second", attempt=2, path="ink/hen")
    assert [each.name for each in moved.iterdir()] == ["fox-0.png"]


@pytest.mark.parametrize("path", ["images/../secret.png", "secret.png", "/etc/hostname", "images/link/secret.png"])
def test_only_what_is_below_images_is_adopted(folder: RunFolder, tmp_path: Path, path: str) -> None:
    """Notes of a folder that somebody handed over may name anything."""
    blobs = Blobs(folder)
    (folder.path / "secret.png").write_bytes(b"secret")
    (folder.images / "link").symlink_to(folder.path)
    digest = hashlib.sha256((tmp_path / folder.path / path).read_bytes()).hexdigest()
    Notes(folder.parts).write([Kept(1, 0, path, digest, "image/png", 6)])
    assert blobs.adoptable(Known(pending={(1, 0)})) == []


def test_the_folders_that_are_remembered_are_bounded(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spec may ask for one for each of a million tasks."""
    monkeypatch.setattr(shelves_module, "_LASTING_MAX", 2)
    blobs = Blobs(folder)
    for number in range(6):
        received(blobs, b"picture", path=f"{number}/fox")
        assert len(blobs._lasting) <= 2


def test_the_last_name_that_was_noted_is_the_one_that_was_given(folder: RunFolder) -> None:
    """A stranger's file with equal bytes had the first: ours is adopted, and not his."""
    blobs = Blobs(folder)
    (folder.images / "fox-0.png").write_bytes(b"equal")
    blobs.keep_all([wanted := filled(blobs, b"equal", 3)])
    assert wanted.path == "images/fox-0.3.png"
    assert [each.path for each in blobs.adoptable(Known(pending={(3, 0)}))] == [wanted.path]


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_no_plain_file_is_not_ours_whatever_was_noted(folder: RunFolder, kind: str) -> None:
    """It is looked at, not into: the picture gets the next name."""
    blobs = Blobs(folder)
    path = folder.path / received(blobs, b"whole", path="fox")
    path.rename(folder.path / "elsewhere.png")
    match kind:
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(folder.path / "elsewhere.png")
        case _:
            os.mkfifo(path)
    assert blobs.adoptable(Known(pending={(1, 0)})) == []
    if kind == "pipe":
        # Were it opened, it would wait for a writer for ever.
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    assert received(blobs, b"whole", path="fox") == "images/fox-0.1.png"


def test_the_notes_of_kept_pictures_stay_small(folder: RunFolder) -> None:
    """Only the latest matter, so that a long run does not gather them."""
    blobs = Blobs(folder)
    for index in range(3000):
        blobs.part("x", index, 1)
        if index % 100 == 0:
            received(blobs, b"%d" % index, index=index)
    lines = sum(path.read_bytes().count(b"{") for path in folder.parts.glob("kept*"))
    assert 1 <= lines <= 21
