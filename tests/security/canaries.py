"""Canary secrets: planted in every slot, recognised in every form, looked for in every byte of a folder."""

from __future__ import annotations

import base64
import contextlib
import random
import re
import stat
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

_END: Final = 8
_LETTERS: Final = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Canaries:
    """{slot: secret}. Each secret is random, so that not even eight letters of it can come from anywhere else."""

    secrets: Mapping[str, str]

    @classmethod
    def hatch(cls, seed: int, *slots: str) -> Canaries:
        """One secret a slot, with the letters that Base64 and URLs write differently."""
        dice = random.Random(seed)
        return cls({slot: "".join(dice.choices(_LETTERS, k=40)) + "~+/" + _end(dice) for slot in slots})

    def __getitem__(self, slot: str) -> str:
        return self.secrets[slot]

    def hits(self, data: bytes, *, apart: frozenset[str] = frozenset()) -> list[str]:
        """`slot (form)` of every secret found in these bytes, without those of the slots set apart."""
        return [
            f"{slot} ({form})"
            for slot, secret in self.secrets.items()
            if slot not in apart
            for form, needle in forms(secret).items()
            if needle in data
        ]


def _end(dice: random.Random) -> str:
    return "".join(dice.choices(_LETTERS, k=12))


def forms(secret: str) -> dict[str, bytes]:
    """{name: bytes} of every form in which a secret can be read off."""
    data = secret.encode()
    found = {
        "plain": data,
        "url": quote(secret, safe="").encode(),
        "form": quote_plus(secret).encode(),
        "hex": data.hex().encode(),
        "HEX": data.hex().upper().encode(),
        "reversed": data[::-1],
        "json": secret.replace("/", "\\/").encode(),
        "wide": secret.encode("utf-16-le"),
        "first 8": data[:_END],
        "last 8": data[-_END:],
    }
    for before in range(3):
        first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        found[f"base64 at {before}"] = base64.b64encode(b"\0" * before + data)[first:last]
        found[f"base64url at {before}"] = base64.urlsafe_b64encode(b"\0" * before + data)[first:last]
    return found


def every_byte(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder, its name with it, and what is packed inside it: columns, and answers in Base64."""
    for path in sorted(folder.rglob("*")):
        yield path, path.name.encode("utf-8", "surrogateescape")
        if not stat.S_ISREG(path.lstat().st_mode):
            continue
        data = path.read_bytes()
        yield path, data
        if path.name.startswith("blackbox"):
            for text in re.findall(rb'"body":"([^"]*)"', data):
                yield path, base64.b64decode(text)
        if path.suffix in {".arrow", ".parquet"}:
            yield path, _columns(path)


def _columns(path: Path) -> bytes:
    import pyarrow.feather
    import pyarrow.parquet

    read = pyarrow.feather.read_table if path.suffix == ".arrow" else pyarrow.parquet.read_table
    table = read(path)
    return repr((table.schema, table.to_pylist())).encode("utf-8", "backslashreplace")


def search(
    canaries: Canaries, folder: Path, *, apart: frozenset[str] = frozenset(), skip: tuple[str, ...] = ()
) -> list[str]:
    """`file: slot (form)` of every hit below a folder; files whose path begins with one of `skip` are the planter's."""
    found = []
    for path, data in every_byte(folder):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(skip or ("\0",)):
            found += [f"{name}: {hit}" for hit in canaries.hits(data, apart=apart)]
    return list(dict.fromkeys(found))


def open_to_others(folder: Path) -> list[str]:
    """Paths of a run folder that hold the store or answers and can be read by others."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            private = path.name.startswith(("state.db", "blackbox", "control"))
            if private and stat.S_IMODE(path.lstat().st_mode) & 0o077:
                found.append(str(path))
        if stat.S_IMODE(folder.lstat().st_mode) & 0o077:
            found.append(str(folder))
    return found
