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
_DEVICES: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])\s*(\..*)?",
    re.IGNORECASE,
)
#: A folder of such a name could be in the way of a picture: `a` becomes `a.png`.
_PICTURE: Final = re.compile(r".*\.(png|jpe?g|webp|gif|avif|bmp|tiff?|svg|bin)", re.IGNORECASE)
#: Letters that some file systems do not see when they compare names.
_UNSEEN: Final = re.compile(r"[\u00ad\u200b-\u200f\u2060\u206a-\u206f\ufe00-\ufe0f\ufeff]")


def safe_path(rendered: str) -> str:
    """A relative path of safe names; letters that some file system refuses become `_`. *Raises* Flawed."""
    path = "outputs.path"
    if rendered.startswith("/"):
        raise Flawed(Flaw(path, "the path of a picture is absolute", "it must stay below images/", rendered[:80]))
    names = _UNSAFE.sub("_", unicodedata.normalize("NFC", rendered)).split("/")
    for name in names:
        if not name.strip() or name in {".", ".."}:
            raise Flawed(Flaw(path, f"the path of a picture has a part '{name}'", "name every folder", rendered[:80]))
    last = len(names) - 1
    made = "/".join([_safe_name(name, folder=place < last) for place, name in enumerate(names)])
    if len(made) > PATH_MAX or any(len(name.encode()) > NAME_BYTES_MAX for name in names):
        raise Flawed(Flaw(path, f"the path of a picture is longer than {PATH_MAX} letters", "use ids", rendered[:80]))
    return made


def _safe_name(name: str, *, folder: bool) -> str:
    made = name.strip().rstrip(". ")
    if made != name or not made:
        made += "_"
    if made[0] in ".-":
        # A hidden file, and what a shell's commands take for an option.
        made = "_" + made[1:]
    if folder and _PICTURE.fullmatch(made):
        made += "_"
    return f"_{made}" if _DEVICES.fullmatch(made) else made


def names_of(path: str, n: int) -> list[str]:
    """The names of a task's n pictures, without extension, folded as the least discerning file system compares them."""
    folded = path.casefold()
    if not folded.isascii():
        # Composed and decomposed letters are one, and so are cases that only show when letters are taken apart.
        apart = unicodedata.normalize("NFD", _UNSEEN.sub("", path))
        folded = unicodedata.normalize("NFD", apart.casefold())
    return [folded] if n == 1 else [f"{folded}-{index}" for index in range(n)]
