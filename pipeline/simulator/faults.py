"""What the simulated world does wrong, how often, and how slow it is: a plan read from a mapping, every key checked."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a fault strikes: any of its parts that is set and fits. A bare number in the mapping is `probability`."""

    #: Chance on each occasion, 0 to 1; drawn from the seed and the occasion, so that it does not depend on order.
    probability: float = 0.0
    #: Every so many occasions, counted from the first; 0: never.
    every: int = 0
    #: The first so many occasions.
    first: int = 0
    #: On tasks whose prompt contains this text; empty: never.
    prompt: str = ""

    def strikes(self, chance: float, occasion: int, prompt: str) -> bool:
        """Whether it strikes. *Units* - chance: 0 to 1, drawn by the caller; occasion: counts from 1."""
        return (
            chance < self.probability
            or (self.every > 0 and occasion % self.every == 0)
            or occasion <= self.first
            or (self.prompt != "" and self.prompt in prompt)
        )


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A hard sliding window for submits, for each model. *Units* - period_s, retry_after_s: seconds."""

    requests: int
    period_s: float
    #: What the 429's Retry-After says; "window": until there is room again; None: no such header.
    retry_after_s: float | str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds between two bounds, drawn evenly. A bare number in the mapping is both bounds."""

    minimum: float
    maximum: float

    def at(self, chance: float) -> float:
        """The value at a chance of 0 to 1."""
        return self.minimum + (self.maximum - self.minimum) * chance


_NEVER: Final = Trigger()


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Everything that can be set. A trigger is a number (probability) or a mapping of `Trigger`'s keys."""

    #: 429 for submits above this rate: {requests, period_s, retry_after_s}.
    rate_limit: RateLimit | None = None
    #: Parts of user agents that the CDN answers with 403 and a page.
    banned_user_agents: tuple[str, ...] = ()
    #: How long each answer takes to come, in seconds: a number or [min, max].
    latency_s: Span = Span(0.05, 0.25)
    #: How long a task takes to be made, in seconds: a number or [min, max].
    generation_s: Span = Span(10.0, 40.0)
    #: What 1min.ai takes for each picture, in credits; the real figure is not public.
    onemin_credits_per_image: float = 100.0
    #: How many credits the 1min.ai team has: a call that needs more gets 406. Left out: enough.
    onemin_credits: float | None = None
    #: A 429 out of the blue.
    rate_limited: Trigger = _NEVER
    #: 503 for a submit that was not accepted.
    server_error_before: Trigger = _NEVER
    #: 502 for a submit that was accepted, and will be billed.
    server_error_after: Trigger = _NEVER
    #: 400 for a submit that was accepted, and will be billed; in odd words, or with the work named in an odd place.
    bad_request_after: Trigger = _NEVER
    #: The connection breaks before the gateway saw the submit.
    cut_before: Trigger = _NEVER
    #: The submit was accepted and no byte of the answer comes.
    cut_after: Trigger = _NEVER
    #: The submit was accepted and half of the answer comes.
    cut_mid: Trigger = _NEVER
    #: The submit was accepted and the answer is not JSON.
    malformed_submit: Trigger = _NEVER
    #: Accepted, and fails while it is made.
    failed: Trigger = _NEVER
    #: Accepted, and refused by the content filter.
    moderated: Trigger = _NEVER
    #: Accepted, and never ends.
    stuck: Trigger = _NEVER
    #: Accepted, and nobody knows it when asked.
    vanished: Trigger = _NEVER
    #: Makes fewer pictures than asked (tasks with n of 2 and more).
    fewer: Trigger = _NEVER
    #: Makes one picture more than asked.
    more: Trigger = _NEVER
    #: A poll's answer is not JSON.
    malformed_poll: Trigger = _NEVER
    #: A poll gets 503.
    server_error_poll: Trigger = _NEVER
    #: A poll's connection breaks.
    cut_poll: Trigger = _NEVER
    #: The links in a completed task's answer have expired already; asking again gives fresh ones.
    expired_links: Trigger = _NEVER
    #: An upload gets 503, and nothing is kept.
    server_error_upload: Trigger = _NEVER
    #: An upload is kept and no byte of the answer comes.
    cut_upload: Trigger = _NEVER
    #: What was uploaded is gone when a submit names it.
    lost_upload: Trigger = _NEVER
    #: A key below 1min.ai's asset host is refused, and stays refused.
    asset_refused: Trigger = _NEVER
    #: A download gets 503.
    server_error_download: Trigger = _NEVER
    #: A download breaks in the middle.
    cut_download: Trigger = _NEVER
    #: A download ends in good order with half of the file.
    truncated_picture: Trigger = _NEVER
    #: A download yields a picture of another size.
    wrong_size_picture: Trigger = _NEVER
    #: A download yields a web page with status 200.
    page_picture: Trigger = _NEVER


