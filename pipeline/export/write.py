"""An export is whole or has another name: it is written at DEST.part and renamed when all of it is on the disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from fcntl import LOCK_EX, LOCK_NB, flock
from itertools import islice
from pathlib import Path
from typing import IO, Final

from pipeline.errors import RunError, StorageFailed
from pipeline.export.card import MARK, README, Identity, mark_in, readme
from pipeline.export.forms import Form, ImageFolder, Parquet, Sheet, WebDataset
from pipeline.export.pictures import Spoilt
from pipeline.export.rows import Choice, Store, Survey, rows, survey
from pipeline.export.shards import NAME as NOTES
from pipeline.export.shards import Shards
from pipeline.manifest.table import meta_of
from pipeline.store.durable import sync_folder, write_all

#: Pictures that cannot be handed on are told one by one up to here, then counted.
TOLD_MAX: Final = 20
#: What the files beside the pictures take of room (bytes a picture), and what a disk should keep.
_BESIDE: Final = 4096
_SPARE: Final = 64 * 1024 * 1024
_MB: Final = 1_000_000


class Format(StrEnum):
    """What a run can be exported to."""

    IMAGEFOLDER = "imagefolder"
    WEBDATASET = "webdataset"
    PARQUET = "parquet"
    CSV = "csv"


@dataclass(slots=True)
class Exported:
    """What was written. *Units* - size_bytes: bytes of pictures."""

    place: Path
    pictures: int = 0
    size_bytes: int = 0
    #: {why: pictures that stay out on purpose}
    left_out: Mapping[str, int] = field(default_factory=dict)
    #: Pictures that should be in and cannot; the first of them in words.
    spoilt: int = 0
    told: list[str] = field(default_factory=list)
    #: It stood there already, whole.
    already: bool = False
    #: Pictures are named and not copied.
    named_only: bool = False
    #: The rest of an earlier try was dropped first; or so many of its pictures stand in whole shards and were kept.
    begun_anew: bool = False
    kept: int = 0


Progress = Callable[[Exported, Survey], None]


@dataclass(frozen=True, slots=True)
class _Job:
    folder: Path
    store: Store
    choice: Choice
    found: Survey
    identity: Identity
    made: Exported
    tell: Progress | None
    shards: Shards


def export(
    folder: Path,
    store: Store,
    place: Path,
    form: Format,
    choice: Choice | None = None,
    *,
    shard_mb: int = 500,
    progress: Progress | None = None,
) -> Exported:
    """Write a run's pictures as a dataset; what cannot be handed on is told and left out.

    *Raises* RunError for a place that is taken or too small, and when nothing is chosen; StorageFailed when the disk
    refuses, and then nothing is left behind.
    """
    wanted = choice or Choice()
    place = place.resolve() if place.name in ("", "..") else place
    found = survey(store, wanted)
    meta = meta_of(store)
    identity = Identity(store.run_id, meta.job, form.value, found.digest, meta.spec_sha256, shard_mb)
    made = Exported(place, left_out=dict(found.left_out), named_only=form is Format.CSV)
    if not found.pictures:
        why = "".join(f"; {count:,} left out: {reason}" for reason, count in found.left_out.items())
        raise RunError(f"there is no picture to export in {folder}{why}; nothing was written")
    _refuse_inside(folder, place)
    if _taken(place, identity, made):
        return made
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f"{place.name}.part")
        job = _Job(folder, store, wanted, found, identity, made, progress, _rest(part, identity))
        _refuse_little_room(place, form, found, job.shards.size_bytes)
        (_write_sheet if form is Format.CSV else _write_folder)(job, part)
        sync_folder(place.parent)
    except OSError as error:
        why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        raise StorageFailed(f"the export cannot be written ({why}); nothing of it was kept: {place}") from error
    return made


def _refuse_inside(folder: Path, place: Path) -> None:
    if place.resolve().is_relative_to(folder.resolve()):
        raise RunError(f"a run folder holds its run and nothing else; name a place outside of it: {place}")


def _taken(place: Path, identity: Identity, made: Exported) -> bool:
    """Whether this very export stands there already. *Raises* RunError for anything else that does."""
    if not os.path.lexists(place) or (place.is_dir() and not place.is_symlink() and not any(place.iterdir())):
        return False
    mark = mark_in(place) if place.is_dir() else None
    if mark is None:
        raise RunError(f"there is something else already; remove it or name another place: {place}")
    if mark.get("run_id") != identity.run_id:
        raise RunError(f"an export of another run stands there ({str(mark.get('job'))[:80]}): {place}")
    same = identity.is_of(mark)
    if same and mark.get("whole") is not True:
        raise RunError(f"an export of this run stands there that lacks pictures; remove it to try again: {place}")
    if not same:
        raise RunError(
            f"an export of this run stands there already, as it was then or in another form ({mark.get('form')}, "
            f"{mark.get('pictures')} pictures); remove it or name another place: {place}"
        )
    pictures = mark.get("pictures")
    made.already, made.pictures = True, pictures if isinstance(pictures, int) else 0
    return True


def _rest(part: Path, identity: Identity) -> Shards:
    """What of an earlier try of this very export can be kept."""
    shards = Shards(part)
    if identity.form in (Format.WEBDATASET, Format.PARQUET) and identity.is_of(mark_in(part)):
        shards.read()
    return shards


def _refuse_little_room(place: Path, form: Format, found: Survey, kept_bytes: int) -> None:
    needs = _BESIDE * found.pictures + (0 if form is Format.CSV else found.size_bytes - kept_bytes)
    free = shutil.disk_usage(place.parent).free
    if needs + _SPARE > free:
        raise RunError(
            f"the export needs about {needs / 1e9:,.1f} GB and the disk has {free / 1e9:,.1f} GB free; "
            f"nothing was written: {place}"
        )


def _fill(job: _Job, form: Form) -> None:
    made, shards = job.made, job.shards
    made.pictures, made.size_bytes, made.kept = shards.pictures, shards.size_bytes, shards.pictures
    for row in islice(rows(job.store, job.choice), shards.pictures, None):
        try:
            form.add(row)
        except Spoilt as why:
            shards.stop()
            made.spoilt += 1
            if len(made.told) < TOLD_MAX:
                made.told.append(f"{row['path']}: {why}")
        else:
            made.pictures += 1
            made.size_bytes += row["bytes"]
        if job.tell is not None:
            job.tell(made, job.found)
    form.close()


def _write_folder(job: _Job, part: Path) -> None:
    identity, made = job.identity, job.made
    with _own_folder(part, identity, made, job.shards):
        most = identity.shard_mb * _MB
        form: ImageFolder | WebDataset | Parquet
        match identity.form:
            case Format.IMAGEFOLDER:
                form = ImageFolder(job.folder, part)
            case Format.WEBDATASET:
                form = WebDataset(job.folder, part, most, job.shards)
            case _:
                form = Parquet(job.folder, part, most, job.shards)
        _fill(job, form)
        job.shards.drop()
        version = meta_of(job.store).version
        _put(part / README, readme(identity.job, identity.form, form.files, made.pictures, version))
        # With a picture missing it is not what was asked for, and says so.
        _put(part / MARK, identity.mark(whole=not made.spoilt, pictures=made.pictures))
        sync_folder(part)
        part.rename(made.place)


@contextmanager
def _own_folder(part: Path, identity: Identity, made: Exported, shards: Shards) -> Iterator[None]:
    """A folder for us alone; of an earlier try whole shards are kept, and what is not ours is refused."""
    if os.path.lexists(part):
        # A kill may have come before the mark.
        empty = part.is_dir() and not part.is_symlink() and not any(part.iterdir())
        if not empty and (mark_in(part) is None):
            raise RunError(f"this is no export of ours; move it away: {part}")
        with _alone(part):
            _clear(part, {MARK, NOTES, *shards.files} if shards.files else set())
        made.begun_anew = not empty and not shards.files
    part.mkdir(exist_ok=True)
    with _alone(part):
        try:
            _put(part / MARK, identity.mark(whole=False, pictures=0))
            yield
        except KeyboardInterrupt:
            # What is whole by now is there for the next time.
            if not shards.files:
                shutil.rmtree(part, ignore_errors=True)
            raise
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def _clear(part: Path, keep: Collection[str]) -> None:
    """Remove all else from a folder of ours."""
    with os.scandir(part) as entries:
        others = [entry for entry in entries if entry.name not in keep]
    for entry in others:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            flock(handle, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another export is being written there: {path}") from None
        yield
    finally:
        os.close(handle)


def _write_sheet(job: _Job, part: Path) -> None:
    with _own_file(part) as file:
        _fill(job, Sheet(job.folder, file, job.found))
        if os.path.lexists(job.made.place):
            raise RunError(f"there is something already; remove it or name another place: {job.made.place}")
        part.rename(job.made.place)


@contextmanager
def _own_file(part: Path) -> Iterator[IO[bytes]]:
    """A file of our own. What stands there is dropped only when it is what a killed export leaves."""
    if os.path.lexists(part):
        if part.is_symlink() or not part.is_file() or not _is_rest(part):
            raise RunError(f"this is no export of ours; move it away: {part}")
        with _alone(part):
            part.unlink()
    with part.open("xb") as file, _alone(part):
        try:
            yield file
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _is_rest(part: Path) -> bool:
    head = "\ufefftask_id,image_index,".encode()
    with part.open("rb") as file:
        return head.startswith(file.read(len(head)))


def _put(path: Path, data: bytes) -> None:
    """A small file, durably."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)
