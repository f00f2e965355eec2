"""What a gateway's module must offer: pairs of question and answer, pure functions all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pipeline.values.reply import PollReply, Reply
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


class Provider(Protocol):
    """One gateway's language. A module satisfies it: `pipeline.providers.mulerouter`."""

    def submit(self, task: Task, inputs: Sequence[Carried]) -> Request:
        """The POST that buys this task, inputs in the order of `task.inputs`."""
        ...

    def submitted(self, task: Task, outcome: Outcome) -> Reply:
        """What the outcome of that POST means. Total: unknown JSON is Unknown, never an exception."""
        ...

    def poll(self, task: Task, operation: str) -> Request:
        """The GET that asks how an operation stands."""
        ...

    def polled(self, task: Task, outcome: Outcome) -> PollReply:
        """What its outcome means. Total."""
        ...
