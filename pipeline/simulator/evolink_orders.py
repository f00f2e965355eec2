"""What Evolink takes for a request of its Qwen image models: every field, its bounds, and what it costs.

*Source* - API pages of qwen-image-edit-plus and qwen-image-edit, the API schema of the 3.0 models and the public price
catalogue, read 2026-11; what they do not say is marked ours.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pipeline.simulator.orders import Order
from pipeline.simulator.pictures import SeenPicture

NAME: Final = "evolink"
UNIT: Final = "evolink-credit"

PROMPT_MAX: Final[Mapping[str, int]] = {
    "qwen-image-edit-plus": 2000,
    "qwen-image-edit": 2000,
    "qwen-image-3.0": 4500,
    "qwen-image-3.0-pro": 4500,
}
#: {model: 10^-6 credits for each picture, at 1K and at 2K}, from the price catalogue.
PRICES: Final[Mapping[str, tuple[int, int]]] = {
    "qwen-image-edit-plus": (1_500_000, 1_500_000),
    "qwen-image-edit": (2_300_000, 2_300_000),
    "qwen-image-3.0": (1_836_000, 1_836_000),
    "qwen-image-3.0-pro": (2_448_000, 4_590_000),
}
#: 10^-6 credits for each input picture of the 3.0 models, once for each call.
INPUT_PRICE: Final = 183_600
SEED_MAX: Final = 2_147_483_647
SIDE_MIN, SIDE_MAX, N_MAX, INPUTS_MAX = 512, 2048, 6, 3
#: The area near which an edit without a size is made.
EDIT_AREA: Final = 1024 * 1024
#: Area and ratio of a size in pixels, 3.0 models; a picture above `TIER_AREA` is billed as 2K: ours.
AREA_MIN, AREA_MAX, RATIO_MAX, SIDE_ABOVE, TIER_AREA = 262_144, 4_194_304, 16, 14, 1024 * 1024
CALLBACK_MAX: Final = 2048
#: {ratio: size at 1K, size at 2K}; the transposed ratios are the transposes.
_UPRIGHT: Final[Mapping[str, tuple[tuple[int, int], tuple[int, int]]]] = {
    "1:1": ((1024, 1024), (2048, 2048)),
    "2:3": ((832, 1248), (1664, 2496)),
    "3:4": ((864, 1152), (1770, 2360)),
    "4:5": ((896, 1120), (1792, 2240)),
    "9:16": ((800, 1424), (1530, 2720)),
    "21:9": ((1568, 672), (3122, 1338)),
}
_SIZE: Final = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)
_PLAIN_FIELDS: Final = ("model", "prompt", "image_urls", "callback_url")
_FIELDS: Final = (*_PLAIN_FIELDS, "n", "negative_prompt", "size", "prompt_extend", "watermark", "seed")
#: {model: its fields}; unknown ones are wrong: ours, the stricter.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "qwen-image-edit-plus": _FIELDS,
    "qwen-image-edit": _PLAIN_FIELDS,
    "qwen-image-3.0": (*_FIELDS, "quality"),
    "qwen-image-3.0-pro": (*_FIELDS, "quality"),
}


def _ratios() -> dict[str, tuple[tuple[int, int], tuple[int, int]]]:
    made = dict(_UPRIGHT)
    for ratio, ((width, height), (wide, high)) in _UPRIGHT.items():
        left, _, right = ratio.partition(":")
        made.setdefault(f"{right}:{left}", ((height, width), (high, wide)))
    return made


RATIOS: Final[Mapping[str, tuple[tuple[int, int], tuple[int, int]]]] = _ratios()


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that is wrong with a request."""

    field: str
    what: str
    code: str = "invalid_parameters"


def read_order(
    model: str, body: Mapping[str, object], look: Callable[[str], SeenPicture | Wrong]
) -> tuple[Order | None, tuple[SeenPicture, ...], list[Wrong]]:
    """A request body as an order, or everything that is wrong with it."""
    new = model.startswith("qwen-image-3.0")
    known = ", ".join(FIELDS[model])
    wrong = [Wrong(key, f"unknown field, known fields are {known}") for key in body if key not in FIELDS[model]]
    wrong += _text_faults(model, body) + _choice_faults(body, new=new) + _callback_faults(body.get("callback_url"))
    pictures = _pictures(body.get("image_urls"), look, wrong, needed=not new)
    n = body.get("n", 1)
    if not _is_int(n, 1, N_MAX):
        wrong.append(Wrong("n", f"must be an integer from 1 to {N_MAX}"))
    width, height = (_new_size if new else _edit_size)(body, pictures, wrong)
    if wrong:
        return None, (), wrong
    seed, negative = body.get("seed"), body.get("negative_prompt")
    dear = body.get("quality") == "2K" or width * height > TIER_AREA
    # Which tier a size by pixels or by the model's own choice is billed in is not published: by its area, ours.
    # A ratio at 1K is 1K however many pixels that is.
    if body.get("size") in RATIOS:
        dear = body.get("quality") == "2K"
    order = Order(
        gateway=NAME,
        model=model,
        prompt=str(body["prompt"]),
        negative_prompt=negative if isinstance(negative, str) else "",
        width=width,
        height=height,
        n=n if isinstance(n, int) else 1,
        seed=seed if isinstance(seed, int) else None,
        inputs=tuple(picture.digest for picture in pictures),
        micros_per_image=PRICES[model][dear],
        unit=UNIT,
        micros_per_call=len(pictures) * INPUT_PRICE if new else 0,
    )
    return order, pictures, []