FAULT_KEYS: Final[tuple[str, ...]] = tuple(entry.name for entry in fields(FaultPlan))


@dataclass(slots=True)
class Dice:
    """Chances from a seed: the same seed and the same names give the same chance, whatever happened in between."""

    seed: int
    #: {fault: occasions so far}.
    occasions: dict[str, int] = field(default_factory=dict)

    def chance(self, *names: object) -> float:
        """A number from 0 up to, and without, 1."""
        text = "\x1f".join([str(self.seed), *map(str, names)])
        return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:7]) / 2**56

    def strikes(self, plan: FaultPlan, fault: str, occasion: str, prompt: str = "") -> bool:
        """Whether this fault strikes on this occasion; counts the occasion."""
        trigger = getattr(plan, fault)
        if not isinstance(trigger, Trigger) or trigger == _NEVER:
            return False
        count = self.occasions.get(fault, 0) + 1
        self.occasions[fault] = count
        return trigger.strikes(self.chance(fault, occasion), count, prompt)


def parse_faults(mapping: Mapping[str, object]) -> FaultPlan:
    """A fault plan from a mapping as YAML or JSON gives it.

    *Raises* ValueError that names the key, what is wrong with it, and what can be written.
    """
    unknown = sorted(set(map(str, mapping)) - set(FAULT_KEYS))
    if unknown:
        raise ValueError(f"unknown fault {', '.join(unknown)}; known are {', '.join(FAULT_KEYS)}")
    read: dict[str, object] = {}
    for key, value in mapping.items():
        match key:
            case "rate_limit":
                read[key] = None if value is None else _rate_limit(value)
            case "banned_user_agents":
                read[key] = _texts(key, value)
            case "onemin_credits_per_image" | "onemin_credits":
                read[key] = None if value is None and key == "onemin_credits" else _number(key, value, 0.0)
            case "latency_s" | "generation_s":
                read[key] = _span(key, value)
            case _:
                read[key] = _trigger(key, value)
    return FaultPlan(**read)  # type: ignore[arg-type]  # each value was read by its key's own reader


def _number(key: str, value: object, minimum: float, maximum: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} must be a number, not {value!r}")
    if not minimum <= value <= maximum:
        raise ValueError(f"{key} must be from {minimum} to {maximum}, not {value!r}")
    return float(value)


def _count(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{key} must be a whole number from 1 on, not {value!r}")
    return value


def _texts(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text for text in value):
        raise ValueError(f"{key} must be a list of texts, not {value!r}")
    return tuple(value)


def _span(key: str, value: object) -> Span:
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise ValueError(f"{key} must be a number or [min, max], not {value!r}")
        low, high = (_number(key, bound, 0.0) for bound in value)
        if low > high:
            raise ValueError(f"{key} must not begin above its end, not {value!r}")
        return Span(low, high)
    seconds = _number(key, value, 0.0)
    return Span(seconds, seconds)


def _table(key: str, value: object, known: tuple[str, ...]) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} must be a mapping of {', '.join(known)}, not {value!r}")  # noqa: TRY004 - one sort
    unknown = sorted(set(map(str, value)) - set(known))
    if unknown:
        raise ValueError(f"unknown key {', '.join(unknown)} in {key}; known are {', '.join(known)}")
    return value


def _trigger(key: str, value: object) -> Trigger:
    if not isinstance(value, Mapping):
        return Trigger(probability=_number(key, value, 0.0, 1.0))
    table = _table(key, value, ("probability", "every", "first", "prompt"))
    prompt = table.get("prompt", "")
    if not isinstance(prompt, str):
        raise ValueError(f"{key}.prompt must be a text, not {prompt!r}")  # noqa: TRY004 - one sort
    return Trigger(
        probability=_number(f"{key}.probability", table.get("probability", 0.0), 0.0, 1.0),
        every=_count(f"{key}.every", table["every"]) if "every" in table else 0,
        first=_count(f"{key}.first", table["first"]) if "first" in table else 0,
        prompt=prompt,
    )


def _rate_limit(value: object) -> RateLimit:
    table = _table("rate_limit", value, ("requests", "period_s", "retry_after_s"))
    wait = table.get("retry_after_s")
    if wait is not None and wait != "window":
        wait = _number("rate_limit.retry_after_s", wait, 0.0)
    return RateLimit(
        requests=_count("rate_limit.requests", table.get("requests")),
        period_s=_number("rate_limit.period_s", table.get("period_s"), 0.001),
        retry_after_s="window" if wait == "window" else wait if isinstance(wait, float) else None,
    )
