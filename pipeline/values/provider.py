"""What a gateway's module must offer: pairs of question and answer, pure functions all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pipeline.values.card import NotBilled
from pipeline.values.reply import BalanceReply, Fault, ListReply, PollReply, Reply
from pipeline.values.task import Task
from pipeline.values.wire import Outcome, Request


@dataclass(frozen=True, slots=True)
class CarriedBytes:
    """An input picture carried in the body."""

    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class CarriedUrl:
    """An input picture that the gateway fetches or already has."""

    url: str


Carried: TypeAlias = CarriedBytes | CarriedUrl


@dataclass(frozen=True, slots=True)
class Placed:
    """An input picture stands at the gateway. *Units* - lives_s: seconds; None: as long as the card says."""

    #: What a submit names: a URL, `oss://...` or a key. As secret as a presigned link.
    location: str
    lives_s: float | None = None


@dataclass(frozen=True, slots=True)
class UploadFailed:
    """An upload did not come to its end. REJECTED and UNAUTHORIZED are definite; anything else may be tried again."""

    fault: Fault


#: What an upload needs next, or how it ended.
UploadStep: TypeAlias = Request | Placed | UploadFailed


class Provider(Protocol):
    """One gateway's language. A module satisfies it: `pipeline.providers.mulerouter`."""

    def submit(self, task: Task, inputs: Sequence[Carried], tag: str = "") -> Request:
        """The POST that buys this task, inputs in the order of `task.inputs`.

        `tag` names this purchase (hex text): the idempotency key where a gateway takes one. A second POST with the tag
        of a doubtful one asks for the same purchase.
        """
        ...

    def upload(self, model: str, asset: CarriedBytes, name: str, told: Sequence[Outcome]) -> UploadStep:
        """The next request of an upload after these outcomes (none yet: the first), or how it ended.

        `name` is a file name with an extension, made from the content and never from a path. UploadFailed where a
        gateway has no uploads.
        """
        ...

    def submitted(self, task: Task, outcome: Outcome, not_billed: Sequence[NotBilled]) -> Reply:
        """What the outcome of that POST means; only rows of the card's table release money.

        Total: unknown JSON is Unknown, never an exception.
        """
        ...

    def poll(self, task: Task, operation: str) -> Request:
        """The GET that asks how an operation stands."""
        ...

    def polled(self, task: Task, outcome: Outcome) -> PollReply:
        """What its outcome means. Total."""
        ...

    def listing(self, model: str, since: int, until: int, page: str | None) -> Request | None:
        """The GET that lists a model's operations in a span of time (microseconds of UTC); None: there is no such call.

        `page` is what the page before named as following, None for the first.
        """
        ...

    def listed(self, outcome: Outcome) -> ListReply:
        """What its outcome means. Total: what is not understood proves nothing."""
        ...

    def balance(self) -> Request | None:
        """The GET that tells how much the key has used; None: there is no such call."""
        ...

    def balanced(self, outcome: Outcome) -> BalanceReply:
        """What its outcome means. Total."""
        ...
