"""The gateways' pages, drawn from the cards: `python -m tests.habits.gateway_pages` writes their tables anew.

A page is `docs/gateways/NAME.md`. What stands between `<!-- drawn: PART -->` and `<!-- end -->` is drawn, the rest is
written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from pipeline.plan.catalog import read_card
from pipeline.values.card import Figure, GatewayCard, Parameter, PictureRule, SizeRule

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ROOT / "docs" / "gateways"

_PLACE = re.compile(r"(<!-- drawn: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def cards() -> dict[str, GatewayCard]:
    """Every shipped card by its gateway's name, as it is written: no environment changes a page."""
    files = sorted((ROOT / "schemas" / "gateways").glob("*.json"))
    read = (read_card(file.read_text(encoding="utf-8"), file.name) for file in files if file.name != "card.schema.json")
    return {card.name: card for card in read}


def access(card: GatewayCard) -> str:
    """Addresses, key and what the gateway can tell."""
    rows = [("API", f"`{card.base_url}`", f"`{card.base_url_env}`")]
    for name, base in card.bases.items():
        rows.append((name, f"`{base.url}`{'' if base.keyed else ', asked without the key'}", f"`{base.env}`"))
    key = f"key in `{card.key_env}`, sent as `{card.auth_header}: {card.auth_prefix}...`"
    told = [
        f"- {key}; we call ourselves `{card.user_agent}`",
        f"- lists operations: {_truth(card.lists_operations)}; tells a balance: {_truth(card.tells_balance)}",
    ]
    if any(model.pictures is not None and model.pictures.carry != "inline" for model in card.models.values()):
        kept = "no end known" if card.upload_lives_s is None else _duration(card.upload_lives_s)
        bound = "one model of one account" if card.placement_scope == "model" else "the whole account"
        told.append(f"- an uploaded picture serves {bound} and is kept: {kept}")
        if card.uploads_max is not None:
            told.append(f"- uploads at once: {_figure(card.uploads_max)}; {card.uploads_max.source}")
    failed = card.failed_billed
    said = {False: "not billed", True: "billed", None: "unknown, its money stays in doubt"}[failed.value]
    told.append(f"- an operation that ended as failed: {said} ({failed.certainty}: {failed.source}, {failed.date})")
    told += [f"- 1 {unit} = {rate} USD" for unit, rate in card.rates.items()]
    return _table(("Address", "URL", "Override"), rows) + "\n" + "\n".join(told) + "\n"


def regions(card: GatewayCard) -> str:
    """Sites with money of their own."""
    rows = []
    for region in card.regions:
        prices = ", ".join(f"{model} {price}" for model, price in region.prices.items()) or "unknown: state them"
        rows.append((f"`{region.host_suffix}`", region.unit, prices, region.source))
    return _table(("Host ends in", "Unit", "Price an image", "Source"), rows) if rows else "One price list.\n"


def models(card: GatewayCard) -> str:
    """What can be asked of each model."""
    rows = []
    for model in card.models.values():
        names = ", ".join(f"`{name}`" for name in (f"{card.name}/{model.name}", *model.aliases))
        does = ", ".join(operation.removeprefix("image.") for operation in model.operations)
        how = "synchronous" if model.synchronous else "asynchronous"
        seed = "none" if model.seed_max is None else f"0 to {model.seed_max}"
        negative = "none" if model.negative_prompt_max is None else f"{model.negative_prompt_max}"
        text = f"{model.prompt_max} / {negative}"
        rows.append((names, f"{does}; {how}", _between(model.n_min, model.n_max), _size(model.size), text, seed))
    return _table(("Model", "Does", "`n`", "`size`", "Prompt / negative, characters at most", "`seed`"), rows)


