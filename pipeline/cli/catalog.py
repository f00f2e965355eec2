"""Commands about what there is to use: `models` and `schema`."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from pipeline.cli import words
from pipeline.cli.exits import Exit
from pipeline.cli.options import json_option
from pipeline.cli.output import answer, answer_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.values.card import (
        Figure,
        GatewayCard,
        ModelCard,
        NotBilled,
        Parameter,
        PictureRule,
        PriceRule,
        SizeRule,
    )


def _known(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    from pipeline.runtime import prepare

    cards = prepare.cards()
    return [name for name in [*cards, *select(cards, None)] if name.startswith(begun)]


@click.command()
@click.argument("name", required=False, shell_complete=_known)
@json_option
def models(name: str | None, as_json: bool) -> Exit:
    """Gateways, models, parameters, limits and prices, each with source and date. NAME: a gateway or a model."""
    from pipeline.runtime import prepare

    gateways = prepare.cards()
    chosen = select(gateways, name)
    if as_json:
        from dataclasses import asdict

        answer_json({lane: asdict(card) for lane, card in chosen.items()})
    elif name is None or name in gateways:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        answer(overview(gateways, chosen, width))
    else:
        answer("\n\n".join(details(lane, card, gateways[card.gateway]) for lane, card in chosen.items()))
    return Exit.COMPLETE


@click.command()
def schema() -> Exit:
    """The JSON Schema of the spec, for editors and checks."""
    from pipeline.runtime import bundled

    answer(bundled.text("schemas", "job.schema.json").rstrip("\n"))
    return Exit.COMPLETE


def select(gateways: Mapping[str, GatewayCard], name: str | None) -> dict[str, ModelCard]:
    """The models that a word means, by `gateway/model`. *Raises* UsageError with the nearest known name."""
    every = {f"{card.gateway}/{card.name}": card for gateway in gateways.values() for card in gateway.models.values()}
    if name is None:
        return every
    chosen = {lane: card for lane, card in every.items() if name in _names(lane, card)}
    if not chosen:
        import difflib

        known = [each for lane, card in every.items() for each in _names(lane, card)]
        near = difflib.get_close_matches(name, [*known, *gateways], n=1)
        hint = f"; did you mean {near[0]}?" if near else f" (there are: {', '.join(every)})"
        raise click.UsageError(f"there is no gateway or model {name!r}{hint}")
    return chosen


def _names(lane: str, card: ModelCard) -> list[str]:
    """What a model is called: with and without its gateway, its gateway alone, and its other names."""
    others = [name for alias in card.aliases for name in (alias, f"{card.gateway}/{alias}")]
    return [lane, card.name, card.gateway, *others]


def overview(gateways: Mapping[str, GatewayCard], chosen: Mapping[str, ModelCard], width: int | None = None) -> str:
    """One line a model, then what each gateway's key is called; two short lines a model where `width` is too small."""
    rows = [("model", "does", "price", "as of", "rate", "images per call")]
    rows += [
        (lane, _does(card), _price(card), card.price_date, _rate(card), _between(card.n_min, card.n_max))
        for lane, card in chosen.items()
    ]
    used = dict.fromkeys(card.gateway for card in chosen.values())
    keys = [f"{gateways[name].title}: key in {gateways[name].key_env}" for name in used]
    page = words.table(rows, indent="")
    if width is not None and max(map(len, page.splitlines())) > width:
        page = "\n".join(words.fold(line, width) for row in rows[1:] for line in _two_lines(row))
    return "\n".join([page, "", *map(words.clean, keys), "details: pipeline models NAME"])


def _two_lines(row: tuple[str, ...]) -> tuple[str, str]:
    lane, does, price, date, rate, images = map(words.clean, row)
    return f"{lane}   {does}", f"  {price} ({date}); {rate}; images per call: {images}"


