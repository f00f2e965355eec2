"""Prices: the most that one picture can cost, in the unit of the cap that pays for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from urllib.parse import urlsplit

from pipeline.plan.flaw import Flaw, Flawed
from pipeline.spec.job import JobSpec
from pipeline.values.card import Figure, GatewayCard, ModelCard, Region
from pipeline.values.digest import JSON
from pipeline.values.money import MICROS, UNLIMITED, Money, convert_up, format_money, micros_from_text
from pipeline.values.task import Price


def caps_of(job: JobSpec, budget: tuple[Money, ...] | None, cards: Mapping[str, GatewayCard]) -> dict[str, int] | None:
    """{unit: cap in micro-units}; None when no budget is written; no limit in every unit for `budget: none`.

    `budget` is what the command line says: it replaces the caps of its own units.
    """
    made: dict[str, int] | None = None
    if job.budget == ():
        units = {model.price_unit for card in cards.values() for model in card.models.values()}
        units |= {money.unit for money in job.prices.values()}
        made = dict.fromkeys(sorted(units), UNLIMITED)
    elif job.budget is not None:
        made = {money.unit: money.micros for money in job.budget}
    if budget is not None:
        limited = made if made is not None and job.budget else {}
        made = {**limited, **{money.unit: money.micros for money in budget}}
    return made


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a model charges, in the unit of the cap that pays. *Units* - native micro-units of `native`."""

    #: The unit that pays, and what one native unit costs in it.
    currency: str
    rate: Fraction
    native: str
    per_image: int
    per_call: int
    per_input: int
    #: (parameters that must be sent, area above which it holds, price per image).
    rules: tuple[tuple[Mapping[str, JSON], int | None, int], ...]
    source: str
    _made: dict[tuple[int, int], Price] = field(default_factory=dict, compare=False)

    def price(self, params: Mapping[str, JSON], size: str | None, inputs: int) -> Price:
        """What one call with these parameters, size and number of input pictures costs: the dearest that applies."""
        per_image = self.per_image
        for when, area_above, dear in self.rules:
            if dear > per_image and _applies(when, area_above, params, size):
                per_image = dear
        key = (per_image, inputs if self.per_input else 0)
        found = self._made.get(key)
        if found is None:
            per_call = self.per_call + key[1] * self.per_input
            found = self._made[key] = Price(
                self.currency,
                convert_up(per_image, self.rate),
                convert_up(per_call, self.rate),
                self.native,
                per_image,
                self.source,
                per_call,
            )
        return found


def _applies(when: Mapping[str, JSON], area_above: int | None, params: Mapping[str, JSON], size: str | None) -> bool:
    # A size is no parameter, but may decide like one: a word such as `auto`, or null when none is sent.
    sent = {**params, "size": size}
    if any(name not in sent or sent[name] != value for name, value in when.items()):
        return False
    if area_above is None:
        return True
    width, times, height = (size or "").partition("x")
    return bool(times) and int(width) * int(height) > area_above


