"""A picture's bytes for a dataset: exactly those that were received, or a word on why not."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Final

from pipeline.export.rows import Row
from pipeline.store.inside import is_digest, open_picture

#: Several times the largest picture that a run would have stored (bytes).
SIZE_MAX: Final = 256 * 1024 * 1024
_REMEDY: Final = "`pipeline verify` names all of them"


class Spoilt(Exception):  # noqa: N818 - a word of the house
    """This picture cannot be handed on: missing, damaged, or none of the run's own."""


def name_of(row: Row) -> str:
    """The name of a picture that no other has, in any run: its task and index. *Raises* Spoilt."""
    task_id, index = row["task_id"], row["image_index"]
    if not (isinstance(task_id, str) and is_digest(task_id) and isinstance(index, int) and 0 <= index < 1_000_000):
        raise Spoilt("its row names no task")
    return f"{task_id}-{index}"


def bytes_of(folder: Path, row: Row) -> bytes:
    """The picture of a row, compared with its row. *Raises* Spoilt."""
    with _opened(folder, row) as file:
        size: int = row["bytes"]
        if size > SIZE_MAX:
            raise Spoilt(f"has {size} bytes, which no picture of ours has")
        try:
            data = file.read(size + 1)
        except OSError as error:
            raise Spoilt(f"cannot be read ({error.strerror or error})") from None
    if len(data) != size or hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise Spoilt("its content changed since it was stored")
    return data


def look_at(folder: Path, row: Row) -> None:
    """Whether a picture that is only named is there, with its size; its content is not read. *Raises* Spoilt."""
    _opened(folder, row).close()


def _opened(folder: Path, row: Row) -> BinaryIO:
    """The picture of a row, of the size that the row says. *Raises* Spoilt.

    A folder may come from a stranger: only plain files among the run's own pictures are opened, through no link.
    """
    try:
        handle = open_picture(folder, row["path"])
    except FileNotFoundError:
        raise Spoilt("missing, a row names it") from None
    except (OSError, ValueError) as error:
        raise Spoilt(f"is no ordinary file ({getattr(error, 'strerror', None) or error})") from None
    file = os.fdopen(handle, "rb")
    if (size := os.fstat(handle).st_size) != row["bytes"]:
        file.close()
        raise Spoilt(f"has {size} bytes, its row says {row['bytes']}")
    return file
