"""What a simulated gateway was asked for and took on: orders, operations and uploads, as its books keep them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.values.digest import JSON


@dataclass(frozen=True, slots=True)
class Order:
    """What a submit asks for, once an emulator has found it to be in order. *Units* - micros: 10^-6 of `unit`."""

    gateway: str
    model: str
    prompt: str
    negative_prompt: str
    width: int
    height: int
    n: int
    seed: int | None
    #: Digests of the input pictures, in order.
    inputs: tuple[str, ...]
    micros_per_image: int
    #: What the gateway bills in.
    unit: str = "USD"
    #: What a call costs besides, once anything is made.
    micros_per_call: int = 0
    #: All `n` pictures stand on the bill once any is made, however few were.
    billed_whole: bool = False
    #: What else the emulator wants to remember of the request, as JSON.
    notes: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that was uploaded and not yet used up. *Units* - at, expires_at: seconds; None: it is kept for good."""

    #: What a submit names it by, or a part of that; unique for its gateway.
    id: str
    gateway: str
    #: The file name that came with it.
    name: str
    #: Digest of its bytes: the key of its `SeenPicture`.
    digest: str
    media_type: str
    size_bytes: int
    at: float
    expires_at: float | None
    #: The only model that may use it; empty: all of them.
    model: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """An accepted order. Its end is decided at once, and told when its time has come. *Units* - at: seconds."""

    id: str
    order: Order
    accepted_at: float
    ends_at: float
    end: Literal["completed", "failed", "moderated", "stuck", "canceled"]
    #: Pictures that are made in the end.
    images: int
    #: Nobody knows it when asked; it is made and billed all the same.
    vanished: bool

    def has_ended(self, now: float) -> bool:
        """Whether its end has come."""
        return self.end != "stuck" and self.ends_at <= now

    def billed_images(self, now: float) -> int:
        """Pictures on the bill: those that were made. Failed operations cost nothing."""
        return self.images if self.end == "completed" and self.has_ended(now) else 0

    def billed_micros(self, now: float) -> int:
        """What stands on the bill, in 10^-6 of the order's unit."""
        made = self.billed_images(now)
        images = max(made, self.order.n) if made and self.order.billed_whole else made
        return images * self.order.micros_per_image + (self.order.micros_per_call if made else 0)
