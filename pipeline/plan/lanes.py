"""Lanes: a model at a gateway with the limits in force."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.spec.job import JobSpec, LaneLimits
from pipeline.values.card import ModelCard


@dataclass(frozen=True, slots=True)
class Lane:
    """A model at a gateway with the limits in force. *Units* - rate_period_s: seconds."""

    card: ModelCard
    rate_count: int
    rate_period_s: float
    in_flight: int
    unanswered: int
    #: Where the rate is from: how sure the card is of it, or `limits` of the spec.
    rate_basis: str = ""


def lane_of(job: JobSpec, card: ModelCard) -> Lane:
    """The limits of the spec, for the model or else its gateway, before those of the card."""
    whole = job.limits.get(card.gateway, LaneLimits())
    names = (card.name, *card.aliases)
    own = next((job.limits[lane] for name in names if (lane := f"{card.gateway}/{name}") in job.limits), LaneLimits())
    stated = own.rate or whole.rate
    rate = stated or (int(card.rate.value or 60), card.rate_period_s)
    return Lane(
        card,
        rate[0],
        rate[1],
        own.in_flight or whole.in_flight or int(card.in_flight.value or 1),
        own.unanswered or whole.unanswered or int(card.unanswered.value or 1),
        card.rate.certainty if stated is None else "limits",
    )
