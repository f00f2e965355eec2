"""What ships beside the code, schemas and specs: in the wheel below `pipeline/_bundled`, in a checkout at the top."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from pipeline.errors import Bug

#: The kinds of bundled files, each a folder.
KINDS: Final = ("schemas", "specs")


def path(kind: str, name: str) -> Path:
    """Where a bundled file stands: `path("schemas", "gateways/mulerouter.json")`. *Raises* FileNotFoundError."""
    found = _folder(kind) / name
    if not found.is_file():
        raise FileNotFoundError(f"not bundled in {kind}: {name}")
    return found


def text(kind: str, name: str) -> str:
    """The text of a bundled file, as UTF-8. *Raises* FileNotFoundError."""
    return path(kind, name).read_text(encoding="utf-8")


def names(kind: str) -> tuple[str, ...]:
    """All bundled files of a kind (`specs`) or a folder of it (`schemas/gateways`): paths below it, sorted."""
    folder = _folder(kind)
    found = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return tuple(sorted(name.as_posix() for name in found if not any(part.startswith(".") for part in name.parts)))


def _folder(kind: str) -> Path:
    """The wheel's copy where there is one, else the checkout's folder."""
    if kind.partition("/")[0] not in KINDS:
        raise Bug(f"no such kind of bundled file: {kind}")
    # Wheels are unpacked when installed, so the package is a real folder; zip imports are not supported.
    package = Path(str(files("pipeline")))
    bundled = package / "_bundled" / kind
    return bundled if bundled.is_dir() else package.parent / kind
