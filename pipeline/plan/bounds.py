"""Bounds: one task against its model's card; every flaw says what is supported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.plan.flaw import Flaw, nearest
from pipeline.plan.scalar import text_of
from pipeline.values.card import ModelCard, Parameter, PictureRule, SizeRule
from pipeline.values.digest import JSON
from pipeline.values.task import InlineInput, LocalInput, Task, UpstreamInput, UrlInput


def check_task(task: Task, card: ModelCard) -> list[Flaw]:
    """Every way in which a task is not what its model takes; each flaw says what is supported."""
    flaws: list[Flaw] = []
    name = card.name
    if task.operation not in card.operations:
        if task.inputs:
            flaws.append(
                Flaw("images", f"{name} makes pictures from text alone", "remove images, or take an edit model")
            )
        else:
            flaws.append(Flaw("images", f"{name} edits pictures and is given none", "add images: [photo.png]"))
    if len(task.prompt) > card.prompt_max:
        what = f"a prompt for {name} has at most {card.prompt_max} characters"
        flaws.append(Flaw("prompt", what, "shorten it", f"{len(task.prompt)} characters"))
    if task.negative_prompt is not None:
        _check_negative(task.negative_prompt, card, flaws)
    if task.size is not None:
        _check_size(task.size, card, card.size, flaws)
    if not card.n_min <= task.n <= card.n_max:
        rule = str(card.n_min) if card.n_min == card.n_max else f"{card.n_min} to {card.n_max}"
        remedy = "for more pictures use samples" if task.n > card.n_max else ""
        flaws.append(Flaw("n", f"{name} makes {rule} per call", remedy, f"n is {task.n}"))
    if task.seed is not None and not 0 <= task.seed <= (card.seed_max or 0):
        flaws.append(Flaw("seed", f"{name} takes seeds from 0 to {card.seed_max}", "", str(task.seed)))
    for key, value in task.params.items():
        _check_param(key, value, card, flaws)
    if task.inputs and card.pictures is not None:
        _check_pictures(task, name, card.pictures, flaws)
    return flaws


def _check_negative(text: str, card: ModelCard, flaws: list[Flaw]) -> None:
    if card.negative_prompt_max is None:
        flaws.append(Flaw("negative_prompt", f"{card.name} takes no negative prompt", "remove it"))
    elif len(text) > card.negative_prompt_max:
        what = f"a negative prompt for {card.name} has at most {card.negative_prompt_max} characters"
        flaws.append(Flaw("negative_prompt", what, "shorten it", f"{len(text)} characters"))


def _check_size(size: str, card: ModelCard, rule: SizeRule | None, flaws: list[Flaw]) -> None:
    if rule is None:
        flaws.append(Flaw("size", f"{card.name} takes no size", "remove it", size))
        return
    if rule.choices:
        if size not in rule.choices:
            flaws.append(Flaw("size", f"{card.name} has no size {size}", f"sizes: {', '.join(rule.choices)}"))
        return
    least, most = rule.side_min or 1, rule.side_max or 99_999
    width, _, height = size.partition("x")
    if not (least <= int(width) <= most and least <= int(height) <= most):
        flaws.append(Flaw("size", f"{card.name} has no size {size}", f"each side may have {least} to {most} pixels"))


_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
}


def _check_param(key: str, value: JSON, card: ModelCard, flaws: list[Flaw]) -> None:
    path = f"params.{key}"
    rule: Parameter | None = card.parameters.get(key)
    if rule is None:
        flaws.append(Flaw(path, f"{card.name} has no parameter '{key}'", nearest(key, card.parameters)))
        return
    if not isinstance(value, _KINDS[rule.kind]) or (isinstance(value, bool) and rule.kind != "boolean"):
        flaws.append(Flaw(path, f"'{key}' must be a {rule.kind}", "", text_of(value)[:80]))
    elif rule.choices and value not in rule.choices:
        flaws.append(
            Flaw(path, f"'{key}' must be one of {', '.join(map(text_of, rule.choices))}", "", text_of(value)[:80])
        )
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if rule.minimum is not None and value < rule.minimum:
            flaws.append(Flaw(path, f"'{key}' must be at least {rule.minimum}", "", text_of(value)))
        if rule.maximum is not None and value > rule.maximum:
            flaws.append(Flaw(path, f"'{key}' must be at most {rule.maximum}", "", text_of(value)))


def _check_pictures(task: Task, name: str, rule: PictureRule, flaws: list[Flaw]) -> None:
    if not rule.count_min <= len(task.inputs) <= rule.count_max:
        what = f"{name} takes {rule.count_min} to {rule.count_max} pictures"
        flaws.append(Flaw("images", what, "", f"{len(task.inputs)} are given"))
    for index, source in enumerate(task.inputs):
        path = f"images[{index}]"
        match source:
            case UrlInput():
                if not rule.urls:
                    flaws.append(Flaw(path, f"{name} takes no URLs", "download the picture and name the file"))
            case LocalInput() | InlineInput():
                _check_picture(source, path, name, rule, flaws)
            case UpstreamInput():
                pass


def _check_picture(
    source: LocalInput | InlineInput, path: str, name: str, rule: PictureRule, flaws: list[Flaw]
) -> None:
    picture, uri = source.picture, source.uri[:120]
    if picture.media_type not in rule.formats:
        known = ", ".join(kind.removeprefix("image/") for kind in rule.formats)
        flaws.append(Flaw(path, f"the picture '{uri}' is {picture.media_type}", f"{name} takes {known}"))
    sides = (picture.width, picture.height)
    if min(sides) < rule.side_min or max(sides) > rule.side_max:
        what = f"the picture '{uri}' is {picture.width}x{picture.height} pixels"
        flaws.append(Flaw(path, what, f"{name} takes {rule.side_min} to {rule.side_max} pixels a side"))
    if picture.size_bytes > rule.size_bytes_max:
        what = f"the picture '{uri}' has {picture.size_bytes} bytes"
        flaws.append(Flaw(path, what, f"{name} takes at most {rule.size_bytes_max} bytes"))
