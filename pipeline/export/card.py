"""What an export says of itself: the card that loaders and people read, and the mark that we know it by."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Hidden, so that no loader takes it for data.
MARK: Final = ".pipeline-export.json"
README: Final = "README.md"
_MARK_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """Which export this is: two of the same identity hold the same."""

    run_id: str
    job: str
    form: str
    #: Of the pictures and their order, as they were chosen.
    digest: str
    spec_sha256: str
    shard_mb: int

    def is_of(self, mark: Mapping[str, object] | None) -> bool:
        """Whether a mark is of this very export."""
        return mark is not None and all(mark.get(name) == getattr(self, name) for name in self.__slots__)

    def mark(self, *, whole: bool, pictures: int) -> bytes:
        """What is written beside the data."""
        said = {name: getattr(self, name) for name in self.__slots__}
        return (json.dumps({"pipeline_export": 1, **said, "pictures": pictures, "whole": whole}) + "\n").encode()


def mark_in(place: Path) -> Mapping[str, object] | None:
    """The mark of an export; None where there is none of ours."""
    file = place / MARK
    try:
        if place.is_symlink() or file.is_symlink() or not file.is_file() or file.stat().st_size > _MARK_MAX:
            return None
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("pipeline_export") == 1 else None


def readme(job: str, form: str, files: Sequence[str], pictures: int, version: str) -> bytes:
    """A dataset card: `load_dataset` reads from its head which files are data, whatever their names look like."""
    paths = "".join(f'    - "{path}"\n' for path in files)
    head = f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path:\n{paths}---\n"
    name = re.sub(r"[^a-z0-9_-]", "", job) or "a run"
    count = "1 picture" if pictures == 1 else f"{pictures:,} pictures"
    return (
        f"{head}\n# {name}\n\n{count}, made by generative models; prompt, model, seed, cost and SHA-256 of each stand "
        f"beside it.\nThe bytes are those that the gateways delivered. Form `{form}`, written by pipeline {version}.\n"
    ).encode()
