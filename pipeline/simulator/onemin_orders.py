"""What a call to 1min.ai's emulator may ask: the rules of its body, by the page, stricter where it is silent.

*Source* - the vendor's page for IMAGE_EDITOR / qwen-image-edit-plus, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.simulator.books import Books
from pipeline.simulator.orders import Order
from pipeline.simulator.pictures import SeenPicture

GATEWAY: Final = "1min"
MODEL: Final = "qwen-image-edit-plus"
#: 10 MB for an input (documented); MB is read as 2^20 bytes, the laxer: ours.
INPUT_MAX: Final = 10 * 2**20
NEGATIVE_PROMPT_MAX: Final = 500
SEED_MAX: Final = 2_147_483_647
SIDE_MIN, SIDE_MAX, N_MAX, EDIT_AREA = 512, 2048, 6, 1024 * 1024

_FIELDS: Final = ("type", "model", "promptObject")
_WANTED: Final = (
    *("imageUrl", "prompt", "n", "additional_images", "width", "height"),
    *("prompt_extend", "negative_prompt", "seed"),
)


def read_order(
    books: Books, body: Mapping[str, object], occasion: str, now: float
) -> tuple[Order | None, tuple[SeenPicture, ...], list[str]]:
    """A request body as an order, or everything that is wrong with it. Unknown fields are wrong: ours, the stricter."""
    wrong = [f"{key}: unknown field, must be one of {', '.join(_FIELDS)}" for key in body if key not in _FIELDS]
    if body.get("type") != "IMAGE_EDITOR":
        wrong.append("type: must be IMAGE_EDITOR")
    if body.get("model") != MODEL:
        wrong.append(f"model: must be {MODEL}")
    wanted = body.get("promptObject")
    if not isinstance(wanted, dict):
        return None, (), [*wrong, "promptObject: required, must be an object"]
    wrong += [f"promptObject.{key}: unknown field" for key in wanted if key not in _WANTED]
    wrong += _plain_faults(wanted)
    prompt = wanted.get("prompt", "")
    pictures = _pictures(books, wanted, occasion, now, wrong)
    width, height = _size(wanted, pictures, wrong)
    if wrong:
        return None, (), wrong
    seed, n = wanted.get("seed"), wanted["n"]
    order = Order(
        gateway=GATEWAY,
        model=MODEL,
        prompt=str(prompt),
        negative_prompt=str(wanted.get("negative_prompt", "")),
        width=width,
        height=height,
        n=int(n),
        seed=seed if isinstance(seed, int) else None,
        inputs=tuple(picture.digest for picture in pictures),
        micros_per_image=round(books.faults.onemin_credits_per_image * 1_000_000),
        unit="1min-credit",
        billed_whole=True,
        notes={"promptObject": wanted},
    )
    return order, pictures, []


def _plain_faults(wanted: Mapping[str, object]) -> list[str]:
    wrong = []
    prompt, negative = wanted.get("prompt"), wanted.get("negative_prompt", "")
    if not isinstance(prompt, str) or not prompt.strip():
        wrong.append("promptObject.prompt: required, must be a string")
    if not isinstance(negative, str) or len(negative) > NEGATIVE_PROMPT_MAX:
        wrong.append(f"promptObject.negative_prompt: must be a string of at most {NEGATIVE_PROMPT_MAX} characters")
    if not _is_int(wanted.get("n"), 1, N_MAX):
        wrong.append(f"promptObject.n: required, must be a number from 1 to {N_MAX}")
    if not isinstance(wanted.get("prompt_extend", True), bool):
        wrong.append("promptObject.prompt_extend: must be a boolean")
    if "seed" in wanted and not _is_int(wanted["seed"], 0, SEED_MAX):
        wrong.append(f"promptObject.seed: must be a number from 0 to {SEED_MAX}")
    return wrong


def _pictures(
    books: Books, wanted: Mapping[str, object], occasion: str, now: float, wrong: list[str]
) -> tuple[SeenPicture, ...]:
    more = wanted.get("additional_images", [])
    if not isinstance(more, list) or len(more) > 2:
        wrong.append("promptObject.additional_images: must be an array of at most 2 paths")
        more = []
    named = [("imageUrl", wanted.get("imageUrl"))]
    named += [(f"additional_images[{index}]", path) for index, path in enumerate(more)]
    seen = []
    for field, path in named:
        upload = books.uploads.get((GATEWAY, path)) if isinstance(path, str) else None
        found = None if upload is None else books.uploaded(GATEWAY, upload.id, now)
        prompt = wanted.get("prompt")
        if upload is not None and books.strikes("lost_upload", f"{occasion}/{field}", str(prompt)):
            found = None
        if not isinstance(path, str) or not path:
            wrong.append(f"promptObject.{field}: required, must be the path of an asset")
        elif upload is None or found is None:
            wrong.append(f"promptObject.{field}: asset not found")
        elif upload.size_bytes > INPUT_MAX:
            wrong.append(f"promptObject.{field}: too large, at most 10 MB")
        else:
            seen.append(found)
    return tuple(seen)


def _size(wanted: Mapping[str, object], pictures: tuple[SeenPicture, ...], wrong: list[str]) -> tuple[int, int]:
    """Both sides as asked, or near 1024*1024 in the first picture's ratio. One side alone is wrong: ours."""
    width, height = wanted.get("width"), wanted.get("height")
    if "width" not in wanted and "height" not in wanted:
        first = pictures[0] if pictures else None
        ratio = first.width / first.height if first is not None and first.height else 1.0
        wide = (EDIT_AREA * ratio) ** 0.5
        return 16 * round(wide / 16), 16 * round(wide / ratio / 16)
    if not _is_int(width, SIDE_MIN, SIDE_MAX) or not _is_int(height, SIDE_MIN, SIDE_MAX):
        wrong.append(f"promptObject.width, promptObject.height: both must be numbers from {SIDE_MIN} to {SIDE_MAX}")
        return 0, 0
    return int(str(width)), int(str(height))


def _is_int(value: object, minimum: int, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum
