"""Names of picture files: what a rendered `outputs.path` becomes, safe on every file system."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from pipeline.plan.flaw import Flaw, Flawed

PATH_MAX: Final = 200
#: A name's bytes in UTF-8; file systems hold 255, and `-INDEX`, an extension and a temporary suffix come on top.
NAME_BYTES_MAX: Final = 200
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f-\x9f\\:*?"<>|\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def safe_path(rendered: str) -> str:
    """A relative path of safe names; letters that some file system refuses become `_`. *Raises* Flawed."""
    path = "outputs.path"
    if rendered.startswith("/"):
        raise Flawed(Flaw(path, "the path of a picture is absolute", "it must stay below images/", rendered[:80]))
    names = _UNSAFE.sub("_", unicodedata.normalize("NFC", rendered)).split("/")
    for name in names:
        if not name.strip() or name in {".", ".."}:
            raise Flawed(Flaw(path, f"the path of a picture has a part '{name}'", "name every folder", rendered[:80]))
    made = "/".join([_safe_name(name) for name in names])
    if len(made) > PATH_MAX or any(len(name.encode()) > NAME_BYTES_MAX for name in names):
        raise Flawed(Flaw(path, f"the path of a picture is longer than {PATH_MAX} letters", "use ids", rendered[:80]))
    return made


def _safe_name(name: str) -> str:
    made = name.strip().rstrip(". ")
    if made != name or not made:
        made += "_"
    if made[0] == ".":
        made = "_" + made[1:]
    return f"_{made}" if _DEVICES.fullmatch(made) else made


def names_of(path: str, n: int) -> list[str]:
    """The names of a task's n pictures, without extension, folded as the least discerning file system compares them."""
    folded = unicodedata.normalize("NFC", path.casefold())
    return [folded] if n == 1 else [f"{folded}-{index}" for index in range(n)]
