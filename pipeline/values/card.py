"""A card: what one gateway sells, with bounds, prices and limits, each figure with its source and date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pipeline.values.digest import JSON
from pipeline.values.reply import FaultKind

#: How sure we are of a figure; `ours` marks a choice of this project where the vendor says nothing.
Certainty: TypeAlias = Literal["documented", "observed", "inferred", "ours", "unknown"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its source. `value` None means that nobody outside the vendor knows."""

    value: int | float | None
    certainty: Certainty
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class FailedBilled:
    """Whether an operation that ended as failed is billed. `value` None: nobody says, so its money stays in doubt."""

    value: bool | None
    certainty: Certainty
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class NotBilled:
    """One row of the not-billed table: an answer to a paid call after which nothing was made and nothing is billed."""

    status: int
    #: The gateway's own code that the answer must hold; None: whatever it holds.
    code: str | None
    #: `error`: the API's own error body; `page`: a gatekeeper's web page in front of the API.
    body: Literal["error", "page"]
    kind: FaultKind
    certainty: Certainty
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class PictureRule:
    """What input pictures must be. *Units* - side: pixels; size_bytes_max: bytes."""

    count_min: int
    count_max: int
    #: Media types, such as image/png.
    formats: tuple[str, ...]
    side_min: int
    side_max: int
    size_bytes_max: int
    urls: bool
    source: str
    #: How a local picture travels: inside the body, by an upload before, or (`auto`) inside up to `inline_bytes_max`.
    carry: Literal["inline", "upload", "auto"] = "inline"
    inline_bytes_max: int | None = None
    #: Media types that an upload takes; a picture of another type is sent as PNG. Empty: every one of `formats`.
    upload_formats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SizeRule:
    """Which sizes can be asked for: a closed list (`choices`), or bounds for each side, the area and the ratio.

    *Units* - sides: pixels; area: pixels; ratio: the longer side by the shorter one.
    """

    choices: tuple[str, ...]
    side_min: int | None
    side_max: int | None
    #: What the vendor makes when no size is sent: a size, or words.
    default: str
    source: str
    area_min: int | None = None
    area_max: int | None = None
    ratio_max: float | None = None
    #: A size may be sent only when one picture is asked for.
    only_with_one: bool = False
    #: What may stand in the place of a size and is sent as it is, such as `auto` or `16:9`.
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One further parameter of a model. `always` marks a value that the adapter always sends."""

    name: str
    kind: Literal["boolean", "integer", "number", "string", "url"]
    minimum: int | float | None
    maximum: int | float | None
    choices: tuple[JSON, ...]
    default: JSON
    #: A parameter the adapter always sends even when the spec leaves it out, with this value; None: never.
    always: JSON
    description: str
    source: str
    #: Whether it is part of what is bought, and so of a task's id; a `callback_url` is not.
    identity: bool = True


@dataclass(frozen=True, slots=True)
class PriceRule:
    """Another price per image where a parameter has a value, or the picture asked for an area. *Units* - pixels."""

    #: {parameter: value}, all of which must be sent, `size` among them (a word; None: no size is sent); {} when the
    #: area alone decides.
    when: Mapping[str, JSON]
    #: The area above which it holds, when a size in pixels is asked for; None: the size does not matter.
    area_above: int | None
    #: Decimal text in the model's unit.
    per_image: str
    source: str


@dataclass(frozen=True, slots=True)
class Base:
    """A further address of a gateway, such as its file service, and the environment's name for another one."""

    url: str
    env: str
    #: Whether it is asked with the key; what is public or signed is not.
    keyed: bool = True


@dataclass(frozen=True, slots=True)
class Region:
    """A site of the same gateway with its own money: a base URL whose host ends so is billed in `unit`."""

    host_suffix: str
    unit: str
    #: {model: decimal text per image}; a model that is not named has an unknown price there.
    prices: Mapping[str, str]
    source: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model at one gateway."""

    name: str
    gateway: str
    #: `image.generate`, `image.edit` or both.
    operations: tuple[str, ...]
    description: str
    prompt_max: int
    negative_prompt_max: int | None
    n_min: int
    n_max: int
    #: None: the model takes no seed.
    seed_max: int | None
    size: SizeRule | None
    pictures: PictureRule | None
    parameters: Mapping[str, Parameter]
    #: Decimal text per image in `price_unit`; None: unknown, refused unless the spec states one.
    price_per_image: str | None
    price_per_call: str
    price_unit: str
    price_source: str
    price_date: str
    #: Requests per `rate_period_s` seconds that a lane may submit.
    rate: Figure
    rate_period_s: float
    #: Accepted and unfinished operations at once.
    in_flight: Figure
    #: POSTs without an answer at once.
    unanswered: Figure
    #: Seconds between an accepted submit and the first poll, and between polls.
    poll_first_s: float
    poll_every_s: float
    #: After this long without an end, polls slow down (seconds).
    poll_patience_s: float
    #: How long one operation usually takes, in seconds, for forecasts.
    typical_s: float
    #: The call's own timeout, in seconds.
    submit_timeout_s: float
    #: How long after settling a shortfall may still be billed (seconds).
    release_lag_s: float
    #: How long result links live, in seconds.
    links_live_s: float
    #: Other names of the same model.
    aliases: tuple[str, ...] = ()
    #: What each input picture costs once per call, decimal text in `price_unit`.
    price_per_input: str = "0"
    #: The dearest that applies is taken instead of `price_per_image`.
    price_rules: tuple[PriceRule, ...] = ()
    #: The answer to the POST holds the pictures: no operation, no poll, and a stop waits as long as the call may take.
    synchronous: bool = False
    #: What a call for more than one picture risks here; `plan` says it.
    n_warning: str = ""


@dataclass(frozen=True, slots=True)
class GatewayCard:
    """One gateway: where it lives, which header carries the key, and its models."""

    name: str
    title: str
    base_url: str
    base_url_env: str
    key_env: str
    #: Header name and a prefix before the key, such as ("Authorization", "Bearer ").
    auth_header: str
    auth_prefix: str
    user_agent: str
    #: Polls per second allowed on the account (ours where unknown).
    poll_rate: Figure
    #: Whether the gateway can list operations, and tell a balance: evidence for what is in doubt.
    lists_operations: bool
    tells_balance: bool
    #: Whether a paid call may use a connection that was idle for less than two seconds; if not, each gets a new one.
    reuse_connections: bool
    #: The answers that release money; whatever is not among them keeps it.
    not_billed: tuple[NotBilled, ...]
    models: Mapping[str, ModelCard]
    #: Vendor rates into USD, decimal text: {"evolink-credit": "0.0147..."}; empty where none is published.
    rates: Mapping[str, str]
    notes: tuple[str, ...]
    #: {name: a further address}, such as `files` for uploads or `asset` for result links.
    bases: Mapping[str, Base] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    #: Whether what was uploaded for one model can be used for another.
    placement_scope: Literal["account", "model"] = "account"
    #: How long an upload is kept, in seconds; None: as far as anybody knows, for good.
    upload_lives_s: float | None = None
    #: Where the vendor documents that a call which it answers with an error is not billed, whatever the status; empty:
    #: nowhere. Only then may the not-billed table hold a 5xx.
    errors_unbilled: str = ""
    #: How many uploads an account may have at once; None: no number is named.
    uploads_max: Figure | None = None
    #: Whether an operation that ended as failed is billed; what a provider knows of one end goes before it.
    failed_billed: FailedBilled = FailedBilled(None, "unknown", "the card does not say", "")
