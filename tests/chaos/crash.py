"""What a disk may hold after the power went: of recorded I/O, all that was synced and any part of the rest."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from tests.chaos.tape import Event

#: Writes are torn at this size. *Units* - bytes.
SECTOR: Final = 512
_NAMES: Final = frozenset({"create", "mkdir", "link", "rename", "unlink", "rmdir"})


class _Name(NamedTuple):
    """A change of names. `file` is what got the name; `folders` are those whose sync makes it last."""

    kind: str
    path: str
    other: str
    file: int
    folders: tuple[str, ...]


@dataclass(slots=True)
class _File:
    lasting: bytearray = field(default_factory=bytearray)
    #: What was not synced yet.
    waiting: list[Event] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class State:
    """The contents of a disk: {path: bytes} and the folders."""

    files: dict[str, bytes]
    folders: tuple[str, ...]

    def build(self, place: Path) -> None:
        """Make it real below a folder."""
        for folder in self.folders:
            (place / folder).mkdir()
        for path, data in self.files.items():
            (place / path).write_bytes(data)


def whole(events: Sequence[Event]) -> State:
    """Everything written, as if no power ever went: what must really be there."""
    return _state(events, lambda _file, _waiting: None, lambda names, _lasting: names, keep_waiting=True)


def after_power_loss(events: Sequence[Event], seed: int) -> State:
    """One of the disks that losing power right after these events may leave."""
    dice = random.Random(seed)

    def survive(file: bytearray, waiting: list[Event]) -> None:
        style = dice.choice(("none", "all", "sectors", "some", "first"))
        stop = dice.randint(0, len(waiting))
        for number, event in enumerate(waiting):
            match style:
                case "all" | "sectors":
                    _apply(file, event, dice if style == "sectors" else None)
                case "some" if dice.random() < 0.5:
                    _apply(file, event, None)
                case "first" if number <= stop:
                    _apply(file, event, dice if number == stop else None)
                case _:
                    pass

    def named(names: list[_Name], lasting: list[bool]) -> list[_Name]:
        if dice.random() < 0.5:  # one journal for all folders, as ext4 keeps it
            ends = dict.fromkeys({folder for name in names for folder in name.folders}, dice.randint(0, len(names)))
        else:
            every = sorted({folder for name in names for folder in name.folders})
            ends = {folder: dice.randint(0, len(names)) for folder in every}
        return [
            name
            for number, name in enumerate(names)
            if lasting[number] or all(number < ends[folder] for folder in name.folders)
        ]

    return _state(events, survive, named)


def _state(
    events: Sequence[Event],
    survive: Callable[[bytearray, list[Event]], None],
    named: Callable[[list[_Name], list[bool]], list[_Name]],
    *,
    keep_waiting: bool = False,
) -> State:
    files: dict[int, _File] = {}
    names: list[_Name] = []
    lasting: list[bool] = []
    now: dict[str, int] = {}
    for event in events:
        match event.kind:
            case "write" | "resize":
                files.setdefault(event.file, _File()).waiting.append(event)
            case "sync":
                _sync(files.setdefault(event.file, _File()))
            case "sync_all":
                for file in files.values():
                    _sync(file)
                lasting = [True] * len(names)
            case "sync_folder":
                folder = "" if event.path == "." else event.path
                for number, name in enumerate(names):
                    lasting[number] = lasting[number] or folder in name.folders
            case kind if kind in _NAMES:
                names.append(_name(event, now))
                lasting.append(False)
                _rename(now, set(), names[-1])
            case _:
                pass
    final: dict[str, int] = {}
    folders: set[str] = {""}
    for name in named(names, lasting):
        _rename(final, folders, name)
    contents = {}
    for path, number in sorted(final.items()):
        if path.rpartition("/")[0] in folders:
            file = files.get(number, _File())
            data = bytearray(file.lasting)
            if keep_waiting:
                for event in file.waiting:
                    _apply(data, event, None)
            else:
                survive(data, file.waiting)
            contents[path] = bytes(data)
    there = sorted(folder for folder in folders if folder and _reachable(folder, folders))
    return State({path: data for path, data in contents.items() if _reachable(path, folders)}, tuple(there))


def _reachable(path: str, folders: set[str]) -> bool:
    parent = path.rpartition("/")[0]
    return parent in folders and (not parent or _reachable(parent, folders))


def _sync(file: _File) -> None:
    for event in file.waiting:
        _apply(file.lasting, event, None)
    file.waiting.clear()


def _apply(file: bytearray, event: Event, dice: random.Random | None) -> None:
    """Let a write or a resize happen; with dice, some sectors of it only."""
    if event.kind == "resize":
        if dice is not None and dice.random() < 0.5:
            return
        del file[event.at :]
        file.extend(bytes(event.at - len(file)))
        return
    start, end = event.at, event.at + len(event.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        if dice is None or dice.random() < 0.5:
            if len(file) < stop:
                file.extend(bytes(stop - len(file)))
            file[start:stop] = event.data[start - event.at : stop - event.at]
        start = stop


def _name(event: Event, now: dict[str, int]) -> _Name:
    folders = tuple(sorted({path.rpartition("/")[0] for path in (event.path, event.other) if path}))
    match event.kind:
        case "create":
            return _Name("link", event.path, "", event.file, folders)
        case "link":
            # Only the new name's folder changes.
            return _Name("link", event.other, "", event.file, (event.other.rpartition("/")[0],))
        case "rename":
            return _Name("rename", event.other, event.path, now.get(event.path, -1), folders)
        case kind:
            return _Name(kind, event.path, "", now.get(event.path, -1), folders)


def _rename(names: dict[str, int], folders: set[str], change: _Name) -> None:
    match change.kind:
        case "link":
            names[change.path] = change.file
        case "rename" if change.file >= 0:
            if names.get(change.other) == change.file:
                del names[change.other]
            names[change.path] = change.file
        case "unlink":
            # Only that very file: a later one of the same name is another matter.
            if names.get(change.path) == change.file:
                del names[change.path]
        case "mkdir":
            folders.add(change.path)
        case "rmdir":
            folders.discard(change.path)
        case _:
            pass
