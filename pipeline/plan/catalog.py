"""The catalogue: gateway cards read from JSON, each key checked, so that a wrong figure stops before it costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, cast, get_args

from pipeline.errors import CardError
from pipeline.plan.card_part import CardPart, fail
from pipeline.values.card import (
    Base,
    Certainty,
    FailedBilled,
    GatewayCard,
    ModelCard,
    NotBilled,
    Parameter,
    PictureRule,
    PriceRule,
    Region,
    SizeRule,
)
from pipeline.values.digest import JSON
from pipeline.values.money import UNITS
from pipeline.values.reply import FaultKind

OPERATIONS: Final = ("image.generate", "image.edit")
_KINDS: Final = ("boolean", "integer", "number", "string", "url")
_HTTPS: Final = "https://"


def read_card(card: str | Mapping[str, JSON], file: str = "card") -> GatewayCard:
    """A gateway card from JSON, as text or parsed. *Raises* CardError naming the file and the key."""
    data: object = card
    if isinstance(card, str):
        try:
            data = json.loads(card)
        except (ValueError, RecursionError) as error:
            raise CardError(f"{file}: not JSON: {error}") from error
    if not isinstance(data, dict):
        fail(file, "", "must be an object")
    top = CardPart(file, "", {key: value for key, value in data.items() if key != "$schema"})
    name = top.text("name")
    models = top.part("models")
    unbilled = top.text("errors_unbilled") if top.has("errors_unbilled") else ""
    made = GatewayCard(
        name=name,
        title=top.text("title"),
        base_url=top.text("base_url"),
        base_url_env=top.text("base_url_env"),
        key_env=top.text("key_env"),
        auth_header=top.text("auth_header"),
        auth_prefix=top.text("auth_prefix", empty=True),
        user_agent=top.text("user_agent"),
        poll_rate=top.figure("poll_rate"),
        lists_operations=top.truth("lists_operations"),
        tells_balance=top.truth("tells_balance"),
        reuse_connections=top.truth("reuse_connections"),
        not_billed=tuple(_not_billed(part, 599 if unbilled else 499) for part in top.parts("not_billed")),
        models={model: _model(name, model, models.part(model)) for model in models.names()},
        rates=top.amounts("rates"),
        notes=top.texts("notes"),
        bases=_bases(top),
        regions=tuple(map(_region, top.parts("regions"))) if top.has("regions") else (),
        placement_scope=top.one_of("placement_scope", ("account", "model"))
        if top.has("placement_scope")
        else "account",  # type: ignore[arg-type]  # checked against the same two words
        upload_lives_s=top.seconds("upload_lives_s", above_zero=True) if top.has("upload_lives_s") else None,
        errors_unbilled=unbilled,
        uploads_max=top.figure("uploads_max") if top.has("uploads_max") else None,
        failed_billed=_failed_billed(top.part("failed_billed")),
    )
    models.done()
    top.done()
    for key, url in (
        ("base_url", made.base_url),
        *((f"bases.{key}.url", base.url) for key, base in made.bases.items()),
    ):
        if not url.startswith(_HTTPS):
            fail(file, key, f"must begin with {_HTTPS}")
    if not made.models:
        fail(file, "models", "must name a model")
    return made


def _failed_billed(part: CardPart) -> FailedBilled:
    made = FailedBilled(
        value=part.truth_or_none("value"),
        certainty=part.one_of("certainty", get_args(Certainty)),  # type: ignore[arg-type]  # checked against the same words
        source=part.text("source"),
        date=part.text("date"),
    )
    part.done()
    return made


def _bases(top: CardPart) -> dict[str, Base]:
    if not top.has("bases"):
        return {}
    part = top.part("bases")
    made = {}
    for name in part.names():
        base = part.part(name)
        keyed = base.truth("keyed") if base.has("keyed") else True
        made[name] = Base(base.text("url"), base.text("env"), keyed)
        base.done()
    part.done()
    return made


def _region(part: CardPart) -> Region:
    made = Region(
        host_suffix=part.text("host_suffix"),
        unit=part.one_of("unit", UNITS),
        prices=part.amounts("prices"),
        source=part.text("source"),
    )
    part.done()
    return made


def _price_rule(part: CardPart) -> PriceRule:
    when = part.part("when")
    made = PriceRule(
        when={key: when.take(key) for key in when.names()},
        area_above=part.whole_or_none("area_above"),
        per_image=part.amount("per_image"),
        source=part.text("source"),
    )
    part.done()
    return made


def _not_billed(part: CardPart, greatest: int) -> NotBilled:
    made = NotBilled(
        status=part.whole("status", 400),
        code=None if part.take("code") is None else part.text("code"),
        body=part.one_of("body", ("error", "page")),  # type: ignore[arg-type]  # checked against the same two words
        kind=FaultKind(part.one_of("kind", tuple(FaultKind))),
        certainty=part.one_of("certainty", get_args(Certainty)),  # type: ignore[arg-type]  # checked likewise
        source=part.text("source"),
        date=part.text("date"),
    )
    part.done()
    if made.status > greatest:
        # After a 5xx nobody knows whether the work was done, unless the vendor says so.
        part.fail("status", f"must be a client error, 400 to {greatest}; a 5xx needs errors_unbilled")
    return made


def _model(gateway: str, name: str, part: CardPart) -> ModelCard:
    count, price, parameters = part.part("n"), part.part("price"), part.part("parameters")
    for key in ("source", "certainty", "date"):
        count.text(key)
    part.text("text_source")
    part.text("time_source")
    made = ModelCard(
        name=name,
        gateway=gateway,
        operations=part.texts("operations", OPERATIONS),
        description=part.text("description"),
        prompt_max=part.whole("prompt_max", 1),
        negative_prompt_max=part.whole_or_none("negative_prompt_max"),
        n_min=count.whole("min", 1),
        n_max=count.whole("max", 1),
        seed_max=part.whole_or_none("seed_max"),
        size=_size(part.part_or_none("size")),
        pictures=_pictures(part.part_or_none("pictures")),
        parameters={key: _parameter(key, parameters.part(key)) for key in parameters.names()},
        price_per_image=price.amount_or_none("per_image"),
        price_per_call=price.amount("per_call"),
        price_unit=price.one_of("unit", UNITS),
        price_source=price.text("source"),
        price_date=price.text("date"),
        rate=part.figure("rate"),
        rate_period_s=part.seconds("rate_period_s", above_zero=True),
        in_flight=part.figure("in_flight"),
        unanswered=part.figure("unanswered"),
        poll_first_s=part.seconds("poll_first_s"),
        poll_every_s=part.seconds("poll_every_s"),
        poll_patience_s=part.seconds("poll_patience_s"),
        typical_s=part.seconds("typical_s"),
        submit_timeout_s=part.seconds("submit_timeout_s", above_zero=True),
        release_lag_s=part.seconds("release_lag_s"),
        links_live_s=part.seconds("links_live_s"),
        aliases=part.texts("aliases") if part.has("aliases") else (),
        price_per_input=price.amount("per_input") if price.has("per_input") else "0",
        price_rules=tuple(map(_price_rule, price.parts("rules"))) if price.has("rules") else (),
        synchronous=part.truth("synchronous") if part.has("synchronous") else False,
        n_warning=part.text("n_warning") if part.has("n_warning") else "",
    )
    for inner in (count, price, parameters, part):
        inner.done()
    if made.n_max < made.n_min:
        count.fail("max", "is below min")
    if "image.edit" in made.operations and made.pictures is None:
        part.fail("pictures", "is needed for image.edit")
    return made


def _size(part: CardPart | None) -> SizeRule | None:
    if part is None:
        return None
    made = SizeRule(
        choices=part.texts("choices"),
        side_min=part.whole_or_none("side_min"),
        side_max=part.whole_or_none("side_max"),
        default=part.text("default"),
        source=part.text("source"),
        area_min=part.whole_or_none("area_min") if part.has("area_min") else None,
        area_max=part.whole_or_none("area_max") if part.has("area_max") else None,
        ratio_max=part.number_or_none("ratio_max") if part.has("ratio_max") else None,
        only_with_one=part.truth("only_with_one") if part.has("only_with_one") else False,
        words=part.texts("words") if part.has("words") else (),
    )
    part.done()
    bounded = (made.side_min is not None and made.side_max is not None) or made.area_max is not None
    if not made.choices and not bounded:
        part.fail("choices", "are empty, so side_min and side_max, or area_max, are needed")
    return made


def _pictures(part: CardPart | None) -> PictureRule | None:
    if part is None:
        return None
    made = PictureRule(
        count_min=part.whole("count_min"),
        count_max=part.whole("count_max", 1),
        formats=part.texts("formats"),
        side_min=part.whole("side_min", 1),
        side_max=part.whole("side_max", 1),
        size_bytes_max=part.whole("size_bytes_max", 1),
        urls=part.truth("urls"),
        source=part.text("source"),
        carry=part.one_of("carry", ("inline", "upload", "auto")) if part.has("carry") else "inline",  # type: ignore[arg-type]  # checked against the same three words
        inline_bytes_max=part.whole_or_none("inline_bytes_max") if part.has("inline_bytes_max") else None,
        upload_formats=part.texts("upload_formats") if part.has("upload_formats") else (),
    )
    part.done()
    if made.carry == "auto" and made.inline_bytes_max is None:
        part.fail("inline_bytes_max", "is needed where pictures travel either way")
    return made


def _parameter(name: str, part: CardPart) -> Parameter:
    made = Parameter(
        name=name,
        kind=part.one_of("kind", _KINDS),  # type: ignore[arg-type]  # checked against the same four words
        minimum=part.number_or_none("minimum"),
        maximum=part.number_or_none("maximum"),
        choices=tuple(cast("Sequence[JSON]", part.take("choices"))),
        default=part.take("default"),
        always=part.take("always"),
        description=part.text("description"),
        source=part.text("source"),
        identity=part.truth("identity") if part.has("identity") else True,
    )
    part.done()
    return made
