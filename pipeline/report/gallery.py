"""Thumbnails of a run, cached by the content of their pictures, and what looking at them showed: blank, repeated."""

from __future__ import annotations

import errno
import json
import os
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipeline.report.data import Entry, Links
from pipeline.report.inputs import Sources
from pipeline.report.pages import src_of
from pipeline.report.pixels import CHANGED, DAMAGED, MISSING, Job, Made
from pipeline.report.pool import made_of
from pipeline.store.durable import open_private, write_all
from pipeline.store.inside import Pictures, is_digest
from pipeline.values.artifact import Artifact
from pipeline.values.rows import ImageRow

THUMBS: Final = "thumbs"
INPUTS: Final = "inputs"
#: What was found out about each picture, beside the thumbnails: one line of JSON each.
FACTS: Final = "facts.jsonl"
#: Pictures whose hashes differ in no more bits look alike.
NEAR: Final = 3
#: Version of the thumbnails and of their facts: others are made anew.
_VERSION: Final = 1
_BLANK: Final = 1 << 64
#: The hash is looked up by each of its four quarters: three differing bits spare at least one of them.
_QUARTERS: Final = (0, 16, 32, 48)
_STEPS_MAX: Final = 200

#: Told how many thumbnails were made.
Progress = Callable[[int], None]


