"""The story of a run: `log.jsonl`, one line per fact, for people and scripts; never read back by us.

No link, no prompt, no secret enters it. It is flushed, not fsynced: the store is the truth.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

from pipeline.engine.facts import Fact, LinksRenewed, Settled, TaskAdmitted
from pipeline.store.durable import end_of, open_private, taken_back, write_all
from pipeline.store.redact import without_queries
from pipeline.store.room import is_full
from pipeline.values.artifact import Artifact
from pipeline.values.digest import JSON
from pipeline.values.reply import Fault

#: Words of the world are cut here.
_WORDS_MAX: Final = 300
#: ASCII alone: a vendor's words can break no line for any reader, and move no terminal.
_JSON: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


class Story:
    """The appender of one `log.jsonl` (0600)."""

    __slots__ = ("_clock", "_handle", "_missed", "_relief", "_size", "_torn")

    def __init__(self, path: Path, *, clock: Callable[[], int], relief: Callable[[], bool] | None = None) -> None:
        """Open for appending; `clock` tells UTC microseconds. A line that a crash tore is ended before the next.

        `relief` makes room when the disk is full, and says whether it did.
        """
        self._clock = clock
        self._relief = relief
        #: Facts that the full disk did not take.
        self._missed = 0
        self._handle = open_private(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._size, self._torn = end_of(self._handle)

    def tell(self, facts: Sequence[Fact]) -> None:
        """Append these facts, in one write. What a full disk does not take is left off, and counted once there is room:
        the store has it. *Raises* OSError for a broken disk.
        """
        if not facts:
            return
        at = self._clock()
        while True:
            lines = [line_of(fact, at) for fact in facts]
            if self._missed:
                lines.insert(0, {"at": at, "fact": "Missed", "missed": self._missed})
            text = "".join(f"{_JSON.encode(line)}\n" for line in lines)
            data = b"\n" * self._torn + text.encode()
            try:
                write_all(self._handle, data)
            except OSError as exc:
                self._size, self._torn = taken_back(self._handle, self._size)
                if not is_full(exc):
                    raise
                if self._relief is None or not self._relief():
                    self._missed += len(facts)
                    return
            else:
                self._size, self._torn, self._missed = self._size + len(data), False, 0
                return

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def line_of(fact: Fact, at: int) -> dict[str, JSON]:
    """One fact as a flat line: `at`, `fact`, then what it says without links and prompts."""
    line: dict[str, JSON] = {"at": at, "fact": type(fact).__name__}
    match fact:
        case TaskAdmitted(task):
            line |= {"task": task.number, "id": task.id, "step": task.step, "lane": task.lane, "n": task.n}
            if task.row_id is not None:
                line["row_id"] = task.row_id
        case Settled():
            _tell(line, fact, leave_out=("links", "revised_prompt"))
            line["links"] = len(fact.links)
        case LinksRenewed():
            line |= {"attempt": fact.attempt, "links": len(fact.links)}
        case _:
            _tell(line, fact)
    return line


def _tell(line: dict[str, JSON], value: Fact | Fault | Artifact, leave_out: tuple[str, ...] = ()) -> None:
    """Add to a line what a value says, by the names of its fields; nothing is said of what is empty."""
    for name in value.__slots__:
        content: object = getattr(value, name)
        if content is None or content == "" or name in leave_out:
            continue
        match content:
            case str():
                line[name] = _word(content)
            case bool() | int() | float():
                line[name] = content
            case Fault() | Artifact():
                inner: dict[str, JSON] = {}
                _tell(inner, content)
                line[name] = inner
            case _:
                raise TypeError(f"no plain word for the story: {type(content).__name__}")


def _word(text: str) -> str:
    # A member of an enumeration is written as its value.
    return without_queries(str(text))[:_WORDS_MAX]