def _text_faults(model: str, body: Mapping[str, object]) -> list[Wrong]:
    prompt, negative = body.get("prompt"), body.get("negative_prompt")
    wrong = []
    if not isinstance(prompt, str) or not prompt.strip():
        wrong.append(Wrong("prompt", "must be a non-empty string"))
    elif len(prompt) > PROMPT_MAX[model]:
        wrong.append(Wrong("prompt", f"at most {PROMPT_MAX[model]} characters, has {len(prompt)}"))
    # A negative prompt above 500 characters is cut, not refused.
    if "negative_prompt" in body and not isinstance(negative, str):
        wrong.append(Wrong("negative_prompt", "must be a string"))
    return wrong


def _choice_faults(body: Mapping[str, object], *, new: bool) -> list[Wrong]:
    wrong = [
        Wrong(name, "must be true or false")
        for name in ("prompt_extend", "watermark")
        if not isinstance(body.get(name, True), bool)
    ]
    if "seed" in body and not _is_int(body["seed"], 0, SEED_MAX):
        wrong.append(Wrong("seed", f"must be an integer from 0 to {SEED_MAX}"))
    if new and body.get("quality", "1K") not in {"1K", "2K"}:
        wrong.append(Wrong("quality", "must be 1K or 2K"))
    return wrong


def _callback_faults(value: object) -> list[Wrong]:
    if value is None:
        return []
    if not isinstance(value, str) or len(value) > CALLBACK_MAX:
        return [Wrong("callback_url", f"must be a string of at most {CALLBACK_MAX} characters")]
    if not value.startswith("https://") or not is_public(value):
        return [Wrong("callback_url", "must be an HTTPS address that is not internal")]
    return []


def is_public(url: str) -> bool:
    """Whether a URL names a host that is not this machine's or a private network's own, and carries no user."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - asked for its ValueError
    except ValueError:
        return False
    if not host or "@" in parts.netloc or host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not any(letter.isspace() for letter in url)


def _pictures(
    value: object, look: Callable[[str], SeenPicture | Wrong], wrong: list[Wrong], *, needed: bool
) -> tuple[SeenPicture, ...]:
    if value is None and not needed:
        return ()
    least = 1 if needed else 0
    if not isinstance(value, list) or not least <= len(value) <= INPUTS_MAX:
        wrong.append(Wrong("image_urls", f"must be an array of {least} to {INPUTS_MAX} URLs"))
        return ()
    seen = []
    for index, text in enumerate(value):
        found = look(text) if isinstance(text, str) else Wrong("", "must be a string")
        if isinstance(found, Wrong):
            wrong.append(Wrong(f"image_urls[{index}]", found.what, found.code))
        else:
            seen.append(found)
    return tuple(seen)


def _edit_size(body: Mapping[str, object], pictures: tuple[SeenPicture, ...], wrong: list[Wrong]) -> tuple[int, int]:
    """The size asked for, or one near 1024x1024 in the last picture's ratio, in steps of 16 (ours)."""
    if "size" not in body:
        return _like(pictures, EDIT_AREA)
    size = body["size"]
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is None or not all(SIDE_MIN <= int(side) <= SIDE_MAX for side in match.groups()):
        wrong.append(Wrong("size", f"must be WIDTHxHEIGHT, each from {SIDE_MIN} to {SIDE_MAX}"))
        return 0, 0
    if body.get("n", 1) != 1:
        wrong.append(Wrong("size", "is only available when n is 1"))
    return int(match[1]), int(match[2])


def _new_size(body: Mapping[str, object], pictures: tuple[SeenPicture, ...], wrong: list[Wrong]) -> tuple[int, int]:
    """A ratio by its table, a size in pixels, or `auto`: the last picture's ratio at 2K, square without one (ours)."""
    size = body.get("size", "auto")
    if size == "auto":
        return _like(pictures, AREA_MAX)
    if isinstance(size, str) and size in RATIOS:
        return RATIOS[size][body.get("quality") == "2K"]
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is None:
        wrong.append(Wrong("size", f"must be auto, a ratio ({', '.join(RATIOS)}) or WIDTHxHEIGHT"))
        return 0, 0
    width, height = int(match[1]), int(match[2])
    if not AREA_MIN <= width * height <= AREA_MAX:
        wrong.append(Wrong("size", f"must have an area from {AREA_MIN} to {AREA_MAX} pixels"))
    if max(width, height) > RATIO_MAX * min(width, height) or min(width, height) <= SIDE_ABOVE:
        wrong.append(Wrong("size", f"must have a ratio up to {RATIO_MAX} and sides above {SIDE_ABOVE} pixels"))
    return width, height


def _like(pictures: tuple[SeenPicture, ...], area: int) -> tuple[int, int]:
    last = pictures[-1] if pictures else None
    ratio = last.width / last.height if last is not None and last.height else 1.0
    width = math.sqrt(area * ratio)
    return max(16, 16 * math.floor(width / 16)), max(16, 16 * math.floor(width / ratio / 16))


def _is_int(value: object, minimum: int, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum
