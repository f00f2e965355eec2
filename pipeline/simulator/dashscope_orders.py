"""The rules of DashScope's request bodies: messages for calls, a prompt for tasks, and what may stand in both.

*Source* - the vendor's pages on image editing, the Qwen image API and its error codes, read 2026-11; what they do not
say is marked ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.simulator.orders import Order
from pipeline.simulator.pictures import PictureLimits, SeenPicture
from pipeline.values.digest import JSON

NAME: Final = "dashscope"

#: {model: micro-USD for each image}, international price page.
PRICES: Final[Mapping[str, int]] = {
    "qwen-image-2.0-pro": 75_000,
    "qwen-image-2.0": 35_000,
    "qwen-image-max": 75_000,
    "qwen-image-plus": 30_000,
    "qwen-image": 35_000,
    "qwen-image-edit-max": 75_000,
    "qwen-image-edit-plus": 30_000,
    "qwen-image-edit": 45_000,
}
#: {model: the dates of its snapshots}; a snapshot costs what its model costs: ours.
SNAPSHOTS: Final[Mapping[str, tuple[str, ...]]] = {
    "qwen-image-2.0-pro": ("2026-03-03", "2026-04-22", "2026-06-22"),
    "qwen-image-2.0": ("2026-03-03",),
    "qwen-image-max": ("2025-12-30",),
    "qwen-image-plus": ("2026-01-09",),
    "qwen-image-edit-max": ("2026-01-16",),
    "qwen-image-edit-plus": ("2025-10-30", "2025-12-15"),
}
#: The models of the asynchronous path.
TASK_MODELS: Final = ("qwen-image-plus", "qwen-image")
_TEXT_ONLY: Final = ("qwen-image-max", *TASK_MODELS)
_FUSED: Final = ("qwen-image-2.0-pro", "qwen-image-2.0")
#: Models with a list of sizes; the first is the default.
SIZES: Final = ("1664*928", "1472*1104", "1328*1328", "1104*1472", "928*1664")
#: "best between 384 and 3072": taken as a rule, the stricter reading: ours. 10 MB as 2^20 bytes: ours.
PICTURES: Final = PictureLimits(384, 3072, 10 * 2**20, ("JPEG", "MPO", "PNG", "BMP", "TIFF", "WEBP", "GIF"))
#: A part that is a data URI, in bytes (error code page).
DATA_URI_MAX: Final = 10_485_760
#: What is longer is cut without a word.
PROMPT_MAX: Final = 800
NEGATIVE_PROMPT_MAX: Final = 500
SEED_MAX: Final = 2_147_483_647
N_MAX: Final = 6
IMAGES_MAX: Final = 3
#: Sides of an edit, area of a 2.0 picture, and the area of an edit that asks for no size.
SIDE_MIN: Final = 512
SIDE_MAX: Final = 2048
AREA_MIN: Final = 512 * 512
AREA_MAX: Final = 2048 * 2048
EDIT_AREA: Final = 1024 * 1024
STEP: Final = 16

URL_ERROR: Final = (
    "url error, please check url\uff01 For details, see: https://help.aliyun.com/zh/model-studio/error-code#error-url"
)
_SIZE: Final = re.compile(r"([1-9]\d{0,3})\*([1-9]\d{0,3})", re.ASCII)
_DATED: Final = re.compile(r"(.+)-(\d{4}-\d{2}-\d{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a request is refused."""

    message: str
    code: str = "InvalidParameter"
    status: int = 400


#: Finds an input picture by what stands in the body; a sentence on what is wrong with it.
Look = Callable[[str], SeenPicture | Wrong]


def family(model: object) -> str | None:
    """The name on the price list that a model goes by; None: there is no such model."""
    if not isinstance(model, str):
        return None
    if model in PRICES:
        return model
    dated = _DATED.fullmatch(model)
    return dated[1] if dated is not None and dated[2] in SNAPSHOTS.get(dated[1], ()) else None


def read_call(body: Mapping[str, object], look: Look) -> tuple[Order, tuple[SeenPicture, ...]] | Wrong:
    """A synchronous call as an order. *Source* - one message, one text, images before it in their order."""
    asked = body.get("input")
    messages = asked.get("messages") if isinstance(asked, dict) and set(asked) == {"messages"} else None
    if not isinstance(messages, list):
        return Wrong("Required body invalid: input.messages, and nothing else in input, is needed")
    if len(messages) != 1:
        return Wrong("messages length only support 1")
    message = messages[0]
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(message, dict) or set(message) != {"role", "content"} or message["role"] != "user":
        return Wrong("a message has the role user and a content, and nothing else")
    if not isinstance(content, list):
        return Wrong("content must be a list of parts")
    texts: list[str] = []
    images: list[str] = []
    for part in content:
        if not isinstance(part, dict) or len(part) != 1 or not set(part) <= {"text", "image"}:
            return Wrong("a part of content is one text or one image")
        ((kind, value),) = part.items()
        if not isinstance(value, str) or not value.strip():
            return Wrong(f"{kind} must be a text")
        (texts if kind == "text" else images).append(value)
    name = family(body.get("model"))
    most = 0 if name in _TEXT_ONLY else IMAGES_MAX
    if len(texts) > 1 or len(images) > most:
        return Wrong(f"content length only support {most + 1}, of which one is a text")
    if not texts or (not images and name not in (*_TEXT_ONLY, *_FUSED)):
        return Wrong("lack of image or text")
    seen: list[SeenPicture] = []
    for value in images:
        found = look(value)
        if isinstance(found, Wrong):
            return found
        seen.append(found)
    parameters = body.get("parameters", {})
    return _ordered(str(body["model"]), texts[0], parameters, tuple(seen), {"mode": "call"})


def read_task(body: Mapping[str, object]) -> tuple[Order, tuple[SeenPicture, ...]] | Wrong:
    """An asynchronous call as an order. The negative prompt may stand with the prompt or with the parameters."""
    asked = body.get("input")
    if not isinstance(asked, dict) or not set(asked) <= {"prompt", "negative_prompt"}:
        return Wrong("input holds prompt, and negative_prompt if one is wanted")
    prompt = asked.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        return Wrong("Required parameter(prompt) missing or invalid")
    parameters = body.get("parameters", {})
    if isinstance(parameters, dict) and "negative_prompt" in asked:
        if "negative_prompt" in parameters:
            return Wrong("negative_prompt stands twice")
        parameters = {**parameters, "negative_prompt": asked["negative_prompt"]}
    return _ordered(str(body["model"]), prompt, parameters, (), {"mode": "task"})


def _ordered(
    model: str, prompt: str, parameters: object, seen: tuple[SeenPicture, ...], notes: Mapping[str, JSON]
) -> tuple[Order, tuple[SeenPicture, ...]] | Wrong:
    name = family(model) or ""
    if not isinstance(parameters, dict):
        return Wrong("parameters must be an object")
    known = {"n", "negative_prompt", "watermark", "seed", "size", "prompt_extend"}
    if name == "qwen-image-edit":
        known -= {"size", "prompt_extend"}
    if unknown := sorted(set(parameters) - known):
        return Wrong(f"parameters.{unknown[0]} is not supported by {model}")
    negative, seed, n = parameters.get("negative_prompt", ""), parameters.get("seed"), parameters.get("n", 1)
    if not isinstance(negative, str):
        return Wrong("negative_prompt must be a text")
    for key in ("watermark", "prompt_extend"):
        if not isinstance(parameters.get(key, False), bool):
            return Wrong(f"{key} must be true or false")
    if "seed" in parameters and not _is_int(seed, 0, SEED_MAX):
        return Wrong(f"seed must be an integer from 0 to {SEED_MAX}")
    most = 1 if name in (*_TEXT_ONLY, "qwen-image-edit") else N_MAX
    if not _is_int(n, 1, most):
        return Wrong(f"num_images_per_prompt must be {'1' if most == 1 else f'from 1 to {most}'}")
    sides = _sides(name, parameters.get("size"), seen, given="size" in parameters)
    if isinstance(sides, Wrong):
        return sides
    order = Order(
        gateway=NAME,
        model=model,
        prompt=prompt[:PROMPT_MAX],
        negative_prompt=negative[:NEGATIVE_PROMPT_MAX],
        width=sides[0],
        height=sides[1],
        n=n if isinstance(n, int) else 1,
        seed=seed if isinstance(seed, int) else None,
        inputs=tuple(picture.digest for picture in seen),
        micros_per_image=PRICES[name],
        notes={**notes, "extends": bool(parameters.get("prompt_extend", True)) and "prompt_extend" in known},
    )
    return order, seen


def _sides(name: str, size: object, seen: tuple[SeenPicture, ...], *, given: bool) -> tuple[int, int] | Wrong:
    """The size that is made: sides on the nearest multiple of 16."""
    if name in _TEXT_ONLY:
        chosen = size if given else SIZES[0]
        if chosen not in SIZES:
            return Wrong(f"the size does not match the allowed size {', '.join(SIZES)}")
        width, _, height = str(chosen).partition("*")
        return int(width), int(height)
    if not given:
        return _own_sides(name, seen)
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is None:
        return Wrong("size must be width*height")
    width_asked, height_asked = int(match[1]), int(match[2])
    if name in _FUSED:
        if not AREA_MIN <= width_asked * height_asked <= AREA_MAX:
            return Wrong("the total pixels of size must be between 512*512 and 2048*2048")
    elif not all(SIDE_MIN <= side <= SIDE_MAX for side in (width_asked, height_asked)):
        return Wrong(f"width and height of size must be between {SIDE_MIN} and {SIDE_MAX}")
    return _stepped(width_asked), _stepped(height_asked)


def _own_sides(name: str, seen: tuple[SeenPicture, ...]) -> tuple[int, int]:
    """2.0: 2048*2048, or the last picture's size; edits: near 1024*1024 in its ratio. Of a URL: a square, ours."""
    if not seen:
        return SIDE_MAX, SIDE_MAX
    last = seen[-1]
    if name in _FUSED and last.width and AREA_MIN <= last.width * last.height <= AREA_MAX:
        return _stepped(last.width), _stepped(last.height)
    ratio = last.width / last.height if last.height else 1.0
    width = math.sqrt(EDIT_AREA * ratio)
    return _stepped(width), _stepped(width / ratio)


def _stepped(side: float) -> int:
    return max(STEP, STEP * round(side / STEP))


def _is_int(value: object, minimum: int, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum
