"""A task: one paid call wanted, and everything that identifies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pipeline.values.digest import JSON
from pipeline.values.money import Money


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a picture file. *Units* - size_bytes: bytes; width, height: pixels."""

    sha256: str
    media_type: str
    size_bytes: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class LocalInput:
    """A picture on this machine: `uri` as the spec wrote it, relative to the spec."""

    uri: str
    picture: Picture
    #: The media type that it is converted to before it is uploaded; None: it is sent as it is.
    sent_as: str | None = None


@dataclass(frozen=True, slots=True)
class InlineInput:
    """A picture written into the spec as a data URI; `uri` is `data:<media type>;sha256=<digest>`, never the bytes."""

    uri: str
    picture: Picture
    #: As of a LocalInput.
    sent_as: str | None = None


@dataclass(frozen=True, slots=True)
class UrlInput:
    """A picture that the gateway fetches; never fetched by us. Its query stays out of manifests (`public_uri`)."""

    url: str


@dataclass(frozen=True, slots=True)
class UpstreamInput:
    """A picture that another task will make."""

    task_id: str
    image_index: int


Input: TypeAlias = LocalInput | InlineInput | UrlInput | UpstreamInput


def input_identity(source: Input) -> JSON:
    """How an input enters a task's id: content for pictures, itself for a URL, task and index for an upstream image."""
    match source:
        case LocalInput() | InlineInput():
            return {"sha256": source.picture.sha256}
        case UrlInput():
            return {"url": source.url}
        case UpstreamInput():
            return {"task": source.task_id, "index": source.image_index}


@dataclass(frozen=True, slots=True)
class Price:
    """What one call can cost, frozen with the attempt.

    *Units* - per_image, per_call: micro-units of `currency`, the unit of the cap that pays;
    native_per_image: micro-units of `native_unit`, the unit that the vendor bills in.
    """

    currency: str
    per_image: int
    per_call: int
    native_unit: str
    native_per_image: int
    #: Where the figure stands and when it was read, one line.
    source: str
    #: What a call costs besides, once anything is made, in the vendor's unit.
    native_per_call: int = 0

    def hold(self, n: int) -> int:
        """The most that one call for n images can cost, in micro-units of `currency`."""
        return self.cost(n)

    def cost(self, images: int) -> int:
        """What a call that made this many images costs; nothing made, nothing billed."""
        return images * self.per_image + (self.per_call if images else 0)

    def told_cost(self, images: int, charged: Money | None) -> int:
        """The same where the gateway may name the sum that it took: the dearer of that and the price list."""
        cost = self.cost(images)
        if charged is None:
            return cost
        if charged.unit == self.native_unit and self.native_per_image:
            above = max(0, charged.micros - self.native_cost(images))
            # By the rate that the price itself was converted with; rounded up, as the price was.
            return cost - (-above * self.per_image // self.native_per_image)
        return max(cost, charged.micros) if charged.unit == self.currency else cost

    def native_cost(self, images: int) -> int:
        """The same in the vendor's own unit, as its meter counts it."""
        return images * self.native_per_image + (self.native_per_call if images else 0)


@dataclass(frozen=True, slots=True)
class Task:
    """One paid call wanted: model, prompt, parameters, n, seed, inputs. `id` is the digest of what is sent."""

    #: Position in the plan, from 0. Not part of the identity.
    number: int
    #: 64 hex digits.
    id: str
    step: str
    #: `image.generate` or `image.edit`.
    operation: str
    gateway: str
    model: str
    prompt: str
    negative_prompt: str | None
    #: `WIDTHxHEIGHT`, or None for the model's own choice.
    size: str | None
    n: int
    seed: int | None
    #: Further parameters as sent, by their names on the card.
    params: Mapping[str, JSON]
    inputs: tuple[Input, ...]
    price: Price
    row_id: str | None = None
    #: The input row's columns as text.
    row: Mapping[str, str] = field(default_factory=dict)
    #: {axis name: value id or text}, in written order.
    axes: Mapping[str, str] = field(default_factory=dict)
    sample: int = 0
    #: Below images/, without `-INDEX` and extension; empty means named by digest.
    path: str = ""

    @property
    def lane(self) -> str:
        """Pace and caps are kept per lane: `gateway/model`."""
        return f"{self.gateway}/{self.model}"
