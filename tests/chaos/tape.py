"""The tape that everything is recorded on: events in one order, files by number, failures by decree."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

#: A file below the root that is not the product's, and not heard.
OTHERS: Final = "filler"
#: Where an open file without a name is given one from.
_HANDLES: Final = "/proc/self/fd/"
#: Decides whether an operation fails: (its name, its path) -> errno, 0 to let it through.
Spoiler = Callable[[str, str], int]


class Event(NamedTuple):
    """One thing that happened. `file` numbers a file for life, whatever its names; paths are relative to the root."""

    #: create, write, resize, mkdir, link, rename, unlink, rmdir, sync, sync_folder, sync_all; or a note of the test's.
    kind: str
    path: str = ""
    file: int = -1
    at: int = 0
    data: bytes = b""
    other: str = ""


class Unusable(Exception):  # noqa: N818 - it is a fact about this machine
    """The SQLite of this Python cannot be listened to, so the campaign would prove nothing."""


@dataclass(slots=True)
class Tape:
    """What happens below `root`."""

    root: Path
    spoil: Spoiler | None = None
    #: Whether contents are kept (a spoiler's campaign has no use for them).
    keep: bool = True
    events: list[Event] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    #: {(device, inode): the file's number}
    ids: dict[tuple[int, int], int] = field(default_factory=dict)
    count: int = 0
    base: str = ""
    #: What C holds on to, which the collector cannot see.
    held: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Links on the way to the root are followed once."""
        self.root = self.root.resolve()
        self.base = f"{self.root}/"

    def note(self, kind: str, path: str = "", other: str = "", at: int = 0) -> None:
        """Put something of the test's own into the same sequence."""
        self.events.append(Event(kind, path, -1, at, b"", other))

    def inside(self, path: str) -> str | None:
        """A path relative to the root; None when it lies elsewhere, or is another's."""
        whole = os.path.abspath(path)  # noqa: PTH100 - a link at the end must stay one
        if f"{whole}/" == self.base:
            return ""
        inside = whole[len(self.base) :] if whole.startswith(self.base) else None
        return None if inside == OTHERS else inside

    def where(self, path: Any, folder: int | None = None) -> str | None:
        """As `inside`, of a path below an open folder, or of an open file."""
        if isinstance(path, int):
            return self.of(path)
        text = os.fsdecode(path)
        if text.startswith(_HANDLES):
            return self.of(int(text.removeprefix(_HANDLES)))
        if folder is not None and not text.startswith("/"):
            text = f"{Path(f'/proc/self/fd/{folder}').readlink()}/{text}"
        return self.inside(text)

    def of(self, handle: int) -> str | None:
        """As `inside`, of an open file."""
        try:
            return self.inside(str(Path(f"/proc/self/fd/{handle}").readlink()))
        except OSError:
            return None

    def id(self, known: os.stat_result) -> int:
        """The number of a file; -1 for one that was never seen."""
        return self.ids.get((known.st_dev, known.st_ino), -1)

    def number(self, handle: int) -> int:
        """The new number of a file that has just been made."""
        known = os.fstat(handle)
        self.count += 1
        self.ids[known.st_dev, known.st_ino] = self.count
        return self.count

    def born(self, handle: int, path: str) -> None:
        """A file that has just been made under a name."""
        self.events.append(Event("create", path, self.number(handle)))

    def fail(self, call: str, path: str) -> int:
        """The errno that this operation shall fail with; 0 lets it through."""
        if self.spoil is None:
            return 0
        number = self.spoil(call, path)
        if number:
            self.note("failed", path, other=f"{call} {errno.errorcode[number]}")
        return number

    def check(self, call: str, path: str) -> None:
        """*Raises* OSError if this operation shall fail."""
        if number := self.fail(call, path):
            raise OSError(number, os.strerror(number), path)

    def wrote(self, handle: int, inside: str, at: int, data: bytes) -> None:
        """A write that has happened, at the file's position if `at` is negative."""
        if at < 0:
            at = os.lseek(handle, 0, os.SEEK_CUR) - len(data)
        self.events.append(Event("write", inside, self.id(os.fstat(handle)), at, data if self.keep else b""))


def there(path: Any, folder: int | None) -> bool:
    """Whether a name is taken."""
    try:
        os.stat(path, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
