"""Bounds: one task, or what no template makes, against its model's card; every flaw says what is supported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from pipeline.plan.flaw import Flaw, Flawed, nearest
from pipeline.plan.scalar import text_of
from pipeline.spec.job import FixedSeed, JobSpec, ListedSeeds
from pipeline.values.addresses import may_be_public
from pipeline.values.card import GatewayCard, ModelCard, Parameter, PictureRule, SizeRule
from pipeline.values.digest import JSON
from pipeline.values.task import InlineInput, LocalInput, Task, UpstreamInput, UrlInput


def check_task(task: Task, card: ModelCard) -> list[Flaw]:
    """Every way in which a task is not what its model takes; each flaw says what is supported."""
    flaws: list[Flaw] = []
    name = card.name
    if task.operation not in card.operations:
        flaws.append(_operation(name, given=bool(task.inputs)))
    _check_prompt(task.prompt, card, flaws)
    if task.negative_prompt is not None:
        _check_negative(task.negative_prompt, card, flaws)
    if task.size is not None:
        _check_size(task.size, card, card.size, flaws)
        if card.size is not None and card.size.only_with_one and task.n != 1:
            remedy = "leave size out, or take n: 1 and samples for more pictures"
            flaws.append(
                Flaw("size", f"{name} takes a size only when a call makes one picture", remedy, f"n is {task.n}")
            )
    _check_n(task.n, card, flaws)
    if task.seed is not None:
        _check_seed(task.seed, card, flaws)
    for key, value in task.params.items():
        _check_param(key, value, card, flaws)
    if task.inputs and card.pictures is not None:
        _check_pictures(task, name, card.pictures, flaws)
    return flaws


def find_model(name: str, path: str, cards: Mapping[str, GatewayCard]) -> tuple[GatewayCard, ModelCard]:
    """The cards of `gateway/model`. *Raises* Flawed at `path`, with the nearest known name."""
    gateway, slash, model = name.partition("/")
    card = cards.get(gateway)
    if not slash or card is None:
        lanes = [f"{card.name}/{model}" for card in cards.values() for model in card.models]
        what = f"unknown gateway '{gateway}'" if slash else f"a model is written GATEWAY/MODEL, not '{name}'"
        raise Flawed(Flaw(path, what, nearest(name, lanes)))
    found = card.models.get(model) or next((each for each in card.models.values() if model in each.aliases), None)
    if found is None:
        names = [name for each in card.models.values() for name in (each.name, *each.aliases)]
        raise Flawed(Flaw(path, f"{card.title} has no model '{model}'", nearest(model, names)))
    return card, found


def constant_flaws(job: JobSpec, cards: Mapping[str, GatewayCard]) -> list[Flaw]:
    """What is wrong with values that no template makes: known of a spec whose tasks cannot be built, too.

    Only what is wrong for certain: a value that some override replaces, or a model that one chooses, is not judged.
    """
    if "{{" in job.model or not job.model:
        return []
    try:
        _, card = find_model(job.model, "model", cards)
    except Flawed as flawed:
        return list(flawed.flaws)
    laid = {name for override in job.overrides for name in override.set}
    if "model" in laid:
        return []
    flaws: list[Flaw] = []
    fixed = "images" not in laid and not isinstance(job.images, str)
    if fixed and ("image.edit" if job.images else "image.generate") not in card.operations:
        flaws.append(_operation(card.name, given=bool(job.images)))
    written: dict[str, object] = {"prompt": job.prompt, "n": job.n, "params": job.params}
    written |= {"size": job.size, "negative_prompt": job.negative_prompt}
    flaws += _written_flaws({name: value for name, value in written.items() if name not in laid}, card)
    if "seed" not in laid:
        flaws += _seed_flaws(job, card)
    for index, override in enumerate(job.overrides):
        found = _written_flaws(override.set, card)
        flaws += [replace(flaw, path=f"overrides[{index}].set.{flaw.path}") for flaw in found]
    return flaws


def _written_flaws(written: Mapping[str, object], card: ModelCard) -> Iterator[Flaw]:
    flaws: list[Flaw] = []
    for name, value in written.items():
        match name, value:
            case _, str() if "{{" in value:
                continue
            case "prompt", str():
                _check_prompt(value, card, flaws)
            case "negative_prompt", str():
                _check_negative(value, card, flaws)
            case "size", str() if not SIZE.fullmatch(value) and not SIZE_WORD.fullmatch(value):
                flaws.append(misspelt_size("size", value))
            case "size", str():
                _check_size(value, card, card.size, flaws)
            case "n", int():
                _check_n(value, card, flaws)
            case "params", Mapping():
                for key, inner in value.items():
                    if not isinstance(inner, list | tuple | dict) and "{{" not in text_of(inner):
                        _check_param(key, inner, card, flaws)
            case _:
                continue
    yield from flaws


def _seed_flaws(job: JobSpec, card: ModelCard) -> Iterator[Flaw]:
    match job.seed:
        case ListedSeeds(values):
            seeds: tuple[int | str, ...] = values
        case FixedSeed(value):
            seeds = (value,)
        case _:
            return
    if card.seed_max is None:
        yield seedless("seed", card)
        return
    flaws: list[Flaw] = []
    for seed in seeds:
        if isinstance(seed, int):
            _check_seed(seed, card, flaws)
    yield from flaws


def seedless(path: str, card: ModelCard) -> Flaw:
    """A seed for a model that takes none."""
    return Flaw(path, f"{card.name} takes no seed", "leave it out")


#: How a size is written.
SIZE: Final = re.compile(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", re.ASCII)
#: What may stand in its place, where a model has it.
SIZE_WORD: Final = re.compile(r"auto|[1-9][0-9]?:[1-9][0-9]?", re.ASCII)


def misspelt_size(path: str, written: str) -> Flaw:
    """A size that is not written as one."""
    return Flaw(
        path,
        "a size is written WIDTHxHEIGHT, such as 1024x1024, or as a ratio where a model has them",
        "",
        written[:40],
    )


def _operation(name: str, *, given: bool) -> Flaw:
    if given:
        return Flaw("images", f"{name} makes pictures from text alone", "remove images, or take an edit model")
    return Flaw("images", f"{name} edits pictures and is given none", "add images: [photo.png]")


def _check_prompt(text: str, card: ModelCard, flaws: list[Flaw]) -> None:
    if len(text) > card.prompt_max:
        what = f"a prompt for {card.name} has at most {card.prompt_max} characters"
        flaws.append(Flaw("prompt", what, "shorten it", f"{len(text)} characters"))


def _check_n(number: int, card: ModelCard, flaws: list[Flaw]) -> None:
    if not card.n_min <= number <= card.n_max:
        rule = str(card.n_min) if card.n_min == card.n_max else f"{card.n_min} to {card.n_max}"
        remedy = "for more pictures use samples" if number > card.n_max else ""
        flaws.append(Flaw("n", f"{card.name} makes {rule} per call", remedy, f"n is {number}"))


def _check_seed(seed: int, card: ModelCard, flaws: list[Flaw]) -> None:
    if not 0 <= seed <= (card.seed_max or 0):
        flaws.append(Flaw("seed", f"{card.name} takes seeds from 0 to {card.seed_max}", "", str(seed)))


def _check_negative(text: str, card: ModelCard, flaws: list[Flaw]) -> None:
    if card.negative_prompt_max is None:
        flaws.append(Flaw("negative_prompt", f"{card.name} takes no negative prompt", "remove it"))
    elif len(text) > card.negative_prompt_max:
        what = f"a negative prompt for {card.name} has at most {card.negative_prompt_max} characters"
        flaws.append(Flaw("negative_prompt", what, "shorten it", f"{len(text)} characters"))


def _check_size(size: str, card: ModelCard, rule: SizeRule | None, flaws: list[Flaw]) -> None:
    if rule is None:
        flaws.append(Flaw("size", f"{card.name} takes no size", "remove it", size))
    elif size not in rule.words and not _is_size(size, rule):
        flaws.append(Flaw("size", f"{card.name} has no size {size}", sizes_text(rule)))


def _is_size(size: str, rule: SizeRule) -> bool:
    if not SIZE.fullmatch(size):
        return False
    if rule.choices:
        return size in rule.choices
    width, height = map(int, size.split("x"))
    short, long = sorted((width, height))
    return (
        (rule.side_min or 1) <= short
        and long <= (rule.side_max or 99_999)
        and (rule.area_min or 1) <= width * height <= (rule.area_max or 10**10)
        and (rule.ratio_max is None or long <= short * rule.ratio_max)
    )


def sizes_text(rule: SizeRule) -> str:
    """What sizes a model takes, for people."""
    said = []
    if rule.choices:
        said.append(f"sizes: {', '.join(rule.choices)}")
    elif rule.side_max:
        said.append(f"each side may have {rule.side_min or 1} to {rule.side_max} pixels")
    elif rule.side_min:
        said.append(f"each side has at least {rule.side_min} pixels")
    if rule.area_min or rule.area_max:
        said.append(f"width times height may be {rule.area_min or 1} to {rule.area_max or 10**10}")
    if rule.ratio_max is not None:
        said.append(f"the longer side at most {rule.ratio_max:g} times the shorter one")
    if rule.words:
        said.append(f"or one of {', '.join(rule.words)}")
    return ", ".join(said)


_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "url": (str,),
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
    elif rule.kind == "url" and isinstance(value, str):
        if (wrong := _url_fault(value, rule.maximum)) is not None:
            # The value may hold a token and is not shown.
            most = "" if rule.maximum is None else f" of at most {rule.maximum:g} characters"
            flaws.append(Flaw(path, f"'{key}' {wrong}", f"it is a public https URL{most}"))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if rule.minimum is not None and value < rule.minimum:
            flaws.append(Flaw(path, f"'{key}' must be at least {rule.minimum}", "", text_of(value)))
        if rule.maximum is not None and value > rule.maximum:
            flaws.append(Flaw(path, f"'{key}' must be at most {rule.maximum}", "", text_of(value)))


def _url_fault(text: str, longest: float | None) -> str | None:
    """Why a URL is not one that a gateway may call; names are not looked up."""
    try:
        url = urlsplit(text)
        host, user = url.hostname or "", url.username
        url.port  # noqa: B018 - raises ValueError for what is no port
    except ValueError:
        return "is not a URL"
    too_long = longest is not None and len(text) > longest
    if too_long or not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        return "is not a URL, or is too long"
    if url.scheme != "https" or not host:
        return "must begin with https:// and name a host"
    if user is not None or "@" in url.netloc:
        return "must hold no user name"
    return None if may_be_public(host) else "leads to an address that is not public"


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
        mend = f"scale it {'up' if min(sides) < rule.side_min else 'down'}, or leave it out"
        flaws.append(Flaw(path, what, f"{name} takes {rule.side_min} to {rule.side_max} pixels a side: {mend}"))
    if picture.size_bytes > rule.size_bytes_max:
        what = f"the picture '{uri}' has {picture.size_bytes} bytes"
        flaws.append(Flaw(path, what, f"{name} takes at most {rule.size_bytes_max} bytes"))