class Gallery:
    """The thumbnails below a report's folder. `make` first, then `links` for each row."""

    def __init__(self, folder: Path, place: Path, sources: Sources) -> None:
        self._folder = folder
        self._pictures = Pictures(folder)
        self._thumbs = place / THUMBS
        self._inputs = place / INPUTS
        self._sources = sources
        #: {digest: hash, and the bit for a blank one}; a hundred bytes a picture.
        self._facts: dict[bytes, int] = {}
        self._problems: dict[str, str] = {}
        self._alike: dict[str, _Alike] = {}

    # --- making ---

    def make(self, images: Iterable[ImageRow], progress: Progress | None = None) -> int:
        """Make what is missing; answers how many were made. *Raises* OSError when the disk refuses."""
        if self._thumbs.is_symlink():
            raise OSError(errno.ELOOP, "a link where a folder belongs", str(self._thumbs))
        self._thumbs.mkdir(mode=0o700, exist_ok=True)
        self.load()
        handle = open_private(self._thumbs / FACTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        count = 0
        try:
            for made in made_of(self._wanted(images)):
                self._note(handle, made)
                count += not made.problem
                if progress is not None:
                    progress(count)
        finally:
            os.close(handle)
        return count

    def load(self) -> None:
        """Take what earlier reports found out; `make` does so by itself."""
        path = self._thumbs / FACTS
        if path.is_symlink() or not path.is_file():
            return
        with path.open("rb") as lines:
            for line in lines:
                with suppress(ValueError, TypeError, KeyError):  # torn by a kill
                    found = json.loads(line)
                    if found["v"] == _VERSION:
                        self._facts[bytes.fromhex(found["sha256"])] = int(found["dhash"], 16) | found["blank"] * _BLANK

    def _note(self, handle: int, made: Made) -> None:
        if made.problem:
            self._problems[made.sha256] = made.problem
            return
        self._facts[bytes.fromhex(made.sha256)] = made.dhash | made.blank * _BLANK
        line = {"v": _VERSION, "sha256": made.sha256, "dhash": f"{made.dhash:016x}", "blank": made.blank}
        write_all(handle, b"\n" + json.dumps(line).encode() + b"\n")

    def _wanted(self, images: Iterable[ImageRow]) -> Iterator[Job]:
        asked: set[bytes] = set()
        for image in images:
            artifact = image.artifact
            if not is_digest(artifact.sha256):
                continue  # no run wrote that; it must not become the name of a file
            key, path = bytes.fromhex(artifact.sha256), self._folder / artifact.path
            if key not in asked and not self._has(artifact.sha256) and not self._problem(artifact):
                asked.add(key)
                yield Job(artifact.sha256, path, self._thumb(artifact.sha256))
            for digest, source in self._sources.of(image.task):
                key = bytes.fromhex(digest)
                if key not in asked and not (self._has(digest) and self._preview(digest).is_file()):
                    asked.add(key)
                    yield Job(digest, source, self._thumb(digest), self._preview(digest))

    def _problem(self, artifact: Artifact) -> str:
        """What a look at the name alone shows."""
        try:
            found = self._pictures.look(artifact.path)
        except OSError:
            return MISSING
        if not stat.S_ISREG(found.st_mode):
            return DAMAGED
        return CHANGED if found.st_size != artifact.size_bytes else ""

    def _has(self, sha256: str) -> bool:
        return bytes.fromhex(sha256) in self._facts and self._thumb(sha256).is_file()

    def _thumb(self, sha256: str) -> Path:
        return self._thumbs / sha256[:2] / f"{sha256}.webp"

    def _preview(self, sha256: str) -> Path:
        return self._inputs / sha256[:2] / f"{sha256}.webp"

    # --- showing ---

    def links(self, entry: Entry) -> Links:
        """Where a row's pictures are, and what is the matter with them; rows come in the order of the store."""
        flags: list[str] = []
        src = thumb = None
        if entry.image is not None:
            artifact = entry.image.artifact
            problem = self._problem(artifact) or self._problems.get(artifact.sha256, "")
            src = None if problem == MISSING else src_of(artifact.path)
            known = self._facts.get(bytes.fromhex(artifact.sha256)) if is_digest(artifact.sha256) else None
            if known is not None:
                thumb = f"{THUMBS}/{artifact.sha256[:2]}/{artifact.sha256}.webp"
                flags += self._looks(entry, known)
            if problem:
                flags.append(problem)
            if entry.image.superseded:
                flags.append("superseded")
        inputs, troubles = self._input_links(entry)
        return Links(src, thumb, (*flags, *troubles), inputs)

    def _input_links(self, entry: Entry) -> tuple[dict[int, tuple[str | None, str | None]], list[str]]:
        found: dict[int, tuple[str | None, str | None]] = {}
        troubles = []
        for place, source in enumerate(entry.task.task.inputs):
            digest = self._sources.digest(source)
            if digest is None:
                continue
            if bytes.fromhex(digest) in self._facts:
                tail = f"{digest[:2]}/{digest}.webp"
                found[place] = (f"{INPUTS}/{tail}", f"{THUMBS}/{tail}")
            elif entry.image is not None:
                troubles.append(f"input-{self._problems.get(digest, MISSING)}:{place + 1}")
        return found, troubles

    def _looks(self, entry: Entry, known: int) -> Iterator[str]:
        if known & _BLANK:
            yield "blank"
            return
        alike = self._alike.setdefault(entry.task.task.step, _Alike())
        if earlier := alike.seen(known, entry.id):
            yield f"near-duplicate:{earlier}"


class _Alike:
    """Hashes of the pictures so far, of which the next one may be a repetition."""

    __slots__ = ("_before", "_hashes", "_latest", "_names")

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._names: list[str] = []
        #: {quarter and its value: the latest picture that has it}, and of each picture and quarter the one before.
        self._latest = array("q", [-1]) * (len(_QUARTERS) << 16)
        self._before = array("q")

    def seen(self, dhash: int, name: str) -> str | None:
        """The earlier picture that looks like this one; otherwise this one is kept for those to come."""
        keys = [number << 16 | dhash >> shift & 0xFFFF for number, shift in enumerate(_QUARTERS)]
        for quarter, key in enumerate(keys):
            place, steps = self._latest[key], 0
            # A job of ten thousand pictures in one style must not compare each with all.
            while place >= 0 and steps < _STEPS_MAX:
                if (dhash ^ self._hashes[place]).bit_count() <= NEAR:
                    return self._names[place]
                place, steps = self._before[place * len(_QUARTERS) + quarter], steps + 1
        for key in keys:
            self._before.append(self._latest[key])
            self._latest[key] = len(self._hashes)
        self._hashes.append(dhash)
        self._names.append(name)
        return None