def details(lane: str, card: ModelCard, gateway: GatewayCard) -> str:
    """Everything the card knows of one model, with where it is known from."""
    rows: list[tuple[str, str, str]] = [
        ("price", _price(card), _source(card.price_source, card.price_date)),
        ("prompt", f"{card.prompt_max:,} characters at most", ""),
        ("negative_prompt", _negative(card), ""),
        ("n", _between(card.n_min, card.n_max), ""),
        ("seed", "none" if card.seed_max is None else f"0 to {card.seed_max:,}", ""),
    ]
    rows += [("other names", ", ".join(card.aliases), "")] if card.aliases else []
    rows += [
        (f"price{_when(rule)}", f"{rule.per_image} {card.price_unit} per image", rule.source)
        for rule in card.price_rules
    ]
    rows += [("answers", "with the pictures, while the call waits", "")] if card.synchronous else []
    rows += [("size", _size(card.size), card.size.source)] if card.size else [("size", "cannot be chosen", "")]
    rows += [("images", _pictures(card.pictures), card.pictures.source)] if card.pictures else []
    rows += [(f"params.{name}", _parameter(found), found.source) for name, found in card.parameters.items()]
    rows += [
        ("rate", _rate(card), _figure(card.rate)),
        ("in flight", _value(card.in_flight), _figure(card.in_flight)),
        ("unanswered", _value(card.unanswered), _figure(card.unanswered)),
        ("usual time", words.duration(card.typical_s), ""),
    ]
    failed = gateway.failed_billed
    said = {False: "not billed", True: "billed", None: "unknown: the money stays in doubt"}[failed.value]
    rows += [("failed after it was accepted", said, f"{failed.certainty}: {_source(failed.source, failed.date)}")]
    if gateway.uploads_max is not None and card.pictures is not None and card.pictures.carry != "inline":
        rows += [("uploads at once", _value(gateway.uploads_max), _figure(gateway.uploads_max))]
    rows += [("not billed", _not_billed(row), _not_billed_source(row)) for row in gateway.not_billed]
    rows += [("", "after any other answer to a paid call, or none, its money stays aside", "")]
    # Sources are long and few: each is written once and referred to by number.
    marks = {source: f"[{number}]" for number, source in enumerate(dict.fromkeys(row[2] for row in rows if row[2]), 1)}
    lines = [f"{lane}   {_does(card)}"]
    lines += [f"  {words.clean(card.description)}"] if card.description else []
    lines.append(words.table([(name, f"{value} {marks.get(source, '')}") for name, value, source in rows]))
    lines += [f"  n above 1: {words.clean(card.n_warning)}"] if card.n_warning else []
    overrides = " and ".join([gateway.base_url_env, *(base.env for base in gateway.bases.values())])
    lines.append(f"  key in {gateway.key_env}, base URL override in {overrides}")
    lines += [f"  {mark} {words.clean(source)}" for source, mark in marks.items()]
    lines += [f"  note: {words.clean(note)}" for note in gateway.notes]
    return "\n".join(lines)


def _not_billed(row: NotBilled) -> str:
    code = "" if row.code is None else f" with the code {row.code}"
    body = ", a page" if row.body == "page" else ""
    return f"{row.status}{code}{body}: {row.kind.replace('_', ' ')}"


def _not_billed_source(row: NotBilled) -> str:
    return f"{row.certainty}: {_source(row.source, row.date)}"


def _does(card: ModelCard) -> str:
    return ", ".join(operation.removeprefix("image.") for operation in card.operations)


def _price(card: ModelCard) -> str:
    if card.price_per_image is None:
        return "unknown: state one under prices"
    call = f" + {card.price_per_call} per call" if card.price_per_call.strip("0.") else ""
    call += f" + {card.price_per_input} per input picture" if card.price_per_input.strip("0.") else ""
    more = " and more" if card.price_rules else ""
    return f"{card.price_per_image} {card.price_unit} per image{more}{call}"


def _when(rule: PriceRule) -> str:
    parts = [f"no {name}" if value is None else f"{name} {value}" for name, value in rule.when.items()]
    parts += [f"more than {rule.area_above:,} pixels"] if rule.area_above is not None else []
    return f" with {' and '.join(parts)}"


def _rate(card: ModelCard) -> str:
    ours = " (ours)" if card.rate.certainty == "ours" else ""
    return f"{_value(card.rate)} per {words.duration(card.rate_period_s)}{ours}"


def _value(figure: Figure) -> str:
    return "unknown" if figure.value is None else f"{figure.value:,}"


def _figure(figure: Figure) -> str:
    return f"{figure.certainty}: {_source(figure.source, figure.date)}"


def _source(source: str, date: str) -> str:
    return ", ".join(part for part in (source, date) if part)


def _between(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _negative(card: ModelCard) -> str:
    if card.negative_prompt_max is None:
        return "none"
    return f"{card.negative_prompt_max:,} characters at most"


def _size(rule: SizeRule) -> str:
    from pipeline.plan.bounds import sizes_text

    alone = "; only where a call makes one picture" if rule.only_with_one else ""
    return f"{sizes_text(rule) or 'any'}{alone}; left out: {rule.default}"


def _pictures(rule: PictureRule) -> str:
    kinds = ", ".join(kind.removeprefix("image/") for kind in rule.formats)
    megabytes = f"{rule.size_bytes_max / 1_000_000:.3g} MB"
    sides = f"sides {rule.side_min} to {rule.side_max} pixels"
    carried = {
        "inline": "sent in the body",
        "upload": "uploaded first",
        "auto": "sent in the body, or uploaded if large",
    }
    said = [
        f"{_between(rule.count_min, rule.count_max)} of {kinds}",
        sides,
        f"{megabytes} at most",
        carried[rule.carry],
    ]
    return "; ".join([*said, *(["URLs too"] if rule.urls else [])])


def _parameter(found: Parameter) -> str:
    bounds = ""
    if found.choices:
        bounds = " of " + ", ".join(map(str, found.choices))
    elif found.kind == "url":
        bounds = f", https, of at most {found.maximum or 2048:,} characters"
    elif found.minimum is not None or found.maximum is not None:
        bounds = f" from {found.minimum} to {found.maximum}"
    always = "" if found.always is None else f"; always sent, as {found.always} unless set"
    return f"{found.kind}{bounds}; default {found.default}{always}"