def prices(card: GatewayCard) -> str:
    """What each model costs, and where that is known from."""
    rows = []
    for model in card.models.values():
        each = f"**unknown**, in {model.price_unit}: `prices:` must state it"
        if model.price_per_image is not None:
            each = f"{model.price_per_image} {model.price_unit}"
        more = [f"{_condition(rule.when, rule.area_above)}: {rule.per_image}" for rule in model.price_rules]
        more += [f"{model.price_per_input} for each input picture"] if model.price_per_input.strip("0.") else []
        more += [f"{model.price_per_call} for each call"] if model.price_per_call.strip("0.") else []
        rows.append((f"`{model.name}`", each, "; ".join(more), f"{model.price_source}, {model.price_date}"))
    return _table(("Model", "An image", "Besides", "Source"), rows)


def _condition(when: Mapping[str, object], area_above: int | None) -> str:
    parts = [f"`{name}` {'left out' if value is None else value}" for name, value in when.items()]
    parts += [f"above {area_above} pixels"] if area_above is not None else []
    return " and ".join(parts)


def parameters(card: GatewayCard) -> str:
    """Every parameter below `params`, with the models that take it."""
    takers: dict[tuple[str, str, str, str], list[str]] = {}
    for model in card.models.values():
        for found in model.parameters.values():
            row = (f"`{found.name}`", _bounds(found), found.description, found.source)
            takers.setdefault(row, []).append(model.name)
    rows = [(name, ", ".join(of), bounds, text, source) for (name, bounds, text, source), of in takers.items()]
    return _table(("Parameter", "Models", "Value", "Meaning", "Source"), rows) if rows else "None.\n"


def pictures(card: GatewayCard) -> str:
    """What input pictures may be, and how they travel."""
    rules: dict[PictureRule, list[str]] = {}
    for model in card.models.values():
        if model.pictures is not None:
            rules.setdefault(model.pictures, []).append(model.name)
    rows = [
        (
            ", ".join(of),
            _between(rule.count_min, rule.count_max),
            ", ".join(kind.removeprefix("image/") for kind in rule.formats),
            f"{rule.side_min} to {rule.side_max}",
            f"{rule.size_bytes_max / 1e6:.4g} MB",
            "yes" if rule.urls else "no",
            _carry(rule),
            rule.source,
        )
        for rule, of in rules.items()
    ]
    return _table(("Models", "Pictures", "Formats", "Sides", "Size", "URLs", "Local ones travel", "Source"), rows)


def _carry(rule: PictureRule) -> str:
    way = {"inline": "in the body", "upload": "by an upload"}.get(rule.carry, "")
    if rule.carry == "auto":
        way = f"in the body up to {(rule.inline_bytes_max or 0) / 1e6:.4g} MB, else by an upload"
    others = [kind.removeprefix("image/") for kind in rule.formats if kind not in rule.upload_formats]
    return way + (f"; {', '.join(others)} as PNG" if rule.upload_formats and others else "")


def pace(card: GatewayCard) -> str:
    """Limits and times, with how sure they are."""
    rows = [
        (
            f"`{model.name}`",
            f"{_figure(model.rate)} per {_duration(model.rate_period_s)}",
            _figure(model.in_flight),
            _figure(model.unanswered),
            _duration(model.typical_s),
            _duration(model.submit_timeout_s),
            _duration(model.links_live_s),
        )
        for model in card.models.values()
    ]
    head = ("Model", "Submits", "In flight", "Unanswered", "Usual time", "Timeout", "Links live")
    return _table(head, rows)


def refusals(card: GatewayCard) -> str:
    """The answers to a paid call that release its money."""
    rows = []
    for row in card.not_billed:
        body = "a web page" if row.body == "page" else "any" if row.code is None else f"`{row.code}`"
        rows.append((str(row.status), body, row.kind.replace("_", " "), row.certainty, f"{row.source}, {row.date}"))
    after = "After any other answer, or none, the money stays aside and in doubt.\n"
    if card.errors_unbilled:
        after = f"{after}A 5xx is in the table because the vendor says so: {card.errors_unbilled}.\n"
    return _table(("Status", "Code", "Means", "Certainty", "Source"), rows) + "\n" + after