def tariff_of(job: JobSpec, gateway: GatewayCard, model: ModelCard, caps: Mapping[str, int] | None) -> Tariff:
    """What a model charges. *Raises* Flawed for an unknown price, or a unit without cap and rate."""
    lane = f"{gateway.name}/{model.name}"
    names = (lane, *(f"{gateway.name}/{alias}" for alias in model.aliases))
    stated = next((job.prices[name] for name in names if name in job.prices), None)
    rules: tuple[tuple[Mapping[str, JSON], int | None, int], ...] = ()
    if stated is not None:
        native, per_image, source = stated.unit, stated.micros, "stated in the spec"
        if native != model.price_unit and not (gateway.regions and model.price_per_image is None):
            # Only of a site that nobody has priced is the unit unknown. Elsewhere the vendor's own sums, and what it
            # takes for calls and inputs, would be lost.
            what = f"{lane} is billed in {model.price_unit}, and its price is stated in {native}"
            remedy = f"state it in the unit of the bill: prices: {{{lane}: <what an image costs> {model.price_unit}}}"
            raise Flawed(Flaw(f"prices.{lane}", what, remedy))
        # What is stated is a picture's price; what the card says of calls and inputs stays true.
        beside = (model.price_per_call, model.price_per_input)
    elif model.price_per_image is not None:
        native, per_image = model.price_unit, micros_from_text(model.price_per_image)
        beside, source = (model.price_per_call, model.price_per_input), f"{model.price_source}, {model.price_date}"
        rules = tuple((rule.when, rule.area_above, micros_from_text(rule.per_image)) for rule in model.price_rules)
    else:
        remedy = f"state it: prices: {{{lane}: <what an image costs> {model.price_unit}}}"
        site = f" ({model.price_source})" if gateway.regions and model.price_source else ""
        raise Flawed(Flaw("model", f"the price of {lane} is unknown{site}", remedy))
    per_call, per_input = map(micros_from_text, beside)
    if rules:
        dearest = max(dear for _, _, dear in rules)
        source = f"{source}; up to {format_money(dearest, native)} an image, by parameters and size"
    if per_input:
        source = f"{source}; and {format_money(per_input, native)} for each input picture"
    if caps is None or native in caps:
        return Tariff(native, Fraction(1), native, per_image, per_call, per_input, rules, source)
    unit, rate, origin = _rate(job, gateway, native, caps, lane)
    return Tariff(unit, rate, native, per_image, per_call, per_input, rules, f"{source}; {origin}")


def _rate(
    job: JobSpec, gateway: GatewayCard, native: str, caps: Mapping[str, int], lane: str
) -> tuple[str, Fraction, str]:
    pinned = job.rates.get(native)
    if pinned is not None and pinned.unit in caps:
        return pinned.unit, Fraction(pinned.micros, MICROS), f"1 {native} = {pinned}, pinned in the spec"
    if native in gateway.rates and "USD" in caps:
        rate = gateway.rates[native]
        return "USD", Fraction(rate), f"1 {native} = {rate} USD, published by {gateway.title}"
    units = ", ".join(caps)
    what = f"{lane} is billed in {native}, and the budget is in {units}"
    rate_text = f"rates: {{{native}: <what one costs> {next(iter(caps), 'USD')}}}"
    remedy = f"add a cap (budget: {{limits: [<so many> {native}]}}) or pin a rate ({rate_text})"
    raise Flawed(Flaw("budget", what, remedy))


def in_region(card: GatewayCard, base_url: str) -> GatewayCard:
    """The card as it holds at another base URL: its unit, its prices, how sure its limits are.

    The card itself where regions do not matter.

    A host that no region names has unknown prices, unless it is the card's own.
    """
    try:
        host, own = urlsplit(base_url).hostname or "", urlsplit(card.base_url).hostname or ""
    except ValueError:
        return card
    if not card.regions or host == own:
        return card
    matching = (each for each in card.regions if f".{host}".endswith(f".{each.host_suffix.lstrip('.')}"))
    region = max(matching, key=lambda each: len(each.host_suffix), default=None)
    models = {name: _regional(model, region, host, own) for name, model in card.models.items()}
    return replace(card, base_url=base_url, models=models)


def _elsewhere(figure: Figure, own: str) -> Figure:
    """A limit that is documented for one site, at another: the best number there is, and no more than inferred."""
    if figure.certainty != "documented":
        return figure
    return replace(figure, certainty="inferred", source=f"{figure.source}; documented for {own}, inferred here")


def _regional(model: ModelCard, region: Region | None, host: str, own: str) -> ModelCard:
    unit, price = model.price_unit, None
    source = f"nobody has published prices of {host}, a site that this program does not know"
    if region is not None:
        unit, price, source = region.unit, region.prices.get(model.name), region.source
    return replace(
        model,
        price_unit=unit,
        price_per_image=price,
        price_source=source,
        price_per_call="0",
        price_per_input="0",
        price_rules=(),
        rate=_elsewhere(model.rate, own),
        in_flight=_elsewhere(model.in_flight, own),
        unanswered=_elsewhere(model.unanswered, own),
    )
