"""Prices: the most that one picture can cost, in the unit of the cap that pays for it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from pipeline.plan.flaw import Flaw, Flawed
from pipeline.spec.job import JobSpec
from pipeline.values.card import GatewayCard, ModelCard
from pipeline.values.money import MICROS, UNLIMITED, Money, convert_up, micros_from_text
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


def price_of(job: JobSpec, gateway: GatewayCard, model: ModelCard, caps: Mapping[str, int] | None) -> Price:
    """What one picture of a model costs. *Raises* Flawed for an unknown price, or a unit without cap and rate."""
    lane = f"{gateway.name}/{model.name}"
    if lane in job.prices:
        stated = job.prices[lane]
        native, per_image, per_call, source = stated.unit, stated.micros, 0, "stated in the spec"
    elif model.price_per_image is not None:
        native, per_image = model.price_unit, micros_from_text(model.price_per_image)
        per_call, source = micros_from_text(model.price_per_call), f"{model.price_source}, {model.price_date}"
    else:
        remedy = f"state it: prices: {{{lane}: 1.00 {model.price_unit}}}"
        raise Flawed(Flaw("model", f"the price of {lane} is unknown", remedy))
    if caps is None or native in caps:
        return Price(native, per_image, per_call, native, per_image, source)
    unit, rate, origin = _rate(job, gateway, native, caps, lane)
    return Price(
        unit, convert_up(per_image, rate), convert_up(per_call, rate), native, per_image, f"{source}; {origin}"
    )


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
    rate_text = f"rates: {{{native}: 0.14 {next(iter(caps), 'USD')}}}"
    remedy = f"add a cap (budget: {{limits: [100 {native}]}}) or pin a rate ({rate_text})"
    raise Flawed(Flaw("budget", what, remedy))