def notes(card: GatewayCard) -> str:
    """What is odd, chosen or unknown, in words; and every figure that is no word of the vendor's."""
    lines = [f"- {note}" for note in card.notes]
    for model in card.models.values():
        lines += [f"- `{model.name}`, `n` above 1: {model.n_warning}."] if model.n_warning else []
    found: dict[tuple[str, str], list[str]] = {}
    for name, of, figure in _figures(card):
        if figure.certainty != "documented":
            found.setdefault((name, f"{figure.certainty}: {figure.source}, {figure.date}"), []).append(of)
    for (name, what), owners in found.items():
        lines.append(f"- {name}{' of ' if any(owners) else ''}{', '.join(filter(None, owners))}: {what}")
    return "\n".join(lines) + "\n"


def _figures(card: GatewayCard) -> Iterator[tuple[str, str, Figure]]:
    yield "polls a second", "", card.poll_rate
    for model in card.models.values():
        for name, figure in (("rate", model.rate), ("in flight", model.in_flight), ("unanswered", model.unanswered)):
            yield name, f"`{model.name}`", figure


PARTS: Final[Mapping[str, Callable[[GatewayCard], str]]] = {
    "access": access,
    "models": models,
    "prices": prices,
    "regions": regions,
    "parameters": parameters,
    "pictures": pictures,
    "pace": pace,
    "refusals": refusals,
    "notes": notes,
}


def _truth(value: bool) -> str:  # noqa: FBT001 - a word for a word
    return "yes" if value else "no"


def _between(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _duration(seconds: float) -> str:
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def _figure(figure: Figure) -> str:
    return f"{'unknown' if figure.value is None else f'{figure.value:g}'} ({figure.certainty})"


def _size(rule: SizeRule | None) -> str:
    if rule is None:
        return "cannot be chosen"
    parts = [", ".join(rule.choices)] if rule.choices else []
    if rule.side_max is not None:
        parts.append(f"each side {rule.side_min} to {rule.side_max}")
    if rule.area_max is not None:
        parts.append(f"{rule.area_min} to {rule.area_max} pixels in all")
    parts += [f"ratio at most {rule.ratio_max:g}"] if rule.ratio_max is not None else []
    parts += [f"or {', '.join(rule.words)}"] if rule.words else []
    parts += ["only with `n: 1`"] if rule.only_with_one else []
    return f"{'; '.join(parts)}; left out: {rule.default}"


def _bounds(found: Parameter) -> str:
    bounds = ""
    if found.choices:
        bounds = f" of {', '.join(map(_value, found.choices))}"
    elif found.minimum is not None and found.maximum is not None:
        bounds = f" from {found.minimum} to {found.maximum}"
    elif found.maximum is not None:
        bounds = f" up to {found.maximum}{' characters' if found.kind in {'string', 'url'} else ''}"
    elif found.minimum is not None:
        bounds = f" from {found.minimum}"
    always = "" if found.always is None else f"; always sent, as {_value(found.always)} unless set"
    identity = "" if found.identity else "; no part of a task's identity"
    default = "not stated" if found.default is None else _value(found.default)
    return f"{found.kind}{bounds}; default {default}{always}{identity}"


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def drawn(text: str) -> dict[str, str]:
    """{part: as it stands in a page}."""
    return {match[2]: match[3] for match in _PLACE.finditer(text)}


def redrawn(text: str, card: GatewayCard) -> str:
    """A page with every part drawn from the card."""
    return _PLACE.sub(lambda match: match[1] + PARTS[match[2]](card) + match[4], text)


if __name__ == "__main__":
    for each in cards().values():
        page = PAGES / f"{each.name}.md"
        page.write_text(redrawn(page.read_text(encoding="utf-8"), each), encoding="utf-8")
